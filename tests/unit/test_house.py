"""The package says the truth about itself: its names, its version, and the drawing of its errors."""

import inspect
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import dwell
from dwell import errors

# "~25 public names" and room for the seed's own; more than 40 are no longer read as a list.
MAX_PUBLIC_NAMES = 40

SURFACE = {
    "Experience",
    "ReplayBuffer",
    "LinearRanker",
    "RewardPredictor",
    "add_experience_with_priority",
    "buffer_health_report",
    "compute_priority",
    "open",
    "temporal_weight",
    "train_from_replay",
    "train_with_temporal_weighting",
}


def drawn_tree(docstring: str) -> dict[str, tuple[str, set[str]]]:
    """Read the drawing: for each class its parent in the tree, and the builtin classes in brackets."""
    tree: dict[str, tuple[str, set[str]]] = {}
    path: list[str] = []
    for line in docstring.splitlines():
        found = re.match(r"^ {4}((?:\| {3})*)(\+ )?(\w+)(?:\(([\w, ]+)\))?  ", line)
        if found is None:
            continue
        depth = len(found[1]) // 4 + (found[2] is not None)
        path[depth:] = [found[3]]
        builtin = {name.strip() for name in (found[4] or "").split(",")} - {""}
        tree[found[3]] = (path[depth - 1] if depth else "", builtin)
    return tree


def real_tree() -> dict[str, tuple[str, set[str]]]:
    """Read the same from the classes."""
    classes = [item for item in vars(errors).values() if inspect.isclass(item) and issubclass(item, errors.DwellError)]
    return {
        item.__name__: (
            next((parent.__name__ for parent in item.__bases__ if parent in classes), ""),
            {parent.__name__ for parent in item.__bases__ if parent not in classes},
        )
        for item in classes
    }


def test_the_drawing_of_the_errors_equals_the_classes() -> None:
    assert drawn_tree(errors.__doc__ or "") == real_tree()


def test_the_drawing_is_read_line_by_line() -> None:
    drawing = "Errors.\n\n    A(Exception)   all\n    + B(ValueError)  one\n    |   + C  two\n    + D  three\n"
    assert drawn_tree(drawing) == {
        "A": ("", {"Exception"}),
        "B": ("A", {"ValueError"}),
        "C": ("B", set()),
        "D": ("A", set()),
    }


def test_every_error_is_exported_documented_and_has_its_own_code() -> None:
    assert set(errors.__all__) == set(real_tree())
    codes = [getattr(errors, name).code for name in errors.__all__]
    assert len(set(codes)) == len(codes)
    assert all(vars(getattr(errors, name))["__doc__"] for name in errors.__all__)


def test_all_is_sorted_without_repeats_and_short() -> None:
    """The order is the linter's: constants, then classes, then functions."""
    in_order = sorted(set(dwell.__all__), key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert list(dwell.__all__) == in_order
    assert len(dwell.__all__) <= MAX_PUBLIC_NAMES


@pytest.mark.parametrize("name", sorted({*dwell.__all__, *SURFACE}))
def test_a_public_name_is_exported_importable_and_documented(name: str) -> None:
    assert name in dwell.__all__
    value = getattr(dwell, name)
    if not isinstance(value, str):
        assert inspect.getdoc(value)


def test_a_star_import_brings_exactly_the_public_names() -> None:
    namespace: dict[str, object] = {}
    exec("from dwell import *", namespace)  # noqa: S102 - the statement is what is tested
    assert set(namespace) - {"__builtins__"} == set(dwell.__all__)


def test_dir_shows_the_public_names() -> None:
    assert set(dwell.__all__) <= set(dir(dwell))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = dwell.no_such_name  # type: ignore[attr-defined]


def test_the_version_is_the_one_that_is_packaged(root: Path) -> None:
    packaged = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert dwell.__version__ == packaged


def test_every_room_exports_what_it_says(root: Path) -> None:
    """Each name in a room's `__all__` exists, once."""
    rooms = sorted(path.parent.name for path in (root / "src" / "dwell").glob("*/__init__.py"))
    assert rooms
    for room in rooms:
        module = import_module(f"dwell.{room}")
        exported = list(getattr(module, "__all__", []))
        assert len(set(exported)) == len(exported), room
        assert [name for name in exported if not hasattr(module, name)] == [], room
