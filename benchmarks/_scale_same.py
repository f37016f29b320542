"""The same loop on SQLite and on PostgreSQL: the learning benchmark, the demo, the founding document's functions."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

import dwell
from _scale_place import emptied
from _timing import FloatArray
from dwell.demo.story import Searched, play
from dwell.demo.traffic import Plan
from dwell.demo.world import START, build_world
from dwell.loop.seed import (
    add_experience_with_priority,
    buffer_health_report,
    train_from_replay,
    train_with_temporal_weighting,
)
from dwell.storage import open_store
from dwell.storage.protocol import chunks
from study.heavy_tailed import heavy_tailed_world
from study.simulation import GATED, PEPPER, UNGATED, run_loop
from study.worlds import READERS, MissingDataError, World, shared_folder

__all__ = ["AGREEING", "Difference", "difference", "flattened", "same", "same_lines"]

AGREEING: Final = 1e-9  # issue "Beyond one machine": decisions and params
ROOT: Final = Path(__file__).resolve().parent.parent
N_EVENTS: Final = 5_000
N_QUICK_EVENTS: Final = 300
N_CALLS: Final = 5  # calls of `train` in a run
N_SEARCHES: Final = 6_000  # the demo's own
N_QUICK_SEARCHES: Final = 300
SET: Final = "lightgbm_rank"
#: When a first version or a setting of the store was written, by the wall clock of the call that opened it
_BY_THE_CLOCK: Final = frozenset({"created_at", "received_at"})

_NUMBERS: Final = (float, np.floating, np.ndarray)

Story = Callable[[str], object]


class Difference(NamedTuple):
    """How two things that should be the same differ.

    Attributes:
        n_numbers: Numbers compared.
        n_words: Everything else that was compared.
        largest: Largest difference of two numbers, relative where they are beyond 1.
        first: Where the first word or the shape differs, "" where none does.
    """

    n_numbers: int
    n_words: int
    largest: float
    first: str


def flattened(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield every array, number, text, boolean and None within a value, with its path; what the clock says left out."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key not in _BY_THE_CLOCK and not str(key).startswith("_"):
                yield from flattened(one, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        yield f"{path}.length", len(value)
        for i, one in enumerate(value):
            yield from flattened(one, f"{path}[{i}]")
    else:
        yield path, value


def difference(left: object, right: object) -> Difference:
    """Return how two values differ."""
    n_numbers = n_words = 0
    largest, ones, others = 0.0, list(flattened(left)), list(flattened(right))
    if len(ones) != len(others):
        return Difference(0, 0, math.inf, f"{len(ones)} and {len(others)} values")
    for (path, one), (other_path, other) in zip(ones, others, strict=True):
        if path == other_path and isinstance(one, _NUMBERS) and isinstance(other, _NUMBERS):
            numbers, theirs = np.asarray(one, np.float64), np.asarray(other, np.float64)
            if numbers.shape == theirs.shape:
                n_numbers += numbers.size
                largest = max(largest, _apart(numbers, theirs))
                continue
        n_words += 1
        if path != other_path or type(one) is not type(other) or not bool(np.all(one == other)):
            return Difference(n_numbers, n_words, largest, f"{path}: {one!r} and {other!r}")
    return Difference(n_numbers, n_words, largest, "")


def _apart(ones: FloatArray, others: FloatArray) -> float:
    """Return the largest difference, relative where a number is beyond 1; NaN and infinities have to be the same."""
    is_finite = np.isfinite(ones) & np.isfinite(others)
    if not np.array_equal(ones[~is_finite], others[~is_finite], equal_nan=True):
        return math.inf
    finite = ones[is_finite]
    return float((np.abs(finite - others[is_finite]) / np.maximum(1.0, np.abs(finite))).max(initial=0.0))


def _facts(where: str) -> dict[str, object]:
    """Return everything that a store holds of its tenant: lists, reactions, outcomes, versions, decisions."""
    store = open_store(where, role="reader")
    with store.snapshot() as reader:
        found: dict[str, object] = {
            "params": [reader.params(version) for version in reader.params_versions()],
            "live": reader.live_version(),
            # a first version is decided when a store is opened, at the wall clock of that call
            "decisions": [one for one in reader.decisions() if one.kind != "initial"],
        }
        events: list[object] = []
        for part in chunks(reader.seqs(), 1_000):
            signals = reader.signals(part)
            outcomes = {outcome.seq: outcome for outcome in reader.outcomes(part)}
            events += [(one, outcomes.get(one.seq), signals.get(one.seq, [])) for one in reader.impressions(part)]
        found["events"] = events
    store.close()
    return found


def _studied(world: World, config: dict[str, Any], n_events: int) -> Story:
    """Return the learning benchmark's loop on a set, all that came of it and all that the store holds."""

    def told(where: str) -> object:
        train_at = range(n_events // N_CALLS, n_events + 1, n_events // N_CALLS)
        run = run_loop(world, seed=0, n_events=n_events, config=config, train_at=train_at, where=where)
        return {"checkpoints": run.checkpoints, "served": run.served, "store": _facts(where)}

    return told


def _demonstrated(n_searches: int) -> Story:
    """Return the demo's story."""
    plan = Plan(n_searches, max(n_searches // 6, 10), 0, n_searches // 2)

    def told(where: str) -> object:
        world = build_world(None, plan.seed)
        with dwell.open(where, features=list(START), weights=START, seed=plan.seed, pepper=PEPPER) as loop:
            moments = [one for one in play(loop, world, plan) if not isinstance(one, Searched)]
        return {"moments": [(type(one).__name__, one) for one in moments], "store": _facts(where)}

    return told


def _founding(n_searches: int) -> Story:
    """Return what the founding document's functions make of the experiences of a store that the demo filled."""
    plan = Plan(n_searches, n_searches, 1, None)

    def told(where: str) -> object:
        world = build_world(None, plan.seed)
        with dwell.open(where, features=list(START), weights=START, seed=plan.seed, pepper=PEPPER) as loop:
            for _ in play(loop, world, plan):
                pass
            experiences = list(loop.experiences())
        buffer, ranker, predictor = dwell.ReplayBuffer(len(experiences), seed=0), _Noted(), dwell.RewardPredictor()
        for one in experiences:
            add_experience_with_priority(buffer, one, predictor)
        now = max(one.timestamp for one in experiences)
        for seed in range(20):
            train_from_replay(buffer, ranker, now=now, rng=np.random.default_rng(seed))
            train_with_temporal_weighting(buffer, ranker, now=now, rng=np.random.default_rng(seed))
        batch = buffer.sample_priority(64)
        return [experiences, ranker.seen, [one.event_id for one in batch], buffer_health_report(buffer, now=now)]

    return told


class _Noted:
    """A ranking model that notes what the founding document's functions give it."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def compute_gradient(
        self, *, query: object, results: object, reward: float, old_params: Mapping[str, float]
    ) -> object:
        """Note what the gradient would be computed from."""
        del query, results
        return reward, dict(old_params)

    def update_params(self, gradient: object, *, learning_rate: float) -> None:
        """Note an update."""
        self.seen.append((gradient, learning_rate))


def same(url: str, *, is_quick: bool, folder: Path | None) -> dict[str, Difference]:
    """Return how each story differs between a SQLite file and PostgreSQL."""
    n_events, n_searches = (N_QUICK_EVENTS, N_QUICK_SEARCHES) if is_quick else (N_EVENTS, N_SEARCHES)
    worlds = [heavy_tailed_world()]
    try:
        if not is_quick:
            worlds.append(READERS[SET](shared_folder(ROOT)))
    except MissingDataError as error:
        print(f"skipped: {SET}: {error}", file=sys.stderr)
    stories: dict[str, Story] = {}
    for world in worlds:
        stories[f"learning benchmark, {world.name}, gated, {n_events:,} events"] = _studied(world, GATED, n_events)
        stories[f"learning benchmark, {world.name}, ungated, {n_events:,} events"] = _studied(world, UNGATED, n_events)
    stories[f"the demo, {n_searches:,} searches"] = _demonstrated(n_searches)
    n_searches = min(n_searches, 500)
    stories[f"the founding document's functions, {n_searches} searches"] = _founding(n_searches)
    found = {}
    for name, story in stories.items():
        print(name, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            on_disk = story(str(Path(temporary) / "same.dwell"))
        with emptied(url) as database:
            found[name] = difference(on_disk, story(database.url))
    return found


def same_lines(found: Mapping[str, Difference]) -> list[str]:
    """Return what was compared, as a Markdown table."""
    lines = [
        "On a SQLite file and on PostgreSQL: every list served, reaction, outcome, params version and decision.",
        "",
        f"| what | numbers | words | largest difference | promised {AGREEING:g} |",
        "|---|---|---|---|---|",
    ]
    for name, one in found.items():
        said = "met" if not one.first and one.largest <= AGREEING else f"**not met** {one.first}"
        lines.append(f"| {name} | {one.n_numbers:,} | {one.n_words:,} | {one.largest:.1e} | {said} |")
    return lines
