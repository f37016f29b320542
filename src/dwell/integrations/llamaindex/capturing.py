"""Retrievals of LlamaIndex as a loop's experience, through its own instrumentation: no pipeline is changed."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from llama_index_instrumentation import get_dispatcher

from dwell.errors import DwellError
from dwell.integrations.found import RankingLoop, Reading, as_identifier, checked_loop
from dwell.integrations.llamaindex.feedback import feedback_for
from dwell.integrations.llamaindex.watching import EventWatcher, SpanWatcher, Trace
from dwell.records import Feedback, checks

__all__ = ["Capture", "capture"]

_MOST_WAITING: Final = (
    1_000  # lists between the pipeline and the loop: some seconds of a busy server's, a few megabytes
)


def capture(
    loop: RankingLoop,
    *,
    reading: Reading | None = None,
    user_key: str = "user_id",
    segment_key: str = "segment",
    max_waiting: int = _MOST_WAITING,
) -> Capture:
    """Return what records every retrieval of this process from now on, until `detach`.

    A retrieval is recorded when the query in the course of which it was made has ended, with what was shown in the end:
    the source nodes of the response where it has some, else what the last reranker left, else what was retrieved. Each
    node says in its metadata in which list it is, hidden from models and embeddings, so that `feedback_for` finds it.

    Args:
        loop: A `dwell.Loop` or a `dwell.Client`; it stays the caller's, to close.
        reading: How features and identities are read from a node.
        user_key: The tag of `instrument_tags` that says who asks.
        segment_key: The tag that names a group of queries.
        max_waiting: Lists that may wait for the loop, >= 1; more are left out, and counted.

    Raises:
        RecordError: `loop` is no loop, or `max_waiting` is no positive integer.
        ConfigError: A client without `reading.features`.
    """
    most = checks.positive_integer(max_waiting, "max_waiting")
    return Capture(loop, Reading() if reading is None else reading, (user_key, segment_key), most)


class Recording(NamedTuple):
    """A list to be recorded."""

    event_id: str
    query: str
    results: Sequence[dict[str, Any]]
    user: object
    segment: object


class Capture:
    """Retrievals on their way to a loop; made by `capture`. A context that detaches at its end.

    What goes wrong is counted and never reaches the pipeline, and a thread of its own talks to the loop. Memory is
    bounded: so many lists wait, and the spans of 10,000 calls under way are known.
    """

    def __init__(self, loop: RankingLoop, reading: Reading, keys: tuple[str, str], max_waiting: int) -> None:
        checked_loop(loop, reading)
        self._max_waiting = max_waiting
        self._loop = loop
        self._counts: Counter[str] = Counter()
        self._waiting: deque[Recording] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_busy = False
        self._is_over = False
        trace = Trace(reading, reading.names(loop), keys, count=self._count, record=self._take)
        self._events, self._spans = EventWatcher(trace), SpanWatcher(trace)
        root = get_dispatcher()
        root.add_event_handler(self._events)
        root.add_span_handler(self._spans)

    @property
    def counts(self) -> dict[str, int]:
        """What was "recorded", and what was not, by its reason: "nested" (an ingredient of another retrieval), "own"
        (dwell ordered it), "empty", "failed" (the query raised), "reranked_apart" (outside the query that retrieved),
        "overloaded", and "refused:" with the loop's code.
        """  # noqa: D205 - one sentence
        with self._changed:
            return dict(self._counts)

    def feedback(self, about: object, signal: str, *, value: float = 1.0, at: float | None = None) -> list[Feedback]:
        """Return what became of a reaction to a response or node, once what was retrieved is with the loop.

        Arguments as `feedback_for`.
        """
        self.flush()
        return feedback_for(self._loop, about, signal, value=value, at=at)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Return whether all that was retrieved by ended queries is with the loop, waiting for it so long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_busy, timeout_s)

    def detach(self, timeout_s: float = 5.0) -> None:
        """Stop listening, and wait so long for the loop to have what was retrieved. Twice is legal."""
        root = get_dispatcher()
        # by identity: two captures of one loop are equal to pydantic
        root.event_handlers = [one for one in root.event_handlers if one is not self._events]
        root.span_handlers = [one for one in root.span_handlers if one is not self._spans]
        self.flush(timeout_s)
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    def _count(self, what: str) -> None:
        with self._changed:
            self._counts[what] += 1

    def _take(self, query: str, results: Sequence[dict[str, Any]], event_id: str, who: tuple[object, object]) -> None:
        with self._changed:
            if self._is_over or len(self._waiting) >= self._max_waiting:
                self._counts["overloaded"] += 1
                return
            self._waiting.append(Recording(event_id, query, results, *who))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="dwell-capture", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._waiting) or self._is_over)
                if not self._waiting:
                    return
                one = self._waiting.popleft()
                self._is_busy = True
            self._count(self._recorded(one))

    def _recorded(self, one: Recording) -> str:
        """Hand a list to the loop and return what to count."""
        try:
            self._loop.log_retrieval(
                one.query,
                one.results,
                user=as_identifier(one.user),
                segment=as_identifier(one.segment),
                event_id=one.event_id,
            )
        except DwellError as error:
            return f"refused:{error.code}"
        except Exception as error:  # noqa: BLE001 - it must not end the thread
            return f"refused:internal:{type(error).__name__}"
        return "recorded"
