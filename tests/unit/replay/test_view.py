from collections.abc import Callable, Sequence

import pytest

from dwell.records import Experience
from dwell.replay import ExperienceView, ReplayBuffer

Make = Callable[..., Experience]


@pytest.fixture
def buffer(experience: Make) -> ReplayBuffer:
    made = ReplayBuffer(5)
    made.extend(experience(f"e{i}") for i in range(8))
    made.remove("e5")
    return made


def test_it_reads_like_a_list_of_the_oldest_first(buffer: ReplayBuffer) -> None:
    view = buffer.buffer
    plain = list(view)
    assert isinstance(view, Sequence)
    assert [item.event_id for item in plain] == ["e3", "e4", "e6", "e7"]
    assert len(view) == 4
    assert [view[i] for i in range(-4, 4)] == [plain[i] for i in range(-4, 4)]
    assert view[1:3] == plain[1:3]
    assert view[::-1] == plain[::-1]
    assert plain[2] in view
    assert view.index(plain[2]) == 2
    with pytest.raises(IndexError):
        _ = view[4]


def test_it_follows_the_buffer(buffer: ReplayBuffer) -> None:
    view = buffer.buffer
    buffer.clear()
    assert (len(view), list(view), bool(view)) == (0, [], False)


def test_nothing_can_be_assigned(buffer: ReplayBuffer, experience: Make) -> None:
    view: ExperienceView = buffer.buffer
    with pytest.raises(TypeError):
        view[0] = experience()  # type: ignore[index]
    with pytest.raises(AttributeError):
        buffer.buffer = []  # type: ignore[misc,assignment]
    assert not hasattr(view, "append")


def test_adding_while_iterating_neither_raises_nor_repeats(buffer: ReplayBuffer, experience: Make) -> None:
    seen = []
    for item in buffer.buffer:
        seen.append(item.event_id)
        buffer.add(experience(f"more{len(seen)}"))
    # one place was free; from the second addition on the oldest leave, "e3" was already seen
    assert seen == ["e3", "e4", "e6", "e7"][: len(seen)]
    assert len(seen) == len(set(seen))
