import pytest

from dwell.errors import RecordError, RequestError
from dwell.records import Feedback
from dwell.reward import resolve_rewards
from dwell.server.refusals import MAX_AHEAD_S, reason_of, refusal_of, refuse_one, told_apart
from dwell.server.wire import Item

NOW = 1_000_000.0
SIGNALS = resolve_rewards("search").signals
GOOD = Item("e", "click", "a")
REJECTED = Feedback("rejected", "timestamp: words for Python")


def item(**changed: object) -> Item:
    return Item(**({"event_id": "e", "signal": "click", "doc": "a"} | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"at": NOW + MAX_AHEAD_S + 0.001}, "at"),
        ({"at": NOW * 1e3}, "at"),
        ({"at": NOW * 1e6}, "at"),
        ({"signal": "dwell", "value": -1.0}, "value"),
        ({"signal": "dwell", "value": 86_400.5}, "value"),
        ({"signal": "bounce", "doc": None}, "doc"),
        ({"signal": "nothing"}, "signal"),
        ({"event_id": "e\n"}, "event_id"),
        ({"idempotency_key": "k\n"}, "idempotency_key"),
    ],
)
def test_what_is_wrong_is_found_with_its_field(changed: dict[str, object], field: str) -> None:
    found = refusal_of(item(**changed), SIGNALS, NOW)
    assert isinstance(found, RecordError)
    assert found.field == field
    with pytest.raises(RecordError) as raised:
        refuse_one(REJECTED, item(**changed), SIGNALS, NOW)
    assert raised.value.field == field
    assert reason_of(found).startswith(f"{found.code}: {found.message} (field '{field}'). ")


@pytest.mark.parametrize("at", [None, 0.0, NOW, NOW + MAX_AHEAD_S])
def test_five_minutes_ahead_are_a_clock_and_not_a_mistake(at: float | None) -> None:
    assert refusal_of(item(at=at), SIGNALS, NOW) is None


def test_what_is_in_order_and_not_counted_is_no_problem() -> None:
    for reason in ("too_late: closed a week ago", "quarantined: the event was not recorded", "too_many: 1,000 signals"):
        refuse_one(Feedback("rejected", reason), GOOD, SIGNALS, NOW)
    refuse_one(Feedback("joined"), item(at=NOW * 1e3), SIGNALS, NOW)  # the loop's word stands
    with pytest.raises(RecordError, match="not in the list"):
        refuse_one(Feedback("rejected", "not_served: document 'x'"), GOOD, SIGNALS, NOW)
    with pytest.raises(RequestError, match="used"):
        refuse_one(Feedback("rejected", "idempotency_conflict: this key was used"), GOOD, SIGNALS, NOW)


def test_only_reasons_that_say_too_little_are_told_anew() -> None:
    bad = item(at=NOW * 1e3)
    items = [GOOD, bad, bad, GOOD]
    results = [Feedback("joined"), REJECTED, Feedback("rejected", "token_invalid: no"), Feedback("rejected", "other")]
    found = told_apart(results, items, [2], SIGNALS, NOW)
    assert [found[0], found[2], found[3]] == [results[0], results[2], results[3]]
    assert "Python" not in (found[1].reason or "")
