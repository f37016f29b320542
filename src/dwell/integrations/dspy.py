"""DSPy: any retrieval model in a learned order, and a metric whose score is feedback (extra `dspy`)."""

from __future__ import annotations

import inspect
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self

from dwell.errors import ConfigError, MissingDependencyError, RecordError
from dwell.integrations.found import content_id
from dwell.integrations.reranking import Order, Ranks, Row, check_defaults, names_of, ordered, ordered_async
from dwell.loop import Loop
from dwell.records import Feedback, checks
from dwell.reward.signals import spec_of

try:
    import dspy
    from dspy.dsp.utils.utils import dotdict
except ImportError as _error:  # a module is a class of DSPy's: there is none without it
    raise MissingDependencyError("dspy is not installed", hint="pip install 'dwell[dspy]'") from _error

__all__ = ["DwellRM", "DwellRetrieve", "FeedbackMetric"]

_K: Final = 3  # as `dspy.Retrieve`
_N_CANDIDATES: Final = 20  # as many as a loop learns from by default (`max_results`): reordering three moves little
_IDS: Final = ("pid", "id", "doc_id")
_TEXTS: Final = ("long_text", "text", "passage")


class DwellRM:
    """A retrieval model around any other: asks it for candidates, and returns the first `k` of the learned order.

    What it returns has `long_text`, `pid`, `event_id` and `fallback` (None, or the code of what went wrong: then the
    order is the model's), and whatever the passage had. Features are looked for among the numbers of a passage
    (`score`, mostly) and `reciprocal_rank`, 1 / its place.

    Args:
        rm: Called as `rm(query, k=n)`, or as `rm(query)` where it takes no `k`. Returns passages: objects or mappings
            with `long_text`, texts, or a `dspy.Prediction` with `passages` and optionally `indices` and `scores`.
        loop: An open loop, or a client of a service.
        k: Passages to return, >= 1.
        n_candidates: Passages to ask for, where that is more than `k`.
        features: Registered features; the loop's own when not given. A client's must be given.
        defaults: {feature: value} for passages that lack it.
        id_of: Gives the id of a passage; else its `pid`, `id` or `doc_id`, else a digest of its text.

    Raises:
        ConfigError: `rm` can not be called, or a client came without features.
        RecordError: `k` or `n_candidates` is no positive integer, or `loop` is no loop.
    """

    def __init__(
        self,
        rm: Callable[..., Any],
        loop: Ranks,
        *,
        k: int = _K,
        n_candidates: int = _N_CANDIDATES,
        features: Sequence[str] | None = None,
        defaults: Mapping[str, float] | None = None,
        id_of: Callable[[Any], str] | None = None,
    ) -> None:
        if not callable(rm):
            raise ConfigError(
                "a retrieval model is called with the query", field="rm", value=type(rm).__name__, hint="Pass one."
            )
        self._rm = rm
        self._takes_k = _takes_k(rm)
        self._loop = loop
        self.k = checks.positive_integer(k, "k")
        self._n_candidates = checks.positive_integer(n_candidates, "n_candidates")
        self._names = names_of(loop, features)
        self._defaults = check_defaults(defaults, self._names)
        self._id_of = id_of

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself: optimisers copy programs, and there is one loop."""
        return self

    def __call__(self, query: str, k: int | None = None, *, user: str | None = None, **how: Any) -> list[Any]:  # noqa: ANN401 - what else `Loop.rank` takes
        """Return passages in the order to show; whatever goes wrong within the loop, the first `k` of the other model.

        Raises:
            RecordError: `k` is no positive integer, or a passage has no text.
        """
        n = self._k(k)
        passages = _passages(self._asked(query, n))
        found = ordered(
            self._loop, query, self._rows(passages), names=self._names, k=n, defaults=self._defaults, user=user, **how
        )
        return _answer(passages, found)

    async def acall(self, query: str, k: int | None = None, *, user: str | None = None, **how: Any) -> list[Any]:  # noqa: ANN401 - what else `Loop.rank` takes
        """Return what a call does; the other model's own `acall` is awaited where it has one, else it is just called.

        Raises:
            RecordError: As a call.
        """
        n = self._k(k)
        asked = getattr(self._rm, "acall", None)
        told = self._asked(query, n) if asked is None else await self._asked(query, n, asked)
        passages = _passages(told)
        found = await ordered_async(
            self._loop, query, self._rows(passages), names=self._names, k=n, defaults=self._defaults, user=user, **how
        )
        return _answer(passages, found)

    def _k(self, given: int | None) -> int:
        return self.k if given is None else checks.positive_integer(given, "k")

    def _asked(self, query: str, k: int, call: Callable[..., Any] | None = None) -> Any:  # noqa: ANN401 - see `_passages`
        asked = self._rm if call is None else call
        return asked(query, k=max(k, self._n_candidates)) if self._takes_k else asked(query)

    def _rows(self, passages: Sequence[dict[str, Any]]) -> list[Row]:
        return [Row(self._id(one), one) for one in passages]

    def _id(self, passage: dict[str, Any]) -> str:
        """Return the id of a passage, and write it there: the copy is ours."""
        if self._id_of is not None:
            own = self._id_of(passage)
        else:
            own = next((str(passage[name]) for name in _IDS if passage.get(name) is not None), "")
        if not own:
            own = content_id(passage["long_text"])
        passage["pid"] = own
        return own


def _takes_k(rm: Callable[..., Any]) -> bool:
    """Return whether a model takes `k`; DSPy's modules take anything, and hand it to `forward`."""
    called = rm.forward if isinstance(rm, dspy.Module) else rm
    try:
        known = inspect.signature(called).parameters
    except (TypeError, ValueError):  # of a builtin nothing is known: DSPy itself calls every model with k
        return True
    return "k" in known or any(one.kind is one.VAR_KEYWORD for one in known.values())


def _passages(told: Any) -> list[Any]:  # noqa: ANN401 - whatever a retrieval model returns
    """Return passages as mappings of our own that have `long_text`.

    Raises:
        RecordError: One has no text.
    """
    if isinstance(told, dspy.Prediction):
        columns = {name: told[name] for name in ("indices", "scores") if name in told}
        found = []
        for i, one in enumerate(told["passages"]):
            more: dict[str, Any] = {} if "scores" not in columns else {"score": float(columns["scores"][i])}
            if "indices" in columns:
                more["pid"] = str(columns["indices"][i])
            found.append(_passage(one, i, more))
        return found
    if isinstance(told, str | Mapping) or not hasattr(told, "__iter__"):
        told = [told]
    return [_passage(one, i, {}) for i, one in enumerate(told)]


def _passage(one: Any, i: int, more: Mapping[str, Any]) -> Any:  # noqa: ANN401 - see `_passages`
    if isinstance(one, str):
        told: dict[str, Any] = {"long_text": one}
    else:
        told = dict(one.items()) if hasattr(one, "items") else dict(getattr(one, "__dict__", {}))
        if "long_text" not in told and hasattr(one, "long_text"):
            told["long_text"] = one.long_text
    text = next((told[name] for name in _TEXTS if isinstance(told.get(name), str)), None)
    if text is None:
        raise RecordError(
            "a passage has no text",
            code="results_shape",
            field=f"passages[{i}].long_text",
            value=type(one).__name__,
            hint="A retrieval model returns objects with long_text, or texts.",
        )
    return dotdict({**told, **more, "long_text": text})


def _answer(passages: Sequence[Any], found: Order) -> list[Any]:
    shown = [passages[i] for i in found.positions]
    for one in shown:
        one["event_id"] = found.event_id
        one["fallback"] = found.fallback
    return shown


class DwellRetrieve(dspy.Module):  # type: ignore[misc]
    """A module that retrieves through `DwellRM` and keeps the event id.

    Args:
        rm: A `DwellRM`.
        k: Passages to return; the model's own number when not given.

    Raises:
        ConfigError: Another retrieval model, which orders nothing and knows no event.
        RecordError: `k` is no positive integer.
    """

    def __init__(self, rm: DwellRM, k: int | None = None) -> None:
        super().__init__()
        if not isinstance(rm, DwellRM):
            raise ConfigError(
                "a DwellRM is due here", field="rm", value=type(rm).__name__, hint="Wrap it: DwellRM(rm, loop)."
            )
        self.rm = rm
        self.k = rm.k if k is None else checks.positive_integer(k, "k")

    def forward(self, query: str, k: int | None = None, **how: Any) -> Any:  # noqa: ANN401 - a dspy.Prediction
        """Return a prediction with `passages` (texts), `pids`, `event_id` and `fallback`; nothing found: no event."""
        return _prediction(self.rm(query, self.k if k is None else k, **how))

    async def aforward(self, query: str, k: int | None = None, **how: Any) -> Any:  # noqa: ANN401 - a dspy.Prediction
        """Return what `forward` does."""
        return _prediction(await self.rm.acall(query, self.k if k is None else k, **how))


def _prediction(found: Sequence[Any]) -> Any:  # noqa: ANN401 - a dspy.Prediction
    return dspy.Prediction(
        passages=[one.long_text for one in found],
        pids=[one.pid for one in found],
        event_id=found[0].event_id if found else None,
        fallback=found[0].fallback if found else None,
    )


class FeedbackMetric:
    """A metric that returns another one's score and gives it to the loop, about the lists that a prediction stands on.

    A metric is a program's opinion of its own work: declare a signal of a small weight for it, or name an agent's
    (`agent_helpful`), which is in no reward: a small weight, often given, is a large one. Each list is
    told once, however often a prediction is scored.

    Args:
        metric: Called as DSPy calls it: `metric(example, prediction, trace)`, or without `trace` where it takes none.
        loop: An open loop, or a client of a service.
        signal: Name of the signal, as the loop's rewards declare it.

    Attributes:
        feedback: {what became of a score: how many}, "no_event_id" for predictions that name no list.

    Raises:
        ConfigError: The loop's rewards do not declare the signal.
    """

    def __init__(self, metric: Callable[..., Any], loop: Any, *, signal: str) -> None:  # noqa: ANN401 - a loop or a client
        if isinstance(loop, Loop) and spec_of(loop.rewards.signals, signal) is None:
            raise ConfigError(
                "a metric is given to a signal that the rewards do not declare",
                field="signal",
                value=signal,
                hint=f"Open the store with rewards={{..., {signal!r}: 0.1}}.",
            )
        self._metric = metric
        self._loop = loop
        self._signal = signal
        self._lock = threading.Lock()
        self.feedback: Counter[str] = Counter()

    def __call__(self, example: Any, prediction: Any, *more: Any, **how: Any) -> Any:  # noqa: ANN401 - as DSPy calls it
        """Return the metric's score; what becomes of the feedback is counted and never raised."""
        score = self._metric(example, prediction, *more, **how)
        event_id = getattr(prediction, "event_id", None)
        if not isinstance(event_id, str):
            self._count("no_event_id")
            return score
        try:
            value = float(score)
        except (TypeError, ValueError):
            self._count("no_number")
            return score
        key = f"dspy:{self._signal}"  # beside the event id, under which keys are looked up
        try:
            answer = self._loop.submit_feedback(event_id, self._signal, value=value, idempotency_key=key)
            answer.add_done_callback(lambda done: self._settle(done.result()))
        except Exception as error:  # noqa: BLE001 - a loop that is closed must not end an evaluation
            self._count(f"internal:{type(error).__name__}")
        return score

    def _settle(self, answer: Feedback) -> None:
        rejected = f"rejected:{(answer.reason or 'unknown').partition(':')[0]}"
        self._count(rejected if answer.status == "rejected" else answer.status)

    def _count(self, what: str) -> None:
        with self._lock:
            self.feedback[what] += 1
