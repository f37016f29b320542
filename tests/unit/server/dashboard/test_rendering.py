import hashlib
import math
from importlib.resources import files

import pytest

from dwell.server.dashboard import rendering
from dwell.server.dashboard.rendering import PAGE_HEADERS, static_file

FILTERS = rendering._environment().filters
NOTHING = "\N{EN DASH}"
VENDOR = files("dwell.server").joinpath("static", "vendor")


def test_files_of_others_are_as_their_packages_have_them() -> None:
    sums = dict(reversed(line.split()) for line in VENDOR.joinpath("SHA256SUMS").read_text().splitlines())
    there = {found.name for found in VENDOR.iterdir() if found.name.endswith((".js", ".css"))}
    assert set(sums) == there
    for name, digest in sums.items():
        assert hashlib.sha256(VENDOR.joinpath(name).read_bytes()).hexdigest() == digest, name
        assert name in VENDOR.joinpath("LICENSES.txt").read_text()


def test_no_file_is_given_but_those_of_the_list() -> None:
    for name in ("../house.py", "dwell.js", "vendor/../dashboard.js", "vendor/SHA256SUMS", "", "/etc/hostname"):
        assert static_file(name) is None
    found = static_file("dashboard.css")
    assert found is not None
    assert found.mark == hashlib.sha256(found.content).hexdigest()[:16]


def test_nothing_that_stands_in_a_tag_may_run_or_be_drawn() -> None:
    policy = dict(part.strip().split(" ", 1) for part in PAGE_HEADERS["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"


def test_templates_escape_what_they_are_given() -> None:
    made = rendering._environment().from_string('<p title="{{ x }}">{{ x | inert }}</p>')
    text = made.render(x="<script>\"'&")
    assert "<script>" not in text
    assert "&lt;script&gt;&#34;&#39;&amp;" in text


@pytest.mark.parametrize("mark", ["\u202e", "\u2066", "\u200b", "\x00", "\x1b", "\x9f", "\ufeff", "\u2028", "\n"])
def test_what_hides_or_turns_text_round_is_replaced(mark: str) -> None:
    assert FILTERS["inert"](f"a{mark}b") == "a\ufffdb"


def test_long_text_is_cut() -> None:
    assert FILTERS["inert"]("x" * 1_000, 10) == "x" * 10 + "…"
    assert FILTERS["inert"]("שלום, 你好, naïve") == "שלום, 你好, naïve"


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("number", 1234567.0, "1,234,567"),
        ("number", 0.123456, "0.1235"),
        ("number", None, NOTHING),
        ("number", math.nan, NOTHING),
        ("number", math.inf, NOTHING),
        ("number", 123456.7, "123,457"),
        ("signed", -0.5, "\N{MINUS SIGN}0.5"),
        ("signed", 2.0, "+2"),
        ("share", 0.0625, "6.25 %"),
        ("share", None, NOTHING),
        ("duration", 90.0, "1.5 min"),
        ("duration", 0.0, "0 s"),
        ("duration", 1_108.6 * 86_400.0, "1,109 d"),
        ("duration", 0.25, "250 ms"),
        ("duration", 172_800.0, "2 d"),
        ("bytes", 1.5e6, "1.5 MB"),
        ("bytes", 12.0, "12 B"),
        ("when", 0.0, "1970-01-01 00:00:00"),
        ("when", 1e300, NOTHING),
        ("when", -1.0, NOTHING),
        ("iso", 86_400.0, "1970-01-02T00:00:00Z"),
    ],
)
def test_figures_are_written_as_people_read_them(name: str, value: object, written: str) -> None:
    assert FILTERS[name](value) == written


@pytest.mark.parametrize(
    ("unit", "written"), [("ratio", "50 %"), ("s", "500 ms"), ("hours", "30 min"), ("bytes", "0 B"), ("count", "0.5")]
)
def test_a_figure_is_written_in_its_unit(unit: str, written: str) -> None:
    assert FILTERS["figure"](0.5, unit) == written


def test_few_digits_never_make_an_exponent_of_a_large_number() -> None:
    assert [FILTERS["number"](value, 3) for value in (2_953.4, 999.7, 999.4)] == ["2,953", "1,000", "999"]


def test_one_is_one_and_all_else_are_many() -> None:
    assert [FILTERS["counted"](n, "list") for n in (0, 1, 2, 2_000)] == ["0 lists", "1 list", "2 lists", "2,000 lists"]
