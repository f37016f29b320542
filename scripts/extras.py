"""Install the built wheel with each extra, in an environment of its own, and do something with what came.

An extra that brings too little is seen nowhere else: the tests run where everything is installed. Versions are those of
requirements/test.txt where they are pinned there, the newest ones else. Minutes, and gigabytes for some: `make extras`,
with ARGS="langchain mcp" for a few.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "scripts" / "extras"


class Outcome(NamedTuple):
    """What became of one extra."""

    extra: str
    is_good: bool
    n_packages: int
    megabytes: float
    install_s: float
    said: str


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command and return it with both streams as text, in order."""
    return subprocess.run(  # noqa: S603 - our own commands
        list(map(str, command)), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def extras() -> list[str]:
    """List the extras of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return sorted(project["optional-dependencies"])


def constraints(folder: Path) -> Path:
    """Write the pinned versions without their hashes, which the wheel itself has none of."""
    text = (ROOT / "requirements" / "test.txt").read_text(encoding="utf-8")
    pins = [line.rstrip(" \\") for line in text.splitlines() if re.match(r"[a-z0-9].*==", line)]
    path = folder / "constraints.txt"
    path.write_text("\n".join(pins) + "\n", encoding="utf-8")
    return path


def built(folder: Path) -> Path:
    """Build the wheel.

    Raises:
        SystemExit: It does not build.
    """
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    done = run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SystemExit(done.stdout)
    return wheels[0]


def tried(extra: str, wheel: Path, pins: Path) -> Outcome:
    """Install one extra in a fresh environment and run its program."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        venv.create(place / "v", with_pip=True)
        python = place / "v" / "bin" / "python"
        began = time.monotonic()
        pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
        got = run(*pip, "install", "--constraint", pins, f"dwell[{extra}] @ {wheel.as_uri()}")
        install_s = time.monotonic() - began
        if got.returncode:
            return Outcome(extra, False, 0, 0.0, install_s, last_line(got.stdout))
        (packages,) = (place / "v" / "lib").glob("python*/site-packages")
        megabytes = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file()) / 1e6
        n = len(list(packages.glob("*.dist-info")))
        done = run(python, "-I", PLACE / f"with_{extra.replace('-', '')}.py", cwd=place)
        return Outcome(extra, done.returncode == 0, n, megabytes, install_s, last_line(done.stdout))


def last_line(text: str) -> str:
    """Return the last line that says something."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "(nothing said)"


def main() -> None:
    """Try the extras that are named, or all, and say what each brought.

    Raises:
        SystemExit: One of them does not install, or does not work.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="*", metavar="EXTRA")
    chosen = parser.parse_args().extras or extras()
    if strangers := set(chosen) - set(extras()):
        parser.error(f"no such extra: {', '.join(sorted(strangers))}")
    bad = []
    with tempfile.TemporaryDirectory() as name:
        wheel, pins = built(Path(name)), constraints(Path(name))
        print(f"{'extra':<14}{'works':<7}{'packages':>9}{'MB':>7}{'install s':>11}  said")
        for extra in chosen:
            one = tried(extra, wheel, pins)
            works = "yes" if one.is_good else "NO"
            print(
                f"{extra:<14}{works:<7}{one.n_packages:>9}{one.megabytes:>7.0f}{one.install_s:>11.1f}  {one.said}",
                flush=True,
            )
            bad += [] if one.is_good else [extra]
    if bad:
        raise SystemExit(f"extras: {', '.join(bad)} did not work")


if __name__ == "__main__":
    main()
