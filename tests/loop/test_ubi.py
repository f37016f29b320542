"""User Behavior Insights into a loop and out of it: what is recorded, what is joined, and what is told of the rest."""

import json
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.errors import ConfigError, RecordError
from dwell.integrations.ubi import UbiReport, export_ubi, import_ubi, import_ubi_files, take_ubi

PEPPER = b"a pepper of these tests"
NOW = 1_800_000_000.0
AT = 1_700_000_000.0
SHARED = os.environ.get("DWELL_SHARED")


@pytest.fixture
def loop() -> Iterator[dwell.Loop]:
    with dwell.open(":memory:", pepper=PEPPER) as opened:
        yield opened


def query(query_id: str = "q", hits: str = "abc", at: float = AT, **more: Any) -> dict[str, Any]:
    asked = {"user_query": "shoes", "query_id": query_id, "client_id": "c", "timestamp": at}
    return asked | {"query_response_hit_ids": list(hits)} | more


def event(action: str, doc: str | None = None, at: float = AT + 5.0, query_id: str | None = "q", **more: Any) -> Any:
    thing = {} if doc is None else {"object": {"object_id": doc}}
    return {"action_name": action, "timestamp": at, "query_id": query_id, "event_attributes": thing | more}


def impression(doc: str, ordinal: int, **more: Any) -> Any:
    return event("impression", doc, position={"ordinal": ordinal}, **more)


def joined(loop: dwell.Loop) -> dict[str, list[tuple[str, str | None, float, float]]]:
    """Return, per list, its reactions."""
    return {
        e.event_id: sorted((s.name, s.doc, s.value, s.at) for s in loop.signals(e.event_id)) for e in loop.experiences()
    }


def shown(loop: dwell.Loop) -> dict[str, str]:
    return {e.event_id: "".join(doc["id"] for doc in e.results_served) for e in loop.experiences()}


# ---- the official sample


@pytest.fixture(scope="module")
def sample(request: pytest.FixtureRequest) -> Path:
    beside = Path(str(request.config.rootpath)).parent / "shared"
    path = (Path(SHARED) if SHARED else beside) / "data" / "ubi" / "ubi_queries_events.ndjson"
    if not path.exists():
        pytest.skip("the sample of the Chorus project is not beside the project; DWELL_SHARED names the folder of it")
    return path


@pytest.fixture(scope="module")
def imported(sample: Path) -> Iterator[tuple[dwell.Loop, UbiReport]]:
    """Import the sample once, for those who only look."""
    with dwell.open(":memory:", pepper=PEPPER) as opened:
        yield opened, import_ubi_files(opened, [sample], now=NOW)


def raw(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the sample's queries and events by nothing but `json`."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = list(zip(lines[::2], lines[1::2], strict=True))
    return (
        [body for head, body in pairs if head["index"]["_index"] == "ubi_queries"],
        [body for head, body in pairs if head["index"]["_index"] == "ubi_events"],
    )


def instant(written: str | int) -> float:
    return written / 1e3 if isinstance(written, int) else datetime.fromisoformat(written).timestamp()


def part(one: dict[str, Any], *keys: str) -> Any:
    found: Any = one
    for key in keys:
        found = (found or {}).get(key)
    return found


def test_all_of_the_sample_is_read_and_what_is_odd_about_it_is_told(
    imported: tuple[dwell.Loop, UbiReport], sample: Path
) -> None:
    queries, events = raw(sample)
    _, report = imported

    assert (report.n_queries, report.n_events, report.n_quarantined) == (len(queries), len(events), 0)
    assert report.normalised["epoch_milliseconds"] == sum(isinstance(e["timestamp"], int) for e in events)
    for key in ("event_attributes", "message", "message_type", "query_id"):
        assert report.normalised[f"null:{key}"] == sum(e.get(key, "") is None for e in events)
    ids = Counter(q["query_id"] for q in queries)
    assert report.n_repeated_query_ids == sum(n > 1 for n in ids.values())
    assert report.n_joins == sum(e.get("query_id") in ids for e in events)
    keys = {(e.get("query_id"), e["action_name"], part(e, "event_attributes", "object", "object_id"), e["timestamp"])
            for e in events}  # fmt: skip
    assert report.n_duplicates == len(events) - len(keys)
    lowest: dict[str, int] = {}
    for e in events:
        place = part(e, "event_attributes", "position", "ordinal")
        if e["action_name"] == "impression" and place is not None:
            lowest[e["query_id"]] = min(place, lowest.get(e["query_id"], place))
    bases = sum((Counter(found) for found in report.ordinal_bases.values()), Counter())
    assert bases == Counter({0: "0", 1: "1"}.get(place, "undecided") for place in lowest.values())
    hits = defaultdict(set)
    for q in queries:
        if q.get("query_response_hit_ids"):
            hits[q["query_id"]].add((q["user_query"], tuple(q["query_response_hit_ids"])))
    assert report.n_split_query_ids == sum(len(lists) > 1 for lists in hits.values())
    with_impressions = {e["query_id"] for e in events if e["action_name"] == "impression"} & ids.keys()
    assert report.n_lists_rebuilt == len(with_impressions - hits.keys())
    assert report.n_lists == sum(map(len, hits.values())) + report.n_lists_rebuilt

    # the published figures of the field: facts of the sample, found without this project
    assert (len(queries), len(events)) == (473, 3448)
    assert report.normalised["epoch_milliseconds"] == 429
    assert (report.normalised["null:event_attributes"], report.normalised["null:message"]) == (506, 1060)
    assert (report.n_repeated_query_ids, report.n_joins, report.n_duplicates) == (84, 2502, 3)
    assert (bases["0"], bases["1"], report.n_split_query_ids) == (200, 56, 3)


def test_the_sample_s_reactions_before_their_list_are_counted_and_never_credited_before_it(
    imported: tuple[dwell.Loop, UbiReport], sample: Path
) -> None:
    _, events = raw(sample)
    loop, report = imported
    served = {e.event_id: e for e in loop.experiences()}
    names: dict[str, list[str]] = defaultdict(list)
    for name in served:
        names[name.removesuffix(".2").removesuffix(".3")].append(name)
    delays = []
    for e in events:
        lists = [served[name] for name in names.get(e.get("query_id") or "", ())]
        if e["action_name"] == "impression" or not lists:
            continue
        doc, at = part(e, "event_attributes", "object", "object_id"), instant(e["timestamp"])
        lists = [one for one in lists if not doc or doc in {d["id"] for d in one.results_served}] or lists
        after = [at - one.timestamp for one in lists if one.timestamp <= at]
        delays.append(min(after) if after else max(at - one.timestamp for one in lists))
    assert report.n_negative_delays == sum(delay < 0.0 for delay in delays) > 0
    assert report.n_too_early == sum(delay < -300.0 for delay in delays)
    assert statistics.median(delays) > 0.0
    assert all(min(s.at, s.received_at) >= e.timestamp for e in served.values() for s in loop.signals(e.event_id))


def test_importing_the_sample_again_changes_nothing(imported: tuple[dwell.Loop, UbiReport], sample: Path) -> None:
    loop, first = imported
    before = joined(loop)
    again = import_ubi_files(loop, [sample], now=NOW)
    assert joined(loop) == before
    assert (again.n_lists, again.n_lists_known) == (0, first.n_lists)
    assert again.feedback.keys() == {"duplicate"}
    assert again.n_joins == first.n_joins


# ---- small worlds


def test_lists_come_in_time_order_and_their_reactions_join(loop: dwell.Loop) -> None:
    report = import_ubi(
        loop,
        [query("a", "cd", AT + 100.0), query("b", "ab")],
        [event("purchase", "d", AT + 110.0, "a"), event("item_click", "a", AT + 5.0, "b"), impression("a", 1)],
        now=NOW,
    )
    assert list(shown(loop).items()) == [("b", "ab"), ("a", "cd")]
    assert joined(loop) == {
        "b": [("click", "a", 1.0, AT + 5.0)], "a": [("purchase", "d", 1.0, AT + 110.0)]
    }  # fmt: skip
    assert report.feedback == {"joined": 2}
    first, _ = loop.experiences()
    assert (first.query, first.timestamp, first.policy) == ("shoes", AT, "external")
    assert first.user is not None


def test_what_belongs_to_nothing_is_told_apart(loop: dwell.Loop) -> None:
    events = [
        event("click", "z"),  # not in the list
        event("click", "a", query_id="unknown"),
        event("click", "a", query_id=None),
        event("brand_filter"),
        event("dwell", "a"),
        {"action_name": "click"},
        event("click", "a", at=NOW + 301.0),
    ]
    report = import_ubi(loop, [query(), query("empty", "")], events, now=NOW)
    assert report.feedback == {"rejected:not_served": 1, "orphan": 1, "no_value": 1}
    assert report.n_without_query_id == 1
    assert report.n_queries_without_list == 1
    assert report.unknown_actions == {"brand_filter": 1}
    assert [(one.source, one.index, one.pointer) for one in report.quarantined] == [
        ("events", 5, "/timestamp"), ("events", 6, "/timestamp")
    ]  # fmt: skip
    assert report.n_accepted + report.n_quarantined == 2 + len(events)


def test_a_clock_that_is_a_little_wrong_is_forgiven_and_a_far_earlier_reaction_left_out(loop: dwell.Loop) -> None:
    events = [event("click", "a", AT - 300.0), event("click", "b", AT - 301.0)]
    report = import_ubi(loop, [query()], events, now=NOW)
    assert (report.n_negative_delays, report.n_too_early) == (2, 1)
    assert joined(loop)["q"] == [("click", "a", 1.0, AT)]
    assert [signal.received_at for signal in loop.signals("q")] == [AT]


def test_a_query_id_with_two_lists_becomes_two_events_with_lasting_names(loop: dwell.Loop) -> None:
    pages = [query(hits="ab"), query(hits="cd", at=AT + 60.0)]
    clicks = [event("click", "a"), event("click", "d", AT + 70.0)]
    report = import_ubi(loop, pages, clicks, now=NOW)
    assert report.n_split_query_ids == 1
    assert shown(loop) == {"q": "ab", "q.2": "cd"}
    assert {name: [s[1] for s in found] for name, found in joined(loop).items()} == {"q": ["a"], "q.2": ["d"]}
    import_ubi(loop, [query(hits="xy", at=AT - 60.0)], [], now=NOW)
    assert shown(loop) == {"q": "ab", "q.2": "cd", "q.3": "xy"}


def test_impressions_make_a_list_and_the_base_of_their_places_can_be_given(loop: dwell.Loop) -> None:
    seen = [impression("b", 2), impression("c", 4), impression("a", 1)]
    report = import_ubi(loop, [query(hits="")], [*seen, event("click", "c")], now=NOW)
    assert shown(loop) == {"q": "abc"}
    assert (report.n_lists_rebuilt, report.n_rebuilt_gaps) == (1, 1)
    assert report.ordinal_bases == {"": {"1": 1}}
    again = import_ubi(loop, [query(hits="")], seen, ordinal_base=0, now=NOW)
    assert (again.n_lists_known, again.n_rebuilt_gaps) == (1, 2)
    with pytest.raises(ConfigError, match="counted from 0 or from 1"):
        import_ubi(loop, [], [], ordinal_base=2, now=NOW)


def test_events_alone_join_what_the_loop_ranked_itself() -> None:
    with dwell.open(":memory:", features=["x"], pepper=PEPPER) as loop:
        served = loop.rank("shoes", [{"id": d, "x": 1.0} for d in "abcd"], k=2, event_id="q", now=AT)
        told = query(hits="".join(served.ids))
        report = import_ubi(loop, [told], [event("click", served.ids[0])], now=NOW)
        assert (report.n_lists, report.n_lists_known, report.feedback) == (0, 1, {"joined": 1})
        assert len(list(loop.experiences())) == 1


def test_with_features_imported_lists_are_learned_from() -> None:
    with dwell.open(":memory:", features=["x"], pepper=PEPPER, mode="log-only") as loop:
        import_ubi(
            loop,
            [query()],
            [event("click", "b")],
            features=lambda _, docs: [{"x": float(ord(d))} for d in docs],
            now=NOW,
        )
        (found,) = loop.experiences()
        assert [doc["x"] for doc in found.results_served] == [97.0, 98.0, 99.0]


def test_an_erased_user_does_not_come_back(loop: dwell.Loop) -> None:
    import_ubi(loop, [query()], [event("click", "a")], now=NOW)
    assert loop.erase("c", now=NOW) == 1
    report = import_ubi(loop, [query(), query("other", client_id="d")], [event("click", "a")], now=NOW)
    assert report.n_erased >= 1
    assert shown(loop) == {"other": "abc"}


def test_a_list_that_the_loop_refuses_is_counted(loop: dwell.Loop) -> None:
    report = import_ubi(
        loop, [query(client_id="c"), query("q2", "ab")], [], features=lambda _, docs: [{"id": 3}] * len(docs), now=NOW
    )
    assert report.n_lists == 0
    assert sum(report.refused_lists.values()) == 2


def test_what_is_exported_imports_to_the_same(tmp_path: Path) -> None:
    with dwell.open(":memory:", features=["x"], pepper=PEPPER) as loop:
        for i in range(6):
            docs = [{"id": d, "x": float(j)} for j, d in enumerate("abcd")]
            now = AT + i
            served = loop.rank("shoes", docs, k=3, event_id=f"e{i}", user=f"u{i % 2}", segment="web", now=now)
            loop.feedback(served.event_id, "click", doc=served.ids[0], now=now + 1.0)
            loop.feedback(served.event_id, "dwell", doc=served.ids[0], value=31.5, now=now + 2.25)
            loop.feedback(served.event_id, "abandoned", now=now + 3.0)
        deferred = loop.rank("hats", docs, k=1, event_id="unseen", activate=False, now=AT)
        assert export_ubi(loop, tmp_path / "ubi.ndjson") == 7 - (deferred.event_id == "unseen")
        before, lists = joined(loop), shown(loop)
        segments = {e.event_id: e.segment for e in loop.experiences()}
        served_by = {e.event_id: e.params_version for e in loop.experiences()}
    for found in (before, lists, segments):
        del found["unseen"]  # type: ignore[attr-defined]
    queries, _ = raw(tmp_path / "ubi.ndjson")
    for asked in queries:
        attributes = asked["query_attributes"]
        assert all(isinstance(value, str) for value in attributes.values())
        assert attributes["dwell.params_version"] == str(served_by[asked["query_id"]])
        assert attributes["dwell.policy"] in {"caller", "params"}
        assert len(json.loads(attributes["dwell.propensities"])) == 3
    with dwell.open(":memory:", pepper=PEPPER) as other:
        report = import_ubi_files(other, [tmp_path / "ubi.ndjson"], now=NOW)
        assert (report.n_quarantined, report.n_duplicates, report.n_queries_without_list) == (0, 0, 0)
        assert report.n_joins == report.n_events
        assert joined(other) == before
        assert shown(other) == lists
        assert {e.event_id: e.segment for e in other.experiences()} == segments


@pytest.mark.parametrize("name", ["link", "folder", "pipe", "missing", "packed.json"])
def test_only_plain_files_of_text_are_read(loop: dwell.Loop, tmp_path: Path, name: str) -> None:
    (tmp_path / "real").write_text(json.dumps(query()), encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "packed.json").write_bytes(b"\x1f\x8b\x08rest")
    with pytest.raises(ConfigError) as refused:
        import_ubi_files(loop, [tmp_path / name], now=NOW)
    assert refused.value.field == "path"
    assert shown(loop) == {}


# ---- one request of a collector


def body(*items: Any) -> bytes:
    return json.dumps(list(items)).encode()


def test_a_request_is_an_object_an_array_or_lines(loop: dwell.Loop) -> None:
    take = {"trusted": True, "now": AT + 10.0}
    assert take_ubi(loop, "queries", json.dumps(query("q1")).encode(), "application/json", **take).accepted == 1  # type: ignore[arg-type]
    assert take_ubi(loop, "queries", body(query("q2")), "application/json; charset=utf-8", **take).accepted == 1  # type: ignore[arg-type]
    lines = b"\n".join([b'{"index":{"_index":"ubi_queries"}}', json.dumps(query("q3")).encode(), b"{broken"])
    answer = take_ubi(loop, "queries", lines, "application/x-ndjson", **take)  # type: ignore[arg-type]
    assert (answer.accepted, answer.outcomes) == (1, {"recorded": 1})
    assert [(one.index, one.pointer) for one in answer.quarantined] == [(1, "")]
    beacon = take_ubi(loop, "events", body(event("click", "a", AT + 9.0, "q1")), "text/plain;charset=UTF-8", **take)  # type: ignore[arg-type]
    assert beacon.outcomes == {"joined": 1}
    assert set(shown(loop)) == {"q1", "q2", "q3"}


def test_events_before_their_query_wait_for_it_and_repeats_count_once(loop: dwell.Loop) -> None:
    clicks = body(event("click", "a"), event("click", "a"), event("purchase", "z"))
    early = take_ubi(loop, "events", clicks, "application/json", trusted=True, now=AT + 6.0)
    assert early.outcomes == {"orphan": 2, "duplicate": 1}
    assert take_ubi(loop, "queries", body(query()), "", trusted=True, now=AT + 7.0).outcomes == {"recorded": 1}
    assert joined(loop)["q"] == [("click", "a", 1.0, AT + 5.0)]
    again = take_ubi(loop, "events", clicks, "application/json", trusted=True, now=AT + 8.0)
    assert again.outcomes == {"duplicate": 2, "rejected:not_served": 1}
    assert take_ubi(loop, "queries", body(query(), query(hits="xy")), "", trusted=True, now=AT + 9.0).outcomes == {
        "known": 1, "recorded": 1
    }  # fmt: skip
    assert shown(loop) == {"q": "abc", "q.2": "xy"}


def test_every_item_of_a_request_is_accounted_for(loop: dwell.Loop) -> None:
    take_ubi(loop, "queries", body(query()), "", trusted=True, now=AT)
    items = [
        event("click", "a"), impression("a", 1), event("brand_filter"), event("click", "a", query_id=None),
        event("dwell", "a"), event("click", "b", AT - 301.0), 7, {"action_name": "click"},
        event("click", "a", AT + 1_000.0),
    ]  # fmt: skip
    answer = take_ubi(loop, "events", body(*items), "application/json", trusted=True, now=AT + 10.0)
    assert answer.outcomes == {
        "joined": 1, "shown": 1, "unknown": 1, "no_query_id": 1, "no_value": 1, "too_early": 1
    }  # fmt: skip
    assert [one.index for one in answer.quarantined] == [6, 7, 8]
    assert answer.accepted + len(answer.quarantined) == len(items)


def test_a_public_key_tells_no_lists_and_reacts_only_to_what_was_served(loop: dwell.Loop) -> None:
    forged = take_ubi(loop, "queries", body(query("mine", "spam")), "application/json", trusted=False, now=AT)
    assert forged.outcomes == {"untrusted": 1}
    assert shown(loop) == {}
    take_ubi(loop, "queries", body(query()), "application/json", trusted=True, now=AT)
    clicks = body(event("click", "a"), event("click", "spam"), event("abandoned"), event("click", "s", query_id="mine"))
    answer = take_ubi(loop, "events", clicks, "application/json", trusted=False, now=AT + 10.0)
    assert answer.outcomes == {"joined": 1, "rejected:not_served": 1, "untrusted": 1, "orphan": 1}
    assert joined(loop) == {"q": [("click", "a", 1.0, AT + 5.0)]}


@pytest.mark.parametrize(
    ("payload", "content_type", "code"),
    [
        (b" " * 2_000_001, "application/json", "too_large"),
        (b"[" + b"1," * 1_000 + b"1]", "application/json", "too_large"),
        (b"1\n" * 1_001, "application/x-ndjson", "too_large"),
        (b"{}", "text/html", "unsupported_media_type"),
        (b"{", "application/json", "malformed_json"),
        (b"[" * 100_000, "application/json", "malformed_json"),
        (b"", "", "malformed_json"),
    ],
)
def test_a_request_that_can_not_be_taken_changes_nothing(
    loop: dwell.Loop, payload: bytes, content_type: str, code: str
) -> None:
    with pytest.raises(RecordError) as refused:
        take_ubi(loop, "events", payload, content_type, trusted=True, now=AT)
    assert refused.value.code == code
