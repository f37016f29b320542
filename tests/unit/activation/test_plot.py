"""The plot of the documentation is what its script draws, and its script draws what it says."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def script(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("forgetting_plot", root / "scripts" / "forgetting_plot.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_is_what_the_script_draws(script: ModuleType, root: Path) -> None:
    assert (root / "docs" / "forgetting.svg").read_text(encoding="utf-8") == script.drawing()


def test_the_exponentials_lie_on_the_power_law_and_the_half_lives_do_not(script: ModuleType) -> None:
    power, ladder, week, month = (curve.worth for curve in script.curves(np.geomspace(60.0, 3.15e8, 99)))
    assert np.abs(np.log(ladder / power)).max() < 2.0 * 0.014
    assert np.abs(np.log(week / power)).max() > 1.0
    assert np.abs(np.log(month / power)).max() > 1.0
