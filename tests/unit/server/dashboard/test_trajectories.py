import dataclasses
import math

import numpy as np
import pytest

from dwell.records import Estimate, GateDecision, Params
from dwell.records.params import RawScore, Transform
from dwell.server.dashboard.trajectories import MOST_LINES, Version, charts_of, read_bound, version_of

MAP = Transform((np.array([0.0, 1.0]),) * 2, (np.array([-1.0, 1.0]),) * 2)
NOTHING = Estimate(0.0, 0.0, 0.0, 0, 0.0)


def learned(number: int, parent: int | None, a: float, b: float, coefficient: float) -> Params:
    start = RawScore((1.0, 1.0), 0.0, 1.0, coefficient)
    return Params(
        version=number, weights={"a": a, "b": b}, transform=MAP, raw_score=start, origin="learned", parent=parent,
        created_at=100.0 * number,
    )  # fmt: skip


GIVEN = Params(version=0, weights={"a": 5.0, "b": 5.0})
FIRST = learned(1, 0, 0.3, 0.0, 0.6)
SECOND = learned(2, 1, 0.3, 0.4, 0.6)


def test_a_step_is_the_distance_from_what_it_was_learned_from() -> None:
    assert version_of(SECOND, FIRST).step_norm == pytest.approx(0.4)
    assert version_of(Params(version=1, weights={"a": 5.0, "b": 8.0}), GIVEN).step_norm == pytest.approx(3.0)
    assert version_of(GIVEN, None).step_norm is None


def test_the_first_learned_version_is_told_against_the_starting_ranker_alone() -> None:
    assert version_of(FIRST, GIVEN).step_norm == pytest.approx(math.hypot(0.3, 0.4))  # (0, 0, 1) to (0.3, 0, 0.6)
    bare = Params(version=1, weights={"a": 1.0, "b": 0.0}, transform=MAP)
    assert version_of(bare, GIVEN).step_norm is None  # raw values and standard deviations have no distance


def test_weights_of_one_unit_are_drawn_and_the_others_told() -> None:
    versions = [version_of(GIVEN, None), version_of(FIRST, GIVEN), version_of(SECOND, FIRST)]
    weights, start, steps = charts_of(versions, [], 9)
    assert list(weights.x) == [100.0, 200.0]
    assert {line.name: list(line.values) for line in weights.lines} == {"a": [0.3, 0.3], "b": [0.0, 0.4]}
    assert "b moved most: +0.000 to +0.400" in weights.says
    assert "newest 3 of 9 versions" in weights.says
    assert "1 that weigh raw values" in weights.says
    assert list(start.lines[0].values) == [0.6, 0.6]
    assert list(steps.lines[0].values) == pytest.approx([0.5, 0.4])


def test_time_never_goes_back_in_a_chart() -> None:
    third = dataclasses.replace(SECOND, version=3, parent=1, created_at=FIRST.created_at)  # as other features make it
    charts = charts_of([version_of(FIRST, GIVEN), version_of(SECOND, FIRST), version_of(third, FIRST)], [], 3)
    assert [list(chart.x) for chart in charts] == [[100.0, 200.0, 200.0]] * len(charts)


def test_what_went_live_is_marked_with_how() -> None:
    kinds = [("judged", 1, 120.0), ("forced", 2, 150.0), ("rollback", 1, 180.0), ("evaluated", 2, 190.0)]
    history = [
        GateDecision("promote", ["x: y"], NOTHING, proposed_version=n, kind=kind, decided_at=at)  # type: ignore[arg-type]
        for kind, n, at in [*kinds, ("judged", 2, 300.0)]
    ]
    chart = charts_of([version_of(FIRST, None), version_of(SECOND, FIRST)], history, 2)[0]
    assert [(mark.x, mark.kind, mark.name) for mark in chart.marks] == [
        (120.0, "promote", "v1"), (150.0, "forced", "v2 forced"), (180.0, "rollback", "back to v1"),
    ]  # fmt: skip


def test_of_many_features_those_are_drawn_that_moved_most() -> None:
    names = [f"f{i}" for i in range(20)]
    moved = dict(zip(names, [0.1 * i for i in range(20)], strict=True))
    versions = [
        Version(1, dict.fromkeys(names, 0.0), None, True, None, "learned", 1.0, 0, False),
        Version(2, moved, None, True, 1, "learned", 2.0, 0, False),
    ]
    (chart,) = charts_of(versions, [], 2)
    assert [line.name for line in chart.lines] == names[-MOST_LINES:]
    assert f"The {MOST_LINES} of 20" in chart.says


@pytest.mark.parametrize(("n_features", "most"), [(0, 80), (10, 80), (50, 20), (300, 8)])
def test_the_more_features_the_fewer_versions_are_read(n_features: int, most: int) -> None:
    assert read_bound(n_features) == most
