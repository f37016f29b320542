"""Templates and files of the dashboard: how figures are written, and how a browser may keep what never changes."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

import jinja2

from dwell import __version__

__all__ = ["NAV", "PAGE_HEADERS", "StaticFile", "rendered", "static_file"]

#: Headers of every page. Nothing comes from elsewhere, nothing runs that is no file of ours, and no style stands in a
#: tag: text that breaks out of its place could neither run nor be drawn over what is there. `data:` is Pico's arrows.
PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",  # what was asked and by whom stays in no browser after its key was revoked
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
#: The pages that are in the list of pages: address and name.
NAV: Final = (
    ("/", "Overview"),
    ("/dashboard/params", "Params"),
    ("/dashboard/decisions", "Decisions"),
    ("/dashboard/buffer", "Buffer"),
    ("/dashboard/queries", "Queries"),
    ("/dashboard/events", "Events"),
    ("/dashboard/activation", "Activation"),
    ("/dashboard/doctor", "Doctor"),
)
_MEDIA_TYPES: Final = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "txt": "text/plain"}
_FILES: Final = (
    "dashboard.css",
    "dashboard.js",
    "vendor/LICENSES.txt",
    "vendor/htmx.min.js",
    "vendor/idiomorph-ext.min.js",
    "vendor/pico.classless.min.css",
    "vendor/uplot.min.css",
    "vendor/uplot.min.js",
)
_NOTHING: Final = "\N{EN DASH}"
# What moves the text around it, or is not to be seen: controls, marks of direction, and what is of no width
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")
_DAY_S: Final = 86_400.0


class StaticFile(NamedTuple):
    """A file that pages load.

    Attributes:
        content: Its bytes.
        integrity: Subresource integrity: "sha384-" and the digest.
        mark: Part of its address that changes with its content.
        media_type: What it is.
    """

    content: bytes
    integrity: str
    mark: str
    media_type: str


@cache
def static_file(name: str) -> StaticFile | None:
    """Return a file of the dashboard by its name, or None where there is none of that name."""
    if name not in _FILES:
        return None
    content = files("dwell.server").joinpath("static", *name.split("/")).read_bytes()
    integrity = "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()
    mark = hashlib.sha256(content).hexdigest()[:16]
    return StaticFile(content, integrity, mark, _MEDIA_TYPES[name.rpartition(".")[2]])


def rendered(template: str, context: Mapping[str, Any], *, block: str = "") -> str:
    """Return a page, or one block of it; the whole page where it has no such block."""
    found = _environment().get_template(f"dashboard/{template}")
    if block not in found.blocks:
        return found.render(context)
    return "".join(found.blocks[block](found.new_context(dict(context))))


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("dwell.server"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": _number, "signed": _signed, "share": _share, "when": _when, "iso": _iso, "duration": _duration,
        "bytes": _bytes, "figure": _figure, "inert": _inert, "counted": _counted,
    }  # fmt: skip
    made.globals |= {"version": __version__, "static_file": static_file, "nav": NAV}
    return made


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _number(value: float | None, digits: int = 4) -> str:
    """Write a number with so many significant digits, whole ones with commas; a dash for what is none."""
    if value is None or not _is_number(value):
        return _NOTHING
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.{digits}g}" if abs(value) < 10.0**digits - 0.5 else f"{value:,.0f}"


def _signed(value: float | None, digits: int = 3) -> str:
    if value is None or not _is_number(value):
        return _NOTHING
    return "0" if value == 0 else f"{value:+.{digits}g}".replace("-", "\N{MINUS SIGN}")


def _counted(n: int, one: str) -> str:
    """Write how many of something: "1 list", "2,000 lists"."""
    return f"{n:,} {one if n == 1 else one + 's'}"


def _share(value: float | None) -> str:
    """Write a share as per cent."""
    if value is None or not _is_number(value):
        return _NOTHING
    return f"{100.0 * value:.3g} %"


def _when(value: float | None) -> str:
    """Write an instant: UTC, to the second."""
    return (
        _NOTHING
        if value is None or not _is_instant(value)
        else f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S}"
    )


def _iso(value: float | None) -> str:
    return "" if value is None or not _is_instant(value) else f"{datetime.fromtimestamp(value, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _is_instant(value: float) -> bool:
    return _is_number(value) and 0.0 <= value < 2.5e11  # the year 9892: what a calendar can write


def _duration(value: float | None) -> str:
    """Write seconds in the unit in which they are easiest to read."""
    if value is None or not _is_number(value):
        return _NOTHING
    for unit, size in (("d", _DAY_S), ("h", 3_600.0), ("min", 60.0), ("s", 1.0)):
        if abs(value) >= size:
            return (
                f"{_number(value / size, 3)} {unit}" if abs(value) < 1_000.0 * size else f"{value / size:,.0f} {unit}"
            )
    return f"{1_000.0 * value:.3g} ms" if value else "0 s"


def _inert(text: str, most: int = 300) -> str:
    """Write somebody else's text: cut, and with a mark in place of what would hide or turn round its neighbours."""
    shown = _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)
    return shown if len(shown) <= most else f"{shown[:most]}\N{HORIZONTAL ELLIPSIS}"


def _bytes(value: float | None) -> str:
    if value is None or not _is_number(value):
        return _NOTHING
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def _figure(value: float | None, unit: str) -> str:
    """Write a figure in its unit, as checks of health name it."""
    if unit == "ratio":
        return _share(value)
    if unit == "s":
        return _duration(value)
    if unit == "hours":
        return _duration(None if value is None else 3_600.0 * value)
    if unit == "bytes":
        return _bytes(value)
    return _number(value)
