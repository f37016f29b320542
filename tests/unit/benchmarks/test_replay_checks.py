"""The checks of the replay benchmark: a buffer by the book passes, and each fault planted in it is found."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from _replay_checks import check
from _replay_rows import N_TEMPLATE, RECORD, Block, Layout, event_ids, numbers_of, priorities, rows, template
from _replay_systems import ALPHA, BETA, Drawn

Fault = Literal["none", "rows", "law", "weights", "update"]
N = 3_000
NARROW = RECORD.only(("clicks", "reward", "timestamp"))


class ByTheBook:
    """A buffer as a textbook has it, with one fault at most."""

    name = "by the book"

    def __init__(self, layout: Layout, values: npt.NDArray[np.float64], fault: Fault) -> None:
        self.layout = layout
        self._block = rows(template(layout, np.random.default_rng(0)), 0, values.size)
        self._values = values.copy()
        self._fault = fault
        self._rng = np.random.default_rng(1)

    def prepared(self, block: Block, _ids: Sequence[str], _priorities: npt.NDArray[Any]) -> Block:
        return block

    def prepared_each(self, block: Block, _ids: Sequence[str], _priorities: npt.NDArray[Any]) -> list[Block]:
        return [block]

    def add_many(self, prepared: Block, /) -> object:
        raise NotImplementedError

    def add_one(self, prepared: Block, /) -> object:
        raise NotImplementedError

    def draw(self, batch_size: int, /) -> Drawn:
        masses = self._values ** (1.0 if self._fault == "law" else ALPHA)
        shares = masses / masses.sum()
        drawn = self._rng.choice(N, batch_size, p=shares)
        columns = {name: column[drawn] for name, column in self._block.items()}
        if self._fault == "rows":
            columns["clicks"][-1] = 0.5
        weights = self._values[drawn] ** (-ALPHA * (1.0 if self._fault == "weights" else BETA))
        return Drawn(drawn, columns, weights)

    def as_priorities(self, values: npt.NDArray[Any], /) -> npt.NDArray[Any]:
        return values

    def keys_at(self, positions: npt.NDArray[Any], /) -> npt.NDArray[Any]:
        return positions

    def random_keys(self, size: int, n_calls: int, rng: np.random.Generator, /) -> list[Any]:
        return list(rng.integers(0, N, (n_calls, size)))

    def update(self, keys: Any, priorities: Any, /) -> object:
        if self._fault != "update":
            self._values[keys] = priorities
        return None


@pytest.mark.parametrize("fault", ["none", "rows", "law", "weights", "update"])
def test_what_is_wrong_is_found(fault: Fault) -> None:
    values = priorities(np.random.default_rng(2), N)
    system = ByTheBook(NARROW, values, fault)
    pattern = template(NARROW, np.random.default_rng(0))
    found = check("book", system, pattern, values, n_batches=40, rng=np.random.default_rng(3))
    assert found.is_sound == (fault == "none"), str(found)
    if fault == "none":
        np.testing.assert_array_equal(system._values, values)  # the update was taken back
    else:
        assert "NOT SOUND" in str(found)


def test_a_record_has_the_size_that_everybody_else_is_measured_with() -> None:
    # 384 embedding + 10 x 8 features + 10 clicks + 10 propensities + reward + priority, 4 bytes each, and 8 of time
    assert RECORD.n_bytes() == 4 * (384 + 80 + 10 + 10 + 1 + 1) + 8 == 1952
    assert RECORD.n_bytes(RECORD.learner) == 4 * (80 + 10 + 10 + 1) + 8


def test_a_row_tells_which_one_it_is() -> None:
    pattern = template(NARROW, np.random.default_rng(0))
    first = 2 * N_TEMPLATE + 7
    block = rows(pattern, first, 5)
    np.testing.assert_array_equal(numbers_of(block["timestamp"]), np.arange(first, first + 5))
    np.testing.assert_array_equal(block["clicks"], pattern["clicks"][7:12])
    assert {name: (column.shape[1:], column.dtype.str[1:]) for name, column in block.items()} == dict(NARROW.columns)


def test_ids_are_different_and_of_one_length() -> None:
    ids = event_ids(0, 1_000) + event_ids(1_000, 1_000)
    assert len(set(ids)) == 2_000
    assert {len(one) for one in ids} == {32}
    assert event_ids(1_500, 1) == ids[1_500:1_501]
