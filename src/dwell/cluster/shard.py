"""One shard: the experience of some users, in the memory of one process, made from the store and kept up by it.

A shard holds nothing that the store does not have. It reads as a reader, never writes, needs no pepper, and is as good
as new after `hydrate`. What its methods take and return is small and can be pickled; experience is not among it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal, Self

import numpy as np

from dwell.cluster import lessons
from dwell.cluster.evidence import Candidates, JudgedPart, LogPart, Question, SecondPart, ShardEvidence, candidates_of
from dwell.cluster.lessons import GradientPart, Lesson, PartOfStep, Totals, UserCaps
from dwell.cluster.line import ENTRY, Entries, Keys, Law, Line, ShardIndex
from dwell.cluster.placement import Placement, key_of, keys_of
from dwell.cluster.spec import Checksum, Followed, Moved, ShardFacts, ShardSpec
from dwell.errors import ReplayError
from dwell.evaluation.log_fit import ClickSums
from dwell.evaluation.prefix import PrefixRatios
from dwell.learning.predictor import PredictorSums
from dwell.loop.looks import Looks, Reading, Usual, events_by_user, looks_in
from dwell.loop.replayed import Replayed, closed_events
from dwell.loop.row_codec import taken_up_us
from dwell.records import Experience, Impression, UpdateResult
from dwell.records.arrays import Float32Array, FloatArray, IntArray
from dwell.replay.arguments import MAX_CAPACITY
from dwell.replay.masses import power_sum
from dwell.reward.examination import Examination
from dwell.storage import Reader, Store, open_store
from dwell.storage.protocol import chunks

__all__ = ["Checksum", "Followed", "Moved", "Shard", "ShardFacts", "ShardSpec"]

_AT_ONCE: Final = 1_000  # events decoded together: a chunk of hydration, 5 MB at 64 documents
_SEQS_AT_ONCE: Final = 100_000  # seqs read together: a megabyte
_LIVE: Final = ("closed", "reopened")
_UNSETTLED: Final = ("open", "not_shown")
_INDEX: Final = (
    "seq", "served_at", "late_us", "priority", "reward", "version", "is_held_out", "has_user", "user_hash",
    "query_hash",
)  # fmt: skip


class Shard:
    """The part of a store's experience that a placement gives to one name.

    Args:
        spec: What it is made from.
        store: The facts, where they are open in this process already; else they are opened for reading.

    Raises:
        StorageError: The store can not be opened.
    """

    def __init__(self, spec: ShardSpec, *, store: Store | None = None) -> None:
        self.spec = spec
        self.store = open_store(spec.where, tenant=spec.tenant, role="reader") if store is None else store
        self._is_store_ours = store is None
        self.replayed = self._empty()
        self._epoch, self._last_seq = -1, 0
        self._unsettled: IntArray = np.zeros(0, dtype=np.int64)
        self._index: ShardIndex | None = None
        self._line: tuple[Law, Line] | None = None
        self._held: ShardIndex | None = None
        self._lesson: Lesson | None = None
        self._evidence = ShardEvidence(self.replayed.rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store."""
        self.replayed.rows.close()
        if self._is_store_ours:
            self.store.close()

    def _empty(self) -> Replayed:
        spec = self.spec
        return Replayed(
            capacity=MAX_CAPACITY,  # who leaves is decided over all shards, by the store's learner
            holdout=spec.holdout,
            salt=spec.salt,
            half_life_s=spec.half_life_s,
            alpha=spec.alpha,
            read_experience=_no_experience,
            feature_names=spec.feature_names,
            is_owner=False,
            snapshot=self.store.snapshot,
            examination=spec.examination,
            are_ours=self._are_ours,
        )

    def _are_ours(self, impressions: Sequence[Impression]) -> list[bool]:
        keys = np.array([key_of(impression) for impression in impressions], dtype=np.uint64)
        names = self.spec.placement.shards
        found: list[bool] = (self.spec.placement.shards_of(keys) == names.index(self.spec.name)).tolist()
        return found

    # ---- from the store

    def hydrate(self) -> ShardFacts:
        """Read everything anew, in chunks of a thousand events, and return what there is.

        Raises:
            StorageError: The store could not be read; the shard is empty then.
        """
        self.replayed.rows.close()
        self.replayed = self._empty()
        self._evidence = ShardEvidence(self.replayed.rows)
        self._epoch = -1
        self._changed()
        with self.store.snapshot() as reader:
            self.replayed.rebuild(reader, self.spec.feature_names)
            self._note(reader)
        return self.facts()

    def follow(self) -> Followed:
        """Take over what was committed since the last look: closed, re-rewarded, evicted, removed and erased events.

        Priorities that others wrote are not: they come by `write_back`. Where nothing was committed it costs one
        number; else it reads the seqs of what is live, and the events that are new.

        Raises:
            StorageError: The store could not be read; the next look begins where this one did.
        """
        if self._epoch < 0:
            facts = self.hydrate()
            return Followed(facts.n + facts.n_held_out, 0, 0, facts.epoch)
        with self.store.snapshot() as reader:
            epoch = reader.epoch()
            if epoch == self._epoch and reader.last_seq() == self._last_seq:
                return Followed(0, 0, 0, epoch)
            known = np.sort(self.replayed.rows.index("seq")["seq"].astype(np.int64))
            fresh, gone = self._differences(reader, known)
            self._changed()
            self.replayed.drop(gone)
            known_still = {outcome.seq for part in chunks(gone, _AT_ONCE) for outcome in reader.outcomes(part)}
            self._evidence.forget([seq for seq in gone if seq not in known_still])
            n_kept = len(self.replayed)
            changed = self._rewarded_anew(reader)
            for part in chunks(fresh + changed, _AT_ONCE):
                self.replayed.admit_many(closed_events(reader, part), self.spec.feature_names)
            self._note(reader)
        n_added, n_removed = len(self.replayed) - n_kept, len(known) - n_kept
        return Followed(n_added, len(changed), n_removed, self._epoch)

    def _note(self, reader: Reader) -> None:
        self._unsettled = np.array(reader.seqs(states=_UNSETTLED), dtype=np.int64)
        self._epoch, self._last_seq = reader.epoch(), reader.last_seq()

    def _differences(self, reader: Reader, known: IntArray) -> tuple[list[int], list[int]]:
        """Return seqs that have closed since the last look, and known ones that are no longer live."""
        fresh: list[int] = []
        gone: list[int] = []
        after, is_more = 0, True
        while is_more:
            live = np.array(reader.seqs(states=_LIVE, after=after, limit=_SEQS_AT_ONCE), dtype=np.int64)
            is_more = live.size == _SEQS_AT_ONCE
            end = int(live[-1]) if is_more else np.iinfo(np.int64).max
            is_new = (live > self._last_seq) | np.isin(live, self._unsettled)
            fresh += live[is_new].tolist()
            here = known[(known > after) & (known <= end)]
            gone += here[~np.isin(here, live)].tolist()
            after = end
        return fresh, gone

    def _rewarded_anew(self, reader: Reader) -> list[int]:
        rows = self.replayed.rows.index("seq", "version")
        known = dict(zip(rows["seq"].tolist(), rows["version"].tolist(), strict=True))
        found: list[int] = []
        for part in chunks(reader.seqs(states=("reopened",)), _AT_ONCE):
            ours = [seq for seq in part if seq in known]
            found += [o.seq for o in reader.outcomes(ours) if known[o.seq] != o.version]
        return found

    def stand_on(self, examination: Examination) -> bool:
        """Have every exposure stand on an examination; return whether they had to be computed anew."""
        is_another = examination.version != self.spec.examination.version
        if is_another:
            self.expose_anew(examination)
        return is_another

    def expose_anew(self, examination: Examination) -> None:
        """Compute every exposure under another examination, from what was logged."""
        self.spec = replace(self.spec, examination=examination)
        self.replayed.expose_anew(examination)
        self._changed()

    def reshape(self, placement: Placement) -> Moved:
        """Go over to another placement: drop what lives elsewhere now, read what came here.

        Raises:
            ConfigError: The placement has no shard of this name.
            StorageError: The store could not be read; the shard then is empty, and hydrated by the next look.
        """
        before = self.spec
        self.spec = replace(before, placement=placement)
        index = self.replayed.rows.index("seq", "has_user", "user_hash", "query_hash")
        keys = keys_of(index["has_user"].astype(bool), index["user_hash"], index["query_hash"])
        is_ours = placement.shards_of(keys) == placement.shards.index(self.spec.name)
        self.replayed.drop(index["seq"][~is_ours].tolist())
        n_kept = len(self.replayed)
        try:
            self._take_over(before.placement)
        except BaseException:
            self._epoch = -1
            raise
        finally:
            self._changed()
        return Moved(int((~is_ours).sum()), len(self.replayed) - n_kept)

    def _take_over(self, before: Placement) -> None:
        """Read what other shards had before and this one has now."""
        was_ours = before.shards.index(self.spec.name) if self.spec.name in before.shards else -1
        with self.store.snapshot() as reader:
            for part in chunks(reader.seqs(states=_LIVE), _AT_ONCE):
                unknown = [seq for seq in part if seq not in self.replayed.rows]
                events = closed_events(reader, unknown)
                keys = np.array([key_of(impression) for impression, _ in events], dtype=np.uint64)
                came = before.shards_of(keys) != was_ours
                moved = [event for event, has_come in zip(events, came.tolist(), strict=True) if has_come]
                self.replayed.admit_many(moved, self.spec.feature_names)

    # ---- what it holds

    def _changed(self) -> None:
        self._index = self._line = self._held = None

    def index(self) -> ShardIndex:
        """Return what can be learned from, in its order."""
        if self._index is None:
            index = self._sorted(is_held_out=False)
            caps = UserCaps() if self._lesson is None else self._lesson.caps
            self._index = replace(index, counts=caps.counts(index))
        return self._index

    def held_out(self) -> ShardIndex:
        """Return what only judges, in its order."""
        if self._held is None:
            self._held = self._sorted(is_held_out=True)
        return self._held

    def _sorted(self, *, is_held_out: bool) -> ShardIndex:
        columns = self.replayed.rows.index(*_INDEX)
        is_meant = columns["is_held_out"].astype(bool) == is_held_out
        taken = taken_up_us(columns)[is_meant]
        columns = {name: values[is_meant] for name, values in columns.items()}
        order = np.lexsort((columns["seq"], taken))
        columns = {name: values[order] for name, values in columns.items()}
        seqs = columns["seq"].astype(np.int64)
        beside = {"n_documents": np.zeros(0), "params_version": np.zeros(0)}
        if len(seqs):
            beside = self.replayed.rows.raw(seqs, list(beside))
        return ShardIndex(
            seqs=seqs,
            taken_up_us=taken[order],
            timestamps=columns["served_at"].astype(np.float64),
            priorities=columns["priority"].astype(np.float64),
            versions=columns["version"].astype(np.int64),
            n_documents=beside["n_documents"].astype(np.int64),
            params_versions=beside["params_version"].astype(np.int64),
            has_user=columns["has_user"].astype(bool),
            users=columns["user_hash"].astype(np.uint64),
            queries=columns["query_hash"].astype(np.uint64),
            rewards=columns["reward"].astype(np.float64),
            counts=np.ones(len(seqs)),
        )

    def facts(self) -> ShardFacts:
        """Return what it holds, in numbers."""
        index, n_all = self.index(), len(self.replayed)
        return ShardFacts(
            name=self.spec.name,
            n=len(index.seqs),
            n_held_out=n_all - len(index.seqs),
            newest=float(index.timestamps.max(initial=-np.inf)),
            largest_priority=float(index.priorities.max(initial=0.0)),
            epoch=self._epoch,
            last_seq=self._last_seq,
            n_bytes=self.replayed.buffer.n_bytes + n_all * self.replayed.rows.row_bytes,
        )

    def checksum(self) -> Checksum:
        """Return the checksum of all that it holds: identity, reward, its version, and priority of each."""
        columns = self.replayed.rows.index("seq", "version", "priority", "reward", "user_hash", "query_hash")
        table = np.zeros((len(columns["seq"]), len(columns)), dtype="<u8")
        for j, name in enumerate(columns):
            kind = "<f8" if columns[name].dtype.kind == "f" else "<u8"
            table[:, j] = columns[name].astype(kind).view("<u8")
        digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in table)
        return Checksum(len(table), sum(int.from_bytes(digest, "little") for digest in digests) % 2**64)

    # ---- drawing

    def power_sum(self, alpha: float, scale: int) -> float:
        """Return the sum of (priority / 2^scale)^alpha, from which all shards together choose their unit."""
        return power_sum(self.index().priorities, alpha, scale)

    def line(self, law: Law) -> Line:
        """Return the line of a law; made once until something changes."""
        if self._line is None or self._line[0] != law:
            self._line = law, Line(self.index(), law)
        return self._line[1]

    def mass(self, law: Law) -> tuple[int, float]:
        """Return how many can be learned from, and their mass."""
        return len(self.index().seqs), self.line(law).total

    def draw(self, law: Law, offsets: FloatArray) -> Entries:
        """Return who stands at each offset within this shard's mass, in the order asked for."""
        return self.line(law).at(offsets) if len(offsets) else np.zeros(0, dtype=ENTRY)

    def fences(self, every: int) -> Keys:
        """Return the place of each `every`-th experience, from the first on."""
        keys = self.index().keys
        return Keys(keys.taken_up_us[::every], keys.seqs[::every])

    def before(self, law: Law, keys: Keys) -> FloatArray:
        """Return this shard's mass before each place, float64 (m,)."""
        return self.line(law).before(keys)

    def between(self, law: Law, low: Keys, high: Keys) -> tuple[Entries, IntArray]:
        """Return who stands in each of m stretches, and how many in each, int64 (m,)."""
        return self.line(law).between(low, high)

    def pending(self, after: int) -> Entries:
        """Return what can be learned from and has a seq above `after`, with mass 1 each, in its order."""
        index = self.index()
        at = np.flatnonzero(index.seqs > after)
        return index.entries(at, np.ones(len(at)))

    def n_pending(self, after: int) -> int:
        """Return how many can be learned from and have a seq above `after`."""
        return int(np.count_nonzero(self.index().seqs > after))

    def oldest(self, n: int, which: Literal["learned_from", "held_out"] = "learned_from") -> Entries:
        """Return the n of either kind that would leave first, fewer where there are fewer, oldest first."""
        index = self.held_out() if which == "held_out" else self.index()
        at = np.arange(min(n, len(index.seqs)))
        return index.entries(at, np.ones(len(at)))

    # ---- changing

    def write_back(
        self, seqs: IntArray, priorities: FloatArray, versions: IntArray | None = None, epoch: int | None = None
    ) -> UpdateResult:
        """Store new raw priorities, and return what became of each.

        Args:
            seqs: int64 (m,), events of this shard.
            priorities: float64 (m,); what is negative or not finite is rejected.
            versions: int64 (m,), of the rewards that the priorities were made of: an event that has another one by now
                is stale, as is one that has left. None compares nothing.
            epoch: The store's after the same priorities were committed there and nothing else: the shard is in step
                with it, if it was with the one before.

        Raises:
            ReplayError: The arguments differ in length.
        """
        if not len(seqs) == len(priorities) == len(seqs if versions is None else versions):
            raise ReplayError(
                "one priority per seq is due", field="priorities", value=len(priorities), hint=f"Pass {len(seqs)}."
            )
        index = self.index()
        order = np.argsort(index.seqs, kind="stable")
        place = np.minimum(index.seqs.searchsorted(seqs, sorter=order), max(len(order) - 1, 0))
        at = order.take(place) if len(order) else np.zeros(len(seqs), dtype=np.int64)
        is_here = index.seqs.take(at) == seqs if len(order) else np.zeros(len(seqs), dtype=bool)
        if versions is not None and len(order):
            is_here &= index.versions.take(at) == versions
        is_valid = (priorities >= 0.0) & (priorities < np.inf)
        taken = is_here & is_valid
        self.replayed.prioritise(seqs[taken].tolist(), priorities[taken].tolist())
        if epoch is not None and epoch == self._epoch + 1:
            self._epoch = epoch
        self._changed()
        n_updated, n_rejected = int(taken.sum()), int((~is_valid).sum())
        return UpdateResult(n_updated, len(seqs) - n_updated - n_rejected, n_rejected)

    # ---- learning

    def user_totals(self) -> tuple[IntArray, IntArray, int]:
        """Return how many users have how many events, and how many events have none; see `lessons`."""
        return lessons.user_totals(self.index())

    def credits(self, caps: UserCaps) -> Totals:
        """Return the positive credit of each document, where events count as these caps say."""
        index = self.index()
        return lessons.credits_of(self.replayed.rows, index, caps.counts(index))

    def version_counts(self) -> dict[int, int]:
        """Return the number of events that can be learned from, by the params version that served them."""
        versions, counts = np.unique(self.index().params_versions, return_counts=True)
        return dict(zip(versions.tolist(), counts.tolist(), strict=True))

    def features_of(self, seqs: IntArray, documents: IntArray) -> Float32Array:
        """Return raw features, float32 (m, f), of one document of each event: what a feature map is fitted to."""
        rows = {row.seq: row.features for row in self.replayed.rows.rows(seqs.tolist())}
        found = [rows[seq][j] for seq, j in zip(seqs.tolist(), documents.tolist(), strict=True)]
        return np.array(found, dtype=np.float32).reshape(len(found), max(len(self.spec.feature_names), 1))

    def prepare(self, lesson: Lesson) -> None:
        """Take up a lesson: what is asked from now on is asked in its terms. A shard that was rebuilt has none."""
        self._lesson = lesson
        self._index = self._line = None

    def _taught(self) -> Lesson:
        if self._lesson is None:
            raise ReplayError(
                "this shard was not told what is to be learned",
                code="unprepared",
                field="lesson",
                value=self.spec.name,
                hint="Call prepare, as after every rebuild.",
            )
        return self._lesson

    def predictor_sums(self) -> tuple[PredictorSums, PredictorSums]:
        """Return what predictors are fitted to, over queries of fold 0 and of fold 1."""
        return lessons.sums_for_predictors(self.replayed.rows, self.index(), self._taught())

    def gradient(self, w: FloatArray, part: PartOfStep) -> GradientPart:
        """Return what its lists add to a step at weights (p,).

        Raises:
            ReplayError: code `unprepared`.
            DivergedError: Something that a list says was not finite.
        """
        return lessons.gradient_of(self.replayed.rows, self._taught(), w, part)

    def surprises(self, seqs: IntArray, beta: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return those of the seqs that are there, and how surprising each is to a predictor: its new priority."""
        return lessons.surprises_of(self.replayed.rows, seqs, beta, self._taught())

    # ---- judging

    def candidates(self, after: int) -> tuple[Candidates, dict[int, str | None]]:
        """Return what may judge a proposal made at this seq, in its order, and the names of the segments' codes."""
        return candidates_of(self.replayed.rows, after=after), self.replayed.segment_names()

    def guards(self, n: int) -> Candidates:
        """Return so many newest events of users that are never learned from, in their order."""
        return candidates_of(self.replayed.rows, n_newest_held_out=n)

    def judge(
        self, question: Question, seqs: IntArray, shares: dict[int, tuple[tuple[int, float], ...]], newest: IntArray
    ) -> JudgedPart:
        """Return numbers of the judged events that live here, and sums over them; see `evidence.ShardEvidence`."""
        return self._evidence.judge(question, seqs, shares, newest)

    def judge_again(
        self,
        question: Question,
        seqs: IntArray,
        shares: dict[int, tuple[tuple[int, float], ...]],
        newest: IntArray,
        ratios: PrefixRatios | None,
        sums: ClickSums,
    ) -> SecondPart:
        """Return the second round over the events of the first."""
        return self._evidence.judge_again(question, seqs, shares, newest, ratios, sums)

    def guard(self, question: Question, seqs: IntArray) -> FloatArray:
        """Return the differences on held-out events, float64 (n,)."""
        return self._evidence.guard(question, seqs)

    def log(self, question: Question, seqs: IntArray) -> LogPart:
        """Return numbers of lists whose propensities are to be checked."""
        return self._evidence.log(question, seqs)

    # ---- examination

    def events_by_user(self) -> tuple[IntArray, IntArray]:
        """Return how many events each user has, of lists without a drawn pair and of lists with one."""
        return events_by_user(self.replayed.rows)

    def looks(self, reading: Reading, usual: Usual) -> Looks:
        """Return sums over the lists that tell who looked; those of all shards add up."""
        return looks_in(self.replayed.rows, reading, usual)


def _no_experience(seq: int) -> Experience:
    raise ReplayError("a shard keeps rows, not whole experiences", field="seq", value=seq, hint="Ask the store.")
