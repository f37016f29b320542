"""Build the pages as a site in build/site, and check what was built: whole, without a network, from any folder.

Sphinx runs with every warning an error: a link to a page or heading that is not there, a page that no menu names,
markup that can not be read. Then each page is looked at as a browser would: nothing that it loads may come from
elsewhere, and each link within the site must lead to a file, and to an anchor in it, by a relative path, so that the
site works as files.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

# What a browser fetches by itself, by element: the attributes that name it. A link to be clicked fetches nothing.
LOADED = {
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "input": ("src",),
}
REMOTE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"(?:url\(\s*[\"']?|@import\s+[\"'])((?:https?:)?//[^\"')]+)", re.IGNORECASE)
START = """<!doctype html><meta charset="utf-8"><title>dwell</title>
<meta http-equiv="refresh" content="0; url=docs/index.html">
"""


class Page(HTMLParser):
    """What one page loads, links and offers as anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what one element names."""
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        self.loads += [found[name] for name in LOADED.get(tag, ()) if found.get(name)]
        self.loads += IN_STYLE.findall(found.get("style", ""))
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])


def remote(site: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """Complain about each thing that a page or a style sheet would fetch from elsewhere."""
    for path, page in pages.items():
        for address in page.loads:
            if REMOTE.match(address):
                yield f"{path.relative_to(site)}: {address}: loaded from elsewhere"
    for path in sorted(site.rglob("*.css")):
        for address in IN_STYLE.findall(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: {address}: loaded from elsewhere"


def broken(site: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """Complain about each link, or thing loaded, within the site that leads nowhere."""
    for path, page in pages.items():
        for address in (*page.links, *page.loads):
            if REMOTE.match(address) or re.match(r"[a-z]+:", address):
                continue
            target, _, anchor = address.partition("#")
            aimed = (path.parent / unquote(target.partition("?")[0])).resolve() if target else path
            if target.startswith("/") or not aimed.is_file() or not aimed.is_relative_to(site):
                yield f"{path.relative_to(site)}: {address}: no such file in the site"
            elif anchor and aimed in pages and unquote(anchor) not in pages[aimed].anchors:
                yield f"{path.relative_to(site)}: {address}: no such anchor"


def complaints(site: Path) -> tuple[int, list[str]]:
    """Return how many pages a built site has, and what is wrong with them."""
    site = site.resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    return len(pages), [*remote(site, pages), *broken(site, pages)]


def build(root: Path, site: Path) -> int:
    """Build the site, and return the exit code of Sphinx."""
    flags = ("--fail-on-warning", "--keep-going", "--nitpicky", "--quiet", "--fresh-env", "--jobs", "2")
    places = ("--conf-dir", "docs", "--doctree-dir", "build/doctrees", ".", str(site))
    done = subprocess.run([sys.executable, "-m", "sphinx", *flags, *places], cwd=root, check=False)  # noqa: S603 - ours
    (site / "index.html").write_text(START, encoding="utf-8")
    return done.returncode


def main() -> int:
    """Build and check the site of the tree named on the command line (default: this one), 1 if anything is wrong."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    site = root / "build" / "site"
    if build(root, site):
        return 1
    n_pages, found = complaints(site)
    for complaint in found:
        print(f"site: {complaint}")
    if not found:
        print(f"{n_pages} pages in {site.relative_to(root)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
