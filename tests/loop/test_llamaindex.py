"""LlamaIndex, with the real library: what is served and recorded, what capture makes of its events, what fails how."""

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core import MockEmbedding, Settings, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import instrument_tags
from pydantic import ValidationError

import dwell
from dwell.errors import ConfigError, MissingDependencyError, RecordError
from dwell.integrations.llamaindex import (
    Capture,
    DwellPostprocessor,
    DwellRetriever,
    Reading,
    capture,
    event_ids_of,
    feedback_for,
)

FRESH = {"a": 0.2, "b": 0.5, "c": 0.9, "d": 0.1}
FRESHEST_FIRST = ["c", "b", "a", "d"]


def nodes() -> list[TextNode]:
    return [TextNode(text=f"text {name}", id_=name, metadata={"fresh": fresh}) for name, fresh in FRESH.items()]


def scored(found: list[TextNode] | None = None) -> list[NodeWithScore]:
    return [NodeWithScore(node=node, score=0.5) for node in found or nodes()]


@pytest.fixture(scope="module")
def index() -> Iterator[VectorStoreIndex]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Settings, "_tokenizer", str.split)  # its own takes seconds to read, and nobody counts here
        yield VectorStoreIndex(nodes(), embed_model=MockEmbedding(embed_dim=4))


def shown(loop: dwell.Loop, event_id: str) -> list[str] | None:
    assert loop.when_recorded(event_id).result()
    return loop.shown(event_id)


@pytest.fixture
def loop() -> Iterator[dwell.Loop]:
    with dwell.open(
        ":memory:",
        features=["reciprocal_rank", "fresh"],
        weights={"reciprocal_rank": 0.0, "fresh": 1.0},
        temperature=0.0,
        rewards="rag",
        pepper=b"p" * 32,
    ) as opened:
        yield opened


@pytest.fixture
def watching(loop: dwell.Loop) -> Iterator[Capture]:
    with capture(loop) as found:
        yield found


def engine(index: VectorStoreIndex, *postprocessors: BaseNodePostprocessor) -> Any:
    return index.as_query_engine(llm=MockLLM(), similarity_top_k=4, node_postprocessors=list(postprocessors))


def ids(found: list[NodeWithScore]) -> list[str]:
    return [one.node_id for one in found]


class Broken:
    """A loop that can do nothing."""

    feature_columns = ("fresh",)

    def rank(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    log_retrieval = feedback = submit_feedback = rank


class Reversing(BaseNodePostprocessor):
    """A reranker as others write them: it tells the instrumentation, and keeps the last ones."""

    keeps: int = 3
    is_failing: bool = False

    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None) -> Any:
        from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent

        dispatcher = get_dispatcher(__name__)
        dispatcher.event(ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=self.keeps, model_name="reversing"))
        kept = [NodeWithScore(node=one.node, score=float(i)) for i, one in enumerate(nodes)][::-1][: self.keeps]
        dispatcher.event(ReRankEndEvent(nodes=kept))
        if self.is_failing:
            raise LookupError("the model is gone")
        return kept


# ---- ordering


def test_the_loop_orders_the_nodes_of_a_query(index: VectorStoreIndex, loop: dwell.Loop) -> None:
    with instrument_tags({"user_id": 77, "segment": "docs"}):
        response = engine(index, DwellPostprocessor(loop=loop, k=3)).query("reset 2fa")
    assert ids(response.source_nodes) == FRESHEST_FIRST[:3]
    (seen,) = loop.experiences()
    assert (seen.event_id, seen.query) == (event_ids_of(response)[0], "reset 2fa")
    assert (seen.user, seen.segment) == (loop.pseudonym("77"), "docs")
    first = response.source_nodes[0].node
    assert first.metadata["event_id"] == seen.event_id
    assert first.metadata["dwell"]["position"] == 3
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert first.get_content(mode) == "fresh: 0.9\n\ntext c"
    assert seen.event_id not in str(response)  # the mock answers with its prompt
    assert [one.status for one in feedback_for(loop, response, "helpful")] == ["joined"]
    assert [one.status for one in feedback_for(loop, response.source_nodes[1], "used")] == ["joined"]
    assert [(one.name, one.doc) for one in loop.signals(seen.event_id)] == [("helpful", None), ("used", "b")]
    stored = index.docstore.docs["c"]
    assert stored.metadata == {"fresh": 0.9}  # the store's own node is left as it is


@pytest.mark.parametrize("is_async", [False, True])
def test_the_loop_orders_what_a_retriever_finds(index: VectorStoreIndex, loop: dwell.Loop, *, is_async: bool) -> None:
    retriever = DwellRetriever(index.as_retriever(similarity_top_k=4), loop, k=2)
    found = asyncio.run(retriever.aretrieve("q")) if is_async else retriever.retrieve("q")
    assert ids(found) == FRESHEST_FIRST[:2]
    assert loop.recorded(event_ids_of(found))
    assert [one.score for one in found] == [one.score for one in index.as_retriever(similarity_top_k=2).retrieve("q")]


def test_the_event_loop_is_never_waited_in(loop: dwell.Loop) -> None:
    threads: list[int] = []

    class Watched:
        feature_columns = loop.feature_columns
        submit_feedback = loop.submit_feedback

        def rank(self, *args: Any, **how: Any) -> Any:
            threads.append(threading.get_ident())
            return loop.rank(*args, **how)

    class Found(BaseRetriever):
        def _retrieve(self, _: QueryBundle) -> list[NodeWithScore]:
            return scored()

    watched: Any = Watched()
    asyncio.run(DwellRetriever(Found(), watched).aretrieve("q"))
    asyncio.run(DwellPostprocessor(loop=watched).apostprocess_nodes(scored(), query_str="q"))
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def test_a_broken_loop_leaves_the_order_and_says_so(loop: dwell.Loop) -> None:
    found = DwellPostprocessor(loop=Broken(), k=2).postprocess_nodes(scored(), query_str="q")
    assert ids(found) == ["a", "b"]
    assert {one.metadata["dwell"]["fallback"] for one in found} == {"internal:RuntimeError"}
    assert event_ids_of(found) == []
    assert feedback_for(loop, found, "helpful") == []
    with pytest.raises(RuntimeError, match="broken"):
        DwellPostprocessor(loop=Broken(), is_strict=True).postprocess_nodes(scored(), query_str="q")


BAD = {
    "nan": ({"metadata": {"fresh": float("nan")}}, "non_finite:fresh"),
    "no feature": ({"metadata": {}}, "feature_schema:fresh"),
    "text": ({"metadata": {"fresh": "0.5"}}, "type:fresh"),
    "twice": ({"id_": "a"}, "results_shape"),
    "control character": ({"id_": "a\u0000b"}, "id"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_node_costs_the_ranking_never_the_query(loop: dwell.Loop, name: str) -> None:
    change, code = BAD[name]
    given = nodes()
    given[1] = given[1].model_copy(update=change)
    found = DwellPostprocessor(loop=loop).postprocess_nodes(scored(given), query_str="q")
    assert [one.text for one in found] == [one.text for one in given]
    assert {one.metadata["dwell"]["fallback"] for one in found} == {code}
    assert list(loop.experiences()) == []


def test_edges(loop: dwell.Loop) -> None:
    assert DwellPostprocessor(loop=loop).postprocess_nodes([], query_str="q") == []
    assert len(DwellPostprocessor(loop=loop, k=10**6).postprocess_nodes(scored())) == 4
    keyed = DwellPostprocessor(loop=loop, reading=Reading(id_key="n", defaults={"fresh": 0.0}))
    given = scored([TextNode(text="x", metadata={"n": n}) for n in (1, 2)])
    assert [one.metadata["dwell"]["doc"] for one in keyed.postprocess_nodes(given, query_str="q")] == ["1", "2"]
    with pytest.raises(ValueError, match="both"):
        keyed.postprocess_nodes(given, query_str="q", query_bundle=QueryBundle("q"))
    assert "loop" not in keyed.to_dict()
    for k in (0, True, "3"):
        with pytest.raises(ValidationError, match="k"):
            DwellPostprocessor(loop=loop, k=k)
        with pytest.raises(RecordError, match="'k'"):
            DwellRetriever(Any, loop, k=k)  # type: ignore[arg-type]
    with pytest.raises(RecordError, match=r"dwell\.Loop or a dwell\.Client"):
        DwellRetriever(Any, object())  # type: ignore[arg-type]
    client = dwell.Client("http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="a client does not know the registered features"):
        capture(client)
    client.close()


# ---- capture


def test_names_that_it_does_not_have_are_refused(loop: dwell.Loop) -> None:
    with pytest.raises(ValidationError, match="top_n"):
        DwellPostprocessor(loop=loop, top_n=2)  # type: ignore[call-arg]
    with pytest.raises(RecordError, match=r"loop\.feedback\(event_id"):
        feedback_for(loop, "an-event-id", "helpful")


def test_capture_records_what_a_query_showed(index: VectorStoreIndex, loop: dwell.Loop, watching: Capture) -> None:
    plain = str(engine(index).query("reset 2fa"))
    watching.flush()
    with instrument_tags({"user_id": "u-77"}):
        response = engine(index).query("reset 2fa")
    assert str(response) == plain  # nothing of it reaches the prompt, which the mock answers with
    assert [one.status for one in watching.feedback(response, "helpful")] == ["joined"]
    assert [one.status for one in watching.feedback(response.source_nodes[2], "used")] == ["joined"]
    assert watching.counts == {"recorded": 2}
    _, seen = loop.experiences()
    assert (event_ids_of(response), seen.query) == ([seen.event_id], "reset 2fa")
    assert seen.user == loop.pseudonym("u-77")
    assert shown(loop, seen.event_id) == ["a", "b", "c", "d"]
    assert [(one.name, one.doc) for one in loop.signals(seen.event_id)] == [("helpful", None), ("used", "c")]
    with loop.facts() as reader:
        (impression,) = reader.impressions([loop.last_seq()])
    assert impression.policy == "external"
    fresh = impression.features[:, impression.feature_names.index("fresh")].tolist()
    assert fresh == pytest.approx([FRESH[doc] for doc in impression.documents])


def test_capture_takes_the_order_of_the_reranker_and_the_features_of_the_retriever(
    index: VectorStoreIndex, loop: dwell.Loop, watching: Capture
) -> None:
    response = asyncio.run(engine(index, Reversing()).aquery("q"))
    watching.flush()
    (event_id,) = event_ids_of(response)
    assert shown(loop, event_id) == ["d", "c", "b"]
    with loop.facts() as reader:
        (impression,) = reader.impressions([loop.last_seq()])
    place = impression.feature_names.index("reciprocal_rank")
    assert impression.features[:, place].tolist() == pytest.approx([1 / 4, 1 / 3, 1 / 2])
    assert impression.scores.tolist() == [3.0, 2.0, 1.0]  # the reranker's
    assert watching.counts == {"recorded": 1}


def test_capture_takes_the_order_of_the_reranker_where_no_response_tells(
    index: VectorStoreIndex, loop: dwell.Loop, watching: Capture
) -> None:
    found: list[NodeWithScore] = []

    @get_dispatcher(__name__).span
    def asked(query: str) -> str:
        found.extend(Reversing(keeps=2).postprocess_nodes(index.as_retriever(similarity_top_k=4).retrieve(query)))
        return "an answer without sources"

    asked("q")
    assert watching.flush()
    assert shown(loop, event_ids_of(found)[0]) == ["d", "c"]


def test_capture_takes_what_was_left_of_a_list(index: VectorStoreIndex, loop: dwell.Loop, watching: Capture) -> None:
    class Cutting(SimilarityPostprocessor):
        """Tells nobody what it takes away."""

        def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None) -> Any:
            del query_bundle
            return nodes[1:3]

    response = engine(index, Cutting()).query("q")
    watching.flush()
    assert shown(loop, event_ids_of(response)[0]) == ["b", "c"]


def test_capture_leaves_out_what_is_no_list_of_its_own(
    index: VectorStoreIndex, loop: dwell.Loop, watching: Capture
) -> None:
    class Twice(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            inner = index.as_retriever(similarity_top_k=2)
            return inner.retrieve(query_bundle) + inner.retrieve(query_bundle)[:0]

    class Nothing(BaseRetriever):
        def _retrieve(self, _: QueryBundle) -> list[NodeWithScore]:
            return []

    Twice().retrieve("q")
    Nothing().retrieve("q")
    with pytest.raises(LookupError, match="the model is gone"):
        engine(index, Reversing(is_failing=True)).query("q")
    engine(index, DwellPostprocessor(loop=loop)).query("q")
    DwellRetriever(index.as_retriever(), loop).retrieve("q")
    apart = index.as_retriever(similarity_top_k=4).retrieve("q")
    Reversing().postprocess_nodes(apart, query_str="q")
    watching.flush()
    due = {"nested": 3, "recorded": 2, "empty": 1, "failed": 1, "own": 2, "reranked_apart": 1}
    assert watching.counts == due


def test_capture_never_harms_a_query_and_lets_go(index: VectorStoreIndex, loop: dwell.Loop) -> None:
    root = get_dispatcher()
    before = (list(root.event_handlers), list(root.span_handlers))
    broken: Any = Broken()
    with capture(broken) as first, capture(loop, reading=Reading(features=("fresh",), id_key="n")) as second:
        response = engine(index).query("q")
        assert len(response.source_nodes) == 4
        assert first.flush()
        assert second.flush()
        assert first.counts == {"refused:internal:RuntimeError": 1}
        assert second.counts == {"refused:results_shape": 1}
    assert (root.event_handlers, root.span_handlers) == before
    engine(index).query("q")
    assert first.counts == {"refused:internal:RuntimeError": 1}
    first.detach()


def test_capture_holds_a_bounded_number_of_lists(index: VectorStoreIndex, loop: dwell.Loop) -> None:
    go = threading.Event()

    class Slow:
        feature_columns = loop.feature_columns
        rank = submit_feedback = loop.rank

        def log_retrieval(self, *args: Any, **how: Any) -> str:
            go.wait(10.0)
            return loop.log_retrieval(*args, **how)

    slow: Any = Slow()
    retriever = index.as_retriever(similarity_top_k=2)
    with capture(slow, max_waiting=2) as watching:
        retriever.retrieve("q")
        while watching._waiting:
            time.sleep(0.001)  # until the one is with the loop, which is slow
        for _ in range(3):
            retriever.retrieve("q")
        assert watching.counts == {"overloaded": 1}
        go.set()
        assert watching.flush()
        assert watching.counts == {"overloaded": 1, "recorded": 3}


def test_a_missing_library_is_an_error_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("dwell.integrations.llamaindex")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "llama_index.core", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dwell\[llamaindex\]'"):
        import dwell.integrations.llamaindex  # noqa: F401
