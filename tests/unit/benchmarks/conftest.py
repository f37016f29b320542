"""The benchmarks are scripts beside the package: their parts are imported as the scripts import them."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from study.worlds import Question, World, world_of


@pytest.fixture
def small_world() -> World:
    """Return a set of 12 + 6 questions with 6 candidates and 3 features, of which the first tells the grade."""
    rng = np.random.default_rng(3)

    def question(name: str) -> Question:
        grades = rng.permutation(np.array([0, 0, 0, 1, 2, 4]))
        features = rng.normal(size=(6, 3)).astype(np.float32)
        features[:, 0] += grades
        return Question(name, tuple(f"{name}-{i}" for i in range(6)), features, grades)

    return world_of(
        "small",
        ("signal", "noise", "more noise"),
        [question(f"asked {i}") for i in range(12)],
        [question(f"test {i}") for i in range(6)],
        max_grade=4,
        weights={"signal": 0.2, "noise": 1.0, "more noise": 0.0},
        start="mostly noise",
    )
