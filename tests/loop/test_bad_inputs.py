"""The bad inputs that every entry point must withstand: capture fails open, everything else is refused by name."""

import math
import sys
from collections import UserDict
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.errors import FeatureSchemaError, UnknownEventError
from dwell.loop.whole_file import write_whole

Open = Callable[..., dwell.Loop]

GOOD = {"good": 1.0, "bad": 0.0, "noise": 0.5}
HUGE = 10**400


def docs(**changed: object) -> list[dict[str, Any]]:
    """Return three candidates, the second one with something else."""
    return [{"id": "a", **GOOD}, {"id": "b", **GOOD, **changed}, {"id": "c", **GOOD}]


def without(name: str) -> list[dict[str, Any]]:
    return [docs()[0], {k: v for k, v in docs()[1].items() if k != name}, docs()[2]]


RANK: list[tuple[str, dict[str, Any], str]] = [
    ("1 nan", {"candidates": docs(good=math.nan)}, "non_finite:good"),
    ("1 inf", {"candidates": docs(good=math.inf)}, "non_finite:good"),
    ("1 -inf", {"candidates": docs(noise=-math.inf)}, "non_finite:noise"),
    ("1 beyond float32", {"candidates": docs(good=1e308)}, "non_finite:good"),
    ("1 score beyond float32", {"candidates": docs(bad=3e38, noise=3e38)}, "non_finite:score"),
    ("1 numpy nan", {"candidates": docs(bad=np.float32("nan"))}, "non_finite:bad"),
    ("1 text nan", {"candidates": docs(good="NaN")}, "type:good"),
    ("1 embedding nan", {"query_embedding": [1.0, math.nan]}, "non_finite"),
    ("1 array nan", {"ids": ["a", "b"], "features": np.array([[1, 2, 3], [4, np.nan, 6.0]])}, "non_finite:bad"),
    ("2 true", {"candidates": docs(good=True)}, "type:good"),
    ("2 text", {"candidates": docs(good="1")}, "type:good"),
    ("2 none", {"candidates": docs(good=None)}, "type:good"),
    ("2 complex", {"candidates": docs(good=1j)}, "type:good"),
    ("2 bool array", {"ids": ["a"], "features": np.ones((1, 3), dtype=bool)}, "type"),
    ("2 bool in lists", {"ids": ["a"], "features": [[1.0, True, 0.0]]}, "type"),
    ("2 text array", {"ids": ["a"], "features": [["1", "2", "3"]]}, "type"),
    ("2 embedding of text", {"query_embedding": "1.0"}, "type"),
    ("2 activate", {"activate": 1}, "type"),
    ("4 duplicate", {"candidates": [*docs(), docs()[0]]}, "results_shape"),
    ("4 duplicate ids", {"ids": ["a", "a"], "features": np.ones((2, 3))}, "results_shape"),
    ("4 both", {"ids": ["a"], "features": np.ones((1, 3)), "candidates": docs()}, "results_shape"),
    ("4 no mapping", {"candidates": [*docs(), "d"]}, "results_shape"),
    ("4 no id", {"candidates": [*docs(), GOOD]}, "results_shape"),
    ("4 ragged", {"ids": ["a", "b"], "features": [[1.0, 2.0, 3.0], [1.0]]}, "results_shape"),
    ("4 too many", {"ids": [str(i) for i in range(100_001)], "features": np.ones((100_001, 3))}, "results_shape"),
    ("5 no dimension", {"query_embedding": []}, "embedding_dim"),
    ("5 too many dimensions", {"query_embedding": np.ones(8_193)}, "embedding_dim"),
    ("5 matrix", {"query_embedding": np.ones((2, 2))}, "embedding_dim"),
    ("6 unknown", {"candidates": docs(title=1.0)}, "feature_schema:title"),
    ("6 missing", {"candidates": without("bad")}, "feature_schema:bad"),
    ("6 shape", {"ids": ["a", "b"], "features": np.ones((2, 2))}, "feature_schema"),
    ("6 no array", {"ids": ["a"], "features": None}, "feature_schema"),
    ("10 negative", {"now": -1.0}, "timestamp"),
    ("10 milliseconds", {"now": 1.7e12}, "timestamp"),
    ("10 bool", {"now": False}, "timestamp"),
    ("10 text", {"now": "2024-01-01T00:00:00"}, "timestamp"),
    ("11 huge", {"candidates": docs(good=HUGE)}, "non_finite:good"),
    ("12 surrogate", {"candidates": docs(id="\ud800")}, "id"),
    ("12 nul", {"candidates": docs(id="b\0")}, "id"),
    ("12 bidi", {"candidates": docs(id="b\u202ec")}, "id"),
    ("12 long", {"candidates": docs(id="x" * 513)}, "id"),
    ("12 empty", {"candidates": docs(id="")}, "id"),
    ("12 number", {"candidates": docs(id=7)}, "type"),
    ("12 query", {"query": "a\0b"}, "text"),
    ("12 query surrogate", {"query": "\udfff"}, "text"),
    ("12 query type", {"query": None}, "type"),
    ("12 user", {"user": "u\n"}, "id"),
    ("12 user type", {"user": 5}, "type"),
    ("12 segment", {"segment": ""}, "id"),
    ("12 event id", {"event_id": "with space"}, "id"),
    ("12 event id long", {"event_id": "x" * 129}, "id"),
    ("12 event id type", {"event_id": 3}, "type"),
    ("13 query too long", {"query": "x" * 65_537}, "text"),
]
NAMES = [name for name, _, _ in RANK]


def call(loop: dwell.Loop, changed: dict[str, Any]) -> dwell.Served:
    given = {"query": "q", "k": 2, "user": "u", "now": 1_000.0} | changed
    if "ids" not in given:
        given.setdefault("candidates", docs())
    return loop.rank(given.pop("query"), given.pop("candidates", None), **given)


@pytest.mark.parametrize(("changed", "code"), [case[1:] for case in RANK], ids=NAMES)
def test_rank_serves_the_callers_order_and_says_why(opened: Open, changed: dict[str, Any], code: str) -> None:
    loop = opened()
    served = call(loop, changed)
    assert served.fallback == code
    source = (
        changed["ids"]
        if "ids" in changed
        else [c.get("id") for c in changed.get("candidates", docs()) if isinstance(c, dict)]
    )
    readable = list(dict.fromkeys(doc for doc in source if isinstance(doc, str) and doc))
    assert served.ids[:1] == readable[:1]
    assert [doc for doc in readable if doc in served.ids] == served.ids
    assert len(served.ids) <= 2
    assert served.propensities.tolist() == [1.0] * len(served.ids)
    # its signals are refused, and nothing is learned from it
    answer = loop.feedback(served.event_id, "click", doc="a", now=1_001.0)
    assert answer.status == "rejected"
    assert str(answer.reason).startswith("quarantined")
    assert code.split(":", maxsplit=1)[0] in str(answer.reason)
    assert loop.close_events(now=1e6) == 0
    assert list(loop.experiences()) == []
    assert loop.health(now=1e6).figures["quarantined"] == 1


@pytest.mark.parametrize(("changed", "code"), [case[1:] for case in RANK], ids=NAMES)
def test_a_strict_loop_raises_naming_field_value_and_remedy(opened: Open, changed: dict[str, Any], code: str) -> None:
    loop = opened(strict=True)
    with pytest.raises(ValueError, match=r"\(field '.+', value .*\)\. .+") as error:
        call(loop, changed)
    assert isinstance(error.value, dwell.RecordError)
    assert error.value.code == code
    assert list(loop.experiences()) == []


@pytest.mark.parametrize("k", [0, -1, True, 2.0, "3", None, HUGE])
def test_rank_raises_when_k_is_no_positive_integer(opened: Open, k: Any) -> None:
    with pytest.raises(dwell.RecordError) as error:
        call(opened(), {"k": k})
    assert error.value.field == "k"


@pytest.mark.parametrize(
    "changed",
    [
        {"candidates": []},
        {"candidates": None},
        {"candidates": "abc"},
        {"candidates": {"id": "a"}},
        {"candidates": [{"doc": "a"}]},
        {"candidates": [{"id": 1}, {"id": 2}]},
        {"candidates": (c for c in docs())},
        {"ids": "abc", "features": np.ones((3, 3))},
        {"ids": [], "features": np.ones((0, 3))},
        {"ids": np.array(3), "features": np.ones((1, 3))},
    ],
)
def test_rank_raises_when_no_ids_can_be_read(opened: Open, changed: dict[str, Any]) -> None:
    with pytest.raises(dwell.RecordError):
        call(opened(), changed)


@pytest.mark.parametrize("k", [3, 4, 1_000, sys.maxsize, np.int64(7)])
def test_k_may_exceed_the_number_of_candidates(opened: Open, k: Any) -> None:
    served = call(opened(), {"k": k})
    assert (sorted(served.ids), served.fallback) == (["a", "b", "c"], None)


@pytest.mark.parametrize("value", [5e-324, -0.0, 0, 2**63, np.float16(0.5), np.int32(3), 1e37], ids=str)
def test_unusual_but_legal_numbers_are_served(opened: Open, value: Any) -> None:
    served = call(opened(), {"candidates": docs(good=value)})
    assert served.fallback is None
    assert np.isfinite(served.scores).all()
    assert ((served.propensities > 0.0) & (served.propensities <= 1.0)).all()


RESULTS = [{"id": "a", "rank": 1, "score": 2.0}, {"memory_id": "b", "rank": 2, "score": 1.0}]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"results": []}, "results_shape"),
        ({"results": "ab"}, "results_shape"),
        ({"results": [{"rank": 1}]}, "results_shape"),
        ({"results": [{"id": "a"}, {"id": "a"}]}, "results_shape"),
        ({"results": [{"id": "a", "rank": 1}, {"id": "b", "rank": 3}]}, "results_shape"),
        ({"results": [{"id": "a", "rank": 1}, {"id": "b", "rank": 1}]}, "results_shape"),
        ({"results": [{"id": "a", "rank": True}]}, "type"),
        ({"results": [{"id": "a", "rank": 1.0}]}, "type"),
        ({"results": [{"id": "a", "score": math.nan}]}, "non_finite"),
        ({"results": [{"id": "a", "score": 1e300}]}, "non_finite"),
        ({"results": [{"id": "a", "score": "2"}]}, "type"),
        ({"results": [{"id": "a", **GOOD, "bad": math.inf}]}, "non_finite:bad"),
        ({"results": [{"id": "a\0"}]}, "id"),
        ({"query": "\ud800"}, "text"),
        ({"user": ""}, "id"),
        ({"event_id": "a b"}, "id"),
        ({"now": -1.0}, "timestamp"),
        ({"query_embedding": [math.inf]}, "non_finite"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_log_retrieval_raises(opened: Open, changed: dict[str, Any], code: str, strict: bool) -> None:  # noqa: FBT001 - a parameter of the test
    loop = opened(strict=strict)
    given = {"query": "q", "results": RESULTS, "now": 1.0} | changed
    with pytest.raises(dwell.RecordError) as error:
        loop.log_retrieval(given.pop("query"), given.pop("results"), **given)
    assert error.value.code == code
    assert list(loop.experiences()) == []


def test_log_retrieval_without_features_is_recorded_joined_and_counted(opened: Open) -> None:
    loop = opened()
    event = loop.log_retrieval("q", RESULTS, event_id="e", now=1.0)
    assert loop.feedback(event, "click", doc="b", now=2.0).status == "joined"
    assert loop.close_events(now=1_000.0) == 1
    found = next(loop.experiences())
    assert [r["id"] for r in found.results_served] == ["a", "b"]
    assert found.document_rewards["b"] > 0.0
    assert loop.health(now=1_000.0).figures["no_features"] == 1
    assert len(loop._state.replayed) == 0


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"value": math.nan}, "non_finite"),
        ({"value": True}, "type"),
        ({"value": "1"}, "type"),
        ({"value": HUGE}, "non_finite"),
        ({"event_id": "unknown-é?"}, "id"),
        ({"event_id": None}, "type"),
        ({"doc": "not-served"}, "not_served"),
        ({"doc": 3}, "type"),
        ({"doc": ""}, "id"),
        ({"at": -5.0}, "timestamp"),
        ({"at": 1.7e12}, "timestamp"),
        ({"at": "now"}, "timestamp"),
        ({"signal": "clicck"}, "unknown_signal"),
        ({"signal": ["click"]}, "type"),
        ({"signal": "dwell", "value": -1.0}, "signal_range"),
        ({"signal": "dwell", "value": 90_000.0}, "signal_range"),
        ({"signal": "bounce", "doc": None}, "signal_scope"),
        ({"signal": "abandoned"}, "signal_scope"),
        ({"idempotency_key": "k\n"}, "id"),
    ],
)
def test_feedback_never_raises_on_data(opened: Open, changed: dict[str, Any], code: str) -> None:
    loop = opened(strict=True)
    call(loop, {"event_id": "e"})
    given: dict[str, Any] = {"event_id": "e", "signal": "click", "doc": "a", "now": 1_001.0} | changed
    served = next(loop.experiences()).results_served[0]["id"]
    given["doc"] = served if given["doc"] == "a" else given["doc"]
    answer = loop.feedback(given.pop("event_id"), given.pop("signal"), **given)
    assert (answer.status, str(answer.reason).split(":")[0]) == ("rejected", code)
    assert next(loop.experiences()).feedback_signals == {}


def test_feedback_on_an_unknown_event_is_parked(opened: Open) -> None:
    answer = opened().feedback("never-served", "click", doc="a")
    assert (answer.status, str(answer.reason).split(":")[0]) == ("orphan", "unknown_event")


def test_an_idempotency_key_is_used_once(opened: Open) -> None:
    loop = opened()
    served = call(loop, {"event_id": "e"})
    how: dict[str, Any] = {"doc": served.ids[0], "idempotency_key": "k", "now": 1_001.0}
    assert loop.feedback("e", "click", **how).status == "joined"
    assert loop.feedback("e", "click", **how).status == "duplicate"
    answer = loop.feedback("e", "copy", **how)
    assert (answer.status, str(answer.reason).split(":")[0]) == ("rejected", "idempotency_conflict")


def test_storage_errors_are_answered_not_raised(opened: Open) -> None:
    loop = opened()
    served = call(loop, {"event_id": "e"})
    loop.close()
    assert call(loop, {}).fallback == "store_closed"
    answer = loop.feedback("e", "click", doc=served.ids[0])
    assert (answer.status, str(answer.reason).split(":")[0]) == ("rejected", "store_closed")
    for other in (loop.train, loop.close_events, loop.health, lambda: loop.erase("u"), loop.rollback):
        with pytest.raises(dwell.StorageError):
            other()


@pytest.mark.parametrize(
    ("event_id", "shown", "code"),
    [
        ("unknown", None, "unknown_event"),
        ("a b", None, "id"),
        ("e", [], "results_shape"),
        ("e", ["a", "a"], "results_shape"),
        ("e", ["other"], "not_served"),
        ("e", ["a\0"], "id"),
        ("e", [3], "type"),
        ("e", "ab", "type"),
        ("e", b"ab", "type"),
        ("e", {"a", "b"}, "type"),
        ("e", 7, "type"),
        ("e", [["a"], ["b", "c"]], "type"),
        ("e", np.array("a"), "type"),
    ],
)
def test_activate_raises(opened: Open, event_id: str, shown: Any, code: str) -> None:
    loop = opened()
    call(loop, {"event_id": "e", "activate": False})
    with pytest.raises(dwell.RecordError) as error:
        loop.activate(event_id, shown=shown, now=1_001.0)
    assert error.value.code == code
    assert isinstance(error.value, UnknownEventError) == (event_id == "unknown")
    assert next(loop.experiences()).state == "not_shown"


@pytest.mark.parametrize("told", ["nothing", "all", "reversed", "cut"])
def test_activating_again_does_nothing_where_it_says_the_same(opened: Open, anywhere: str, told: str) -> None:
    loop = opened(anywhere)
    served = call(loop, {"event_id": "e", "activate": False}).ids
    lists = {"nothing": None, "all": served, "reversed": served[::-1], "cut": served[:1]}
    loop.activate("e", shown=lists[told], now=1_001.0)
    first = next(loop.experiences())
    for other, shown in lists.items():
        if {told, other} <= {"nothing", "all"} or told == other:
            loop.activate("e", shown=shown, now=1_002.0)
            continue
        with pytest.raises(dwell.RecordError) as error:
            loop.activate("e", shown=shown, now=1_002.0)
        assert (error.value.code, error.value.field, error.value.value) == ("not_deferred", "event_id", "e")
    assert next(loop.experiences()) == first


def test_what_was_never_deferred_is_not_shown_otherwise_afterwards(opened: Open) -> None:
    loop = opened()
    served = call(loop, {"event_id": "e"}).ids
    loop.activate("e", shown=served)
    with pytest.raises(dwell.RecordError) as error:
        loop.activate("e", shown=served[::-1])
    assert error.value.code == "not_deferred"
    assert next(loop.experiences()).state == "open"


OPEN: list[tuple[dict[str, Any], str]] = [
    ({"capacity": 0}, "capacity"),
    ({"capacity": -1}, "capacity"),
    ({"capacity": 10**12}, "capacity"),
    ({"capacity": True}, "capacity"),
    ({"capacity": 1.5}, "capacity"),
    ({"max_results": 0}, "max_results"),
    ({"max_candidates": 5}, "max_candidates"),
    ({"max_candidates": "64"}, "max_candidates"),
    ({"embedding_dim": 0}, "embedding_dim"),
    ({"embedding_dim": 10_000}, "embedding_dim"),
    ({"mode": "production"}, "mode"),
    ({"mode": ["live"]}, "mode"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 9e-7}, "temperature"),
    ({"temperature": 5e-324}, "temperature"),
    ({"temperature": math.nan}, "temperature"),
    ({"temperature": "0.3"}, "temperature"),
    ({"durability": "none"}, "durability"),
    ({"learner": "dream"}, "learner"),
    ({"seed": -1}, "seed"),
    ({"seed": 1.0}, "seed"),
    ({"strict": 1}, "strict"),
    ({"holdout": 1.0}, "holdout"),
    ({"holdout": math.inf}, "holdout"),
    ({"canary_share": 1.1}, "canary_share"),
    ({"canary_share": True}, "canary_share"),
    ({"attribution_window_s": -1.0}, "attribution_window_s"),
    ({"late_window_s": math.nan}, "late_window_s"),
    ({"retention_s": 0.0}, "retention_s"),
    ({"max_store_bytes": 0}, "max_store_bytes"),
    ({"tenant": "a\nb"}, "tenant"),
    ({"tenant": None}, "tenant"),
    ({"pepper": b""}, "pepper"),
    ({"pepper": 32}, "pepper"),
    ({"pepper": [1, 2]}, "pepper"),
    ({"rewards": "no such preset"}, "rewards"),
    ({"rewards": {}}, "rewards"),
    ({"rewards": {"click": 2.0}}, "signals.click.weight"),
    ({"weights": {"good": 0.0, "bad": 0.0, "noise": 0.0}}, "weights"),
    ({"config": {"gaet": {}}}, "gaet"),
    ({"config": {"gate": {"alhpa": 0.1}}}, "gate.alhpa"),
    ({"config": {"gate": {"alpha": 2.0}}}, "gate.alpha"),
    ({"config": {"replay": {"alpha": -1.0}}}, "replay.alpha"),
    ({"config": {"replay": {"beta": 1.5}}}, "replay.beta"),
    ({"config": {"replay": {"half_life_s": 0.0}}}, "replay.half_life_s"),
    ({"config": {"learner": {"step_size": math.nan}}}, "learner.step_size"),
    ({"config": "no such file.toml"}, "config"),
]


@pytest.mark.parametrize(("how", "field"), OPEN, ids=[str(how) for how, _ in OPEN])
def test_open_refuses_arguments_by_name(opened: Open, tmp_path: Path, how: dict[str, Any], field: str) -> None:
    with pytest.raises(dwell.ConfigError) as error:
        opened("a.dwell", **how)
    assert error.value.field == field


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize(
    ("how", "field"),
    [
        ({"features": []}, "features"),
        ({"features": "good"}, "features"),
        ({"features": b"good"}, "features"),
        ({"features": 3}, "features"),
        ({"features": {"good": 1.0}}, "features"),
        ({"features": ["a", "a"], "weights": None}, "features"),
        ({"features": ["id"], "weights": None}, "features"),
        ({"features": ["a\0"], "weights": None}, "features[0]"),
        ({"features": [1], "weights": None}, "features[0]"),
        ({"features": [f"f{i}" for i in range(1_025)], "weights": None}, "features"),
        ({"weights": "good"}, "weights"),
        ({"weights": {1: 1.0}}, "weights[0]"),
        ({"weights": {"good": 1.0, "bad": math.nan, "noise": 0.0}}, "weights.bad"),
        ({"weights": {"good": 1.0, "bad": True, "noise": 0.0}}, "weights.bad"),
        ({"drop_features": "ab", "weights": None}, "drop_features"),
        ({"drop_features": None}, "drop_features"),
        ({"drop_features": [3]}, "drop_features[0]"),
    ],
)
def test_open_refuses_malformed_features_and_weights_before_it_makes_anything(
    opened: Open,
    tmp_path: Path,
    how: dict[str, Any],
    field: str,
    is_new: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    if not is_new:
        opened("a.dwell", features=["a", "b"], weights=None).close()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(dwell.ConfigError) as error:
        opened("a.dwell", **how)
    assert error.value.field == field
    assert sorted(tmp_path.iterdir()) == before
    if not is_new:
        assert opened("a.dwell", features=None, weights=None).features == ("a", "b")


@pytest.mark.parametrize("how", [{"weights": {"good": 1.0}}, {"drop_features": ["good"]}])
def test_a_new_store_refuses_features_that_do_not_fit_together(opened: Open, how: dict[str, Any]) -> None:
    with pytest.raises(FeatureSchemaError):
        opened("a.dwell", **how)


def test_features_may_come_from_a_generator(opened: Open) -> None:
    loop = opened(features=(name for name in ("good", "bad")), weights=None)
    assert loop.features == ("good", "bad")
    assert loop.rank("q", ids=["d"], features=np.ones((1, 2)), now=1.0).fallback is None


def test_the_least_temperature_serves_finite_propensities(opened: Open) -> None:
    served = call(opened(temperature=1e-6), {"k": 3})
    assert served.fallback is None
    assert np.isfinite(served.propensities).all()


def test_open_says_which_bound_max_candidates_is_below(opened: Open) -> None:
    with pytest.raises(dwell.ConfigError, match=r"max_results, which is 100 \(field 'max_candidates', value 64\)"):
        opened(max_results=100)


@pytest.mark.parametrize("steps", [0, -1, True, 2.5, 10**6, "3"])
def test_train_refuses_steps(opened: Open, steps: Any) -> None:
    with pytest.raises(dwell.RecordError) as error:
        opened().train(steps=steps)
    assert error.value.field == "steps"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"good": 1.0}, "type"),
        (None, "type"),
        (dwell.Params(version=1, weights={"good": 1.0, "bad": 1.0}), "feature_schema"),
        (dwell.Params(version=1, weights={"good": 1.0, "bad": 1.0, "noise": 1.0, "x": 1.0}), "feature_schema"),
        (dwell.Params(version=1, weights={"good": 0.0, "bad": 0.0, "noise": 0.0}), "params_bounds"),
        (dwell.Params(version=1, weights={"good": 1e7, "bad": 0.0, "noise": 0.0}), "params_bounds"),
    ],
)
def test_promote_and_evaluate_refuse_params(opened: Open, params: Any, code: str) -> None:
    loop = opened()
    for refused in (lambda: loop.evaluate(params), lambda: loop.promote(params, force=True)):
        with pytest.raises(dwell.RecordError) as error:
            refused()
        assert error.value.code == code
    assert (loop.params.version, len(loop.history())) == (0, 1)


def test_promote_takes_force_as_a_bool_only(opened: Open) -> None:
    force: Any = 1
    with pytest.raises(dwell.RecordError):
        opened().promote(dwell.Params(version=1, weights=GOOD), force=force)


def test_params_hold_no_weight_that_is_not_finite() -> None:
    for weight in (math.nan, math.inf, True, "1"):
        bad: Any = weight
        with pytest.raises(dwell.RecordError):
            dwell.Params(version=1, weights={"good": bad})


@pytest.mark.parametrize(
    ("field", "value"),
    [("priority", math.nan), ("priority", -1.0), ("priority", "1"), ("priority", True)],
)
def test_a_buffer_refuses_what_would_break_every_draw(field: str, value: Any) -> None:
    buffer = dwell.ReplayBuffer(4)
    fields: dict[str, Any] = {
        "event_id": "e",
        "timestamp": 1.0,
        "query": "q",
        "query_embedding": [],
        "results_served": [],
        "ranking_params": {},
        "feedback_signals": {},
        "reward": 0.0,
    }
    with pytest.raises(dwell.DwellError):
        buffer.add(dwell.Experience(**{**fields, field: value}))
    assert buffer.size() == 0


@pytest.mark.parametrize("how", [{"capacity": 0}, {"capacity": -5}, {"alpha": -0.1}, {"half_life_s": 0.0}])
def test_a_buffer_refuses_hyper_parameters(how: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="field"):
        dwell.ReplayBuffer(**{"capacity": 4, **how})


def test_an_export_never_overwrites(opened: Open, tmp_path: Path) -> None:
    loop = opened()
    call(loop, {})
    target = tmp_path / "out.jsonl"
    assert loop.export(target) == 1
    for how in ((target, "jsonl"), (tmp_path / "other", "pickle")):
        with pytest.raises(dwell.ConfigError):
            loop.export(*how)
    assert not (tmp_path / "other").exists()


def test_an_export_that_can_not_be_written_says_where(opened: Open, tmp_path: Path) -> None:
    loop = opened()
    call(loop, {})
    (tmp_path / "half.jsonl.part").touch()
    for path in (tmp_path / "no" / "such.jsonl", tmp_path / ("x" * 300), tmp_path / "half.jsonl"):
        with pytest.raises(dwell.ConfigError) as error:
            loop.export(path)
        assert error.value.field == "path"
        assert str(path) in str(error.value.value)
    for name in ("", "a\0b"):
        with pytest.raises(dwell.ConfigError):
            loop.export(name)
    assert [found.name for found in tmp_path.iterdir()] == ["half.jsonl.part"]


def test_an_export_that_fails_leaves_no_file(opened: Open, tmp_path: Path) -> None:
    loop = opened()
    call(loop, {})
    loop.close()
    with pytest.raises(dwell.StorageError):
        loop.export(tmp_path / "closed.jsonl")

    def stopped() -> Iterator[bytes]:
        yield b"{}\n"
        assert [found.name for found in tmp_path.iterdir()] == ["cut.jsonl.part"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "cut.jsonl", stopped())
    assert list(tmp_path.iterdir()) == []


def test_an_export_does_not_replace_what_came_meanwhile(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"

    def slow() -> Iterator[bytes]:
        yield b"{}\n"
        target.write_text("somebody else's", encoding="utf-8")

    with pytest.raises(dwell.ConfigError, match="there already"):
        write_whole(target, slow())
    assert {found.name: found.read_text(encoding="utf-8") for found in tmp_path.iterdir()} == {
        "out.jsonl": "somebody else's"
    }


def quarantined(loop: dwell.Loop) -> list[Any]:
    loop.history()  # waits for what is queued
    with loop._state.store.snapshot() as reader:
        return reader.quarantined()


@pytest.mark.parametrize(
    "changed",
    [
        {"user": "anna@example.org\n"},
        {"query": "anna@example.org\0"},
        {"segment": "anna@example.org\u202e"},
        {"candidates": docs(id="anna@example.org\0")},
        {"candidates": docs(good="anna@example.org")},
        {"query_embedding": "anna@example.org"},
        {"event_id": "anna@example.org is no id"},
    ],
)
def test_the_refused_value_is_never_stored_nor_given_back(opened: Open, anywhere: str, changed: dict[str, Any]) -> None:
    loop = opened(anywhere)
    served = call(loop, changed)
    (entry,) = quarantined(loop)
    answer = loop.feedback(served.event_id, "click", doc="a", now=1_001.0)
    for told in (entry.reason, entry.event_id, str(answer.reason)):
        assert "anna" not in told
    assert entry.reason.startswith(f"{served.fallback}: ")
    assert "(field " in entry.reason


def test_ids_of_numpy_are_served_recorded_and_joined(opened: Open, anywhere: str) -> None:
    loop = opened(anywhere)
    ids = np.array(["a", "b", "c"])
    how = {"ids": ids, "features": np.eye(3), "user": np.str_("u"), "event_id": np.str_("e"), "query": np.str_("q")}
    served = call(loop, {**how, "k": 3, "segment": np.str_("s")})
    assert (sorted(served.ids), served.fallback) == (["a", "b", "c"], None)
    assert {type(doc) for doc in (*served.ids, served.event_id)} == {str}
    mapped = call(loop, {"candidates": [{**c, "id": np.str_(c["id"])} for c in docs()], "event_id": np.str_("f")})
    assert {type(doc) for doc in mapped.ids} == {str}
    for one in (served, mapped):
        answer = loop.feedback(
            np.str_(one.event_id),
            np.str_("click"),
            doc=np.str_(one.ids[0]),
            idempotency_key=np.str_("k"),
            now=1_001.0,
        )
        assert answer.status == "joined"
    assert [e.document_signals for e in loop.experiences()] == [
        {one.ids[0]: {"click": 1.0}} for one in (served, mapped)
    ]
    fallen = call(loop, {"ids": ids, "features": None})
    assert {type(doc) for doc in fallen.ids} == {str}
    assert loop.health(now=1_001.0).figures.get("failed_impressions", 0) == 0


class HostileMapping(UserDict[str, Any]):
    """Raises as soon as it is read."""

    def __getitem__(self, key: str) -> Any:
        raise LookupError(key)

    def get(self, key: str, default: Any = None) -> Any:
        raise LookupError(key, default)


class HostileNumber(Fraction):
    """A number that is none."""

    def __float__(self) -> float:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("changed", "code", "n_unreadable"),
    [
        ({"candidates": [*docs()[:1], HostileMapping(id="b"), docs()[2]]}, "internal:LookupError", 1),
        ({"candidates": docs(good=HostileNumber(1))}, "internal:RuntimeError", 0),
        ({"candidates": docs(id=7)}, "type", 1),
        ({"ids": {"a": 0, "c": 1}.keys(), "features": np.ones((2, 3))}, "type", 0),
        ({"ids": (doc for doc in "ac"), "features": np.ones((2, 3))}, "type", 0),
        ({"ids": ["a", 2, "c"], "features": np.ones((3, 3))}, "type", 1),
    ],
)
def test_what_can_be_read_is_served_and_the_rest_counted(
    opened: Open, changed: dict[str, Any], code: str, n_unreadable: int
) -> None:
    loop = opened()
    served = call(loop, changed)
    assert (served.fallback, served.ids[0], served.ids[-1] in {"b", "c"}) == (code, "a", True)
    assert loop.health(now=1_001.0).figures["unreadable_ids"] == n_unreadable


def test_ids_of_a_set_are_served_in_some_order_and_numbers_are_no_ids(opened: Open) -> None:
    loop = opened()
    served = call(loop, {"ids": {"a", "c"}, "features": np.ones((2, 3))})
    assert (sorted(served.ids), served.fallback) == (["a", "c"], "type")
    for numbers in ([1, 2], np.array([1, 2])):
        with pytest.raises(dwell.RecordError, match=r"ids\[0\]"):
            call(loop, {"ids": numbers, "features": np.ones((2, 3))})


def test_feedback_never_raises_on_hostile_values(opened: Open) -> None:
    loop = opened()
    served = call(loop, {"event_id": "e"})
    bad: Any = HostileNumber(1)
    good = {"event_id": "e", "signal": "click", "doc": served.ids[0]}
    for how in ({"value": bad}, {"at": bad}, {"now": bad}):
        answer = loop.feedback("e", "click", doc=served.ids[0], **how)
        assert (answer.status, answer.reason) == ("rejected", "internal:RuntimeError")
    items: list[Any] = [{**good, "value": bad}, HostileMapping(good), good]
    found = [(a.status, a.reason) for a in loop.feedback_many(items, now=1_001.0)]
    assert found == [("rejected", "internal:RuntimeError"), ("rejected", "internal:LookupError"), ("joined", None)]
    assert loop.feedback_many([good], now=bad)[0].reason == "internal:RuntimeError"


@pytest.mark.parametrize(
    "items", [None, 5, "ab", b"ab", {"event_id": "e"}, {1}, iter([])], ids=lambda items: type(items).__name__
)
def test_feedback_many_takes_sequences(opened: Open, items: Any) -> None:
    with pytest.raises(dwell.RecordError) as error:
        opened().feedback_many(items)
    assert (error.value.code, error.value.field) == ("type", "items")


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_a_bad_retry_is_never_credited_to_the_list_of_that_id(
    opened: Open,
    anywhere: str,
    is_forgotten: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    loop = opened(anywhere)
    call(loop, {"event_id": "e"})
    loop.history()
    if is_forgotten:
        loop._state.recent.clear()
    other = call(loop, {"event_id": "e", "candidates": docs(good=math.nan)})
    assert other.fallback == "non_finite:good"
    assert other.event_id != "e"
    answer = loop.feedback(other.event_id, "click", doc="a", now=1_001.0)
    assert str(answer.reason).startswith("quarantined")
    assert next(loop.experiences()).feedback_signals == {}


def test_a_good_retry_after_a_bad_call_counts(opened: Open) -> None:
    loop = opened()
    assert call(loop, {"event_id": "e", "candidates": docs(good=math.nan)}).fallback == "non_finite:good"
    served = call(loop, {"event_id": "e"})
    assert served.fallback is None
    assert loop.feedback("e", "click", doc=served.ids[0], now=1_001.0).status == "joined"
