"""What leaves a loop says what the loop holds: read back by readers that are stricter than those of the tools."""

import csv
import io
import json
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dwell
from dwell.integrations.arrow import ExperienceTable
from dwell.loop.export import FORMATS
from dwell.loop.exports.arrow_rows import arrow_schema
from dwell.loop.exports.csv_rows import COLUMNS, TEXT_COLUMNS
from dwell.loop.exports.escapes import plain_cell, plain_word
from dwell.loop.recorded_events import recorded_events

from .exported import HOSTILE, N_LISTS, PEPPER, START, WINDOW_S, events, made, visit

NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dwell.Loop]:
    found = made(tmp_path_factory.mktemp("exports") / "a.dwell")
    yield found
    found.close()


def exported(store: dwell.Loop, folder: Path, name: str, **choices: Any) -> bytes:
    path = folder / f"{len(list(folder.iterdir()))}.{name}"
    store.export(path, name, **choices)
    return path.read_bytes()


# ---- every format


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_counts_what_it_holds(store: dwell.Loop, tmp_path: Path, name: str) -> None:
    told: list[int] = []
    n = store.export(tmp_path / "out", name, on_progress=told.append)
    # five of the six special ones are over or open; `unseen` was never shown, `external` has no features
    due = {"svmlight": N_LISTS + 3, "vw": N_LISTS + 2}.get(name, N_LISTS + 6)
    assert n == due
    assert told == [N_LISTS + 6]
    with pytest.raises(dwell.ConfigError, match="there already"):
        store.export(tmp_path / "out", name)
    assert [found.name for found in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", FORMATS)
def test_no_words_and_no_embeddings_without_text(store: dwell.Loop, tmp_path: Path, name: str) -> None:
    written = exported(store, tmp_path, name, has_text=False)
    if name == "parquet":
        table = pq.read_table(tmp_path / "0.parquet")
        assert table["query"].null_count == table["query_embedding"].null_count == N_LISTS + 6
        return
    assert b"query 1" not in written
    assert b"just now" not in written
    embedding = next(store.experiences()).query_embedding
    assert repr(embedding[0]).encode() not in written
    assert (b"query 1" in exported(store, tmp_path, name)) == (name != "svmlight")  # which never tells it


@pytest.mark.parametrize("name", FORMATS)
def test_only_what_is_asked_for(store: dwell.Loop, tmp_path: Path, name: str) -> None:
    for i, (choices, due) in enumerate(
        [
            ({"since": START + 10, "until": START + 20}, [f"e{i}" for i in range(10, 20)]),
            ({"until": START + 20, "limit": 3}, ["e17", "e18", "e19"]),
            ({"since": START + 38, "until": START + 40, "limit": 50}, ["e38", "e39"]),
            ({"limit": 0}, []),
        ]
    ):
        path = tmp_path / f"{i}"
        assert store.export(path, name, **choices) == len(due)  # type: ignore[arg-type]
        assert ids_in(path, name) == due
    for wrong in (-1, True, 1.5):
        with pytest.raises(ValueError, match="limit"):
            store.export(tmp_path / "wrong", name, limit=wrong)  # type: ignore[arg-type]


def ids_in(path: Path, name: str) -> list[str]:
    """Return the events in a file, each once, in order."""
    if name == "parquet":
        found: list[str] = pq.read_table(path)["event_id"].to_pylist()
        return found
    pattern = {
        "jsonl": r'"event_id":"([^"]*)"',
        "csv": r"^([^,\n]*),2023",
        "svmlight": r"# event=(\S+) doc",
        "vw": r"^shared '([^|]*)\|",
    }[name]
    return list(dict.fromkeys(re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)))


@pytest.mark.parametrize("name", FORMATS)
def test_who_was_erased_is_in_no_format_and_no_name_ever_is(tmp_path: Path, name: str) -> None:
    with dwell.open(":memory:", features=["a"], pepper=PEPPER, attribution_window_s=WINDOW_S) as loop:
        for i in range(12):
            loop.rank(
                "q", ids=["x", "y"], features=[[1.0], [2.0]], user=f"user-{i % 3}", event_id=f"e{i}", now=START + i
            )
        loop.close_events(now=START + 500)
        gone = loop.pseudonym("user-1")
        loop.export(tmp_path / "before", name)
        loop.erase("user-1", now=START + 600)
        assert loop.export(tmp_path / "after", name) == 8
    kept = [f"e{i}" for i in range(12) if i % 3 != 1]
    assert (ids_in(tmp_path / "after", name), len(ids_in(tmp_path / "before", name))) == (kept, 12)
    for path in tmp_path.iterdir():
        assert not re.search(rb"user-\d|a pepper of", path.read_bytes())
    if name in {"jsonl", "csv"}:
        assert gone.encode() in (tmp_path / "before").read_bytes()
        assert gone.encode() not in (tmp_path / "after").read_bytes()


def test_who_is_erased_while_an_export_runs_is_not_in_the_pages_after() -> None:
    with dwell.open(":memory:", features=["a"], pepper=PEPPER) as loop:
        for i in range(100):
            loop.rank("q", ids=["x"], features=[[1.0]], user=f"user-{i % 2}", event_id=f"e{i}", now=START + i)
        gone = loop.pseudonym("user-0")
        found = recorded_events(loop._state)
        first = next(found)
        loop.rank("q", ids=["x"], features=[[1.0]], event_id="too-late", now=START + 999)
        loop.erase("user-0")
        left = [one.impression for one in found]
    assert first.impression.user == gone
    # the page of 64 that was read before holds 32 lists of each user, the rest those of one
    assert [one.user == gone for one in left[:63]] == [i % 2 == 1 for i in range(63)]
    assert [one.event_id for one in left[63:]] == [f"e{i}" for i in range(65, 100, 2)]


def test_a_page_at_a_time_is_in_memory(tmp_path: Path) -> None:
    n, size = 200, 30_000
    with dwell.open(tmp_path / "a.dwell", features=["a"], pepper=PEPPER, durability="relaxed") as loop:
        for i in range(n):
            loop.rank(f"{i:05d}" * (size // 5), ids=["x"], features=[[1.0]], event_id=f"e{i}", now=START + i)
        loop.close_events(now=START + 10_000)
        for name in ("jsonl", "csv", "vw", "svmlight"):
            tracemalloc.start()
            assert loop.export(tmp_path / name, name) == n
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            # a page of 64 queries, as the store's rows and read from them: all 200 would be three times as much
            assert peak < 2.5 * 64 * size, name
        before = pa.total_allocated_bytes()
        for batch in ExperienceTable(loop).reader():
            assert batch.num_rows <= 128
            assert pa.total_allocated_bytes() - before < 1.5 * 128 * size


# ---- jsonl


def test_a_line_of_json_is_an_experience(store: dwell.Loop, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in exported(store, tmp_path, "jsonl").splitlines()]
    assert [dwell.Experience(**line) for line in lines] == list(store.experiences())


# ---- csv


def test_the_cells_of_a_csv_give_everything_back(store: dwell.Loop, tmp_path: Path) -> None:
    text = exported(store, tmp_path, "csv").decode()
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    assert tuple(head[: len(COLUMNS)]) == COLUMNS
    names = ["bm25", "cosine", "age =1"]
    assert head[len(COLUMNS) :] == [f"feature.{name}" for name in names]
    by_event: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        assert not any(cell.startswith(tuple("=+@\t\r")) for cell in row)
        assert all(re.fullmatch(NUMBER, cell) for cell in row if cell.startswith("-"))
        cells = dict(zip(head, row, strict=True))
        plain = {name: plain_cell(cell) if name in TEXT_COLUMNS else cell for name, cell in cells.items()}
        by_event.setdefault(plain["event_id"], []).append(plain)
    assert len(by_event) == N_LISTS + 6
    for one in store.experiences():
        found = by_event[one.event_id]
        assert [cells["doc"] for cells in found] == [shown["id"] for shown in one.results_served]
        for i, (cells, shown) in enumerate(zip(found, one.results_served, strict=True)):
            assert (cells["query"], cells["user"], cells["segment"]) == (one.query, one.user or "", one.segment or "")
            assert (cells["policy"], cells["arm"], cells["state"]) == (one.policy, one.arm, one.state)
            assert (int(cells["rank"]), int(cells["params_version"])) == (i + 1, one.params_version)
            assert float(cells["list_reward"]) == one.reward
            assert float(cells["reward"]) == one.document_rewards[shown["id"]]
            if "score" in shown:
                assert np.float32(cells["score"]) == np.float32(shown["score"])
            assert cells["propensity"] == (repr(one.propensities[i]) if one.propensities else "")
            assert pairs(cells["signals"]) == one.document_signals.get(shown["id"], {})
            for name in names:
                value, known = cells[f"feature.{name}"], shown.get(name, np.nan)
                assert (value == "") if np.isnan(known) else np.float32(value) == np.float32(known)
    assert pairs(by_event["hostile"][0]["list_signals"]) == {"reformulated": 1.0}
    assert by_event["e0"][0]["served_at"] == "2023-11-14T22:13:20.000000Z"
    assert by_event["hostile"][0]["query"] == HOSTILE


def pairs(text: str) -> dict[str, float]:
    return {plain_word(name): float(value) for name, value in (one.split("=") for one in text.split())}


# ---- parquet and Arrow


def test_a_row_of_parquet_says_what_the_store_holds(store: dwell.Loop, tmp_path: Path) -> None:
    exported(store, tmp_path, "parquet")
    table = pq.read_table(tmp_path / "0.parquet")
    table.validate(full=True)
    assert table.schema.equals(arrow_schema())
    assert table.schema.metadata == {b"dwell.version": dwell.__version__.encode(), b"dwell.export": b"1"}
    told = {row["event_id"]: row for row in table.to_pylist()}
    known = events(store)
    assert list(told) == list(known)
    for event_id, event in known.items():
        row, impression, outcome = told[event_id], event.impression, event.outcome
        for name in ("seq", "query", "user", "segment", "mode", "policy", "arm", "params_version", "temperature",
                     "is_deterministic", "is_altered", "keep_probability", "n_candidates"):  # fmt: skip
            assert row[name] == getattr(impression, name), name
        for name in ("state", "reward", "priority", "predicted_reward"):
            assert row[name] == getattr(outcome, name), name
        assert row["served_at"].timestamp() == pytest.approx(impression.served_at, abs=1e-6)
        assert (row["closed_at"] is None) == (outcome.closed_at is None)
        assert row["reward_version"] == (outcome.reward_version or None)
        embedding = impression.query_embedding
        assert row["query_embedding"] == (None if embedding is None else embedding.tolist())
        assert row["feature_names"] == (list(impression.feature_names) if impression.has_features else [])
        assert [(s["name"], s["doc"], s["value"]) for s in row["signals"]] == [
            (s.name, s.doc, s.value) for s in event.signals
        ]
        assert [s["at"].timestamp() for s in row["signals"]] == pytest.approx([s.at for s in event.signals], abs=1e-6)
        assert_documents(row["documents"], event)


def assert_documents(told: list[dict[str, Any]], event: Any) -> None:
    impression, outcome = event.impression, event.outcome
    others = [doc for doc in impression.documents if doc not in impression.served]
    assert [doc["id"] for doc in told] == [*impression.served, *others]
    kept = {doc: i for i, doc in enumerate(impression.documents)}
    for i, doc in enumerate(told):
        is_shown, at = i < impression.n_served, kept.get(doc["id"])
        assert doc["rank"] == (i + 1 if is_shown else None)
        has_propensity = is_shown and i < len(impression.propensities)
        assert doc["propensity"] == (impression.propensities[i] if has_propensity else None)
        rewards = outcome.document_rewards
        assert doc["reward"] == (rewards[i] if is_shown and rewards is not None else None)
        assert doc["inclusion"] == (None if at is None else impression.inclusion[at])
        assert doc["score"] == (None if at is None else impression.scores[impression.document_scores[at]])
        assert doc["exposure"] == (None if at is None or outcome.exposure is None else outcome.exposure[at])
        features = impression.features[at] if at is not None and impression.has_features else []
        missing = [None] * (len(impression.feature_names) if impression.has_features else 0)
        found = [None if np.isnan(value) else value for value in features]
        assert doc["features"] == (found or missing)


def test_parquet_comes_in_row_groups_of_bounded_size(tmp_path: Path) -> None:
    with dwell.open(":memory:", features=["a"], pepper=PEPPER) as loop:
        for i in range(300):
            loop.rank("q" * 60_000, ids=["x"], features=[[1.0]], event_id=f"e{i}", now=START + i)
        assert loop.export(tmp_path / "a.parquet", "parquet") == 300
    told = pq.ParquetFile(tmp_path / "a.parquet").metadata
    # a batch of 128 such queries has 7.7 MB, so two of them fit into a group of 16 MB, and no three
    assert [told.row_group(i).num_rows for i in range(told.num_row_groups)] == [256, 44]


def test_an_empty_loop_gives_a_table_of_no_rows(tmp_path: Path) -> None:
    with dwell.open(":memory:", features=["a"], pepper=PEPPER) as loop:
        assert loop.export(tmp_path / "a.parquet", "parquet") == 0
        assert pa.table(ExperienceTable(loop)).equals(arrow_schema().empty_table())
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 0


# ---- svmlight and VW


def test_a_line_of_svmlight_is_a_document_shown_and_its_reward(store: dwell.Loop, tmp_path: Path) -> None:
    known = events(store)
    head, lines = [], []
    for line in exported(store, tmp_path, "svmlight").decode().splitlines():
        (head if line.startswith("#") else lines).append(line)
    assert head == ["# dwell svmlight 1", "# 1 bm25", "# 2 cosine", "# 3 age%20%3D1"]
    due = 0
    for event_id, event in known.items():
        if event_id not in {"external", "unseen", "open"}:
            due += len(set(event.impression.served) & set(event.impression.documents))
    assert due < sum(event.impression.n_served for event in known.values())  # `deep` is longer than what is kept
    assert len(lines) == due
    pattern = re.compile(
        rf"({NUMBER}) qid:(\d+)((?: \d+:{NUMBER})+) # event=(\S+) doc=(\S+) rank=(\d+)"
        rf"(?: propensity=({NUMBER}))?(?: exposure=({NUMBER}))?"
    )
    for line in lines:
        found = pattern.fullmatch(line)
        assert found, line
        label, qid, values, event_id, word, rank, propensity, exposure = found.groups()
        impression, outcome = known[plain_word(event_id)].impression, known[plain_word(event_id)].outcome
        i, doc = int(rank) - 1, plain_word(word)
        assert impression.served[i] == doc
        at = impression.documents.index(doc)
        assert np.float32(label) == outcome.document_rewards[i]
        assert int(qid) == impression.seq
        row = {int(j): np.float32(value) for j, value in (pair.split(":") for pair in values.split())}
        features = impression.features[at]
        assert row == {j + 1: value for j, value in enumerate(features) if not np.isnan(value)}
        assert (propensity is None) == impression.is_altered
        assert propensity is None or float(propensity) == impression.propensities[i]
        assert exposure is None if outcome.exposure is None else np.float32(exposure) == outcome.exposure[at]


def test_an_example_of_vw_is_a_choice_its_cost_and_its_probability(store: dwell.Loop, tmp_path: Path) -> None:
    known = events(store)
    examples = exported(store, tmp_path, "vw").decode().split("\n\n")
    assert examples.pop() == ""
    assert len(examples) == N_LISTS + 2
    for example in examples:
        shared, *actions = example.split("\n")
        found = re.fullmatch(r"shared '([^| ]*)\|query ?([^|]*?)(?: ?\|segment (\S+))?", shared)
        assert found, shared
        event = known[plain_word(found[1])]
        impression = event.impression
        assert [plain_word(word) for word in found[2].split()] == impression.query.split()
        assert (found[3] or None) == impression.segment
        parsed = [re.fullmatch(rf"(?:(\S+) )?'([^| ]*)\|doc((?: [^ :|]+:{NUMBER})*)", line) for line in actions]
        docs = [plain_word(one[2]) for one in parsed if one]
        order = np.argsort(impression.document_scores)
        assert docs == [impression.documents[i] for i in order]
        (label,) = [(one[1], plain_word(one[2])) for one in parsed if one and one[1]]
        action, cost, probability = label[0].split(":")
        assert (action, label[1]) == ("0", impression.served[0])
        assert float(cost) == -event.outcome.document_rewards[0]
        assert float(probability) == impression.propensities[0]
        for i, one in zip(order, parsed, strict=True):
            assert one
            values = {plain_word(n): np.float32(v) for n, v in (pair.split(":") for pair in one[3].split())}
            given = zip(impression.feature_names, impression.features[i], strict=True)
            assert values == {name: value for name, value in given if not np.isnan(value)}


def test_a_swapped_pair_on_top_has_no_probability_of_its_own(tmp_path: Path) -> None:
    config = {"training": {"swap_share": 0.2}}
    how: dict[str, Any] = {"weights": {"a": 1.0, "b": 0.5}, "config": config, "embedding_dim": 3}
    with dwell.open(":memory:", features=["a", "b"], pepper=PEPPER, attribution_window_s=WINDOW_S, **how) as loop:
        rng = np.random.default_rng(3)
        for i in range(150):
            visit(loop, rng, i, START + i, 2)
        loop.close_events(now=START + 1_000)
        pairs_at = [event.impression.swap_pair for event in recorded_events(loop._state)]
        n = loop.export(tmp_path / "a", "vw")
        loop.export(tmp_path / "b", "svmlight")
    assert n == sum(pair != 1 for pair in pairs_at) < 150
    # beside the pair's the others' are given that it was drawn there: none of such a list is told
    told = (tmp_path / "b").read_text(encoding="utf-8").count(" propensity=")
    assert told == 5 * sum(pair == 0 for pair in pairs_at)
