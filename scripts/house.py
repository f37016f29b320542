"""House rules that no linter knows: what a committed file may hold, and what it may be called.

* No path of a developer's machine, no host of a package registry, no postponed work.
* No name that says nothing (`utils` and its kin).
* Every public module says what it is for.
* Requirements are pinned by hash and name no index.

The patterns below are written so that they do not match themselves.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

EMPTY_NAMES = frozenset({"util", "utils", "helper", "helpers", "common", "manager", "base", "data", "process"})

# A slash that continues a relative path, a URL or a format field starts no machine path.
ROOTED = r"(?<![\w.})\]-])/"
FORBIDDEN_TEXT = {
    "a path of one machine": re.compile(ROOTED + r"(?:(?:work|root|home|Users|opt|var/folders)/|tmp\b)"),
    "the host of a package registry": re.compile(r"pypi\.org|pythonhosted\.org|npmjs\.org|anaconda\.org"),
    "postponed work": re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b"),
}
NEVER_COMMITTED = (".git", ".venv")


def committed_files(root: Path) -> Iterator[Path]:
    """Yield what a commit of everything would hold: all files that .gitignore does not name."""
    listed = root / ".gitignore"
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    patterns = [line.rstrip("/") for line in lines if line and not line.startswith("#")]
    folders = [root]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.name in NEVER_COMMITTED or any(fnmatch(path.name, pattern) for pattern in patterns):
                continue
            if path.is_dir():
                folders.append(path)
            else:
                yield path


def text_of(path: Path) -> str | None:
    """Read a text file, or return None for a binary one."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def empty_names(relative: Path) -> Iterator[str]:
    """Complain about each part of a file's path whose name says nothing."""
    for part in relative.parts:
        words = re.split(r"[^a-z0-9]+", part.lower().partition(".")[0])
        yield from (f"{relative}: the name {word!r} says nothing" for word in words if word in EMPTY_NAMES)


def forbidden_text(relative: Path, text: str) -> Iterator[str]:
    """Complain about each line that holds what no committed file may hold."""
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in FORBIDDEN_TEXT.items():
            if found := pattern.search(line):
                yield f"{relative}:{number}: {what}: {found.group()}"


def missing_docstring(relative: Path, text: str) -> Iterator[str]:
    """Complain about a public module of the package that does not say what it is for."""
    public = not relative.name.startswith("_") or relative.name in {"__init__.py", "__main__.py"}
    if relative.parts[0] == "src" and relative.suffix == ".py" and public and not ast.get_docstring(ast.parse(text)):
        yield f"{relative}: a public module without a docstring"


def loose_requirements(relative: Path, text: str) -> Iterator[str]:
    """Complain about a requirement that is not pinned by hash, or that names where it comes from."""
    if relative.parts[0] != "requirements" or relative.suffix != ".txt":
        return
    for entry in text.replace("\\\n", " ").splitlines():
        name, _, rest = entry.partition(" ")
        # a package may be called http; an address is not a name
        if entry.startswith("-") or "://" in entry or re.search(r"\bhttps?\b", rest):
            yield f"{relative}: {name}: names an index, a file or a host"
        elif entry and not entry.startswith("#") and not ("==" in name and "--hash=sha256:" in entry):
            yield f"{relative}: {name}: not pinned by version and hash"


def complaints(root: Path) -> Iterator[str]:
    """Yield one line for each breach of a house rule under a project's root."""
    for path in committed_files(root):
        relative = path.relative_to(root)
        yield from empty_names(relative)
        text = text_of(path)
        if text is not None:
            for rule in (forbidden_text, missing_docstring, loose_requirements):
                yield from rule(relative, text)


def main() -> int:
    """Check the tree named on the command line (default: this one), 1 if a rule is broken."""
    found = list(complaints(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
    for complaint in found:
        print(f"house: {complaint}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
