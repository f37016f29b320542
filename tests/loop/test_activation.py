"""Activation in the loop: in step with the facts, durable with them, logged when served, undone when erased."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dwell
from dwell.activation import FEATURES
from dwell.errors import ConfigError, RecordError, StorageError

START = 1_700_000_000.0
HOUR_S = 3_600.0
PEPPER = "a pepper of these tests"


def opened(where: Path | str, learner: str = "both", **more: Any) -> dwell.Loop:
    return dwell.open(where, features=["x"], learner=learner, pepper=PEPPER, strict=True, **more)


def candidates(*ids: str) -> list[dict[str, Any]]:
    return [{"id": doc, "x": 1.0 - i / 10} for i, doc in enumerate(ids)]


def masses(loop: dwell.Loop, items: list[str], now: float) -> np.ndarray[Any, Any]:
    """Return (reward, exposure) of items from what explains them."""
    loop.history()  # writes what is queued
    assert loop.activation is not None
    found = [loop.activation.explain(item, now=now) for item in items]
    return np.array([(one.reward_mass, one.exposure_mass) for one in found])


def kernel(age_s: float, decay: float = 0.5) -> float:
    return float(age_s**-decay)


BOUND = math.expm1(0.014)  # relative: 0.014 nats with 12 rates


def test_a_serve_adds_exposure_and_a_click_adds_reward_at_the_time_of_the_serve(tmp_path: Path) -> None:
    with opened(tmp_path / "a.dwell") as loop:
        served = loop.rank("q", candidates("a", "b", "c"), k=2, event_id="e", now=START)
        first, second = served.ids
        loop.feedback("e", "click", doc=first, now=START + 600.0)
        now = START + 5 * HOUR_S
        found = masses(loop, [first, second, "c"], now)
        due = kernel(5 * HOUR_S)
        reward = found[0, 0]
        assert 0.0 < reward <= due * (1 + BOUND)
        np.testing.assert_allclose(found[:2, 1], due, rtol=BOUND)
        assert found[1, 0] == 0.0
        assert list(found[2]) == [0.0, 0.0]
        # said twice, or late: the same reward at the same instant
        loop.feedback("e", "click", doc=first, now=START + 600.0)
        assert masses(loop, [first], now)[0, 0] == reward
        late = loop.rank("q", candidates(first), event_id="late", now=START)
        assert late.ids == [first]
        loop.feedback("late", "click", doc=first, now=now)
        np.testing.assert_allclose(masses(loop, [first], now)[0], [2 * reward, 2 * found[0, 1]], rtol=1e-12)


def test_what_is_disliked_adds_exposure_and_no_reward(tmp_path: Path) -> None:
    with opened(tmp_path / "a.dwell") as loop:
        loop.rank("q", candidates("a", "b"), event_id="e", now=START)
        before = masses(loop, ["a"], START + HOUR_S)[0]
        loop.feedback("e", "thumbs_down", doc="a", now=START + 1.0)
        after = masses(loop, ["a"], START + HOUR_S)[0]
        assert after[0] == before[0] == 0.0
        assert after[1] > before[1]


def test_what_is_learned_from_is_what_was_known_when_the_list_was_served(tmp_path: Path) -> None:
    """Computed anew for training, the features would hold the click that they are to foretell: a leak."""
    with opened(tmp_path / "a.dwell", attribution_window_s=10.0) as loop:
        loop.rank("q", candidates("a", "b"), event_id="first", now=START)
        loop.feedback("first", "click", doc="a", now=START + 1.0)
        loop.history()
        loop.rank("q", candidates("a", "b"), event_id="second", now=START + 5.0)
        loop.feedback("second", "click", doc="b", now=START + 6.0)
        loop.close_events(START + 100.0)
        logged = {one.event_id: one for one in loop.experiences(limit=10)}
        first = {one["id"]: one for one in logged["first"].results_served}
        second = {one["id"]: one for one in logged["second"].results_served}
        assert all(first[doc][name] == 0.0 for doc in "ab" for name in FEATURES)
        # at the second serve one click on a and none on b were known; the later click on b is in no feature of it
        assert second["a"][FEATURES[0]] > 0.0 > second["b"][FEATURES[0]]
        assert second["b"]["act.age_s"] == pytest.approx(5.0)
        assert loop.activation is not None
        now_known = loop.activation.scores(["b"], now=START + 100.0)[0]
        loop.train(now=START + 200.0)
        again = {one.event_id: one for one in loop.experiences(limit=10)}["second"]
        assert [dict(one) for one in again.results_served] == [dict(one) for one in logged["second"].results_served]
        assert now_known != second["b"][FEATURES[0]]


def test_reading_touches_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "a.dwell") as loop:
        loop.rank("q", candidates("a", "b"), event_id="e", now=START)
        before = masses(loop, ["a", "b"], START + HOUR_S)
        assert loop.activation is not None
        for _ in range(3):
            loop.activation.scores(["a", "b"], now=START + HOUR_S)
            loop.evaluate(loop.params, now=START + HOUR_S)
            loop.health(now=START + HOUR_S)
        np.testing.assert_array_equal(masses(loop, ["a", "b"], START + HOUR_S), before)


def test_one_user_counts_three_times_a_day_for_an_item(tmp_path: Path) -> None:
    noon = START - START % 86_400.0 + 43_200.0
    with opened(tmp_path / "a.dwell") as loop:
        for i in range(5):
            loop.rank("q", candidates("a"), user="u", event_id=f"e{i}", now=noon + i)
            loop.feedback(f"e{i}", "click", doc="a", now=noon + i + 0.5)
        loop.rank("q", candidates("a"), user="other", event_id="o", now=noon)
        loop.rank("q", candidates("a"), user="u", event_id="next", now=noon + 86_400.0)
        now = noon + 2 * 86_400.0
        due = 4 * kernel(2 * 86_400.0) + kernel(86_400.0)
        np.testing.assert_allclose(masses(loop, ["a"], now)[0, 1], due, rtol=BOUND)
        # one that comes late and is older takes the place of the third
        before = masses(loop, ["a"], now)[0]
        loop.rank("q", candidates("a"), user="u", event_id="older", now=noon - 100.0)
        after = masses(loop, ["a"], now)[0]
        assert after[1] == pytest.approx(before[1], rel=1e-3)
        assert after[0] < before[0]  # the third had a click, the older one has none


def test_a_deferred_list_counts_when_it_is_shown_and_as_it_is_shown(tmp_path: Path) -> None:
    with opened(tmp_path / "a.dwell") as loop:
        loop.rank("q", candidates("a", "b"), event_id="e", activate=False, now=START)
        now = START + HOUR_S
        assert not masses(loop, ["a", "b"], now).any()
        loop.activate("e", shown=["b"], now=START + 60.0)
        found = masses(loop, ["a", "b"], now)
        assert list(found[0]) == [0.0, 0.0]
        assert found[1, 1] == pytest.approx(kernel(HOUR_S), rel=BOUND)


def test_reactions_that_came_before_their_list_count(tmp_path: Path) -> None:
    with opened(tmp_path / "a.dwell") as loop:
        assert loop.feedback("e", "click", doc="a", now=START).status == "orphan"
        loop.rank("q", candidates("a", "b"), event_id="e", now=START + 1.0)
        assert masses(loop, ["a"], START + HOUR_S)[0, 0] > 0.0


@pytest.mark.parametrize("where", ["file", ":memory:"])
def test_an_erased_user_leaves_nothing(tmp_path: Path, where: str) -> None:
    with opened(tmp_path / "a.dwell" if where == "file" else where) as loop:
        loop.rank("q", candidates("a", "b"), user="stays", event_id="s", now=START)
        loop.feedback("s", "click", doc="b", now=START + 1.0)
        before = masses(loop, ["a", "b", "c"], START + HOUR_S)
        for i in range(5):
            loop.rank("q", candidates("a", "b", "c"), user="goes", event_id=f"g{i}", now=START + i)
            loop.feedback(f"g{i}", "click", doc="a", now=START + i + 0.5)
        assert not np.allclose(masses(loop, ["a", "b", "c"], START + HOUR_S), before)
        loop.erase("goes", now=START + 100.0)
        np.testing.assert_allclose(masses(loop, ["a", "b", "c"], START + HOUR_S), before, rtol=1e-9, atol=1e-12)


EVENT = st.tuples(
    st.sampled_from(["serve", "serve", "click", "late", "down", "reopen", "flush", "erase"]),
    st.integers(0, 5),
    st.sampled_from(["u", "v", None]),
    st.floats(0.0, 200_000.0),
)


@settings(max_examples=10, deadline=None)
@given(steps=st.lists(EVENT, min_size=1, max_size=16))
def test_kept_step_by_step_it_is_what_the_log_gives(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]) -> None:
    """Whatever comes in whatever order, with restarts between: the sums are those of the whole log, read at once."""
    path = tmp_path_factory.mktemp("log") / "a.dwell"
    loop, n, known, docs = opened(path), 0, [], ["a", "b", "c", "d"]
    try:
        for kind, which, user, offset in steps:
            if kind == "serve":
                shown = docs[which % 3 : which % 3 + 2]
                loop.rank("q", candidates(*shown), user=user, event_id=f"e{n}", now=START + offset)
                known.append((f"e{n}", shown[0]))
                n += 1
            elif kind in {"click", "late", "down"} and known:
                event, doc = known[which % len(known)]
                signal = "thumbs_down" if kind == "down" else "click"
                loop.feedback(event, signal, doc=doc, now=START + offset)
            elif kind == "reopen":
                loop.close()
                loop = opened(path)
            elif kind == "flush":
                loop.history()
            elif kind == "erase" and user is not None:
                loop.erase(user, now=START + 300_000.0)
        now = START + 300_000.0
        kept = masses(loop, docs, now)
        assert loop.activation is not None
        loop.activation.rebuild()
        np.testing.assert_allclose(masses(loop, docs, now), kept, rtol=1e-9, atol=1e-15)
    finally:
        loop.close()


def test_a_copy_taken_without_a_word_holds_what_was_acknowledged(tmp_path: Path) -> None:
    """What a crash leaves: the files as they are, the process gone; rows may be behind, the redo log is not."""
    with opened(tmp_path / "a.dwell") as loop:
        for i in range(30):
            loop.rank("q", candidates("a", "b", "c"), user=f"u{i}", event_id=f"e{i}", now=START + i)
            loop.feedback(f"e{i}", "click", doc="abc"[i % 3], now=START + i + 0.5)
        for name in ("a.dwell", "a.dwell-wal", "a.dwell.pepper"):
            if (tmp_path / name).exists():
                shutil.copy(tmp_path / name, tmp_path / name.replace("a.", "b."))
        due = masses(loop, ["a", "b", "c"], START + HOUR_S)
    with opened(tmp_path / "b.dwell") as copy:
        np.testing.assert_allclose(masses(copy, ["a", "b", "c"], START + HOUR_S), due, rtol=1e-12)


def test_pins_floors_and_forgetting(tmp_path: Path) -> None:
    config = {"activation": {"forget_below_nats": -5.0}}
    with opened(tmp_path / "a.dwell", config=config) as loop:
        loop.rank("q", candidates("a", "b", "c"), event_id="e", now=START)
        for doc in "abc":
            loop.feedback("e", "click", doc=doc, now=START + 1.0)
        loop.history()
        found = loop.activation
        assert found is not None
        found.pin(["b"], floor=1.5)
        soon, later = START + 60.0, START + 40 * 86_400.0
        assert found.forget(now=soon).items == []
        assert found.scores(["b"], now=later)[0] == 1.5
        due = found.forget(now=later)
        assert (sorted(due.items), due.is_done) == (["a", "c"], False)
        date = found.explain("a", now=soon).forget_us
        assert date is not None
        assert found.forget(now=date / 1e6 - 1.0).items == []
        assert sorted(found.forget(now=date / 1e6 + 1.0).items) == ["a", "c"]
        with pytest.raises(StorageError):
            found.forget(now=later, archive=tmp_path / "no" / "such", dry_run=False)
        archive = tmp_path / "forgotten.jsonl"
        done = found.forget(now=later, archive=archive, dry_run=False)
        assert (sorted(done.items), done.is_done, done.archive) == (["a", "c"], True, str(archive))
        assert len(archive.read_text(encoding="utf-8").splitlines()) == 2
        assert found.items() == ["b"]
    with opened(tmp_path / "a.dwell", config=config) as again:
        assert again.activation is not None
        assert again.activation.items() == ["b"]
        assert again.activation.explain("b").floor == 1.5
        again.activation.unpin(["b"])
        assert again.activation.forget(now=later).items == ["b"]


def test_the_decay_may_be_changed_for_the_past_too(tmp_path: Path) -> None:
    with opened(tmp_path / "a.dwell") as loop:
        loop.rank("q", candidates("a"), event_id="e", now=START)
        slow = masses(loop, ["a"], START + HOUR_S)[0, 1]
    with opened(tmp_path / "a.dwell", config={"activation": {"decay": 0.8}}) as loop:
        assert slow == pytest.approx(kernel(HOUR_S), rel=BOUND)
        assert masses(loop, ["a"], START + HOUR_S)[0, 1] == pytest.approx(kernel(HOUR_S, 0.8), rel=BOUND)


def test_a_store_keeps_activation_until_its_features_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.dwell"
    with dwell.open(path, features=["x"], pepper=PEPPER) as loop:
        assert loop.activation is None
        loop.rank("q", candidates("a"), event_id="e", now=START)
    with opened(path) as loop:
        assert loop.activation is not None
        assert loop.params.feature_names == ("x", *FEATURES)
        assert len(loop.activation) == 0  # nothing was counted before
        loop.activation.rebuild()
        assert loop.activation.items() == ["a"]
    with dwell.open(path, features=["y", "x"], pepper=PEPPER) as loop:  # no word of the learner, another feature
        assert loop.params.feature_names == ("x", "y", *FEATURES)
        assert loop.activation is not None
        loop.rank("q", [{"id": "b", "x": 1.0, "y": 2.0}], event_id="f", now=START)
    with dwell.open(path, drop_features=list(FEATURES), pepper=PEPPER) as loop:
        assert loop.activation is None
        assert loop.params.feature_names == ("x", "y")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"features": ["act.activation"]}, "features"),
        ({"features": ["x"], "drop_features": ["act.age_s"]}, "drop_features"),
        ({"features": ["x"], "learner": "neither"}, "learner"),
    ],
)
def test_names_that_are_the_loops_own(tmp_path: Path, more: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        dwell.open(tmp_path / "a.dwell", **({"learner": "both"} | more))
    assert refused.value.field == field
    with opened(tmp_path / "b.dwell") as loop, pytest.raises(RecordError):
        loop.rank("q", [{"id": "a", "x": 1.0, "act.activation": 1.0}])


def test_a_reader_sees_what_was_written_and_may_change_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "a.dwell") as loop:
        loop.rank("q", candidates("a"), event_id="e", now=START)
        due = masses(loop, ["a"], START + HOUR_S)
        with dwell.loop.open_loop(tmp_path / "a.dwell", pepper=PEPPER, _role="reader") as reader:
            assert reader.activation is not None
            found = reader.activation.explain("a", now=START + HOUR_S)
            assert [found.reward_mass, found.exposure_mass] == list(due[0])
            with pytest.raises(StorageError):
                reader.activation.pin(["a"])


def test_items_that_may_be_forgotten_are_told_with_their_dates_and_counted_at_once(tmp_path: Path) -> None:
    """With one rewarded exposure P = age^-0.5, so B falls below ln(1/600) after 100 hours."""
    hundred_hours = 360_000.0
    settings_of = {"activation": {"forget_below_nats": -0.5 * math.log(hundred_hours)}}
    with opened(tmp_path / "a.dwell", config=settings_of, rewards={"liked": 1.0}) as loop:
        loop.rank("q", candidates("a", "b"), event_id="e", now=START)
        loop.feedback("e", "liked", doc="a", now=START + 1.0)
        loop.history()
        activation = loop.activation
        assert activation is not None
        (date,) = activation.forget_dates(["a"])
        assert date is not None
        # 0.014 nats of base level are 2.8 % of the age
        assert date == pytest.approx(START + hundred_hours, abs=0.03 * hundred_hours)
        level = activation.base_levels(["a", "never seen"], now=START + hundred_hours)
        assert level[0] == pytest.approx(-0.5 * math.log(hundred_hours), abs=0.014)
        assert level[1] == -math.inf
        activation.pin(["a"])
        assert activation.forget_dates(["a"]) == [None]
        activation.unpin(["a"])
        for now in (START + 10.0, date + 1.0):
            exact = activation.overview(now=now)
            quick = activation.overview(now=now, is_exact=False)
            assert (quick.n_below, quick.n_below_in_a_week) == (exact.n_below, exact.n_below_in_a_week)
        assert exact.n_below >= 1
