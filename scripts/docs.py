"""Check the documentation without running it: links, anchors, and that every command is documented.

`tests/docs` runs the code blocks; both read pages with the functions below.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^( *)(```+|~~~+)\s*(.*)$")
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
REFERENCE = re.compile(r"^\[[^\]]+\]:\s+(\S+)", re.MULTILINE)
ATTRIBUTE = re.compile(r"\b(?:href|src)=\"([^\"]+)\"")
COMMANDS = re.compile(r"^Commands:\n((?:  .*\n|\n)+)", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
NAMED = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")


class Fence(NamedTuple):
    """A fenced block: where it starts, its language, the words after the language, and its text."""

    line: int
    language: str
    flags: tuple[str, ...]
    text: str


def pages(root: Path) -> list[Path]:
    """List the pages: those in the root and all below docs/."""
    return [*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))]


def fences(text: str) -> list[Fence]:
    """Read the fenced blocks of a page, in order."""
    found: list[Fence] = []
    opened: re.Match[str] | None = None
    start, body = 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        fence = FENCE.match(line)
        if opened is None and fence:
            opened, start, body = fence, number, []
        elif opened is not None and fence and not fence[3] and fence[2].startswith(opened[2]):
            language, *flags = opened[3].split() or [""]
            found.append(Fence(start, language, tuple(flags), textwrap.dedent("".join(body))))
            opened = None
        else:
            body.append(line + "\n")
    return found


def unfenced(text: str) -> str:
    """Drop the fenced blocks of a page."""
    kept, inside = [], ""
    for line in text.splitlines():
        fence = FENCE.match(line)
        if fence and (not inside or fence[2].startswith(inside)):
            inside = "" if inside else fence[2]
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def anchors(text: str) -> set[str]:
    """Name the anchors of a page: its headings as the hosts of Markdown spell them, and explicit ones."""
    plain = unfenced(text)
    found = set(NAMED.findall(plain))
    seen: dict[str, int] = {}
    for heading in HEADING.findall(plain):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        found.add(f"{slug}-{count}" if count else slug)
    return found


def broken_links(root: Path) -> Iterator[str]:
    """Complain about each relative link or anchor, on any page, that leads nowhere."""
    for page in pages(root):
        text = re.sub(r"(`+)[^\n]*?\1", "", unfenced(page.read_text(encoding="utf-8")))
        for target in [*LINK.findall(text), *REFERENCE.findall(text), *ATTRIBUTE.findall(text)]:
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            aimed = (page.parent / path).resolve() if path else page
            if not aimed.exists() or not aimed.is_relative_to(root):
                yield f"{page.relative_to(root)}: {target}: no such file"
            elif anchor and aimed.suffix == ".md" and anchor not in anchors(aimed.read_text(encoding="utf-8")):
                yield f"{page.relative_to(root)}: {target}: no such heading"


def undocumented(root: Path, commands: list[str]) -> Iterator[str]:
    """Complain about each command, named in full, that README.md and docs/ never mention."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages(root))
    for command in commands:
        if not re.search(r"\s+".join(rf"\b{re.escape(word)}\b" for word in command.split()), text):
            yield f"{command}: a command that neither README.md nor docs/ mentions"


def dwell(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, but with this interpreter, and return what it printed and its exit code."""
    code = "import sys; sys.argv[0] = 'dwell'; from dwell.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(  # noqa: S603 - our own command
        command, cwd=cwd, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def commands(*group: str) -> list[str]:
    """Name every command that `--help` lists, groups opened: `dwell config show`.

    Raises:
        SystemExit: The command line does not start.
    """
    done = dwell(*group, "--help")
    if done.returncode:
        raise SystemExit(f"docs: {' '.join(('dwell', *group))} --help failed:\n{done.stdout}")
    listed = COMMANDS.search(done.stdout)
    if listed is None:
        return [" ".join(("dwell", *group))]
    names = re.findall(r"^  (\S+)", listed[1], re.MULTILINE)
    return [command for name in names for command in commands(*group, name)]


def main() -> int:
    """Check the tree named on the command line (default: this one), 1 if a page is wrong or lacks something."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    known = commands()
    found = [*broken_links(root), *undocumented(root, known)]
    for complaint in found:
        print(f"docs: {complaint}")
    if not found:
        print(f"{len(pages(root))} pages, {len(known)} commands")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
