"""Importing dwell loads numpy and msgspec and no other installed package: measured in a fresh interpreter."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Plant = Callable[[str, str], Path]

# msgspec takes typing_extensions along where some other package brought it.
LIGHT = {"numpy", "msgspec", "typing_extensions"}

# Packages are counted, not modules: what the interpreter loaded before, and the standard library, are not ours.
MEASURE = """
import json, sys
before = set(sys.modules)
import dwell
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
from importlib.metadata import packages_distributions
print(json.dumps([dwell.__file__, sorted(loaded & set(packages_distributions()) - {"dwell"})]))
"""


def loaded_by_import(tree: Path) -> set[str]:
    """Name the installed packages that `import dwell` loads from a tree."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    printed = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=tree, env=environment, check=True, capture_output=True, text=True
    ).stdout
    file, packages = json.loads(printed)
    assert Path(file).is_relative_to(tree)
    return set(packages)


def test_a_sound_tree_loads_nothing(tree: Path) -> None:
    assert loaded_by_import(tree) == set()


def test_what_is_allowed_is_seen(tree: Path, plant: Plant) -> None:
    plant("__init__.py", "import msgspec\nimport numpy\n")
    assert {"numpy", "msgspec"} <= loaded_by_import(tree) <= LIGHT


@pytest.mark.parametrize("heavy", ["scipy", "rich", "click", "apsw"])
def test_a_heavier_import_is_seen(tree: Path, plant: Plant, heavy: str) -> None:
    plant("loop/__init__.py", f"import {heavy}\n")
    plant("__init__.py", "from dwell import loop\n")
    assert heavy in loaded_by_import(tree) - LIGHT


def test_the_project_loads_nothing_heavier(root: Path) -> None:
    assert loaded_by_import(root) <= LIGHT
