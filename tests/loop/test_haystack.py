"""Haystack's components, in its own pipelines: what is served and recorded, what is written down, what is refused."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import pytest
from haystack import Document, Pipeline
from haystack.core.errors import DeserializationError
from haystack.utils import Secret

import dwell
from dwell.errors import ConfigError, MissingDependencyError, RecordError
from dwell.integrations import opened
from dwell.integrations.haystack import DwellFeedback, DwellRanker

FEATURES = ["score", "fresh"]
BY_FRESHNESS = {"weights": {"score": 0.0, "fresh": 1.0}, "temperature": 0.0}
DOCUMENTS = [
    Document(id="old", content="first", score=0.9, meta={"fresh": 0.1, "title": "A"}),
    Document(id="new", content="second", score=0.5, meta={"fresh": 0.8}),
    Document(id="mid", content="third", score=0.7, meta={"fresh": 0.3}),
]


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    yield
    opened.close_opened()


@pytest.fixture
def loop() -> Iterator[dwell.Loop]:
    with dwell.open(":memory:", features=FEATURES, pepper="test", **BY_FRESHNESS) as found:
        yield found


def ids(answer: dict[str, list[Document]]) -> list[str]:
    return [one.id for one in answer["documents"]]


def test_documents_come_in_the_order_of_the_params_and_the_list_is_recorded(loop: dwell.Loop) -> None:
    answer = DwellRanker(loop=loop, top_k=2).run("q", DOCUMENTS, user="u", event_id="e-1")
    assert ids(answer) == ["new", "mid"]  # by freshness: 0.8, 0.3, 0.1
    assert (answer["event_id"], answer["fallback"]) == ("e-1", None)
    assert [one.score for one in answer["documents"]] == [0.5, 0.7]
    assert [one.meta for one in answer["documents"]] == [
        {"fresh": 0.8, "event_id": "e-1"},
        {"fresh": 0.3, "event_id": "e-1"},
    ]
    assert "event_id" not in DOCUMENTS[1].meta
    (kept,) = loop.experiences()
    assert (kept.query, [one["id"] for one in kept.results_served]) == ("q", ["new", "mid"])
    assert DwellFeedback(loop=loop).run("e-1", "click", doc="new") == {"status": "joined", "reason": None}
    assert DwellFeedback(loop=loop).run("e-1", "click", doc="nobody")["status"] == "rejected"
    assert DwellFeedback(loop=loop).run(None, "click")["status"] == "rejected"


def test_run_async_answers_as_run(loop: dwell.Loop) -> None:
    ranker = DwellRanker(loop=loop, event_id_key=None)
    answer = asyncio.run(ranker.run_async("q", DOCUMENTS, top_k=1, event_id="e-2"))
    assert (ids(answer), answer["event_id"]) == (["new"], "e-2")
    assert answer["documents"][0] is DOCUMENTS[1]


class Elsewhere:
    """A loop whose calls are awaited, as `dwell.AsyncClient`'s are."""

    def __init__(self, loop: dwell.Loop) -> None:
        self._loop = loop

    async def rank(self, *what: object, **how: object) -> dwell.Served:
        return self._loop.rank(*what, **how)  # type: ignore[arg-type]

    async def log_retrieval(self, *what: object, **how: object) -> str:
        return self._loop.log_retrieval(*what, **how)  # type: ignore[arg-type]


def test_an_asynchronous_client_is_awaited(loop: dwell.Loop) -> None:
    answer = asyncio.run(DwellRanker(loop=Elsewhere(loop), features=FEATURES).run_async("q", DOCUMENTS, top_k=1))
    assert ids(answer) == ["new"]
    with pytest.raises(ConfigError, match="does not know the registered features"):
        DwellRanker(loop=Elsewhere(loop)).warm_up()


@pytest.mark.parametrize(
    ("documents", "expected", "code"),
    [
        ([Document(id="a", content="a", meta={"fresh": 1.0}), DOCUMENTS[1]], ["a", "new"], "feature_schema:score"),
        (
            [Document(id="a", content="a", score=math.nan, meta={"fresh": 1.0}), DOCUMENTS[1]],
            ["a", "new"],
            "non_finite:score",
        ),
        (
            [DOCUMENTS[0], Document(id="a", content="a", score=1.0, meta={"fresh": True})],
            ["old", "a"],
            "type:fresh",
        ),
        (
            [DOCUMENTS[0], Document(id="a", content="a", score=1.0, meta={"fresh": "today"})],
            ["old", "a"],
            "type:fresh",
        ),
    ],
)
def test_a_list_with_a_bad_value_keeps_its_order_and_teaches_nothing(
    loop: dwell.Loop, documents: list[Document], expected: list[str], code: str
) -> None:
    answer = DwellRanker(loop=loop).run("q", documents)
    assert ids(answer) == expected
    assert loop.counts["fallback"] == 1
    assert answer["fallback"] == code
    assert DwellFeedback(loop=loop).run(answer["event_id"], "click", doc="a")["reason"].startswith("quarantined")


def test_what_a_document_lacks_may_have_a_default(loop: dwell.Loop) -> None:
    documents = [*DOCUMENTS, Document(id="bare", content="bare")]
    ranker = DwellRanker(loop=loop, defaults={"score": 0.0, "fresh": 0.5})
    assert ids(ranker.run("q", documents)) == ["new", "bare", "mid", "old"]  # 0.8, 0.5, 0.3, 0.1
    with pytest.raises(ConfigError, match="not registered"):
        DwellRanker(loop=loop, defaults={"bm25": 0.0}).warm_up()


def test_repeats_count_once_and_no_documents_are_no_event(loop: dwell.Loop) -> None:
    ranker = DwellRanker(loop=loop)
    assert ids(ranker.run("q", [*DOCUMENTS, DOCUMENTS[0]])) == ["new", "mid", "old"]
    assert ranker.run("q", []) == {"documents": [], "event_id": None, "fallback": None}
    assert len(list(loop.experiences())) == 1


def test_without_features_the_order_is_recorded_as_it_is() -> None:
    with dwell.open(":memory:", pepper="test") as loop:
        answer = DwellRanker(loop=loop, top_k=2).run("q", DOCUMENTS, event_id="e-3")
        assert ids(answer) == ["old", "new"]
        assert [one["id"] for one in next(loop.experiences()).results_served] == ["old", "new"]
        assert DwellRanker(loop=loop, top_k=2).run("q", DOCUMENTS, event_id="no id")["event_id"] is None


def test_bad_settings_are_refused_by_name(loop: dwell.Loop) -> None:
    with pytest.raises(RecordError, match="top_k"):
        DwellRanker(loop=loop, top_k=0)
    with pytest.raises(RecordError, match="k"):
        DwellRanker(loop=loop).run("q", DOCUMENTS, top_k=-1)
    with pytest.raises(ConfigError, match="has a loop, or the name of one"):
        DwellRanker()
    with pytest.raises(ConfigError, match="has a loop, or the name of one"):
        DwellRanker("a.dwell", loop=loop)
    with pytest.raises(ConfigError, match="the key is a secret"):
        DwellRanker("http://127.0.0.1:1", key="plain")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the pepper is a secret"):
        DwellRanker("a.dwell", settings={"pepper": "plain"})


def pipeline() -> Pipeline:
    found = Pipeline()
    ranker = DwellRanker(":memory:", features=FEATURES, settings=BY_FRESHNESS, pepper=Secret.from_env_var("PEPPER"))
    found.add_component("ranker", ranker)
    found.add_component("feedback", DwellFeedback(":memory:", pepper=Secret.from_env_var("PEPPER")))
    found.connect("ranker.event_id", "feedback.event_id")
    return found


def run(one: Pipeline) -> dict[str, dict[str, object]]:
    inputs = {"ranker": {"query": "q", "documents": DOCUMENTS}, "feedback": {"signal": "click", "doc": "new"}}
    return one.run(inputs, include_outputs_from={"ranker"})


@pytest.mark.parametrize("where", [":memory:", "http://127.0.0.1:9"])
@pytest.mark.parametrize("name", ["wieghts", "features", "_role"])
def test_a_setting_that_nothing_takes_is_refused_by_name(where: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no setting '{name}'"):
        DwellRanker(where, features=FEATURES, settings={name: {}}).warm_up()


def test_a_pipeline_is_written_down_and_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEPPER", "a pepper that nobody may read")
    first = pipeline()
    text = first.dumps()
    assert "nobody may read" not in text
    monkeypatch.delenv("HAYSTACK_DESERIALIZATION_ALLOWLIST", raising=False)
    with pytest.raises(DeserializationError, match=r"dwell\.integrations\.haystack"):
        Pipeline.loads(text)
    monkeypatch.setenv("HAYSTACK_DESERIALIZATION_ALLOWLIST", "dwell")
    second = Pipeline.loads(text)
    assert second.dumps() == text
    for one in (first, second):  # both name one store: its loop is shared
        answer = run(one)
        assert ids(answer["ranker"]) == ["new", "mid", "old"]  # type: ignore[arg-type]
        assert answer["feedback"] == {"status": "joined", "reason": None}


def test_what_can_not_be_written_down_is_refused_by_name(loop: dwell.Loop) -> None:
    with pytest.raises(ConfigError, match="DwellRanker was given an open loop"):
        DwellRanker(loop=loop).to_dict()
    with pytest.raises(ConfigError, match="DwellFeedback was given an open loop"):
        DwellFeedback(loop=loop).to_dict()
    with pytest.raises(ConfigError, match="holds a password") as refused:
        DwellRanker("postgresql://app:geheim@db/search").to_dict()
    assert "geheim" not in str(refused.value)
    with pytest.raises(ValueError, match="Cannot serialize token-based secret"):
        DwellRanker("http://127.0.0.1:1", key=Secret.from_token("geheim")).to_dict()


def test_a_loop_is_opened_by_warm_up_alone_and_one_store_has_one_loop(tmp_path: object) -> None:
    where = f"{tmp_path}/search.dwell"
    ranker = DwellRanker(where, features=FEATURES)
    assert not (opened.Path(where)).exists()
    ranker.warm_up()
    assert opened.Path(where).exists()
    DwellRanker(where, features=FEATURES).warm_up()
    with pytest.raises(ConfigError, match="with other features or settings"):
        DwellRanker(where, features=["bm25"]).warm_up()
    opened.close_opened()
    DwellFeedback(where).run("e-1", "click")  # opens it with what the store knows
    with pytest.raises(ConfigError, match="with other features or settings"):
        DwellRanker(where, features=["bm25"]).warm_up()
    DwellRanker(where, features=FEATURES).warm_up()


def test_a_service_that_is_away_leaves_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "a-key")
    ranker = DwellRanker("http://127.0.0.1:9", key=Secret.from_env_var("KEY"), features=FEATURES)
    answer = ranker.run("q", DOCUMENTS)
    assert ids(answer) == ["old", "new", "mid"]
    assert isinstance(answer["event_id"], str)
    feedback = DwellFeedback("http://127.0.0.1:9", key=Secret.from_env_var("KEY"))
    assert feedback.run(answer["event_id"], "click", doc="new")["status"] == "rejected"


def test_without_haystack_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    monkeypatch.setitem(sys.modules, "haystack", None)
    monkeypatch.delitem(sys.modules, "dwell.integrations.haystack")
    with pytest.raises(MissingDependencyError, match=r"pip install 'dwell\[haystack\]'"):
        importlib.import_module("dwell.integrations.haystack")
