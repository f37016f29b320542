"""Activation under attack: other processes, failing disks, many threads, changed rules. The log has the last word."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.activation import FEATURES
from dwell.cli import main
from dwell.errors import DwellError, StorageError
from dwell.loop import open_loop, sessions
from dwell.storage import open_store
from dwell.storage.sqlite import SqliteStore

START = 1_700_000_000.0
NOON = START - START % 86_400.0 + 43_200.0
LATER = NOON + 86_400.0
PEPPER = "a pepper of these tests"
DOCS = ["a", "b", "c", "d"]


def opened(where: Path | str, **more: Any) -> dwell.Loop:
    arguments: dict[str, Any] = {"features": ["x"], "learner": "both", "pepper": PEPPER, "strict": True}
    return dwell.open(where, **(arguments | more))


def guest(where: Path) -> dwell.Loop:
    """Open a store as a command does beside its owner."""
    return open_loop(where, pepper=PEPPER, _role="admin")


def served(loop: dwell.Loop, event: str, *docs: str, user: str | None = None, now: float = NOON) -> list[str]:
    return loop.rank("q", [{"id": doc, "x": 1.0} for doc in docs], user=user, event_id=event, now=now).ids


def clicked(loop: dwell.Loop, event: str, doc: str, now: float = NOON + 3_600.0) -> str:
    return loop.feedback(event, "click", doc=doc, now=now).status


def masses(loop: dwell.Loop) -> np.ndarray[Any, Any]:
    """Return (reward, exposure) of all documents, once everything that is queued is written."""
    loop.history()
    assert loop.activation is not None
    found = [loop.activation.explain(item, now=LATER) for item in DOCS]
    return np.array([(one.reward_mass, one.exposure_mass) for one in found])


def same(found: object, due: object) -> None:
    np.testing.assert_allclose(found, due, rtol=1e-9, atol=1e-15)


def demand_exact(loop: dwell.Loop) -> np.ndarray[Any, Any]:
    """Demand that the sums are what the log gives, and return them."""
    kept = masses(loop)
    assert loop.activation is not None
    loop.activation.rebuild()
    same(kept, masses(loop))
    return kept


@contextlib.contextmanager
def refusing(loop: dwell.Loop) -> Iterator[None]:
    """Have every commit of the store fail, as on a disk without space."""
    store = loop._state.store
    assert isinstance(store, SqliteStore)
    store._writer.set_commit_hook(lambda: True)
    try:
        yield
    finally:
        store._writer.set_commit_hook(None)


# ---- another process


def filled(loop: dwell.Loop) -> np.ndarray[Any, Any]:
    """Serve one user who stays and one who goes, and return what is due once the latter is gone."""
    served(loop, "s", "a", "b", user="stays")
    clicked(loop, "s", "b")
    due = masses(loop)
    for i in range(5):
        served(loop, f"g{i}", "a", "b", "c", user="goes", now=NOON + i)
        clicked(loop, f"g{i}", "a")
    assert not np.allclose(masses(loop), due)
    return due


def test_an_erasure_of_another_process_reaches_sums_that_nothing_else_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.dwell"
    with opened(path) as loop:
        due = filled(loop)
        with guest(path) as other:
            other.erase("goes", now=LATER)
        loop.refresh()
        same(masses(loop), due)
    with opened(path) as loop:
        same(demand_exact(loop), due)


def test_an_erasure_of_another_process_survives_an_owner_that_never_saw_it(tmp_path: Path) -> None:
    path = tmp_path / "a.dwell"
    with opened(path) as loop:
        due = filled(loop)
        with guest(path) as other:
            other.erase("goes", now=LATER)
    with opened(path) as loop:
        same(demand_exact(loop), due)


def test_who_comes_back_after_an_erasure_elsewhere_begins_anew(tmp_path: Path) -> None:
    """The owner has the erased user's day in memory: three events, so that a fourth would not count."""
    path = tmp_path / "a.dwell"
    with opened(path) as loop:
        filled(loop)
        with guest(path) as other:
            other.erase("goes", now=LATER)
        served(loop, "again", "a", user="goes", now=NOON + 10.0)  # in the same window, and without a refresh
        assert clicked(loop, "again", "a") == "joined"
        demand_exact(loop)


def test_a_command_takes_away_what_the_application_has_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rewards, cap and depth are the application's own; a command knows them from the store alone."""
    monkeypatch.setenv("DWELL_PEPPER", PEPPER)
    path, own = tmp_path / "a.dwell", {"activation": {"session_cap": 1}}
    with opened(path, rewards={"click": 0.25}, max_results=2, config=own) as loop:
        clicked(loop, "s", served(loop, "s", *DOCS, user="stays")[1])
        due = masses(loop)
        for i in range(3):
            clicked(loop, f"g{i}", served(loop, f"g{i}", *DOCS, user="goes", now=NOON + i)[0])
    assert main(["erase", str(path), "--user", "goes", "--yes"]) == 0
    assert capsys.readouterr().err == ""
    with opened(path, rewards={"click": 0.25}, max_results=2, config=own) as loop:
        same(demand_exact(loop), due)


# ---- failing writes


def test_a_disk_that_refuses_changes_nothing_and_is_made_up_for(tmp_path: Path) -> None:
    config = {"activation": {"forget_below_nats": -5.0}}
    path = tmp_path / "a.dwell"
    with opened(path, config=config) as loop:
        found = loop.activation
        assert found is not None
        served(loop, "e", *DOCS, user="u")
        clicked(loop, "e", "a")
        before = masses(loop)
        found.pin(["d"])
        with refusing(loop):
            assert clicked(loop, "e", "b") == "rejected"
            served(loop, "lost", *DOCS, user="u")
            for change in (
                lambda: found.pin(["a", "new"], floor=2.0),
                lambda: found.unpin(["d"]),
                lambda: found.forget(now=LATER + 1e9, dry_run=False),
            ):
                with pytest.raises(StorageError):
                    change()
                same(masses(loop), before)
                assert found.explain("a").floor is None
                assert found.explain("d").is_pinned
                assert "new" not in found.items()
            with pytest.raises(StorageError):
                found.rebuild()
            same(masses(loop), before)
        # the same again, and this time it counts: nothing of the first try was remembered
        assert clicked(loop, "e", "b") == "joined"
        served(loop, "lost2", *DOCS, user="u")
        after = masses(loop)
        assert (after > before).any()
        assert sorted(found.forget(now=LATER + 1e9).items) == ["a", "b", "c"]
    with opened(path, config=config) as loop:
        same(masses(loop), after)
        assert loop.activation is not None
        assert loop.activation.explain("d").is_pinned
        done = loop.activation.forget(now=LATER + 1e9, dry_run=False)
        assert (sorted(done.items), loop.activation.items()) == (["a", "b", "c"], ["d"])


def test_a_job_that_fails_in_the_middle_of_a_group_takes_no_other_with_it(tmp_path: Path) -> None:
    with opened(tmp_path / "a.dwell") as loop:
        for i in range(3):
            served(loop, f"e{i}", "a", "b", user="u", now=NOON + i)
        writer = loop._state.writer
        assert writer is not None
        begun, go = threading.Event(), threading.Event()

        def wait(_: object) -> None:
            begun.set()
            go.wait(10.0)

        first = writer.submit(wait)
        begun.wait(10.0)  # what comes now waits together, and is one group
        one = loop.submit_feedback("e0", "click", doc="a", now=NOON + 9.0)

        def bad(tx: Any) -> None:
            raise RuntimeError("a job that fails")

        failed = writer.submit(bad)
        with ThreadPoolExecutor(1) as pool:
            unknown = pool.submit(loop.activate, "nobody")
            two = loop.submit_feedback("e1", "click", doc="a", now=NOON + 9.0)
            go.set()
            first.result()
            assert isinstance(failed.exception(), RuntimeError)
            assert isinstance(unknown.exception(), DwellError)
        assert (one.result().status, two.result().status) == ("joined", "joined")
        items = [
            {"event_id": "e2", "signal": "click", "doc": "b"},
            {"event_id": "e2", "signal": "click", "doc": "zebra"},
            {"event_id": "e2", "signal": "no such signal"},
            {"event_id": "e2", "signal": "click", "doc": "a", "value": float("nan")},
            {"event_id": 7},
            {"event_id": "e2", "signal": "click", "doc": "a"},
        ]
        answers = [one.status for one in loop.feedback_many(items, now=NOON + 9.0)]
        assert answers == ["joined", "rejected", "rejected", "rejected", "rejected", "joined"]
        demand_exact(loop)


def test_a_batch_over_more_windows_than_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two events of one user the journals of others may not push out the one that both need."""
    monkeypatch.setattr(sessions, "_MOST_KEPT", 2)
    with opened(tmp_path / "a.dwell") as loop:
        for i, user in enumerate("uvwxu"):
            served(loop, f"e{i}", "a", user=user, now=NOON + i)
        loop.history()
        loop.feedback_many([{"event_id": f"e{i}", "signal": "click", "doc": "a"} for i in range(5)], now=NOON + 9.0)
        assert loop.feedback("e0", "thumbs_down", doc="a", now=NOON + 10.0).status == "joined"
        demand_exact(loop)


def test_a_redo_log_that_can_not_be_read_holds_no_answer_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path / "a.dwell") as loop:
        served(loop, "e", "a")
        loop.history()
        other = open_store(str(tmp_path / "a.dwell"), role="admin")
        with other.transaction() as tx:
            tx.add_trace_change(b"\xc1 is no message")
        other.close()
        answer = loop.submit_feedback("e", "click", doc="a", now=NOON + 1.0)
        assert answer.result(timeout=10.0).status == "joined"
        assert "lags behind" in caplog.text


# ---- threads


def test_threads_that_rank_react_erase_and_rebuild_at_once(tmp_path: Path) -> None:
    n_each = 25
    with opened(tmp_path / "a.dwell", durability="relaxed") as loop, ThreadPoolExecutor(8) as pool:
        known: list[tuple[str, str]] = []

        def rank(thread: int) -> None:
            for i in range(n_each):
                served(loop, f"{thread}-{i}", *DOCS, user=f"u{i % 5}", now=NOON + i)
                known.append((f"{thread}-{i}", DOCS[i % 4]))

        def react(thread: int) -> None:
            for i in range(n_each):
                if known:
                    clicked(loop, *known[(7 * i + thread) % len(known)])

        def interfere() -> None:
            assert loop.activation is not None
            for i in range(4):
                loop.activation.rebuild()
                loop.erase(f"u{i % 2}", now=LATER)
                loop.activation.pin([DOCS[i]])

        work = [pool.submit(rank, n) for n in range(4)] + [pool.submit(react, n) for n in range(2)]
        work.append(pool.submit(interfere))
        for one in work:
            one.result(60.0)
        demand_exact(loop)


# ---- other rules than before


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"rewards": {"click": 0.1, "favorite": 1.0}}, "preset"),
        ({"max_results": 1}, "most_shown"),
        ({"config": {"activation": {"session_cap": 1}}}, "session_cap"),
        ({"config": {"activation": {"session_window_s": 60.0}}}, "session_window_s"),
        ({"config": {"activation": {"n_rates": 14}}}, "n_rates"),
        ({"config": {"training": {"examination_eta": 0.0}}}, "eta"),
    ],
)
def test_other_rules_hold_from_a_rebuild_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changed: dict[str, Any], named: str
) -> None:
    path, twin = tmp_path / "a.dwell", tmp_path / "twin.dwell"

    def begin(loop: dwell.Loop) -> None:
        for i in range(4):
            served(loop, f"e{i}", "a", user="u", now=NOON + 600.0 * i)
            served(loop, f"f{i}", "b", "c", user=f"v{i}", now=NOON + i)
            clicked(loop, f"e{i}", "a")

    def go_on(loop: dwell.Loop) -> None:
        clicked(loop, "e1", "a", NOON + 7_200.0)
        clicked(loop, "f0", "b", NOON + 7_200.0)
        loop.erase("u", now=LATER)
        loop.erase("v1", now=LATER)

    with opened(path) as loop:
        begin(loop)
    assert caplog.text == ""
    with opened(path, **changed) as loop:
        assert named in caplog.text
        assert "rebuild()" in caplog.text
        go_on(loop)
        kept = masses(loop)
    caplog.clear()
    with opened(path) as loop:  # the rules of before again: what came meanwhile was taken in by them
        assert caplog.text == ""
        same(demand_exact(loop), kept)
        same(kept[0], 0.0)
    with opened(path, **changed) as loop:
        assert loop.activation is not None
        loop.activation.rebuild()
        now_kept = masses(loop)
    caplog.clear()
    with opened(twin, **changed) as loop:
        begin(loop)
        go_on(loop)
        same(now_kept, masses(loop))
    with opened(path, **changed) as loop:
        assert caplog.text == ""
        same(demand_exact(loop), now_kept)


def test_what_is_not_kept_any_more_is_gone_from_the_store(tmp_path: Path) -> None:
    """An erasure after the end would take nothing out of sums that came back later."""
    path = tmp_path / "a.dwell"
    with opened(path) as loop:
        filled(loop)
    with dwell.open(path, pepper=PEPPER, drop_features=list(FEATURES)) as loop:
        loop.erase("goes", now=LATER)
    with opened(path) as loop:
        assert loop.activation is not None
        assert loop.activation.items() == []
        loop.activation.rebuild()
        assert loop.activation.items() == ["a", "b"]


# ---- sizes


def test_long_lists_and_a_user_who_never_stops(tmp_path: Path) -> None:
    """Ten thousand candidates are looked up, twenty count; and one user's long day is read once, not per reaction."""
    path, n_events = tmp_path / "a.dwell", 200
    docs = [f"d{i}" for i in range(10_000)]
    with opened(path, durability="relaxed") as loop:
        loop.rank("q", ids=docs, features=np.ones((len(docs), 1)), k=10_000, event_id="long", now=NOON)
        loop.history()
        assert loop.activation is not None
        assert len(loop.activation) == 20
        for i in range(n_events):
            served(loop, f"e{i}", "a", user="robot", now=NOON + i)
        loop.history()
    with opened(path) as loop:
        for i in range(n_events):
            clicked(loop, f"e{i}", "a")
        reward, _ = masses(loop)[0]
        # of its two hundred clicks the first three count
        activity = loop._state.activity
        assert activity is not None
        click = activity.sessions.rules.preset.signals["click"].weight
        due = click * sum((LATER - NOON - i) ** -0.5 for i in range(3))
        assert reward == pytest.approx(due, rel=0.0142)
