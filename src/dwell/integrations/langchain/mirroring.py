"""A client of LangSmith whose feedback a loop hears too."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections import Counter
from collections.abc import Awaitable, Mapping
from numbers import Real
from typing import Any

from dwell.errors import ConfigError
from dwell.integrations.found import RankingLoop
from dwell.integrations.langchain.trail import RunTrail
from dwell.records import Feedback
from dwell.reward import named_by
from dwell.reward.provenance import Provenance

__all__ = ["MirroredClient", "mirrored_client"]


def mirrored_client(
    client: Any,  # noqa: ANN401 - a client of LangSmith, which need not be installed
    loop: RankingLoop,
    keys: Mapping[str, str],
    *,
    trail: RunTrail | None = None,
) -> MirroredClient:
    """Return a client that does the same, and tells a loop of the feedback that is given through it.

    Args:
        client: `langsmith.Client`, `langsmith.AsyncClient`, or anything with their `create_feedback`.
        loop: The loop or client that ordered the documents.
        keys: {key of LangSmith: signal of the loop}, such as {"user_score": "helpful"}; other keys are passed on only.
        trail: What was served below a run, so that feedback on a chain's run reaches its retrievals.

    Raises:
        ConfigError: `keys` is no mapping of text to text.
    """
    given: object = keys
    if not isinstance(given, Mapping) or not all(isinstance(text, str) for pair in given.items() for text in pair):
        raise ConfigError(
            "keys are a mapping of LangSmith's keys to signals",
            field="keys",
            value=keys,
            hint="Pass {'user_score': 'helpful'}.",
        )
    return MirroredClient(client, loop, dict(keys), trail)


class MirroredClient:
    """A client of LangSmith that tells a loop of feedback; made by `mirrored_client`. What is not here is the client's.

    The call goes to LangSmith first, with every argument as given, and comes back as LangSmith answers it; what it
    raises is raised, and the loop is not told. What goes wrong at the loop is counted, never raised.
    """

    def __init__(self, client: Any, loop: RankingLoop, keys: dict[str, str], trail: RunTrail | None) -> None:  # noqa: ANN401 - see `mirrored_client`
        self._client = client
        self._loop = loop
        self._keys = keys
        self._trail = trail
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the client has
        return getattr(self._client, name)

    @property
    def counts(self) -> dict[str, int]:
        """What became of the feedback, by the loop's word ("joined", "rejected"...), and why some was only passed on:
        "no_run", "no_score", "other_key", "unknown_run" (dwell served nothing there), "failed".
        """  # noqa: D205 - one sentence
        with self._lock:
            return dict(self._counts)

    def create_feedback(self, *args: Any, **said: Any) -> Any:  # noqa: ANN401 - LangSmith's own
        """Return what LangSmith's `create_feedback(run_id, key, score=...)` does, and tell the loop of the score.

        True and False count as 1 and 0; the value must lie in the range of the signal's declaration, or the loop
        rejects it. A retry under the same `feedback_id` is told once. A score that says it is a model's
        (`feedback_source_type="model"`) is an agent's own word: the signal `agent_<name>`.
        """
        answer = self._client.create_feedback(*args, **said)
        told = dict(zip(("run_id", "key"), args, strict=False)) | said
        if inspect.isawaitable(answer):
            return self._when_answered(answer, told)
        self._mirror(told, answer)
        return answer

    async def _when_answered(self, answer: Awaitable[Any], told: Mapping[str, Any]) -> Any:  # noqa: ANN401 - LangSmith's own
        found = await answer
        with contextlib.suppress(Exception):
            await asyncio.to_thread(self._mirror, told, found)
        return found

    def _mirror(self, told: Mapping[str, Any], answer: object) -> None:
        try:
            about = told.get("run_id") or told.get("trace_id")
            feedback_id = told.get("feedback_id") or getattr(answer, "id", None)
            is_models = str(getattr(source := told.get("feedback_source_type"), "value", source)) == "model"
            self._tell(about, told.get("key"), told.get("score"), feedback_id, by="agent" if is_models else "person")
        except Exception:  # noqa: BLE001 - the user's call has gone through: it must not fail because of us
            self._count("failed")

    def _tell(self, about: object, key: object, score: object, feedback_id: object, *, by: Provenance) -> None:
        signal = self._keys.get(key) if isinstance(key, str) else None
        if signal is None:
            return self._count("other_key")
        if about is None:
            return self._count("no_run")
        if not isinstance(score, Real):
            return self._count("no_score")
        event_ids = (self._trail.events_of(str(about)) if self._trail is not None else []) or [str(about)]
        for event_id in self._known(event_ids):
            self._loop.submit_feedback(
                event_id,
                named_by(signal, by),
                value=float(score),
                idempotency_key=None if feedback_id is None else f"langsmith:{feedback_id}:{event_id}",
            ).add_done_callback(lambda done: self._heard(done.result()))
        return None

    def _known(self, event_ids: list[str]) -> list[str]:
        """Return those that the loop served; a client can not be asked, and the served loop answers "orphan"."""
        recorded = getattr(self._loop, "recorded", None)
        if recorded is None:
            return event_ids
        held = recorded(event_ids)
        found = [event_id for event_id in event_ids if event_id in held]
        if not found:
            self._count("unknown_run")
        return found

    def _heard(self, answer: Feedback) -> None:
        self._count(answer.status)

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1
