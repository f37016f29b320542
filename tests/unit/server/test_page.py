"""The collector's file, what is promised of its size, and pages that show hostile text as text."""

import base64
import gzip
import hashlib
import importlib.util
import re
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

from dwell.server import page

ROOT = Path(__file__).resolve().parents[3]
STATIC = ROOT / "src" / "dwell" / "server" / "static"
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"


class Tags(HTMLParser):
    """The elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that makes the served file."""
    spec = importlib.util.spec_from_file_location("page_script", ROOT / "scripts" / "page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_served_file_is_made_from_the_readable_one(script: ModuleType) -> None:
    source = (STATIC / "dwell.src.js").read_text(encoding="utf-8")
    assert script.stripped(source) == (STATIC / "dwell.js").read_text(encoding="utf-8"), "run scripts/page.py"


def test_it_has_at_most_three_kilobytes_and_evaluates_no_text() -> None:
    content, _ = page.dwell_js()
    assert len(gzip.compress(content, 9)) <= 3 * 1024
    text = content.decode("ascii")  # no encoding can be got wrong
    assert not re.search(r"\beval\b|new Function|innerHTML|document\.write|insertAdjacentHTML", text)
    assert not re.search(r"localStorage|sessionStorage|indexedDB|document\.cookie|setTimeout\('", text)


def test_shortening_keeps_what_is_quoted_and_refuses_what_it_can_not_tell_apart(script: ModuleType) -> None:
    assert script.stripped("  // a\nconst a = 'x = //y' // b\n\n  f(`${a} + 1`, a)\n") == (
        "const a='x = //y'\nf(`${a} + 1`,a)\n"
    )
    for bad in ("a /* b */", 'a = "b"', "a = b + +c", "a = /b = c/", "a = `b\nc`", "a = 'b", "a = 'b // c'"):
        with pytest.raises(ValueError, match="line 1"):
            script.stripped(bad)


def test_the_integrity_is_that_of_the_bytes() -> None:
    content, integrity = page.dwell_js()
    method, _, digest = integrity.partition("-")
    assert method == "sha384"
    assert base64.b64decode(digest) == hashlib.sha384(content).digest()
    assert page.page_asset("dwell.js").etag.strip('"') in hashlib.sha256(content).hexdigest()


def test_a_name_that_is_no_file_of_ours_is_none() -> None:
    with pytest.raises(KeyError):
        page.page_asset("../page.py")


def test_hostile_text_stays_text_and_every_script_is_a_file() -> None:
    row = page.ExampleResult(HOSTILE, HOSTILE, HOSTILE, 1.0, 0.5, 3)
    view = page.ExampleView(
        base="/x", query=HOSTILE, user=HOSTILE, public_key=HOSTILE, event_id=HOSTILE, token=HOSTILE, params_version=7,
        fallback=HOSTILE, results=(row,),
    )  # fmt: skip
    for text in (
        page.example_page(view),
        page.document_page("/x", HOSTILE, HOSTILE),
        page.message_page("/x", HOSTILE, HOSTILE, HOSTILE),
    ):
        tags = Tags(text).found
        assert not [tag for tag, _ in tags if tag == "img"]
        assert not [name for _, attributes in tags for name in attributes if name.startswith("on") or name == "style"]
        assert all(attributes.get("src") == "/x/dwell.js" for tag, attributes in tags if tag == "script")
        assert "49" not in text
    attributes = {name: value for _, found in Tags(page.example_page(view)).found for name, value in found.items()}
    told = ("data-dwell-event", "data-dwell-token", "data-dwell-doc", "data-user", "data-key")
    assert [attributes[name] for name in told] == [HOSTILE] * 5
    assert attributes["integrity"] == page.dwell_js()[1]


def test_an_excerpt_is_one_short_line() -> None:
    row = page.ExampleResult("d", "t", "word \n" * 100, 0.0, 1.0, 1)
    assert row.excerpt == " ".join(["word"] * 40) + "…"
    assert row._replace(body=" a\n b ").excerpt == "a b"
