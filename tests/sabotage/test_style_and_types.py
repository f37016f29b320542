"""Ruff and mypy, with the project's settings, refuse global random state and a wrong type."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Gate = Callable[..., subprocess.CompletedProcess[str]]
Plant = Callable[[str, str], Path]


def test_drawing_from_an_rng_argument_is_clean(gate: Gate, tree: Path, plant: Plant) -> None:
    plant(
        "replay/draw.py",
        "import numpy as np\n\n\n"
        "def draw(rng: np.random.Generator) -> float:\n"
        '    """Draw one number in [0, 1)."""\n'
        "    return float(rng.random())\n",
    )
    done = gate(tree, "ruff", "check", "--no-cache", "src")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("import numpy as np", "np.random.rand()"),
        ("import numpy.random as chance", "chance.rand()"),
        ("import random", "random.random()"),
        ("from random import random as draw_one", "draw_one()"),
    ],
)
def test_global_random_state_is_refused_by_name(gate: Gate, tree: Path, plant: Plant, module: str, call: str) -> None:
    plant("replay/draw.py", f'{module}\n\n\ndef draw() -> float:\n    """Draw one number."""\n    return {call}\n')
    done = gate(tree, "ruff", "check", "--no-cache", "--output-format", "concise", "src")
    assert done.returncode != 0
    assert "draw.py" in done.stdout
    assert "TID251" in done.stdout
    assert "global random state: take an rng argument" in done.stdout


def test_a_wrong_type_is_refused_by_name(gate: Gate, tree: Path, plant: Plant) -> None:
    assert gate(tree, "mypy", "--strict", "src/dwell").returncode == 0
    plant("ranking/wrong.py", "def count() -> int:\n    return 'three'\n")
    done = gate(tree, "mypy", "--strict", "src/dwell")
    assert done.returncode != 0
    assert "wrong.py" in done.stdout
    assert "[return-value]" in done.stdout
