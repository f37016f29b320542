"""Drawing from a line: expected counts by enumeration of every random start, against the closed form."""

import math
from fractions import Fraction

import numpy as np
import pytest

from dwell.errors import NotEnoughExperienceError
from dwell.replay.draws import Line, draw, draw_capped
from dwell.replay.prefix_tree import PrefixTree
from dwell.replay.sum_tree import SumTree

MASSES = [
    [1, 2, 3, 4],
    [1, 8, 1, 1],
    [1, 10, 100, 1],
    [0, 5, 0, 5, 5, 0],
    [7, 7, 7],
    [1, 0, 2, 30, 4, 5, 0, 6],
    [1],
]


class Start(np.random.Generator):
    """A generator whose uniform numbers are all the same: the one random start of a systematic draw."""

    def __init__(self, start: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.start = start

    def random(self, size: int | None = None) -> float | np.ndarray:  # type: ignore[override]
        return self.start if size is None else np.full(size, self.start)


def line_of(masses: list[int], kind: type[PrefixTree] | type[SumTree]) -> PrefixTree | SumTree:
    line = kind(len(masses))
    line.fill(np.array(masses, dtype=np.float64))
    return line


def expected_counts(masses: list[int], n_drawn: int, cap: int) -> list[Fraction] | None:
    """min(cap, lambda * mass), in whole fractions; None where the batch can not be filled."""
    certain: set[int] = set()
    while True:
        rest = sum(mass for i, mass in enumerate(masses) if i not in certain)
        n_open = n_drawn - cap * len(certain)
        if rest == 0:
            return None if n_open else [Fraction(cap if i in certain else 0) for i in range(len(masses))]
        scale = Fraction(n_open, rest)
        more = {i for i, mass in enumerate(masses) if i not in certain and scale * mass > cap}
        if not more:
            return [Fraction(cap) if i in certain else scale * mass for i, mass in enumerate(masses)]
        certain |= more


def starts(n_steps: int) -> list[float]:
    """The midpoints of n equal steps: between them no count changes, when every border is a multiple of 1 / n."""
    return [(k + 0.5) / n_steps for k in range(n_steps)]


@pytest.mark.parametrize("kind", [PrefixTree, SumTree])
@pytest.mark.parametrize("n_drawn", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("masses", MASSES, ids=str)
def test_free_draws_have_exact_expected_counts(
    masses: list[int], n_drawn: int, kind: type[PrefixTree] | type[SumTree]
) -> None:
    line = line_of(masses, kind)
    total = sum(masses)
    counts = np.zeros(len(masses))
    for start in starts(total):
        drawn = draw(line, n_drawn, Start(start))
        found = np.bincount(drawn.slots, minlength=len(masses))
        counts += found
        assert (np.diff(drawn.slots) >= 0).all()  # in the order of the line
        assert drawn.probabilities == pytest.approx(np.array(masses)[drawn.slots] / total, rel=1e-15)
        share = n_drawn * np.array(masses) / total
        assert (np.floor(share) - 1 <= found).all()
        assert (found <= np.ceil(share) + 1).all()
    assert counts / total == pytest.approx(n_drawn * np.array(masses) / total, abs=1e-12)


@pytest.mark.parametrize("kind", [PrefixTree, SumTree])
@pytest.mark.parametrize("cap", [1, 2, 5])
@pytest.mark.parametrize("n_drawn", [1, 2, 3, 7])
@pytest.mark.parametrize("masses", MASSES, ids=str)
def test_capped_draws_have_exact_expected_counts_and_report_them(
    masses: list[int], n_drawn: int, cap: int, kind: type[PrefixTree] | type[SumTree]
) -> None:
    line = line_of(masses, kind)
    before = line.masses(np.arange(len(masses))).tobytes()
    expected = expected_counts(masses, n_drawn, cap)
    if expected is None:
        with pytest.raises(NotEnoughExperienceError):
            draw_capped(line, n_drawn, cap, np.random.default_rng(0))
    else:
        certain = {i for i, count in enumerate(expected) if count == cap}
        rest = sum(mass for i, mass in enumerate(masses) if i not in certain) or 1
        counts = np.zeros(len(masses))
        for start in starts(rest):
            drawn = draw_capped(line, n_drawn, cap, Start(start))
            found = np.bincount(drawn.slots, minlength=len(masses))
            assert found.sum() == n_drawn
            assert found.max() <= cap
            assert (found[sorted(certain)] == cap).all()
            reported = [float(expected[slot] / n_drawn) for slot in drawn.slots.tolist()]
            assert drawn.probabilities == pytest.approx(reported, rel=1e-12)
            counts += found
        assert counts / rest == pytest.approx([float(count) for count in expected], abs=1e-12)
    assert line.masses(np.arange(len(masses))).tobytes() == before
    assert line.total == sum(masses)


def test_certainty_is_found_again_among_the_rest() -> None:
    # of 100, 10, 1, 1 three are drawn: 100 is certain, then 10 of the remaining 12 is certain in two draws
    line = line_of([1, 10, 100, 1], PrefixTree)
    drawn = draw_capped(line, 3, 1, np.random.default_rng(0))
    assert {1, 2} < set(drawn.slots.tolist())
    by_slot = dict(zip(drawn.slots.tolist(), drawn.probabilities.tolist(), strict=True))
    assert by_slot[1] == by_slot[2] == pytest.approx(1 / 3)
    assert by_slot[drawn.slots.min() if 0 in by_slot else 3] == pytest.approx(0.5 / 3)


@pytest.mark.parametrize("kind", [PrefixTree, SumTree])
@pytest.mark.parametrize("seed", range(4))
def test_a_cap_holds_and_the_line_comes_back_bit_for_bit_on_wide_masses(
    kind: type[PrefixTree] | type[SumTree], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    n = 3000
    masses = np.rint(np.exp(rng.normal(size=n) * 5)) * (rng.random(n) < 0.6)
    line = kind(n)
    line.fill(masses)
    total = line.total
    n_possible = np.count_nonzero(masses)
    for cap in (1, 2, 9):
        for n_drawn in (1, 50, n_possible // 2, n_possible * cap):
            drawn = draw_capped(line, n_drawn, cap, rng)
            counts = np.bincount(drawn.slots, minlength=n)
            assert counts.sum() == n_drawn == drawn.slots.size
            assert counts.max() <= cap
            assert counts[masses == 0.0].sum() == 0
        with pytest.raises(NotEnoughExperienceError, match=str(n_possible * cap)):
            draw_capped(line, n_possible * cap + 1, cap, rng)
        assert line.masses(np.arange(n)).tobytes() == masses.tobytes()
        assert line.total == total


@pytest.mark.parametrize("cap", [1, 2, 3, 7, 10, 49])
def test_equal_masses_at_the_border_of_rounding_fill_the_batch(cap: int) -> None:
    # all are due: each may be a rounding error longer, or shorter, than its share
    rng = np.random.default_rng(cap)
    for n in range(1, 60):
        for mass in (0.1, 1.0 / 3.0, 2.0**-0.7, 1e-300):
            line: Line = SumTree(n)
            line.set(np.arange(n), np.full(n, mass))
            drawn = draw_capped(line, n * cap, cap, rng)
            assert np.bincount(drawn.slots, minlength=n).tolist() == [cap] * n
            assert drawn.probabilities == pytest.approx(np.full(n * cap, 1.0 / n), rel=1e-12)
            if n > 1:
                fewer = draw_capped(line, (n - 1) * cap, cap, rng)
                assert np.bincount(fewer.slots, minlength=n).max() <= cap


def test_a_capped_batch_comes_in_random_order() -> None:
    line = line_of([1] * 40, PrefixTree)
    first = [int(draw_capped(line, 20, 1, np.random.default_rng(seed)).slots[0]) for seed in range(50)]
    assert len(set(first)) > 10  # in the order of the line the first would be 0 or 1


def test_neighbours_of_small_mass_are_not_drawn_together() -> None:
    # points are equally spaced in the order of the slots: of 20 alike, 10 drawn, two neighbours never meet. Each one's
    # inclusion is exact all the same; who needs joint inclusion draws uniformly, where every set is as likely
    line = line_of([1] * 20, PrefixTree)
    rng = np.random.default_rng(2)
    for _ in range(200):
        found = np.sort(draw_capped(line, 10, 1, rng).slots)
        assert (np.diff(found) >= 2).all() or found.size != 10


def test_a_start_next_to_one_stays_on_the_line() -> None:
    largest = math.nextafter(1.0, 0.0)
    for masses in ([1, 1, 0], [3, 0, 0, 0], [0, 2**52 - 1]):
        line = line_of(masses, PrefixTree)
        for n_drawn in (1, 2, 1000):
            drawn = draw(line, n_drawn, Start(largest))
            assert (line.masses(drawn.slots) > 0.0).all()
