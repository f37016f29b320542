from itertools import pairwise

import numpy as np
import pytest

from study.heavy_tailed import N_FEATURES, N_TELLING, heavy_tailed_world
from study.worlds import FloatArray, World


@pytest.fixture(scope="module")
def world() -> World:
    return heavy_tailed_world()


def values_of(world: World) -> FloatArray:
    return np.concatenate([question.features for question in world.train]).astype(np.float64)


def test_it_is_as_large_as_it_says_and_always_the_same(world: World) -> None:
    assert (len(world.train), len(world.test), len(world.feature_names)) == (400, 150, N_FEATURES)
    sizes = [len(question.ids) for question in world.train]
    assert (min(sizes), max(sizes)) == (25, 35)
    again = heavy_tailed_world()
    assert all((a.features == b.features).all() for a, b in zip(world.train, again.train, strict=True))


def test_the_columns_span_ten_orders_of_magnitude_and_one_has_outliers_beyond(world: World) -> None:
    x = values_of(world)
    usual, last = x[:, :-1], x[:, -1]
    assert usual[usual > 0.0].min() == pytest.approx(0.016)
    assert usual.max() == pytest.approx(2e8)
    outliers = int((last > 1e11).sum())
    # 12,000 documents at .1 %: 12 expected, 1 to 40 beyond any doubt (Poisson: less than one in a hundred thousand)
    assert 1 <= outliers <= 40
    sparse = (x == 0.0).mean(axis=0)
    assert ((sparse == 0.0) | (abs(sparse - 0.8) < 0.02)).all()
    assert (sparse > 0.5).sum() == len(range(3, N_FEATURES, 7))


def test_grades_have_the_shares_of_web_search(world: World) -> None:
    grades = np.concatenate([question.grades for question in world.train])
    shares = np.bincount(grades, minlength=5) / grades.size
    assert shares == pytest.approx([0.55, 0.25, 0.12, 0.05, 0.03], abs=0.02)


def test_twelve_columns_tell_by_rank_what_they_do_not_tell_by_size(world: World) -> None:
    """Within a question: the rank correlation with the grade is told from 0, the plain one is far smaller."""
    n = len(world.train)
    ranked, plain = np.zeros((n, N_FEATURES)), np.zeros((n, N_FEATURES))
    for i, question in enumerate(world.train):
        x, y = question.features.astype(np.float64), question.grades.astype(np.float64)
        ranks = np.argsort(np.argsort(x, axis=0), axis=0).astype(np.float64)
        for j in range(N_FEATURES):
            ranked[i, j] = _correlation(ranks[:, j], y)
            plain[i, j] = _correlation(x[:, j], y)
    error = ranked.std(axis=0) / n**0.5
    telling = np.flatnonzero(np.abs(ranked.mean(axis=0)) > 4.0 * error)
    # 34 that tell nothing: one in 16,000 passes 4 standard errors each
    assert telling.size in {N_TELLING - 1, N_TELLING}
    assert (ranked.mean(axis=0)[telling] > 0.0).all()
    assert plain.mean(axis=0)[telling].mean() < ranked.mean(axis=0)[telling].mean()
    assert all(a != b for a, b in pairwise(telling.tolist()))


def _correlation(x: FloatArray, y: FloatArray) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = float((x @ x * (y @ y)) ** 0.5)
    return float(x @ y) / size if size > 0.0 else 0.0
