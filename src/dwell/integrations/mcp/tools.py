"""What all tools share: hints, refusals by name, and feedback that is always the agent's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.metadata import version
from typing import Any, Final, ParamSpec, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase
from mcp_types import ToolAnnotations
from pydantic import create_model, model_validator

from dwell.errors import ConfigError, DwellError, RecordError, RequestError, UnknownEventError
from dwell.health import HealthReport
from dwell.integrations.mcp.answers import Alert, SuggestedAction
from dwell.loop import Loop
from dwell.records import Feedback, GateDecision, Params, checks
from dwell.reward import RewardPreset, check_signal, is_agents, named_by

__all__ = [
    "AGENTS_WORD",
    "VERSION",
    "alerts_of",
    "check_is_recorded",
    "check_word",
    "confirmed",
    "feedback_words",
    "ledger_of",
    "no_such_answer",
    "params_of",
    "said_names",
    "suggested",
    "tool",
    "with_resources",
]

_log = logging.getLogger("dwell.mcp")

P = ParamSpec("P")
R = TypeVar("R")

AGENTS_WORD: Final = (
    "Your feedback is recorded as an agent's own word. It counts less than a person's, never against one, and once per "
    "item and answer."
)
VERSION: Final = version("dwell")
_JSON: Final = "application/json"
_MOST_DECISIONS: Final = 100  # a page that a model reads
# the loop's own remedy names its argument, `doc`, which no tool has
_SCOPE: Final = "signal_scope: a signal about one item needs item, its id; one about the whole answer takes none"
# These say what was wrong with what was asked, in words that name nothing of the host; others stay in the log
_TELLING: Final = (RecordError, UnknownEventError, ConfigError, RequestError)


def tool(
    function: Callable[..., Any],
    *,
    title: str,
    description: str,
    is_read_only: bool = False,
    is_destructive: bool = False,
    is_idempotent: bool = False,
) -> Tool:
    """Return a tool that refuses what it does not know by name, and tells nothing of the host when it fails.

    Args:
        function: Its work; the annotations become its schemas.
        title: For people.
        description: For the model that calls it.
        is_read_only: Whether it changes nothing.
        is_destructive: Whether what it changes is gone.
        is_idempotent: Whether calling it again changes nothing more.
    """
    made = Tool.from_function(
        _telling(function),
        title=title,
        description=description,
        structured_output=True,
        annotations=ToolAnnotations(
            title=title,
            read_only_hint=is_read_only,
            destructive_hint=is_destructive,
            idempotent_hint=is_idempotent or is_read_only,
            open_world_hint=False,
        ),
    )
    # a misspelt argument would be dropped without a word, and `by="person"` would seem to have been heard
    arguments = made.fn_metadata.arg_model
    arguments.model_config["extra"] = "forbid"
    arguments.model_rebuild(force=True)
    made.parameters = arguments.model_json_schema(by_alias=True)
    made.fn_metadata.arg_model = _naming(arguments)
    return made


def _naming(arguments: type[ArgModelBase]) -> type[ArgModelBase]:
    """Return the model with a refusal that names what the tool takes, from which a model learns what to send."""
    names = tuple(arguments.model_fields)

    def check_names(given: Any) -> Any:  # noqa: ANN401 - whatever a client sends
        strange = sorted(set(given) - {*names}) if isinstance(given, dict) else []
        if strange:
            takes = f"takes {', '.join(names)}" if names else "takes no arguments"
            raise ValueError(f"unknown argument {strange[0][:64]!r}: this tool {takes}")
        return given

    check: Any = model_validator(mode="before")(check_names)
    return create_model(arguments.__name__, __base__=arguments, __validators__={"check_names": check})


def _telling(function: Callable[P, R]) -> Callable[P, R]:
    @wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except _TELLING as error:
            raise ToolError(f"{error.code}: {error.message}. {error.hint or ''}".strip()) from error
        except DwellError as error:
            _log.warning("%s failed: %s: %s", function.__name__, error.code, error)
            words = "this could not be done now; whoever runs the server finds why in its log."
            raise ToolError(f"{error.code}: {words}") from error

    return told


def check_word(loop: Loop, event_id: str, signal: str, *, item: str | None, value: float) -> None:
    """Refuse a word that says nothing, or is about what nobody was answered: it would wait in the room of people's.

    Raises:
        RecordError: As `dwell.reward.check_signal`.
        ToolError: An item is due, or none is.
        UnknownEventError: No such list.
    """
    try:
        check_signal(loop.rewards.signals, named_by(signal, "agent"), item, value)
    except RecordError as error:
        if error.code == "signal_scope":
            raise ToolError(_SCOPE) from error
        raise
    check_is_recorded(loop, event_id)


def check_is_recorded(loop: Loop, event_id: str) -> None:
    """Refuse what no list has as its id.

    Raises:
        UnknownEventError: No such list.
    """
    if not loop.when_recorded(checks.event_id(event_id)).result():
        raise no_such_answer()


def no_such_answer() -> UnknownEventError:
    """Return what is raised about a list that was not served to whoever asks."""
    return UnknownEventError("no such answer of yours", field="event_id", hint="Pass the event_id of an answer.")


def confirmed(found: Feedback, signal: str) -> dict[str, Any]:
    """Return what became of a word of feedback, as the tool answers it.

    Raises:
        ToolError: It was rejected.
    """
    if found.status == "rejected":
        if (found.reason or "").startswith("signal_scope:"):
            raise ToolError(_SCOPE)
        raise ToolError(found.reason or "rejected")
    return {"status": found.status, "reason": found.reason, "recorded_as": named_by(signal, "agent")}


def said_names(preset: RewardPreset, *, scope: str) -> list[str]:
    """Return what an agent can say about "document" or "list", what is worth something first named."""
    return [
        name
        for name, spec in preset.signals.items()
        if spec.weight != 0.0 and spec.scope in {scope, "either"} and not is_agents(name) and spec.high == 1.0
    ]


def feedback_words(preset: RewardPreset | None) -> str:
    """Return the description of the feedback tool."""
    told = (
        "Say what became of an answer of this server, once you know: pass its event_id, the id of the item you speak "
        "of, and a signal. Say it for items that were of no use as well. "
    )
    if preset is not None:
        documents, lists = (", ".join(said_names(preset, scope=scope)) for scope in ("document", "list"))
        told += f"Signals about an item: {documents}. About the whole answer, without item: {lists}. "
    return told + "The same word again changes nothing; another one replaces it. " + AGENTS_WORD


def suggested(event_id: str, signal: str) -> SuggestedAction:
    """Return what to call after an answer was used."""
    return {
        "tool": "feedback",
        "arguments": {"event_id": event_id, "item": "<id of the item>", "signal": signal},
        "when": "after you used an item, or found that it was wrong or of no use",
    }


def alerts_of(report: HealthReport) -> list[Alert]:
    """Return what is not well."""
    return [
        {"code": one.code, "severity": one.severity, "message": one.message, "remedy": one.remedy}
        for one in report.alerts
    ]


def with_resources(server: MCPServer, params: Callable[[], str], ledger: Callable[[], str]) -> None:
    """Give a server its two resources: the params in force, and the gate's ledger."""
    told = "The params that order, by feature."
    server.resource("dwell://params", name="params", description=told, mime_type=_JSON)(params)
    told = "The gate's newest decisions: what was proposed, and why it went live or did not."
    server.resource("dwell://ledger", name="ledger", description=told, mime_type=_JSON)(ledger)


def params_of(params: Params) -> dict[str, Any]:
    """Return the params in force, as plain values."""
    return {"version": params.version, "origin": params.origin, "weights": dict(params.weights)}


def ledger_of(decisions: Sequence[GateDecision]) -> list[dict[str, Any]]:
    """Return the gate's newest decisions, as plain values; they hold no query, user or text."""
    return [
        {
            "verdict": one.verdict,
            "kind": one.kind,
            "reasons": list(one.reasons),
            "proposed_version": one.proposed_version,
            "safe_version": one.safe_version,
            "decided_at": one.decided_at,
        }
        for one in decisions[-_MOST_DECISIONS:]
    ]
