"""Judged documents as svmlight lines with `qid`, as LETOR has them: what learning-to-rank tools read.

A line per document shown, its reward as label; a comment says which it was and how likely it was shown and looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from dwell.loop.exports.escapes import safe_word
from dwell.loop.exports.feature_texts import feature_texts
from dwell.loop.exports.pieces import Piece, StoreNames, has_policy, is_learned
from dwell.loop.recorded_events import RecordedEvent

__all__ = ["svmlight"]

_PLAIN: Final = "dwell svmlight 1"


def svmlight(events: Iterable[RecordedEvent], names: StoreNames) -> Iterator[Piece]:
    """Yield a head of comments that names the features, then the lines of each event that is over and has features."""
    head = [f"# {_PLAIN}", *(f"# {j} {safe_word(name)}" for j, name in enumerate(names.features, start=1))]
    yield Piece(("\n".join(head) + "\n").encode())
    for event in events:
        if is_learned(event.impression, event.outcome):
            yield Piece("".join(_lines(event, names.features)).encode(), 1)


def _lines(event: RecordedEvent, names: Sequence[str]) -> Iterator[str]:
    impression, outcome = event.impression, event.outcome
    rewards, exposure = outcome.document_rewards, outcome.exposure
    assert rewards is not None  # noqa: S101 - `is_learned` said so
    texts = feature_texts(impression, names, impression.served)
    at = {doc: i for i, doc in enumerate(impression.documents)}
    is_known = has_policy(impression) and not impression.swap_pair
    for rank, doc in enumerate(impression.served):
        i = at.get(doc)
        if i is None or rank >= len(rewards):
            continue  # shown below what is learned from: its features were not kept
        pairs = " ".join(f"{j}:{text}" for j, text in enumerate(texts[doc], start=1) if text)
        about = [f"event={safe_word(impression.event_id)}", f"doc={safe_word(doc)}", f"rank={rank + 1}"]
        if is_known:
            about.append(f"propensity={float(impression.propensities[rank])!r}")
        if exposure is not None and i < len(exposure):
            about.append(f"exposure={exposure[i]!s}")
        yield f"{rewards[rank]!s} qid:{impression.seq} {pairs} # {' '.join(about)}\n"
