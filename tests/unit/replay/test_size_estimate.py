import sys
from collections.abc import Callable

import numpy as np
import pytest

from dwell.records import Experience
from dwell.replay.size_estimate import experience_bytes, index_bytes

Make = Callable[..., Experience]


def test_it_grows_by_what_was_added(experience: Make) -> None:
    plain = experience_bytes(experience())
    assert experience_bytes(experience(query="reset 2fa" + 10 * "é")) == plain + 20  # two bytes each in UTF-8
    assert experience_bytes(experience(query_embedding=[0.25, -0.5, 1.0])) == plain + 32  # a float and a reference
    many = experience(query_embedding=np.zeros(100, dtype=np.float32))
    assert experience_bytes(many) == plain - (64 + 2 * 32) + (112 + 400)
    assert experience_bytes(experience(user="abc")) == plain + 49 + 3


def test_an_index_entry_is_smaller_than_an_experience(experience: Make) -> None:
    assert index_bytes("e1", None, None) == 112 + 49 + 2
    assert index_bytes("e1", None, None) < experience_bytes(experience())


def test_a_large_experience_is_estimated_within_a_tenth_of_what_the_interpreter_holds(experience: Make) -> None:
    # independent floats and texts, so that nothing is shared
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=4000).tolist()
    held = sys.getsizeof(embedding) + sum(sys.getsizeof(x) for x in embedding)
    added = experience_bytes(experience(query_embedding=embedding)) - experience_bytes(experience(query_embedding=[]))
    assert added == pytest.approx(held, rel=0.1)
