"""`dwell import ubi` and the exports for search engineers, as people and programs use them."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import dwell
from dwell.errors import ConfigError
from dwell.integrations.ubi.opensearch import check_url, fetch

from .called import Run

AT = 1_700_000_000


def query(i: int, text: str = "shoes") -> dict[str, Any]:
    return {
        "user_query": text, "query_id": f"q{i}", "client_id": f"c{i}", "timestamp": (AT + i) * 1000,
        "query_response_hit_ids": ["a", "b"],
    }  # fmt: skip


def click(i: int, doc: str = "a", action: str = "click") -> dict[str, Any]:
    return {
        "action_name": action, "query_id": f"q{i}", "timestamp": (AT + i) * 1000 + 500,
        "event_attributes": {"object": {"object_id": doc}},
    }  # fmt: skip


def write(path: Path, items: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "search.dwell"
    dwell.open(path).close()
    return path


def test_files_come_in_once_and_the_report_says_what_was_odd(dwell_: Run, store: Path, tmp_path: Path) -> None:
    log = write(
        tmp_path / "log.ndjson", [query(0), query(1), click(0), click(1, action="buy"), {"action_name": "click"}]
    )
    arguments = ("import", "ubi", store, log, "--actions", '{"buy": "purchase"}')
    ran = dwell_(*arguments, "--json")
    assert (ran.code, ran.err) == (0, "")
    report = json.loads(ran.out)
    assert (report["n_queries"], report["n_events"], report["n_quarantined"]) == (2, 2, 1)
    assert (report["n_lists"], report["feedback"]) == (2, {"joined": 2})
    assert report["quarantined"] == [
        {"index": 4, "pointer": "/timestamp", "reason": "missing: an event has an instant", "source": "log.ndjson"}
    ]
    again = dwell_(*arguments)
    assert (again.code, again.err) == (0, "")
    assert "0 recorded, 2 known" in again.out
    assert "duplicate 2" in again.out
    assert "log.ndjson" in again.out


def test_the_report_says_what_lists_without_features_are_good_for(dwell_: Run, store: Path, tmp_path: Path) -> None:
    log = write(tmp_path / "q.ndjson", [query(1), query(2), click(1)])
    code, out, _ = dwell_("import", "ubi", store, log)
    assert code == 0
    assert "nothing is learned from them" in out
    assert "dwell export" in out
    code, out, _ = dwell_("import", "ubi", store, log, "--json")
    assert json.loads(out)["n_lists_without_features"] == 0, "known lists are not counted again"
    code, out, _ = dwell_("import", "ubi", store, log)
    assert "nothing is learned from them" not in out


def test_a_store_is_made_only_when_asked_for(dwell_: Run, tmp_path: Path) -> None:
    log = write(tmp_path / "log.ndjson", [query(0)])
    refused = dwell_("import", "ubi", tmp_path / "new.dwell", log)
    assert refused.code == 1
    assert "there is no store" in refused.err
    assert dwell_("import", "ubi", tmp_path / "new.dwell", log, "--create").code == 0
    assert json.loads(dwell_("inspect", tmp_path / "new.dwell", "--json").out)


def test_a_store_in_use_is_left_alone(dwell_: Run, store: Path, tmp_path: Path) -> None:
    log = write(tmp_path / "log.ndjson", [query(0)])
    with dwell.open(store):
        ran = dwell_("import", "ubi", store, log)
    assert ran.code == 1
    assert "import_ubi" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("log.ndjson", "--opensearch", "http://127.0.0.1:1"),
        ("log.ndjson", "--since", "2024-01-01"),
        ("log.ndjson", "--actions", '{"buy": 3}'),
        ("log.ndjson", "--ordinal-base", "2"),
        ("--opensearch", "http://127.0.0.1:1", "--since", "yesterday"),
    ],
)
def test_wrong_usage_is_told(dwell_: Run, store: Path, arguments: tuple[str, ...]) -> None:
    assert dwell_("import", "ubi", store, *arguments).code == 2


# ---- a running OpenSearch


class Cluster(NamedTuple):
    """A server that speaks the one call that an import makes, and remembers what it was asked."""

    url: str
    asked: list[tuple[str, dict[str, Any], str | None]]


def _handler(indices: dict[str, list[dict[str, Any]]], asked: list[Any]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers `_search` with sort, size, range and search_after as OpenSearch does."""

        def do_POST(self) -> None:
            index = self.path.strip("/").partition("/")[0]
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((index, body, self.headers.get("Authorization")))
            since = body["query"].get("range", {}).get("timestamp", {}).get("gte", 0)
            hits = [
                {"_index": index, "_id": f"{n:03}", "_source": document, "sort": [document["timestamp"], f"{n:03}"]}
                for n, document in enumerate(indices.get(index, []))
                if document["timestamp"] >= since
            ]
            hits = sorted(hits, key=lambda hit: hit["sort"])
            hits = [hit for hit in hits if hit["sort"] > body.get("search_after", [])][: body["size"]]
            answer = json.dumps({"hits": {"hits": hits}}).encode()
            self.send_response(200 if index in indices else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def cluster() -> Iterator[Callable[[dict[str, list[dict[str, Any]]]], Cluster]]:
    """Return a way to start such a server on loopback."""
    servers: list[ThreadingHTTPServer] = []

    def start(indices: dict[str, list[dict[str, Any]]]) -> Cluster:
        asked: list[Any] = []
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(indices, asked))
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return Cluster(f"http://127.0.0.1:{server.server_address[1]}", asked)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_running_opensearch_is_read_page_by_page(
    dwell_: Run, store: Path, cluster: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opensearchpy")
    monkeypatch.setenv("OPENSEARCH_USER", "reader")
    monkeypatch.setenv("OPENSEARCH_PASSWORD", "of these tests")
    found = cluster({"ubi_queries": [query(i) for i in range(5)], "ubi_events": [click(i) for i in range(5)]})
    ran = dwell_("import", "ubi", store, "--opensearch", found.url, "--since", "2023-11-14T22:13:22Z", "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert (report["n_queries"], report["n_events"], report["feedback"]) == (3, 3, {"joined": 3})
    assert [index for index, *_ in found.asked] == ["ubi_queries", "ubi_events"]
    assert all(login is not None and login.startswith("Basic ") for *_, login in found.asked)


def test_pages_follow_each_other_without_loss(cluster: Callable[..., Cluster]) -> None:
    pytest.importorskip("opensearchpy")
    events = [click(i // 2) for i in range(7)]  # two of an instant: the id decides
    found = cluster({"ubi_events": events})
    assert list(fetch(found.url, "events", page=3)) == events
    assert [body.get("search_after") for _, body, _ in found.asked] == [
        None, [events[2]["timestamp"], "002"], [events[5]["timestamp"], "005"]
    ]  # fmt: skip


def test_an_opensearch_that_has_no_such_index_is_one_line(
    dwell_: Run, store: Path, cluster: Callable[..., Cluster]
) -> None:
    pytest.importorskip("opensearchpy")
    ran = dwell_("import", "ubi", store, "--opensearch", cluster({}).url)
    assert ran.code == 1
    assert "OpenSearch did not give its documents" in ran.err


@pytest.mark.parametrize(
    "url",
    [
        "http://search.example:9200",
        "http://10.0.0.1",
        "ftp://localhost",
        "https://u:p@host",
        "https://",
        "x",
        "http://[::",
    ],
)
def test_opensearch_is_asked_in_the_clear_on_this_machine_only(url: str) -> None:
    with pytest.raises(ConfigError, match="asked over https"):
        check_url(url)


def test_https_and_loopback_are_asked() -> None:
    for url in ("https://search.example:9200/", "http://127.0.0.1:9200", "http://localhost:9200", "http://[::1]:9200"):
        assert check_url(url) == url.rstrip("/")


# ---- out again


@pytest.fixture
def filled(dwell_: Run, store: Path, tmp_path: Path) -> Path:
    items = [query(i) for i in range(6)] + [query(i, "=cmd|' /C calc'!A0") for i in range(10, 15)]
    items += [query(20, "asked by one")] + [click(i) for i in (0, 1, 2, 10)] + [click(3, "b")]
    assert dwell_("import", "ubi", store, write(tmp_path / "log.ndjson", items)).code == 0
    return store


def test_judgments_leave_out_what_few_asked_and_what_a_spreadsheet_would_run(
    dwell_: Run, filled: Path, tmp_path: Path
) -> None:
    ran = dwell_("export", filled, tmp_path / "j.csv", "--format", "quepid")
    assert ran.code == 0
    assert ran.out == (
        f"4 judgments written to {tmp_path / 'j.csv'}; 1 queries of too few users left out; "
        "0 documents without an expected click left out\n"
    )
    # click rates by hand: rank 1 was clicked in 4 of 12 lists, rank 2 in 1 of 12
    a, b, other = 3 / (6 * 4 / 12), 1 / (6 * 1 / 12), 1 / (5 * 4 / 12)
    assert (tmp_path / "j.csv").read_bytes().decode().split("\r\n") == [
        "query,docid,rating",
        f"'=cmd|' /C calc'!A0,a,{other:.3f}",
        "'=cmd|' /C calc'!A0,b,0.000",
        f"shoes,b,{b:.3f}",
        f"shoes,a,{a:.3f}",
        "",
    ]
    assert dwell_("export", filled, tmp_path / "r.csv", "--format", "quepid", "--raw-cells").code == 0
    assert "\r\n=cmd" in (tmp_path / "r.csv").read_bytes().decode()


def test_judgments_for_the_workbench_have_its_shape(dwell_: Run, filled: Path, tmp_path: Path) -> None:
    ran = dwell_("export", filled, tmp_path / "j.json", "--format", "workbench", "--min-users", 0, "--json")
    assert json.loads(ran.out)["n_judgments"] == 6
    body = json.loads((tmp_path / "j.json").read_text(encoding="utf-8"))
    assert body["type"] == "IMPORT_JUDGMENT"
    (shoes,) = [one for one in body["judgmentRatings"] if one["query"] == "shoes"]
    assert shoes["ratings"] == [{"docId": "b", "rating": "2.000"}, {"docId": "a", "rating": "1.500"}]


def test_an_export_comes_in_again(dwell_: Run, filled: Path, tmp_path: Path) -> None:
    assert dwell_("export", filled, tmp_path / "u.ndjson", "--format", "ubi").out.startswith("12 experiences")
    ran = dwell_("import", "ubi", tmp_path / "copy.dwell", tmp_path / "u.ndjson", "--create", "--json")
    report = json.loads(ran.out)
    assert (report["n_lists"], report["n_quarantined"], report["feedback"]) == (12, 0, {"joined": 5})
