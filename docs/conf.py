"""The pages of docs/, with README.md, CHANGELOG.md and CONTRIBUTING.md, as a site: `make site`.

The pages are Markdown that a code host shows as it stands. What a site has beyond that is made here, from the pages and
the package: the menu from the links of docs/index.md and docs/integrations.md, what `dwell` exports from its
docstrings, the options of the commands from the commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
from sphinx.application import Sphinx

import dwell
from dwell.cli.program import program

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(((?:\.\./)?[\w./-]+\.md)\)")
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)

project = "dwell"
author = "dwell"
version = release = dwell.__version__
project_copyright = ""
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["docs/**", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
exclude_patterns = [
    f"{path.name}/**" if path.is_dir() else path.name
    for path in ROOT.iterdir()
    if path.name not in {"docs", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"}
]

html_theme = "furo"
html_title = f"dwell {version}"
html_show_sphinx = html_show_copyright = False
html_copy_source = False
html_show_search_summary = False  # it would fetch pages, which a browser does not do among files
html_static_path, html_css_files = ["site.css"], ["site.css"]
html_theme_options = {"top_of_page_buttons": []}
pygments_style, pygments_dark_style = "friendly", "monokai"

myst_heading_anchors = 6  # links to headings, spelt as the hosts of Markdown do
myst_enable_extensions = ["html_image"]
smartquotes = False  # quotes are shown as the pages write them
toc_object_entries = False  # the menu lists headings; methods in it take a fifth of the build
default_role = "code"  # docstrings write `code` as Markdown does
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_rtype = False
napoleon_use_ivar = True
# types and errors are named in full or in short, of numpy and of rooms that have no page: only pages link each other
nitpick_ignore_regex = [("py:.*", ".*")]
suppress_warnings = [
    "misc.highlighting_failure",  # sessions with JSON on several lines are shown plain where the lexer gives up
    "myst.header",  # cards begin at the fourth level, on purpose: the menu of the page stays short
]


def linked(page: str) -> list[str]:
    """Return the pages that a page links, in order, each once, as paths from the root without a suffix."""
    folder = (ROOT / page).parent
    found = [(folder / target).resolve().relative_to(ROOT) for target in LINK.findall((ROOT / page).read_text("utf-8"))]
    return list(dict.fromkeys(str(path.with_suffix("")) for path in found))


def menu(text: str) -> Iterator[str]:
    """Yield one hidden table of contents for each section of the first page, in the order of its links."""
    elsewhere = {page for page in linked("docs/index.md") if page != "docs/integrations"}
    parts = SECTION.split(text)[1:]
    for caption, body in zip(parts[::2], parts[1::2], strict=True):
        pages = [str((ROOT / "docs" / t).resolve().relative_to(ROOT).with_suffix("")) for t in LINK.findall(body)]
        if "docs/integrations" in pages:
            at = pages.index("docs/integrations") + 1
            pages[at:at] = [page for page in linked("docs/integrations.md") if page not in elsewhere]
        if "docs/decisions/0001-functional-core" in pages:
            at = pages.index("docs/decisions/0001-functional-core") + 1
            rest = sorted((ROOT / "docs" / "decisions").glob("*.md"))[1:]
            pages[at:at] = [str(path.relative_to(ROOT).with_suffix("")) for path in rest]
        entries = "\n".join(f"/{page}" for page in dict.fromkeys(pages))
        yield f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}\n```\n"


def exported() -> Iterator[str]:
    """Yield what documents each public name from its docstring."""
    for name in dwell.__all__:
        found = getattr(dwell, name)
        kind = "autofunction" if not isinstance(found, type) else "autoclass"
        members = "\n   :members:" if kind == "autoclass" else ""
        yield f"\n### {name}\n\n```{{eval-rst}}\n.. {kind}:: dwell.{name}{members}\n```\n"


def options(command: click.Command, words: tuple[str, ...] = ("dwell",)) -> Iterator[str]:
    """Yield each command's purpose and its options, groups opened."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from options(inner, (*words, name))
        return
    context = click.Context(command, info_name=words[-1])
    arguments = " ".join(part.make_metavar(context) for part in command.params if isinstance(part, click.Argument))
    name = " ".join(words)
    yield f"\n### `{name}`\n\n{command.get_short_help_str(200)}\n\n```text\n{name} {arguments}\n```\n"
    rows = [part.get_help_record(context) for part in command.params if isinstance(part, click.Option)]
    if told := [row for row in rows if row is not None]:
        yield "\n| option | |\n|---|---|\n"
        yield from ("| `{}` | {} |\n".format(*(part.replace("|", "\\|") for part in row)) for row in told)


def read(_app: Sphinx, page: str, text: list[str]) -> None:
    """Add to a page what the site alone has."""
    if page == "docs/index":
        text[0] += "".join(menu(text[0]))
    elif page == "docs/reference":
        text[0] += "\n## In full\n" + "".join(exported())
    elif page == "docs/cli":
        text[0] += "\n## All options\n" + "".join(options(program))


def setup(app: Sphinx) -> None:
    """Take part in the build."""
    app.connect("source-read", read)
