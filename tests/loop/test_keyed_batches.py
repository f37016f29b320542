"""A batch of reactions under a key: one effect, one answer, whatever is retried."""

from collections.abc import Callable
from typing import Any

import pytest

import dwell

Open = Callable[..., dwell.Loop]
WEEK_S = 604_800.0


def batch(served: dwell.Served) -> list[dict[str, Any]]:
    return [
        {"event_id": served.event_id, "signal": "click", "doc": served.ids[0]},
        {"event_id": served.event_id, "signal": "no such signal"},
        {"event_id": "unknown", "signal": "click", "doc": "d1"},
    ]


def statuses(loop: dwell.Loop, items: list[dict[str, Any]], **how: Any) -> list[str]:
    return [answer.status for answer in loop.submit_feedback_many(items, **how).result()]


def test_a_retry_is_answered_as_the_first_time(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere)
    items = batch(world.visit(loop))
    first = loop.submit_feedback_many(items, request_key="k", now=world.now + 50).result()
    assert [a.status for a in first] == ["joined", "rejected", "orphan"]
    assert loop.submit_feedback_many(items, request_key="k", now=world.now + 51).result() == first
    assert statuses(loop, items, now=world.now + 52) == ["joined", "rejected", "orphan"], (
        "another instant is another click"
    )
    assert statuses(loop, items, request_key="other", now=world.now + 50)[0] == "duplicate"


def test_other_items_under_a_key_are_refused_and_change_nothing(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere)
    items = batch(world.visit(loop))
    loop.submit_feedback_many(items, request_key="k", now=world.now).result()
    n_before = loop.health(now=world.now).to_dict()
    answers = loop.submit_feedback_many(items[:1] * 2, request_key="k", now=world.now).result()
    assert [a.reason.partition(":")[0] for a in answers if a.reason] == ["idempotency_conflict"] * 2
    assert loop.health(now=world.now).to_dict()["n_signals"] == n_before["n_signals"]


def test_keys_are_kept_for_a_week(opened: Open, world: Any, anywhere: str) -> None:
    loop = opened(anywhere)
    items = batch(world.visit(loop))[:1]
    assert statuses(loop, items, request_key="k", now=world.now) == ["joined"]
    loop.close_events(now=world.now + WEEK_S)
    assert statuses(loop, items, request_key="k", now=world.now + WEEK_S) == ["joined"]
    loop.close_events(now=world.now + WEEK_S + 1.0)
    assert statuses(loop, items, request_key="k", now=world.now) == ["duplicate"], "the key is forgotten, the click not"


def test_a_key_that_is_no_text_is_refused(opened: Open) -> None:
    with pytest.raises(dwell.errors.RecordError):
        opened().submit_feedback_many([], request_key="")
