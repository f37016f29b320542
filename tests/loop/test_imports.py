"""Foreign logs into a loop: once each, on from where they were left, and learned from as far as they allow."""

import dataclasses
import gzip
import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dwell
from dwell.errors import ConfigError, RecordError
from dwell.integrations.importing import ImportReport, import_log, import_logs, parquet, tables, vowpal
from dwell.integrations.importing.reading import Reading
from dwell.records import Experience

from .conftest import PEPPER, START

T = START


def opened(where: str | Path = ":memory:", *features: str, **how: Any) -> dwell.Loop:
    given = {"features": list(features) or ["bm25"], "pepper": PEPPER, "mode": "log-only", **how}
    return dwell.open(where, **given)


@pytest.fixture
def loop() -> Iterator[dwell.Loop]:
    with opened() as found:
        yield found


def listed(i: int, *docs: str, **more: Any) -> dict[str, Any]:
    results = [{"memory_id": d, "rank": r + 1, "score": 1.0 - r / 10, "bm25": float(r)} for r, d in enumerate(docs)]
    return {"event_id": f"e{i}", "timestamp": T + i, "user_id": f"u{i}", "query": f"q{i}", "results": results, **more}


def click(i: int, doc: str = "a", after: float = 5.0, **more: Any) -> dict[str, Any]:
    return {"event_id": f"e{i}", "signal": "click", "doc": doc, "timestamp": T + i + after, **more}


def write(path: Path, lines: list[dict[str, Any]], mode: str = "w") -> Path:
    with path.open(mode, encoding="utf-8") as file:
        file.writelines(f"{json.dumps(line)}\n" for line in lines)
    return path


def told(report: ImportReport) -> dict[str, Any]:
    """Return what a report says of what was found, whether it was a dry run left aside."""
    return {**dataclasses.asdict(report), "is_dry_run": None}


def ended(loop: dwell.Loop) -> list[Experience]:
    loop.close_events(T + 1e6)
    return list(loop.experiences())


MIXED = [
    click(1),  # before its list
    listed(1, "a", "b"),
    listed(2, "a", "b"),
    click(2),
    click(2),  # again
    click(2, "nowhere"),  # not shown
    click(2, after=-1_000.0),  # long before it
    click(2, "b", after=-2.0),  # by a clock that is behind
    click(9),  # of no list
    {**listed(3, "a"), "results": [{"id": "a", "bm25": "much"}]},
    {**listed(4, "a"), "results": [{"id": "a"}]},  # without features
    {**listed(2, "z")},  # another list of that id
    {"event_id": "e2", "signal": "clicked", "doc": "a", "timestamp": T},
    {"what": "ever"},
]


def test_the_report_accounts_for_everything_and_doing_it_again_changes_nothing(loop: dwell.Loop) -> None:
    first = import_log(loop, MIXED, format="jsonl", now=T + 100)
    assert (first.n_items, first.n_lists, first.n_lists_without_features) == (14, 3, 1)
    assert [(one.index, one.pointer, one.reason.partition(":")[0]) for one in first.refused] == [
        (10, "/results/0/bm25", "type"),
        (12, "/event_id", "conflict"),
        (14, "", "kind"),
    ]
    assert first.feedback == {"duplicate": 1, "joined": 3, "orphan": 1, "rejected:not_served": 1}
    assert (first.n_too_early, dict(first.unknown_signals)) == (1, {"clicked": 1})
    before = ended(loop)
    again = import_log(loop, MIXED, format="jsonl", now=T + 100)
    assert (again.n_lists, again.n_lists_known) == (0, 3)
    assert again.feedback == {"duplicate": 4, "orphan": 1, "rejected:not_served": 1}
    assert ended(loop) == before
    skewed = next(one for one in loop.signals("e2") if one.doc == "b")
    assert skewed.at == T + 2, "credited when the list was served"


def test_rows_of_one_event_that_stand_apart_are_told_to_follow_each_other(loop: dwell.Loop) -> None:
    rows = ["event_id,doc,bm25,timestamp\n", f"e,a,1,{T}\n", f"f,a,1,{T}\n", f"e,b,1,{T}\n"]
    (refused,) = import_log(loop, rows, format="csv", now=T + 100).refused
    assert (refused.index, refused.pointer, refused.reason.partition(":")[0]) == (4, "/event_id", "conflict")
    assert refused.reason.endswith("rows of one event have to follow each other")


def test_a_dry_run_writes_nothing_and_says_what_an_import_says(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", MIXED)
    with opened(tmp_path / "s.dwell") as loop:
        import_log(loop, [listed(1, "a", "b"), click(1), click(9, "b")], format="jsonl", now=T + 100)
        held = {one.event_id for one in loop.experiences()}
        dry = import_log(loop, log, format="jsonl", is_dry_run=True, now=T + 100)
        assert {one.event_id for one in loop.experiences()} == held == {"e1"}
        assert dry.is_dry_run
        done = import_log(loop, log, format="jsonl", now=T + 100)
        assert told(done) == told(dry)
        assert (done.n_lists, done.n_lists_known, done.feedback["duplicate"]) == (2, 1, 2)
    with opened(tmp_path / "two.dwell") as loop:  # logs after each other are rehearsed as one
        parts = [write(tmp_path / "lists.jsonl", [listed(1, "a")]), write(tmp_path / "clicks.jsonl", [click(1)])]
        dry = import_logs(loop, parts, format="jsonl", is_dry_run=True)
        assert dict(dry.feedback) == {"joined": 1}
        assert told(import_logs(loop, parts, format="jsonl")) == told(dry)


def test_what_is_recorded_is_what_log_retrieval_records() -> None:
    rng = np.random.default_rng(4)
    for n in (1, 3, 25, 90):  # 25 more than max_results, 90 more than max_candidates
        line = listed(1, *(f"d{j}" for j in rng.permutation(n)))
        with opened() as ours, opened() as theirs:
            import_log(ours, [line], format="jsonl", now=T + 100)
            theirs.log_retrieval("q1", line["results"], user="u1", event_id="e1", now=T + 1)
            (one,), (two,) = ours.experiences(), theirs.experiences()
            if n <= 64:  # which of more are kept is drawn by the store's own secret
                assert one == two
            assert len(one.candidates) == len(two.candidates)
            assert one.results_served[:20] == two.results_served[:20]


def test_a_log_goes_on_where_it_was_left_and_begins_anew_when_it_is_another(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", [listed(i, "a") for i in range(3)])
    with opened(tmp_path / "s.dwell") as loop:
        assert import_log(loop, log, format="jsonl").n_lists == 3
        write(log, [listed(3, "a"), click(3)], "a")
        more = import_log(loop, log, format="jsonl")
        assert (more.n_skipped, more.n_items, more.n_lists, dict(more.feedback)) == (3, 2, 1, {"joined": 1})
        nothing = import_log(loop, log, format="jsonl")
        assert (nothing.n_skipped, nothing.n_items) == (5, 0)
        mapped = import_log(loop, log, format="jsonl", signals={"click": None})
        assert mapped.n_skipped == 0, "another reading of it"
        write(log, [listed(i, "a") for i in range(1, 9)])
        other = import_log(loop, log, format="jsonl")
        assert (other.n_skipped, other.n_lists_known, other.n_lists) == (0, 3, 5)
        packed = tmp_path / "log.jsonl.gz"
        packed.write_bytes(gzip.compress(log.read_bytes()))
        assert import_log(loop, packed, format="jsonl").n_lists_known == 8
        assert import_log(loop, packed, format="jsonl").n_skipped == 8
    with opened(tmp_path / "s.dwell") as loop:
        assert import_log(loop, log, format="jsonl").n_skipped == 8, "the note is in the store"


def test_items_told_before_the_place_where_it_was_left_are_remembered(tmp_path: Path) -> None:
    def item(name: str, value: float) -> dict[str, Any]:
        return {
            "event": "item", "id": name, "timestamp": str(int(T * 1000)), "item": name,
            "fields": [{"name": "bm25", "value": value}],
        }  # fmt: skip

    def ranking(name: str) -> dict[str, Any]:
        items = [{"id": "a"}, {"id": "b"}]
        return {"event": "ranking", "id": name, "timestamp": str(int(T * 1000)), "fields": [], "items": items}

    log = write(tmp_path / "log.jsonl", [item("a", 1.0), item("b", 2.0), ranking("r1"), {"event": "user"}])
    with opened(tmp_path / "s.dwell") as loop:
        first = import_log(loop, log, format="metarank")
        assert (first.n_lists, first.n_lists_without_features, dict(first.left_out)) == (1, 0, {"user_fields": 1})
        write(log, [ranking("r2")], "a")
        second = import_log(loop, log, format="metarank")
        assert (second.n_skipped, second.n_lists, second.n_lists_without_features) == (4, 1, 0)
        assert not second.left_out, "what was counted then is not counted now"
        assert [one["bm25"] for one in list(loop.experiences())[1].results_served] == [1.0, 2.0]


def test_an_export_comes_back_with_the_same_rewards(loop: dwell.Loop, tmp_path: Path) -> None:
    lines = [listed(i, "a", "b", "c") for i in range(5)]
    reactions = [click(0, "b"), {**click(0, "b"), "signal": "dwell", "value": 30.0}, {**click(1), "signal": "skip"}]
    import_log(
        loop, [*lines, *reactions, {"event_id": "e2", "signal": "task_completed", "timestamp": T + 9}], format="jsonl"
    )
    given = ended(loop)
    loop.export(tmp_path / "out.jsonl", format="jsonl")
    with opened() as other:
        report = import_log(other, tmp_path / "out.jsonl", format="jsonl")
        assert (report.n_lists, report.n_refused, dict(report.feedback)) == (5, 0, {"joined": 4})
        for one, two in zip(given, ended(other), strict=True):
            for name in ("event_id", "timestamp", "query", "results_served", "feedback_signals", "document_signals"):
                assert getattr(one, name) == getattr(two, name)
            assert (one.reward, one.document_rewards) == (two.reward, two.document_rewards)


def test_parquet_rows_and_nested_lists(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows = [
        {"event_id": f"e{i // 2}", "timestamp": T + i, "query": "q", "doc": f"d{i % 2}", "bm25": 1.0, "click": i % 2}
        for i in range(1_000)
    ]
    flat, nested = tmp_path / "flat.parquet", tmp_path / "nested.parquet"
    pq.write_table(pa.Table.from_pylist(rows), flat, row_group_size=170)
    pq.write_table(pa.Table.from_pylist([listed(i, "a", "b") for i in range(3)]), nested)
    with opened(tmp_path / "s.dwell") as loop:
        report = import_log(loop, flat, format="parquet")
        assert (report.n_lists, dict(report.feedback)) == (500, {"joined": 500})
        assert import_log(loop, flat, format="parquet").n_skipped == 500
        assert import_log(loop, nested, format="parquet", is_dry_run=True).refused == (
            import_log(loop, nested, format="parquet").refused
        )
    with opened() as loop:
        assert import_log(loop, nested, format="parquet").n_lists == 3
        with pytest.raises(ConfigError, match="no Parquet"):
            import_log(loop, write(tmp_path / "no.parquet", [{}]), format="parquet")
        with pytest.raises(ConfigError, match="from a file"):
            import_log(loop, "-", format="parquet")


def test_users_are_pseudonyms_and_what_was_erased_stays_away(loop: dwell.Loop) -> None:
    import_log(loop, [listed(1, "a"), listed(2, "a")], format="jsonl")
    assert all(one.user is not None and "u" not in one.user for one in loop.experiences())
    assert loop.erase("u1") == 1
    report = import_log(loop, [listed(1, "a"), listed(2, "a"), click(2, user="u1")], format="jsonl")
    assert (report.n_lists, report.n_lists_known, report.n_erased) == (0, 1, 2)
    assert [one.event_id for one in loop.experiences()] == ["e2"]


def test_what_breaks_off_is_kept_and_what_is_no_log_is_refused(loop: dwell.Loop, tmp_path: Path) -> None:
    text = b"".join(json.dumps(listed(i, "a", note=f"{i * 7919}")).encode() + b"\n" for i in range(300))
    packed = gzip.compress(text)
    with pytest.raises(RecordError) as caught:
        import_log(loop, io.BytesIO(packed[: len(packed) * 2 // 3]), format="jsonl")
    assert caught.value.code == "damaged"
    assert len(list(loop.experiences())) > 100
    with pytest.raises(ConfigError, match="unknown format"):
        import_log(loop, [], format="xml")
    with pytest.raises(ConfigError, match="not declare"):
        import_log(loop, [], format="jsonl", signals={"buy": "bought"})
    with pytest.raises(ConfigError, match="can not be read"):
        import_log(loop, tmp_path / "nowhere", format="jsonl")
    with pytest.raises(ConfigError, match="plain file"):
        import_log(loop, tmp_path, format="jsonl")
    assert import_log(loop, [], format="jsonl") == ImportReport()
    refused = import_log(loop, ["{" * 5_000_000, "[" * 100_000, json.dumps(listed(1, "a"))], format="jsonl")
    assert [one.reason.partition(":")[0] for one in refused.refused] == ["too_long", "malformed_json"]
    many = import_log(loop, ["x"] * 1_500, format="jsonl")
    assert (many.n_refused, len(many.refused)) == (1_500, 1_000)


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    def peak(n: int) -> int:
        """Return what an import of n lists, 200 of a commit, holds at most."""
        log = write(tmp_path / f"{n}.jsonl", [listed(i, "a", "b", note="x" * 500) for i in range(n)])
        with opened(tmp_path / f"{n}.dwell") as loop:
            import_log(loop, [listed(-1, "a")], format="jsonl")  # what is made once
            tracemalloc.start()
            try:
                assert import_log(loop, log, format="jsonl").n_lists == n
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    few, many = peak(600), peak(1_200)  # three commits and more: what is reused between them is there
    assert many < few + 300_000, (few, many)  # the log has grown by half a megabyte, and what is made of it by more


def test_a_table_that_unfolds_to_far_more_than_its_size_is_refused_before(loop: dwell.Loop, tmp_path: Path) -> None:
    n = 5_000_000
    docs = pa.StructArray.from_arrays([pa.array(["d"]).take(pa.array(np.zeros(n, np.int32)))], names=["id"])
    told = {"event_id": ["e"], "timestamp": [T], "query": ["q"]}
    table = {**told, "results": pa.ListArray.from_arrays(pa.array([0, n], pa.int32()), docs)}
    pq.write_table(pa.table(table), tmp_path / "many.parquet", compression="zstd")
    long = {**told, "query": ["q" * 80_000_000], "doc": ["d"]}
    pq.write_table(pa.table(long), tmp_path / "long.parquet", compression="zstd")
    for name in ("many", "long"):
        assert (tmp_path / f"{name}.parquet").stat().st_size < 10_000
        with pytest.raises(RecordError, match="far more than its size") as refused:
            import_log(loop, tmp_path / f"{name}.parquet", format="parquet")
        assert refused.value.code == "bomb"
    some = pa.ListArray.from_arrays(pa.array([0, 100_001, 100_002], pa.int32()), docs[:100_002])
    table = {name: [values[0] + values[0], values[0]] for name, values in told.items()} | {"results": some}
    table["timestamp"] = [T, T]
    pq.write_table(pa.table(table), tmp_path / "some.parquet")
    report = import_log(loop, tmp_path / "some.parquet", format="parquet")
    assert [one.reason[:13] for one in report.refused] == ["results_shape"]
    assert report.n_lists == 1  # the other row


def test_a_text_that_stands_in_every_row_is_held_once(tmp_path: Path) -> None:
    table = {"event_id": ["e"] * 3, "query": ["a question"] * 3, "doc": ["a", "b", "c"]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    reading = Reading("t", (), {}, {}, {}, T)
    (item,) = parquet.items_of_file(tmp_path / "t.parquet", reading)
    assert [row["doc"] for row in item.value] == ["a", "b", "c"]
    assert len({id(row["query"]) for row in item.value}) == 1


@pytest.mark.parametrize("kind", ["vw-text", "csv"])
def test_what_never_ends_is_refused_and_not_held(loop: dwell.Loop, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vowpal, "_MOST_BYTES", 1_000)
    monkeypatch.setattr(tables, "MAX_ITEM_BYTES", 1_000)
    if kind == "vw-text":
        lines = ["shared |s a\n", *("|a bm25:1\n" for _ in range(200)), "\n", "|a bm25:1\n", "0:1:0.5 |b bm25:2\n"]
    else:
        row = ",".join(['"a\n"'] * 800) + "\n"
        lines = ["event_id,timestamp,doc,bm25\n", f"e1,{T},a,1.0\n", *(f"{part}\n" for part in row.split("\n")[:-1])]
    report = import_log(loop, lines, format=kind, name="n")
    assert report.n_lists == 1
    assert any("too_long" in one.reason for one in report.refused)


DECISION: dict[str, Any] = {"EventId": "e", "a": [1], "p": [1.0], "c": {"_multi": [{"bm25": 10**400}]}}
EXPORTED: dict[str, Any] = {"event_id": "e", "results_served": [{"id": "a"}], "timestamp": T}


@pytest.mark.parametrize(
    ("kind", "line", "pointer"),
    [
        ("jsonl", EXPORTED | {"propensities": 0.3}, "/propensities"),
        ("vw-dsjson", DECISION | {"_label_Action": [1]}, "/_label_Action"),
        ("vw-dsjson", DECISION | {"_label_Action": {}}, "/_label_Action"),
    ],
)
def test_one_strange_value_refuses_its_item_and_not_the_log(
    loop: dwell.Loop, kind: str, line: dict[str, Any], pointer: str
) -> None:
    report = import_log(loop, [line, line | {"_label_Action": 1, "propensities": []}], format=kind, name="n")
    assert [one.pointer for one in report.refused] == [pointer]
    assert report.n_lists == 1


# ---- drawn elsewhere


def drawn(i: int, shown: str, chances: dict[str, float], **features: float) -> dict[str, Any]:
    rows = [{"id": doc, "probability": p, "bm25": features.get(doc, 0.0)} for doc, p in chances.items()]
    return {
        "event_id": f"e{i}", "timestamp": T + i, "user_id": f"u{i}", "query": f"q{i % 40}",
        "results": [{"id": shown}], "candidates": rows,
    }  # fmt: skip


def outcome(loop: dwell.Loop, seq: int) -> tuple[tuple[str, ...], list[float]]:
    with loop._state.store.snapshot() as reader:
        (impression,), (found,) = reader.impressions([seq]), reader.outcomes([seq])
    assert found.exposure is not None
    return impression.documents, found.exposure.tolist()


def test_exposure_of_a_draw_is_the_logged_chance_at_the_first_place(loop: dwell.Loop) -> None:
    chances = {"a": 0.7, "b": 0.25, "c": 0.05, "d": 0.0}
    report = import_log(loop, [drawn(0, "b", chances)], format="jsonl")
    assert (report.n_lists, report.n_lists_drawn) == (1, 1)
    one = ended(loop)[0]
    assert list(one.propensities) == [0.25]
    documents, exposure = outcome(loop, 1)
    assert documents[0] == "b"
    # theta at the first place is 1: exposure is the chance itself; a chance of 0 is no support
    assert dict(zip(documents, exposure, strict=True)) == pytest.approx(chances, rel=1e-6, abs=1e-30)


def test_what_the_log_does_not_tell_counts_as_not_supported(loop: dwell.Loop) -> None:
    line = drawn(0, "b", {"a": 0.7, "b": 0.25, "c": 0.05})
    for row in line["candidates"]:
        if row["id"] != "b":
            del row["probability"]
    assert import_log(loop, [line], format="jsonl").n_lists_drawn == 1
    ended(loop)
    assert outcome(loop, 1) == (("b", "a", "c"), [0.25, 0.0, 0.0])


def test_what_was_shown_with_chance_one_was_not_drawn(loop: dwell.Loop) -> None:
    report = import_log(loop, [drawn(0, "b", {"a": 0.0, "b": 1.0, "c": 0.0})], format="jsonl")
    assert (report.n_lists, report.n_lists_drawn) == (1, 0)
    ended(loop)
    assert outcome(loop, 1) == (("b", "a", "c"), [1.0, 0.0, 0.0])
    assert loop.inspect("e0").story["is_deterministic"] is True


@pytest.mark.parametrize(
    ("chances", "shown", "code"),
    [
        ({"a": 0.9, "b": 0.2}, "a", "propensity_range"),
        ({"a": 1.0, "b": 0.0}, "b", "propensity_range"),
        ({"a": -0.1, "b": 0.5}, "b", "propensity_range"),
        ({"a": 0.5, "b": 0.5}, "c", "results_shape"),
    ],
)
def test_chances_that_can_not_be_are_refused(
    loop: dwell.Loop, chances: dict[str, float], shown: str, code: str
) -> None:
    report = import_log(loop, [drawn(0, shown, chances)], format="jsonl")
    assert (report.n_lists, report.n_refused) == (0, 1)
    assert report.refused[0].reason.startswith(code)


def logged_draws(seed: int, n: int, *, has_chances: bool) -> list[dict[str, Any]]:
    """Return lists of one of six documents by a simulated logger that prefers the bad ones, with simulated clicks."""
    rng = np.random.default_rng(seed)
    lines: list[dict[str, Any]] = []
    for i in range(n):
        good, noise = rng.permutation(np.linspace(0.0, 1.0, 6)), rng.normal(size=6)
        chances = np.exp(-2.5 * good) / np.exp(-2.5 * good).sum()
        j = int(rng.choice(6, p=chances))
        rows = [{"id": f"d{k}", "good": float(good[k]), "noise": float(noise[k])} for k in range(6)]
        line = {"event_id": f"e{i}", "timestamp": T + i, "user_id": f"u{i}", "query": f"q{i % 40}"}
        if has_chances:
            with_chances = [{**row, "probability": float(p)} for row, p in zip(rows, chances, strict=True)]
            lines.append({**line, "results": [{"id": f"d{j}"}], "candidates": with_chances})
        else:
            lines.append({**line, "results": sorted(rows, key=lambda row: row["id"] != f"d{j}")})
        if rng.random() < 0.05 + 0.9 * good[j]:
            lines.append(click(i, f"d{j}"))
    return lines


@pytest.mark.statistical
def test_logged_chances_undo_what_the_logger_preferred() -> None:
    """From equal weights of two features, what is learned leans to the one that clicks depend on, by the chances alone.

    The same lists without chances, as sorted by somebody else, teach that what was preferred is right. One seed, fixed:
    it passes always or never. Of a step that knew nothing either half alone would come out by chance one time in two.
    """
    leanings = []
    for has_chances in (True, False):
        with opened(":memory:", "good", "noise", weights={"good": 1.0, "noise": 1.0}, mode="live") as loop:
            report = import_log(loop, logged_draws(1, 1_200, has_chances=has_chances), format="jsonl")
            assert report.n_lists_drawn == (1_200 if has_chances else 0)
            learned = loop.train(now=T + 1e6)
            assert learned.proposed is not None
            assert learned.n_learned_from > 700
            leanings.append(learned.proposed.weights["good"] - learned.proposed.weights["noise"])
    assert leanings[0] > 0.0 > leanings[1]
