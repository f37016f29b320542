"""The checks of the documentation fail on a planted fault: a link, an anchor, an unnamed command, a block that lies."""

import runpy
import traceback
from pathlib import Path
from typing import Any

import pytest

PAGE = '# The Page: `dwell.open`, twice\n\n## Same\n\n## Same\n\n<a id="mark"></a>\n'


@pytest.fixture
def docs(root: Path) -> dict[str, Any]:
    """Return the functions of scripts/docs.py."""
    return runpy.run_path(str(root / "scripts" / "docs.py"))


@pytest.fixture
def blocks(root: Path) -> dict[str, Any]:
    """Return the functions that run a page's blocks."""
    return runpy.run_path(str(root / "tests" / "docs" / "test_blocks.py"))


def site(folder: Path, link: str) -> Path:
    """Write two pages, the first with one link."""
    (folder / "docs").mkdir()
    (folder / "docs" / "page.md").write_text(PAGE, encoding="utf-8")
    (folder / "README.md").write_text(f"# Home\n\nA [link]({link}).\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "link",
    [
        "docs/page.md",
        "docs/page.md#the-page-dwellopen-twice",
        "docs/page.md#same-1",
        "docs/page.md#mark",
        "#home",
        "https://example.org/nowhere",
    ],
)
def test_a_link_that_leads_somewhere_passes(docs: dict[str, Any], tmp_path: Path, link: str) -> None:
    assert list(docs["broken_links"](site(tmp_path, link))) == []


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("docs/gone.md", "no such file"),
        ("../outside.md", "no such file"),
        ("docs/page.md#same-2", "no such heading"),
        ("#docs", "no such heading"),
    ],
)
def test_a_link_that_leads_nowhere_is_named(docs: dict[str, Any], tmp_path: Path, link: str, why: str) -> None:
    (tmp_path.parent / "outside.md").write_text("# Outside\n", encoding="utf-8")
    assert list(docs["broken_links"](site(tmp_path, link))) == [f"README.md: {link}: {why}"]


def test_links_and_headings_inside_code_do_not_count(docs: dict[str, Any], tmp_path: Path) -> None:
    text = "# Home\n\n`[a](gone.md)`\n\n```markdown\n[a](gone.md)\n# Inside\n```\n\n[to](#inside)\n"
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert list(docs["broken_links"](tmp_path)) == ["README.md: #inside: no such heading"]


def test_a_command_that_no_page_mentions_is_named(docs: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("Run `dwell demo`, then dwell config\nshow.\n", encoding="utf-8")
    names = ["dwell demo", "dwell config show", "dwell train"]
    assert list(docs["undocumented"](tmp_path, names)) == [
        "dwell train: a command that neither README.md nor docs/ mentions"
    ]


def test_a_command_that_exits_0_and_prints_what_is_shown_passes(blocks: dict[str, Any], tmp_path: Path) -> None:
    blocks["Page"]("page.md", tmp_path).run("```console\n$ dwell --help\nUsage: dwell ...\n```\n")


def test_a_command_that_prints_something_else_fails(blocks: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="but it printed"):
        blocks["Page"]("page.md", tmp_path).run("```console\n$ dwell --help\nnothing of the kind\n```\n")


def test_true_blocks_pass(blocks: dict[str, Any], tmp_path: Path) -> None:
    page = "```python\nx = 2\nprint('x is', x)\n```\n```text output\nx is ...\n```\n```pycon\n>>> x + 1\n3\n```\n"
    blocks["Page"]("page.md", tmp_path).run(page)


@pytest.mark.parametrize(
    "page",
    [
        "```python\nraise AssertionError('planted')\n```\n",
        "```python\nprint(1)\n```\n```text output\n2\n```\n",
        "```pycon\n>>> 1 + 1\n3\n```\n",
        "```pycon\nno prompt\n```\n",
        "```console\n$ dwell no-such-command\n```\n",
        "1. Indented:\n   ```python\n   assert not 'planted'\n   ```\n",
    ],
)
def test_a_block_that_lies_fails(blocks: dict[str, Any], tmp_path: Path, page: str) -> None:
    with pytest.raises(AssertionError):
        blocks["Page"]("page.md", tmp_path).run(page)


def test_an_error_in_a_block_shows_the_line_of_the_page(blocks: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        blocks["Page"]("page.md", tmp_path).run("# Title\n\n```python\nx = 1\nx / 0\n```\n")
    frame = traceback.extract_tb(caught.tb)[-1]
    assert (frame.filename, frame.lineno) == ("page.md", 5)
