import math

import numpy as np
import pytest

from dwell.errors import ConfigError, RecordError
from dwell.reward.presets import PRESETS
from dwell.reward.signals import MAX_DWELL_S, Aggregation, SignalSpec, aggregate, check_signal

SEARCH = PRESETS["search"].signals


@pytest.mark.parametrize(
    ("spec", "value", "credit"),
    [
        (SignalSpec(name="s", weight=1.0), 0.25, 0.25),
        (SignalSpec(name="s", weight=1.0, low=-4.0, high=2.0), -2.0, -2.0 / 4.0),
        (SignalSpec(name="s", weight=1.0, low=-4.0, high=2.0), 2.0, 2.0 / 4.0),
        (SignalSpec(name="s", weight=1.0, high=100.0, curve="saturating", scale=60.0), 15.0, 15.0 / 60.0),
        (SignalSpec(name="s", weight=1.0, high=100.0, curve="saturating", scale=60.0), 99.0, 1.0),
        (SignalSpec(name="s", weight=1.0, low=1.0, high=5.0, curve="centred"), 1.0, -1.0),
        (SignalSpec(name="s", weight=1.0, low=1.0, high=5.0, curve="centred"), 3.0, 0.0),
        (SignalSpec(name="s", weight=1.0, low=1.0, high=5.0, curve="centred"), 4.0, (4.0 - 3.0) / 2.0),
        (SignalSpec(name="s", weight=1.0, aggregation="sum"), 7.0, 1.0),  # a sum may leave the range, the credit not
        (SignalSpec(name="s", weight=1.0, low=-1.0, aggregation="sum"), -7.0, -1.0),
    ],
)
def test_credit_follows_the_declared_curve(spec: SignalSpec, value: float, credit: float) -> None:
    assert spec.credit_of(value) == credit


@pytest.mark.parametrize("aggregation", ["earliest", "last", "sum", "mean", "max"])
def test_aggregation_of_values_in_time_order(aggregation: Aggregation) -> None:
    values = [2.0, 5.0, 3.0]
    due = {"earliest": 2.0, "last": 3.0, "sum": 2.0 + 5.0 + 3.0, "mean": (2.0 + 5.0 + 3.0) / 3, "max": 5.0}
    assert aggregate(values, aggregation) == due[aggregation]


def test_a_sum_is_exact_where_naive_addition_is_not() -> None:
    values = [1e16, 1.0, -1e16]
    assert sum(values) == 0.0
    assert aggregate(values, "sum") == 1.0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"weight": 1.5}, "weight"),
        ({"weight": math.nan}, "weight"),
        ({"weight": True}, "weight"),
        ({"low": 1.0}, "low"),
        ({"scope": "page"}, "scope"),
        ({"aggregation": "median"}, "aggregation"),
        ({"curve": "cubic"}, "curve"),
        ({"curve": "saturating", "scale": 0.0}, "scale"),
        ({"curve": "saturating", "scale": 2.0}, "scale"),
        ({"curve": "saturating", "low": -1.0}, "low"),
        ({"name": ""}, "signals"),
        ({"name": "a\nb"}, "signals"),
    ],
)
def test_a_declaration_out_of_range_is_refused_by_name(change: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SignalSpec(**{"name": "s", "weight": 0.5} | change)
    assert field in caught.value.field
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "doc", "value"),
    [
        ("click", "d1", 1.0),
        ("click", None, 1),
        ("click", "d1", 0.0),
        ("dwell", "d1", 0.0),
        ("dwell", "d1", MAX_DWELL_S),
        ("rating", "d1", 5),
        ("thumbs", None, -1.0),
        ("reformulated", None, 1.0),
        ("dwell", "d1", np.float32(3.5)),
    ],
)
def test_legal_signals_pass(name: str, doc: object, value: object) -> None:
    check_signal(SEARCH, name, doc, value)


@pytest.mark.parametrize(
    ("name", "doc", "value", "code"),
    [
        ("dwell", "d1", -0.001, "signal_range"),
        ("dwell", "d1", MAX_DWELL_S * 1.0001, "signal_range"),
        ("click", "d1", 1.01, "signal_range"),
        ("rating", "d1", 0.0, "signal_range"),
        ("click", "d1", math.nan, "non_finite"),
        ("click", "d1", math.inf, "non_finite"),
        ("click", "d1", -math.inf, "non_finite"),
        ("click", "d1", 10**400, "non_finite"),
        ("click", "d1", True, "type"),
        ("click", "d1", np.True_, "type"),
        ("click", "d1", "1", "type"),
        ("click", "d1", None, "type"),
        ("reformulated", "d1", 1.0, "signal_scope"),
        ("skip", None, 1.0, "signal_scope"),
        ("click", "", 1.0, "id"),
        ("click", 7, 1.0, "type"),
        ("klick", "d1", 1.0, "unknown_signal"),
        ("", "d1", 1.0, "unknown_signal"),
        (None, "d1", 1.0, "unknown_signal"),
        (["click"], "d1", 1.0, "unknown_signal"),
    ],
)
def test_bad_signals_are_refused_with_a_code_and_a_remedy(name: object, doc: object, value: object, code: str) -> None:
    with pytest.raises(RecordError) as caught:
        check_signal(SEARCH, name, doc, value)
    assert caught.value.code == code
    assert caught.value.hint


def test_an_unknown_name_is_answered_with_the_nearest_ones() -> None:
    with pytest.raises(RecordError) as caught:
        check_signal(SEARCH, "clck", "d1", 1.0)
    assert "'click'" in caught.value.hint
    with pytest.raises(RecordError) as caught:
        check_signal(SEARCH, "zzzzzz", "d1", 1.0)
    assert all(name in caught.value.hint for name in SEARCH)
