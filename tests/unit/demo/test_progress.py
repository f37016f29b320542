"""A pipe gets plain lines, a terminal a bar, and neither fails on a character."""

import io
import sys
from collections.abc import Callable

import pytest

from dwell.demo.progress import screen_on


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def told(out: io.StringIO) -> str:
    with screen_on(out, 10) as screen:
        screen.show(5, "half-way [bold]")
        screen.say("a line with [brackets] and \u202e")
    return out.getvalue()


def test_a_pipe_gets_lines_alone() -> None:
    assert told(io.StringIO()) == "a line with [brackets] and \u202e\n"


def test_a_terminal_gets_a_bar_and_the_same_lines() -> None:
    text = told(Terminal())
    assert "a line with [brackets]" in text
    assert "half-way [bold]" in text
    assert "5/10" in text


def test_without_rich_a_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "rich" or name.startswith("rich.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert told(Terminal()) == told(io.StringIO())


@pytest.mark.parametrize("make", [io.StringIO, Terminal])
def test_what_a_stream_can_not_say_is_escaped(make: Callable[[], io.StringIO]) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    out.isatty = make().isatty  # type: ignore[method-assign]
    with screen_on(out, 1) as screen:
        screen.say("caf\xe9")
    assert b"caf\\xe9" in raw.getvalue()
