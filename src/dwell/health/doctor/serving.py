"""Does serving alone change the order? The same question asked twice, with nothing said in between."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from dwell.health.doctor.diagnosis import Checked, Looked, finding
from dwell.health.doctor.evidence import Evidence
from dwell.records import Impression
from dwell.records.arrays import FloatArray

__all__ = ["repeats"]

_AT_ONCE_S: Final = 600.0  # within ten minutes: what depends on time alone, as an age, has hardly moved
_LEAST_PAIRS: Final = 5
_LEAST_MOVED: Final = 3
_MOVED_SHARE: Final = 0.1


def repeats(evidence: Evidence) -> Checked:
    """Return whether calls that asked the same were scored in another order though nobody reacted in between."""
    heard = np.sort([s.received_at for e in evidence.events for s in e.signals])
    before: dict[object, Impression] = {}
    n_pairs = 0
    moved: Counter[str] = Counter()
    n_moved = 0
    for event in evidence.events:
        shown = event.impression
        if not shown.has_features or shown.policy == "caller" or shown.n_candidates != len(shown.documents):
            continue
        key = (shown.query, frozenset(shown.documents), shown.params_version, shown.segment, shown.feature_names)
        last, before[key] = before.get(key), shown
        if last is None or not 0.0 <= shown.served_at - last.served_at <= _AT_ONCE_S or shown.n_candidates < 2:
            continue
        if np.searchsorted(heard, shown.served_at, "right") > np.searchsorted(heard, last.served_at, "left"):
            continue
        columns = _differing(last, shown)
        if columns is None:
            continue
        n_pairs += 1
        if _is_reordered(last, shown):
            n_moved += 1
            moved.update(columns)
    return _told(n_pairs, n_moved, moved, evidence)


def _differing(first: Impression, second: Impression) -> list[str] | None:
    """Return the features that differ between two calls; None where the calls did not ask the same.

    They did where some feature that tells the candidates apart is what it was, bit for bit, for each of them.
    """
    x, y = first.features, second.features[_as_in(first, second)]
    is_same = ((x == y) | (np.isnan(x) & np.isnan(y))).all(axis=0)
    is_telling = (x != x[0]).any(axis=0)
    if not (is_same & is_telling).any():
        return None
    return [name for name, same in zip(first.feature_names, is_same, strict=True) if not same]


def _as_in(first: Impression, second: Impression) -> list[int]:
    at = {doc: i for i, doc in enumerate(second.documents)}
    return [at[doc] for doc in first.documents]


def _is_reordered(first: Impression, second: Impression) -> bool:
    """Return whether two documents changed places by their scores, whatever was drawn."""
    a = _scores(first)
    b = _scores(second)[_as_in(first, second)]
    return bool((np.sign(a[:, None] - a[None, :]) * np.sign(b[:, None] - b[None, :]) < 0.0).any())


def _scores(shown: Impression) -> FloatArray:
    return shown.scores[shown.document_scores].astype(np.float64)


def _told(n_pairs: int, n_moved: int, moved: Counter[str], evidence: Evidence) -> Checked:
    title = "Does serving alone change the order?"
    if n_pairs < _LEAST_PAIRS:
        words = f"{n_pairs} calls were asked again with nothing said in between: from {_LEAST_PAIRS} on it can be told"
        return Checked(Looked("repeats", title, words, is_judged=False))
    words = f"{n_moved} of {n_pairs} calls that were asked again, with nothing said in between, changed their order"
    looked = Looked("repeats", title, words)
    if n_moved < max(_LEAST_MOVED, _MOVED_SHARE * n_pairs):
        return Checked(looked)
    name = moved.most_common(1)[0][0] if moved else "score"
    message = f"{words}: {name!r} moves by serving alone, so that what is shown often is shown more often"
    remedy = f"Let {name!r} count what users did with a document, not that it was shown."
    if name in evidence.own_features:
        remedy = f"Rebuild it from the facts: loop.activation.rebuild(); {name!r} is made by the loop."
    figures = {"n_repeated": n_pairs, "n_reordered": n_moved}
    return Checked(looked, (finding("order_moves_by_serving", "warning", message, remedy, figures),))
