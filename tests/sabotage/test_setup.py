"""Setting up on a machine that lacks something ends with what is missing and what to do, not with a traceback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Stands in for an interpreter: answers the questions that the set-up asks, in the words of the case.
TOO_OLD = """#!/bin/sh
[ "$1" = --version ] && echo "Python 3.9.2" && exit
exit 1
"""
WITHOUT_ENSUREPIP_AND_PIP = f"""#!/bin/sh
[ "$1" = -m ] && echo "No module named $2" && exit 1
exec "{sys.executable}" "$@"
"""


def set_up(folder: Path, root: Path, interpreter: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the set-up on a machine that has one interpreter, `python3`, and no package manager."""
    programs = folder / "programs"
    programs.mkdir()
    (programs / "id").symlink_to(shutil.which("id") or "id")
    (programs / "python3").write_text(interpreter, encoding="utf-8")
    (programs / "python3").chmod(0o755)
    return subprocess.run(
        [shutil.which("sh") or "sh", str(root / "scripts" / "make_venv.sh"), ".venv"],
        cwd=folder,
        env={"PATH": str(programs), **environment},
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("interpreter", "environment", "said"),
    [
        (TOO_OLD, {}, ["No Python >= 3.11 found (python3 is: Python 3.9.2)", "make PYTHON="]),
        (TOO_OLD, {"PYTHON": "python3"}, ["PYTHON=python3 is no Python >= 3.11 (Python 3.9.2)", "make PYTHON="]),
        (WITHOUT_ENSUREPIP_AND_PIP, {}, ["No module named venv", "-venv), then run make again"]),
    ],
)
def test_what_is_missing_is_said(
    tmp_path: Path, root: Path, interpreter: str, environment: dict[str, str], said: list[str]
) -> None:
    done = set_up(tmp_path, root, interpreter, **environment)
    assert done.returncode == 1
    for words in said:
        assert words in done.stderr
    assert not (tmp_path / ".venv" / ".home").exists()


def test_every_target_of_the_makefile_explains_itself(root: Path) -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", "help"], cwd=root, env=outside, check=True, capture_output=True, text=True)
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines() if line.strip()]
    expected = "help venv demo test check bench docs size lint types layers lock clean"
    assert {target for _, target, _ in lines} >= set(expected.split())
    assert all(make == "make" and explanation for make, _, explanation in lines)
