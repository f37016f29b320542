import dataclasses
import json
import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwell.cli.printing import bar, document, examples, finite, number, plain, say, shortened, table, when


@given(st.text())
def test_nothing_that_drives_a_terminal_is_left(text: str) -> None:
    shown = plain(text)
    assert all(c == " " or c.isprintable() for c in shown)
    assert len(shown) >= len(text)  # and nothing was left out


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_what_can_be_shown_is_shown_as_it_is(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize(
    "hostile", ["\x1b[2J", "\r", "\n", "\x07", "\x9b", "\u202e", "\u2028", "\u200b", "\x7f", "\ud800"]
)
def test_an_escape_is_shown_by_its_number(hostile: str) -> None:
    shown = plain(hostile)
    assert hostile[0] not in shown
    assert shown.startswith("\\")
    assert shown.encode("ascii").decode("unicode_escape") == hostile


@given(st.text(max_size=100), st.integers(3, 40))
def test_shortened_text_fits(text: str, width: int) -> None:
    shown = shortened(text, width)
    assert len(shown) <= width
    assert shown == plain(text) or shown.endswith("...")


@dataclasses.dataclass(frozen=True)
class Told:
    value: float
    _hidden: float = 1.0


def holds_only_finite(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and holds_only_finite(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(holds_only_finite, value))
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


numbers = st.floats() | st.integers() | st.booleans() | st.none() | st.text()
trees = st.recursive(
    numbers | st.builds(Told, st.floats()) | st.lists(st.floats()).map(np.array),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
)


@given(trees)
def test_json_is_plain_and_finite(tree: object) -> None:
    found = finite(tree)
    assert holds_only_finite(found)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_json_keeps_what_is_finite_and_drops_what_is_private() -> None:
    assert finite({"a": np.array([1.5, np.inf]), 3: Told(math.nan), "b": (np.float64(2.0), np.int64(4))}) == {
        "a": [1.5, None],
        "3": {"value": None},
        "b": [2.0, 4],
    }


def test_a_document_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    document({"query": "caf\u00e9 \x1b[31m \u202e"})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert "\x1b" not in printed
    assert json.loads(printed) == {"query": "caf\u00e9 \x1b[31m \u202e"}


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (86_400.0, "1970-01-02 00:00:00Z"),
        (1_709_164_800.9, "2024-02-29 00:00:00Z"),
        (0.0, "-"),
        (None, "-"),
        (1e15, "1000000000000000 s"),
    ],
)
def test_an_instant_is_utc(at: float | None, shown: str) -> None:
    assert when(at) == shown


@pytest.mark.parametrize(
    ("value", "signed", "shown"),
    [
        (0.5, False, "0.5000"),
        (0.5, True, "+0.5000"),
        (0.0, False, "0.0000"),
        (2e-7, False, "2e-07"),
        (-3e9, True, "-3e+09"),
        (math.inf, True, "+inf"),
        (math.nan, False, "-"),
        (None, False, "-"),
    ],
)
def test_a_number_keeps_its_digits(value: float | None, *, signed: bool, shown: str) -> None:
    assert number(value, signed=signed) == shown


def test_a_bar_is_as_long_as_its_share() -> None:
    assert len(bar(-2.0, 4.0)) * 2 == len(bar(4.0, 4.0))
    assert bar(0.0, 4.0) == bar(0.0, 0.0) == ""


def test_a_table_aligns_and_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    table(("id", "n"), [("a\nb", 1), ("c", 100)], right=("n",))
    assert capsys.readouterr().out.splitlines() == ["  id      n", "  a\\nb    1", "  c     100"]


def test_a_table_without_rows_is_its_heads(capsys: pytest.CaptureFixture[str]) -> None:
    table(("id", "n"), [])
    assert capsys.readouterr().out == "  id  n\n"


def test_what_the_stream_can_not_encode_is_escaped(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    say("caf\u00e9")
    assert raw.getvalue() == b"caf\\xe9\n"


def test_examples_stand_in_the_help() -> None:
    @examples("dwell x")
    def command() -> None:
        """Do x."""

    assert "Examples:\n      dwell x\n" in (command.__doc__ or "")
