"""What travels: the bodies that the service takes and the answers that it gives, and how they are read.

One place holds the types of the wire: the handlers, the OpenAPI document and the checks can not drift apart.
Reading is strict: `"1"`, `true`, NaN and 1e999 are no numbers, unknown names are refused, whole numbers are bounded.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from dwell.records import Served
from dwell.server.malformed import told
from dwell.server.repeats import refuse_repeats

__all__ = [
    "MAX_ITEMS",
    "MOST_CANDIDATES",
    "ActivateBody",
    "ActivateReply",
    "EraseBody",
    "ErasedReply",
    "EvaluateBody",
    "FeedbackBody",
    "FeedbackReplies",
    "FeedbackReply",
    "HistoryReply",
    "Item",
    "LogBody",
    "LogReply",
    "PromoteBody",
    "PromoteReply",
    "RankBody",
    "RankReply",
    "RollbackBody",
    "TrainBody",
    "UbiRefusal",
    "UbiReply",
    "plain",
    "rank_reply",
    "read_body",
]

T = TypeVar("T")

MAX_ITEMS: Final = 1_000  # per request, as in the APIs that product teams know (Algolia: 1,000 events, 2 MB)
MOST_CANDIDATES: Final = 10_000
_MOST_VERSIONS: Final = 2**31 - 1

EventId = Annotated[str, Meta(pattern=r"^[\w.:/@-]{1,128}$", description="Identity of a served list.")]
Name = Annotated[str, Meta(min_length=1, max_length=512)]
Query = Annotated[str, Meta(max_length=65_536)]
Embedding = Annotated[list[float], Meta(min_length=1, max_length=8_192)]
Count = Annotated[int, Meta(ge=1, le=MOST_CANDIDATES)]
Version = Annotated[int, Meta(ge=0, le=_MOST_VERSIONS)]
Number = float


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body: a name that is not known here is a mistake of the sender."""


class RankBody(_Strict, frozen=True):
    """Candidates to be ordered."""

    query: Query
    candidates: Annotated[list[dict[str, str | float]], Meta(max_length=MOST_CANDIDATES)] | None = None
    ids: Annotated[list[Name], Meta(max_length=MOST_CANDIDATES)] | None = None
    features: Annotated[list[list[Number]], Meta(max_length=MOST_CANDIDATES)] | None = None
    k: Count = 10
    user: Name | None = None
    segment: Name | None = None
    query_embedding: Embedding | None = None
    event_id: EventId | None = None
    activate: bool = True
    wait: bool = False


class RankReply(msgspec.Struct, frozen=True):
    """What to show, in this order.

    `recorded` is "queued" (on its way to the disk), "durable" (asked for by `wait`) or "dropped".
    """

    event_id: str
    ids: list[str]
    scores: list[float | None]
    propensities: list[float]
    params_version: int
    token: str | None = None
    fallback: str | None = None
    recorded: str = "queued"


class LogBody(_Strict, frozen=True):
    """A list that another ranker ordered."""

    query: Query
    results: Annotated[list[dict[str, str | float | None]], Meta(min_length=1, max_length=MOST_CANDIDATES)]
    user: Name | None = None
    segment: Name | None = None
    query_embedding: Embedding | None = None
    event_id: EventId | None = None


class LogReply(msgspec.Struct, frozen=True):
    """The identity of the list, for feedback; it is on disk."""

    event_id: str
    token: str | None = None


class Item(_Strict, frozen=True):
    """One reaction of a user."""

    event_id: EventId
    signal: Name
    doc: Name | None = None
    value: Number = 1.0
    at: Annotated[float, Meta(ge=0.0)] | None = None
    idempotency_key: Name | None = None
    token: Annotated[str, Meta(max_length=512)] | None = None


class FeedbackBody(_Strict, frozen=True):
    """Reactions with what a browser can not put into a header: its public key, and who the user is."""

    items: Annotated[list[Item], Meta(min_length=1, max_length=MAX_ITEMS)]
    key: Annotated[str, Meta(max_length=512)] | None = None
    user: Name | None = None


class FeedbackReply(msgspec.Struct, frozen=True):
    """What became of a reaction: "joined", "late", "duplicate", "orphan" or "rejected"."""

    status: str
    reason: str | None = None


class FeedbackReplies(msgspec.Struct, frozen=True):
    """What became of each reaction, in their order."""

    results: list[FeedbackReply]


class ActivateBody(_Strict, frozen=True):
    """A deferred list was shown."""

    event_id: EventId
    shown: Annotated[list[Name], Meta(min_length=1, max_length=MOST_CANDIDATES)] | None = None
    user: Name | None = None


class ActivateReply(msgspec.Struct, frozen=True):
    """The token of the list as it was shown."""

    token: str | None = None


class EvaluateBody(_Strict, frozen=True):
    """Params to be judged: weights on raw values, or a stored version."""

    weights: dict[str, Number] | None = None
    version: Version | None = None


class PromoteBody(_Strict, frozen=True):
    """Params to go live; with `expected_version`, only while that one is live."""

    weights: dict[str, Number] | None = None
    version: Version | None = None
    force: bool = False
    expected_version: Version | None = None


class RollbackBody(_Strict, frozen=True):
    """A return to a version, the one before when not given; with `expected_version`, only while that one is live."""

    to: Version | None = None
    expected_version: Version | None = None


class TrainBody(_Strict, frozen=True):
    """A call of the learner now."""

    steps: Annotated[int, Meta(ge=1, le=100_000)] | None = None


class EraseBody(_Strict, frozen=True):
    """A user who is to be forgotten."""

    user: Name


class ErasedReply(msgspec.Struct, frozen=True):
    """How many events went."""

    n_events: int


class HistoryReply(msgspec.Struct, frozen=True):
    """The ledger, newest last."""

    decisions: list[dict[str, Any]]


class PromoteReply(msgspec.Struct, frozen=True):
    """The params in force, and the ledger's entry."""

    params: dict[str, Any]
    decision: dict[str, Any]


class UbiRefusal(msgspec.Struct, frozen=True):
    """An item that could not be read."""

    index: int
    pointer: str
    reason: str


class UbiReply(msgspec.Struct, frozen=True):
    """What became of UBI items: `accepted` and the length of `quarantined` add up to what was sent."""

    accepted: int
    normalised: dict[str, int]
    quarantined: list[UbiRefusal]
    outcomes: dict[str, int]


def read_body(body: bytes, kind: type[T]) -> T:
    """Return a JSON body as a value.

    Raises:
        RecordError: code `malformed_json`, `non_finite`, `unknown_field`, `duplicate_name` or `type`; `field`
            names the offending value, as candidates[3].bm25.
    """
    try:
        found = msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise told(body, error) from error
    refuse_repeats(body, found)
    return found


def plain(value: object) -> Any:  # noqa: ANN401 - any JSON value
    """Return a record as values that JSON has: arrays as lists, what is not finite as null."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if not f.name.startswith("_")}
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple | set | frozenset) else value


def rank_reply(served: Served, *, token: str | None, recorded: str) -> RankReply:
    """Return what a ranking is answered."""
    scores = served.scores.tolist()
    return RankReply(
        event_id=served.event_id,
        ids=served.ids,
        scores=scores if all(map(math.isfinite, scores)) else [s if math.isfinite(s) else None for s in scores],
        propensities=served.propensities.tolist(),
        params_version=served.params_version,
        token=token,
        fallback=served.fallback,
        recorded=recorded,
    )
