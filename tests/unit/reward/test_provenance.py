"""An agent's own word: under which name it is given, and how much less it is worth than a person's."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dwell.errors import ConfigError, RecordError
from dwell.records import Signal
from dwell.reward import SignalSpec, agents_word, check_signal, compute_reward, custom, is_agents, named_by
from dwell.reward.parts import reward_parts
from dwell.reward.presets import PRESETS
from dwell.reward.provenance import AGENT_BOUND
from dwell.reward.signals import agents_own, spec_of

MEMORY = PRESETS["memory"]
SHOWN = ("a", "b", "c")
THETA = np.array([1.0, 0.5, 0.25])


def said(name: str, doc: str | None = None, value: float = 1.0, at: float = 10.0) -> Signal:
    return Signal(event_id="e", name=name, doc=doc, value=value, at=at, received_at=at)


def word(*signals: Signal) -> list[float]:
    return agents_word(MEMORY, SHOWN, signals, THETA).tolist()


def test_the_name_tells_who_speaks() -> None:
    assert [named_by("used", by) for by in ("person", "agent")] == ["used", "agent_used"]
    # an agent's name stays an agent's, whoever gives it
    assert named_by("agent_used", "agent") == named_by("agent_used", "person") == "agent_used"
    assert [is_agents(name) for name in ("agent_used", "used", "agents", "agent")] == [True, False, False, False]
    for by in ("robot", True, None):
        given: Any = by
        with pytest.raises(RecordError, match="person or by an agent") as caught:
            named_by("used", given)
        assert (caught.value.code, caught.value.field) == ("provenance", "by")


def test_no_preset_has_such_a_name_of_its_own() -> None:
    assert not [name for preset in PRESETS.values() for name in preset.signals if is_agents(name)]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=str)
def test_every_signal_has_a_twin_for_agents_a_quarter_as_strong(preset: Any) -> None:
    for name, spec in preset.signals.items():
        twin = spec_of(preset.signals, f"agent_{name}")
        assert twin is not None
        assert twin.weight == pytest.approx(spec.weight / 4.0)
        assert (twin.low, twin.high, twin.scope, twin.curve, twin.unit) == (
            spec.low, spec.high, spec.scope, spec.curve, spec.unit,
        )  # fmt: skip
    assert spec_of(preset.signals, "agent_agent_click") is None
    assert spec_of(preset.signals, "agent_nothing") is None


def test_a_twin_is_checked_as_what_it_repeats() -> None:
    check_signal(MEMORY.signals, "agent_rating", "a", 5.0)
    for name, doc, value, code in (
        ("agent_rating", "a", 6.0, "signal_range"),
        ("agent_used", None, 1.0, "signal_scope"),
        ("agent_nothing", "a", 1.0, "unknown_signal"),
    ):
        with pytest.raises(RecordError) as caught:
            check_signal(MEMORY.signals, name, doc, value)
        assert caught.value.code == code
    # a name that fills an id has no room for the prefix
    long = "n" * 510
    assert spec_of({long: SignalSpec(name=long, weight=1.0)}, f"agent_{long}") is None


def test_a_declared_one_keeps_its_bound() -> None:
    mine = custom({"used": 0.5, "agent_used": 0.1, "agent_rating": {"weight": 0.2}})
    assert (mine.signals["agent_used"].weight, mine.signals["agent_rating"].high) == (0.1, 5.0)
    with pytest.raises(ConfigError, match="weaker than any person's") as caught:
        custom({"used": 0.5, "agent_used": 0.3})
    assert caught.value.field == "signals.agent_used.weight"


def test_what_it_is_worth_by_hand() -> None:
    helpful, used = MEMORY.signals["helpful"].weight / 4.0, MEMORY.signals["used"].weight / 4.0
    assert word() == word(said("agent_view", "a")) == [0.0, 0.0, 0.0]
    assert word(said("agent_helpful", "a")) == [helpful, 0.0, 0.0]
    # the last word holds, about each document
    both = (said("agent_helpful", "a", at=10.0), said("agent_used", "a", at=11.0), said("agent_used", "c"))
    assert word(*both) == word(*both[::-1]) == [used, 0.0, used]
    # of the list: 1/4, by examination among the documents without a word of their own: 0.5 and 0.25 of them
    done = said("agent_task_completed")
    assert word(done, said("agent_helpful", "a")) == pytest.approx([helpful, 0.25 * 2 / 3, 0.25 / 3])
    blame = MEMORY.signals["task_failed"].weight / 4.0
    assert word(said("agent_task_failed")) == pytest.approx([blame * 4 / 7, blame * 2 / 7, blame / 7])
    # people spoke, of another document, of the list, or to say that it was worth nothing
    for people in (said("used", "b"), said("task_completed"), said("helpful", "c", value=0.0)):
        assert word(said("agent_helpful", "a"), people) == [0.0, 0.0, 0.0]
    # being seen is no word; nor is one about what was not shown, or that nobody declares
    for nothing in (said("view", "b"), said("used", "z"), said("unheard", "b")):
        assert word(said("agent_helpful", "a"), nothing) == [helpful, 0.0, 0.0]


def test_it_is_told_and_earns_nothing() -> None:
    signals = [said("agent_helpful", "a"), said("agent_task_completed")]
    found = compute_reward(MEMORY, SHOWN, signals, THETA)
    assert (found.reward, found.document_rewards.tolist(), found.basis) == (0.0, [0.0] * 3, "default")
    assert found.signals == {"agent_helpful": 1.0, "agent_task_completed": 1.0}
    assert (found.document_signals, found.ignored) == ({"a": {"agent_helpful": 1.0}}, {})
    assert reward_parts(MEMORY, SHOWN, signals, THETA).documents[0].by_signal == {"agent_helpful": 0.0}
    silent = replace(MEMORY, default_reward=-0.1)
    assert compute_reward(silent, SHOWN, signals, THETA).reward == compute_reward(silent, SHOWN, [], THETA).reward


def test_no_word_of_an_agent_outweighs_praise_that_is_more_than_silence() -> None:
    moderate = [spec.weight for spec in MEMORY.signals.values() if spec.weight >= 0.3]
    strongest = max(agents_own(spec).weight for spec in MEMORY.signals.values())
    assert strongest == AGENT_BOUND < min(moderate)
