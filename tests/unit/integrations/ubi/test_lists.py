"""Lists of a query id: which there are, their names, where their places are counted from, who reacted to which."""

import pytest

from dwell.errors import ConfigError
from dwell.integrations.ubi.lists import Named, choose, lists_of, name_lists, names_of, safe_event_id
from dwell.integrations.ubi.ordinals import base_of_application, check_bases, observed_base
from dwell.integrations.ubi.records import UbiEvent, UbiQuery
from dwell.loop.recorded import RecordedList


def asked(text: str = "shoes", at: float | None = 100.0, hits: str = "") -> UbiQuery:
    return UbiQuery(user_query=text, query_id="q", at=at, client_id="c", hits=tuple(hits))


def seen(doc: str, ordinal: int | None, at: float = 101.0) -> UbiEvent:
    return UbiEvent(action_name="impression", at=at, query_id="q", object_id=doc, ordinal=ordinal)


def documents(*queries: UbiQuery, impressions: tuple[UbiEvent, ...] = (), base: int | None = None) -> list[str]:
    return ["".join(one.documents) for one in lists_of(queries, impressions, base)]  # type: ignore[arg-type]


def test_each_pair_of_question_and_hits_is_a_list_once() -> None:
    queries = (asked(hits="ab"), asked(at=110.0), asked(at=120.0, hits="cd"), asked(at=130.0, hits="ab"))
    found = lists_of(queries, [], None)
    assert [("".join(one.documents), one.at, one.is_rebuilt) for one in found] == [
        ("ab", 100.0, False), ("cd", 120.0, False)
    ]  # fmt: skip
    assert documents(asked(hits="ab"), asked("red shoes", hits="ab")) == ["ab", "ab"]


def test_hits_are_believed_before_impressions() -> None:
    assert documents(asked(hits="ab"), impressions=(seen("z", 0),)) == ["ab"]


def test_a_list_without_hits_is_put_together_by_place() -> None:
    impressions = (seen("c", 2), seen("a", 0), seen("b", 1), seen("a", 0, 105.0), seen("x", None))
    assert documents(asked(), impressions=impressions) == ["abcx"]


def test_another_object_in_a_taken_place_begins_another_list() -> None:
    impressions = (seen("a", 0), seen("b", 1), seen("c", 0, 120.0), seen("a", 1, 121.0))
    found = lists_of([asked(), asked("shoes", at=115.0)], impressions, 0)
    assert ["".join(one.documents) for one in found] == ["ab", "ca"]
    assert [one.at for one in found] == [100.0, 115.0]


def test_further_pages_without_a_query_of_their_own_are_one_list() -> None:
    assert documents(asked(), impressions=(seen("a", 0), seen("b", 1), seen("c", 2, 150.0))) == ["abc"]


@pytest.mark.parametrize(
    ("places", "base", "n_gaps"), [((0, 1), None, 0), ((1, 3), None, 1), ((2, 3), 0, 2), ((2, 3), 1, 1), ((1,), 1, 0)]
)
def test_gaps_are_counted_from_where_places_begin(places: tuple[int, ...], base: int | None, n_gaps: int) -> None:
    impressions = [seen(f"d{place}", place) for place in places]
    (found,) = lists_of([asked()], impressions, base)  # type: ignore[arg-type]
    assert found.n_gaps == n_gaps


def test_without_a_query_or_an_impression_there_is_no_list() -> None:
    assert lists_of([], [seen("a", 0)], None) == []
    assert lists_of([asked()], [], None) == []


def test_names_are_the_query_id_and_its_numbers() -> None:
    named, n_nameless = name_lists("q", lists_of([asked(hits="ab"), asked(hits="cd")], [], None), [], 0.0)
    assert [one.event_id for one in named] == ["q", "q.2"]
    assert n_nameless == 0


def test_a_name_once_given_stays_whatever_comes_first_now() -> None:
    held = [RecordedList("q", "shoes", ("c", "d"), 50.0, "external")]
    named, _ = name_lists("q", lists_of([asked(hits="ab"), asked(hits="cd")], [], None), held, 0.0)
    assert [(one.event_id, "".join(one.documents), one.new is None) for one in named] == [
        ("q", "cd", True), ("q.2", "ab", False)
    ]  # fmt: skip


def test_what_the_loop_ranked_itself_is_not_recorded_again_as_told_by_others() -> None:
    held = [RecordedList("q", "shoes", ("a", "b", "c"), 50.0, "params")]
    named, _ = name_lists("q", lists_of([asked("Shoes", hits="ab")], [], None), held, 0.0)
    assert [one.event_id for one in named] == ["q"]
    assert named[0].new is None


def test_beyond_a_hundred_lists_there_is_no_name() -> None:
    lists = lists_of([asked(hits=chr(i)) for i in range(0x4E00, 0x4E00 + 103)], [], None)
    named, n_nameless = name_lists("q", lists, [], 0.0)
    assert (len(named), n_nameless) == (100, 3)
    assert len(list(names_of("q"))) == len(set(names_of("q"))) == 100


def test_an_id_that_can_be_no_event_id_becomes_a_digest_of_it() -> None:
    assert safe_event_id("33198ee9-5912-453c-9173-3f92fd3cb1be") == "33198ee9-5912-453c-9173-3f92fd3cb1be"
    odd = [safe_event_id(text) for text in ("a b", "a  b", "x" * 125, "😀")]
    assert all(one.startswith("ubi:") for one in odd)
    assert len(set(odd)) == 4
    assert all(len(name) <= 128 for name in names_of("x" * 124))


def test_a_reaction_belongs_to_the_last_list_before_it_that_holds_its_object() -> None:
    lists = [
        Named("q", 100.0, ("a", "b"), None),
        Named("q.2", 200.0, ("b", "c"), None),
        Named("q.3", 300.0, ("a",), None),
    ]
    assert choose("b", 150.0, lists) == ("q", 50.0)
    assert choose("b", 250.0, lists) == ("q.2", 50.0)
    assert choose("a", 250.0, lists) == ("q", 150.0)
    assert choose("c", 150.0, lists) == ("q.2", -50.0)
    assert choose(None, 350.0, lists) == ("q.3", 50.0)
    assert choose("z", 250.0, lists) == ("q.2", 50.0)


def test_the_lowest_place_tells_the_base_only_where_it_can() -> None:
    assert observed_base([3, 0, 1]) == 0
    assert observed_base([1, 2]) == 1
    assert observed_base([4, 9]) is observed_base([]) is None
    assert base_of_application({"0": 3, "1": 2, "undecided": 9}) == 0
    assert base_of_application({"0": 1, "1": 2}) == 1
    assert base_of_application({"0": 2, "1": 2}) == 0
    assert base_of_application({"undecided": 9}) is None


def test_an_override_is_0_or_1() -> None:
    assert check_bases(None) == {}
    assert check_bases(1) == {"": 1}
    assert check_bases({"shop": 0}) == {"shop": 0}
    for bad in (2, True, {"shop": -1}):
        with pytest.raises(ConfigError, match="counted from 0 or from 1"):
            check_bases(bad)  # type: ignore[arg-type]
