"""What every store promises of signals, params, the ledger, statistics and erasure."""
# ruff: noqa: D102 - the test's name says what it shows

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np

from dwell.errors import (
    StorageError,
)
from dwell.records import Adjustment, Estimate, GateDecision, LowRank, Params, RawScore, Transform
from dwell.storage.protocol import Answer, PairStatistics, Quarantined, Reader, Role, Store
from dwell.testing.store_samples import (
    USERS,
    Refused,
    equal,
    opened,
    same_record,
    sample_impression,
    sample_signal,
    true,
)

__all__ = ["FactContract"]


class FactContract:
    """The part of `StoreContract` about everything that is joined to events, or stands beside them."""

    def open_store(self, place: Path, *, tenant: str = "", role: Role = "owner") -> Store:
        """Return the store of a place, opened as asked; each test has a place of its own."""
        raise NotImplementedError

    # ------------------------------------------------------------ signals

    def test_signals_do_not_depend_on_their_order_of_arrival(self, tmp_path: Path) -> None:
        given = [
            sample_signal("a", at=2.0),
            sample_signal("a", at=1.0, value=0.5),
            sample_signal("a", at=1.0, doc=None),
            sample_signal("a", at=1.0, name="a click"),
            sample_signal("a", at=1.0, idempotency_key="k"),
        ]
        found = []
        for i, order in enumerate(itertools.islice(itertools.permutations(given), 0, None, 17)):
            with opened(self, tmp_path / str(i)) as store:
                with store.transaction() as tx:
                    tx.add_impression(sample_impression("a"))
                    for signal in order:
                        equal(tx.add_signal(1, signal), "added")
                with store.snapshot() as reader:
                    found.append(reader.signals([1, 2]))
        equal([signals for signals in found if signals != found[0]], [])
        equal(found[0][2], [])
        equal(
            [(signal.at, signal.name, signal.doc is None) for signal in found[0][1][:2]],
            [
                (1.0, "a click", False),
                (1.0, "click", True),
            ],
        )
        equal(set(found[0][1]), set(given))

    def test_a_signal_is_stored_once(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                for name in "ab":
                    tx.add_impression(sample_impression(name))
                keyed = sample_signal("a", idempotency_key="k")
                retried = dataclasses.replace(keyed, at=9.0, received_at=10.0)
                for tries in (("added", "added"), ("duplicate", "duplicate")):
                    equal((tx.add_signal(1, sample_signal("a")), tx.add_signal(1, keyed)), tries)
                    equal(tx.add_signal(1, dataclasses.replace(keyed, value=2.0)), "conflict")
                equal(tx.add_signal(1, retried), "duplicate")
                equal(tx.add_signal(1, sample_signal("a", received_at=77.0)), "duplicate")
                equal(tx.add_signal(2, sample_signal("b", idempotency_key="k")), "added")
                with Refused(StorageError, "unknown_event"):
                    tx.add_signal(3, sample_signal("c"))
            with store.transaction() as tx:
                equal(tx.add_signal(1, sample_signal("a")), "duplicate")
                equal(tx.signals([1])[1].count(keyed), 1)
                equal(tx.counts()["signals"], 3)

    def test_orphans_are_parked_and_taken_once(self, tmp_path: Path) -> None:
        early, late = sample_signal("x", received_at=10.0), sample_signal("x", at=5.0, received_at=20.0)
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                equal([tx.add_orphan(s) for s in (early, late, early)], ["added", "added", "duplicate"])
                equal(tx.add_orphan(sample_signal("y", received_at=30.0)), "added")
                equal(tx.drop_orphans(10.0), 0)
                equal(tx.drop_orphans(20.0), 1)
                equal((tx.orphans("x"), tx.orphans("z"), tx.counts()["orphans"]), ([late], [], 2))
            with store.transaction() as tx:
                equal((tx.take_orphans("x"), tx.take_orphans("x")), ([late], []))
            with store.snapshot() as reader:
                equal((reader.orphans("x"), len(reader.orphans("y"))), ([], 1))

    def test_answers_are_kept_by_key_until_they_are_dropped(self, tmp_path: Path) -> None:
        old, new = Answer("k", b"d" * 16, b"first", 10.0000004), Answer("l", b"e" * 16, b"", 20.0)
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.put_answer(old)
                tx.put_answer(new)
                equal((tx.answer("k"), tx.answer("m")), (Answer("k", b"d" * 16, b"first", 10.0), None))
                tx.put_answer(Answer("k", b"f" * 16, b"second", 11.0))
            with store.snapshot() as reader:
                equal((reader.answer("k"), reader.answer("l")), (Answer("k", b"f" * 16, b"second", 11.0), new))
            with store.transaction() as tx:
                equal((tx.drop_answers(11.0), tx.drop_answers(20.0), tx.answer("k"), tx.answer("l")), (0, 1, None, new))

    # ------------------------------------------------------------ params, ledger, settings, quarantine

    def test_params_come_back_bit_for_bit(self, tmp_path: Path) -> None:
        learned = Params(
            version=7,
            weights={"b": 1 / 3, "a": -0.0},
            temperature=0.1,
            transform=Transform(
                knots=(np.array([1e-300, 2.0]), np.array([0.0])), levels=(np.array([-1 / 3, 1.0]), np.array([0.0]))
            ),
            raw_score=RawScore(weights=(1 / 3, 2.0), mean=1 / 7, sd=1 / 9, coefficient=-1 / 11),
            origin="learned",
            parent=0,
            created_at=12.5,
        )
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.add_params(learned)
                tx.add_params(Params(version=0, weights={"x": 1.0}))
                with Refused(StorageError, "duplicate_version"):
                    tx.add_params(Params(version=7, weights={"x": 1.0}))
                with Refused(StorageError, "unknown_version"):
                    tx.set_live(1)
                tx.set_live(7)
            with store.snapshot() as reader:
                equal((reader.params_versions(), reader.live_version(), reader.params(1)), ([0, 7], 7, None))
                found = reader.params(7)
            if found is None or found.transform is None or learned.transform is None:
                raise AssertionError(f"the params are not there: {found!r}")
            equal(list(found.weights), ["b", "a"])
            same_record(found, learned, besides=("transform", "weights", "_raw_vector"))
            for pair in zip(found.transform.knots, learned.transform.knots, strict=True):
                equal(*(knots.tobytes() for knots in pair))
            features = np.array([[0.5, 1.0], [3.0, -2.0]])
            equal(found.score(features).tobytes(), learned.score(features).tobytes())

    def test_what_params_add_by_segment_and_by_query_comes_back_bit_for_bit(self, tmp_path: Path) -> None:
        adjusted = Params(
            version=3,
            weights={"b": 1 / 3, "a": -0.0},
            by_segment={"de": Adjustment({"a": 1 / 7}), "\N{SNOWMAN}": Adjustment({"b": -1e-300})},
            by_query=LowRank(np.array([[1 / 3], [-1 / 7]]), np.array([[1 / 9], [2.0], [-0.0]])),
        )
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.add_params(adjusted)
            with store.snapshot() as reader:
                found = reader.params(3)
        if found is None or found.by_query is None or adjusted.by_query is None:
            raise AssertionError(f"the params are not there: {found!r}")
        equal(dict(found.by_segment), dict(adjusted.by_segment))
        equal(list(found.by_segment), ["de", "\N{SNOWMAN}"])
        equal(found.by_query.u.tobytes(), adjusted.by_query.u.tobytes())
        equal(found.by_query.v.tobytes(), adjusted.by_query.v.tobytes())
        features, e = np.array([[0.5, 1.0], [3.0, -2.0]]), np.array([1.0, 2.0, 3.0])
        for segment in ("de", None):
            expected = adjusted.score(features, segment=segment, query_embedding=e)
            equal(found.score(features, segment=segment, query_embedding=e).tobytes(), expected.tobytes())

    def test_the_ledger_is_appended_to(self, tmp_path: Path) -> None:
        given = [
            GateDecision(
                "hold",
                [f"unsupported: number {i}"],
                Estimate(1 / 3, -math.inf, math.inf, i, 0.5),
                {"veto": Estimate(0.0, -1.0, 1.0, 2, 1.0)},
                {"share": 1 / 7},
                proposed_version=i,
                decided_at=12.5,
            )
            for i in range(4)
        ]
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                for decision in given:
                    tx.add_decision(decision)
            with store.snapshot() as reader:
                equal((reader.decisions(), reader.decisions(limit=2)), (given, given[2:]))
                equal(reader.decisions(limit=0), [])

    def test_settings_of_tenant_and_store_are_apart(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.put_setting("k", b"tenant")
                tx.put_store_setting("k", b"store")
                tx.put_setting("k", b"\x00tenant")
            with store.snapshot() as reader:
                equal(
                    (reader.setting("k"), reader.store_setting("k"), reader.setting("l")),
                    (b"\x00tenant", b"store", None),
                )

    def test_quarantine_is_listed_newest_first(self, tmp_path: Path) -> None:
        given = [Quarantined(name, "non_finite: bm25", float(i), USERS[0]) for i, name in enumerate("aba")]
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                for quarantined in given:
                    tx.add_quarantined(quarantined)
            with store.snapshot() as reader:
                equal(reader.quarantined(), given[::-1])
                equal(reader.quarantined(event_id="a", limit=1), given[2:])
                equal(reader.counts()["quarantined"], 3)

    # ------------------------------------------------------------ statistics and erasure

    @staticmethod
    def _pair(**changes: Any) -> PairStatistics:  # noqa: ANN401 - fields of any type
        made = PairStatistics(
            query_hash=bytes(16),
            segment="",
            doc="d",
            n=1.0,
            exposure=0.5,
            credit=0.25,
            users=(),
            at=100.0,
        )
        return dataclasses.replace(made, **changes)

    def test_statistics_decay_and_need_five_users(self, tmp_path: Path) -> None:
        marks = [bytes([i]) * 8 for i in range(7)]
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                four = [self._pair(users=(mark, mark)) for mark in marks[:4]]
                tx.merge_statistics(four, half_life_s=10.0, most=9)
                equal(tx.statistics(bytes(16)), [])
                tx.merge_statistics([self._pair(users=(marks[4],), at=110.0)], half_life_s=10.0, most=9)
                tx.merge_statistics([self._pair(users=(marks[5],), at=100.0)], half_life_s=10.0, most=9)
                tx.merge_statistics([self._pair(segment="other", users=tuple(marks))], half_life_s=10.0, most=9)
            with store.snapshot() as reader:
                found = reader.statistics(bytes(16))
                equal(len(reader.statistics(bytes(16), "other")), 1)
            # four at 100 and one more count half at 110, where the fifth counts in full
            equal([(pair.n, pair.exposure, pair.credit, pair.at) for pair in found], [(3.5, 1.75, 0.875, 110.0)])
            equal(set(found[0].users), set(marks[:5]))

    def test_statistics_are_bounded_by_worth(self, tmp_path: Path) -> None:
        marks = tuple(bytes([i]) * 8 for i in range(5))
        pairs = [
            self._pair(doc="few users", users=marks[:1], at=300.0),
            self._pair(doc="old", users=marks, at=100.0),
            self._pair(doc="new", users=marks, at=200.0),
        ]
        with opened(self, tmp_path) as store, store.transaction() as tx:
            tx.merge_statistics(pairs, half_life_s=10.0, most=2)
            equal([pair.doc for pair in tx.statistics(bytes(16))], ["new", "old"])
            tx.merge_statistics([], half_life_s=10.0, most=1)
            equal([pair.doc for pair in tx.statistics(bytes(16))], ["new"])

    def test_erasure_covers_everything_of_a_user(self, tmp_path: Path) -> None:
        gone, stays = USERS[0].replace("0", "a"), USERS[1].replace("0", "b")
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                for name, user in (("a", gone), ("b", stays), ("c", gone)):
                    seq = tx.add_impression(sample_impression(name, user=user))
                    tx.add_signal(seq, sample_signal(name))
                    tx.add_quarantined(Quarantined(f"q{name}", "storage", 1.0, user))
                    tx.add_orphan(sample_signal(f"q{name}"))
                    mark = bytes.fromhex(user)[:8]
                    others = tuple(bytes([i]) * 8 for i in range(4))
                    tx.merge_statistics([self._pair(doc=name, users=(mark, *others))], half_life_s=1.0, most=9)
                true(not tx.is_erased(gone), "erased before it was asked for")
            with store.transaction() as tx:
                equal(tx.erase_user(gone, at=5.0), [1, 3])
            with store.snapshot() as reader:
                true(reader.is_erased(gone) and not reader.is_erased(stays), "the tombstone is wrong")
                equal(reader.seqs(), [2])
                equal((reader.orphans("qa"), len(reader.orphans("qb"))), ([], 1))
                equal([found.event_id for found in reader.quarantined()], ["qb"])
                equal([pair.doc for pair in reader.statistics(bytes(16))], ["b"])
                counts = reader.counts()
                equal((counts["open"], counts["signals"], counts["erased_users"]), (1, 1, 1))
            store.scrub()
            with store.transaction() as tx:
                equal(tx.erase_user(gone, at=6.0), [])
                equal(tx.add_impression(sample_impression("d")), 4)

    def test_size_follows_the_facts(self, tmp_path: Path) -> None:
        def size(reader: Reader) -> int:
            return reader.size_bytes()

        with opened(self, tmp_path) as store:
            with store.snapshot() as reader:
                empty = size(reader)
            with store.transaction() as tx:
                for i in range(300):
                    tx.add_impression(sample_impression(f"e{i}", query="q" * 1000))
            with store.snapshot() as reader:
                full = size(reader)
            with store.transaction() as tx:
                tx.delete_events(range(1, 301))
            store.scrub()
            with store.snapshot() as reader:
                left = size(reader)
        true(full - empty > 300_000, f"300 events of more than 1,000 bytes took {full - empty}")
        true(left - empty < 0.2 * (full - empty), f"{left} bytes are left of {full}, an empty store has {empty}")

    def test_a_span_goes_as_a_whole_or_not_at_all(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                for i in range(1, 13):
                    tx.add_signal(tx.add_impression(sample_impression(f"e{i}")), sample_signal(f"e{i}"))
            with store.transaction() as tx:
                left = tx.seqs()
                spans = tx.spans()
                for first, last in [*spans, (2, 1)]:
                    mine = [seq for seq in left if first <= seq <= last]
                    n = tx.drop_span(first, last)
                    if n is not None:
                        equal(n, len(mine))
                        left = [seq for seq in left if seq not in mine]
                    equal(tx.seqs(), left)
                equal(tx.drop_span(1, 12), None)  # no span: the number to come is behind it
                equal(len([span for span in spans if span[1] > 12]), 0)
            with store.transaction() as tx:
                equal(tx.seqs(), left)
                equal(len(tx.signals(range(1, 13))), 12)
                equal([seq for seq, found in tx.signals(range(1, 13)).items() if found], left)
                equal(tx.add_impression(sample_impression("e1" if 1 not in left else "e13")), 13)
            equal(store.verify(), [])

    def test_a_sound_store_shows_no_damage(self, tmp_path: Path) -> None:
        with opened(self, tmp_path) as store:
            with store.transaction() as tx:
                tx.add_impression(sample_impression("a"))
            equal(store.verify(), [])
