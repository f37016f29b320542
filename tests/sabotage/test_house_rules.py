"""The house rules fail on planted names and texts, and name the file.

What is planted is put together here, so that this file keeps the rules itself.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Gate = Callable[..., subprocess.CompletedProcess[str]]
Plant = Callable[[str, str], Path]

PINNED = "numpy==2.4.6 \\\n    --hash=sha256:" + "0" * 64 + "\n"


def test_a_sound_tree_breaks_no_rule(gate: Gate, tree: Path) -> None:
    (tree / "requirements").mkdir()
    (tree / "requirements" / "core.txt").write_text("# pinned\n" + PINNED, encoding="utf-8")
    done = gate(tree, "house.py")
    assert done.returncode == 0, done.stdout
    assert not done.stdout


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "manager", "base", "data", "process"])
def test_a_name_that_says_nothing_is_refused(gate: Gate, tree: Path, plant: Plant, name: str) -> None:
    plant(f"replay/{name}.py", "")
    plant(f"loop/sum_{name}.py", "")
    plant(f"{name}/__init__.py", "")
    done = gate(tree, "house.py")
    assert done.returncode == 1
    for path in (f"replay/{name}.py", f"loop/sum_{name}.py", f"{name}/__init__.py"):
        assert f"src/dwell/{path}: the name {name!r} says nothing" in done.stdout


def test_a_name_that_only_contains_such_a_word_passes(gate: Gate, tree: Path, plant: Plant) -> None:
    plant("storage/database.py", "")
    plant("storage/processes.py", "")
    assert gate(tree, "house.py").returncode == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("see " + "/wo" + "rk/shared/page.md", "a path of one machine"),
        ("open('" + "/ro" + "ot/.cache')", "a path of one machine"),
        ("into " + "/t" + "mp", "a path of one machine"),
        ("file://" + "/ho" + "me/me/x", "a path of one machine"),
        ("--index-url https://py" + "pi.org/simple", "the host of a package registry"),
        ("# TO" + "DO: later", "postponed work"),
        ("# FIX" + "ME", "postponed work"),
        ("XX" + "X here", "postponed work"),
    ],
)
def test_a_forbidden_text_is_refused_with_its_line(gate: Gate, tree: Path, text: str, why: str) -> None:
    (tree / "notes.md").write_text(f"# Notes\n\n{text}\n", encoding="utf-8")
    done = gate(tree, "house.py")
    assert done.returncode == 1
    assert f"notes.md:3: {why}" in done.stdout


def test_relative_paths_and_ignored_files_are_no_breach(gate: Gate, tree: Path) -> None:
    (tree / ".gitignore").write_text("*.log\ncache/\n", encoding="utf-8")
    (tree / "notes.md").write_text(
        "the folders of src" + "/wo" + "rk/ and {folder}" + "/ro" + "ot/\n", encoding="utf-8"
    )
    (tree / "run.log").write_text("TO" + "DO\n", encoding="utf-8")
    (tree / "cache").mkdir()
    (tree / "cache" / "utils.py").write_text("", encoding="utf-8")
    done = gate(tree, "house.py")
    assert done.returncode == 0, done.stdout


def test_a_public_module_without_a_docstring_is_refused(gate: Gate, tree: Path) -> None:
    (tree / "src" / "dwell" / "silent.py").write_text("x = 1\n", encoding="utf-8")
    done = gate(tree, "house.py")
    assert done.returncode == 1
    assert "src/dwell/silent.py: a public module without a docstring" in done.stdout


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("numpy==2.4.6\n", "not pinned by version and hash"),
        (PINNED.replace("==", ">="), "not pinned by version and hash"),
        ("--find-links somewhere\n", "names an index, a file or a host"),
        ("dwell @ http" + "://host/dwell.whl --hash=sha256:0\n", "names an index, a file or a host"),
    ],
)
def test_a_loose_requirement_is_refused(gate: Gate, tree: Path, entry: str, why: str) -> None:
    (tree / "requirements").mkdir()
    (tree / "requirements" / "core.txt").write_text(PINNED + entry, encoding="utf-8")
    done = gate(tree, "house.py")
    assert done.returncode == 1
    assert why in done.stdout


def test_the_project_keeps_the_house_rules(gate: Gate, root: Path) -> None:
    done = gate(root, "house.py")
    assert done.returncode == 0, done.stdout


def test_the_projects_requirements_are_all_checked(root: Path) -> None:
    names = {path.name for path in (root / "requirements").glob("*.txt")}
    assert names == {"core.txt", "demo.txt", "test.txt", "lint.txt", "bench.txt", "peers.txt", "oracles.txt"}
    for name in names:
        assert "://" not in (root / "requirements" / name).read_text(encoding="utf-8")
