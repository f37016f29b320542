"""A real browser for the tests of pages, and the program for those of commands."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from dwell.cli import main

from .called import Ran, Run


@pytest.fixture
def dwell_(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return the program, run in this process."""

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium as a visitor has it: the back-forward cache, which its driver switches off, stays on.

    For one module: while it is open its driver holds an event loop in this thread, and no other can run.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None  # type: ignore[assignment]
    if sync_playwright is None or chromium is None:
        if os.environ.get("DWELL_GATES") == "required":
            pytest.fail("the page's tests need playwright and chromium")
        pytest.skip("playwright or chromium is not installed")
    with sync_playwright() as driver:
        launched = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"], ignore_default_args=["--disable-back-forward-cache"]
        )
        yield launched
        launched.close()
