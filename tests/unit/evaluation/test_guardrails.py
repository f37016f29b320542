"""Which segments object: by hand in small cases, against scipy's p-values, and how often without cause."""

import math

import numpy as np
import pytest
from scipy import stats

from dwell.errors import EvaluationError
from dwell.evaluation.guardrails import guardrail_objections
from dwell.records.arrays import FloatArray


def objecting(x: FloatArray, segments: list[str | int | None], **settings: float) -> list[str]:
    chosen: dict[str, float] = {"margin": 0.0, "alpha": 0.05, **settings}
    found = guardrail_objections(x, segments, margin=chosen["margin"], alpha=chosen["alpha"], min_events=2)
    return [finding.code for finding in found]


def test_two_values_by_hand() -> None:
    # df 1 is Cauchy: P(T < t) = 1/2 + atan(t) / pi. Mean -2, standard error 1: t = -2 - margin'
    x = np.array([-3.0, -1.0])
    p = 0.5 + math.atan(-2.0) / math.pi
    assert objecting(x, ["a", "a"], alpha=p * 1.001) == ["segment_a"]
    assert objecting(x, ["a", "a"], alpha=p * 0.999) == []
    with_margin = 0.5 + math.atan(-1.5) / math.pi
    assert objecting(x, ["a", "a"], alpha=with_margin * 1.001, margin=0.5) == ["segment_a"]
    assert objecting(x, ["a", "a"], alpha=with_margin * 0.999, margin=0.5) == []


@pytest.mark.parametrize("seed", range(20))
def test_the_decisions_are_those_of_holm_on_student_p_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = list(rng.integers(0, 6, 120).tolist())
    x = rng.normal(-0.1 * np.array(names), 0.8)
    parts = {name: x[np.array(names) == name] for name in sorted(set(names))}
    p = {name: stats.ttest_1samp(part, -0.1, alternative="less").pvalue for name, part in parts.items()}
    expected = []
    for i, name in enumerate(sorted(p, key=lambda name: p[name])):
        if p[name] > 0.1 / (len(p) - i):
            break
        expected.append(f"segment_{name}")
    assert objecting(x, names, alpha=0.1, margin=0.1) == sorted(expected)


def test_a_second_segment_is_tested_at_what_the_first_leaves() -> None:
    # one p-value far below alpha / 2, the other between alpha / 2 and alpha: Bonferroni would stop after the first
    x = np.array([-3.0, -1.0, -5.0, -5.0001])
    p = 0.5 + math.atan(-2.0) / math.pi
    names: list[str | int | None] = ["a", "a", "b", "b"]
    assert objecting(x, names, alpha=1.5 * p) == ["segment_a", "segment_b"]
    assert objecting(np.append(x, [0.0, 0.1]), [*names, "c", "c"], alpha=1.5 * p) == ["segment_b"]


def test_words_name_the_segment_and_the_numbers() -> None:
    x = np.tile([-0.2, -0.4], 50)
    (found,) = guardrail_objections(x, ["mobile"] * 100, margin=0.02, alpha=0.05, min_events=100)
    assert (found.code, found.severity, found.threshold) == ("segment_mobile", "fail", -0.02)
    assert found.value == pytest.approx(-0.3)
    assert all(word in found.words for word in ("'mobile'", "0.3000", "100 events", "0.02"))
    assert found.remedy


def test_small_segments_and_nameless_events_are_not_tested() -> None:
    x = np.tile([-0.9, -1.1], 10)
    assert len(guardrail_objections(x, ["a"] * 20, margin=0.0, alpha=0.05, min_events=20)) == 1
    assert guardrail_objections(x, ["a"] * 19 + ["b"], margin=0.0, alpha=0.05, min_events=20) == ()
    assert guardrail_objections(x, [None] * 20, margin=0.0, alpha=0.05, min_events=2) == ()
    assert guardrail_objections(np.zeros(0), [], margin=0.0, alpha=0.05, min_events=2) == ()


def test_what_is_not_tested_costs_no_correction() -> None:
    x = np.array([-3.0, -1.0])
    p = 0.5 + math.atan(-2.0) / math.pi
    assert objecting(np.append(x, 0.0), ["a", "a", "b"], alpha=1.001 * p) == ["segment_a"]


def test_the_order_of_events_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    names = [("a", "b", 7, None)[i] for i in rng.integers(0, 4, 400)]
    x = rng.normal(-0.3, 0.5, 400)  # .28 beyond the margin, some 100 events each: 5 standard errors
    first = guardrail_objections(x, names, margin=0.02, alpha=0.05, min_events=10)
    assert [found.code for found in first] == ["segment_7", "segment_a", "segment_b"]
    for _ in range(5):
        order = rng.permutation(400)
        shuffled = [names[i] for i in order]
        assert guardrail_objections(x[order], shuffled, margin=0.02, alpha=0.05, min_events=10) == first


def test_equal_values_at_the_margin_do_not_object_and_beyond_it_do() -> None:
    assert objecting(np.full(100, -0.02), ["a"] * 100, margin=0.02) == []
    assert objecting(np.full(100, -0.03), ["a"] * 100, margin=0.02) == ["segment_a"]


def test_at_one_half_a_mean_below_the_margin_is_enough() -> None:
    assert objecting(np.array([-3.0, 2.9]), ["a", "a"], alpha=0.5) == ["segment_a"]
    assert objecting(np.array([-3.0, 3.1]), ["a", "a"], alpha=0.5) == []


def test_false_alarms_stay_below_alpha() -> None:
    # 400 logs of 5 segments that lose exactly the margin; any objection counts. At a true rate of .05 more than 36
    # of 400 has probability below 4e-4 (binomial), so another seed would fail as rarely
    rng = np.random.default_rng(5)
    names: list[str | int | None] = [i % 5 for i in range(100)]
    alarms = sum(bool(objecting(rng.normal(-0.1, 0.5, 100), names, margin=0.1)) for _ in range(400))
    assert stats.binom.sf(36, 400, 0.05) < 4e-4
    assert alarms <= 36
    assert alarms >= 4  # nor does it sleep: binom.cdf(3, 400, .04) < 1e-3


@pytest.mark.parametrize(
    ("x", "segments", "settings", "field"),
    [
        ([0.0, math.nan], ["a", "a"], {}, "x"),
        ([0.0], ["a", "a"], {}, "x"),
        ([0.0, 1.0], ["a", "a"], {"margin": -0.1}, "margin"),
        ([0.0, 1.0], ["a", "a"], {"margin": math.inf}, "margin"),
        ([0.0, 1.0], ["a", "a"], {"margin": True}, "margin"),
        ([0.0, 1.0], ["a", "a"], {"alpha": 0.0}, "alpha"),
        ([0.0, 1.0], ["a", "a"], {"alpha": 0.6}, "alpha"),
        ([0.0, 1.0], ["a", "a"], {"min_events": 1}, "min_events"),
        ([0.0, 1.0], ["a", "a"], {"min_events": True}, "min_events"),
    ],
)
def test_what_can_not_be_tested_is_refused_by_name(
    x: list[float], segments: list[str], settings: dict[str, float], field: str
) -> None:
    chosen: dict[str, float] = {"margin": 0.0, "alpha": 0.05, "min_events": 2, **settings}
    with pytest.raises(EvaluationError) as caught:
        guardrail_objections(
            np.array(x),
            segments,
            margin=chosen["margin"],
            alpha=chosen["alpha"],
            min_events=chosen["min_events"],  # type: ignore[arg-type]
        )
    assert caught.value.field == field
