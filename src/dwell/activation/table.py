"""Traces of many items in columns: a million are scanned in one pass, ten are updated in one call.

Each item has a row: two channels of K sums as of one instant. A row changes when an event of its item comes in, and
only then: decay is applied when it is read. What changed since it was last asked for is known, so that a store can
write behind. A row packs into 17 + 16 K bytes (209 for K = 12), however many events are in it.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np

from dwell.activation import arguments
from dwell.activation.instants import MAX_US
from dwell.activation.ladder import Ladder
from dwell.activation.traces import ROUNDING, factors
from dwell.errors import RecordError
from dwell.records.arrays import FloatArray, IntArray

__all__ = ["N_CHANNELS", "Changes", "TraceTable"]

N_CHANNELS: Final = 2  # reward, exposure
_FIRST_ROWS: Final = 64
_BLOCK: Final = 2_048  # rows of a scan at a time: their factors and products stay in the second-level cache
_NO_FLOOR: Final = -math.inf
_PINNED: Final = 1
# e^-700 is 1e-304: nothing beside the plain count, and at half the price of what underflows
_LEAST_EXPONENT: Final = -700.0
# e^-60 is 1e-26: no weight is above 3e6 times that of the plain count, no sum above it, so that it is below rounding
_NOTHING: Final = 60.0


class Changes(NamedTuple):
    """What a store has to write to be as new as the table.

    Attributes:
        rows: (item, packed row) of what is new or changed.
        removed: Items that are gone.
    """

    rows: list[tuple[str, bytes]]
    removed: list[str]


class TraceTable:
    """Two channels of traces for each item.

    Not safe for threads by itself: `Activation` holds a lock around it.

    Args:
        ladder: What the sums are sums of.

    Attributes:
        ladder: As given.
        pins: Pinned items, with the least activation they are to have in nats; -inf where there is no floor.
    """

    def __init__(self, ladder: Ladder) -> None:
        self.ladder = ladder
        self.pins: dict[str, float] = {}
        self._slopes = -1e-6 * ladder.rates
        self._row_of: dict[str, int] = {}
        self._items: list[str | None] = []
        self._free: list[int] = []
        self._traces = np.zeros((_FIRST_ROWS, N_CHANNELS, ladder.size))
        self._last_us = np.zeros(_FIRST_ROWS, dtype=np.int64)
        self._dirty: set[str] = set()
        # field by field without padding: the row as it stands in a store
        self._packed_type = np.dtype(
            [("last_us", "<i8"), ("flags", "u1"), ("floor", "<f8"), ("traces", "<f8", (N_CHANNELS, ladder.size))]
        )

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, item: object) -> bool:
        return item in self._row_of

    @property
    def known(self) -> Container[str]:
        """The items, to look one up."""
        return self._row_of

    def items(self) -> list[str]:
        """Return the items, in the order of `masses` without items."""
        return [item for item in self._items if item is not None]

    @property
    def n_bytes(self) -> int:
        """Memory of the columns, spare rows included; ids not."""
        return self._traces.nbytes + self._last_us.nbytes

    @property
    def n_bytes_per_row(self) -> int:
        """Length of a packed row."""
        return self._packed_type.itemsize

    # ---------------------------------------------------------------- changing

    def add(self, items: Sequence[str], at_us: IntArray | int, amounts: FloatArray) -> None:
        """Add events, or take them away again; the order of calls and repeats of an item do not matter.

        Args:
            items: n ids, rows are made for new ones.
            at_us: (n,) instants, or one for all.
            amounts: (n, 2) for reward and exposure; negative ones take away what was added at the same instant. Where
                nothing but rounding is left of a channel it is 0 exactly.
        """
        rows = self._rows(items)
        self._dirty.update(items)
        if len(items) > 1 and len(set(items)) < len(items):
            self._add_repeated(rows, np.broadcast_to(np.asarray(at_us, dtype=np.int64), rows.shape), amounts)
            return
        elapsed = at_us - self._last_us.take(rows)
        # an event of before the row's instant: it is the event that has decayed
        newest = elapsed if np.minimum.reduce(elapsed) >= 0 else np.maximum(elapsed, 0)
        traces = self._traces.take(rows, axis=0)
        traces *= np.exp(np.maximum(newest[:, None] * self._slopes, _LEAST_EXPONENT))[:, None, :]
        if newest is elapsed:
            traces += amounts[:, :, None]
            self._last_us[rows] = at_us
        else:
            traces += amounts[:, :, None] * np.exp((newest - elapsed)[:, None] * self._slopes)[:, None, :]
            self._last_us[rows] += newest
        if np.minimum.reduce(amounts, axis=None) < 0.0:
            _clean(traces, amounts)
        self._traces[rows] = traces

    def _add_repeated(self, rows: IntArray, at_us: IntArray, amounts: FloatArray) -> None:
        own, place = np.unique(rows, return_inverse=True)
        newest = self._last_us[own]
        np.maximum.at(newest, place, at_us)
        traces = self._traces[own] * factors(newest - self._last_us[own], self.ladder)[:, None, :]
        np.add.at(traces, place, amounts[:, :, None] * factors(newest[place] - at_us, self.ladder)[:, None, :])
        if amounts.min() < 0.0:
            least = np.zeros((own.size, N_CHANNELS))
            np.minimum.at(least, place, amounts)
            _clean(traces, least)
        self._traces[own] = traces
        self._last_us[own] = newest

    def remove(self, items: Iterable[str]) -> int:
        """Forget items, pins included; return how many there were."""
        n_removed = 0
        for item in items:
            row = self._row_of.pop(item, None)
            if row is None:
                continue
            self._items[row] = None
            self._traces[row] = 0.0
            self._last_us[row] = 0
            self._free.append(row)
            self.pins.pop(item, None)
            self._dirty.add(item)
            n_removed += 1
        return n_removed

    def pin(self, item: str, floor: float = _NO_FLOOR) -> None:
        """Keep an item from being forgotten, with a floor in nats where one is given; it need not have a history."""
        self._rows([item])
        self.pins[item] = floor
        self._dirty.add(item)

    def unpin(self, item: str) -> bool:
        """Let an item be forgotten again; return whether it was pinned."""
        if item not in self.pins:
            return False
        del self.pins[item]
        self._dirty.add(item)
        return True

    def merge(self, other: TraceTable) -> None:
        """Add another table's events: what it holds is of other events than what stands here. Of two floors the higher.

        Raises:
            RecordError: Its ladder is another one.
        """
        if other.ladder != self.ladder:
            raise RecordError(
                "traces of two ladders can not be added",
                code="ladder",
                field="other",
                value=other.ladder.ladder_id,
                hint=f"Rebuild them from the events on {self.ladder.ladder_id!r}.",
            )
        items = other.items()
        if not items:
            return
        mine, theirs = self._rows(items), other._rows(items)
        newest = np.maximum(self._last_us[mine], other._last_us[theirs])
        own = self._traces[mine] * factors(newest - self._last_us[mine], self.ladder)[:, None, :]
        more = other._traces[theirs] * factors(newest - other._last_us[theirs], self.ladder)[:, None, :]
        self._traces[mine] = own + more
        self._last_us[mine] = newest
        for item, floor in other.pins.items():
            self.pins[item] = max(floor, self.pins.get(item, _NO_FLOOR))
        self._dirty.update(items)

    # ---------------------------------------------------------------- reading

    def masses(self, items: Sequence[str] | None, now_us: int | IntArray, decay: float) -> FloatArray:
        """Return P and E, (n, 2), at an instant; 0 for items without a row. Nothing changes by it.

        Args:
            items: n ids; every item of the table, in the order of `items`, when None.
            now_us: Instant, or (n,) of them where items are given; events after it count at age 0.
            decay: d.
        """
        weights = self.ladder.weights(decay)
        if items is None and isinstance(now_us, int):
            return self._scanned(now_us, weights)
        chosen = self.items() if items is None else items
        rows = self._known_rows(chosen)
        found = np.empty((rows.size, N_CHANNELS))
        self._weigh(self._traces.take(rows, axis=0), now_us - self._last_us.take(rows), weights, found)
        if rows.size and np.minimum.reduce(rows) < 0:
            found[rows < 0] = 0.0
        return found

    def _weigh(self, traces: FloatArray, elapsed_us: IntArray, weights: FloatArray, into: FloatArray) -> None:
        """Write the masses of traces (n, 2, K) so long after their instants into (n, 2)."""
        elapsed = np.maximum(elapsed_us, 0).astype(np.float64)
        # the first rate is 0: its factor is 1, and is not computed; nor are those that leave nothing of any row
        fastest = np.searchsorted(-self._slopes, _NOTHING / max(float(np.minimum.reduce(elapsed, initial=np.inf)), 1.0))
        faded = elapsed[:, None] * self._slopes[1:fastest]
        np.maximum(faded, _LEAST_EXPONENT, out=faded)
        np.exp(faded, out=faded)
        faded *= weights[1:fastest]
        np.einsum("nck,nk->nc", traces[:, :, 1:fastest], faded, out=into)
        into += weights[0] * traces[:, :, 0]

    def _known_rows(self, items: Sequence[str]) -> IntArray:
        """Return the rows of items, -1 where there is none."""
        try:
            # one call for all where there are several: a quarter of the time of one by one
            found = itemgetter(*items)(self._row_of) if len(items) > 1 else [self._row_of[item] for item in items]
        except (KeyError, TypeError):
            # an id that is not known, or no id at all: only now is it worth a look
            found = [self._row_of.get(item, -1) for item in arguments.checked_ids(items)]
        return np.array(found, dtype=np.int64)

    def _scanned(self, now_us: int, weights: FloatArray) -> FloatArray:
        n = len(self._items)
        found = np.empty((n, N_CHANNELS))
        for begin in range(0, n, _BLOCK):
            end = min(begin + _BLOCK, n)
            self._weigh(self._traces[begin:end], now_us - self._last_us[begin:end], weights, found[begin:end])
        return found if not self._free else found[[item is not None for item in self._items]]

    def traces_of(self, items: Sequence[str], now_us: int) -> FloatArray:
        """Return the sums as of an instant, (n, 2, K); 0 for items without a row."""
        rows = self._known_rows(items)
        faded = self._traces[rows] * factors(np.maximum(now_us - self._last_us[rows], 0), self.ladder)[:, None, :]
        faded[rows < 0] = 0.0
        return np.asarray(faded)

    def last_us(self, items: Sequence[str]) -> IntArray:
        """Return the latest instant at which something was added, (n,); 0 for items without a row or an event."""
        rows = self._known_rows(items)
        return np.where(rows < 0, 0, self._last_us[rows])

    # ---------------------------------------------------------------- keeping

    def rows(self, items: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (item, packed row), of every item when none are given; the instant, flags, floor, and 2 K sums."""
        chosen = self.items() if items is None else list(items)
        for begin in range(0, len(chosen), _BLOCK):
            some = chosen[begin : begin + _BLOCK]
            rows = [self._row_of[item] for item in some]
            packed: np.ndarray[Any, Any] = np.zeros(len(some), dtype=self._packed_type)
            packed["last_us"], packed["traces"] = self._last_us[rows], self._traces[rows]
            packed["flags"] = [_PINNED * (item in self.pins) for item in some]
            packed["floor"] = [self.pins.get(item, _NO_FLOOR) for item in some]
            yield from ((item, row.tobytes()) for item, row in zip(some, packed, strict=True))

    def load(self, rows: Iterable[tuple[str, bytes]]) -> int:
        """Take packed rows in, in the place of what stands here of their items; return how many. None of them is dirty.

        Raises:
            RecordError: code `corrupt`: a row has another length, or holds what no table writes; what stood before it
                was taken.
        """
        n_loaded, some = 0, []
        for item, packed in rows:
            some.append((item, packed))
            if len(some) == _BLOCK:
                n_loaded += self._loaded(some)
                some = []
        return n_loaded + self._loaded(some)

    def _loaded(self, some: list[tuple[str, bytes]]) -> int:
        for item, packed in some:
            if len(packed) != self._packed_type.itemsize:
                raise RecordError(
                    f"a row of {self.ladder.ladder_id} has {self._packed_type.itemsize} bytes",
                    code="corrupt",
                    field=item,
                    value=len(packed),
                    hint="Rebuild activation from the log.",
                )
        read = np.frombuffer(b"".join(packed for _, packed in some), dtype=self._packed_type)
        sums, last = read["traces"], read["last_us"]
        is_sound = (np.isfinite(sums) & (sums >= 0.0)).all(axis=(1, 2)) & (last >= 0) & (last <= MAX_US)
        is_sound &= (read["flags"] <= _PINNED) & ~np.isnan(read["floor"])
        if not is_sound.all():
            place = int(is_sound.argmin())
            raise RecordError(
                "a row holds what no table writes",
                code="corrupt",
                field=some[place][0],
                value=read[place],
                hint="Rebuild activation from the log.",
            )
        items = [item for item, _ in some]
        rows = self._rows(items)
        self._traces[rows], self._last_us[rows] = sums, last
        for item, flags, floor in zip(items, read["flags"].tolist(), read["floor"].tolist(), strict=True):
            if flags & _PINNED:
                self.pins[item] = floor
            else:
                self.pins.pop(item, None)
        self._dirty.difference_update(items)
        return len(some)

    def take_changes(self, *, everything: bool = False) -> Changes:
        """Return what is new, changed or removed since the last call, or all there is, and begin anew."""
        if everything:
            self._dirty.update(self._row_of)
        dirty, self._dirty = sorted(self._dirty), set()
        kept = [item for item in dirty if item in self._row_of]
        return Changes(list(self.rows(kept)), [item for item in dirty if item not in self._row_of])

    # ---------------------------------------------------------------- rows

    def _rows(self, items: Sequence[str]) -> IntArray:
        """Return the rows of items, made where there are none."""
        rows = self._known_rows(items)
        if rows.size and np.minimum.reduce(rows) < 0:
            return np.array([self._made(item) for item in items], dtype=np.int64)
        return rows

    def _made(self, item: str) -> int:
        row = self._row_of.get(item)
        if row is not None:
            return row
        if self._free:
            row = self._free.pop()
            self._items[row] = item
        else:
            row = len(self._items)
            self._items.append(item)
            if row == len(self._traces):
                self._grow()
        self._row_of[item] = row
        return row

    def _grow(self) -> None:
        n = len(self._traces)
        self._traces = np.concatenate([self._traces, np.zeros_like(self._traces)])
        self._last_us = np.concatenate([self._last_us, np.zeros(n, dtype=np.int64)])


def _clean(traces: FloatArray, amounts: FloatArray) -> None:
    """Set to 0 what taking away left below it, and channels of which nothing but rounding is left."""
    is_less = amounts < 0.0
    gone = is_less & (traces[:, :, 0] <= -ROUNDING * amounts)
    traces[gone] = 0.0
    np.maximum(traces, 0.0, out=traces, where=is_less[:, :, None])
