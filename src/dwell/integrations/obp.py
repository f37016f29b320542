"""A loop's log as the dictionary that the Open Bandit Pipeline takes (`obp`), which is not needed to make it.

Two conventions, since `obp` knows single choices and slates, and a list is a slate:

* `to_obp`: a round per list, whose action is the document on top. Its propensity is that of the choice among all
  candidates, so IPS, doubly robust and the other estimators of `obp.ope` hold as they are. What stood below is left
  out: its marginal probability at its position was not logged.
* `to_obp_slates`: a row per list and position, for the estimators of slates: `pscore_cascade` is the probability of
  the list down to a position, `pscore` that of the whole list. `pscore_item_position`, for which independent IPS asks,
  is not there.

Source: Saito et al. 2021, "Open Bandit Dataset and Pipeline"; the keys are those of obp 0.4.1 (0.5 has the same).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Unpack

import numpy as np

from dwell.errors import RecordError
from dwell.loop import Loop
from dwell.loop.export import ExportChoices, chosen_events
from dwell.loop.exports.pieces import has_policy, is_learned
from dwell.loop.recorded_events import RecordedEvent
from dwell.loop.whole_file import write_whole
from dwell.ranking import order_of, policy_scores, score_spread
from dwell.records import Impression, Params
from dwell.records.arrays import FloatArray

__all__ = ["to_obp", "to_obp_slates", "write_obp"]

_MOST_PROBABILITIES: Final = 50_000_000  # of `action_dist`: obp wants it dense, and this many take 400 MB


def to_obp(
    loop: Loop,
    *,
    params: Params | None = None,
    **choices: Unpack[ExportChoices],
) -> dict[str, Any]:
    """Return one round per list: the document on top, its reward, and the probability with which it came there.

    Rounds are the events that are over, have features, and whose first document one policy chose. All of it is held in
    memory, as obp wants it.

    Args:
        loop: The loop.
        params: Params to be judged: then `action_dist` is there, their probability of each document on top. Of lists
            of which only a sample of the candidates was kept it is an estimate, each kept one standing for as many as
            its inclusion says. Lists that lack a feature of theirs are left out.
        choices: Which events, see `dwell.loop.export.ExportChoices`; without text `context` is ones.

    Returns:
        `n_rounds`, `n_actions`, `context` (n_rounds, d): the query embedding where every list has one, else ones;
        `action`, `reward`, `pscore`, `position` (all 0), each (n_rounds,); `action_context` (n_actions, f): the mean
        features of a document, since here they belong to a pair of query and document; beside them `event_id`,
        `action_id` and `feature_names`, which tell what the numbers stand for, and `action_dist`
        (n_rounds, n_actions, 1) where params are given.

    Raises:
        RecordError: There is no such event, or rounds times actions are too many for `action_dist`.
    """
    rounds = _rounds(loop, params, choices)
    found = _common(loop, [one.event for one in rounds], has_text=choices.get("has_text", True))
    place = {doc: i for i, doc in enumerate(found["action_id"].tolist())}
    found |= {
        "action": np.array([place[one.event.impression.served[0]] for one in rounds], dtype=np.int64),
        "reward": np.array([float(_rewards(one.event)[0]) for one in rounds]),
        "pscore": np.array([float(one.event.impression.propensities[0]) for one in rounds]),
        "position": np.zeros(len(rounds), dtype=np.int64),
    }
    if params is not None:
        found["action_dist"] = _action_dist(rounds, place)
    return found


def to_obp_slates(
    loop: Loop,
    *,
    params: Params | None = None,
    **choices: Unpack[ExportChoices],
) -> dict[str, Any]:
    """Return one row per list and position, as obp's estimators of slates take them.

    Lists in which a coin swapped a pair, and lists of which not every document's features were kept, are left out.

    Args:
        loop: The loop.
        params: Params to be judged: then `evaluation_policy_pscore` and `evaluation_policy_pscore_cascade` are there.
        choices: Which events, see `dwell.loop.export.ExportChoices`; without text `context` is ones.

    Returns:
        `n_rounds` (lists), `n_unique_action`, `slate_id`, `action`, `position` (from 0), `reward`, `pscore`,
        `pscore_cascade`, each with an entry per row; `context`, `action_context`, `event_id` and the others as `to_obp`
        has them.

    Raises:
        RecordError: There is no such event.
    """
    rounds = [
        one
        for one in _rounds(loop, params, choices)
        if not one.event.impression.swap_pair and _is_kept(one.event.impression)
    ]
    found = _common(loop, [one.event for one in rounds], has_text=choices.get("has_text", True))
    found["n_unique_action"] = found.pop("n_actions")
    place = {doc: i for i, doc in enumerate(found["action_id"].tolist())}
    lists = [one.event.impression for one in rounds]
    sizes = [one.n_served for one in lists]
    steps = [one.propensities[: one.n_served] for one in lists]
    found |= {
        "slate_id": np.repeat(np.arange(len(rounds)), sizes),
        "action": np.array([place[doc] for one in lists for doc in one.served], dtype=np.int64),
        "position": np.concatenate([np.arange(n) for n in sizes]),
        "reward": np.concatenate([_rewards(one.event)[:n] for one, n in zip(rounds, sizes, strict=True)]).astype(float),
    } | _cascades(steps, "")
    if params is not None:
        theirs = [_conditionals(one) for one in rounds]
        found |= _cascades(theirs, "evaluation_policy_")
    return found


def write_obp(loop: Loop, path: Path, *, is_slates: bool = False, **choices: Unpack[ExportChoices]) -> int:
    """Write `to_obp` (or `to_obp_slates`) as a new file of numpy, `.npz`, and return how many rounds.

    `numpy.load(path)` reads it, without pickles; `n_rounds` and the like come back as arrays of no axes.

    Raises:
        ConfigError: A path that is taken or can not be written.
        RecordError: There is no such event.
    """
    found = to_obp_slates(loop, **choices) if is_slates else to_obp(loop, **choices)
    body = io.BytesIO()
    np.savez_compressed(body, **found)
    write_whole(path, [body.getvalue()])
    return int(found["n_rounds"])


class _Round(NamedTuple):
    """A list, and the params' log weights of its kept documents where there are params to be judged."""

    event: RecordedEvent
    log_weights: FloatArray | None


def _rounds(loop: Loop, params: Params | None, choices: ExportChoices) -> list[_Round]:
    known: ExportChoices = {**choices, "has_text": True}  # params may weigh by the embedding, whoever is told of it
    return list(_usable(chosen_events(loop._state, **known), params))  # noqa: SLF001 - an export tells all that a loop holds


def _usable(events: Iterator[RecordedEvent], params: Params | None) -> Iterator[_Round]:
    for event in events:
        impression = event.impression
        if not is_learned(impression, event.outcome) or not has_policy(impression):
            continue
        if impression.served[0] not in impression.documents:
            continue
        if params is None:
            yield _Round(event, None)
        elif set(params.feature_names) <= set(impression.feature_names):
            found = _log_weights(params, impression)
            if found is not None:
                yield _Round(event, found)


def _log_weights(params: Params, impression: Impression) -> FloatArray | None:
    """Return the params' Plackett-Luce log weights, and for how many each stands; None where a feature is missing."""
    columns = [impression.feature_names.index(name) for name in params.feature_names]
    features = np.asarray(impression.features[:, columns], dtype=np.float64)
    if not np.isfinite(features).all():
        return None
    embedding = impression.query_embedding
    if params.by_query is not None and embedding is not None and len(embedding) != len(params.by_query.v):
        embedding = None  # as where its weights are told: it never scores such a query
    scores = params.score(features, segment=impression.segment, query_embedding=embedding)
    if params.temperature == 0.0:
        order = order_of(scores, impression.document_scores)
        first: FloatArray = np.full(len(scores), -np.inf)
        first[order] = -1e6 * np.arange(len(order))  # exp of the difference is 0: the first of those left, for certain
        return first
    stands_for = 1.0 / impression.inclusion
    spread = score_spread(scores, stands_for)
    weighted: FloatArray = policy_scores(scores, params.temperature, spread=spread) + np.log(stands_for)
    return weighted


def _common(loop: Loop, events: Sequence[RecordedEvent], *, has_text: bool) -> dict[str, Any]:
    if not events:
        raise RecordError(
            "no event can be told to obp",
            code="no_events",
            field="loop",
            value=str(loop),
            hint="It takes events that are over (`loop.close_events`), with features, ordered by a policy of the loop.",
        )
    lists = [event.impression for event in events]
    docs = sorted({doc for one in lists for doc in (*one.documents, *one.served)})
    names = tuple(dict.fromkeys(name for one in lists for name in one.feature_names))
    return {
        "n_rounds": len(events),
        "n_actions": len(docs),
        "context": _context(lists) if has_text else np.ones((len(lists), 1)),
        "action_context": _action_context(lists, docs, names),
        "event_id": np.array([one.event_id for one in lists]),
        "action_id": np.array(docs),
        "feature_names": np.array(names),
    }


def _context(lists: Sequence[Impression]) -> FloatArray:
    embeddings = [one.query_embedding for one in lists if one.query_embedding is not None]
    if len(embeddings) < len(lists) or len({len(one) for one in embeddings}) > 1:
        return np.ones((len(lists), 1))
    return np.array(embeddings, dtype=np.float64)


def _action_context(lists: Sequence[Impression], docs: Sequence[str], names: Sequence[str]) -> FloatArray:
    """Return each document's mean of each feature over the lists in which it was kept; 0 where it never had one."""
    place = {doc: i for i, doc in enumerate(docs)}
    sums, n = np.zeros((len(docs), len(names))), np.zeros((len(docs), len(names)))
    for one in lists:
        columns = [names.index(name) for name in one.feature_names]
        where = np.ix_([place[doc] for doc in one.documents], columns)
        sums[where] += np.nan_to_num(one.features)
        n[where] += ~np.isnan(one.features)
    means: FloatArray = sums / np.maximum(n, 1.0)
    return means


def _rewards(event: RecordedEvent) -> Any:  # noqa: ANN401 - an array: `is_learned` said so
    return event.outcome.document_rewards


def _action_dist(rounds: Sequence[_Round], place: dict[str, int]) -> FloatArray:
    if len(rounds) * len(place) > _MOST_PROBABILITIES:
        raise RecordError(
            "rounds times documents are more probabilities than fit",
            code="too_large",
            field="params",
            value=len(rounds) * len(place),
            hint="Take fewer events with since, until or limit.",
        )
    found = np.zeros((len(rounds), len(place), 1))
    for i, one in enumerate(rounds):
        z = one.log_weights
        assert z is not None  # noqa: S101 - params were given
        weight = np.exp(z - z.max())
        found[i, [place[doc] for doc in one.event.impression.documents], 0] = weight / weight.sum()
    return found


def _is_kept(impression: Impression) -> bool:
    return set(impression.served) <= set(impression.documents)


def _conditionals(one: _Round) -> FloatArray:
    """Return the params' P(document i | those above it) of the list as it was shown."""
    impression, z = one.event.impression, one.log_weights
    assert z is not None  # noqa: S101 - params were given
    place = {doc: i for i, doc in enumerate(impression.documents)}
    shown = [place[doc] for doc in impression.served]
    order = [*shown, *(i for i in range(len(z)) if i not in set(shown))]
    left = np.logaddexp.accumulate(z[order][::-1])[::-1]
    steps: FloatArray = np.minimum(np.exp(z[shown] - left[: len(shown)]), 1.0)
    return steps


def _cascades(steps: Sequence[FloatArray], prefix: str) -> dict[str, FloatArray]:
    down = [np.cumprod(one) for one in steps]
    whole = [np.full(len(one), one[-1]) for one in down]
    return {f"{prefix}pscore": np.concatenate(whole), f"{prefix}pscore_cascade": np.concatenate(down)}
