"""Pin every requirement by version and hash, for Python 3.11 and later on every platform.

All sets are cut from one resolution: a package has the same version in each of them. The files name packages and
hashes only: which index serves them is the business of whoever installs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

DEMO = ("--extra", "rich")
TEST = (*DEMO, "--group", "test")
LINT = (*TEST, "--group", "lint")
BENCH = (*DEMO, "--extra", "fast", "--group", "bench")
PEERS = (*BENCH, "--group", "peers")
HEADING = "# Written by `make lock`: pinned by version and hash.\n"
SETS = {"core": (), "demo": DEMO, "test": TEST, "lint": LINT, "bench": BENCH, "peers": PEERS}

OPTIONS = (
    *("--universal", "--python-version", "3.11", "--generate-hashes"),
    *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--quiet"),
)


def uv() -> str:
    """Find uv: beside this interpreter, else on the path.

    Raises:
        SystemExit: There is none.
    """
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise SystemExit("lock: uv is missing; install it with: .venv/bin/python -m pip install uv")
    return found


def resolve(selection: tuple[str, ...], *constraints: str) -> str:
    """Resolve one selection of the project's requirements, with the build backend.

    Args:
        selection: Options that name extras and groups of pyproject.toml.
        constraints: Options that hold versions fixed.

    Returns:
        The pinned requirements, one entry per package and environment.
    """
    return compiled(["pyproject.toml", "requirements/build.in", *selection, *constraints])


def compiled(what: list[str]) -> str:
    """Return what uv pins for these files and options."""
    command = [uv(), "pip", "compile", *what, *OPTIONS]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own command
    return "".join(line + "\n" for line in done.stdout.splitlines() if line.strip() and not line.startswith(("#", "-")))


def main() -> None:
    """Write requirements/<set>.txt for each set."""
    lines = compiled(["requirements/oracles.in", "--no-deps"])
    (ROOT / "requirements" / "oracles.txt").write_text(HEADING + lines, encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        everything = Path(folder) / "everything.txt"
        everything.write_text(resolve((*LINT, *PEERS)), encoding="utf-8")
        for name, selection in SETS.items():
            text = resolve(selection, "--constraints", str(everything))
            path = ROOT / "requirements" / f"{name}.txt"
            path.write_text(HEADING + text, encoding="utf-8")
            n_pins = sum(not line.startswith(" ") for line in text.splitlines())
            print(f"{path.relative_to(ROOT)}: {n_pins} pins")


if __name__ == "__main__":
    main()
