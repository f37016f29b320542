"""One item of each format, read: what it tells, and where it says what is wrong."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from dwell.errors import ConfigError
from dwell.integrations.importing.algolia import ALGOLIA
from dwell.integrations.importing.jsonl import JSONL
from dwell.integrations.importing.metarank import METARANK
from dwell.integrations.importing.open_bandit import OPEN_BANDIT
from dwell.integrations.importing.reading import Format, Reading, pointer_of
from dwell.integrations.importing.records import Item
from dwell.integrations.importing.sources import lines_of
from dwell.integrations.importing.tables import CSV, checked_columns
from dwell.integrations.importing.vowpal import VW_DSJSON, VW_TEXT
from dwell.integrations.ubi.fields import UnreadableField
from dwell.integrations.ubi.records import Refusal
from dwell.loop.imported import ToldList, ToldReaction
from dwell.reward.presets import PRESETS

NOW = 1_700_000_000.0


def reading(*features: str, columns: dict[str, str] | None = None, **overrides: str | None) -> Reading:
    return Reading("log", features, PRESETS["search"].signals, overrides, checked_columns(columns), NOW)


def told(kind: Format, lines: Iterable[Any], under: Reading) -> list[ToldList | ToldReaction]:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return [one for item in kind.items(lines_of(texts), under) for one in kind.read(item, under)]


def lists(found: list[ToldList | ToldReaction]) -> list[ToldList]:
    return [one for one in found if isinstance(one, ToldList)]


def reactions(found: list[ToldList | ToldReaction]) -> list[ToldReaction]:
    return [one for one in found if isinstance(one, ToldReaction)]


# ---- jsonl


def test_the_dicts_of_log_retrieval_and_log_feedback() -> None:
    under = reading("bm25")
    one, two, three = told(
        JSONL,
        [
            {
                "event_id": "e1", "timestamp": NOW, "user_id": "u", "query": "q",
                "results": [{"memory_id": 7, "rank": 1, "score": 0.9, "preview": "", "features": {"bm25": 2.0}}],
            },
            {"event_id": "e1", "signal": "dwell", "memory_id": 7, "value": 3.5, "timestamp": "2023-11-14T22:13:20"},
            {"event_id": "e1", "feedback_signals": {"task_completed": 1}},
        ],
        under,
    )  # fmt: skip
    assert isinstance(one, ToldList)
    assert isinstance(two, ToldReaction)
    assert isinstance(three, ToldReaction)
    assert (one.event_id, one.at, one.user, one.query) == ("e1", NOW, "u", "q")
    assert one.results[0]["id"] == "7"
    assert one.results[0]["bm25"] == 2.0
    assert (two.signal, two.doc, two.value, two.at) == ("dwell", "7", 3.5, NOW)
    assert (three.signal, three.doc, three.value) == ("task_completed", None, 1.0)
    assert (under.noted["no_zone"], under.left_out["timestamp"]) == (1, 1)


def test_a_reaction_that_is_told_twice_has_one_key_and_another_has_another() -> None:
    line = {"event_id": "e", "signal": "click", "doc": "a", "timestamp": NOW}
    keys = [one.key for one in reactions(told(JSONL, [line, line, {**line, "doc": "b"}], reading()))]
    assert keys[0] == keys[1] != keys[2]
    bare = {"event_id": "e", "signal": "click", "doc": "a"}  # without an instant of its own
    first, second = reading(), reading()
    second.now += 60.0
    assert reactions(told(JSONL, [bare], first))[0].key == reactions(told(JSONL, [bare], second))[0].key


def test_a_candidate_set_with_probabilities_is_a_draw_of_one_document_only() -> None:
    candidates = [{"id": "a", "probability": 0.25}, {"id": "b", "probability": 0.75}]
    line = {"event_id": "e", "timestamp": NOW, "results": [{"id": "b"}], "candidates": candidates}
    under = reading()
    found = lists(told(JSONL, [line], under))[0]
    assert found.drawn is not None
    assert (found.drawn.shown, list(found.drawn.chances)) == ("b", [0.25, 0.75])
    assert [row["id"] for row in found.results] == ["a", "b"]
    several = lists(told(JSONL, [{**line, "results": [{"id": "b"}, {"id": "a"}]}], under))[0]
    assert several.drawn is None
    assert under.left_out["candidates"] == 1


@pytest.mark.parametrize(
    ("line", "pointer", "code"),
    [
        ("{", "", "malformed_json"),
        ("[]", "", "type"),
        ("NaN", "", "malformed_json"),
        ('{"a":' * 40 + "1" + "}" * 40, "", "depth"),
        ({"x": 1}, "", "kind"),
        ({"event_id": "e", "results": 3}, "/results", "type"),
        ({"event_id": "e", "results": [3]}, "/results/0", "type"),
        ({"event_id": "e", "results": [{"rank": 1}]}, "/results/0/id", "missing"),
        ({"results": [{"id": "a"}]}, "/event_id", "missing"),
        ({"event_id": "e", "results": [{"id": "a"}], "timestamp": NOW + 301}, "/timestamp", "future"),
        ({"event_id": "e", "results": [{"id": "a"}], "timestamp": "soon"}, "/timestamp", "timestamp"),
        ({"event_id": "e", "signal": "click", "value": True}, "/value", "type"),
        ({"event_id": "e", "signal": 5}, "/signal", "type"),
        ({"event_id": "e", "signals": [1]}, "/signals", "type"),
        ({"event_id": "e", "query": 5, "results": [{"id": "a"}]}, "/query", "type"),
    ],
)
def test_what_can_not_be_read_says_where_and_why(line: object, pointer: str, code: str) -> None:
    with pytest.raises(UnreadableField) as caught:
        told(JSONL, [line], reading())
    assert (caught.value.pointer, caught.value.reason.partition(":")[0]) == (pointer, code)


# ---- signals


def test_an_override_wins_and_the_unknown_is_counted_in_bounded_space() -> None:
    under = reading(buy="purchase", hover=None)
    assert under.signal("buy") == "purchase"
    assert under.signal("hover") is None
    assert under.signal("Bought", "buy") == "purchase", "an override of any of its names"
    assert under.signal("impression") is None
    assert not under.unknown
    for i in range(1_500):
        assert under.signal(f"new-{i}") is None
    assert (len(under.unknown), under.unknown.total()) == (1_001, 1_500)


# ---- tables

ROWS = [
    "request,timestamp,query,item,rank,bm25,click,dwell",
    f"e1,{NOW},q,b,2,2.5,0,",
    f"e1,{NOW},q,a,1,1.5,1,12.5",
    f'e2,{NOW},"two\nlines, and ""quotes""",a,1,1.0,,',
]
COLUMNS = {"event_id": "request", "doc": "item"}


def test_rows_of_an_event_are_one_list_and_columns_of_signals_are_reactions() -> None:
    lines = [f"{part}\n" for row in ROWS for part in row.split("\n")]
    found = told(CSV, lines, reading("bm25", columns=COLUMNS))
    one, two = lists(found)
    assert [(row["id"], row["rank"], row["bm25"]) for row in one.results] == [("b", 2, 2.5), ("a", 1, 1.5)]
    assert two.query == 'two\nlines, and "quotes"'
    assert [(r.event_id, r.signal, r.doc, r.value) for r in reactions(found)] == [
        ("e1", "click", "a", 1.0),
        ("e1", "dwell", "a", 12.5),
    ]


def test_rows_that_are_broken_are_told_with_their_line_and_the_others_are_read() -> None:
    lines = ["event_id,doc\n", "e1,a\n", "e1\n", 'e2,"b" c\n', "e3,\xff\n", "e4,d\n"]
    given = [line.encode("latin-1") for line in lines]
    under = reading()
    items = list(CSV.items(lines_of(given), under))
    bad = [item.value for item in items if isinstance(item.value, Refusal)]
    assert [(one.index, one.reason.partition(":")[0]) for one in bad] == [
        (3, "columns"),
        (4, "malformed_csv"),
        (5, "text"),
    ]
    good = [one for item in items if not isinstance(item.value, Refusal) for one in CSV.read(item, under)]
    assert [one.event_id for one in good] == ["e1", "e4"]


def test_a_table_with_a_column_of_chances_is_a_draw_where_one_row_was_shown() -> None:
    rows = ["event_id,doc,shown,propensity\n", "e,a,0,0.2\n", "e,b,1,0.8\n", "f,a,1,0.2\n", "f,b,1,0.8\n"]
    under = reading()
    drawn, listed = lists(told(CSV, rows, under))
    assert drawn.drawn is not None
    assert (drawn.drawn.shown, list(drawn.drawn.chances)) == ("b", [0.2, 0.8])
    assert listed.drawn is None
    assert under.left_out["propensities"] == 1


def test_a_table_that_names_no_event_is_refused_with_its_columns() -> None:
    with pytest.raises(ConfigError, match="no column 'event_id'"):
        told(CSV, ["request,item\n", "e,a\n"], reading())
    with pytest.raises(ConfigError, match="no column 'id_of_request'"):
        told(CSV, ["event_id,doc\n", "e,a\n"], reading(columns={"event_id": "id_of_request"}))


def test_a_mapping_may_name_signals_and_any_spelling_of_a_field() -> None:
    given = {"event_id": "Search", "id": "Article", "user_id": "Member", "click": "Clicked?", "bm25": "BM25"}
    under = reading("bm25", columns=given)
    one, reaction = told(CSV, ["Search,Article,Member,Clicked?,BM25,Shop\n", "e,a,ann,1,2.5,x\n"], under)
    assert isinstance(one, ToldList)
    assert isinstance(reaction, ToldReaction)
    assert (one.user, one.results) == ("ann", [{"id": "a", "bm25": 2.5}])
    assert (reaction.signal, reaction.doc, reaction.value) == ("click", "a", 1.0)
    assert under.left_out == {"column Shop": 1, "timestamp": 2}  # of the list and of the reaction


def test_names_that_the_log_alone_has_may_be_mapped_twice() -> None:
    under = reading(columns={"opened": "Opened?"}, opened="click")
    assert [one.signal for one in reactions(told(CSV, ["event_id,doc,Opened?\n", "e,a,1\n"], under))] == ["click"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"clik": "click"}, "'clik', which is no field, feature of the store or signal"),
        ({"user": "a", "user_id": "b"}, "two columns are given for 'user'"),
    ],
)
def test_a_mapping_that_nothing_would_be_read_by_is_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        told(CSV, ["event_id,doc,click,a,b\n", "e,a,1,x,y\n"], reading("bm25", columns=given))


def test_columns_that_nothing_is_read_from_are_counted_under_a_bounded_number_of_names() -> None:
    under = reading()
    told(CSV, [f"event_id,doc,timestamp,{','.join(f'x{i}' for i in range(25))}\n", f"e,a,{NOW}{',1' * 25}\n"], under)
    assert under.left_out == {**{f"column x{i}": 1 for i in range(20)}, "other columns": 5}


def test_a_table_of_other_separators_is_told_so() -> None:
    with pytest.raises(ConfigError, match="separated by commas"):
        told(CSV, ["event_id;doc\n", "e;a\n"], reading())


@pytest.mark.parametrize(
    ("cell", "due"), [(cell, ": write 1 or 0") for cell in ("yes", "No", "TRUE", "false")] + [("much", "is due here")]
)
def test_a_truth_in_the_column_of_a_signal_is_refused_and_told_what_to_write(cell: str, due: str) -> None:
    with pytest.raises(UnreadableField) as caught:
        told(CSV, ["event_id,doc,click\n", f"e,a,{cell}\n"], reading())
    assert (caught.value.pointer, caught.value.reason.endswith(due)) == ("/click", True)


# ---- metarank


def test_items_give_the_rankings_after_them_their_numbers_as_of_then() -> None:
    def item(value: float) -> dict[str, Any]:
        fields = [{"name": "bm25", "value": value}, {"name": "title", "value": "x"}, {"name": "cute", "value": True}]
        return {"event": "item", "id": "i", "timestamp": "1699999999000", "item": "p1", "fields": fields}

    def ranking(name: str) -> dict[str, Any]:
        return {
            "event": "ranking", "id": name, "timestamp": "1700000000000", "user": "u",
            "fields": [{"name": "query", "value": "cat"}],
            "items": [{"id": "p1"}, {"id": "p2", "fields": [{"name": "bm25", "value": 9}]}],
        }  # fmt: skip

    under = reading("bm25", "cute")
    interaction = {
        "event": "interaction", "id": "x", "ranking": "r1", "timestamp": "1700000000500", "type": "click", "item": "p1",
    }  # fmt: skip
    lost = {**interaction, "ranking": None}
    found = told(METARANK, [item(1.0), ranking("r1"), item(2.0), ranking("r2"), interaction, lost], under)
    assert [[row.get("bm25") for row in one.results] for one in lists(found)] == [[1.0, 9.0], [2.0, 9.0]]
    assert lists(found)[0].results[0]["cute"] == 1.0
    assert (lists(found)[0].query, lists(found)[0].user, lists(found)[0].at) == ("cat", "u", NOW)
    assert [(r.event_id, r.signal, r.doc, r.at) for r in reactions(found)] == [("r1", "click", "p1", NOW + 0.5)]
    assert under.left_out["interactions_without_ranking"] == 1
    under.kept.close()


# ---- algolia

QUERY_ID = "43b15df305339e827f0ac0bdc5ebcaa7"


def test_algolia_searches_and_events_in_every_shape() -> None:
    hits = [{"objectID": "a", "bm25": 2}, {"objectID": "b", "_rankingInfo": {"userScore": 3}}]
    search = {"queryID": QUERY_ID, "query": "phone", "params": "query=phone&userToken=u1", "hits": hits}
    logged = {"timestamp": "2023-11-14T22:13:20Z", "query_body": '{"userToken": "u2"}', "answer": json.dumps(search)}
    event = {"eventName": "Seen", "userToken": "u1", "timestamp": 1_700_000_000_000, "queryID": QUERY_ID}
    under = reading("bm25")
    found = told(
        ALGOLIA,
        [
            {**search, "timestamp": NOW},
            logged,
            {"results": [{**search, "timestamp": NOW}, {**search, "queryID": None}]},
            {**event, "eventType": "click", "objectIDs": ["a", "b"], "positions": [1, 2]},
            {"events": [{**event, "eventType": "conversion", "eventSubtype": "addToCart", "objectIDs": ["b"]}]},
            ["convertedObjectIDsAfterSearch", {**event, "objectIDs": ["a"]}],
            ["viewedObjectIDs", {**event, "objectIDs": ["a"]}],
            {**event, "queryID": None, "eventType": "click", "objectIDs": ["a"]},
        ],
        under,
    )
    assert [(one.event_id, one.query, one.user, one.at) for one in lists(found)] == [
        (QUERY_ID, "phone", "u1", NOW),
        (QUERY_ID, "phone", "u2", NOW),
        (QUERY_ID, "phone", "u1", NOW),
    ]
    assert [list(row) for row in lists(found)[0].results] == [["bm25", "id"], ["id"]]
    assert [(r.signal, r.doc) for r in reactions(found)] == [
        ("click", "a"), ("click", "b"), ("add_to_cart", "b"), ("convert", "a"),
    ]  # fmt: skip
    assert under.left_out == {"searches_without_query_id": 1, "views": 1, "events_without_query_id": 1}


def test_a_search_log_that_was_cut_off_is_refused_at_its_answer() -> None:
    with pytest.raises(UnreadableField) as caught:
        told(ALGOLIA, [{"timestamp": "2023-11-14T22:13:20Z", "answer": '{"hits":[{"obje...'}], reading())
    assert caught.value.pointer == "/answer"


# ---- open bandit

BANDIT = "0,2019-11-24 00:00:18.843150+00:00,1,3,{click},{chance},abc,0.0,1.0"
BANDIT_HEAD = (
    ",timestamp,item_id,position,click,propensity_score,user_feature_0,user-item_affinity_0,user-item_affinity_1"
)


def test_a_row_of_open_bandit_is_one_document_with_its_chance_and_nobody_elses() -> None:
    rows = [BANDIT_HEAD, BANDIT.format(click=1, chance=0.0125), BANDIT.format(click=0, chance=0.0125)]
    found = told(OPEN_BANDIT, [f"{row}\n" for row in rows], reading("affinity"))
    one, two = lists(found)
    assert one.drawn is not None
    assert (one.drawn.shown, list(one.drawn.chances)) == ("1", [None, 0.0125])
    assert [row["affinity"] for row in one.results] == [0.0, 1.0]
    assert (one.query, one.segment) == ("abc", "position-3")
    assert one.event_id != two.event_id, "rows have no ids: the line tells them apart"
    assert [(r.event_id, r.signal, r.doc) for r in reactions(found)] == [(one.event_id, "click", "1")]
    with pytest.raises(UnreadableField, match="propensity_range"):
        told(OPEN_BANDIT, [BANDIT_HEAD, BANDIT.format(click=1, chance=0)], reading())


# ---- vowpal wabbit

DECISION = {
    "EventId": "d", "Timestamp": "2023-11-14T22:13:20Z", "a": [2, 1, 3], "p": [0.8, 0.15, 0.05],
    "c": {"User": {"age": 3}, "_multi": [{"id": "A", "n": {"bm25": 1}}, {"n": {"bm25": 2}}, {"n": {"bm25": 3}}]},
    "_label_cost": -0.5, "_label_probability": 0.8, "_label_Action": 2, "_labelIndex": 1, "pdrop": 0.25,
}  # fmt: skip


def test_a_decision_has_the_chances_of_all_actions_and_a_cost_is_a_negative_reward() -> None:
    found = told(VW_DSJSON, [DECISION], reading("n.bm25"))
    one = lists(found)[0]
    assert one.drawn is not None
    assert [row["id"] for row in one.results] == ["action-2", "A", "action-3"]
    assert (one.drawn.shown, list(one.drawn.chances)) == ("action-2", [0.8, 0.15, 0.05])
    assert [row["n.bm25"] for row in one.results] == [2.0, 1.0, 3.0]
    assert (one.keep_probability, one.query) == (0.75, '{"User": {"age": 3}}')
    assert [(r.signal, r.doc, r.value) for r in reactions(found)] == [("reward", "action-2", 0.5)]
    assert not reactions(told(VW_DSJSON, [{**DECISION, "_label_cost": 0.0}], reading()))


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"p": [0.8, 0.2]}, "/p"),
        ({"a": [2, 1, 9]}, "/a/2"),
        ({"a": [], "p": []}, "/p"),
        ({"_label_Action": 9}, "/_label_Action"),
        ({"_label_probability": 0.7}, "/_label_probability"),
        ({"c": 5}, "/c"),
    ],
)
def test_a_decision_that_contradicts_itself_is_refused(change: dict[str, object], pointer: str) -> None:
    with pytest.raises(UnreadableField) as caught:
        told(VW_DSJSON, [{**DECISION, **change}], reading())
    assert caught.value.pointer == pointer


def test_examples_of_cb_adf_end_with_an_empty_line_and_what_is_not_written_is_zero() -> None:
    text = "shared |User a:1\n|A bm25:0.5\n0:0.25:0.4 'two|A:2 bm25:2 x\n\n1:-1:0.5 |A bm25\n|B cosine:3\n"
    found = told(VW_TEXT, text.splitlines(keepends=True), reading("bm25", "A.x"))
    one, two = lists(found)
    assert one.drawn is not None
    assert two.drawn is not None
    assert (one.query, one.drawn.shown, list(one.drawn.chances)) == ("|User a:1", "two", [None, 0.4])
    assert [(row["bm25"], row["A.x"]) for row in one.results] == [(0.5, 0.0), (4.0, 2.0)]
    assert (two.drawn.shown, list(two.drawn.chances)) == ("action-1", [0.5, None])
    assert [(row["bm25"], row["A.x"]) for row in two.results] == [(1.0, 0.0), (0.0, 0.0)]
    assert [r.value for r in reactions(found)] == [-0.25, 1.0]


@pytest.mark.parametrize("text", ["no bar\n", "0:1:0.5 |a\n0:1:0.5 |b\n", "0:1:x |a\n", "0:1 |a\n", "shared |a\n"])
def test_examples_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UnreadableField):
        told(VW_TEXT, text.splitlines(keepends=True), reading())


def test_an_example_without_a_label_is_counted() -> None:
    under = reading()
    assert told(VW_TEXT, ["|a\n", "|b\n"], under) == []
    assert under.left_out["examples_without_label"] == 1


def test_a_field_of_the_loop_is_a_json_pointer() -> None:
    from dwell.errors import RecordError

    assert pointer_of(RecordError("x", field="results[0].bm25", hint="")) == "/results/0/bm25"
    assert pointer_of(RecordError("x", field="timestamp", hint="")) == "/timestamp"
    assert pointer_of(RecordError("x", hint="")) == ""


def test_an_item_without_an_id_is_known_by_log_line_and_content() -> None:
    under = reading()
    ids = {under.unnamed(Item(n, 0, 0, value)) for n, value in ((1, b"a"), (1, b"b"), (2, b"a"))}
    assert len(ids) == 3
    assert under.unnamed(Item(1, 99, 7, b"a")) in ids, "how far it was read plays no part"
