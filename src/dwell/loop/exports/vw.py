"""Examples of Vowpal Wabbit's contextual bandits with action-dependent features (`--cb_adf`, `--cb_explore_adf`).

An example per list: its actions are the candidates that were kept, in the caller's order, and the choice is the
document that was shown on top, labelled `0:cost:probability` with cost = -reward and the probability as it was logged.
What stood below is no choice of its own in this format, and is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from dwell.loop.exports.escapes import safe_word
from dwell.loop.exports.feature_texts import feature_texts
from dwell.loop.exports.pieces import Piece, StoreNames, has_policy, is_learned
from dwell.loop.recorded_events import RecordedEvent

__all__ = ["vw"]


def vw(events: Iterable[RecordedEvent], names: StoreNames) -> Iterator[Piece]:
    """Yield one example per event that is over, has features, and whose first document was one policy's choice."""
    words = [safe_word(name) for name in names.features]
    for event in events:
        impression = event.impression
        if not is_learned(impression, event.outcome) or not has_policy(impression):
            continue
        if impression.served[0] in impression.documents:
            yield Piece("".join(_lines(event, names.features, words)).encode(), 1)


def _lines(event: RecordedEvent, names: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    impression, rewards = event.impression, event.outcome.document_rewards
    assert rewards is not None  # noqa: S101 - `is_learned` said so
    shared = [f"shared '{safe_word(impression.event_id)}|query", *map(safe_word, impression.query.split())]
    if impression.segment is not None:
        shared.append(f"|segment {safe_word(impression.segment)}")
    yield " ".join(shared) + "\n"
    texts = feature_texts(impression, names, impression.documents)
    cost = -float(rewards[0]) + 0.0  # no -0.0
    label = f"0:{cost!r}:{float(impression.propensities[0])!r} "
    for i in np.argsort(impression.document_scores, kind="stable").tolist():
        doc = impression.documents[i]
        pairs = " ".join(f"{word}:{text}" for word, text in zip(words, texts[doc], strict=True) if text)
        yield f"{label if doc == impression.served[0] else ''}'{safe_word(doc)}|doc {pairs}\n"
    yield "\n"
