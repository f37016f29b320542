"""The line of ages against a list of slots."""

import numpy as np
import pytest

from dwell.replay.ages import Ages


@pytest.mark.parametrize("n_slots", [1, 2, 5, 40, 150])
def test_it_says_what_a_list_says(n_slots: int) -> None:  # noqa: C901 - one branch per call
    rng = np.random.default_rng(n_slots)
    ages = Ages(n_slots)
    model: list[int] = []  # slots, oldest first
    room = n_slots
    for turn in range(4000):
        kind = rng.integers(8)
        vacant = sorted(set(range(room)) - set(model))
        if kind == 0 and vacant:
            slot = int(rng.choice(vacant))
            ages.append(slot)
            model.append(slot)
        elif kind == 1 and vacant:
            slots = rng.permutation(vacant)[: 1 + int(rng.integers(len(vacant)))]
            ages.append_many(slots)
            model += slots.tolist()
        elif kind == 2 and model:
            slot = model.pop(int(rng.integers(len(model))))
            ages.drop(slot)
        elif kind == 3 and model:
            n = 1 + int(rng.integers(len(model)))
            oldest = ages.oldest_many(n)
            assert oldest.dtype == np.int64
            assert oldest.tolist() == model[:n]
            ages.drop_many(oldest)
            del model[:n]
            if rng.random() < 0.7:  # as when a block takes over the slots of the oldest
                ages.append_many(oldest)
                model += oldest.tolist()
        elif kind == 4 and len(model) > 1:
            # the one in the last slot moves into a vacated one
            source, target = model[-1], model.pop(0)
            ages.drop(target)
            ages.move(source, target)
            model[model.index(source)] = target
        elif kind == 5 and turn % 60 == 0:
            ages.clear()
            model = []
        elif kind == 6 and turn % 90 == 0 and room < 4 * n_slots:
            room += n_slots
            ages.grow(room)
        elif kind == 7 and turn % 20 == 0:
            model = rng.permutation(model).tolist()
            ages.fill(np.array(model, dtype=np.int64))
        assert ages.in_order().tolist() == model
        if model:
            assert ages.oldest() == model[0]
            places = [ages.place(slot) for slot in model]
            assert places == sorted(places)
        if len(model) > 1:
            assert ages.oldest(but=model[0]) == model[1]
            assert ages.oldest(but=model[1]) == model[0]


def test_a_long_gap_before_the_oldest_is_passed() -> None:
    ages = Ages(5000)
    ages.append_many(np.arange(5000))
    ages.drop_many(np.arange(4000))
    ages.drop_many(np.arange(4001, 4999))
    assert ages.oldest_many(2).tolist() == [4000, 4999]
    ages.append_many(np.arange(10))
    assert ages.oldest_many(4).tolist() == [4000, 4999, 0, 1]


def test_its_memory_is_that_of_its_slots() -> None:
    # 4 bytes of place, and 4 for one and a half places in line, with 16 to spare
    assert Ages(1000).n_bytes == 1000 * 4 + (1500 + 16) * 4
