"""One byte of a file is flipped at a time: is it noticed, does it not matter, or does it quietly change what is read?

    python flips.py <module> <folder of the whole files> <folder to work in>

What is damaged and how it is read is told by a module of this folder:

* `FILE`: name of the file to damage;
* `ERRORS`: exceptions that say what is damaged;
* `make(folder)`: write whole files, always the same;
* `read(folder)`: {name of a part: text of all that can be read of it}, or one of `ERRORS`;
* `verify(folder)`: lines that name what is damaged, or one of `ERRORS`.

`judged` runs flips in a child process, so that one that kills the reader, or lets it hang, is a verdict as well. The
child reads "offset mask" lines and answers each with a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

PATIENCE_S: Final = 60.0  # for one flip; reading takes about 0.1 s
HERE: Final = Path(__file__).parent

Kind = Literal["read", "verify", "harmless", "silent", "foreign", "crash"]


class Flip(NamedTuple):
    """A byte to be changed: `file[offset] ^= mask`."""

    offset: int
    mask: int


class Verdict(NamedTuple):
    """What became of a flip.

    Attributes:
        flip: Which one.
        kind: "read": an error that says so. "verify": reading did not notice, `verify` named it. "harmless": everything
            reads as it was written. "silent": something reads otherwise and nobody said so. "foreign": an exception
            that is no error of ours. "crash": the reading process died or hung.
        words: The error, or the parts that differ.
    """

    flip: Flip
    kind: Kind
    words: str


def drawn(size: int, n: int, seed: int) -> list[Flip]:
    """Return n flips at distinct random offsets below `size`: a bit for every second one, else a whole other byte."""
    rng = random.Random(seed)
    offsets = rng.sample(range(size), min(n, size))
    return [Flip(o, 1 << rng.randrange(8) if i % 2 else rng.randrange(1, 256)) for i, o in enumerate(offsets)]


def judged(module: str, whole: Path, work: Path, flips: Iterable[Flip], environment: dict[str, str]) -> list[Verdict]:
    """Return a verdict for each flip.

    Args:
        module: Name of the module that tells what to read.
        whole: Folder that its `make` wrote.
        work: Folder to be made and removed for each flip.
        flips: What to try.
        environment: Of the child; it must find the sources.
    """
    waiting = list(flips)
    verdicts: list[Verdict] = []
    while waiting:
        verdicts += _judged_until_crash(module, whole, work, waiting, environment)
        waiting = list(flips)[len(verdicts) :]
    return verdicts


def _judged_until_crash(
    module: str, whole: Path, work: Path, flips: list[Flip], environment: dict[str, str]
) -> list[Verdict]:
    lines = "".join(f"{flip.offset} {flip.mask}\n" for flip in flips)
    command = [sys.executable, "-X", "faulthandler", str(HERE / "flips.py"), module, str(whole), str(work)]
    found = subprocess.run(
        command, input=lines, capture_output=True, text=True, env={**environment, "LC_ALL": "C.UTF-8"}, check=False
    )
    verdicts = [Verdict(flip, *json.loads(line)) for flip, line in zip(flips, found.stdout.splitlines(), strict=False)]
    if len(verdicts) < len(flips):
        words = f"exit code {found.returncode}: {found.stderr[-2_000:]}"
        verdicts.append(Verdict(flips[len(verdicts)], "crash", words))
    return verdicts


def told(verdicts: list[Verdict]) -> str:
    """Return the counts in one line."""
    kinds = Counter(verdict.kind for verdict in verdicts)
    return (
        f"{len(verdicts)} flipped bytes: {kinds['read']} refused when read, {kinds['verify']} named by verify, "
        f"{kinds['harmless']} harmless, {kinds['silent']} silent, {kinds['foreign']} foreign errors, "
        f"{kinds['crash']} crashes"
    )


def _verdict(module: Any, folder: Path, expected: dict[str, str]) -> tuple[Kind, str]:
    try:
        found = module.read(folder)
        damages = module.verify(folder)
    except module.ERRORS as error:
        return "read", f"{type(error).__name__} {getattr(error, 'code', '')}: {error}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        return "foreign", f"{type(error).__name__}: {error}"
    if damages:
        return "verify", damages[0]
    differing = sorted(name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name))
    if not differing:
        return "harmless", ""
    return "silent", "; ".join(_difference(name, expected.get(name, ""), found.get(name, "")) for name in differing[:4])


def _difference(name: str, expected: str, found: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), 0)
    start = max(0, at - 60)
    return f"{name}: {expected[start : at + 40]!r} reads {found[start : at + 40]!r}"


def main() -> None:
    """Judge the flips of standard input."""
    import faulthandler  # it needs a real standard error: not under pytest

    sys.path.insert(0, str(HERE))
    module, whole, work = importlib.import_module(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    expected: dict[str, str] | None = None
    for line in ["", *sys.stdin]:  # the whole file first: it says what is expected
        faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(whole, work)
        if expected is None:
            expected = module.read(work)
            assert module.verify(work) == []
            continue
        offset, mask = map(int, line.split())
        with (work / module.FILE).open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ mask]))
        print(json.dumps(_verdict(module, work, expected)), flush=True)
    faulthandler.cancel_dump_traceback_later()
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"{time.monotonic() - began:.1f} s", file=sys.stderr)
