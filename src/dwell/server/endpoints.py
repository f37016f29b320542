"""Every call of the API in one table: the routes and the OpenAPI document are both made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from dwell.server import (
    judging_routes,
    metrics,
    otel_routes,
    personalizer_routes,
    serving_routes,
    ubi_routes,
    watching_routes,
)
from dwell.server.otel_routes import OtlpLogs, OtlpReply, OtlpSpans, OtlpSpansReply
from dwell.server.personalizer_routes import PersonalizerRank, PersonalizerRanked, PersonalizerReward
from dwell.server.wire import (
    ActivateBody,
    ActivateReply,
    EraseBody,
    ErasedReply,
    EvaluateBody,
    FeedbackBody,
    FeedbackReplies,
    FeedbackReply,
    HistoryReply,
    Item,
    LogBody,
    LogReply,
    PromoteBody,
    PromoteReply,
    RankBody,
    RankReply,
    RollbackBody,
    TrainBody,
    UbiReply,
)

__all__ = ["ENDPOINTS", "Endpoint"]

Needs = Literal["nobody", "public", "secret", "admin"]


class Endpoint(NamedTuple):
    """One call.

    Attributes:
        method: "GET" or "POST".
        path: Its path.
        handler: What answers.
        needs: The least kind of key.
        summary: What it does, in one line.
        body: Types that the body may be, in JSON.
        reply: Types that the answer may be, in JSON; none where it is a free object.
        query: {name: (lowest, highest)} of numbers in the address; whole ones where the bounds are.
        other: Content type of an answer that is no JSON, or "".
        lines: Whether the body may be NDJSON, or come as the plain text that browsers send without asking first.
        may_be_empty: Whether no body means the same as an empty object.
        takes_key: Whether `Idempotency-Key` makes retries count once.
        status: Of what was done; 204 where there is nothing to say.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Callable[[Request], Awaitable[Response]]
    needs: Needs
    summary: str
    body: tuple[Any, ...] = ()
    reply: tuple[Any, ...] = ()
    query: dict[str, tuple[float, float]] = {}  # noqa: RUF012 - a NamedTuple's default, never changed
    other: str = ""
    lines: bool = False
    may_be_empty: bool = False
    takes_key: bool = False
    status: Literal[200, 201, 204] = 200

    @property
    def is_once(self) -> bool:
        """Whether an idempotency key makes it happen once here; reactions keep their answers with their effect."""
        return self.method == "POST" and self.needs in {"secret", "admin"}


_LINES: Final = "application/x-ndjson"
_EVENT: Final = "/personalizer/v1.0/events/{event_id}"
_UBI: Final = ("/ubi/", "/ubi_", "/ubi/ubi_")

ENDPOINTS: Final = (
    Endpoint(
        "POST", "/v1/rank", serving_routes.rank, "secret", "Order candidates.", (RankBody,), (RankReply,),
        takes_key=True,
    ),
    Endpoint(
        "POST", "/v1/log_retrieval", serving_routes.log_retrieval, "secret", "Record a list ordered elsewhere.",
        (LogBody,), (LogReply,), takes_key=True,
    ),
    Endpoint(
        "POST", "/v1/feedback", serving_routes.feedback, "public", "Join reactions with what was served.",
        (Item, list[Item], FeedbackBody), (FeedbackReply, FeedbackReplies), lines=True, takes_key=True,
    ),
    Endpoint(
        "POST", "/v1/activate", serving_routes.activate, "secret", "Tell that a deferred list was shown.",
        (ActivateBody,), (ActivateReply,),
    ),
    Endpoint("GET", "/v1/params", judging_routes.params, "secret", "The params in force."),
    Endpoint(
        "GET", "/v1/history", judging_routes.history, "secret", "The ledger, newest last.", (), (HistoryReply,),
        {"limit": (1, 1_000)},
    ),
    Endpoint(
        "POST", "/v1/evaluate", judging_routes.evaluate, "admin", "Judge params; nothing moves.", (EvaluateBody,),
    ),
    Endpoint(
        "POST", "/v1/promote", judging_routes.promote, "admin", "Make params live on evidence.",
        (PromoteBody,), (PromoteReply,),
    ),
    Endpoint(
        "POST", "/v1/rollback", judging_routes.rollback, "admin", "Return to an earlier one.", (RollbackBody,),
        may_be_empty=True,
    ),
    Endpoint("POST", "/v1/train", judging_routes.train, "admin", "Learn now.", (TrainBody,), may_be_empty=True),
    Endpoint("GET", "/v1/health", judging_routes.health, "secret", "How the loop is."),
    Endpoint("GET", "/v1/doctor", judging_routes.doctor, "secret", "What is wrong, and what to do."),
    Endpoint(
        "GET", "/v1/experiences", judging_routes.experiences, "admin", "What was served.", (), (),
        {"since": (0.0, 1e11), "limit": (1, 1_000)}, _LINES,
    ),
    Endpoint("POST", "/v1/erase", judging_routes.erase, "admin", "Forget a user.", (EraseBody,), (ErasedReply,)),
    *(
        # the paths of ours, and those that the UBI collector makes of a base URL with or without "/ubi"
        Endpoint("POST", f"{base}queries", ubi_routes.queries, "public", "Take queries.", (), (UbiReply,), lines=True)
        for base in _UBI
    ),
    *(
        Endpoint("POST", f"{base}events", ubi_routes.events, "public", "Take events.", (), (UbiReply,), lines=True)
        for base in _UBI
    ),
    Endpoint(
        "POST", "/v1/traces", otel_routes.traces, "secret", "Take traced retrievals (OTLP).",
        (OtlpSpans,), (OtlpSpansReply,),
    ),
    Endpoint(
        "POST", "/v1/logs", otel_routes.logs, "secret", "Take logged evaluations (OTLP).", (OtlpLogs,), (OtlpReply,),
    ),
    Endpoint(
        "POST", "/personalizer/v1.0/rank", personalizer_routes.rank, "secret", "Choose an action.",
        (PersonalizerRank,), (PersonalizerRanked,), takes_key=True, status=201,
    ),
    Endpoint(
        "POST", f"{_EVENT}/reward", personalizer_routes.reward, "secret", "Tell what came of an action.",
        (PersonalizerReward,), takes_key=True, status=204,
    ),
    Endpoint(
        "POST", f"{_EVENT}/activate", personalizer_routes.activate, "secret", "Tell that a deferred action was shown.",
        may_be_empty=True, status=204,
    ),
    Endpoint("GET", "/metrics", metrics.metrics, "admin", "Figures for Prometheus.", other="text/plain"),
    Endpoint("GET", "/livez", watching_routes.live, "nobody", "Whether the process answers."),
    Endpoint("GET", "/readyz", watching_routes.ready, "nobody", "Whether requests can be served."),
)  # fmt: skip
