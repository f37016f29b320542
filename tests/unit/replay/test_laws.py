"""Each law against its formula, written out by hand."""

import numpy as np
import pytest

from dwell.errors import NotEnoughExperienceError, ReplayError
from dwell.replay.laws import STRATEGIES, Laws
from dwell.replay.ring import IndexRow, Ring
from dwell.replay.samplers import REBASE_HALF_LIVES

HALF_LIFE_S = 100.0


def ring_of(rows: list[tuple[float, float, str | None]]) -> Ring:
    """A ring of (priority, timestamp, segment), slot by slot."""
    ring = Ring(10_000)
    for seq, (priority, timestamp, segment) in enumerate(rows, 1):
        ring.append(IndexRow(f"e{seq}", seq, timestamp, priority, 0.0, 0, None, segment, 0))
    return ring


def law_of(laws: Laws, strategy: str, n: int) -> np.ndarray:
    """P per slot, as the draws report it; nan where never drawn."""
    drawn = laws.sampler(strategy).draw(20_000, None, np.random.default_rng(7))
    law = np.full(n, np.nan)
    law[drawn.slots] = drawn.probabilities
    # the masses say the same as the draws
    masses = np.array(laws.sampler(strategy).masses())
    np.testing.assert_allclose(drawn.probabilities, (masses / masses.sum())[drawn.slots], rtol=1e-12)
    # and so do the logarithms, up to one constant, where they are given
    if drawn.log2_masses is not None:
        is_positive = drawn.probabilities > 0.0
        constant = np.log2(drawn.probabilities[is_positive]) - drawn.log2_masses[is_positive]
        np.testing.assert_allclose(constant, constant[0], atol=1e-9)
    return law


@pytest.fixture
def rows() -> list[tuple[float, float, str | None]]:
    return [(1.0, 0.0, "a"), (0.0, 100.0, "a"), (4.0, 200.0, "a"), (2.0, 300.0, None), (2.0, 250.0, "b")]


def test_uniform(rows: list[tuple[float, float, str | None]]) -> None:
    laws = Laws(ring_of(rows), alpha=0.6, half_life_s=None)
    assert law_of(laws, "uniform", 5).tolist() == [0.2] * 5


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.6, 1.0, 2.0])
def test_priority_applies_alpha_once_and_never_draws_a_zero(
    rows: list[tuple[float, float, str | None]], alpha: float
) -> None:
    laws = Laws(ring_of(rows), alpha=alpha, half_life_s=HALF_LIFE_S)
    masses = np.array([1.0, np.nan, 4.0**alpha, 2.0**alpha, 2.0**alpha])
    assert law_of(laws, "priority", 5) == pytest.approx(masses / np.nansum(masses), rel=1e-12, nan_ok=True)


def test_rank_depends_on_the_order_alone_and_never_draws_a_zero(rows: list[tuple[float, float, str | None]]) -> None:
    ring = ring_of(rows)
    laws = Laws(ring, alpha=0.7, half_life_s=None)
    shared = (2.0**-0.7 + 3.0**-0.7) / 2  # equal priorities share the mean mass of their ranks
    masses = np.array([4.0**-0.7, np.nan, 1.0, shared, shared])
    expected = masses / np.nansum(masses)
    assert law_of(laws, "rank", 5) == pytest.approx(expected, rel=1e-12, nan_ok=True)
    ring.set_priorities(np.array([2]), np.array([1e300]))
    laws.reprioritised(np.array([2]))
    assert law_of(laws, "rank", 5) == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_recency_halves_per_half_life(rows: list[tuple[float, float, str | None]]) -> None:
    laws = Laws(ring_of(rows), alpha=0.6, half_life_s=HALF_LIFE_S)
    masses = np.array([0.125, 0.25, 0.5, 1.0, 0.5**0.5])
    assert law_of(laws, "recency", 5) == pytest.approx(masses / masses.sum(), rel=1e-12)


def test_stratified_shares_equally_and_none_is_a_segment(rows: list[tuple[float, float, str | None]]) -> None:
    laws = Laws(ring_of(rows), alpha=0.6, half_life_s=None)
    assert law_of(laws, "stratified", 5) == pytest.approx([1 / 9, 1 / 9, 1 / 9, 1 / 3, 1 / 3], rel=1e-12)


def test_stratified_is_recent_within_each_segment(rows: list[tuple[float, float, str | None]]) -> None:
    laws = Laws(ring_of(rows), alpha=0.6, half_life_s=HALF_LIFE_S)
    within = np.array([0.25, 0.5, 1.0]) / 1.75
    assert law_of(laws, "stratified", 5) == pytest.approx([*(within / 3), 1 / 3, 1 / 3], rel=1e-12)


def test_an_old_segment_keeps_its_share_beside_a_young_one() -> None:
    # 3,000 half-lives apart: against one common reference the old segment would have no mass at all
    laws = Laws(ring_of([(1.0, 0.0, "old"), (1.0, 100.0, "old"), (1.0, 3e5, "young")]), alpha=0.6, half_life_s=100.0)
    assert law_of(laws, "stratified", 3) == pytest.approx([1 / 6, 1 / 3, 1 / 2], rel=1e-12)


@pytest.mark.parametrize("strategy", ["priority", "rank"])
def test_priorities_that_are_all_zero_mean_uniform(strategy: str) -> None:
    laws = Laws(ring_of([(0.0, 0.0, None)] * 4), alpha=0.6, half_life_s=None)
    assert law_of(laws, strategy, 4).tolist() == [0.25] * 4
    assert set(laws.sampler(strategy).draw(4, 1, np.random.default_rng(0)).slots.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e300, 1.7e308])
def test_priorities_at_the_ends_of_the_range_keep_their_law(scale: float) -> None:
    ring = ring_of([(scale, 0.0, None)] * 3)
    laws = Laws(ring, alpha=1.0, half_life_s=None)
    assert law_of(laws, "priority", 3) == pytest.approx([1 / 3] * 3, rel=1e-12)
    # back to the usual scale: the tree follows
    ring.set_priorities(np.arange(3), np.array([1.0, 2.0, 1.0]))
    laws.reprioritised(np.arange(3))
    assert law_of(laws, "priority", 3) == pytest.approx([0.25, 0.5, 0.25], rel=1e-12)


def test_recency_is_rebased_when_time_runs_on_and_when_the_newest_leaves() -> None:
    ring = ring_of([(1.0, 0.0, None), (1.0, 100.0, None)])
    laws = Laws(ring, alpha=0.6, half_life_s=HALF_LIFE_S)
    assert law_of(laws, "recency", 2) == pytest.approx([1 / 3, 2 / 3], rel=1e-12)
    slot = ring.append(IndexRow("far", 9, 1e9, 1.0, 0.0, 0, None, None, 0))  # ten million half-lives later
    laws.placed(slot)
    assert law_of(laws, "recency", 3) == pytest.approx([np.nan, np.nan, 1.0], nan_ok=True)
    assert laws.scales()["recency"] == 1e9 / HALF_LIFE_S
    vacant = ring.remove(slot)
    laws.placed(slot)
    laws.placed(vacant)
    assert law_of(laws, "recency", 2) == pytest.approx([1 / 3, 2 / 3], rel=1e-12)
    assert abs(laws.scales()["recency"] - 100.0 / HALF_LIFE_S) <= REBASE_HALF_LIVES


def test_every_law_follows_changes_of_every_kind() -> None:
    rng = np.random.default_rng(3)
    ring = ring_of([(1.0, float(i), "a") for i in range(5)])
    laws = Laws(ring, alpha=0.5, half_life_s=HALF_LIFE_S)
    for strategy in STRATEGIES:
        laws.sampler(strategy).draw(1, None, rng)  # each index exists before the changes
    for seq in range(6, 3000):  # past the first allocation
        laws.placed(ring.append(IndexRow(f"e{seq}", seq, float(seq), seq % 7, 0.0, 0, None, f"s{seq % 3}", 0)))
    for slot in (2000, 17, 0):
        vacant = ring.remove(slot)
        laws.placed(slot)
        laws.placed(vacant)
    changed = np.array([5, 5, 9])
    ring.set_priorities(changed, np.array([100.0, 50.0, 0.0]))
    laws.reprioritised(changed)
    fresh = Laws(ring, alpha=0.5, half_life_s=HALF_LIFE_S, scales=laws.scales())
    for strategy in STRATEGIES:
        old, new = (item.sampler(strategy).draw(500, None, np.random.default_rng(1)) for item in (laws, fresh))
        assert (old.slots == new.slots).all(), strategy
        assert (old.probabilities == new.probabilities).all(), strategy


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_replacement_probabilities_are_inclusion_over_size(strategy: str) -> None:
    rows = [(float(i % 4), 10.0 * i, "abc"[i % 3]) for i in range(40)]
    laws = Laws(ring_of(rows), alpha=1.0, half_life_s=HALF_LIFE_S)
    drawn = laws.sampler(strategy).draw(20, 1, np.random.default_rng(0))
    assert np.unique(drawn.slots).size == 20
    masses = laws.sampler(strategy).masses()
    # the definition, iterated by hand: who would exceed 1 is certain, the others share what is left
    inclusion, certain = np.zeros(40), np.zeros(40, dtype=bool)
    while True:
        share = (20 - certain.sum()) * masses / masses[~certain].sum()
        inclusion = np.where(certain, 1.0, share)
        more = (inclusion >= 1.0) & ~certain
        if not more.any():
            break
        certain |= more
    assert drawn.probabilities == pytest.approx(inclusion[drawn.slots] / 20, rel=1e-12)


@pytest.mark.parametrize("strategy", ["priority", "rank"])
def test_without_replacement_a_zero_is_not_drawn_to_fill_the_batch(strategy: str) -> None:
    laws = Laws(ring_of([(1.0, 0.0, None), (0.0, 0.0, None), (2.0, 0.0, None)]), alpha=0.6, half_life_s=None)
    assert set(laws.sampler(strategy).draw(2, 1, np.random.default_rng(0)).slots.tolist()) == {0, 2}
    with pytest.raises(NotEnoughExperienceError, match="2 distinct"):
        laws.sampler(strategy).draw(3, 1, np.random.default_rng(0))


def test_what_can_not_be_drawn_is_refused_by_name() -> None:
    laws = Laws(ring_of([(1.0, 0.0, None)]), alpha=0.6, half_life_s=None)
    with pytest.raises(ReplayError, match="half_life_s"):
        laws.sampler("recency")
    with pytest.raises(ReplayError, match="stratified"):
        laws.sampler("best")
