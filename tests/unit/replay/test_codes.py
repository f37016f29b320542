from collections import Counter

import numpy as np

from dwell.replay.codes import NameCodes


def test_it_counts_as_a_counter_and_uses_codes_again() -> None:
    rng = np.random.default_rng(0)
    codes, model = NameCodes(), Counter[str | None]()
    names = [None, "", "a", "b", "c", "d"]
    for _ in range(3000):
        name = names[int(rng.integers(6))]
        n = int(rng.integers(1, 4))
        if rng.random() < 0.5:
            code = codes.enter(name, n)
            model[name] += n
            assert codes.name(code) == name
        elif model[name] >= n:
            found = codes.find(name)
            assert found is not None
            codes.leave(found, n)
            model[name] -= n
        assert codes.counts() == +model
        assert len(codes) == len(+model)
        held = codes.codes()
        assert len(set(held.values())) == len(held)
        assert all(code < len(names) for code in held.values())  # never more codes than names were present at once
        assert all(codes.count(code) == model[name] and codes.name(code) == name for name, code in held.items())
    assert codes.find("stranger") is None
