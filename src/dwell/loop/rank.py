"""The whole of one ranking call: check, answer retries, serve, record, and fall back rather than fail."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from dwell.errors import DwellError, FeatureSchemaError, RecordError, StorageError
from dwell.loop.candidates import Candidates, read_array, read_dicts, read_rows, readable_ids
from dwell.loop.first_version import write_first_version
from dwell.loop.follow import follow
from dwell.loop.ids import new_event_id
from dwell.loop.ingest import fix_dimension, quarantine, submit_impression
from dwell.loop.rows import hold_out_share
from dwell.loop.serve import Request, Serving, caller_scores, drawn_elsewhere, listed_elsewhere, serve, serve_drafted
from dwell.loop.state import MAX_RECENT, LoopState
from dwell.loop.warm_up import note_served
from dwell.records import Impression, Params, Served, checks
from dwell.records.arrays import Float32Array, FloatArray
from dwell.records.impression import MAX_LOGGED_SCORES, Arm
from dwell.storage import pseudonym

__all__ = ["DrawnElsewhere", "ExternalList", "external_list", "log_external", "rank", "shown_of"]

_CANARY_SALT: Final = b"canary"
_ROUNDING: Final = 1e-3  # logs write probabilities with a few digits


def rank(
    state: LoopState,
    query: object,
    candidates: object,
    *,
    ids: object,
    features: object,
    k: object,
    user: object,
    segment: object,
    query_embedding: object,
    event_id: object,
    activate: object,
    now: float | None,
    wall_clock: float,
) -> Served:
    """Return what to show; with a bad value or an internal error, the caller's own order and the reason as a code.

    Raises:
        RecordError: No ids can be read, or `k` is no positive integer; with a strict loop, any bad value.
    """
    n_shown = checks.positive_integer(k, "k", most=sys.maxsize)  # "all of them" is a fair wish
    moment = wall_clock
    try:
        moment = wall_clock if now is None else checks.timestamp(now, "now")
        _keep_up(state, moment)
        request = _request(
            state,
            query,
            event_id,
            n_shown,
            user=user,
            segment=segment,
            query_embedding=query_embedding,
            activate=activate,
            now=moment,
        )
        found = _with_activation(state, _candidates(state, candidates, ids, features), moment)
        if event_id is not None:
            recorded = _recorded(state, request, found)
            if recorded is not None:
                return recorded
        return _serve(state, found, request)
    except DwellError as error:
        if state.is_strict:
            raise
        return _fall_back(state, error, error.code, _Call(candidates, ids, event_id, n_shown, user, moment))
    except Exception as error:
        if state.is_strict:
            raise
        return _fall_back(
            state, error, f"internal:{type(error).__name__}", _Call(candidates, ids, event_id, n_shown, user, moment)
        )


def _keep_up(state: LoopState, now: float) -> None:
    """Take over what other processes promoted, and the first version when it is due; where that fails, serve on."""
    try:
        if not state.is_followed:
            follow(state)
        write_first_version(state, now)
    except StorageError:
        state.counters["refresh_failed"] += 1


def _request(
    state: LoopState,
    query: object,
    event_id: object,
    k: int,
    *,
    user: object,
    segment: object,
    query_embedding: object,
    activate: object,
    now: float,
) -> Request:
    return Request(
        event_id=new_event_id() if event_id is None else checks.event_id(event_id),
        query=checks.query_text(query),
        query_embedding=_embedding(state, query_embedding),
        user=_pseudonym(state, user),
        segment=checks.optional_identifier(segment, "segment"),
        k=k,
        is_shown=checks.boolean(activate, "activate"),
        now=now,
    )


def _pseudonym(state: LoopState, user: object) -> str | None:
    raw = checks.optional_identifier(user, "user")
    return None if raw is None else pseudonym(state.identity.pepper, state.identity.tenant, raw)


def _embedding(state: LoopState, given: object) -> Float32Array | None:
    if given is None:
        return None
    return checks.embedding(given, dim=state.limits.embedding_dim).astype(np.float32)


def _candidates(state: LoopState, candidates: object, ids: object, features: object) -> Candidates:
    if not state.feature_names:
        raise FeatureSchemaError(
            "no features are registered",
            field="features",
            value=(),
            hint="Open the store with features=[...], or use log_retrieval.",
        )
    if ids is None:
        if candidates is None:
            raise RecordError(
                "there are no candidates", code="results_shape", field="candidates", value=None, hint="Pass them."
            )
        return read_dicts(candidates, state.caller_order)
    if candidates is not None:
        raise RecordError(
            "candidates come as mappings or as ids with an array, not both",
            code="results_shape",
            field="ids",
            value="both",
            hint="Leave one of them out.",
        )
    if isinstance(ids, str | bytes) or not isinstance(ids, Sequence | np.ndarray) or _is_nested(ids):
        raise RecordError(
            "ids are a sequence of text", code="type", field="ids", value=type(ids).__name__, hint="Pass a list."
        )
    found = read_array(ids.tolist() if isinstance(ids, np.ndarray) else list(ids), features, state.caller_names)
    if state.caller_names == state.caller_order:
        return found
    columns = [state.caller_names.index(name) for name in state.caller_order]
    return Candidates(found.ids, np.ascontiguousarray(found.features[:, columns]))


def _with_activation(state: LoopState, found: Candidates, now: float) -> Candidates:
    """Return candidates with their activation as of now among the features: what came later can never be learned from.

    The loop's own features stand behind the caller's.
    """
    if state.activity is None:
        return found
    return Candidates(found.ids, np.concatenate([found.features, state.activity.features(found.ids, now)], axis=1))


def _is_nested(ids: object) -> bool:
    return isinstance(ids, np.ndarray) and ids.ndim != 1


def _recorded(state: LoopState, request: Request, found: Candidates) -> Served | None:
    """Return the recorded answer to a known event id, or None where it is new.

    Raises:
        RecordError: code `conflict`: the id was used for another query or other candidates.
    """
    with state.serving:
        recent = state.recent.get(request.event_id)
    if recent is not None:
        served, asked = recent
        is_same = asked == _digest(request.query, found.ids)
        served = _copied(served)
    else:
        with state.store.snapshot() as reader:
            event = reader.event(request.event_id)
            impressions = [] if event is None else reader.impressions([event.seq])
        if not impressions:
            return None
        impression = impressions[0]
        served = _served_again(impression, found.ids)
        is_same = impression.query == request.query and _are_same(impression, found.ids)
    if not is_same:
        raise RecordError(
            "this event id was used for another query or other candidates",
            code="conflict",
            field="event_id",
            value=request.event_id,
            hint="Use a new id for a new list; the same id only for a retry.",
        )
    state.counters["retried"] += 1
    return served


def shown_of(state: LoopState, event_id: str) -> list[str] | None:
    """Return the ids that an event's user saw, in order; None where the event is not on disk."""
    with state.store.snapshot() as reader:
        event = reader.event(event_id)
    return None if event is None else list(event.shown)


def _are_same(impression: Impression, ids: Sequence[str]) -> bool:
    """Return whether these are the candidates that an event was served from, as far as it logged them."""
    if impression.n_candidates != len(ids):
        return False
    if len(ids) > MAX_LOGGED_SCORES:  # positions among all candidates were not logged
        return set(impression.documents) <= set(ids)
    where = impression.document_scores.tolist()
    return all(ids[i] == doc for i, doc in zip(where, impression.documents, strict=True))


def _digest(query: str, ids: Sequence[str]) -> bytes:
    """Return 16 bytes that tell a query with its candidates from any other; NUL stands in neither."""
    return hashlib.blake2b("\0".join((query, *ids)).encode(), digest_size=16).digest()


def _copied(served: Served) -> Served:
    return replace(served, ids=list(served.ids), scores=served.scores.copy(), propensities=served.propensities.copy())


def _served_again(impression: Impression, ids: Sequence[str]) -> Served:
    where = dict(zip(impression.documents, impression.document_scores.tolist(), strict=True))
    if len(ids) <= MAX_LOGGED_SCORES:  # documents shown deeper than max_results are found by the caller's own order
        where = {doc: i for i, doc in enumerate(ids[: len(impression.scores)])} | where
    scores = [float(impression.scores[where[doc]]) if doc in where else np.nan for doc in impression.served]
    return Served(
        event_id=impression.event_id,
        ids=list(impression.served),
        scores=np.array(scores),
        propensities=impression.propensities[: len(impression.served)],
        params_version=impression.params_version,
    )


def _arm(state: LoopState, request: Request) -> tuple[Arm, Params, Params]:
    """Return which arm a user is served, by which params, and the live ones.

    In mode "canary" a stable share of users gets the standing proposal, or what it and the live params draft in turn.
    """
    proposed = state.proposed
    live = state.live
    if state.mode != "canary" or proposed is None or request.user is None:
        return "live", live, live
    if proposed.parent != live.version:  # another process moved the live params: the proposal improves on older ones
        return "live", live, live
    if hold_out_share(request.user, "", _CANARY_SALT) >= state.limits.canary_share:
        return "live", live, live
    return "interleave" if state.config.gate.canary_method == "interleave" else "canary", proposed, live


def _serve(state: LoopState, found: Candidates, request: Request) -> Served:
    arm, params, live = _arm(state, request)
    serving = state.how_to_serve(arm, params)
    if arm == "interleave":
        served, impression = serve_drafted(found, request, state.how_to_serve(arm, live), serving)
    else:
        served, impression = serve(found, request, serving)
    _record(state, served, impression, found)
    return served


def _record(state: LoopState, served: Served, impression: Impression, found: Candidates) -> None:
    if impression.query_embedding is not None:
        fix_dimension(state, impression.query_embedding)
    if submit_impression(state, impression):
        note_served(state, impression)
        _remember(state, served, impression.query, found)


def _remember(state: LoopState, served: Served, query: str, found: Candidates) -> None:
    remembered = (_copied(served), _digest(query, found.ids))
    with state.serving:
        state.recent[served.event_id] = remembered
        while len(state.recent) > MAX_RECENT:
            state.recent.popitem(last=False)


class _Call(NamedTuple):
    """What was asked for, unchecked."""

    candidates: object
    ids: object
    event_id: object
    k: int
    user: object
    now: float


def _fall_back(state: LoopState, error: Exception, code: str, call: _Call) -> Served:
    """Return the caller's own order: somebody's search must not fail because of us."""
    readable = readable_ids(call.candidates, call.ids)
    if readable is None:
        raise error
    event = _own_event_id(state, call.event_id)
    try:
        who = _pseudonym(state, call.user)
    except Exception:  # noqa: BLE001 - a hostile value: nothing is known of the user then
        who = None
    quarantine(state, event, _reason(error, code), user=who, now=call.now)
    state.counters["fallback"] += 1
    state.counters["unreadable_ids"] += readable.n_unreadable
    shown = readable.ids[: call.k]
    return Served(
        event_id=event,
        ids=shown,
        scores=caller_scores(len(shown)),
        propensities=np.ones(len(shown)),
        params_version=state.live.version,
        fallback=code,
    )


def _own_event_id(state: LoopState, given: object) -> str:
    """Return the caller's event id where it names no list yet, else a new one.

    A known id belongs to another list, which must not be credited with this one's signals.
    """
    if given is None:
        return new_event_id()
    try:
        event = checks.event_id(given)
        with state.serving:
            is_known = event in state.recent
        if not is_known:
            with state.store.snapshot() as reader:
                is_known = reader.event(event) is not None
    except Exception:  # noqa: BLE001 - a hostile value, or a store that can not say: a new id is nobody's
        return new_event_id()
    return new_event_id() if is_known else event


def _reason(error: Exception, code: str) -> str:
    """Return why a call fell back, for the store: never the refused value, which may be text of a user."""
    if not isinstance(error, DwellError):
        return code
    where = f" (field {error.field})" if error.field is not None else ""
    return f"{code}: {error.message}{where}"[:1000]


def log_external(
    state: LoopState,
    query: object,
    results: object,
    *,
    user: object,
    segment: object,
    query_embedding: object,
    event_id: object,
    now: float,
) -> str:
    """Record a list that somebody else's ranker ordered, and return its event id.

    Raises:
        RecordError: A malformed value; nothing was served by us, so nothing falls back.
    """
    listed = external_list(
        state,
        query,
        results,
        user=user,
        segment=segment,
        query_embedding=query_embedding,
        event_id=event_id,
        now=now,
    )
    if event_id is not None and _recorded(state, listed.request, listed.found) is not None:
        return listed.request.event_id
    if not listed.impression.has_features:
        state.counters["no_features"] += 1
    impression = listed.impression
    served = Served(
        event_id=impression.event_id,
        ids=list(impression.served),
        scores=listed.scores,
        propensities=impression.propensities.copy(),
        params_version=impression.params_version,
    )
    _record(state, served, impression, listed.found)
    return listed.request.event_id


class DrawnElsewhere(NamedTuple):
    """One document that somebody else's policy drew.

    Attributes:
        shown: Its id.
        chances: Per result, the probability with which it would have been shown, in [0, 1]; None where the log does not
            tell it. That of what was shown is in (0, 1].
    """

    shown: str
    chances: Sequence[float | None]


class ExternalList(NamedTuple):
    """A list that somebody else's ranker ordered, ready to be recorded."""

    request: Request
    found: Candidates
    scores: FloatArray
    impression: Impression


def external_list(
    state: LoopState,
    query: object,
    results: object,
    *,
    user: object,
    segment: object,
    query_embedding: object,
    event_id: object,
    now: float,
    drawn: DrawnElsewhere | None = None,
) -> ExternalList:
    """Return a list that somebody else's ranker ordered as it is to be recorded; nothing is written.

    Args:
        state: The loop.
        query: What was asked.
        results: Mappings with "id" or "memory_id", see `Loop.log_retrieval`.
        user: Who asked, or None.
        segment: Group of queries, or None.
        query_embedding: Vector of the query, or None.
        event_id: Its identity; a new one where it is None.
        now: When it was served.
        drawn: Where one of the results was drawn from all of them and shown alone.

    Raises:
        RecordError: A malformed value.
    """
    ordered = _ordered(results)
    ids = [item.get("id", item.get("memory_id")) for item in ordered]
    request = _request(
        state,
        query,
        event_id,
        max(len(ids), 1) if drawn is None else 1,
        user=user,
        segment=segment,
        query_embedding=query_embedding,
        activate=True,
        now=now,
    )
    names = state.caller_order
    has_features = bool(state.feature_names) and all(name in item for item in ordered for name in names)
    path = "results" if drawn is None else "candidates"
    found = read_rows(ids, ordered, names if has_features else (), path)
    if has_features:
        found = _with_activation(state, found, now)
    given = [item.get("score") for item in ordered]
    scores = caller_scores(len(ids))
    if all(score is not None for score in given):
        scores = np.array([_score(score, f"results[{i}].score") for i, score in enumerate(given)])
    serving = _as_external(state.how_to_serve("baseline", state.live))
    if drawn is not None:
        return ExternalList(request, found, scores, _drawn(found, request, serving, drawn))
    return ExternalList(request, found, scores, listed_elsewhere(found, request, serving, scores))


def _drawn(found: Candidates, request: Request, serving: Serving, drawn: DrawnElsewhere) -> Impression:
    chances = np.array([np.nan if one is None else _chance(one, i) for i, one in enumerate(drawn.chances)])
    if drawn.shown not in found.ids or len(chances) != len(found.ids):
        raise RecordError(
            "what was shown is not among the candidates, or they have not one chance each",
            code="results_shape",
            field="candidates",
            value=drawn.shown,
            hint="Give every candidate with its probability, the one that was shown among them.",
        )
    shown = found.ids.index(drawn.shown)
    if not chances[shown] > 0.0:
        raise RecordError(
            "the probability of what was shown is above 0",
            code="propensity_range",
            field=f"candidates[{shown}].probability",
            value=drawn.chances[shown],
            hint="Log it when the document is shown; leave it out where it is not known.",
        )
    if np.nansum(chances) > 1.0 + _ROUNDING:
        raise RecordError(
            "the probabilities of the candidates add up to more than 1",
            code="propensity_range",
            field="candidates",
            value=float(np.nansum(chances)),
            hint="They are those with which each would have been shown in this place.",
        )
    return drawn_elsewhere(found, request, serving, shown, chances)


def _chance(value: object, i: int) -> float:
    return checks.within(value, f"candidates[{i}].probability", 0.0, 1.0, code="propensity_range")


def _score(value: object, field: str) -> float:
    """Return a score of somebody else's ranker, finite as float32."""
    most = float(np.finfo(np.float32).max)
    return checks.within(value, field, -most, most, code="non_finite")


def _as_external(serving: Serving) -> Serving:
    """Return the same serving for a list that somebody else ordered: nothing is drawn."""
    return serving._replace(policy="external", temperature=0.0)


def _ordered(results: object) -> list[Mapping[str, Any]]:
    """Return the results in the order shown: by "rank" where all have one, else as given."""
    if isinstance(results, str | bytes | Mapping) or not isinstance(results, Sequence) or not results:
        raise RecordError(
            "results are a list of mappings, at least one",
            code="results_shape",
            field="results",
            value=type(results).__name__,
            hint="Pass [{'id': ..., 'rank': 1, 'score': ...}, ...].",
        )
    for i, item in enumerate(results):
        is_mapping = type(item) is dict or isinstance(item, Mapping)  # the former is asked in a tenth of the time
        if not is_mapping or item.get("id", item.get("memory_id")) is None:
            raise RecordError(
                "a result is a mapping with 'id' or 'memory_id'",
                code="results_shape",
                field=f"results[{i}]",
                value=item,
                hint="Name the document.",
            )
    if not all("rank" in item for item in results):
        return list(results)
    ranks = [checks.positive_integer(item["rank"], f"results[{i}].rank") for i, item in enumerate(results)]
    if sorted(ranks) != list(range(1, len(ranks) + 1)):
        raise RecordError(
            "ranks are not 1 to n, each once",
            code="results_shape",
            field="results",
            value=ranks,
            hint="Number them from 1.",
        )
    return [item for _, item in sorted(zip(ranks, results, strict=True), key=lambda pair: pair[0])]
