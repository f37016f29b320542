"""Rank to normal, and what it does to hostile columns."""

import numpy as np
import pytest
from scipy import stats

from dwell.errors import LearningError
from dwell.learning.transform import N_KNOTS, fit_transform, normal_quantile
from dwell.records.arrays import FloatArray


def test_the_normal_quantile_is_scipys() -> None:
    tails = np.geomspace(1e-15, 0.5, 4_001)
    p = np.concatenate([tails, 1.0 - tails, np.linspace(0.001, 0.999, 4_001)])
    assert np.abs(normal_quantile(p) - stats.norm.ppf(p)).max() < 1e-8
    assert normal_quantile(np.array([0.5])).tolist() == [0.0]


def test_the_normal_quantile_increases_across_the_seams_of_its_pieces() -> None:
    for seam in (0.02425, 0.5, 0.97575):
        p = np.linspace(seam - 1e-4, seam + 1e-4, 20_001)
        assert (np.diff(normal_quantile(p)) > 0.0).all()


COLUMNS = {
    "normal": np.random.default_rng(0).normal(3.0, 2.0, 1_000),
    "heavy tail": np.random.default_rng(1).pareto(0.7, 1_000),
    "few values": np.random.default_rng(2).integers(0, 4, 1_000).astype(float),
    "mostly zero": (np.random.default_rng(3).random(1_000) < 0.03) * 5.0,
    "tiny": np.random.default_rng(4).normal(size=1_000) * 1e-15,
    "large": 1e12 + np.random.default_rng(5).normal(size=1_000),
    "two rows": np.array([1.0, 2.0]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_the_fitting_rows_are_standardised(name: str) -> None:
    column = COLUMNS[name][:, None]
    mapped = fit_transform(column).apply(column)
    assert mapped.mean() == pytest.approx(0.0, abs=1e-9)
    assert mapped.std() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("name", COLUMNS)
def test_order_is_kept_and_ties_stay_ties(name: str) -> None:
    column = COLUMNS[name]
    grid = np.sort(np.concatenate([column, np.linspace(column.min() - 1.0, column.max() + 1.0, 500)]))
    transform = fit_transform(column[:, None])
    assert (np.diff(transform.apply(grid[:, None])[:, 0]) >= 0.0).all()
    twice = transform.apply(np.stack([column, column], axis=0)[..., None])
    assert (twice[0] == twice[1]).all()


def test_knots_are_few_strictly_increasing_and_span_the_column() -> None:
    for column in COLUMNS.values():
        transform = fit_transform(column[:, None])
        knots, levels = transform.knots[0], transform.levels[0]
        assert 1 <= knots.size == levels.size <= N_KNOTS
        assert (np.diff(knots) > 0.0).all()
        assert (np.diff(levels) > 0.0).all()
        assert (knots[0], knots[-1]) == (column.min(), column.max())


def test_a_normal_column_is_only_centred_and_scaled() -> None:
    column = np.random.default_rng(6).normal(10.0, 3.0, 1_000)
    inside = column[np.abs(column - 10.0) < 6.0]
    mapped = fit_transform(column[:, None]).apply(inside[:, None])[:, 0]
    # rank noise of 1,000 rows: sd of a normal quantile at rank r/n within 2 sd is at most .09
    assert np.abs(mapped - (inside - 10.0) / 3.0).max() < 0.4


def test_equal_values_share_the_middle_of_their_ranks() -> None:
    column = np.array([0.0] * 6 + [1.0] * 2 + [9.0] * 2)
    transform = fit_transform(column[:, None])
    # mid-ranks 3/10, 7/10 and 9/10
    raw = stats.norm.ppf([0.3, 0.7, 0.9])
    repeated = np.repeat(raw, [6, 2, 2])
    expected = (raw - repeated.mean()) / repeated.std()
    np.testing.assert_allclose(transform.apply(np.array([[0.0], [1.0], [9.0]]))[:, 0], expected, atol=1e-7)


@pytest.mark.parametrize("kind", ["gauss", "moments"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e12, -1e-20])
def test_a_feature_that_never_varies_says_nothing(kind: str, value: float) -> None:
    transform = fit_transform(np.full((50, 1), value), kind=kind)
    assert (transform.apply(np.array([[value], [value + 1e15], [-1e15], [np.nan]])) == 0.0).all()
    assert transform.knots[0].size == 1


@pytest.mark.parametrize("kind", ["gauss", "moments"])
def test_missing_values_are_left_out_and_become_the_mean(kind: str) -> None:
    column = np.array([1.0, np.nan, 2.0, 4.0, np.nan, 9.0])
    seen = fit_transform(column[~np.isnan(column)][:, None], kind=kind)
    found = fit_transform(column[:, None], kind=kind)
    np.testing.assert_array_equal(found.knots[0], seen.knots[0])
    np.testing.assert_array_equal(found.levels[0], seen.levels[0])
    mapped = found.apply(column[:, None])[:, 0]
    assert (mapped[np.isnan(column)] == 0.0).all()
    assert np.isfinite(mapped).all()


@pytest.mark.parametrize("kind", ["gauss", "moments"])
def test_a_feature_that_nobody_has_maps_to_zero(kind: str) -> None:
    found = fit_transform(np.array([[np.nan, 1.0], [np.nan, 2.0]]), kind=kind)
    assert (found.apply(np.array([[7.0, 1.0], [np.nan, 2.0]]))[:, 0] == 0.0).all()


def test_one_row_of_1e12_does_not_ruin_the_others() -> None:
    column = np.random.default_rng(7).normal(size=1_000)
    clean = fit_transform(column[:, None]).apply(column[:, None])[:, 0]
    spoiled_column = column.copy()
    spoiled_column[0] = 1e12
    spoiled = fit_transform(spoiled_column[:, None]).apply(column[:, None])[:, 0]
    # all rows but the last knot's share of 1/63 of the ranks keep their place
    assert (np.abs(clean - spoiled)[1:] < 0.1).mean() > 0.97
    assert np.corrcoef(clean[1:], spoiled[1:])[0, 1] > 0.98
    # and by moments they do not: the reason for ranks
    moments = fit_transform(spoiled_column[:, None], kind="moments").apply(column[:, None])[:, 0]
    assert moments[1:].std() < 1e-6


def test_far_outside_its_knots_a_feature_keeps_the_last_level() -> None:
    transform = fit_transform(np.random.default_rng(8).normal(size=(100, 1)))
    mapped = transform.apply(np.array([[1e300], [-1e300], [np.inf], [-np.inf]]))[:, 0]
    levels = transform.levels[0]
    assert mapped.tolist() == [levels[-1], levels[0], levels[-1], levels[0]]


def test_moments_centre_scale_and_cut_at_five() -> None:
    column = np.array([0.0, 0.0, 2.0, 2.0])
    transform = fit_transform(column[:, None], kind="moments")
    mapped = transform.apply(np.array([[0.0], [1.0], [2.0], [5.9], [99.0], [-99.0]]))[:, 0]
    np.testing.assert_allclose(mapped, [-1.0, 0.0, 1.0, 4.9, 5.0, -5.0], atol=1e-12)


def test_moments_of_a_tiny_feature_are_not_mistaken_for_a_constant() -> None:
    column = np.array([1e-14, 2e-14, 3e-14])
    mapped = fit_transform(column[:, None], kind="moments").apply(column[:, None])[:, 0]
    np.testing.assert_allclose(mapped, np.array([-1.0, 0.0, 1.0]) * np.sqrt(1.5), atol=1e-9)


def test_columns_do_not_touch_each_other() -> None:
    rows = np.column_stack([COLUMNS["normal"], COLUMNS["heavy tail"]])
    together = fit_transform(rows).apply(rows.reshape(10, 100, 2)).reshape(-1, 2)
    for j in range(2):
        alone = fit_transform(rows[:, [j]]).apply(rows[:, [j]])
        np.testing.assert_array_equal(together[:, j], alone[:, 0])


@pytest.mark.parametrize(
    ("rows", "kind", "words"),
    [
        (np.zeros((0, 2)), "gauss", "at least one row"),
        (np.zeros(3), "gauss", "at least one row"),
        (np.array([[1.0], [np.inf]]), "gauss", "infinite"),
        (np.zeros((2, 2)), "ranks", "unknown kind"),
    ],
)
def test_what_can_not_be_fitted_is_refused(rows: FloatArray, kind: str, words: str) -> None:
    with pytest.raises(LearningError, match=words):
        fit_transform(rows, kind=kind)
