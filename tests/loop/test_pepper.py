"""The pepper: where it comes from, that the store never holds it, and that a wrong one opens nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.errors import PepperMismatch

Open = Callable[..., dwell.Loop]


def user_of(loop: dwell.Loop, world: Any) -> str:
    served = loop.rank("q", world.candidates(), user="ada@example.org", now=world.now)
    assert served.fallback is None
    found = next(e for e in loop.experiences() if e.event_id == served.event_id)
    assert found.user is not None
    return found.user


def test_the_given_pepper_comes_first_then_the_variable_then_a_file(
    opened: Open, world: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    by_argument = user_of(opened("a.dwell", pepper=b"one"), world)
    monkeypatch.setenv("DWELL_PEPPER", "two")
    assert user_of(opened("b.dwell", pepper=b"one"), world) == by_argument
    by_variable = user_of(opened("c.dwell", pepper=None), world)
    assert by_variable == user_of(opened("d.dwell", pepper=b"two"), world) != by_argument
    assert not list(tmp_path.glob("*.pepper"))
    monkeypatch.delenv("DWELL_PEPPER")
    by_file = user_of(opened("e.dwell", pepper=None), world)
    assert by_file not in {by_argument, by_variable}


def test_a_file_that_only_its_owner_reads_is_made_at_first_open(opened: Open, tmp_path: Path, world: Any) -> None:
    loop = opened("a.dwell", pepper=None)
    path = tmp_path / "a.dwell.pepper"
    assert path.stat().st_mode & 0o777 == 0o600
    first = user_of(loop, world)
    loop.close()
    assert user_of(opened("a.dwell", pepper=None), world) == first


def test_memory_has_a_random_pepper(opened: Open, world: Any) -> None:
    assert user_of(opened(pepper=None), world) != user_of(opened(pepper=None), world)


def test_the_store_holds_neither_pepper_nor_user_only_a_fingerprint(opened: Open, tmp_path: Path, world: Any) -> None:
    loop = opened("a.dwell", pepper=b"a very secret pepper")
    user_of(loop, world)
    loop.close()
    written = b"".join(path.read_bytes() for path in tmp_path.glob("a.dwell*"))
    assert b"a very secret pepper" not in written
    assert b"ada@example.org" not in written


def test_a_wrong_or_missing_pepper_opens_nothing(opened: Open, tmp_path: Path) -> None:
    opened("a.dwell", pepper=b"right").close()
    with pytest.raises(PepperMismatch):
        opened("a.dwell", pepper=b"wrong")
    with pytest.raises(PepperMismatch):
        opened("a.dwell", pepper=None)
    opened("b.dwell", pepper=None).close()
    (tmp_path / "b.dwell.pepper").unlink()
    with pytest.raises(PepperMismatch, match=r"b\.dwell\.pepper"):
        opened("b.dwell", pepper=None)
    opened("a.dwell", pepper=b"right")  # nothing was left owned


def test_the_split_hashes_the_pseudonym_with_a_salt_of_its_own(opened: Open, new_world: Any) -> None:
    def held_out(pepper: bytes) -> set[int]:
        loop, world = opened(pepper=pepper, holdout=0.5), new_world()
        world.visits(loop, 60)
        loop.close_events(now=world.now)
        return {int(row.event_id.removeprefix("event-")) for row in loop._state.replayed.held_out()}

    first, second = held_out(b"one"), held_out(b"two")
    # 60 users, each held out with probability 1/2: outside 15 to 45 with a probability of 1e-4
    assert 15 <= len(first) <= 45
    assert 15 <= len(second) <= 45
    assert first != second
