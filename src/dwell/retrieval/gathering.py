"""Ask several sources at once, and go on without one that fails or is slow."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Final, TypeVar

from dwell.errors import ConfigError, DwellError, RecordError
from dwell.records import checks
from dwell.retrieval.hybrid import Gathered, declared_names, filling, united
from dwell.retrieval.sources import CandidateSource, Filters, Found, best_first, read_request

__all__ = ["DEADLINE_S", "asearch", "awaited", "check_deadline", "gathered", "in_thread"]

T = TypeVar("T")

#: Longest wait for the slowest source. A choice: beyond a second a flow of thought is interrupted.
#: Source: J. Nielsen, "Usability Engineering", 1993, chapter 5.
DEADLINE_S: Final = 1.0


def gathered(
    sources: Sequence[CandidateSource],
    query: str,
    *,
    query_embedding: object = None,
    k: int = 50,
    filters: Filters | None = None,
    fill: Mapping[str, float] | None = None,
    missing: bool = False,
    deadline_s: float = DEADLINE_S,
) -> Gathered:
    """Return the candidates of all sources that answered in time, united; see `dwell.retrieval.hybrid.united`.

    Each is asked in a thread of its own. One that raises, answers what breaks its promises, or has not answered when
    the time is over is left out and named in `Gathered.left_out`: a search goes on with the others. Its thread ends
    when it answers; nothing waits for it.

    Args:
        sources: What is asked, at least one.
        query: What is asked for.
        query_embedding: Its vector.
        k: Most documents of each source.
        filters: Given to each source.
        fill: {feature: its value where a source did not find the document}.
        missing: Whether candidates have `<source>_missing` features.
        deadline_s: Longest time for all, > 0.

    Raises:
        RecordError: The query, k or the filters are malformed.
        ConfigError: The sources or what is to be filled do not fit together.
    """
    read_request(query, k, filters)
    declared_names(sources, missing=missing)
    filling(sources, fill)
    check_deadline(deadline_s)

    def ask(source: CandidateSource) -> list[Found]:
        return _kept(source.search(query, query_embedding=query_embedding, k=k, filters=filters), k, source)

    asked = [(source, in_thread(lambda source=source: ask(source))) for source in sources]  # type: ignore[misc]
    wait([future for _, future in asked], timeout=deadline_s)
    answers: dict[str, Sequence[Found]] = {}
    left_out: dict[str, str] = {}
    for source, future in asked:
        if not future.done():
            left_out[source.name] = "too_slow"
        elif (failure := future.exception()) is not None:
            left_out[source.name] = (
                failure.code if isinstance(failure, DwellError) else f"internal:{type(failure).__name__}"
            )
        else:
            answers[source.name] = future.result()
    return united(sources, answers, fill=fill, missing=missing, left_out=left_out)


async def asearch(
    source: CandidateSource,
    query: str,
    *,
    query_embedding: object = None,
    k: int = 50,
    filters: Filters | None = None,
) -> list[Found]:
    """Return what one source finds, without holding up the event loop; arguments and errors as `search` has them."""
    return await awaited(lambda: source.search(query, query_embedding=query_embedding, k=k, filters=filters))


def check_deadline(deadline_s: object) -> float:
    """Return how long sources are waited for, s.

    Raises:
        ConfigError: It is no number in [0.001, 3600].
    """
    try:
        return checks.within(deadline_s, "deadline_s", 1e-3, 3_600.0)
    except RecordError as error:
        raise ConfigError(error.message, field="deadline_s", value=deadline_s, hint=error.hint) from error


def in_thread(call: Callable[[], T]) -> Future[T]:
    """Return the future of a call in a thread of its own, which the end of the program does not wait for."""
    future: Future[T] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            answer = context.run(call)
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
            future.set_exception(error)
        else:
            future.set_result(answer)

    future.set_running_or_notify_cancel()
    threading.Thread(target=run, name="dwell-source", daemon=True).start()
    return future


async def awaited(call: Callable[[], T]) -> T:
    """Return what a call returns, made in a thread; whoever stops waiting leaves it to end by itself."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[T] = loop.create_future()

    def settle(done: Future[T]) -> None:
        if waiting.done():
            return
        error = done.exception()
        if error is None:
            waiting.set_result(done.result())
        else:
            waiting.set_exception(error)

    def hand_over(done: Future[T]) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop was closed: nobody waits any more
            loop.call_soon_threadsafe(settle, done)

    in_thread(call).add_done_callback(hand_over)
    return await waiting


def _kept(found: Sequence[Found], k: int, source: CandidateSource) -> list[Found]:
    """Return an answer as it came, once it is known to keep the promises of a source."""
    if not isinstance(found, list) or len(found) > k or len({one.id for one in found}) < len(found):
        raise RecordError(
            "a source answers a list of at most k documents, each once",
            code="results_shape",
            field=source.name,
            value=len(found),
            hint="dwell.testing.source_contract shows what it promises.",
        )
    best_first(found, k, source.features)
    return found
