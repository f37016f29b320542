"""The checks of the built site fail on a planted fault: something loaded from elsewhere, a link that leads nowhere."""

import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Complaints = Callable[[Path], tuple[int, list[str]]]


@pytest.fixture
def complaints(root: Path) -> Complaints:
    """Return the function that looks at a built site."""
    found: Complaints = runpy.run_path(str(root / "scripts" / "site.py"))["complaints"]
    return found


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a sound site of two pages, a style and a script."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.html").write_text('<h1 id="a%20b">A</h1><a href="../index.html#top">up</a>', "utf-8")
    (tmp_path / "site.css").write_text('b { background: url("data:image/svg+xml,<svg xmlns=http://x/>") }', "utf-8")
    (tmp_path / "site.js").write_text("1", "utf-8")
    text = (
        '<link href="site.css?v=1" rel="stylesheet"><script src="site.js"></script><p id="top">'
        '<a href="docs/page.html#a%2520b">in</a><a href="https://example.org/">out</a><a href="mailto:a@example.org">'
    )
    (tmp_path / "index.html").write_text(text, "utf-8")
    return tmp_path


def test_a_sound_site_passes(complaints: Complaints, site: Path) -> None:
    assert complaints(site) == (2, [])


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "https://cdn.example/x.js: loaded from elsewhere"),
        ('<script src="//cdn.example/x.js"></script>', "//cdn.example/x.js: loaded from elsewhere"),
        (
            '<link rel="stylesheet" href="HTTP://fonts.example/f.css">',
            "HTTP://fonts.example/f.css: loaded from elsewhere",
        ),
        ('<img src="http://example.org/badge.svg">', "http://example.org/badge.svg: loaded from elsewhere"),
        ('<iframe src="https://example.org/">', "https://example.org/: loaded from elsewhere"),
        ('<p style="background: url(https://example.org/a.png)">', "https://example.org/a.png: loaded from elsewhere"),
        ('<a href="docs/gone.html">', "docs/gone.html: no such file in the site"),
        ('<img src="gone.png">', "gone.png: no such file in the site"),
        ('<a href="docs/page.html#gone">', "docs/page.html#gone: no such anchor"),
        ('<a href="#gone">', "#gone: no such anchor"),
        ('<a href="/docs/page.html">', "/docs/page.html: no such file in the site"),
        ('<a href="../outside.html">', "../outside.html: no such file in the site"),
    ],
)
def test_a_planted_fault_is_told(complaints: Complaints, site: Path, planted: str, told: str) -> None:
    (site.parent / "outside.html").write_text("", "utf-8")
    with (site / "index.html").open("a", encoding="utf-8") as page:
        page.write(planted)
    assert complaints(site) == (2, [f"index.html: {told}"])


@pytest.mark.parametrize(
    "planted", ['@import "https://fonts.example/f.css";', "b { src: url(https://fonts.example/f) }"]
)
def test_a_style_that_loads_from_elsewhere_is_told(complaints: Complaints, site: Path, planted: str) -> None:
    (site / "site.css").write_text(planted, "utf-8")
    assert [one.partition(": ")[0] for one in complaints(site)[1]] == ["site.css"]


def built(root: Path, tree: Path, **pages: str) -> tuple[int, str]:
    """Build the site of a tree with the project's own settings; return the exit code, and what was said."""
    (tree / "docs").mkdir()
    for name in ("conf.py", "site.css"):
        shutil.copy(root / "docs" / name, tree / "docs")
    for name, text in pages.items():
        (tree / "docs" / f"{name}.md").write_text(text, "utf-8")
    command = [sys.executable, str(root / "scripts" / "site.py"), str(tree)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def test_sphinx_takes_sound_pages(root: Path, tmp_path: Path) -> None:
    pages = {"index": "# Home\n\n## Begin\n\n* [Page](page.md)\n", "page": "# Page\n\n[home](index.md#begin)\n"}
    code, said = built(root, tmp_path, **pages)
    assert (code, "pages in build" in said) == (0, True), said


def test_sphinx_refuses_a_dead_link_and_a_page_that_no_menu_names(root: Path, tmp_path: Path) -> None:
    pages = {"index": "# Home\n\n## Begin\n\n* [Page](page.md)\n", "page": "# Page\n\n[gone](index.md#gone)\n"}
    code, said = built(root, tmp_path, **pages, alone="# Alone\n")
    assert code == 1
    assert re.search(r"page\.md:3: WARNING: local id not found in doc 'docs/index': 'gone'", said), said
    assert re.search(r"alone\.md: WARNING: document isn't included in any toctree", said), said
