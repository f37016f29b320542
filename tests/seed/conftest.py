"""dwell's names for the founding document's code, and that code."""

from pathlib import Path
from types import ModuleType

import pytest

from dwell import records, replay
from dwell.learning import linear, predictor_face
from dwell.loop import seed

# where the package itself exports these names, `dwell` alone may stand here
ROOMS: tuple[ModuleType, ...] = (records, replay, seed, linear, predictor_face)


@pytest.fixture(scope="session")
def dwell_names() -> dict[str, object]:
    """Every name that the founding document defines, as dwell has it, and the two that it presumes."""
    names = (
        "Experience",
        "ReplayBuffer",
        "compute_priority",
        "add_experience_with_priority",
        "train_from_replay",
        "temporal_weight",
        "train_with_temporal_weighting",
        "buffer_health_report",
        "LinearRanker",
        "RewardPredictor",
    )
    return {name: next(getattr(room, name) for room in ROOMS if hasattr(room, name)) for name in names}


@pytest.fixture(scope="session")
def blocks() -> dict[str, str]:
    """The document's code blocks, indented as Python."""
    return {path.name.removesuffix(".py.txt"): path.read_text() for path in _block_files()}


def _block_files() -> list[Path]:
    return sorted((Path(__file__).parent / "blocks").glob("*.py.txt"))
