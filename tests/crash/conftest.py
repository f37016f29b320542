"""Lets the tests of this folder import its modules, and starts the process from which children are forked."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from children import Nursery


@pytest.fixture
def nursery(tmp_path: Path, root: Path) -> Iterator[Callable[..., Nursery]]:
    """Return what starts a nursery with additional environment variables; all are ended with the test."""
    started: list[Nursery] = []

    def start(**environment: str) -> Nursery:
        started.append(Nursery(root, tmp_path, **environment))
        return started[-1]

    yield start
    for one in started:
        one.close()
