"""What `pip install dwell` alone gives: the built wheel beside its four requirements, and nothing of the extras.

The requirements are linked in from this environment, so that no index is asked; `make extras` installs the wheel and
each extra for real.
"""

import importlib.metadata
import re
import resource
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ("numpy", "msgspec", "click", "apsw")
LARGEST_RATIO = 1.3  # of the time that `import numpy` takes: what users of numpy already wait for


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--no-index", "-q", "-w", str(place), str(ROOT)], check=True)
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment that holds the wheel and what it requires."""
    place = tmp_path_factory.mktemp("alone") / "v"
    venv.create(place, with_pip=False)
    (packages,) = (place / "lib").glob("python*/site-packages")
    here = Path(sysconfig.get_path("purelib"))
    for name in CORE:
        tops = {Path(str(file)).parts[0] for file in importlib.metadata.files(name) or ()}
        for top in tops - {"..", "__pycache__"}:
            (packages / top).symlink_to(here / top)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    python = place / "bin" / "python"
    subprocess.run([python, "-I", "-m", "compileall", "-q", str(packages / "dwell")], check=True)
    return python


def said(python: Path, code: str) -> str:
    """Return what a program printed."""
    done = subprocess.run([python, "-I", "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def processor_s(python: Path, code: str) -> float:
    """Return the processor seconds of a program, start-up included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([python, "-I", "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_it_requires_four_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode().splitlines()
    needed = [line.partition(":")[2].strip() for line in lines if line.startswith("Requires-Dist:")]
    always = {re.split(r"[^\w-]", one)[0] for one in needed if "extra ==" not in one}
    assert always == set(CORE)


def test_it_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    package = [name for name in names if not name.split("/")[0].endswith(".dist-info")]
    held = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "dwell").rglob("*") if path.is_file()}
    assert set(package) == {name for name in held if "__pycache__" not in name}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {"dwell/py.typed", "dwell/server/static/dwell.js"} <= set(package)


def test_it_imports_in_little_more_than_numpy_takes(alone: Path) -> None:
    codes = ("import numpy", "import dwell")
    taken: dict[str, list[float]] = {code: [] for code in codes}
    for _ in range(6):
        for code in codes:
            taken[code].append(processor_s(alone, code))
    # the least of each: what else runs on the machine only adds
    ratio = min(taken["import dwell"]) / min(taken["import numpy"])
    print(f"import dwell takes {ratio:.2f} times what import numpy takes")
    assert ratio <= LARGEST_RATIO


def test_importing_brings_nothing_of_the_extras(alone: Path) -> None:
    code = "import sys, dwell, dwell.integrations; dwell.open; print(*{n.partition('.')[0] for n in sys.modules})"
    loaded = set(said(alone, code).split())
    theirs = {name for name in loaded - set(sys.stdlib_module_names) if not name.startswith("_")}
    assert theirs <= {"dwell", "numpy", "msgspec", "apsw"}


def test_it_learns(alone: Path) -> None:
    code = """
import dwell
with dwell.open(":memory:", features=["good"], pepper="p") as loop:
    for i in range(40):
        found = [{"id": f"d{j}", "good": float(j)} for j in range(4)]
        loop.rank("q", found, user=f"u{i}", event_id=f"e{i}", now=1e9 + i)
        loop.feedback(f"e{i}", "click", doc="d3", now=1e9 + i + 1)
    print(loop.train(now=2e9).decision.verdict, len(list(loop.experiences())))
"""
    verdict, n = said(alone, code).split()
    assert verdict in {"promote", "hold", "reject"}
    assert n == "40"


def test_its_command_line_says_what_it_can(alone: Path) -> None:
    done = subprocess.run([alone, "-I", "-m", "dwell", "--help"], capture_output=True, text=True, check=True)
    assert "doctor" in done.stdout


def test_a_module_that_needs_more_says_which_extra(alone: Path) -> None:
    """Each module of an integration either imports without its library, or says by name how to get it."""
    code = """
import importlib, pkgutil, dwell.integrations
from dwell.errors import MissingDependencyError
for found in pkgutil.walk_packages(dwell.integrations.__path__, "dwell.integrations."):
    try:
        importlib.import_module(found.name)
    except MissingDependencyError as error:
        assert "pip install 'dwell[" in str(error), (found.name, str(error))
        print(found.name)
print("done")
"""
    assert said(alone, code).split()[-1] == "done"


def test_every_extra_that_an_error_names_is_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {
        (path.relative_to(ROOT), extra)
        for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
        for group in re.findall(r"dwell\[([a-z0-9, -]+)\]", path.read_text(encoding="utf-8"))
        for extra in re.split(r", *", group)
    }
    assert named
    assert [one for one in named if one[1] not in extras] == []


def test_every_extra_has_a_program_that_uses_it() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    programs = {path.stem.removeprefix("with_") for path in (ROOT / "scripts" / "extras").glob("*.py")}
    assert programs == {extra.replace("-", "") for extra in extras}
