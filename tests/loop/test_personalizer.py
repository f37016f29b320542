"""Logs of Azure Personalizer: what is taken, what is counted, and what the page says of its words."""

import dataclasses
import inspect
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import dwell
from dwell.config import Config
from dwell.integrations.personalizer import PersonalizerReport, flattened, import_personalizer
from dwell.loop import Loop

AT = 1_700_000_000.0
ACTIONS = [{"id": name, "features": [{"a": {"x": float(i)}}]} for i, name in enumerate("pqr")]


def taken(loop: Loop, *documents: Any, **how: Any) -> PersonalizerReport:
    return import_personalizer(loop, [d if isinstance(d, str) else json.dumps(d) for d in documents], now=AT, **how)


def opened() -> Loop:
    return dwell.open(":memory:", features=["a.x"])


def test_numbers_are_named_by_the_way_to_them() -> None:
    left_out: Counter[str] = Counter()
    more = {"f": 10**400, "g": float("nan"), "h": float("-inf")}
    assert flattened([{"a": {"b": 1}}, {"c": 2.5, "d": True, "e": None}, more, {"t": "x"}], left_out) == {
        "a.b": 1.0,
        "c": 2.5,
    }
    assert left_out == {"text_features": 5}


def test_the_first_action_that_is_not_excluded_was_shown() -> None:
    with opened() as loop:
        taken(loop, {"rank": {"eventId": "e", "actions": ACTIONS, "excludedActions": ["p"]}})
        (found,) = loop.experiences()
    assert [(one["id"], one["a.x"]) for one in found.results_served] == [("q", 1.0)]


def test_a_ranking_is_believed_before_the_order_of_actions() -> None:
    ranking = [{"id": "r", "probability": 0.8}, {"id": "p", "probability": 0.1}, {"id": "q", "probability": 0.1}]
    with opened() as loop:
        report = taken(loop, {"eventId": "e", "actions": ACTIONS, "ranking": ranking}, shown="all")
        (found,) = loop.experiences()
    assert [one["id"] for one in found.results_served] == ["r", "p", "q"]
    assert report.left_out["probabilities"] == 1


def test_a_second_import_changes_nothing() -> None:
    log = [{"rank": {"eventId": "e", "actions": ACTIONS}}, {"reward": {"eventId": "e", "value": 0.5}}]
    with opened() as loop:
        assert taken(loop, *log).feedback == {"joined": 1}
        (once,) = loop.experiences()
        assert taken(loop, *log).feedback == {"duplicate": 1}
        (again,) = loop.experiences()
    assert (again.reward, again.feedback_signals) == (once.reward, once.feedback_signals) == (0.5, {"reward": 0.5})


def test_what_was_deferred_is_recorded_once_activated() -> None:
    deferred = {"rank": {"eventId": "e", "actions": ACTIONS, "deferActivation": True}}
    with opened() as loop:
        report = taken(loop, deferred)
        assert (report.n_lists, report.n_deferred, list(loop.experiences())) == (0, 1, [])
        report = taken(loop, deferred, {"activate": {"eventId": "e"}}, {"activate": {"eventId": "x"}})
        assert (report.n_lists, report.n_deferred, len(list(loop.experiences()))) == (1, 0, 1)
    assert report.left_out["activations_of_unknown_ranks"] == 1


def test_a_bad_line_costs_itself_alone() -> None:
    bad = ["{", "[]", {}, {"rank": {"eventId": "e", "actions": 3}}, {"reward": {"eventId": "e", "value": "1"}},
           {"rank": {"eventId": "a b", "actions": ACTIONS}}, {"rank": {"eventId": "e", "actions": []}},
           {"timestamp": "soon", "rank": {"eventId": "e", "actions": ACTIONS}}]  # fmt: skip
    with opened() as loop:
        report = taken(loop, *bad, {"rank": {"eventId": "good", "actions": ACTIONS}})
        assert [e.event_id for e in loop.experiences()] == ["good"]
    assert [one.line for one in report.refused] == list(range(1, len(bad) + 1))
    assert (report.n_lines, report.n_refused, report.n_lists) == (len(bad) + 1, len(bad), 1)


def test_every_word_of_ours_in_the_table_exists(root: Path) -> None:
    text = (root / "docs" / "personalizer.md").read_text(encoding="utf-8")
    rows = [line.split("|")[2] for line in text.splitlines() if line.startswith("| ")][1:]
    names = [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    assert len(names) > 15
    rank = inspect.signature(Loop.rank).parameters
    for name in names:
        section, _, setting = name.partition(".")
        if setting:
            assert setting in {f.name for f in dataclasses.fields(getattr(Config(), section))}, name
        else:
            assert hasattr(Loop, name) or name in rank, name
