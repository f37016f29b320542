"""What a loop exported comes into another store: same lists, reactions and rewards. What is lost is what is said."""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

import dwell
from dwell.errors import ConfigError
from dwell.integrations.importing import ImportReport, import_log
from dwell.loop.exports.pieces import has_policy, is_learned
from dwell.records import Experience

from .exported import N_LISTS, PEPPER, START, WINDOW_S, events, made

FEATURES: Final = ["bm25", "cosine", "age =1"]
ODD: Final = "@-odd".ljust(128, "x")  # as long as an event id may be
ODD_IDS: Final = ["=1+1", "-2", "@x", "'q", 'a"b,c', "é | :#\\ ünï %41", "\u2212m 100%"]
ODD_QUERY: Final = "a\r\n\r\n=b, \"c\"\r\n'd\n\n|e:f '\r"
N_TAKEN: Final = N_LISTS + 6  # of the store's 47: one was never shown


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dwell.Loop]:
    loop = made(tmp_path_factory.mktemp("round") / "a.dwell")
    odd = np.random.default_rng(5).random((len(ODD_IDS), 3))
    now = START + 30.0
    ids = loop.rank(ODD_QUERY, ids=ODD_IDS, features=odd, user="=u", segment="-s 1", query_embedding=np.ones(3),
                    event_id=ODD, now=now).ids  # fmt: skip
    for key in ("one", "two"):  # the same twice: two people of one session, told apart by the key alone
        loop.feedback(ODD, "click", doc=ids[0], at=now + 2.5, idempotency_key=key, now=now + 3)
    loop.feedback(ODD, "rating", doc=ids[1], value=2.0, now=now + 4)
    loop.feedback(ODD, "rating", doc=ids[1], value=4.0, now=now + 5)  # the last one holds
    loop.feedback(ODD, "task_completed", now=now + 6)
    loop.close_events(now=START + 400.0)
    yield loop
    loop.close()


def opened(features: list[str] = FEATURES) -> dwell.Loop:
    how: dict[str, Any] = {"pepper": PEPPER, "attribution_window_s": WINDOW_S, "embedding_dim": 3, "max_results": 5}
    return dwell.open(":memory:", features=features, **how)


def taken(loop: dwell.Loop, path: Path, name: str) -> ImportReport:
    report = import_log(loop, path, format=name)
    loop.close_events(now=START + 400.0)
    return report


def by_id(loop: dwell.Loop) -> dict[str, Experience]:
    return {one.event_id: one for one in loop.experiences()}


def raw(loop: dwell.Loop, event_id: str) -> list[tuple[Any, ...]]:
    return sorted((one.name, one.doc or "", one.value, one.at) for one in loop.signals(event_id))


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet"])
def test_an_export_comes_back(store: dwell.Loop, tmp_path: Path, name: str) -> None:
    path = tmp_path / "a"
    assert store.export(path, name) == N_TAKEN + 1
    known = by_id(store)
    n_whole = 0
    with opened() as other:
        report = taken(other, path, name)
        found = by_id(other)
        assert set(found) == set(known) - {"unseen"}
        for event_id, one in found.items():
            was = known[event_id]
            for field in ("timestamp", "query", "segment", "state", "feedback_signals", "document_signals"):
                assert getattr(one, field) == getattr(was, field), (event_id, field)
            assert (one.reward, one.document_rewards) == (was.reward, was.document_rewards)
            assert [shown["id"] for shown in one.results_served] == [shown["id"] for shown in was.results_served]
            assert one.user == (None if was.user is None else other.pseudonym(was.user))
            if name == "parquet":
                assert raw(other, event_id) == raw(store, event_id)
            if all(has_all(shown) for shown in was.results_served):
                assert one.results_served == was.results_served
                n_whole += 1
            assert_lost(one, was, name)
    # without: 20 from before there was a third feature, one shown deeper than features are kept, one of elsewhere
    assert n_whole == N_TAKEN - N_LISTS // 2 - 2
    assert (report.n_lists, report.n_refused, report.n_lists_drawn) == (N_TAKEN, 0, 0)
    n_drawn = sum(any(p != 1.0 for p in known[event_id].propensities) for event_id in found)
    assert dict(report.left_out) == {"never_shown": 1, "propensities": n_drawn}


def has_all(shown: Mapping[str, Any]) -> bool:
    """Return whether a document has its score and every feature, none of which is NaN."""
    return shown.keys() >= {"score", *FEATURES} and not np.isnan(shown["age =1"])


def assert_lost(one: Experience, was: Experience, name: str) -> None:
    """Check that what docs/exports.md says is lost is lost."""
    assert (one.policy, one.temperature, set(one.propensities)) == ("external", 0.0, {1.0})
    assert {kept["id"] for kept in one.candidates} <= {shown["id"] for shown in one.results_served}
    assert tuple(one.query_embedding) == (() if name == "csv" else tuple(was.query_embedding))


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet"])
def test_each_event_once_however_often_it_is_told(store: dwell.Loop, tmp_path: Path, name: str) -> None:
    path, again = tmp_path / "a", tmp_path / "b"
    store.export(path, name)
    head, _, rest = path.read_bytes().partition(b"\n")
    if name == "parquet":
        again.write_bytes(path.read_bytes())
    else:
        again.write_bytes(head + b"\n" + rest + (b"" if name == "csv" else head + b"\n") + rest)
    eve = by_id(store)["hostile"].user
    assert eve is not None
    with opened() as other:
        first = taken(other, path, name)
        before = by_id(other)
        n = 1 if name == "parquet" else 2
        second = taken(other, again, name)
        assert (second.n_lists, second.n_lists_known, second.n_refused) == (0, n * N_TAKEN, 0)
        assert dict(second.feedback) == {"duplicate": n * first.feedback["joined"]}
        assert by_id(other) == before
        assert other.erase(eve) == 2  # known by what the export calls her
        again.rename(tmp_path / "c")
        third = taken(other, tmp_path / "c", name)
        # two lists; of the hostile one two clicks, and that it was asked anew
        assert (third.n_lists, third.n_erased) == (0, n * (2 + 3))
        assert not {"hostile", "external"} & set(by_id(other))


def test_what_aggregates_do_not_tell_is_lost(tmp_path: Path) -> None:
    rewards = {"rating": {"weight": 0.5}, "click": {"weight": 0.1, "aggregation": "sum"}, "- bad|=1": {"weight": 0.2}}
    how: dict[str, Any] = {"features": ["f"], "pepper": PEPPER, "attribution_window_s": WINDOW_S, "rewards": rewards}
    with dwell.open(":memory:", **how) as loop:
        loop.rank("secret words", [{"id": "a", "f": 1.0}, {"id": "b", "f": 0.0}], event_id="e", now=START)
        for key in ("one", "two"):  # they add up to 2, and a click is at most 1
            loop.feedback("e", "click", doc="a", idempotency_key=key, now=START + 1)
        loop.feedback("e", "- bad|=1", doc="b", now=START + 1)
        loop.feedback("e", "rating", doc="a", value=2.0, now=START + 2)
        loop.feedback("e", "rating", value=4.5, now=START + 3)
        loop.close_events(now=START + 400.0)
        reward = by_id(loop)["e"].reward
        for name in ("jsonl", "csv", "parquet"):
            loop.export(tmp_path / name, name, has_text=False)
    for name, reactions in {
        # nor is there a rating of the list beside one of a document
        "jsonl": {"joined": 2, "rejected:signal_range": 1},
        "csv": {"joined": 3, "rejected:signal_range": 1},
        "parquet": {"joined": 5},
    }.items():
        with dwell.open(":memory:", **how) as other:
            assert dict(taken(other, tmp_path / name, name).feedback) == reactions
            one = by_id(other)["e"]
            assert (one.query, one.reward == reward) == ("", name == "parquet")


def test_only_what_was_exported_is_taken_for_an_export(store: dwell.Loop, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    store.export(tmp_path / "a.parquet", "parquet", limit=2)
    store.export(tmp_path / "a.csv", "csv", limit=2)
    table = pq.read_table(tmp_path / "a.parquet")
    newer = table.replace_schema_metadata({**table.schema.metadata, b"dwell.export": b"2"})
    wider = table.append_column("later", pa.array([1, 2]))
    with opened() as other:
        field = table.schema.field("served_at")
        late = table.set_column(2, field, pa.array([2**60] * 2, field.type))  # no date of Python's
        cut = table.drop_columns("signals")
        for bad, said in ((newer, "another format than 1"), (cut, "'signals'"), (late, "damaged after row 0")):
            pq.write_table(bad, tmp_path / "bad.parquet")
            with pytest.raises(ConfigError, match=said):
                import_log(other, tmp_path / "bad.parquet", format="parquet")
        pq.write_table(wider, tmp_path / "wider.parquet")
        assert import_log(other, tmp_path / "wider.parquet", format="parquet", is_dry_run=True).n_lists == 2
        pq.write_table(table.replace_schema_metadata(None), tmp_path / "none.parquet")
        assert import_log(other, tmp_path / "none.parquet", format="parquet").n_lists == 0
        text = (tmp_path / "a.csv").read_bytes().decode()
        (tmp_path / "b.csv").write_text(text.replace("list_signals", "of_list", 1), "utf-8")
        for file, columns in (("a.csv", {"timestamp": "served_at"}), ("b.csv", None)):  # as any other table
            report = import_log(other, tmp_path / file, format="csv", columns=columns, is_dry_run=True)
            # where `reward`, which is the name of a signal, is one (of three documents), and `signals` is nothing
            assert (report.n_lists, report.n_refused, dict(report.feedback)) == (2, 0, {"joined": 3})
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        for column, bad, pointer in (
            ("doc", 7, "doc"),
            ("rank", "1.5", "results/0/rank"),
            ("signals", "click", "signals"),
        ):
            report = import_log(other, [{**rows[0], column: bad}], format="csv", is_dry_run=True)
            assert [one.pointer for one in report.refused] == [f"/{pointer}"]
        assert import_log(other, rows, format="csv").feedback["joined"] == 4


@pytest.mark.parametrize(
    ("shared", "doc"),
    [
        ("shared 'e%201|query x", "a%2520b"),
        ("shared 'e%201|query x", "a%zz"),
        ("shared 'e%201|query x", "a%41"),  # of a letter, which stays as it is
        ("shared 'e%201|query x", "a%ff"),
        ("shared 'e|other x", "a%20b"),
        ("shared |query x", "a%20b"),
    ],
)
def test_a_tag_of_another_program_stays_as_it_is(shared: str, doc: str) -> None:
    with opened(["f"]) as other:
        import_log(other, [shared, f"0:-1:0.5 '{doc}|doc f:1", "|doc f:2"], format="vw-text")
        (one,) = other.experiences()
    assert [shown["id"] for shown in one.results_served] == [doc]


def test_choices_of_vw_come_back_with_names_chances_and_rewards(store: dwell.Loop, tmp_path: Path) -> None:
    path = tmp_path / "a.vw"
    n = store.export(path, "vw")
    with opened() as other:
        report = taken(other, path, "vw-text")
        found = events(other)
        again = tmp_path / "twice.vw"
        again.write_bytes(2 * path.read_bytes())
        second = taken(other, again, "vw-text")
    assert (report.n_lists, report.n_lists_drawn, report.n_refused) == (n, n, 0)
    assert (second.n_lists, second.n_lists_known, second.feedback.get("joined", 0)) == (0, 2 * n, 0)
    known = {name: one for name, one in events(store).items() if is_learned(one.impression, one.outcome)}
    known = {name: one for name, one in known.items() if has_policy(one.impression)}
    assert set(found) == set(known) >= {ODD, "hostile"}
    for name, event in found.items():
        one, was = event.impression, known[name].impression
        assert (one.query, one.segment) == (" ".join(was.query.split()), was.segment)
        assert one.propensities[0] == pytest.approx(was.propensities[0], rel=1e-12)
        assert sorted(one.documents) == sorted(was.documents)
        place = [was.documents.index(doc) for doc in one.documents]
        width = was.features.shape[1]
        assert np.array_equal(one.features[:, :width], np.nan_to_num(was.features[place]))
        assert event.experience().document_rewards[one.served[0]] == pytest.approx(top_reward(known[name]))
        # lost: what stood below the top, who asked, when, and which signals there were
        assert (one.served, one.user) == ((was.served[0],), None)
        assert one.served_at > was.served_at
        assert {signal.name for signal in event.signals} <= {"reward"}
    assert found["e0"].impression.query_embedding is None


def top_reward(event: Any) -> float:
    return float(event.outcome.document_rewards[0])
