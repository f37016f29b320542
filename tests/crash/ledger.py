"""What a store must hold after a crash, compared record by record with what its children were told is durable."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from loop_child import FEATURES, check_features, check_text, n_clicks_of

from dwell.records import Impression
from dwell.records.signal import Signal
from dwell.storage import Outcome, Reader, Store


@dataclass
class Ledger:
    """Everything acknowledged so far, and what was found of it.

    Attributes:
        acknowledged: Ids of events whose clicks were answered.
        checked: Highest seq whose content was compared; a later crash may not change it.
        n_lost: Acknowledged events that are gone, or without their clicks.
        n_torn: Events or outcomes that differ from what was written.
        n_half: Calls of four clicks of which some are there and some not.
        n_unacknowledged: Events that were durable before anybody was told.
        n_refused: Events whose clicks were answered with a refusal, where the test makes that happen.
    """

    acknowledged: set[str] = field(default_factory=set)
    checked: int = 0
    n_runs: int = 0
    n_acknowledged: int = 0
    n_lost: int = 0
    n_torn: int = 0
    n_half: int = 0
    n_unacknowledged: int = 0
    n_refused: int = 0
    damages: list[str] = field(default_factory=list)

    def took(self, lines: list[str]) -> None:
        """Take over what one child said before it was killed."""
        said = [line for line in lines if line != "open"]
        assert not any(line.startswith("!") for line in said), [line for line in said if line.startswith("!")][:3]
        self.acknowledged.update(said)
        self.n_acknowledged += len(said)
        self.n_runs += 1

    def check(self, store: Store, *, everything: bool = False) -> None:
        """Compare what came since the last check, or everything, and count what is wrong.

        What was lost is forgotten, so that it counts once.
        """
        if everything:
            self.damages.extend(store.verify())
        with store.snapshot() as reader:
            seqs = reader.seqs(after=0 if everything else self.checked)
            if everything:
                self.n_torn += reader.seqs() != list(range(1, reader.last_seq() + 1))
            n_clicks = self._compare(reader, seqs)
            gone = [e for e in self.acknowledged if e not in n_clicks and not self._is_there(reader, e)]
            gone += [e for e, n in n_clicks.items() if e in self.acknowledged and n != n_clicks_of(e)]
            self.checked = reader.last_seq()
        self.n_lost += len(gone)
        self.acknowledged.difference_update(gone)
        if not everything:
            self.n_unacknowledged += len(n_clicks.keys() - self.acknowledged)

    def _compare(self, reader: Reader, seqs: list[int]) -> dict[str, int]:
        n_clicks = {}
        signals = reader.signals(seqs)
        outcomes = {outcome.seq: outcome for outcome in reader.outcomes(seqs)}
        for impression in reader.impressions(seqs):
            of_event = signals[impression.seq]
            n_clicks[impression.event_id] = len(of_event)
            self.n_half += len(of_event) not in {0, n_clicks_of(impression.event_id)}
            self.n_torn += not is_whole(impression, of_event, outcomes[impression.seq])
        self.n_torn += len(n_clicks) != len(seqs)
        return n_clicks

    @staticmethod
    def _is_there(reader: Reader, event_id: str) -> bool:
        event = reader.event(event_id)
        return event is not None and len(reader.signals([event.seq])[event.seq]) == n_clicks_of(event_id)

    def told(self, what: str) -> str:
        """Return the counts in one line."""
        return (
            f"\n{self.n_runs} {what}: {self.n_acknowledged} events acknowledged, {self.n_lost} lost, "
            f"{self.n_torn} torn, {self.n_half} half batches, {len(self.damages)} damages; "
            f"{self.n_unacknowledged} were durable and not yet acknowledged"
        )

    def demand_nothing_wrong(self) -> None:
        """Demand that nothing was torn, halved or damaged; lost is for the caller to judge."""
        assert (self.n_torn, self.n_half, self.damages) == (0, 0, [])


def is_whole(impression: Impression, signals: list[Signal], outcome: Outcome) -> bool:
    """Return whether an event holds what its child wrote, and its outcome is one that can be."""
    event_id = impression.event_id
    expected = np.array([check_features(event_id, doc) for doc in impression.documents], dtype=np.float32)
    columns = [impression.feature_names.index(name) for name in FEATURES]
    is_sound = (
        impression.query == check_text(event_id)
        and impression.features[:, columns].tobytes() == expected.tobytes()
        and sorted(impression.documents) == sorted(f"{event_id}/doc-{j}" for j in range(len(expected)))
        and all(s.name == "click" and s.value == 1.0 and s.doc in impression.served for s in signals)
    )
    if outcome.state == "open":
        return is_sound and outcome.reward is None
    rewards = outcome.document_rewards
    clicked = {signal.doc for signal in signals}
    return (
        is_sound
        and outcome.reward is not None
        and math.isfinite(outcome.reward)
        and rewards is not None
        # a click is the only signal: a document has a reward where one is stored, and nowhere else
        and {doc for doc, reward in zip(impression.served, rewards, strict=True) if reward > 0.0} == clicked
    )
