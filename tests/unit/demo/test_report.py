"""The report holds everything, asks for nothing, runs nothing, and believes nobody's text."""

import re
from html.parser import HTMLParser

from dwell.demo.place import GENERATOR
from dwell.demo.report import Account, report_page
from dwell.demo.telling import outcome_of

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Reads a page: its tags, their attributes, its text; fails on a tag that is closed out of order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(account: Account) -> tuple[str, Page]:
    html = report_page(account, outcome_of(account.moments))
    return html, Page(html)


def test_hostile_text_is_shown_and_does_nothing(account: Account) -> None:
    html, read = page(account)
    assert not {tag for tag, _ in read.tags} & {"script", "img", "iframe", "object", "link", "a", "form"}
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    assert "<script>alert('x')</script>" in "".join(read.text)  # shown as the text that it is
    assert "\x1b" not in html
    assert "\u202e" not in html


def test_it_asks_for_nothing_and_says_so(account: Account) -> None:
    html, read = page(account)
    assert not re.search(r"https?:|url\(|@import|src=|href=", html)
    policies = [a["content"] for t, a in read.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert GENERATOR in html[:1_000]
    assert "prefers-color-scheme" in html


def test_it_tells_the_whole_story(account: Account) -> None:
    _, read = page(account)
    text = " ".join("".join(read.text).split())
    assert "The users are simulated" in text
    assert "2 of 3decided proposals were promoted" in text  # a tile: the figure stands above its words
    assert len([1 for tag, _ in read.tags if tag == "svg"]) >= 2
    assert text.count("rolled back") >= 1
    classes = [str(attributes.get("class")) for tag, attributes in read.tags if tag == "path"]
    assert classes.count("dot good") == 2 * 2  # both promotions, in both plots
    assert classes.count("dot bad") == 2
    assert classes.count("rule turn") == 2


def test_a_story_without_promotions_has_a_report_too(account: Account) -> None:
    moments = list(account.moments)[:3]
    short = Account(account.facts, account.plan, account.world, moments, account.ledger[:1], account.versions)
    html = report_page(short, outcome_of(moments))
    assert "nothing was promoted" in html
    assert "No learned version went live" in html
