"""Every source of candidates keeps the promises of one, and one with a fault does not."""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import chromadb
import numpy as np
import psycopg
import pytest
from chromadb.config import Settings
from qdrant_client import QdrantClient, models

from dwell.errors import ConfigError, MissingDependencyError, RecordError, StorageError
from dwell.integrations.sources import elasticsearch, opensearch
from dwell.integrations.sources.chroma import ChromaSource
from dwell.integrations.sources.pgvector import PgvectorSource
from dwell.integrations.sources.qdrant import QdrantSource
from dwell.retrieval import Fts5Source, Retriever, RetrieverSource, StoredDocument, VectorSource
from dwell.retrieval.sources import CandidateSource, Found
from dwell.testing.source_contract import (
    DIMENSIONS,
    CandidateSourceContract,
    SampleDocument,
)

from ..postgres import vector_server  # noqa: TID252 - tests are no installed package
from .search_engine import Engine, running

NUMBERS = itertools.count()
FIELDS = ("lang", "year")
X = np.array([0.6, -1.5, 0.2])  # what is asked in the tests of numbers
ROWS = {"a": [0.6, -1.5, 0.2], "b": [1.0, 0.5, -0.25], "c": [-0.5, 2.0, 1.0]}


def expected(space: str, doc: str) -> float:
    """The number that a space's feature is to hold, from its definition alone."""
    y = np.array(ROWS[doc])
    return {
        "cosine": float(X @ y / np.linalg.norm(X) / np.linalg.norm(y)),
        "dot": float(X @ y),
        "l2": 1.0 / (1.0 + math.sqrt(float(((X - y) ** 2).sum()))),
        "l1": 1.0 / (1.0 + float(np.abs(X - y).sum())),
    }[space]


def has_the_numbers_of(space: str, found: Sequence[Found], feature: str) -> None:
    """Demand every document, its number, and the best first."""
    values = {one.id: one.features[feature] for one in found}
    assert values == pytest.approx({doc: expected(space, doc) for doc in ROWS}, rel=1e-5)
    assert [one.id for one in found] == sorted(ROWS, key=lambda doc: -expected(space, doc))


# ------------------------------------------------------------------------------------------------ SQLite and memory


def fts5_file(path: Path, documents: Sequence[SampleDocument], *, external: bool = False) -> Path:
    connection = apsw.Connection(str(path))
    connection.pragma("synchronous", 0)  # what is tried is no power cut
    rows = [(one.id, one.text, one.metadata["lang"], one.metadata["year"]) for one in documents]
    if external:
        connection.execute("CREATE TABLE pages (n INTEGER PRIMARY KEY, doc TEXT, body TEXT, lang TEXT, year INT)")
        connection.executemany("INSERT INTO pages (doc, body, lang, year) VALUES (?, ?, ?, ?)", rows)
        connection.execute("CREATE VIRTUAL TABLE words USING fts5(body, content='pages', content_rowid='n')")
        connection.execute("INSERT INTO words (words) VALUES ('rebuild')")
    else:
        connection.execute("CREATE VIRTUAL TABLE words USING fts5(doc UNINDEXED, body, lang UNINDEXED, year UNINDEXED)")
        connection.executemany("INSERT INTO words VALUES (?, ?, ?, ?)", rows)
    connection.close()
    return path


class TestFts5(CandidateSourceContract):
    orders_by = "bm25"
    external = False

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def source(self, documents: Sequence[SampleDocument]) -> CandidateSource:
        path = fts5_file(self.folder / f"{next(NUMBERS)}.db", documents, external=self.external)
        more: dict[str, Any] = {"content": "pages", "content_rowid": "n"} if self.external else {}
        return Fts5Source(path, "words", id_column="doc", text_column="body", metadata_columns=FIELDS, **more)


class TestFts5OverATableOfItsOwn(TestFts5):
    external = True


class TestVectors(CandidateSourceContract):
    takes_embedding = True
    orders_by = "cosine"

    def source(self, documents: Sequence[SampleDocument]) -> CandidateSource:
        return VectorSource(
            [one.id for one in documents],
            np.array([one.embedding for one in documents]).reshape(-1, DIMENSIONS),
            texts={one.id: one.text for one in documents},
            metadata={one.id: one.metadata for one in documents},
        )


class TestRetriever(CandidateSourceContract):
    filterable = False

    def source(self, documents: Sequence[SampleDocument]) -> CandidateSource:
        # the retriever is built over at least one document: one that no query names stands for none
        stored = [StoredDocument(one.id, "", one.text) for one in documents] or [StoredDocument("none", "", "")]
        return RetrieverSource(Retriever.build(stored))


@pytest.mark.parametrize("space", ["cosine", "dot", "l2", "l1"])
def test_numbers_of_vectors_in_memory(space: Any) -> None:
    source = VectorSource(list(ROWS), list(ROWS.values()), space=space)
    has_the_numbers_of(space, source.search("", query_embedding=X), source.features[0])


# ------------------------------------------------------------------------------------------------ Qdrant


@pytest.fixture(scope="module")
def qdrant() -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    yield client
    client.close()


def qdrant_collection(
    client: QdrantClient, rows: Sequence[tuple[dict[str, Any], list[float]]], distance: models.Distance
) -> str:
    name = f"c{next(NUMBERS)}"
    size = len(rows[0][1]) if rows else DIMENSIONS
    client.create_collection(name, vectors_config=models.VectorParams(size=size, distance=distance))
    if rows:
        points = [models.PointStruct(id=i, vector=vector, payload=payload) for i, (payload, vector) in enumerate(rows)]
        client.upsert(name, points)
    return name


class TestQdrant(CandidateSourceContract):
    takes_embedding = True
    orders_by = "cosine"

    @pytest.fixture(autouse=True)
    def _client(self, qdrant: QdrantClient) -> None:
        self.client = qdrant

    def source(self, documents: Sequence[SampleDocument]) -> CandidateSource:
        rows = [({"doc": one.id, "text": one.text, **one.metadata}, one.embedding) for one in documents]
        name = qdrant_collection(self.client, rows, models.Distance.COSINE)
        return QdrantSource(self.client, name, id_field="doc", text_field="text")


@pytest.mark.parametrize(
    ("distance", "space"),
    [
        (models.Distance.COSINE, "cosine"),
        (models.Distance.DOT, "dot"),
        (models.Distance.EUCLID, "l2"),
        (models.Distance.MANHATTAN, "l1"),
    ],
)
def test_numbers_of_qdrant(qdrant: QdrantClient, distance: models.Distance, space: str) -> None:
    name = qdrant_collection(qdrant, [({"doc": doc}, row) for doc, row in ROWS.items()], distance)
    source = QdrantSource(qdrant, name, id_field="doc")
    has_the_numbers_of(space, source.search("", query_embedding=X), source.features[0])


def test_qdrant_names_its_vectors_and_what_is_not_there(qdrant: QdrantClient) -> None:
    size = models.VectorParams(size=3, distance=models.Distance.DOT)
    qdrant.create_collection("named", vectors_config={"dense": size})
    qdrant.upsert("named", [models.PointStruct(id=7, vector={"dense": ROWS["b"]}, payload={"n": 1})])
    source = QdrantSource(qdrant, "named", vector="dense", embed=lambda _: X.tolist(), feature="near")
    [found] = source.search("whatever it says")
    assert (found.id, found.features) == ("7", {"near": pytest.approx(expected("dot", "b"))})
    for vector in (None, "sparse"):
        with pytest.raises(ConfigError, match="no such vector"):
            QdrantSource(qdrant, "named", vector=vector)
    with pytest.raises(ConfigError, match="no such vector"):
        QdrantSource(qdrant, qdrant_collection(qdrant, [], models.Distance.DOT), vector="dense")
    with pytest.raises(StorageError, match="Qdrant"):
        QdrantSource(qdrant, "nowhere")
    with pytest.raises(StorageError, match="no 'doc'"):
        QdrantSource(qdrant, "named", vector="dense", id_field="doc").search("", query_embedding=X)


def test_of_several_points_of_a_document_the_best_counts(qdrant: QdrantClient) -> None:
    rows = [({"doc": doc}, ROWS[doc]) for doc in ("b", "a")] + [({"doc": "b"}, ROWS["c"])]
    source = QdrantSource(qdrant, qdrant_collection(qdrant, rows, models.Distance.COSINE), id_field="doc")
    found = {one.id: one.features["cosine"] for one in source.search("", query_embedding=X)}
    assert found == pytest.approx({"a": 1.0, "b": max(expected("cosine", "b"), expected("cosine", "c"))}, rel=1e-5)


# ------------------------------------------------------------------------------------------------ Chroma


@pytest.fixture(scope="module")
def chroma() -> Any:
    return chromadb.EphemeralClient(Settings(anonymized_telemetry=False))  # it calls nobody


def chroma_collection(client: Any, space: str) -> Any:
    return client.create_collection(
        f"sample-{next(NUMBERS)}", configuration={"hnsw": {"space": space}}, embedding_function=None
    )


class TestChroma(CandidateSourceContract):
    takes_embedding = True
    orders_by = "cosine"

    @pytest.fixture(autouse=True)
    def _client(self, chroma: Any) -> None:
        self.client = chroma

    def source(self, documents: Sequence[SampleDocument]) -> CandidateSource:
        collection = chroma_collection(self.client, "cosine")
        if documents:
            collection.add(
                ids=[one.id for one in documents],
                embeddings=[one.embedding for one in documents],
                documents=[one.text for one in documents],
                metadatas=[one.metadata for one in documents],
            )
        return ChromaSource(collection)


@pytest.mark.parametrize(("given", "space"), [("cosine", "cosine"), ("ip", "dot"), ("l2", "l2")])
def test_numbers_of_chroma(chroma: Any, given: str, space: str) -> None:
    collection = chroma_collection(chroma, given)
    collection.add(ids=list(ROWS), embeddings=list(ROWS.values()))
    source = ChromaSource(collection)
    has_the_numbers_of(space, source.search("", query_embedding=X), source.features[0])
    with pytest.raises(StorageError, match="no 'doc'"):
        ChromaSource(collection, id_field="doc").search("", query_embedding=X)
    with pytest.raises(ConfigError, match="operator"):
        source.search("", query_embedding=X, filters={"$or": "a"})
    chroma.delete_collection(collection.name)
    with pytest.raises(StorageError, match="Chroma"):
        source.search("", query_embedding=X)


# ------------------------------------------------------------------------------------------------ pgvector


@pytest.fixture(scope="module")
def vector_database() -> str:
    url = vector_server().new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    return url


class TestPgvector(CandidateSourceContract):
    takes_embedding = True
    orders_by = "cosine"

    @pytest.fixture(autouse=True)
    def _database(self, vector_database: str) -> Iterator[None]:
        self.url, self.made = vector_database, []
        yield
        for source in self.made:
            source.close()

    def source(self, documents: Sequence[SampleDocument]) -> CandidateSource:
        table = f"t{next(NUMBERS)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                f"CREATE TABLE {table} "
                f"(doc text PRIMARY KEY, body text, lang text, year int, embedding vector({DIMENSIONS}))"
            )
            with connection.cursor() as cursor:
                cursor.executemany(
                    f"INSERT INTO {table} VALUES (%s, %s, %s, %s, %s::vector)",
                    [(one.id, one.text, *one.metadata.values(), str(one.embedding)) for one in documents],
                )
        self.made.append(PgvectorSource(self.url, table, id_column="doc", text_column="body", metadata_columns=FIELDS))
        return self.made[-1]


def test_numbers_of_pgvector(vector_database: str) -> None:
    with psycopg.connect(vector_database, autocommit=True) as connection:
        connection.execute(
            'CREATE SCHEMA kb; CREATE TABLE kb."odd ""name" (id int PRIMARY KEY, "the vector" vector(3), v vector)'
        )
        for i, row in enumerate(ROWS.values()):
            connection.execute('INSERT INTO kb."odd ""name" VALUES (%s, %s::vector)', (i, str(row)))
        connection.execute('INSERT INTO kb."odd ""name" VALUES (8, NULL), (9, %s::vector)', ("[0,0,0]",))

    def source(**given: Any) -> PgvectorSource:
        arguments = {"id_column": "id", "embedding_column": "the vector", **given}
        return PgvectorSource(vector_database, arguments.pop("table", 'kb.odd "name'), **arguments)

    for space in ("cosine", "dot", "l2", "l1"):
        one = source(space=space)
        found = one.search("", query_embedding=X)
        named = [Found("abc"[int(doc.id)], doc.features) for doc in found if doc.id != "9"]
        has_the_numbers_of(space, named, one.features[0])
        # a vector of zeros has no cosine, and one that is not there is nowhere
        assert {"8", "9"} & {doc.id for doc in found} == (set() if space == "cosine" else {"9"})
        one.close()
    for wrong in (
        {"table": "kb.nothing"},
        {"id_column": "nothing"},
        {"embedding_column": "id"},
        {"embedding_column": "v"},  # of no declared dimension
        {"embedding_column": "nothing"},
        {"space": "hamming"},
    ):
        with pytest.raises(ConfigError):
            source(**wrong)
    with pytest.raises(RecordError, match="filters"):
        source(metadata_columns=("id",)).search("", query_embedding=X, filters={"id": "not a number"})
    with pytest.raises(StorageError, match="PostgreSQL"):
        PgvectorSource(vector_database.replace("/d", "/nowhere"), "t", id_column="id", timeout_s=1.0)


def test_a_connection_that_was_ended_is_not_used_again(vector_database: str) -> None:
    with psycopg.connect(vector_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE lone (id text, embedding vector(3))")
        connection.execute("INSERT INTO lone VALUES ('a', '[1,2,3]')")
        source = PgvectorSource(vector_database, "lone", id_column="id")
        assert [one.id for one in source.search("", query_embedding=X)] == ["a"]
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dwell'")
        with pytest.raises(StorageError):
            source.search("", query_embedding=X)
        assert [one.id for one in source.search("", query_embedding=X)] == ["a"]
        source.close()


# ------------------------------------------------------------------------------------------------ search engines

ENGINES = {"opensearch": opensearch, "elasticsearch": elasticsearch}


class _OverAnEngine(CandidateSourceContract):
    kind = "opensearch"
    similarity = "cosinesimil"

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _engine(cls) -> Iterator[None]:
        cls.engine = Engine(cls.kind, cls.similarity)
        with running(cls.engine) as address:
            cls.client = ENGINES[cls.kind].connect(address)
            yield
            cls.client.close()

    def source(self, documents: Sequence[SampleDocument]) -> CandidateSource:
        index = f"i{next(NUMBERS)}"
        self.engine.indices[index] = {
            one.id: {"text": one.text, "embedding": one.embedding, **one.metadata} for one in documents
        }
        made: dict[str, Any] = {"text_field": "text", "metadata_fields": FIELDS}
        if self.takes_embedding:
            return ENGINES[self.kind].vector_source(self.client, index, field="embedding", dim=DIMENSIONS, **made)
        return ENGINES[self.kind].text_source(self.client, index, fields=["text"], **made)


class TestOpenSearchText(_OverAnEngine):
    orders_by = "bm25"


class TestOpenSearchVectors(_OverAnEngine):
    takes_embedding = True
    orders_by = "cosine"


class TestElasticsearchText(_OverAnEngine):
    kind = "elasticsearch"
    orders_by = "bm25"


class TestElasticsearchVectors(_OverAnEngine):
    kind, similarity = "elasticsearch", "cosine"
    takes_embedding = True
    orders_by = "cosine"


@pytest.mark.parametrize(
    ("kind", "similarity", "space"),
    [
        ("opensearch", "cosinesimil", "cosine"),
        ("opensearch", "innerproduct", "dot"),
        ("opensearch", "l2", "l2"),
        ("opensearch", "l1", "l1"),
        ("elasticsearch", "cosine", "cosine"),
        ("elasticsearch", "max_inner_product", "dot"),
        ("elasticsearch", "dot_product", "dot"),
        ("elasticsearch", "l2_norm", "l2"),
    ],
)
def test_numbers_of_search_engines(kind: str, similarity: str, space: str) -> None:
    engine = Engine(kind, similarity)
    engine.indices["rows"] = {doc: {"v": row, "key": {"own": doc}} for doc, row in ROWS.items()}
    argument = "space_type" if kind == "opensearch" else "similarity"
    with running(engine) as address, ENGINES[kind].connect(address) as client:
        source = ENGINES[kind].vector_source(client, "rows", field="v", **{argument: similarity})
        has_the_numbers_of(space, source.search("", query_embedding=X), source.features[0])
        with pytest.raises(StorageError, match="400"):
            source.search("", query_embedding=[1.0])  # no dim= was given: the engine refuses
        with pytest.raises(ConfigError, match="similarity"):
            ENGINES[kind].vector_source(client, "rows", field="v", **{argument: "hamming"})


@pytest.mark.parametrize("kind", ENGINES)
def test_what_a_search_engine_is_asked_and_what_it_may_answer(kind: str) -> None:
    engine = Engine(kind, "")
    engine.indices["kb"] = {"1": {"title": "reset", "body": "a token", "own": "kb-1"}}
    with running(engine) as address, ENGINES[kind].connect(address) as client:
        source = ENGINES[kind].text_source(client, "kb", fields=["title", "body"], id_field="own", text_field="body")
        [found] = source.search("reset", k=5, filters={"own": ["kb-1", "kb-2"]})
        # one document, one word that it holds: idf is ln(1 + .5 / 1.5), and its length is the mean length
        assert (found.id, found.text) == ("kb-1", "a token")
        assert found.features["bm25"] == pytest.approx(math.log(4.0 / 3.0) / 2.2, rel=1e-6)
        assert engine.bodies == [
            {
                "size": 5,
                "track_total_hits": False,
                "_source": {"includes": ["body", "own"]},
                "query": {
                    "bool": {
                        "must": [{"multi_match": {"query": "reset", "fields": ["title", "body"]}}],
                        "filter": [{"terms": {"own": ["kb-1", "kb-2"]}}],
                    }
                },
            }
        ]
        hits = (["text"], [{"_id": "1", "_score": 1.0}], [{"_source": {"own": "a"}, "_score": True}], None)
        for answer in ({"hits": {"hits": one}} for one in hits):
            engine.answer = answer
            with pytest.raises(StorageError):
                source.search("reset")
        engine.answer = None
        with pytest.raises(StorageError, match="404"):
            ENGINES[kind].text_source(client, "nowhere", fields=["title"]).search("reset")
    with pytest.raises(StorageError, match="Connection"):
        source.search("reset")  # nobody listens any more


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("url", ["http://search.example:9200", "ftp://127.0.0.1", "https://me:word@search.example", ""])
def test_a_search_engine_is_asked_over_https_or_on_this_machine(kind: str, url: str) -> None:
    with pytest.raises(ConfigError, match="over https") as refused:
        ENGINES[kind].connect(url)
    assert "word@" not in str(refused.value)


# ------------------------------------------------------------------------------------------------ without them


@pytest.mark.parametrize("library", ["qdrant_client", "chromadb", "psycopg", "opensearchpy", "elasticsearch"])
def test_a_missing_library_is_named_with_its_remedy(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    makers: dict[str, tuple[Callable[[], object], str]] = {
        "qdrant_client": (lambda: QdrantSource(None, "c"), "qdrant"),  # type: ignore[arg-type]
        "chromadb": (lambda: ChromaSource(None), "chroma"),  # type: ignore[arg-type]
        "psycopg": (lambda: PgvectorSource("", "t", id_column="id"), "postgres"),
        "opensearchpy": (lambda: opensearch.connect("http://127.0.0.1:9"), "opensearch"),
        "elasticsearch": (lambda: elasticsearch.connect("http://127.0.0.1:9"), "elasticsearch"),
    }
    monkeypatch.setitem(sys.modules, library, None)
    make, extra = makers[library]
    with pytest.raises(MissingDependencyError, match=re.escape(f"pip install 'dwell[{extra}]'")):
        make()
