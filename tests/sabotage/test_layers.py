"""Each contract of import-linter breaks on its own planted fault, and on no other's."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Gate = Callable[..., subprocess.CompletedProcess[str]]
Plant = Callable[[str, str], Path]

LAYERS = "Rooms are layered"
PURE = "The core does no I/O and reads no clock"
NARROW = "Storage and retrieval know records and errors only"
ACYCLIC = "No cycles between siblings"


def broken(gate: Gate, tree: Path) -> tuple[set[str], str]:
    """Return the names of the broken contracts, and all that was printed."""
    done = gate(tree, "lint-imports", "--no-cache", "--no-logo")
    verdicts = dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE))
    assert set(verdicts) == {LAYERS, PURE, NARROW, ACYCLIC}, done.stdout
    names = {name for name, verdict in verdicts.items() if verdict == "BROKEN"}
    assert (done.returncode != 0) == bool(names)
    return names, done.stdout


def test_a_sound_tree_keeps_every_contract(gate: Gate, tree: Path) -> None:
    assert broken(gate, tree)[0] == set()


@pytest.mark.parametrize(
    ("planted", "code", "contract", "named"),
    [
        ("replay/upward.py", "from dwell import learning\n", LAYERS, "dwell.replay.upward -> dwell.learning"),
        ("reward/upward.py", "import dwell.storage\n", LAYERS, "dwell.reward.upward -> dwell.storage"),
        ("replay/sideways.py", "import dwell.reward\n", LAYERS, "dwell.replay.sideways -> dwell.reward"),
        ("replay/clock.py", "import time\n", PURE, "dwell.replay.clock -> time"),
        ("learning/chance.py", "from random import random\n", PURE, "dwell.learning.chance -> random"),
        ("evaluation/disk.py", "import apsw\n", PURE, "dwell.evaluation.disk -> apsw"),
        ("ranking/lazy.py", "def late() -> None:\n    import datetime\n", PURE, "dwell.ranking.lazy -> datetime"),
        ("storage/reads.py", "from dwell import replay\n", NARROW, "dwell.storage.reads -> dwell.replay"),
        ("storage/learns.py", "import dwell.learning\n", NARROW, "dwell.storage.learns -> dwell.learning"),
        ("retrieval/judges.py", "import dwell.evaluation\n", NARROW, "dwell.retrieval.judges -> dwell.evaluation"),
    ],
)
def test_a_forbidden_import_breaks_its_contract_alone(
    gate: Gate, tree: Path, plant: Plant, planted: str, code: str, contract: str, named: str
) -> None:
    plant(planted, code)
    names, printed = broken(gate, tree)
    assert names == {contract}
    assert named in printed


def test_a_cycle_inside_a_room_is_named(gate: Gate, tree: Path, plant: Plant) -> None:
    plant("loop/serve.py", "import dwell.loop.train\n")
    plant("loop/train.py", "import dwell.loop.serve\n")
    names, printed = broken(gate, tree)
    assert names == {ACYCLIC}
    assert "dwell.loop" in printed
    assert "serve" in printed
    assert "train" in printed


def test_a_room_that_no_layer_names_is_refused(gate: Gate, tree: Path, plant: Plant) -> None:
    plant("surprise/__init__.py", "")
    done = gate(tree, "lint-imports", "--no-cache", "--no-logo")
    assert done.returncode != 0
    assert "surprise" in done.stdout


def test_the_project_keeps_every_contract(gate: Gate, root: Path) -> None:
    names, printed = broken(gate, root)
    assert names == set(), printed
