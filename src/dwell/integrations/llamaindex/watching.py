"""Events and spans of LlamaIndex's instrumentation, joined into the lists that were shown."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.schema import NodeWithScore
from llama_index_instrumentation.base import BaseEvent
from pydantic import PrivateAttr
from typing_extensions import override

from dwell.integrations.found import NOTE, Reading, event_id_in
from dwell.integrations.llamaindex.nodes import found_in, identity, marked, who_asks

__all__ = ["EventWatcher", "SpanWatcher", "Trace"]

_MOST_SPANS: Final = 10_000  # calls under way: an application that leaks spans must not take the memory along

Record = Callable[[str, Sequence[dict[str, Any]], str, tuple[object, object]], None]


@dataclass(slots=True)
class _List:
    """A list that was retrieved, as it stands: `results` in the order shown, by id."""

    event_id: str
    query: str
    who: tuple[object, object]
    results: dict[object, dict[str, Any]]


@dataclass(slots=True)
class _Span:
    """A call under way."""

    parent: str | None
    is_retrieval: bool = False
    lists: list[_List] = field(default_factory=list)


class Trace:
    """What is known of the calls under way, and the lists retrieved in their course.

    Args:
        reading: How features and identities are read from a node.
        names: The features.
        keys: The tags that say who asks, and about what.
        count: Counts what is left out.
        record: Takes a list once the outermost call around it has ended: query, results, event id, who asked.
    """

    def __init__(
        self,
        reading: Reading,
        names: Sequence[str],
        keys: tuple[str, str],
        *,
        count: Callable[[str], None],
        record: Record,
    ) -> None:
        self._reading = reading
        self._names = names
        self._keys = keys
        self._count = count
        self._record = record
        self._spans: OrderedDict[str, _Span] = OrderedDict()
        self._lock = threading.RLock()

    # ---- spans

    def entered(self, span_id: str, parent_id: str | None) -> None:
        """Note a call below its parent."""
        with self._lock:
            self._spans[span_id] = _Span(parent_id)
            while len(self._spans) > _MOST_SPANS:
                _, lost = self._spans.popitem(last=False)
                for _ in lost.lists:
                    self._count("overloaded")

    def ended(self, span_id: str, result: object) -> None:
        """Record the lists of an outermost call, as far as its response still shows them."""
        with self._lock:
            span = self._spans.pop(span_id, None)
        for one in [] if span is None else span.lists:
            sources = getattr(result, "source_nodes", None) or ()
            shown = [node for node in sources if event_id_in(node.node.metadata) == one.event_id]
            if shown:
                self._reorder(one, shown)
            self._record(one.query, list(one.results.values()), one.event_id, one.who)

    def failed(self, span_id: str) -> None:
        """Forget the lists of an outermost call that raised: nobody saw them."""
        with self._lock:
            span = self._spans.pop(span_id, None)
        for _ in [] if span is None else span.lists:
            self._count("failed")

    def _above(self, span_id: str | None) -> list[_Span]:
        """Return a call and those around it, innermost first."""
        found: list[_Span] = []
        while span_id is not None and (span := self._spans.get(span_id)) is not None:
            found.append(span)
            span_id = span.parent
        return found

    # ---- events

    def retrieving(self, event: RetrievalStartEvent) -> None:
        """Note that a call is a retrieval: those within it are its ingredients."""
        with self._lock:
            span = self._spans.get(event.span_id or "")
            if span is not None:
                span.is_retrieval = True

    def retrieved(self, event: RetrievalEndEvent) -> None:
        """Keep a list until the outermost call around it ends, and say on its nodes which one it is."""
        with self._lock:
            around = self._above(event.span_id)
        if any(span.is_retrieval for span in around[1:]):
            self._count("nested")
        elif not event.nodes:
            self._count("empty")
        elif any(_is_own(one) for one in event.nodes):
            self._count("own")
        else:
            one = self._listed(event)
            if around:
                around[-1].lists.append(one)
            else:  # nobody says when it ends
                self._record(one.query, list(one.results.values()), one.event_id, one.who)

    def _listed(self, event: RetrievalEndEvent) -> _List:
        asked = event.str_or_query_bundle
        found = found_in(event.nodes, self._names, self._reading)
        results: dict[object, dict[str, Any]] = {}
        event_id = str(uuid.uuid4())
        for position, (one, node) in enumerate(zip(found, event.nodes, strict=True)):
            score = {} if node.score is None else {"score": float(node.score)}
            # two nodes of one id stay two: the loop refuses the list by name, and capture does not choose for it
            key = one.id if one.id not in results else (one.id, position)
            results[key] = {**score, **one.values, "id": one.id}
            note = {"event_id": event_id, "doc": one.id, "position": position + 1, "captured": True}
            # the list of nodes is the pipeline's own, its nodes may be the store's: the node is exchanged, not changed
            node.node = marked(node.node, event_id, note)
        who = who_asks(*self._keys, tags=event.tags)
        return _List(event_id, asked if isinstance(asked, str) else asked.query_str, (who.user, who.segment), results)

    def reranked(self, event: ReRankEndEvent) -> None:
        """Take over the order that a reranker gave to the newest list of the same query that holds all its nodes."""
        ids = [identity(one.node, self._reading.id_key) for one in event.nodes]
        with self._lock:
            around = self._above(event.span_id)
        lists = around[-1].lists if around else []
        one = next((one for one in reversed(lists) if all(doc in one.results for doc in ids)), None)
        if any(_is_own(node) for node in event.nodes):  # dwell has recorded what is shown
            if one is not None:
                lists.remove(one)
            self._count("own")
        elif one is None:
            self._count("reranked_apart")
        else:
            self._reorder(one, event.nodes)

    def _reorder(self, one: _List, nodes: Sequence[NodeWithScore]) -> None:
        shown: dict[object, dict[str, Any]] = {}
        for node in nodes:
            doc = identity(node.node, self._reading.id_key)
            known = one.results.get(doc)
            if known is None:
                continue
            shown[doc] = known
            if "score" not in self._names:  # as a feature it stays what the retriever gave
                shown[doc] = {name: value for name, value in known.items() if name != "score"}
                if node.score is not None:
                    shown[doc]["score"] = float(node.score)
        if shown:
            one.results = shown

    def refused(self, error: Exception) -> None:
        """Count what went wrong here."""
        self._count(f"refused:internal:{type(error).__name__}")


def _is_own(node: NodeWithScore) -> bool:
    """Return whether dwell ordered a node, and did not only watch it go by."""
    note = node.node.metadata.get(NOTE)
    return isinstance(note, Mapping) and "captured" not in note


class EventWatcher(BaseEventHandler):
    """Hands retrievals and rerankings on; whatever is wrong with one is counted."""

    _trace: Trace = PrivateAttr()

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "DwellEventWatcher"

    @override
    def handle(self, event: BaseEvent, **_: Any) -> None:
        """Take an event; never raises."""
        try:
            if isinstance(event, RetrievalStartEvent):
                self._trace.retrieving(event)
            elif isinstance(event, RetrievalEndEvent):
                self._trace.retrieved(event)
            elif isinstance(event, ReRankEndEvent):
                self._trace.reranked(event)
        except Exception as error:  # noqa: BLE001 - somebody's query must not fail because of us
            self._trace.refused(error)


class SpanWatcher(BaseSpanHandler[BaseSpan]):
    """Hands the beginning and end of calls on; keeps none of them."""

    _trace: Trace = PrivateAttr()

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "DwellSpanWatcher"

    @override
    def new_span(self, id_: str, *_: Any, parent_span_id: str | None = None, **__: Any) -> None:
        self._trace.entered(id_, parent_span_id)

    @override
    def prepare_to_exit_span(self, id_: str, *_: Any, result: Any = None, **__: Any) -> None:
        try:
            self._trace.ended(id_, result)
        except Exception as error:  # noqa: BLE001 - as above
            self._trace.refused(error)

    @override
    def prepare_to_drop_span(self, id_: str, *_: Any, **__: Any) -> None:
        self._trace.failed(id_)
