"""Which lists were served in the course of a run: so that a verdict on the answer reaches what it was made of."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from typing_extensions import override

from dwell.integrations.found import event_id_in

__all__ = ["RunTrail"]

_REMEMBERED: Final = 10_000  # runs: a few megabytes, and more than are under way and rated within minutes


class RunTrail(BaseCallbackHandler):
    """A callback that remembers, for every run, the lists that dwell served below it.

    Give it with the config of the chain, `{"callbacks": [trail]}`; the people who rate an answer know the run of the
    chain, while an event has the id of the retriever's run below it. It keeps the last 10,000 runs of this process, and
    may be shared by all threads.
    """

    run_inline = True  # it only notes something down: no reason to hand it to another thread

    def __init__(self) -> None:
        self._parents: OrderedDict[str, str | None] = OrderedDict()
        self._events: OrderedDict[str, list[str]] = OrderedDict()
        self._lock = threading.Lock()

    def events_of(self, run_id: UUID | str) -> list[str]:
        """Return the event ids of the lists served in a run and below it, in order; empty where none is known."""
        with self._lock:
            return list(self._events.get(str(run_id), ()))

    def _begin(self, run_id: UUID, parent_run_id: UUID | None) -> None:
        with self._lock:
            self._parents[str(run_id)] = None if parent_run_id is None else str(parent_run_id)
            while len(self._parents) > _REMEMBERED:
                self._parents.popitem(last=False)

    @override
    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """Note a run below its parent."""
        self._begin(run_id, parent_run_id)

    @override
    def on_tool_start(
        self, serialized: Any, input_str: str, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """Note a run below its parent."""
        self._begin(run_id, parent_run_id)

    @override
    def on_retriever_start(
        self, serialized: Any, query: str, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """Note a run below its parent."""
        self._begin(run_id, parent_run_id)

    @override
    def on_retriever_end(
        self, documents: Sequence[Document], *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """Note the lists that these documents were served in, for the run and all above it."""
        found = dict.fromkeys(filter(None, (event_id_in(document.metadata) for document in documents)))
        with self._lock:
            at: str | None = str(run_id)
            while at is not None:
                known = self._events.setdefault(at, [])
                known += [event_id for event_id in found if event_id not in known]
                at = self._parents.get(at)
            while len(self._events) > _REMEMBERED:
                self._events.popitem(last=False)
