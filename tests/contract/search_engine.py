"""A search engine on this machine for one test: it answers `_search` as OpenSearch and Elasticsearch document it.

The index is in memory. What it is not asked in the documented way it answers 400, and it keeps every body.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

__all__ = ["Engine", "running"]

K1, B = 1.2, 0.75  # the defaults of Lucene


class BadRequest(Exception):  # noqa: N818 - it is answered, not raised to anybody
    """What the engine does not understand."""


class Engine:
    """An index of documents with "text", "embedding" and other fields; `kind` is "opensearch" or "elasticsearch"."""

    def __init__(self, kind: str, similarity: str) -> None:
        self.kind, self.similarity = kind, similarity
        self.indices: dict[str, dict[str, dict[str, Any]]] = {}
        self.bodies: list[dict[str, Any]] = []
        self.answer: Any = None  # given in place of hits, where it is set

    def search(self, index: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer one body."""
        known = {"size", "track_total_hits", "_source", "query", "knn"}
        if set(body) - known or body.get("track_total_hits") is not False:
            raise BadRequest(f"unknown: {sorted(body)}")
        if not 0 <= body["size"] <= 10_000:
            raise BadRequest("Result window is too large")
        held = self.indices[index]
        scores = self._by_vector(held, body["knn"]) if "knn" in body else self._by_query(held, body["query"])
        best = sorted(scores.items(), key=lambda one: -one[1])[: body["size"]]
        return {
            "took": 1, "timed_out": False, "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
            "hits": {
                "max_score": best[0][1] if best else None,
                "hits": [
                    {"_index": index, "_id": doc, "_score": float(np.float32(score)), **self._source(held[doc], body)}
                    for doc, score in best
                ],
            },
        }  # fmt: skip

    def _source(self, document: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
        wanted = body["_source"]
        if wanted is False:
            return {}
        if set(wanted) != {"includes"}:
            raise BadRequest("_source")
        return {"_source": {field: document[field] for field in wanted["includes"] if field in document}}

    def _by_query(self, held: Mapping[str, Any], query: Mapping[str, Any]) -> dict[str, float]:
        if set(query) == {"knn"} and self.kind == "opensearch":
            [(field, asked)] = query["knn"].items()
            if set(asked) - {"vector", "k", "filter"}:
                raise BadRequest(f"knn: {sorted(asked)}")
            clauses = asked.get("filter", {"bool": {"filter": []}})["bool"]["filter"]
            return self._near(held, field, asked["vector"], asked["k"], clauses)
        if set(query) != {"bool"} or set(query["bool"]) != {"must", "filter"}:
            raise BadRequest(f"query: {query}")
        [must] = query["bool"]["must"]
        words = must["multi_match"]
        if set(words) != {"query", "fields"} or not isinstance(words["query"], str):
            raise BadRequest("multi_match")
        passed = self._passing(held, query["bool"]["filter"])
        found: dict[str, float] = {}
        for field in words["fields"]:
            for doc, score in bm25({doc: held[doc].get(field, "") for doc in held}, words["query"]).items():
                if doc in passed:
                    found[doc] = max(found.get(doc, 0.0), score)
        return found

    def _by_vector(self, held: Mapping[str, Any], knn: Mapping[str, Any]) -> dict[str, float]:
        if self.kind != "elasticsearch" or set(knn) - {"field", "query_vector", "k", "num_candidates", "filter"}:
            raise BadRequest(f"knn: {sorted(knn)}")
        if not 1 <= knn["k"] <= knn["num_candidates"] <= 10_000:
            raise BadRequest("[num_candidates] cannot be less than [k] or exceed 10000")
        return self._near(held, knn["field"], knn["query_vector"], knn["k"], knn.get("filter", []))

    def _near(
        self, held: Mapping[str, Any], field: str, vector: Sequence[float], k: int, clauses: Sequence[Any]
    ) -> dict[str, float]:
        scores = {}
        for doc in self._passing(held, clauses):
            x, y = np.array(vector), np.array(held[doc][field])
            if x.shape != y.shape:
                raise BadRequest("different dimension")
            scores[doc] = score_of(self.similarity, x, y)
        return dict(sorted(scores.items(), key=lambda one: -one[1])[:k])

    def _passing(self, held: Mapping[str, Any], clauses: Sequence[Any]) -> list[str]:
        for clause in clauses:
            if set(clause) != {"terms"} or len(clause["terms"]) != 1:
                raise BadRequest("filter")
        pairs = [next(iter(clause["terms"].items())) for clause in clauses]
        return [doc for doc in held if all(held[doc].get(field) in values for field, values in pairs)]


def score_of(similarity: str, x: Any, y: Any) -> float:
    """Return `_score` of two vectors: the tables of both engines' references, written down once more."""
    dot, squared = float(x @ y), float(((x - y) ** 2).sum())
    cosine = dot / float(np.linalg.norm(x) * np.linalg.norm(y))
    return {
        "cosine": (1 + cosine) / 2,
        "dot_product": (1 + dot) / 2,
        "l2_norm": 1 / (1 + squared),
        "max_inner_product": 1 / (1 - dot) if dot < 0 else dot + 1,
        "cosinesimil": (2 - (1 - cosine)) / 2,
        "l2": 1 / (1 + squared),
        "l1": 1 / (1 + float(np.abs(x - y).sum())),
        "innerproduct": 1 / (1 - dot) if dot <= 0 else dot + 1,
    }[similarity]


def tokens(text: str) -> list[str]:
    """Split text as the standard analyser does, near enough."""
    return re.findall(r"\w+", text.casefold())


def bm25(texts: Mapping[str, str], query: str) -> dict[str, float]:
    """Return BM25 as Lucene has it since version 8: without the factor k1 + 1."""
    counts = {doc: Counter(tokens(text)) for doc, text in texts.items()}
    mean = sum(sum(count.values()) for count in counts.values()) / max(len(counts), 1)
    scores: dict[str, float] = {}
    for word in tokens(query):
        df = sum(word in count for count in counts.values())
        idf = math.log(1 + (len(counts) - df + 0.5) / (df + 0.5))
        for doc, count in counts.items():
            if count[word]:
                norm = K1 * (1 - B + B * sum(count.values()) / mean)
                scores[doc] = scores.get(doc, 0.0) + idf * count[word] / (count[word] + norm)
    return scores


@contextmanager
def running(engine: Engine) -> Iterator[str]:
    """Give the address of a server in front of the engine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            return

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            parts = urlsplit(self.path)
            try:
                index, verb = parts.path.strip("/").split("/")
                assert verb == "_search"
                assert parse_qs(parts.query)["preference"] == ["dwell"]
                body = json.loads(raw)
                engine.bodies.append(body)
                status, answer = 200, engine.answer or engine.search(index, body)
            except KeyError as error:
                status, answer = (
                    404,
                    {"error": {"type": "index_not_found_exception", "reason": str(error)}, "status": 404},
                )
            except (BadRequest, ValueError, AssertionError) as error:
                status, answer = 400, {"error": {"type": "parsing_exception", "reason": str(error)}, "status": 400}
            sent = json.dumps(answer).encode()
            self.send_response(status)
            if engine.kind == "elasticsearch":  # its client asks nobody else
                self.send_header("X-Elastic-Product", "Elasticsearch")
                self.send_header("Content-Type", self.headers["Accept"].replace(" ", ""))
            else:
                self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
