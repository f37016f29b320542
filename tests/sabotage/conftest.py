"""Skeleton trees with the project's rooms and its real settings, to plant faults in, and the gates to find them with.

A gate that was never seen red proves nothing. Each test here shows one green on a sound skeleton, plants a fault, and
demands that the gate fails and names what was planted.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest


def plant_module(tree: Path, name: str, code: str) -> Path:
    """Write one module of a tree's package, with a docstring before the code."""
    path = tree / "src" / "dwell" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'"""Planted."""\n\n{code}' if code else '"""Planted."""\n', encoding="utf-8")
    return path


@pytest.fixture
def tree(tmp_path: Path, root: Path) -> Path:
    """Return a sound skeleton: the project's settings, and one empty package for each room they name."""
    shutil.copy(root / "pyproject.toml", tmp_path)
    contracts = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    plant_module(tmp_path, "__init__.py", "")
    for layer in layers:
        for room in layer.split(" | "):
            plant_module(tmp_path, f"{room}/__init__.py", "")
    return tmp_path


@pytest.fixture
def plant(tree: Path) -> Callable[[str, str], Path]:
    """Return a function that writes a module, given by its path in the package and its code, into the skeleton."""
    return lambda name, code: plant_module(tree, name, code)


@pytest.fixture
def gate(root: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a gate in a tree: an installed tool, or one of the project's scripts.

    A tool that is absent skips the test: the test requirements do not hold the gates. `make check` installs them and
    sets DWELL_GATES=required, so that there none can be skipped unseen.
    """

    def run(tree: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        if name.endswith(".py"):
            command = [sys.executable, str(root / "scripts" / name)]
        else:
            command = [str(Path(sys.executable).with_name(name))]
            if not Path(command[0]).exists() and os.environ.get("DWELL_GATES") != "required":
                pytest.skip(f"{name} is not installed: `make check` installs it")
        environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "NO_COLOR": "1", "COLUMNS": "200"}
        return subprocess.run(
            [*command, *arguments],
            cwd=tree,
            env=environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run
