"""The size gate fails on one line too many, in a file or in a function, and names it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

Gate = Callable[..., subprocess.CompletedProcess[str]]
Plant = Callable[[str, str], Path]

# A planted module begins with a docstring and a blank line: two lines.
LONGEST_FILE = "x = 1\n" * 598
LONGEST_FUNCTION = "def long() -> None:\n" + "    x = 1\n" * 79


def test_the_longest_allowed_file_and_function_pass(gate: Gate, tree: Path, plant: Plant) -> None:
    plant("replay/long_file.py", LONGEST_FILE)
    plant("replay/long_function.py", LONGEST_FUNCTION)
    done = gate(tree, "size.py")
    assert done.returncode == 0, done.stdout
    assert "max  600  src/dwell/replay/long_file.py" in done.stdout
    assert "max   80  src/dwell/replay/long_function.py:3 long" in done.stdout


def test_a_file_one_line_longer_is_refused_by_name(gate: Gate, tree: Path, plant: Plant) -> None:
    plant("replay/long_file.py", LONGEST_FILE + "x = 1\n")
    done = gate(tree, "size.py")
    assert done.returncode == 1
    assert "src/dwell/replay/long_file.py: 601 lines, the limit is 600" in done.stdout


def test_a_method_one_line_longer_is_refused_by_name(gate: Gate, tree: Path, plant: Plant) -> None:
    lines = (LONGEST_FUNCTION + "    x = 1\n").splitlines()
    plant("replay/long_function.py", "class Room:\n" + "".join(f"    {line}\n" for line in lines))
    done = gate(tree, "size.py")
    assert done.returncode == 1
    assert "src/dwell/replay/long_function.py:4 long: 81 lines, the limit is 80" in done.stdout


def test_an_empty_folder_is_no_success(gate: Gate, tmp_path: Path) -> None:
    done = gate(tmp_path, "size.py")
    assert done.returncode == 1


def test_the_project_keeps_its_size(gate: Gate, root: Path) -> None:
    done = gate(root, "size.py")
    assert done.returncode == 0, done.stdout
