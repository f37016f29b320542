import dataclasses
import sys
from collections import Counter
from pathlib import Path

import pytest

from dwell.errors import ConfigError
from dwell.testing.buffer_torture import (
    CASES,
    OUTCOMES,
    AdapterNotImportedError,
    Result,
    run,
    table,
)

HERE = Path(__file__).parent
OURS = ("ObjectRowsAdapter", "PackedRowsAdapter", "ExternalRowsAdapter")
# every case that a plain buffer in a hundred lines is asked
ASKED = [case for case in CASES if case.group in {"at the door", "identity", "bounds", "saving", "two processes"}]


def tried(broken: str, *names: str, timeout_s: float = 30.0) -> dict[str, Result]:
    chosen = [case for case in CASES if case.name in names]
    assert len(chosen) == len(set(names)), "a case of that name does not exist"
    return {r.case.name: r for r in run(f"broken_buffers:{broken}", chosen, timeout_s=timeout_s, path=[HERE])}


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.parametrize("adapter", OURS)
def test_ours_survives_everything(adapter: str) -> None:
    results = run(f"dwell.testing.buffer_torture.ours:{adapter}")
    assert [result.case for result in results] == list(CASES)
    assert [(r.case.name, r.outcome, r.detail) for r in results if r.outcome != "pass"] == []


def test_a_sound_buffer_passes_whatever_it_offers() -> None:
    results = run("broken_buffers:Sound", ASKED, path=[HERE])
    assert [(r.case.name, r.outcome, r.detail) for r in results if r.outcome not in {"pass", "not offered"}] == []
    assert Counter(r.outcome for r in results)["pass"] >= 30


@pytest.mark.parametrize(
    ("broken", "case", "due", "said"),
    [
        ("TakesNan", "nan at update", "wrong answer", "without a word"),
        ("TakesNan", "nan at add", "wrong answer", "without a word"),
        ("TakesNan", "negative at update", "wrong answer", "without a word"),
        ("BySlot", "late priority after eviction", "wrong answer", "chi-square"),
        ("BySlot", "late priority after exactly one round", "wrong answer", "chi-square"),
        ("AlphaTwice", "alpha is applied once", "wrong answer", "chi-square"),
        ("DrawsZeros", "zero is never drawn", "wrong answer", "not to be drawn"),
        ("DrawsZeros", "probabilities are exact", "wrong answer", "off by"),
        ("Drifts", "drift one by one", "wrong answer", "chi-square"),
        ("Aborts", "handle far beyond", "crash", "SIGABRT"),
        ("Exits", "sample of an empty buffer", "crash", "exit code 0"),
        ("SavesInPlace", "killed while saving", "exception", ""),
        ("Tidies", "files of others survive", "wrong answer", "README.txt is gone"),
        ("Torn", "no row is torn", "wrong answer", "another key"),
    ],
)
def test_a_broken_buffer_is_caught(broken: str, case: str, due: str, said: str) -> None:
    result = tried(broken, case)[case]
    assert (result.outcome, said in result.detail) == (due, True), result.detail


@pytest.mark.parametrize("broken", ["BySlot", "AlphaTwice", "Aborts", "Tidies"])
def test_a_fault_is_charged_to_no_other_case(broken: str) -> None:
    found = tried(broken, "in proportion", "of duplicates the last holds", "rounds of the ring")
    assert [result.outcome for result in found.values()] == ["pass"] * 3


def test_a_hang_is_cut_off_and_the_next_case_runs() -> None:
    found = tried("Hangs", "sample of an empty buffer", "sample of less than nothing", timeout_s=1.5)
    assert [result.outcome for result in found.values()] == ["hang", "pass"]
    assert 1.5 <= found["sample of an empty buffer"].took_s < 5.0


def test_what_is_not_offered_is_not_wrong() -> None:
    found = tried("Sound", "a user is removed entirely", "alpha can be changed")
    assert [(r.outcome, r.detail) for r in found.values()] == [
        ("not offered", "another alpha"),
        ("not offered", "removal by user"),
    ]


def test_an_adapter_that_can_not_be_imported() -> None:
    for spec, said in (("broken_buffers:Nothing", "AttributeError"), ("no_such_module:Buffer", "no_such_module")):
        with pytest.raises(AdapterNotImportedError, match=said):
            run(spec, CASES[:1], path=[HERE])
    with pytest.raises(ConfigError):
        run("dwell.testing.buffer_torture.ours")
    with pytest.raises(ConfigError):
        run("broken_buffers:Sound", timeout_s=0.0)
    assert run("no_such_module:Buffer", []) == []


def test_another_interpreter_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run("broken_buffers:Sound", CASES[:1], python=str(tmp_path / "python"))
    assert run("broken_buffers:Sound", CASES[:1], python=sys.executable, path=[HERE])[0].outcome == "pass"


def test_every_case_says_what_it_expects_and_where_it_is_from() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        assert case.expectation.endswith("."), case.name
        assert "\n" not in case.expectation, case.name
        assert case.source, case.name
    with pytest.raises(dataclasses.FrozenInstanceError):
        CASES[0].name = "another"  # type: ignore[misc]


def test_the_page_lists_every_case_with_its_source(root: Path) -> None:
    page = (root / "docs" / "torture.md").read_text(encoding="utf-8")
    for case in CASES:
        assert f"| {case.name} | {case.expectation} |" in page
        assert f"| {case.source} |" in page


def test_the_table_has_a_row_per_case_and_adds_up() -> None:
    first, second = CASES[0], CASES[-1]
    one = [Result(first, "pass", "", 0.1), Result(second, "crash", "ended", 0.1)]
    two = [Result(first, "not offered", "zero", 0.1), Result(second, "pass", "", 0.1)]
    lines = table({"one": one, "two": two}).splitlines()
    assert lines[0] == "| case | one | two |"
    assert f"| {first.name} | pass | not offered |" in lines
    assert f"| {second.name} | **crash** | pass |" in lines
    totals = lines[lines.index("| **totals** | | |") + 1 :]
    assert [line.split(" | ")[0].strip("| ") for line in totals] == list(OUTCOMES)
    assert totals[0] == "| pass | 1 | 1 |"
