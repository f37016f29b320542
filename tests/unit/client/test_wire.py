"""Every record makes the round trip: what a server would send of it is read back as the same record."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dwell.client import wire
from dwell.errors import ServiceError
from dwell.health.report import Alert, Check, Distribution, HealthReport, Section, Share, Timeline
from dwell.loop import TrainReport
from dwell.records import Estimate, Experience, GateDecision, Params, RawScore, Served, Transform


def plain(value: Any) -> Any:
    """Return a record as JSON knows it: what is not finite as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.name[0] != "_"}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def sent(value: Any) -> bytes:
    return msgspec.json.encode(plain(value))


def same(left: Any, right: Any) -> bool:
    """Compare records bit by bit, NaN being itself."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if dataclasses.is_dataclass(left) and not isinstance(left, type):
        names = [f.name for f in dataclasses.fields(left) if f.name[0] != "_"]
        return type(left) is type(right) and all(same(getattr(left, n), getattr(right, n)) for n in names)
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=True)
    if isinstance(left, Mapping):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)


FINITE = st.floats(allow_nan=False, allow_infinity=False)
SHARE = st.floats(1e-9, 1.0)
TEXT = st.text('aZ0."\\/é語😀', min_size=1, max_size=6)
EVENT_ID = st.text("abc09-", min_size=1, max_size=8)
ESTIMATES = st.builds(
    Estimate,
    value=FINITE,
    low=FINITE | st.just(-math.inf),
    high=FINITE | st.just(math.inf),
    n=st.integers(0, 2**53),
    effective_sample_size=st.floats(0.0, 1e9),
)
DECISIONS = st.builds(
    GateDecision,
    verdict=st.sampled_from(["promote", "hold", "reject"]),
    reasons=st.lists(st.text(max_size=20), min_size=1, max_size=3),
    difference=ESTIMATES,
    estimates=st.dictionaries(TEXT, ESTIMATES, max_size=3),
    diagnostics=st.dictionaries(TEXT, FINITE | st.just(math.nan), max_size=3),
    proposed_version=st.integers(0, 2**62),
    safe_version=st.integers(0, 2**62),
    kind=st.sampled_from(["judged", "evaluated", "initial", "forced", "rollback", "requested"]),
    alpha=SHARE,
    decided_at=st.floats(0.0, 1e11),
)


@st.composite
def params(draw: st.DrawFn) -> Params:
    names = draw(st.lists(TEXT, min_size=1, max_size=4, unique=True))
    transform = None
    if draw(st.booleans()):
        columns = [sorted(draw(st.sets(st.floats(-1e6, 1e6), min_size=1, max_size=5))) for _ in names]
        levels = [draw(hnp.arrays(np.float64, len(one), elements=st.floats(-9.0, 9.0))) for one in columns]
        transform = Transform(
            tuple(np.array(one) for one in columns), tuple(levels), draw(st.sampled_from(["gauss", "moments"]))
        )
    raw = None
    if draw(st.booleans()):
        numbers = st.floats(-1e9, 1e9)
        raw = RawScore(tuple(draw(numbers) for _ in names), draw(numbers), draw(st.floats(1e-3, 1e3)), draw(numbers))
    return Params(
        version=draw(st.integers(0, 2**62)),
        weights={name: draw(FINITE) for name in names},
        temperature=draw(st.floats(0.0, 10.0)),
        transform=transform,
        raw_score=raw,
        origin=draw(st.sampled_from(["given", "caller-order", "standardised", "learned"])),
        parent=draw(st.none() | st.integers(0, 2**62)),
        created_at=draw(st.floats(0.0, 1e11)),
    )


@st.composite
def served(draw: st.DrawFn) -> Served:
    ids = draw(st.lists(TEXT, max_size=5, unique=True))
    return Served(
        event_id=draw(EVENT_ID),
        ids=ids,
        scores=np.array([draw(FINITE | st.just(math.nan)) for _ in ids], dtype=np.float64),
        propensities=np.array([draw(SHARE) for _ in ids], dtype=np.float64),
        params_version=draw(st.integers(0, 2**62)),
        token=draw(st.none() | TEXT),
        fallback=draw(st.none() | TEXT),
    )


@settings(max_examples=25)
@given(served())
def test_a_list(given_: Served) -> None:
    assert same(wire.read_served(sent(given_)), given_)


@settings(max_examples=25)
@given(DECISIONS)
def test_a_decision(given_: GateDecision) -> None:
    assert same(wire.read_decision(sent(given_)), given_)
    assert same(wire.read_history(msgspec.json.encode({"decisions": [plain(given_)] * 2})), [given_, given_])


@settings(max_examples=25)
@given(params())
def test_params_score_alike_after_the_journey(given_: Params) -> None:
    found = wire.read_params(sent(given_))
    assert same(found, given_)
    features = np.linspace(-3.0, 3.0, 5 * len(given_.weights)).reshape(5, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.array_equal(found.score(features), given_.score(features), equal_nan=True)
    assert same(wire.read_promoted(msgspec.json.encode({"params": plain(given_)})), given_)


@settings(max_examples=25)
@given(decision=DECISIONS, live=params(), curve=st.lists(FINITE | st.just(math.nan), max_size=4), n=st.integers(0, 99))
def test_a_report_of_training(decision: GateDecision, live: Params, curve: list[float], n: int) -> None:
    report = TrainReport(decision, live, live, {"objective": curve}, "steps", n, n, n, 0.5, n)
    assert same(wire.read_training(sent(report)), report)


@settings(max_examples=25)
@given(
    status=st.sampled_from(["empty", "healthy", "warning", "critical"]),
    alerts=st.lists(st.builds(Alert, TEXT, st.sampled_from(["warning", "critical"]), TEXT, TEXT), max_size=2),
    figures=st.dictionaries(TEXT.filter(lambda name: name not in {"status", "alerts"}), FINITE | TEXT, max_size=4),
)
def test_a_report_of_health(status: Any, alerts: list[Alert], figures: dict[str, float | int | str]) -> None:
    report = HealthReport(status, alerts, figures)
    assert same(wire.read_health(sent(report.to_dict())), report)


def test_a_report_of_health_with_all_that_it_may_have() -> None:
    report = HealthReport(
        "warning",
        [Alert("fill_ratio", "warning", "full", "empty it")],
        {"n_events": 3},
        sections=(Section("buffer", "Buffer", (Check("fill_ratio", "Fill", None, "ratio", "", "unknown", "?"),)),),
        shares={"user": (Share("0f", 2, 0.5),)},
        distributions={"reward": Distribution("reward", "reward", (0.0, 1.0, 2.0), (3, 4))},
        timeline=Timeline((0.0, 1.0, 2.0), (3, 0), (0.5, None), (1.0, None)),
        at=7.0,
    )
    assert same(wire.read_health(sent(report.to_dict())), report)


@settings(max_examples=25)
@given(
    st.lists(
        st.builds(
            Experience,
            event_id=EVENT_ID,
            timestamp=st.floats(0.0, 1e11),
            query=st.text('a \n"\u2028é', max_size=6),
            query_embedding=st.lists(st.floats(-1.0, 1.0), max_size=3),
            results_served=st.lists(
                st.fixed_dictionaries({"id": TEXT, "rank": st.integers(1, 9), "x": FINITE}), max_size=3
            ),
            ranking_params=st.dictionaries(TEXT, FINITE, max_size=2),
            feedback_signals=st.dictionaries(TEXT, FINITE, max_size=2),
            reward=st.floats(-1.0, 1.0),
            priority=st.floats(0.0, 1e6),
            propensities=st.lists(SHARE, max_size=3),
            user=st.none() | TEXT,
        ),
        max_size=3,
    )
)
def test_experiences(given_: list[Experience]) -> None:
    lines = b"".join(sent(one) + b"\n" for one in given_)
    assert wire.read_experiences(lines) == given_


@pytest.mark.parametrize(
    "read", [wire.read_served, wire.read_decision, wire.read_history, wire.read_params, wire.read_promoted,
             wire.read_training, wire.read_health, lambda body: wire.read_text(body, "event_id"),
             lambda body: wire.read_number(body, "n_events"), lambda body: wire.read_feedback(body, 1)],
)  # fmt: skip
@settings(max_examples=25)
@given(
    body=st.binary(max_size=40)
    | st.sampled_from([b"{}", b"[]", b"null", b'{"event_id":1,"n_events":true}', b"[" * 9_999])
)
def test_any_other_body_is_refused_by_one_error(read: Any, body: bytes) -> None:
    with pytest.raises(ServiceError) as caught:
        read(body)
    assert caught.value.code == "bad_answer"


@pytest.mark.parametrize(
    "weights", [{"x": None}, {"x": "1"}, {"": 1.0}],
)  # fmt: skip
def test_params_that_are_none_are_refused(weights: Any) -> None:
    with pytest.raises(ServiceError):
        wire.read_params(msgspec.json.encode({"version": 1, "weights": weights}))


def test_lists_of_different_lengths_are_no_answer() -> None:
    body = {"event_id": "e", "ids": ["a", "b"], "scores": [1.0], "propensities": [1.0, 1.0], "params_version": 0}
    with pytest.raises(ServiceError):
        wire.read_served(msgspec.json.encode(body))
