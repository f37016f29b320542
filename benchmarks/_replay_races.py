"""Who runs against whom: cycles, updates, adds, and the founding document's own code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np

from _replay_field import ENGINES, PEERS, Field
from _replay_ours import object_buffer, whole_experiences
from _replay_peers import Seed, StableBaselines, Torchrl
from _replay_report import (
    ADD,
    CYCLE,
    FAIR_CYCLE,
    FAST_CYCLE,
    OVER_SEED,
    UPDATE,
    WHOLE_CYCLE,
    Bars,
    Figure,
    bar_of,
)
from _replay_rows import event_ids, priorities
from _replay_systems import AbsentError, System
from _timing import Contestant, FloatArray, race, ratio

BATCH_SIZES: Final = (64, 256, 1_024)
UPDATE_SIZE: Final = 256
ADD_SIZE: Final = 256
SEED_SIZE: Final = 256
N_WHOLE: Final = 1_000  # whole experiences kept: adding the next one costs the same whatever their number
_NUMBERS_APART: Final = 1_000_000  # of whole experiences of different rounds, so that no id comes twice


class Racer(NamedTuple):
    """One side of a race.

    Attributes:
        name: For the report, unique.
        system: Name of the system that it is about.
        prepare: Given a number of calls, what each is given.
        call: What is timed.
    """

    name: str
    system: str
    prepare: Callable[[int], Sequence[Any]]
    call: Callable[[Any], object]


def run(field: Field, racers: Sequence[Racer], n_calls: int) -> dict[str, FloatArray]:
    """Return the seconds per call of every racer in every round."""
    everybody = [Contestant(racer.name, racer.prepare, racer.call, n_calls) for racer in racers]
    return race(everybody, n_rounds=field.effort.n_rounds)


def figure(field: Field, mine: Racer, other: Racer, seconds: dict[str, FloatArray], bar: float | None) -> Figure:
    """Return one of ours against one of theirs."""
    a, b = seconds[mine.name], seconds[other.name]
    medians = 1e6 * float(np.median(a)), 1e6 * float(np.median(b))
    is_judged = field.is_judged(mine.system, other.system)
    return Figure(mine.name, other.name, *medians, ratio(b, a), bar, is_judged)


def peer_of(racer: Racer) -> str:
    """Return the peer that a racer is about, whichever columns it holds."""
    return racer.system.partition(",")[0]


def compared(field: Field, mine: Sequence[Racer], theirs: Sequence[Racer], size: int, bars: Bars) -> list[Figure]:
    """Return each of ours against each of theirs, after one race of all."""
    seconds = run(field, [*mine, *theirs], field.effort.calls(size))
    return [figure(field, a, b, seconds, bar_of(bars, size, peer_of(b))) for a in mine for b in theirs]


def cycle(system: System, given: tuple[int, Any]) -> None:
    """Draw a batch and set new priorities of its rows."""
    size, fresh = given
    drawn = system.draw(size)
    system.update(drawn.keys, fresh)


def cycle_inputs(field: Field, system: System, size: int, n_calls: int) -> list[tuple[int, Any]]:
    """Return what `cycle` is given, call by call."""
    return [(size, system.as_priorities(priorities(field.rng, size))) for _ in range(n_calls)]


def cycler(field: Field, name: str, key: str, system: System, size: int) -> Racer:
    """Return a racer that runs cycles."""
    return Racer(name, key, partial(cycle_inputs, field, system, size), partial(cycle, system))


# ---- sample, gather, weights, update of the same rows


def cycles(field: Field) -> list[Figure]:
    """Return the cycle: all batch sizes, all ways to read and to address."""
    return [found for size in BATCH_SIZES for found in _cycles_of(field, size)]


def _cycles_of(field: Field, size: int) -> list[Figure]:
    """Return the figures of one batch size; everybody runs in one race, which each comparison is then read from."""
    mine: list[tuple[Racer, bool]] = []
    readings = [("learner's columns", field.layout.learner)]
    if field.is_narrow:
        readings.append(("every column", tuple(field.layout.columns)))
    for key, buffer in field.ours().items():
        # the compiled engine draws and updates, and reads as the other does: every column is shown of one of them
        for what, names in readings if key == "dwell" else readings[:1]:
            for by in ("seqs", "event_ids"):
                name = f"{key}, cycle {size}, {what}, by {by}"
                mine.append((cycler(field, name, key, buffer.view(names, by), size), what == "every column"))
    theirs = [
        cycler(field, _label(key), key, system, size) for key, system in field.systems.items() if key not in ENGINES
    ]
    seconds = run(field, [racer for racer, _ in mine] + theirs, field.effort.calls(size))
    figures = []
    for racer, is_every in mine:
        for other in theirs:
            is_fair = other.system.endswith("learner")
            if is_every and is_fair:
                continue  # more bytes on our side than on theirs: says nothing
            bars = _bars(racer.system, is_every=is_every, is_fair=is_fair or not field.is_narrow)
            figures.append(figure(field, racer, other, seconds, bar_of(bars, size, peer_of(other))))
    return figures


def _label(key: str) -> str:
    name, _, part = key.partition(", ")
    return f"{name}, learner's columns only: the fair row" if part else f"{name}, everything"


def _bars(key: str, *, is_every: bool, is_fair: bool) -> Bars | None:
    if key == "dwell, fast":
        return None if is_fair else FAST_CYCLE
    if is_every:
        return WHOLE_CYCLE
    return FAIR_CYCLE if is_fair else CYCLE


# ---- update alone, add alone


def updates(field: Field) -> list[Figure]:
    """Return what setting fresh priorities of rows chosen at random costs."""

    def inputs(system: System, n_calls: int) -> list[tuple[Any, Any]]:
        keys = system.random_keys(UPDATE_SIZE, n_calls, field.rng)
        return [(one, system.as_priorities(priorities(field.rng, UPDATE_SIZE))) for one in keys]

    def racer(name: str, key: str, system: System) -> Racer:
        return Racer(name, key, partial(inputs, system), lambda given: system.update(*given))

    mine = [
        racer(f"{key}, update {UPDATE_SIZE}, by {by}", key, buffer.view(field.layout.learner, by))
        for key, buffer in field.ours().items()
        for by in ("seqs", "event_ids")
    ]
    theirs = [racer(key, key, field.systems[key]) for key in PEERS if key in field.systems]
    return compared(field, mine, theirs, UPDATE_SIZE, UPDATE)


def adds(field: Field) -> list[Figure]:
    """Return what adding one row with its id and payload costs, and many rows in one call."""

    def each(system: System, n_calls: int) -> list[Any]:
        return system.prepared_each(*field.fresh(n_calls))

    def many(system: System, n_calls: int) -> list[Any]:
        return [system.prepared(*field.fresh(ADD_SIZE)) for _ in range(n_calls)]

    def one_by_one(keys: Sequence[str]) -> list[Racer]:
        found = {key: field.systems[key] for key in keys if key in field.systems}
        return [Racer(f"{key}, add one", key, partial(each, s), s.add_one) for key, s in found.items()]

    def at_once(keys: Sequence[str]) -> list[Racer]:
        found = {key: field.systems[key] for key in keys if key in field.systems}
        return [Racer(f"{key}, add {ADD_SIZE}", key, partial(many, s), s.add_many) for key, s in found.items()]

    theirs = [*one_by_one(PEERS), *_stable_baselines(field)]
    rl = field.systems.get("torchrl")
    if isinstance(rl, Torchrl):
        name = "torchrl, add one, without its priority"
        theirs.append(Racer(name, "torchrl", partial(each, rl), rl.add_one_unprioritised))
    figures = compared(field, [*one_by_one(ENGINES), _whole_adder(field)], theirs, 1, ADD)
    return figures + compared(field, at_once(ENGINES), at_once(PEERS), ADD_SIZE, ADD)


def _whole_adder(field: Field) -> Racer:
    buffer = object_buffer(N_WHOLE)
    firsts = iter(range(0, 2**40, _NUMBERS_APART))
    buffer.extend(whole_experiences(next(firsts), N_WHOLE, field.rng))
    return Racer(
        "dwell, add one whole Experience, kept as an object with its text",
        "dwell",
        lambda n_calls: whole_experiences(next(firsts), n_calls, field.rng),
        buffer.add,
    )


def _stable_baselines(field: Field) -> list[Racer]:
    try:
        sb3 = StableBaselines(field.layout, min(field.n, 100_000))
    except AbsentError as error:
        field.absent.append(str(error))
        return []
    return [Racer("SB3, add one, without id and priority", "SB3", range, sb3.add_one)]


# ---- the founding document's code


def seed_figures(field: Field) -> list[Figure]:
    """Return what the founding document's own code takes for a batch; one call per round, it takes long."""
    if "dwell" not in field.systems:
        return []
    seed = Seed(event_ids(0, field.n), field.values)
    mine = cycler(field, f"dwell, cycle {SEED_SIZE}", "dwell", field.learners()["dwell"], SEED_SIZE)
    other = Racer(
        f"{seed.name}, the same batch drawn and assigned",
        seed.name,
        lambda n_calls: [priorities(field.rng, SEED_SIZE).tolist() for _ in range(n_calls)],
        seed.cycle,
    )
    contestants = [
        Contestant(mine.name, mine.prepare, mine.call, field.effort.calls(SEED_SIZE)),
        Contestant(other.name, other.prepare, other.call, 1),
    ]
    seconds = race(contestants, n_rounds=field.effort.n_rounds)
    return [figure(field, mine, other, seconds, OVER_SEED if field.n >= 1_000_000 else None)]
