import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dwell.errors import ConfigError, ReplayError
from dwell.records import ColumnSpec, Experience
from dwell.replay import ReplayBuffer

Make = Callable[..., Experience]
STRATEGIES = ("uniform", "priority", "rank", "recency", "stratified")
SPEC = ColumnSpec({"query_embedding": ((4,), np.dtype(np.float32))})


class Source:
    names = ("double",)

    def read(self, seqs: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        return dict.fromkeys(names, 2 * seqs)

    def experience(self, seq: int) -> Experience:
        raise ReplayError("unknown", value=seq)


def thawed(state: dict[str, Any]) -> dict[str, Any]:
    """Send a state through bytes and back."""
    found: dict[str, Any] = pickle.loads(pickle.dumps(state))  # noqa: S301 - bytes made on this very line
    return found


def worn(experience: Make, columns: ColumnSpec | Source | None) -> ReplayBuffer:
    """A buffer with a past: evictions, removals, updates, every index in use."""
    buffer = ReplayBuffer(40, alpha=0.7, half_life_s=500.0, max_bytes=10**6, seed=5, columns=columns)
    rng = np.random.default_rng(0)
    for i in range(120):
        buffer.add(
            experience(
                f"e{i}",
                seq=1000 - i,
                timestamp=1e9 + 50 * float(rng.integers(1000)),
                priority=float(rng.integers(5)),
                segment=[None, "a", "b"][i % 3],
                user=f"u{i % 5}",
            )
        )
        if i % 11 == 10:
            buffer.remove(f"e{i - 3}")
            for strategy in STRATEGIES:
                buffer.sample(3, strategy=strategy)  # type: ignore[arg-type]
    buffer.update_priorities([f"e{i}" for i in range(100, 110)], np.full(10, 2.5))
    buffer.update_reward("e111", -0.25, version=3)
    return buffer


@pytest.mark.parametrize("columns", [None, SPEC, Source()], ids=["objects", "packed", "external"])
def test_a_restored_buffer_draws_what_the_saved_one_draws(
    experience: Make, columns: ColumnSpec | Source | None
) -> None:
    buffer = worn(experience, columns)
    saved = thawed(buffer.to_state())
    restored = ReplayBuffer.from_state(saved, columns=columns)
    for twin in (buffer, restored):
        assert (twin.capacity, twin.alpha, twin.half_life_s, twin.max_bytes) == (40, 0.7, 500.0, 10**6)
    assert restored.n_bytes == buffer.n_bytes
    assert restored.seqs().tolist() == buffer.seqs().tolist()
    assert restored.priorities().tolist() == buffer.priorities().tolist()
    for turn in range(20):
        for strategy in STRATEGIES:
            for replace in (True, False):
                one, two = (
                    twin.sample(12, strategy=strategy, replace=replace)  # type: ignore[arg-type]
                    for twin in (buffer, restored)
                )
                assert one.seqs.tolist() == two.seqs.tolist(), (strategy, replace)
                assert one.sampling_weights.tolist() == two.sampling_weights.tolist()
        for twin in (buffer, restored):
            twin.update_priorities(one.seqs, np.arange(12.0))
            twin.add(experience(f"later{turn}", seq=5000 - turn, timestamp=1e9 + 1000 * turn, segment="c"))
    assert restored.seqs().tolist() == buffer.seqs().tolist()


def test_experiences_come_back_equal_and_sealed(experience: Make) -> None:
    buffer = worn(experience, None)
    restored = ReplayBuffer.from_state(thawed(buffer.to_state()))
    assert list(restored) == list(buffer)
    with pytest.raises(AttributeError):
        next(iter(restored)).priority = 1.0


def test_saving_changes_nothing_and_is_a_snapshot(experience: Make) -> None:
    one, two = worn(experience, None), worn(experience, None)
    saved = one.to_state()
    one.add(experience("later"))
    two.add(experience("later"))
    assert one.sample(30, strategy="priority").event_ids == two.sample(30, strategy="priority").event_ids
    assert ReplayBuffer.from_state(saved).get("later") is None


def test_an_empty_buffer_round_trips() -> None:
    restored = ReplayBuffer.from_state(ReplayBuffer(7, seed=1).to_state())
    assert (restored.size(), restored.capacity, restored.half_life_s) == (0, 7, None)


def test_seqs_go_on_after_a_restore(experience: Make) -> None:
    buffer = ReplayBuffer(5)
    buffer.extend([experience("e0"), experience("e1")])
    buffer.clear()
    restored = ReplayBuffer.from_state(buffer.to_state())
    restored.add(experience("e2"))
    assert restored.seqs().tolist() == [3]


def test_a_state_with_other_columns_is_refused(experience: Make) -> None:
    buffer = worn(experience, SPEC)
    with pytest.raises(ReplayError, match="columns"):
        ReplayBuffer.from_state(buffer.to_state())
    other = ColumnSpec({"query_embedding": ((5,), np.dtype(np.float32))})
    with pytest.raises(ReplayError, match="rows"):
        ReplayBuffer.from_state(buffer.to_state(), columns=other)


def _set(*path: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    def damage(state: dict[str, Any]) -> None:
        part: Any = state
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = to

    return damage


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_set("format", to=99), "format"),
        (lambda state: state.pop("rng"), "rng"),
        (_set("rng", to={"bit_generator": "MT19937"}), "rng"),
        (lambda state: state["index"].pop("reward"), "reward"),
        (lambda state: state["index"].update(reward=state["index"]["reward"][:-1]), "reward"),
        (lambda state: state["index"]["user"].pop(), "user"),
        (lambda state: state["index"].update(event_id=state["index"]["event_id"].astype(str)), "event_id"),
        (_set("index", "segment", to=7), "index"),
        (_set("max_age_s", to=-1.0), "max_age_s"),
        (_set("segment_quotas", to={"a": 2.0}), "segment_quotas"),
        (_set("index", "priority", 0, to=float("nan")), "priority"),
        (_set("index", "priority", 0, to=-1.0), "priority"),
        (_set("index", "timestamp", 0, to=float("inf")), "timestamp"),
        (_set("index", "seq", 0, to=0), "seq"),
        (_set("index", "event_id", 0, to="e119"), "event_id"),
        (_set("next_seq", to=1), "next_seq"),
        (_set("next_seq", to="121"), "next_seq"),
        (_set("next_seq", to=500.5), "next_seq"),
        (_set("next_seq", to=2**63 + 1), "next_seq"),
        (_set("capacity", to=0), "capacity"),
        (_set("capacity", to="40"), "capacity"),
        (_set("capacity", to=2**40), "capacity"),
        (_set("alpha", to=float("nan")), "alpha"),
        (_set("half_life_s", to=-1.0), "half_life_s"),
        (_set("max_bytes", to="many"), "max_bytes"),
        (_set("scales", to=None), "scales"),
        (_set("scales", "priority", to=float("nan")), "scales.priority"),
        (_set("scales", "priority", to=1075), "scales.priority"),
        (_set("scales", "recency", to=float("inf")), "scales.recency"),
        (_set("scales", "recency", to="now"), "scales.recency"),
        (_set("scales", "luck", to=0), "scales.luck"),
        (_set("n_slots", to="many"), "n_slots"),
        (_set("order", to=None), "order"),
        (_set("order", to=7), "order"),
        (_set("index", to=[]), "index"),
        (_set("index", "seq", to=7), "index"),
        (_set("index", "seq", to=["one"] * 40), "index"),
        (_set("index", "priority", to=["high"] * 40), "index"),
        (_set("index", "reward", to=["good"] * 40), "index"),
        (_set("index", "event_id", to=[[]] * 40), "index"),
        (_set("index", "timestamp", to=[[1.0]] * 40), "index"),
        (_set("n_slots", to=2), "n_slots"),
        (lambda state: state["rows"].pop(), "rows"),
        (_set("rows", 0, to="no experience"), "rows"),
        (_set("rows", to=None), "rows"),
    ],
)
def test_a_damaged_state_is_refused_by_name(
    experience: Make, damage: Callable[[dict[str, Any]], None], named: str
) -> None:
    state = copy.deepcopy(worn(experience, None).to_state())
    damage(state)
    with pytest.raises(ReplayError, match=named) as refusal:
        ReplayBuffer.from_state(state)
    assert refusal.value.code == "state"


def test_columns_that_are_none_are_the_callers_mistake(experience: Make) -> None:
    with pytest.raises(ConfigError, match="columns"):
        ReplayBuffer.from_state(worn(experience, None).to_state(), columns="reward")  # type: ignore[arg-type]


@pytest.mark.parametrize("twin_of", [copy.copy, copy.deepcopy, lambda buffer: pickle.loads(pickle.dumps(buffer))])  # noqa: S301 - bytes made on this very line
@pytest.mark.parametrize("columns", [None, SPEC], ids=["objects", "packed"])
def test_a_copied_or_pickled_buffer_is_a_twin_of_its_own(
    experience: Make, columns: ColumnSpec | None, twin_of: Callable[[ReplayBuffer], ReplayBuffer]
) -> None:
    buffer = worn(experience, columns)
    twin = twin_of(buffer)
    assert list(twin) == list(buffer)
    for strategy in STRATEGIES:
        one, two = (b.sample(12, strategy=strategy) for b in (buffer, twin))  # type: ignore[arg-type]
        assert one.seqs.tolist() == two.seqs.tolist()
    twin.clear()
    assert (len(twin), len(buffer)) == (0, 40)


def test_a_buffer_whose_rows_are_elsewhere_says_how_it_is_copied(experience: Make) -> None:
    buffer = worn(experience, Source())
    for twin_of in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(ReplayError, match="to_state"):
            twin_of(buffer)


@pytest.mark.parametrize("state", [None, [], "state", {}])
def test_what_is_no_state_is_refused(state: object) -> None:
    with pytest.raises(ReplayError, match="to_state"):
        ReplayBuffer.from_state(state)  # type: ignore[arg-type]
