"""Prometheus' own checker, and a house to scrape without a learner beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dwell.config import ServeSettings
from dwell.server.admission import Admission
from dwell.server.house import House
from dwell.server.learner import Plan
from dwell.server.learner_link import LearnerLink
from dwell.server.metrics import exposition
from dwell.server.rate_limits import Limiter, RateLimits


def promtool(*arguments: str, read: bytes = b"", cwd: Path | None = None) -> tuple[int, str]:
    """Return the exit code and all words of promtool.

    Where it is absent the test is skipped, or fails where `make check` demands every gate.
    """
    beside = Path(sys.executable).with_name("promtool")
    found = str(beside) if beside.exists() else shutil.which("promtool")
    if found is None:
        if os.environ.get("DWELL_GATES") == "required":
            pytest.fail("the checks of metrics and rules need promtool: scripts/system_packages.sh gets it")
        pytest.skip("promtool is not installed: scripts/system_packages.sh gets it, as root")
    done = subprocess.run([found, *arguments], input=read, capture_output=True, cwd=cwd, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


@contextlib.contextmanager
def house_at(folder: Path, **arguments: Any) -> Iterator[House]:
    """Open a house whose learner is never started: what is told does not wait for it."""
    store = str(folder / "scraped.dwell")
    given = {"features": ["bm25", "cosine"], "weights": {"bm25": 1.0, "cosine": 0.25}, **arguments}
    limiter = Limiter(RateLimits(per_key=10, per_address=10, per_subject=10), time.monotonic)
    admission = Admission(8, always=frozenset(), headers=())
    settings = ServeSettings()
    link = LearnerLink(Plan(store, given, settings.train_every_s, settings.train_after_events))
    found = House(store, given, settings, link, True, 1_000.0, limiter, admission)
    try:
        found.loop("")
        yield found
    finally:
        found.close()


def samples(house: House, now: float = 2_000.0) -> dict[tuple[str, ...], float]:
    """Return every sample by its name and the values of its labels, in the order of the labels' names."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(exposition(house, now).decode()):
        for sample in family.samples:
            key = (sample.name, *(value for _, value in sorted(sample.labels.items())))
            assert key not in found, f"{key} is told twice"
            found[key] = sample.value
    return found
