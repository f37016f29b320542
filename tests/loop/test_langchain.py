"""LangChain, with the real library: its own suite for retrievers, what is served and recorded, and what fails how."""

import asyncio
import functools
import json
import pickle
import runpy
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.callbacks import BaseCallbackHandler, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.load import dumps
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_tests.integration_tests import RetrieversIntegrationTests
from langsmith.schemas import FeedbackSourceType
from pydantic import ValidationError

import dwell
from dwell.errors import ConfigError, MissingDependencyError, RecordError
from dwell.integrations.langchain import (
    DwellCompressor,
    DwellRetriever,
    Reading,
    RunTrail,
    feedback_for_run,
    mirrored_client,
)

# its coroutine carries no mark of its own: the suite expects pytest to run every coroutine
pytest.mark.asyncio(RetrieversIntegrationTests.test_ainvoke_returns_documents)

HIGHEST_FRESHNESS_FIRST = [2, 1, 0, 3]  # by `documents`


def documents() -> list[Document]:
    """Return four documents in a retriever's order; the freshest stands third."""
    return [
        Document(page_content=f"text {name}", id=name, metadata={"fresh": fresh, "event_id": "the document's own"})
        for name, fresh in (("a", 0.2), ("b", 0.5), ("c", 0.9), ("d", 0.1))
    ]


class Listed(BaseRetriever):
    """Finds the same documents whatever is asked."""

    found: list[Document]

    def _get_relevant_documents(self, *_: Any, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        del run_manager  # LangChain passes it to those who name it
        return self.found


def of_freshness(**settings: Any) -> dwell.Loop:
    """Return a loop that puts the freshest first and draws nothing."""
    return dwell.open(
        ":memory:",
        features=["reciprocal_rank", "fresh"],
        weights={"reciprocal_rank": 0.0, "fresh": 1.0},
        temperature=0.0,
        rewards="rag",
        pepper=b"p" * 32,
        **settings,
    )


@pytest.fixture
def loop() -> Iterator[dwell.Loop]:
    with of_freshness() as opened:
        yield opened


def retriever_of(loop: Any, found: list[Document] | None = None, **settings: Any) -> DwellRetriever:
    return DwellRetriever(base=Listed(found=documents() if found is None else found), loop=loop, **settings)


def ids(found: list[Document]) -> list[str | None]:
    return [document.id for document in found]


class TestDwellRetrieverConforms(RetrieversIntegrationTests):
    loops: list[dwell.Loop] = []  # noqa: RUF012 - the suite makes a retriever per test

    @pytest.fixture(autouse=True)
    def closed(self) -> Iterator[None]:
        yield
        while self.loops:
            self.loops.pop().close()

    @property
    def retriever_constructor(self) -> type[DwellRetriever]:
        return DwellRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        self.loops.append(of_freshness())
        return {"base": Listed(found=documents()), "loop": self.loops[-1]}

    @property
    def retriever_query_example(self) -> str:
        return "reset 2fa"


class Runs(BaseCallbackHandler):
    """Keeps (name, run, parent) of every retriever that starts."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, uuid.UUID, uuid.UUID | None]] = []

    def on_retriever_start(self, *_: Any, run_id: Any, parent_run_id: Any = None, **said: Any) -> None:
        self.begun.append((said["name"], run_id, parent_run_id))


@pytest.mark.parametrize("is_async", [False, True])
def test_the_loop_orders_and_remembers_under_the_run(loop: dwell.Loop, is_async: bool) -> None:  # noqa: FBT001
    runs, before = Runs(), documents()
    retriever = retriever_of(loop, before, k=3)
    config: Any = {"callbacks": [runs], "configurable": {"user_id": 77}, "metadata": {"segment": "docs"}}
    asked = ("reset 2fa", config)
    found = asyncio.run(retriever.ainvoke(*asked)) if is_async else retriever.invoke(*asked)
    assert ids(found) == [documents()[i].id for i in HIGHEST_FRESHNESS_FIRST[:3]]
    (own, run_id, _), (base, _, parent) = runs.begun
    assert (own, base, parent) == ("DwellRetriever", "Listed", run_id)  # a child run in any trace
    note = found[0].metadata["dwell"]
    assert found[0].metadata["event_id"] == note["event_id"] == str(run_id)
    assert (note["doc"], note["position"], note["propensity"]) == ("c", 3, 1.0)
    assert json.loads(json.dumps(note)) == note
    assert before == documents()  # the retriever's own documents are left as they are
    (seen,) = loop.experiences()
    assert (seen.event_id, seen.segment, seen.user) == (str(run_id), "docs", loop.pseudonym("77"))
    with loop.facts() as reader:
        (impression,) = reader.impressions([loop.last_seq()])
    features = dict(zip(impression.feature_names, impression.features[0].tolist(), strict=True))
    assert features == pytest.approx({"reciprocal_rank": 1 / 3, "fresh": 0.9})  # the freshest stood third


def test_what_is_said_in_the_call_comes_before_the_config_and_it_before_metadata(loop: dwell.Loop) -> None:
    retriever = retriever_of(loop)
    config: Any = {"configurable": {"user_id": "configured"}, "metadata": {"user_id": "metadata"}}
    retriever.invoke("q", config)
    retriever.invoke("q", config, user="said")
    retriever.invoke("q", {"metadata": {"user_id": "metadata"}})
    retriever.invoke("q")
    due = [loop.pseudonym(name) for name in ("configured", "said", "metadata")]
    assert [one.user for one in loop.experiences()] == [*due, None]


def test_a_configurable_reaches_the_wrapped_retriever(loop: dwell.Loop) -> None:
    base = Listed(found=documents()).configurable_fields(found=ConfigurableField(id="found"))
    found = DwellRetriever(base=base, loop=loop).invoke("q", {"configurable": {"found": documents()[:1]}})
    assert ids(found) == ["a"]


def test_feedback_reaches_the_list_by_the_run_and_by_the_document(loop: dwell.Loop) -> None:
    run_id = uuid.uuid4()
    found = retriever_of(loop).invoke("q", run_id=run_id)
    assert [one.status for one in feedback_for_run(loop, run_id, "helpful")] == ["joined"]
    assert feedback_for_run(loop, uuid.uuid4(), "used", doc=found[0])[0].status == "joined"  # it knows its list
    assert feedback_for_run(loop, run_id, "used", doc="never served")[0].status == "rejected"
    assert [(one.name, one.doc) for one in loop.signals(str(run_id))] == [("helpful", None), ("used", "c")]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_trail_leads_from_the_chain_to_its_lists(loop: dwell.Loop, is_async: bool) -> None:  # noqa: FBT001
    trail, run_id = RunTrail(), uuid.uuid4()
    chain = RunnableLambda(lambda query: query) | {"first": retriever_of(loop), "second": retriever_of(loop)}
    config: Any = {"callbacks": [trail], "run_id": run_id}
    found = asyncio.run(chain.ainvoke("q", config)) if is_async else chain.invoke("q", config)
    due = {found["first"][0].metadata["event_id"], found["second"][0].metadata["event_id"]}
    assert len(due) == 2
    assert set(trail.events_of(run_id)) == due
    answers = feedback_for_run(loop, run_id, "task_completed", trail=trail, idempotency_key="once")
    assert [one.status for one in answers] == ["joined", "joined"]
    again = feedback_for_run(loop, run_id, "task_completed", trail=trail, idempotency_key="once")
    assert [one.status for one in again] == ["duplicate", "duplicate"]
    assert trail.events_of(uuid.uuid4()) == []


class LangSmith:
    """What of LangSmith's client matters here: it answers, or raises."""

    project = "its own"

    def __init__(self, error: Exception | None = None) -> None:
        self.heard: list[Any] = []
        self.error = error

    def create_feedback(self, run_id: Any = None, key: str = "unnamed", *, score: Any = None, **said: Any) -> str:
        if self.error is not None:
            raise self.error
        self.heard.append((run_id, key, score, said))
        return "LangSmith's answer"


class AsyncLangSmith(LangSmith):
    async def create_feedback(self, *args: Any, **said: Any) -> str:  # type: ignore[override]
        return super().create_feedback(*args, **said)


def test_a_mirrored_client_passes_everything_on_and_tells_the_loop(loop: dwell.Loop) -> None:
    run_id, theirs = uuid.uuid4(), LangSmith()
    retriever_of(loop).invoke("q", run_id=run_id)
    client = mirrored_client(theirs, loop, {"user_score": "helpful"})
    assert (
        client.create_feedback(run_id, "user_score", score=True, feedback_id="f", comment="c") == "LangSmith's answer"
    )
    client.create_feedback(run_id, "user_score", score=True, feedback_id="f")
    client.create_feedback(run_id, "correctness", score=1.0)
    client.create_feedback(run_id, "user_score", value="good")
    client.create_feedback(uuid.uuid4(), "user_score", score=1.0)
    client.create_feedback(key="user_score", score=1.0)
    client.create_feedback(run_id, "user_score", score=7.0)
    loop.feedback(str(run_id), "used", doc="c")  # behind whatever was told before
    assert theirs.heard[0] == (run_id, "user_score", True, {"feedback_id": "f", "comment": "c"})
    assert len(theirs.heard) == 7
    assert client.project == "its own"
    assert [(one.name, one.value) for one in loop.signals(str(run_id))] == [("helpful", 1.0), ("used", 1.0)]
    counted = {"joined": 1, "duplicate": 1, "other_key": 1, "no_score": 1, "unknown_run": 1, "no_run": 1, "rejected": 1}
    assert client.counts == counted


def test_a_models_score_is_an_agents_own_word_and_in_no_reward(loop: dwell.Loop) -> None:
    run_id = uuid.uuid4()
    retriever_of(loop).invoke("q", run_id=run_id)
    client = mirrored_client(LangSmith(), loop, {"user_score": "helpful"})
    for source in ("model", FeedbackSourceType.MODEL, "api", FeedbackSourceType.API):
        client.create_feedback(run_id, "user_score", score=1.0, feedback_source_type=source)
    loop.feedback(str(run_id), "used", doc="c")  # behind whatever was told before
    assert [one.name for one in loop.signals(str(run_id))] == ["agent_helpful", "helpful", "helpful", "used"]
    assert client.counts == {"joined": 3, "duplicate": 1}  # an agent is heard once


def test_a_mirrored_client_raises_what_langsmith_raises_and_nothing_of_ours(loop: dwell.Loop) -> None:
    run_id = uuid.uuid4()
    retriever_of(loop).invoke("q", run_id=run_id)
    refusing = mirrored_client(LangSmith(ConnectionError("away")), loop, {"s": "helpful"})
    with pytest.raises(ConnectionError, match="away"):
        refusing.create_feedback(run_id, "s", score=1)
    loop.feedback(str(run_id), "used", doc="c")  # behind whatever was told before
    assert [one.name for one in loop.signals(str(run_id))] == ["used"]
    broken = mirrored_client(LangSmith(), Broken(), {"s": "helpful"})
    assert broken.create_feedback(run_id, "s", score=1) == "LangSmith's answer"
    assert broken.counts == {"failed": 1}
    waiting = mirrored_client(AsyncLangSmith(), loop, {"s": "helpful"})
    assert asyncio.run(waiting.create_feedback(run_id, "s", score=1)) == "LangSmith's answer"
    assert feedback_for_run(loop, run_id, "used", doc="b")[0].status == "joined"
    assert [one.name for one in loop.signals(str(run_id))] == ["used", "helpful", "used"]
    with pytest.raises(ConfigError, match="keys"):
        mirrored_client(LangSmith(), loop, ["user_score"])  # type: ignore[arg-type]


class Broken:
    """A loop that can do nothing."""

    feature_columns = ("fresh",)

    def rank(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    submit_feedback = rank


def test_a_compressor_keeps_the_first_and_takes_the_run_that_it_is_called_in(loop: dwell.Loop) -> None:
    compressor = DwellCompressor(loop=loop, k=2)
    kept = compressor.compress_documents(documents(), "q")
    assert [one.id for one in kept] == ["c", "b"]
    assert loop.recorded([kept[0].metadata["event_id"]])

    class Compressing(BaseRetriever):
        """Does what `ContextualCompressionRetriever` does."""

        def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
            return list(compressor.compress_documents(documents(), query, callbacks=run_manager.get_child()))

    run_id = uuid.uuid4()
    found = Compressing().invoke("q", {"metadata": {"user_id": "u-77"}}, run_id=run_id)
    assert found[0].metadata["event_id"] == str(run_id)
    assert [one.user for one in loop.experiences()] == [None, loop.pseudonym("u-77")]
    again = asyncio.run(compressor.acompress_documents(documents(), "q"))
    assert [one.id for one in again] == ["c", "b"]


def test_a_broken_loop_leaves_the_retrievers_order_and_says_so(loop: dwell.Loop) -> None:
    found = retriever_of(Broken(), k=2).invoke("q")
    assert ids(found) == ["a", "b"]
    assert [one.metadata["dwell"]["fallback"] for one in found] == ["internal:RuntimeError"] * 2
    with pytest.raises(RuntimeError, match="broken"):
        retriever_of(Broken(), is_strict=True).invoke("q")
    kept = DwellCompressor(loop=Broken(), k=1).compress_documents(documents(), "q")
    assert (kept[0].id, kept[0].metadata["event_id"]) == ("a", None)
    loop.close()
    assert ids(retriever_of(loop).invoke("q")) == ["a", "b", "c", "d"]


def test_what_the_wrapped_retriever_raises_is_raised(loop: dwell.Loop) -> None:
    def failing(_: str) -> list[Document]:
        raise LookupError("the index is gone")

    with pytest.raises(LookupError, match="the index is gone"):
        DwellRetriever(base=RunnableLambda(failing), loop=loop).invoke("q")
    assert list(loop.experiences()) == []


def changed(i: int, **change: Any) -> list[Document]:
    """Return the four documents with one of them changed."""
    found = documents()
    found[i] = found[i].model_copy(update=change)
    return found


BAD = {
    "nan": (changed(1, metadata={"fresh": float("nan")}), "non_finite:fresh"),
    "infinite": (changed(1, metadata={"fresh": 10**400}), "non_finite:fresh"),
    "text": (changed(1, metadata={"fresh": "0.5"}), "type:fresh"),
    "bool": (changed(1, metadata={"fresh": True}), "type:fresh"),
    "no feature": (changed(1, metadata={}), "feature_schema:fresh"),
    "twice": (changed(1, id="a"), "results_shape"),
    "control character": (changed(1, id="a\u0000b"), "id"),
    "surrogate": (changed(1, id="\ud800"), "id"),
    "long id": (changed(1, id="x" * 513), "id"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_document_costs_the_ranking_never_the_search(loop: dwell.Loop, name: str) -> None:
    given, code = BAD[name]
    found = retriever_of(loop, given).invoke("q")
    assert [one.page_content for one in found] == [one.page_content for one in given]
    assert {one.metadata["dwell"]["fallback"] for one in found} == {code}
    assert list(loop.experiences()) == []


@pytest.mark.parametrize(("query", "code"), [("x" * 70_000, "text"), ("\ud800", "text"), (7, "type")])
def test_a_bad_query_costs_the_ranking_never_the_search(loop: dwell.Loop, query: Any, code: str) -> None:
    found = retriever_of(loop).invoke(query)
    assert ids(found) == ["a", "b", "c", "d"]
    assert {one.metadata["dwell"]["fallback"] for one in found} == {code}


def test_numbers_of_numpy_defaults_and_other_names(loop: dwell.Loop) -> None:
    given = [Document(page_content=text, metadata=meta) for text, meta in (("x", {}), ("y", {"age": np.float32(0.5)}))]
    reading = Reading(keys={"fresh": "age"}, defaults={"fresh": 0.75})
    found = retriever_of(loop, given, reading=reading).invoke("q")
    assert [one.page_content for one in found] == ["x", "y"]  # 0.75 by default, then 0.5
    assert "fallback" not in found[0].metadata["dwell"]
    again = retriever_of(loop, given[::-1], reading=reading).invoke("q")
    assert {one.metadata["dwell"]["doc"] for one in again} == {one.metadata["dwell"]["doc"] for one in found}  # digests


def test_identity_by_a_key_of_the_metadata(loop: dwell.Loop) -> None:
    given = [Document(page_content="x", metadata={"fresh": 0.1, "n": i}) for i in range(2)]
    found = retriever_of(loop, given, reading=Reading(id_key="n")).invoke("q")
    assert [one.metadata["dwell"]["doc"] for one in found] == ["0", "1"]
    missing = retriever_of(loop, reading=Reading(id_key="n")).invoke("q")
    assert len(missing) == 4
    assert missing[0].metadata["dwell"]["fallback"] == "type"


def test_nothing_found_is_nothing_served_and_all_may_be_wished_for(loop: dwell.Loop) -> None:
    assert retriever_of(loop, []).invoke("q") == []
    assert list(loop.experiences()) == []
    assert len(retriever_of(loop, k=10**6).invoke("q")) == 4


@pytest.mark.parametrize("k", [0, -1, True, 2.5, "3", 2**40])
def test_a_bad_k_is_refused_by_name(loop: dwell.Loop, k: Any) -> None:
    with pytest.raises(RecordError, match="'k'"):
        retriever_of(loop).invoke("q", k=k)
    if k != 2**40:
        with pytest.raises(ValidationError, match="k"):
            retriever_of(loop, k=k)


def test_what_can_not_work_is_refused_when_it_is_made(loop: dwell.Loop) -> None:
    with pytest.raises(ValidationError, match=r"dwell\.Loop or a dwell\.Client"):
        retriever_of(object())
    client = dwell.Client("http://127.0.0.1:9")
    with pytest.raises(ValidationError, match="a client does not know the registered features"):
        retriever_of(client)
    found = retriever_of(client, reading=Reading(features=("fresh",))).invoke("q")
    assert found[0].metadata["dwell"]["fallback"] == "unreachable"
    client.close()
    with pytest.raises(RecordError, match="different words"):
        Reading(features=("a", "a"))
    with pytest.raises(RecordError, match=r"defaults\.a"):
        Reading(defaults={"a": float("nan")})
    with pytest.raises(ConfigError, match="tuple of names"):
        Reading(features="fresh")  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [DwellCompressor, functools.partial(DwellRetriever, base=Listed(found=[]))])
def test_a_name_that_it_does_not_have_is_refused(loop: dwell.Loop, make: Any) -> None:
    with pytest.raises(ValidationError, match="top_k"):
        make(loop=loop, top_k=3)


def test_the_event_loop_is_never_waited_in(loop: dwell.Loop) -> None:
    threads: list[int] = []

    class Watched:
        feature_columns = loop.feature_columns
        submit_feedback = loop.submit_feedback

        def rank(self, *args: Any, **how: Any) -> Any:
            threads.append(threading.get_ident())
            time.sleep(0.05)  # a client that waits for its server
            return loop.rank(*args, **how)

    async def ticking() -> int:
        asking = asyncio.ensure_future(retriever_of(Watched()).ainvoke("q"))
        n = 0
        while not asking.done():
            await asyncio.sleep(0.002)
            n += 1
        assert ids(await asking) == ["c", "b", "a", "d"]
        return n

    assert asyncio.run(ticking()) >= 5  # of 25 at most: it ticked while the loop was waited for
    assert threading.get_ident() not in threads


def test_langchain_can_write_it_down_and_what_it_returns_can_be_pickled(loop: dwell.Loop) -> None:
    retriever = retriever_of(loop)
    assert json.loads(dumps(retriever))["type"] == "not_implemented"
    assert "Loop" not in repr(retriever)
    found = retriever.batch(["q", "q"], config={"max_concurrency": 2})
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 - our own bytes
    assert json.loads(dumps(found[0]))[0]["kwargs"]["metadata"]["dwell"]["doc"] == "c"
    fewer = retriever.configurable_fields(k=ConfigurableField(id="k"))
    assert len(fewer.invoke("q", {"configurable": {"k": 1}})) == 1


def test_a_missing_library_is_an_error_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("dwell.integrations.langchain")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dwell\[langchain\]'"):
        import dwell.integrations.langchain  # noqa: F401


def test_three_lines_improve_the_order_for_who_never_taught_it(capsys: pytest.CaptureFixture[str]) -> None:
    example = runpy.run_path(str(Path(__file__).resolve().parents[2] / "examples" / "langchain_rag.py"))
    gain, half_width = example["main"]()
    printed = capsys.readouterr().out
    assert gain - half_width > 0.0, printed  # a 95 % interval, 1.96 standard errors, of the paired difference
    assert "promote, better" in printed
