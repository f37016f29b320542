from typing import Any

import numpy as np
import pytest

from dwell.records import Signal
from dwell.reward import compute_reward
from dwell.reward.parts import reward_parts
from dwell.reward.presets import PRESETS

SHOWN = ("a", "b", "c")
THETA = np.array([1.0, 0.5, 0.25])
SEARCH = PRESETS["search"]
W = {name: spec.weight for name, spec in SEARCH.signals.items()}


def signal(name: str, doc: str | None = None, value: float = 1.0, at: float = 10.0) -> Signal:
    return Signal(event_id="e", name=name, doc=doc, value=value, at=at, received_at=at)


def test_what_was_done_with_a_document_is_told_by_signal() -> None:
    found = reward_parts(SEARCH, SHOWN, [signal("click", "b"), signal("dwell", "b", 30.0)], THETA)
    a, b, c = found.documents
    assert b.by_signal == {"click": W["click"], "dwell": W["dwell"] * 30.0 / 60.0}
    assert (b.from_list, a.by_signal, a.reward, c.reward) == (0.0, {}, 0.0, 0.0)
    assert found.reward == pytest.approx(sum(b.by_signal.values()))


@pytest.mark.parametrize(
    "signals",
    [
        [],
        [signal("click", "a"), signal("thumbs_down", "c")],
        [signal("click", "b"), signal("reformulated")],
        [signal("reformulated")],
        [signal("purchase", "a"), signal("click", "a"), signal("dwell", "a", 900.0)],  # clipped at 1
    ],
)
def test_the_parts_of_a_document_add_up_to_what_counts(signals: list[Signal]) -> None:
    found = reward_parts(SEARCH, SHOWN, signals, THETA)
    whole = compute_reward(SEARCH, SHOWN, signals, THETA)
    assert [one.reward for one in found.documents] == whole.document_rewards.tolist()
    assert found.reward == whole.reward
    for one in found.documents:
        own = min(1.0, max(-1.0, sum(one.by_signal.values())))
        assert one.reward == pytest.approx(own + one.from_list, abs=1e-12)


def test_a_reaction_to_the_list_is_told_apart_from_the_same_one_to_a_document() -> None:
    found = reward_parts(SEARCH, SHOWN, [signal("thumbs_up", "a"), signal("click", "b"), signal("thumbs_up")], THETA)
    assert found.of_list == {"thumbs_up": W["thumbs_up"]}
    assert found.documents[0].by_signal == {"thumbs_up": W["thumbs_up"]}
    assert found.default == 0.0


def test_silence_is_the_default_reward_once_the_window_is_over() -> None:
    given: dict[str, Any] = {"preset": SEARCH, "shown": SHOWN, "signals": [], "examination": THETA}
    assert reward_parts(**given).default == SEARCH.default_reward
    assert reward_parts(**given, is_window_over=False).default == 0.0
    assert reward_parts(SEARCH, SHOWN, [signal("click", "gone")], THETA).ignored == {"not_served": 1}
