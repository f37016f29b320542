"""Five ways in which hand-rolled memories that "learn from use" fail, each as a test that this one has to pass.

At temperature 0 nothing is drawn: an order that differs, differs for a reason.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import dwell.memory
from dwell.memory import Memory

DAY_S = 86_400.0
NOW = 1_700_000_000.0
USED = 0.5  # weight of "used" in the preset "memory"

# equally good answers to "kettle": the same words but for one that nobody asks for
TWINS = ("The kettle is red.", "The kettle is blue.")


@pytest.fixture
def memory() -> Iterator[Memory]:
    with dwell.memory.open(":memory:", pepper="five-failures-pepper-of-32-bytes", temperature=0.0) as opened:
        yield opened


def worth(age_s: float) -> float:
    """Return what an event so old is worth: ACT-R's power law at d = 0.5."""
    return float(age_s**-0.5)


def test_only_the_one_that_was_used_is_credited(memory: Memory) -> None:
    """Credit among co-retrieved items: recalled together is not useful together."""
    red, blue = (memory.add(text, now=NOW) for text in TWINS)
    memory.search("kettle", now=NOW, event_id="e", user="u")
    assert memory.feedback("e", "used", item=blue, now=NOW + 5.0).status == "joined"

    told = {item.id: item.activation for item in memory.explain("e", now=NOW + 3_600.0).items}
    assert told[red].reward_mass == 0.0
    assert told[blue].reward_mass == pytest.approx(USED * worth(3_600.0), rel=0.014)  # the bound of 12 rates
    assert told[red].exposure_mass == told[blue].exposure_mass > 0.0


def test_what_is_said_of_the_whole_list_is_shared_out_not_multiplied(memory: Memory) -> None:
    """A finished task is one success, however many memories lay beside it."""
    for text in TWINS:
        memory.add(text, now=NOW)
    memory.search("kettle", now=NOW, event_id="e", user="u")
    assert memory.feedback("e", "task_completed", now=NOW + 5.0).status == "joined"

    masses = [item.activation.reward_mass for item in memory.explain("e", now=NOW + 3_600.0).items]
    assert all(mass > 0.0 for mass in masses)
    assert sum(masses) == pytest.approx(1.0 * worth(3_600.0), rel=0.014)


def test_being_recalled_lifts_nothing(memory: Memory) -> None:
    """Self-reinforcement by mere serving: what was shown thirty times stands no higher than its twin that was not."""
    shown, unseen = (memory.add(text, now=NOW) for text in TWINS)
    for i in range(30):
        assert memory.search("kettle red", k=1, now=NOW + i * DAY_S, user=f"u{i}").items[0].id == shown

    at = NOW + 30 * DAY_S
    assert memory.loop.activation is not None
    after = dict(zip((shown, unseen), memory.loop.activation.scores([shown, unseen], now=at), strict=True))
    assert after[shown] < after[unseen]
    assert [item.id for item in memory.search("kettle", now=at, user="u")] == [unseen, shown]


def test_maintenance_reads_leave_no_trace(memory: Memory) -> None:
    """Maintenance reads polluting counts: looking, listing, explaining and checking change nothing."""
    ids = [memory.add(text, now=NOW) for text in TWINS]
    memory.search("kettle", now=NOW, event_id="e", user="u")
    memory.feedback("e", "used", item=ids[0], now=NOW + 5.0)
    assert memory.loop.activation is not None
    at = NOW + DAY_S
    before = (memory.loop.event_counts(), memory.loop.activation.scores(ids, now=at).tolist())
    first = memory.search("kettle", now=at, peek=True)
    for _ in range(100):
        assert memory.search("kettle", now=at, peek=True) == first
        assert [memory.get(item) is not None for item in ids] == [True, True]
        assert len(list(memory)) == len(memory) == 2
    memory.explain("e", now=at)
    memory.health(at)
    assert first.event_id is None
    assert (memory.loop.event_counts(), memory.loop.activation.scores(ids, now=at).tolist()) == before


def test_no_amount_of_praise_lifts_a_memory_over_a_much_better_match(memory: Memory) -> None:
    """Unbounded boosts: 80 people on 80 days, and still at most 3 nats at a weight of 0.15."""
    praised = memory.add("The kettle is red.", now=NOW)
    asked_for = memory.add("Invoices are sent on the first of the month.", now=NOW)
    for i in range(80):
        memory.search("kettle", now=NOW + i * DAY_S, user=f"u{i}", event_id=f"e{i}")
    memory.loop.feedback_many(
        [
            {"event_id": f"e{i}", "signal": "used", "doc": praised, "idempotency_key": f"{i}-{j}"}
            for i in range(80)
            for j in range(3)
        ],
        now=NOW + 80 * DAY_S,
    )
    at = NOW + 80 * DAY_S
    assert memory.loop.activation is not None
    lifted = float(memory.loop.activation.features([praised], now=at)[0, 0])
    assert 1.0 < lifted <= 3.0  # it was lifted, and no further

    # nor does being passed over hold it back without end
    unused = memory.add("The kettle is blue.", now=NOW)
    for i in range(20):
        memory.search("blue", now=at, user=f"v{i}", event_id=f"g{i}")
    memory.loop.when_recorded("g19").result()
    assert float(memory.loop.activation.features([unused], now=at + 60.0)[0, 0]) == -3.0
    memory.forget(unused)

    recall = memory.search("when are invoices sent, and is the kettle warm", now=at, user="v", event_id="asked")
    assert [item.id for item in recall] == [asked_for, praised]


def test_one_user_repeating_himself_counts_three_times(memory: Memory) -> None:
    """A loop that recalls and praises by itself stops counting: of one user's day three events count for an item."""
    item = memory.add("The kettle is red.", now=NOW)
    for i in range(20):
        memory.search("kettle", now=NOW, user="robot", event_id=f"e{i:02d}")
        memory.feedback(f"e{i:02d}", "used", item=item, now=NOW)
    told = memory.explain("e00", now=NOW + 3_600.0).items[0].activation
    assert told.reward_mass == pytest.approx(3 * USED * worth(3_600.0), rel=0.014)
    assert told.exposure_mass == pytest.approx(3 * worth(3_600.0), rel=0.014)


def test_feedback_moves_the_very_next_list(memory: Memory) -> None:
    """Computed signals never wired into ranking: what was used stands first the next time, and explain says why."""
    red, blue = (memory.add(text, now=NOW) for text in TWINS)
    before = memory.search("kettle", now=NOW, user="u", event_id="before")
    last = before.items[-1].id
    memory.feedback("before", "used", item=last, now=NOW + 5.0)
    after = memory.search("kettle", now=NOW + 60.0, user="u", event_id="after")
    assert {red, blue} == {item.id for item in after}
    assert after.items[0].id == last

    told = memory.explain("after", now=NOW + 60.0)
    assert told.weights["act.activation"] == 0.15
    assert told.items[0].parts["act.activation"] > 0.0 > told.items[1].parts["act.activation"]
    lifted = {name: part for name, part in told.items[0].parts.items() if abs(part) > 1e-6}
    assert set(lifted) <= {"act.activation", "cosine"}
