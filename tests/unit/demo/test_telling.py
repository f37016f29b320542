"""The printed story: what it must say, and that nothing in it drives a terminal."""

from dataclasses import replace

import pytest

from dwell.demo.cast import cast_facts, formula, printable
from dwell.demo.report import Account
from dwell.demo.story import Planted, Trained
from dwell.demo.telling import cast_lines, conclusion, moment_lines, outcome_of
from dwell.demo.traffic import Plan
from dwell.demo.world import START, World
from dwell.records import Params


def test_a_formula_reads_as_one() -> None:
    assert formula(Params(0, START)) == "bm25 + bm25_title + length + popularity"
    assert formula(Params(0, {"a": -1.0, "b": 0.0, "c": 0.5})) == "- a + 0.5 x c"


def test_the_cast_names_the_simulation_the_start_and_every_setting(world: World) -> None:
    text = " ".join(" ".join(cast_lines(cast_facts(world, Plan(400, 100, 3, 200), []))).split())
    assert "SIMULATED" in text
    assert "the starting ranker is bm25 + bm25_title + length + popularity" in text
    assert "gate, split, caps and window are the defaults" in text
    assert "after search 200" in text
    other = cast_facts(world, Plan(100, 100, 3, None), ["gate.kind = off (given)"])
    assert dict(other)["settings"] == "NOT the defaults: gate.kind = off (given)"
    assert "after search" not in dict(other)["taste"]


def test_every_line_is_printable_ascii_or_letters(account: Account, world: World) -> None:
    lines = cast_lines(cast_facts(world, account.plan, ["\x1b[2J"]))
    lines += [line for moment in account.moments for line in moment_lines(moment, world)]
    lines += conclusion(outcome_of(account.moments), world, "a\nb\x1b.dwell")
    assert all(line.isprintable() for line in lines)
    assert any("\\x1b" in line for line in lines)


def test_each_moment_says_what_happened(account: Account, world: World) -> None:
    text = "\n".join(line for moment in account.moments for line in moment_lines(moment, world))
    for words in (
        "reject    version 1: worse: ",
        "forced    by hand all the same (force=True): nDCG@10 0.300 -> nDCG@10 0.100",
        "rollback  version 0 is live again: nDCG@10 0.300, the same to the last digit",
        "promote   version 3: better: it is",
        "the visitors change their mind: they want long entries now",
        "learning was cut short by its time limit",
        "version 4 was learned",
    ):
        assert words in text


def test_the_outcome_counts_and_complains(account: Account, world: World) -> None:
    outcome = outcome_of(account.moments)
    assert (outcome.n_judged, outcome.n_promoted, outcome.n_rejected) == (3, 2, 1)
    assert outcome.complaint is None
    assert outcome.change is not None
    assert "the planted mistake was refused" in "\n".join(conclusion(outcome, world, "s"))
    assert "nothing was promoted" in str(replace(outcome, n_promoted=0).complaint)
    assert "planted mistake was promoted" in str(replace(outcome, was_mistake_refused=False).complaint)
    assert "rollback" in str(replace(outcome, is_restored=False).complaint)


def test_a_rollback_to_other_figures_is_seen(account: Account) -> None:
    planted = next(moment for moment in account.moments if isinstance(moment, Planted))
    trained = next(moment for moment in account.moments if isinstance(moment, Trained))
    assert planted.is_restored
    assert not replace(planted, rolled_back=replace(trained.after, version=9)).is_restored


@pytest.mark.parametrize("text", ["\x1b[31m", "\u202e", "\ud800", "a\nb", "x" * 10_000])
def test_no_text_drives_a_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 512 * 6
    shown.encode()
