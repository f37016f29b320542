"""What is printed, and how: plain lines for people, one document for programs.

Queries, ids and reasons come from strangers: every control character, terminal escape and text-direction override is
shown as an escape sequence, so that nothing in a store can drive the terminal of whoever looks at it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

__all__ = [
    "bar",
    "complain",
    "document",
    "examples",
    "fact_lines",
    "finite",
    "json_option",
    "number",
    "plain",
    "say",
    "shortened",
    "styled",
    "table",
    "when",
]

F = TypeVar("F", bound=Callable[..., Any])

NOTHING: Final = "-"
_BAR_WIDTH: Final = 30


def json_option(command: F) -> F:
    """Give a command `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")(command)


def examples(*lines: str) -> Callable[[F], F]:
    """Give a command's help its examples, each on a line of its own."""

    def with_examples(command: F) -> F:
        shown = "".join(f"      {line}\n" for line in lines)
        command.__doc__ = f"{command.__doc__}\n\n    \b\n    Examples:\n{shown}"
        return command

    return with_examples


def plain(value: object) -> str:
    r"""Return text in which nothing but printable characters and spaces is left; the rest is shown like \x1b."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(value))


def shortened(value: object, width: int) -> str:
    """Return plain text of at most `width` characters, "..." at the end where something is left out."""
    text = plain(str(value)[: 4 * width])  # a query may have 64 KB: what can not be seen is not escaped either
    return text if len(text) <= width else text[: width - 3] + "..."


def say(line: str = "", *, err: bool = False) -> None:
    """Print a line, without the password of any database; what the terminal can not show is escaped, not refused."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    click.echo(_shown(line).encode(encoding, "backslashreplace").decode(encoding), err=err)


def _shown(line: str) -> str:
    if "postgres" not in line:
        return line
    from dwell.storage.places import without_passwords  # not at the top: it would load the storage for every --help

    return without_passwords(line)


def complain(words: str) -> None:
    """Print why something failed, on one line of the error stream."""
    say(f"dwell: {plain(words)}", err=True)


def styled(text: str, color: str) -> str:
    """Return text in color; `say` takes the color away where no terminal reads it."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=color)


def finite(value: object) -> object:
    """Return plain values for JSON: arrays as lists, records as objects, what is not finite as None."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        value = {field.name: getattr(value, field.name) for field in fields if not field.name.startswith("_")}
    elif hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, Iterable) else str(value)


def document(value: object) -> None:
    """Print one JSON document: ASCII, so that no text in it can drive a terminal, and finite."""
    say(json.dumps(finite(value), indent=2, allow_nan=False))


def when(at: float | None) -> str:
    """Return an instant as UTC to the second; "-" for none, and for 0, which stands for "not known"."""
    if not at:
        return NOTHING
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{at:.0f} s"


def number(value: float | None, *, signed: bool = False) -> str:
    """Return a number to four digits after the point, or in scientific notation where that would hide it."""
    if value is None or math.isnan(value):
        return NOTHING
    is_plain = value == 0.0 or 1e-3 <= abs(value) < 1e6
    sign = "+" if signed else ""
    return format(value, f"{sign}.4f" if is_plain else f"{sign}.3g")


def bar(value: float, largest: float) -> str:
    """Return a bar as long as the value is large beside the largest one."""
    n = round(_BAR_WIDTH * abs(value) / largest) if largest > 0.0 else 0
    return "#" * n


def fact_lines(pairs: Iterable[tuple[str, object]], *, err: bool = False) -> None:
    """Print names and values, one pair a line."""
    rows = [(name, plain(value)) for name, value in pairs]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        say(f"  {name:<{width}}  {value}", err=err)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print rows under heads; the columns named in `right` are aligned to the right."""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(head), *(len(row[i]) for row in cells)) if cells else len(head) for i, head in enumerate(heads)]
    for row in (list(heads), *cells):
        aligned = [
            f"{cell:>{width}}" if head in right else f"{cell:<{width}}"
            for head, cell, width in zip(heads, row, widths, strict=True)
        ]
        say(f"  {'  '.join(aligned)}".rstrip())
