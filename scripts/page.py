"""Make the collector that is served from the one that is read: `dwell.src.js` without comments and needless spaces.

Nothing is renamed and no line is joined to another, so that what a browser's console names can be found in the source.
That is enough for the aim of 3 KB, compressed. `tests/unit/server/test_page.py` demands that the file in the repository
is what this makes.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

FOLDER = Path("src/dwell/server/static")
#: A comment: two slashes at the beginning of a line or after a space, and before one. A URL in a string has neither.
COMMENT = re.compile(r"(?:^|(?<=\s))//(?: .*)?$")
#: Text in quotes or backticks on one line, to be left alone.
QUOTED = re.compile(r"('[^']*'|`[^`]*`)")
#: What needs no space on either side.
PUNCTUATION = re.compile(r" *([=+\-*/<>!?:&|,;{}()\[\]]) *")
#: What can not be told apart line by line, or would mean something else without its spaces.
REFUSED = re.compile(r"/\*|\"|[+-] +[+-]|(?<! )/|/(?! )")


def stripped(source: str) -> str:
    """Return a script without comments, indentation, empty lines and spaces around punctuation.

    Raises:
        ValueError: The source holds a block comment, double quotes, text over several lines, a regular expression, or
            two signs with a space between them.
    """
    kept = []
    for number, line in enumerate(source.splitlines(), start=1):
        code = COMMENT.sub("", line).strip()
        pieces = QUOTED.split(code)  # every second one is quoted
        bare = "".join(pieces[::2])
        if REFUSED.search(bare) or "'" in bare or "`" in bare:
            raise ValueError(f"line {number} can not be shortened safely: {code!r}")
        pieces[::2] = [PUNCTUATION.sub(r"\1", piece) for piece in pieces[::2]]
        if code:
            kept.append("".join(pieces))
    return "\n".join(kept) + "\n"


def main() -> int:
    """Write `dwell.js` beside its source, 0."""
    source = FOLDER / "dwell.src.js"
    made = FOLDER / "dwell.js"
    made.write_text(stripped(source.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{made}: {made.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
