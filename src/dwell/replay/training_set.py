"""Training sets that can be drawn again: (snapshot, seed, recipe) gives the same batches, elsewhere and later.

What is drawn depends on the snapshot, the recipe and the seed alone: the snapshot is laid out in the order of `seq`,
whatever buffer it was taken from, and each batch has a generator of its own, so that a run goes on at batch k without
drawing the k before it. Columns are read by `seq` from whatever keeps them now; that what is read is what was there
then is checked, and where it is not, an error says so: never quietly another batch.

The sums behind "priority" and "rank" are whole numbers, so no order of addition and no engine changes a draw. Two
things are outside this: another version of numpy may draw other numbers from the same seed (its own policy, NEP 19),
and the last bit of a power may differ between processors, which moves a border by a unit in 2^46 and so, rarely, a
draw. `fingerprint` tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dwell.errors import ReplayError, SnapshotErased
from dwell.records import Batch, Columns, Experience
from dwell.records.arrays import IntArray
from dwell.replay.arguments import MAX_BATCH, checked_names, one_of, repeat_cap, whole
from dwell.replay.buffer import ReplayBuffer
from dwell.replay.engines import Engine
from dwell.replay.index_rows import SourceIndex
from dwell.replay.laws import STRATEGIES, Strategy
from dwell.replay.ring import GONE, NO_USER
from dwell.replay.rows import INDEX_COLUMNS, unknown_column
from dwell.replay.schedules import BetaSchedule
from dwell.replay.snapshot import Snapshot
from dwell.replay.stratified_sampler import Stratum, check_shares
from dwell.replay.weights import NORMALISATIONS, Normalisation

__all__ = ["Recipe", "batches", "fingerprint"]

_MOST_BATCHES: Final = 2**40
_FULL: Final = BetaSchedule.constant(1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a training set is drawn; each value means what it means in `ReplayBuffer.sample`.

    Attributes:
        strategy: The law.
        batch_size: Experiences per batch, 1 to 2**20.
        n_batches: Number of batches, >= 1.
        beta: Of batch k, `beta.at(k)`; a number stands for the same in every batch.
        replace: Whether one experience may stand in a batch more than once.
        max_repeats: Most times that it may, or None.
        normalisation: What the weights are divided by.
        stratify_by: For "stratified": "segment" or "user".
        shares: For "stratified" by segment: relative share by name; a snapshot does not know users by name.

    Raises:
        ReplayError: A value is malformed or contradicts another; names it.
    """

    strategy: Strategy = "uniform"
    batch_size: int = 64
    n_batches: int = 1
    beta: BetaSchedule | float = _FULL
    replace: bool = True
    max_repeats: int | None = None
    normalisation: Normalisation = "batch_mean"
    stratify_by: Stratum = "segment"
    shares: Mapping[str | None, float] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        one_of(self.strategy, "strategy", STRATEGIES)
        whole(self.batch_size, "batch_size", 1, MAX_BATCH)
        whole(self.n_batches, "n_batches", 1, _MOST_BATCHES)
        if not isinstance(self.beta, BetaSchedule):
            object.__setattr__(self, "beta", BetaSchedule.constant(self.beta))
        if not isinstance(self.replace, bool):
            raise ReplayError("True or False is due here", field="replace", value=self.replace, hint="Pass a bool.")
        one_of(self.normalisation, "normalisation", NORMALISATIONS)
        if not self.replace or self.max_repeats is not None:
            repeat_cap(self.replace, self.max_repeats, self.normalisation)
        one_of(self.stratify_by, "stratify_by", ("segment", "user"))
        shares = check_shares(self.shares)
        object.__setattr__(self, "shares", None if shares is None else dict(sorted(shares.items(), key=_by_name)))
        if shares is not None and self.stratify_by == "user":
            raise ReplayError(
                "a snapshot does not know users by name",
                field="shares",
                value=len(shares),
                hint="Leave shares out: every user then has the same.",
            )

    def beta_at(self, step: int) -> float:
        """Return beta of one batch."""
        return self.beta.at(step) if isinstance(self.beta, BetaSchedule) else float(self.beta)


def batches(
    snapshot: Snapshot,
    recipe: Recipe,
    seed: int,
    source: ReplayBuffer | Columns,
    *,
    columns: Sequence[str] | None = None,
    first: int = 0,
    erased: Collection[int] = (),
    engine: Engine = "numpy",
) -> Iterator[Batch]:
    """Return an iterator over batches `first` to `recipe.n_batches` - 1.

    `seq`, `timestamp`, `priority`, `reward` and `version` are those of the snapshot, all other columns are read from
    the source. A buffer as the source is held against the snapshot: an experience that has left, or whose timestamp or
    reward's version is another one, is refused. A bare `Columns` can only say that a row is gone.

    Args:
        snapshot: What is drawn from.
        recipe: How.
        seed: 0 to 2**128.
        source: What keeps the rows now: the live buffer, or any `Columns`.
        columns: Names to read; None: those that the buffer reads by default, from a `Columns` none.
        first: Batch to begin with.
        erased: Seqs known to be erased; none may stand in the snapshot, drawn or not.
        engine: As for `ReplayBuffer`: it changes no draw.

    Raises:
        SnapshotErased: The snapshot holds an erased event.
        NotEnoughExperienceError: The snapshot is empty, or too few can be drawn under the cap.
        ReplayError: An argument is malformed; code `gone`: an event has left meanwhile; code `changed`: its reward was
            recomputed or another stands under its seq; code `unknown_column`. Raised by the iterator where it depends
            on the batch.
        ConfigError: There is no such engine.
    """
    seed = whole(seed, "seed", 0, 2**128)
    first = whole(first, "first", 0, recipe.n_batches)
    _refuse_erased(snapshot, erased)
    reader = _BufferReader(source, snapshot) if isinstance(source, ReplayBuffer) else _ColumnsReader(source)
    names = checked_names(columns, reader.default_columns)
    for name in names:
        if name not in INDEX_COLUMNS and reader.names is not None and name not in reader.names:
            raise unknown_column(name, sorted({*reader.names, *INDEX_COLUMNS}))
    twin = _laid_out(snapshot, recipe, engine)
    return (_filled(batch, reader, names) for batch in _drawn(twin, recipe, seed, first))


def fingerprint(snapshot: Snapshot, recipe: Recipe, seed: int, *, engine: Engine = "numpy") -> str:
    """Return SHA-256 in hex over the seqs of every batch: keep it beside a model, and compare before drawing again.

    Raises:
        ReplayError: `seed` is malformed, or the snapshot holds too little.
        ConfigError: There is no such engine.
    """
    seed = whole(seed, "seed", 0, 2**128)
    text = hashlib.sha256(b"dwell training set 1 ")
    for batch in _drawn(_laid_out(snapshot, recipe, engine), recipe, seed, 0):
        text.update(batch.seqs.astype("<i8").tobytes())
    return text.hexdigest()


def _by_name(item: tuple[str | None, float]) -> tuple[bool, str]:
    return item[0] is not None, item[0] or ""


def _refuse_erased(snapshot: Snapshot, erased: Collection[int]) -> None:
    found = snapshot.seqs[np.isin(snapshot.seqs, np.array(sorted(erased), dtype=np.int64))]
    if len(found):
        raise SnapshotErased(
            f"{len(found)} of the {len(snapshot)} events of this snapshot have been erased since",
            field="snapshot.seqs",
            value=int(found[0]),
            hint="Take a new snapshot: what was learned from this one can not be drawn again.",
        )


class _NoRows:
    """Stands where rows would be: they are read after the draw, from somebody else."""

    @property
    def names(self) -> tuple[str, ...]:
        return ()

    def read(self, seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        raise ReplayError(f"there are no rows here for {len(seqs)} seqs", field="columns", value=names)

    def experience(self, seq: int) -> Experience:
        raise ReplayError("there are no rows here", field="seq", value=seq)


def _laid_out(snapshot: Snapshot, recipe: Recipe, engine: Engine) -> ReplayBuffer:
    """Return a buffer whose slots are in the order of `seq`, and whose trees know of no history."""
    n = len(snapshot)
    twin = ReplayBuffer(
        max(n, 1), alpha=snapshot.alpha, half_life_s=snapshot.half_life_s, seed=0, columns=_NoRows(), engine=engine
    )
    codes, names = snapshot.segment_codes, list(snapshot.segments)
    if recipe.stratify_by == "user":
        # strata are laid out by name: numbers as texts of one width stand in the order of the numbers
        present, codes = np.unique(snapshot.user_codes, return_inverse=True)
        names = [None if code == NO_USER else f"{code:019d}" for code in present.tolist()]
    if n:
        twin.adopt(
            SourceIndex(
                snapshot.seqs.astype("S24"),
                snapshot.seqs,
                snapshot.timestamps,
                snapshot.priorities,
                snapshot.rewards,
                snapshot.versions,
                codes,
                names,
            )
        )
    return twin


def _drawn(twin: ReplayBuffer, recipe: Recipe, seed: int, first: int) -> Iterator[Batch]:
    for step in range(first, recipe.n_batches):
        # a stream per batch: batch k does not depend on how many were drawn before it
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(step,))))
        yield twin.sample(
            recipe.batch_size,
            strategy=recipe.strategy,
            beta=recipe.beta_at(step),
            replace=recipe.replace,
            columns=INDEX_COLUMNS,
            rng=rng,
            max_repeats=recipe.max_repeats,
            normalisation=recipe.normalisation,
            shares=recipe.shares,
        )


class _BufferReader:
    """Reads rows from a live buffer, if they still are what the snapshot saw."""

    def __init__(self, buffer: ReplayBuffer, snapshot: Snapshot) -> None:
        self._buffer = buffer
        self._snapshot = snapshot
        self._in = buffer._in  # noqa: SLF001 - rows by seq, which no caller outside this room should need
        self.default_columns = self._in.rows.default_columns
        self.names: tuple[str, ...] | None = None  # the buffer refuses unknown ones itself

    def read(self, seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        with self._buffer.held():
            ring = self._in.ring
            slots = ring.slots_of_seqs(seqs)
            if (slots == GONE).any():
                raise _gone(int(seqs[slots == GONE][0]))
            places = self._snapshot.seqs.searchsorted(seqs)
            is_same = ring.values("timestamp", slots) == self._snapshot.timestamps[places]
            is_same &= ring.values("version", slots) == self._snapshot.versions[places]
            if not is_same.all():
                raise ReplayError(
                    "an event of this snapshot is not what it was: its reward was recomputed, or another stands there",
                    code="changed",
                    field="seqs",
                    value=int(seqs[~is_same][0]),
                    hint="Take a new snapshot.",
                )
            return self._in.read(slots, seqs, names) if names else {}

    def experience(self, seq: int) -> Experience:
        found = self._buffer.get(seq)
        if found is None:
            raise _gone(seq)
        return found


class _ColumnsReader:
    """Reads rows from whatever keeps them."""

    def __init__(self, source: Columns) -> None:
        self._source = source
        self.default_columns: tuple[str, ...] = ()
        self.names: tuple[str, ...] | None = tuple(source.names)

    def read(self, seqs: IntArray, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        if not names:
            return {}
        try:
            return self._source.read(seqs, names)
        except ReplayError as error:
            if error.field != "seqs":
                raise
            raise _gone(error.value) from error

    def experience(self, seq: int) -> Experience:
        return self._source.experience(seq)


def _gone(seq: object) -> ReplayError:
    return ReplayError(
        "an event of this snapshot has left since",
        code="gone",
        field="seqs",
        value=seq,
        hint="Take a new snapshot, or read the rows from where they are kept longer.",
    )


def _filled(drawn: Batch, reader: _BufferReader | _ColumnsReader, names: Sequence[str]) -> Batch:
    """Return a drawn batch with its columns, in the order of the names."""
    others = [name for name in names if name not in INDEX_COLUMNS]
    read = reader.read(drawn.seqs, others)
    return Batch(
        drawn.seqs,
        drawn.sampling_probabilities,
        drawn.sampling_weights,
        {name: read[name] if name in read else drawn.columns[name] for name in names},
        lambda seqs: [reader.experience(seq).event_id for seq in seqs.tolist()],
        lambda seqs: [reader.experience(seq) for seq in seqs.tolist()],
    )
