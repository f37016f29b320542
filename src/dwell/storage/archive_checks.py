"""What an event that comes from a file must be like before anything is learned from it or stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from dwell.errors import RecordError
from dwell.records import Impression, Signal, checks
from dwell.records.impression import MAX_LOGGED_SCORES
from dwell.storage.protocol import MAX_SIGNALS_PER_EVENT, Outcome
from dwell.storage.rows import outcome_row

__all__ = ["check_archived"]

_MOST_DOCUMENTS: Final = 1_000  # as `dwell.open(max_candidates=...)` allows
_MOST_SERVED: Final = 100_000  # a list may be longer than what is learned from it
_MOST: Final = 2**31
_LARGEST: Final = float(np.finfo(np.float32).max)


def check_archived(impression: Impression, outcome: Outcome, signals: Sequence[Signal]) -> None:
    """Return where an event is one that a store could hold.

    Raises:
        RecordError: It is not; names the field.
    """
    _check_who(impression)
    _check_numbers(impression)
    _check_arrays(impression)
    outcome_row(outcome)
    n_served, n_kept = len(impression.served), len(impression.documents)
    _check("document_rewards", outcome.document_rewards, n_served, -1.0, 1.0)
    _check("exposure", outcome.exposure, n_kept, 0.0, _MOST)
    _check("exposure_se", outcome.exposure_se, n_kept, 0.0, _MOST)
    if outcome.predicted_reward is not None:
        checks.within(outcome.predicted_reward, "predicted_reward", -1.0, 1.0)
    if len(signals) > MAX_SIGNALS_PER_EVENT:
        raise _wrong("signals", len(signals))
    for signal in signals:
        checks.identifier(signal.name, "signals.name")
        checks.optional_identifier(signal.doc, "signals.doc")
        checks.finite(signal.value, "signals.value")
        checks.timestamp(signal.at, "signals.at")
        checks.timestamp(signal.received_at, "signals.received_at")
        checks.optional_identifier(signal.idempotency_key, "signals.idempotency_key")


def _check_who(impression: Impression) -> None:
    if not 1 <= impression.seq < 2**63:
        raise _wrong("seq", impression.seq)
    checks.event_id(impression.event_id)
    checks.query_text(impression.query)
    checks.optional_identifier(impression.user, "user")
    checks.optional_identifier(impression.segment, "segment")
    checks.identifiers(impression.served, "served") if impression.served else None
    checks.identifiers(impression.documents, "documents") if impression.documents else None
    if impression.feature_names:
        checks.feature_names(impression.feature_names)


def _check_numbers(impression: Impression) -> None:
    checks.timestamp(impression.served_at, "served_at")
    if impression.activated_at is not None:
        checks.timestamp(impression.activated_at, "activated_at")
    if not 0 <= impression.params_version < _MOST or not 0 <= impression.n_candidates < _MOST:
        raise _wrong("params_version", (impression.params_version, impression.n_candidates))
    checks.within(impression.temperature, "temperature", 0.0, 100.0)
    checks.within(impression.score_sd, "score_sd", 0.0, np.inf)
    checks.within(impression.keep_probability, "keep_probability", np.nextafter(0.0, 1.0), 1.0)
    if not impression.rest_logsumexp < np.inf:  # NaN as well; minus infinity where all scores are logged
        raise _wrong("rest_logsumexp", impression.rest_logsumexp)
    if not 0 <= impression.swap_pair < _MOST_SERVED:
        raise _wrong("swap_pair", impression.swap_pair)
    if impression.teams and len(impression.teams) != len(impression.served):
        raise _wrong("teams", len(impression.teams))


def _check_arrays(impression: Impression) -> None:
    n_served, n_kept = len(impression.served), len(impression.documents)
    if n_kept > _MOST_DOCUMENTS:
        raise _wrong("documents", n_kept)
    tiny = float(np.nextafter(0.0, 1.0))
    # of an activated list the documents added by hand have no probability
    n_likely = len(impression.propensities) if impression.activated_at is not None else n_served
    _check("propensities", impression.propensities, n_likely, tiny, 1.0)
    _check("inclusion", impression.inclusion, n_kept, tiny, 1.0)
    _check("document_scores", impression.document_scores, n_kept, 0, max(impression.n_candidates - 1, 0))
    if len(impression.scores) > MAX_LOGGED_SCORES:
        raise _wrong("scores", len(impression.scores))
    _check("scores", impression.scores, len(impression.scores), -_LARGEST, _LARGEST)
    rows, columns = impression.features.shape
    if (rows, columns) != (0, 0) and (rows, columns) != (n_kept, len(impression.feature_names)):
        raise _wrong("features", impression.features.shape)
    if np.isinf(impression.features).any():  # NaN is a feature that did not exist when the event was served
        raise _wrong("features", "inf")
    if impression.query_embedding is not None:
        checks.embedding(impression.query_embedding)


def _check(name: str, values: npt.NDArray[np.generic] | None, n: int, low: float, high: float) -> None:
    if values is None:
        return
    if len(values) != n:
        raise _wrong(name, f"{len(values)} values for {n}")
    if n and not (low <= values.min() and values.max() <= high):  # NaN is in no order
        raise _wrong(name, "out of range, or not finite")


def _wrong(field: str, value: object) -> RecordError:
    return RecordError("this can not be so", code="range", field=field, value=value, hint="Remove the row.")
