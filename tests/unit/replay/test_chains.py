"""Linked lists of slots against lists."""

import numpy as np
import pytest

from dwell.replay.chains import Chains


@pytest.mark.parametrize("n_codes", [1, 3])
def test_it_says_what_lists_say(n_codes: int) -> None:
    rng = np.random.default_rng(n_codes)
    room = 6
    chains = Chains(room)
    model: dict[int, list[int]] = {code: [] for code in range(n_codes)}
    for turn in range(3000):
        kind = rng.integers(6)
        code = int(rng.integers(n_codes))
        members = model[code]
        vacant = sorted(set(range(room)) - {slot for slots in model.values() for slot in slots})
        if kind in {0, 5} and vacant:
            slot = int(rng.choice(vacant))
            chains.append(slot, code)
            members.append(slot)
        elif kind == 1 and members:
            slot = members.pop(int(rng.integers(len(members))))
            chains.drop(slot, code)
        elif kind == 2 and members and vacant:
            i, target = int(rng.integers(len(members))), int(rng.choice(vacant))
            chains.move(members[i], target, code)
            members[i] = target
        elif kind == 3 and members:
            slot = members.pop(int(rng.integers(len(members))))
            at = int(rng.integers(len(members) + 1))
            chains.put_before(slot, members[at] if at < len(members) else -1, code)
            members.insert(at, slot)
        elif kind == 4 and turn % 50 == 0:
            room += 3
            chains.grow(room)
        elif kind == 4 and turn % 77 == 0:
            chains.clear()
            model = {code: [] for code in range(n_codes)}
        for code, members in model.items():
            assert list(chains.members(code)) == members
            assert not members or [chains.neighbours(slot) for slot in members] == list(
                zip([-1, *members[:-1]], [*members[1:], -1], strict=True)
            )
            if members:
                assert chains.first(code) == members[0]
                assert chains.second(code) == (members[1] if len(members) > 1 else -1)


def test_a_list_that_nobody_is_in_is_empty() -> None:
    assert list(Chains(3).members(7)) == []
    assert Chains(3).n_bytes == 2 * 3 * 4
