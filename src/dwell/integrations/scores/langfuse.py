"""Langfuse: scores of traces and observations, and rewards as scores, by the user's own client (5 or newer)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from dwell.errors import ConfigError
from dwell.integrations.scores.records import Page, Reader, Score
from dwell.integrations.scores.telling import EVENT_KEY, distinct, instant, mapping, moment, text
from dwell.loop import Loop
from dwell.records import Experience

__all__ = ["langfuse_scores", "rewards_to_langfuse"]

_PAGE: Final = 100  # the most that Langfuse gives at once
_LOOKBACK_S: Final = 300.0  # Langfuse writes scores 15 to 30 s after they were given (facts/product.md C.3); ten times
_TRACE: Final = re.compile(r"([0-9a-f]{32})(?::([0-9a-f]{16}))?")  # as OpenTelemetry, and so Langfuse, names them
_WORDS: Final = {"TEXT", "CORRECTION"}  # types of scores whose value is no category


def langfuse_scores(
    client: Any,  # noqa: ANN401 - langfuse.Langfuse, or its api
    *,
    event_key: str = EVENT_KEY,
    document_key: str = "document_id",
    event_of: Callable[[Any], str | None] | None = None,
) -> Reader:
    """Return a reader of Langfuse's scores, in the order of their own timestamps' filter.

    A score is about the event that its metadata names (`event_key`), else about the one whose id is the observation's,
    with its trace's (`trace:observation`, as `dwell.integrations.otel.RetrievalCapture` names lists) or alone, or the
    trace's.

    Args:
        client: A `langfuse.Langfuse` of yours.
        event_key: Key of a score's metadata that holds the event id.
        document_key: Key of a score's metadata that holds the document it is about.
        event_of: Gives the event id of a score that you know better, None where you do not.

    Raises:
        ConfigError: The client can not read scores, or not by cursors.
    """
    api = getattr(client, "api", client)
    get_many = getattr(getattr(api, "scores", None), "get_many", None)
    if get_many is None or "cursor" not in inspect.signature(get_many).parameters:
        raise ConfigError(
            "this client does not read scores page by page",
            field="client",
            value=type(client).__name__,
            hint="Pass a langfuse.Langfuse of version 5 or newer: pip install -U 'dwell[langfuse]'.",
        )

    def pages(names: Sequence[str], since: float | None, until: float, following: str | None) -> Iterator[Page]:
        cursor = following
        while True:
            answer = get_many(
                limit=_PAGE,
                cursor=cursor,
                fields="details,subject",
                # names are told in one list with commas: one that holds a comma can only be looked for among all
                name=None if any("," in name for name in names) else ",".join(names),
                from_timestamp=None if since is None else moment(since),
                to_timestamp=moment(until),
            )
            scores = [_score(one, event_key, document_key, event_of) for one in answer.data]
            cursor = answer.meta.cursor
            yield Page(scores, (), cursor)
            if cursor is None:
                return

    return Reader("langfuse", pages, _LOOKBACK_S)


def _score(
    told: Any,  # noqa: ANN401 - a score of Langfuse's
    event_key: str,
    document_key: str,
    event_of: Callable[[Any], str | None] | None,
) -> Score:
    metadata = mapping(told.metadata)
    kind, own, trace = None, None, None
    if told.subject is not None:
        kind, own, trace = told.subject.kind, told.subject.id, getattr(told.subject, "trace_id", None)
    whole = f"{trace}:{own}" if kind == "observation" and trace else None
    known = None if event_of is None else event_of(told)
    is_label = isinstance(told.value, str)
    return Score(
        id=told.id,
        name=told.name,
        value=None if is_label else told.value,
        label=told.value if is_label and told.data_type not in _WORDS else None,
        # its own time, later by as much as it was changed: of two votes the later one holds
        at=instant(told.timestamp) + max(instant(told.updated_at) - instant(told.created_at), 0.0),
        targets=distinct((known, metadata.get(event_key), whole, own, trace)),
        doc=text(metadata.get(document_key)),
        is_models=getattr(told.source, "value", told.source) == "EVAL",  # reserved for its own judges
    )


def rewards_to_langfuse(
    loop: Loop,
    client: Any,  # noqa: ANN401 - langfuse.Langfuse
    *,
    since: float | None = None,
    name: str = "dwell_reward",
    trace_of: Callable[[Experience], str | None] | None = None,
) -> int:
    """Write the reward of each closed list with feedback as a score of its trace, and return how many were handed over.

    The client sends them in the background: `client.flush()` waits for it. Written again, the same score is replaced.

    Args:
        loop: Any loop.
        client: A `langfuse.Langfuse` of yours, tracing enabled.
        since: Only lists served at or after this instant.
        name: Name of the score there; do not map it to a signal.
        trace_of: Gives the trace of a list, None to leave it out. Else event ids that are a trace's (32 hex digits), or
            `trace:span`, name theirs, and other lists are left out.
    """
    n_written = 0
    for one in loop.experiences(since=since):
        if one.state not in {"closed", "reopened"} or not one.feedback_signals:
            continue
        found = _TRACE.fullmatch(one.event_id)
        trace, observation = (found[1], found[2]) if found else (None, None)
        if trace_of is not None:
            trace, observation = trace_of(one), None
        if trace is None:
            continue
        client.create_score(
            name=name,
            value=one.reward,
            trace_id=trace,
            observation_id=observation,
            score_id=f"dwell:{one.event_id}",
            data_type="NUMERIC",
            timestamp=moment(one.timestamp),
            metadata={EVENT_KEY: one.event_id, "reward_version": one.reward_version},
        )
        n_written += 1
    return n_written
