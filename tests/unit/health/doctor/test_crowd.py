"""Praise by user: the edges of what a reader does."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from dwell.health.doctor.crowd import crowd
from dwell.health.doctor.evidence import Evidence, SeenEvent
from dwell.records import Params, Signal
from dwell.testing.store_samples import sample_impression

START = 1_700_000_000.0


def praised(n: int, user: str, at: float, doc: int = 0) -> SeenEvent:
    shown = replace(
        sample_impression(f"e{n}", served_at=at), user=user, served=("a", "b", "c"), documents=("a", "b", "c")
    )
    credit = np.zeros(3, np.float32)
    credit[doc] = 1.0
    click = Signal(event_id=f"e{n}", name="click", doc="abc"[doc], value=1.0, at=at + 1.0, received_at=at + 1.0)
    return SeenEvent(shown, "closed", 1.0, credit, (click,))


def readers(n_users: int, each: int = 3) -> list[SeenEvent]:
    """Return lists that users praised each in turn, an hour apart, whatever stood where."""
    return [praised(i, f"u{i % n_users}", START + 3_600.0 * i, i % 3) for i in range(n_users * each)]


def named(events: Sequence[SeenEvent]) -> list[str]:
    evidence = Evidence(
        now=START,
        mode="live",
        events=tuple(events),
        counts={"closed": len(events)},
        feature_names=(),
        live=Params(version=0, weights={}),
        attribution_window_s=60.0,
    )
    return [one.message for one in crowd(evidence).findings]


def test_readers_are_no_robots() -> None:
    assert named(readers(40)) == []


@pytest.mark.parametrize(("n", "is_named"), [(29, False), (30, True)])
def test_thirty_lists_within_a_minute_are_no_readers(n: int, *, is_named: bool) -> None:
    rushed = [praised(1_000 + i, "robot", START + i * 60.0 / 31, i % 3) for i in range(n)]
    found = named([*readers(100), *rushed])
    assert bool(found) is is_named
    assert all("one user praised up to 30 lists within a minute" in one for one in found)


def test_a_minute_has_its_end() -> None:
    slow = [praised(1_000 + i, "keen", START + i * 60.0 / 29, i % 3) for i in range(60)]
    assert named([*readers(200), *slow]) == []


@pytest.mark.parametrize(("n_heavy", "is_named"), [(38, False), (41, True)])
def test_three_users_do_not_hold_half(n_heavy: int, *, is_named: bool) -> None:
    """With 40 users of three lists each, three more hold 3h of 120 + 3h: half from h = 40 on."""
    heavy = [praised(10_000 + i, f"heavy{i % 3}", START + 3_600.0 * i, (i // 3) % 3) for i in range(3 * n_heavy)]
    found = named([*readers(40), *heavy])
    assert bool(found) is is_named
    assert all("three of 43 users hold" in one for one in found)


@pytest.mark.parametrize(("n", "is_named"), [(19, False), (20, True)])
def test_who_praises_one_document_alone_pushes_it(n: int, *, is_named: bool) -> None:
    pushed = [praised(1_000 + i, "friend", START + 3_600.0 * i, 1) for i in range(n)]
    found = named([*readers(100), *pushed])
    assert bool(found) is is_named
    assert all("hardly anything but one document ('b')" in one for one in found)


def test_who_praises_one_document_and_others_does_not() -> None:
    mixed = [praised(1_000 + i, "friend", START + 3_600.0 * i, 1 if i % 5 else 0) for i in range(40)]
    assert named([*readers(100), *mixed]) == []


@pytest.mark.parametrize(("n_light", "is_named"), [(26, False), (27, True)])
def test_in_a_small_crowd_three_may_hold_half(n_light: int, *, is_named: bool) -> None:
    """Three who praise 40 lists each, among users of one list: they hold most of it, among 30 users or not."""
    heavy = [praised(10_000 + i, f"heavy{i % 3}", START + 3_600.0 * i, (i // 3) % 3) for i in range(120)]
    assert bool(named([*readers(n_light, 1), *heavy])) is is_named


def test_who_praises_one_document_and_no_more_than_others_praise_pushes_nothing() -> None:
    """Each of 20 users has 20 lists: nobody counts for more than three of them."""
    loyal = [praised(1_000 + i, "loyal", START + 3_600.0 * i, 1) for i in range(20)]
    assert named([*readers(19, 20), *loyal]) == []
