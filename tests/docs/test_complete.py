"""What the code has, the pages name: the lists come from the code, so what is added and not documented fails here.

Each list was seen red: `test_what_no_page_names_is_told` plants one thing more of each kind.
"""

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from prometheus_client.parser import text_string_to_metric_families

import dwell
from dwell import errors
from dwell.cli.program import program
from dwell.config import settings_of
from dwell.server.endpoints import ENDPOINTS
from dwell.server.metrics import exposition

from ..e2e.prometheus import house_at  # noqa: TID252 - tests are no installed package

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "dwell"
PAGES = [path.read_text(encoding="utf-8") for path in runpy.run_path(str(ROOT / "scripts" / "docs.py"))["pages"](ROOT)]
# what a reason of the gate begins with, in a string or at the start of an f-string
REASON = re.compile(r"^([a-z][a-z_]+): ")
# modules whose texts are reasons of decisions: the gate's own, and those that the ledger gets without it
REASONED = ("evaluation/gate.py", "loop/promote.py", "loop/train.py", "loop/first_version.py", "loop/opening.py")


def code_of(pages: list[str]) -> str:
    """Return what stands within single back quotes, a line each."""
    return "\n".join(span for page in pages for span in re.findall(r"`([^`\n]+)`", page))


def unnamed(names: list[str], pages: list[str] = PAGES) -> list[str]:
    """Return the names that stand in no page as code, whole."""
    code = code_of(pages)
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", code)]


def commands(command: click.Command, words: tuple[str, ...] = ("dwell",)) -> Iterator[tuple[str, click.Command]]:
    """Yield each command by its full name, groups opened."""
    if not isinstance(command, click.Group):
        yield " ".join(words), command
        return
    for name, inner in command.commands.items():
        yield from commands(inner, (*words, name))


def unnamed_options(group: click.Command, pages: list[str]) -> list[str]:
    """Return each option that no page names which names its command as well, and each command that none names."""
    found, flat = [], [" ".join(page.split()) for page in pages]
    taken = [set(re.findall(r"(?<![\w-])--[a-z][\w-]*", page)) for page in flat]
    for name, command in commands(group):
        about = [options for page, options in zip(flat, taken, strict=True) if name in page]
        given = [max(part.opts, key=len) for part in command.params if isinstance(part, click.Option)]
        found += [f"{name} {option}" for option in given if option not in set().union(*about)]
        found += [] if about else [name]
    return found


def literals(path: Path) -> Iterator[str]:
    """Yield the texts in a module, of an f-string what stands before its first field."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value


def reasons(paths: list[Path]) -> list[str]:
    """Return the codes with which reasons begin in these modules."""
    return sorted({found[1] for path in paths for text in literals(path) if (found := REASON.match(text))})


def codes(folder: Path) -> list[str]:
    """Return every code that an error is raised with anywhere in a folder, and those of the classes."""
    found = {getattr(errors, name).code for name in errors.__all__}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                found.add(node.value.value)
    return sorted(code for code in found if isinstance(code, str) and code)


def public(kind: type) -> list[str]:
    """Return the names that a class shows."""
    return [name for name in dir(kind) if not name.startswith("_")]


def findings(folder: Path) -> list[str]:
    """Return the codes that checks of a log are graded under, as far as they are written out."""
    found = set()
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "graded":
                found |= {one.value for one in node.args[:1] if isinstance(one, ast.Constant)}
    return sorted(map(str, found))


KINDS = {
    "settings": [setting.name for setting in settings_of()],
    "errors": [*errors.__all__],
    "codes": codes(SOURCE),
    "endpoints": sorted({endpoint.path for endpoint in ENDPOINTS}),
    "names": [*dwell.__all__],
    "calls": public(dwell.Loop),
    "findings": findings(SOURCE / "evaluation"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_named(kind: str) -> None:
    assert KINDS[kind], f"no {kind} were found: where did they go?"
    assert unnamed(KINDS[kind]) == []


def test_every_command_is_documented_with_its_options() -> None:
    assert unnamed_options(program, PAGES) == []


def test_every_reason_of_the_gate_stands_on_its_page() -> None:
    page = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    found = reasons([SOURCE / name for name in REASONED])
    assert {"better", "not_yet", "unsupported", "forced"} <= set(found)
    assert unnamed(found, [page]) == []


def test_every_metric_stands_on_the_page_about_watching(tmp_path: Path) -> None:
    with house_at(tmp_path) as house:
        families = [*text_string_to_metric_families(exposition(house, 2_000.0).decode())]
    names = [family.name + {"counter": "_total", "info": "_info"}.get(family.type, "") for family in families]
    assert unnamed(names, [(ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")]) == []


def test_what_no_page_names_is_told(tmp_path: Path) -> None:
    """One thing more of each kind is planted."""
    (tmp_path / "planted.py").write_text(
        "def planted(value):\n"
        "    graded('planted_finding', 'ok')\n"
        "    raise StorageError('planted', code='planted_code', field='x', value=value, hint='')\n"
        "    return [f'planted_reason: {value} is too much', 'no reason: planted', f'{value}: none']\n",
        encoding="utf-8",
    )
    assert unnamed(findings(tmp_path)) == ["planted_finding"]
    assert unnamed(codes(tmp_path)) == ["planted_code"]
    assert unnamed(reasons([tmp_path / "planted.py"])) == ["planted_reason"]
    assert unnamed(["gate.alpha", "gate.planted", "Loop", "Planted", "/v1/rank", "/v1/planted"]) == [
        "gate.planted", "Planted", "/v1/planted",
    ]  # fmt: skip
    assert unnamed(public(type("Planted", (dwell.Loop,), {"planted_call": None}))) == ["planted_call"]
    # a name within a longer one, or in plain words, does not count
    assert unnamed(["rank"], ["`rank_timeout_s`, `pl_rank`, rank"]) == ["rank"]
    assert unnamed(["rank"], ["`Loop.rank(query, ...)` orders"]) == []


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("`dwell look` takes `--planted`", []),
        ("`dwell look`", ["dwell look --planted"]),
        ("`dwell other` takes `--planted`", ["dwell look --planted", "dwell look"]),
        ("`dwell look` takes `--planted-too`", ["dwell look --planted"]),
    ],
)
def test_a_command_or_an_option_that_no_page_names_is_told(page: str, told: list[str]) -> None:
    group = click.Group("dwell", commands=[click.Command("look", params=[click.Option(["-p", "--planted"])])])
    assert unnamed_options(group, [page]) == told
