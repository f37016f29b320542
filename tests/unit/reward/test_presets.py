import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dwell.errors import ConfigError
from dwell.reward.presets import PRESETS, RewardPreset, custom, resolve_rewards
from dwell.reward.signals import SignalSpec


def test_none_means_search_and_a_preset_means_itself() -> None:
    assert resolve_rewards(None) is PRESETS["search"]
    for name, preset in PRESETS.items():
        assert resolve_rewards(name) is preset
        assert resolve_rewards(preset) is preset
        assert preset.name == name


@pytest.mark.parametrize(
    ("signal", "worth"),
    # the founding page: resolved +1.0, rated helpful +0.8, follow-up +0.3, abandoned under 10 s -0.4
    [("resolved", 1.0), ("helpful", 0.8), ("follow_up", 0.3), ("abandoned", -0.4)],
)
def test_support_has_the_published_weights(signal: str, worth: float) -> None:
    assert PRESETS["support"].signals[signal].weight == worth


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_weight_states_its_reason(name: str) -> None:
    for spec in PRESETS[name].signals.values():
        assert len(spec.note.split()) >= 3, spec.name


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_takes_an_outcome_a_statement_and_ones_own_reward(name: str) -> None:
    signals = PRESETS[name].signals
    assert signals["task_completed"].scope == "list"
    assert {"reward", "rating", "thumbs", "helpful", "thumbs_up", "thumbs_down"} <= signals.keys()
    assert (signals["reward"].low, signals["reward"].high, signals["reward"].weight) == (-1.0, 1.0, 1.0)


def test_strong_evidence_outweighs_moderate_and_moderate_outweighs_silence() -> None:
    for preset in PRESETS.values():
        signals = preset.signals
        stated = min(abs(signals[name].weight) for name in ("rating", "thumbs", "helpful", "task_completed"))
        behaved = [abs(signals[name].weight) for name in ("click", "dwell", "copy", "used", "cited") if name in signals]
        silent = [abs(signals[name].weight) for name in ("ignored", "skip", "view", "impression") if name in signals]
        assert stated > max(behaved) >= min(behaved) > max(silent)


def test_a_mapping_keeps_the_range_of_known_words_and_gives_others_a_share() -> None:
    preset = custom({"dwell": 0.9, "cited": -0.5, "my_signal": 0.25})
    assert preset.signals["dwell"].unit == "s"
    assert preset.signals["dwell"].high == 86_400.0
    assert preset.signals["dwell"].weight == 0.9
    assert preset.signals["cited"].scope == "document"
    mine = preset.signals["my_signal"]
    assert (mine.low, mine.high, mine.scope, mine.weight) == (0.0, 1.0, "either", 0.25)


def test_a_mapping_takes_whole_declarations() -> None:
    spec = SignalSpec(name="stars", weight=0.5, low=1.0, high=10.0, curve="centred")
    assert custom({"stars": spec, "click": 1.0}).signals["stars"] is spec


def test_the_version_of_a_custom_reward_names_its_numbers() -> None:
    first = resolve_rewards({"click": 1, "dwell": 0.5})
    assert first.reward_version == custom({"dwell": np.float64(0.5), "click": 1.0}).reward_version
    assert first.reward_version != custom({"click": 1.0, "dwell": 0.4}).reward_version
    assert first.reward_version != custom({"click": 1.0, "dwell": 0.5}, default_reward=-0.1).reward_version
    noted = SignalSpec(name="x", weight=0.5, note="why")
    assert custom({"x": noted}).reward_version == custom({"x": 0.5}).reward_version
    assert PRESETS["rag"].reward_version == "rag/1"


@pytest.mark.parametrize(
    "bad",
    [
        "serch",
        {},
        {"click": 1.5},
        {"click": float("nan")},
        {"click": True},
        {"click": "1"},
        {"": 0.5},
        {5: 0.5},
        {f"s{i}": 0.1 for i in range(257)},
        7,
        ["click"],
        {"a": SignalSpec(name="b", weight=0.5)},
    ],
)
def test_malformed_rewards_are_refused_with_a_remedy(bad: object) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_rewards(bad)
    assert caught.value.hint


@pytest.mark.parametrize("bad", [1.01, -1.01, float("nan"), True, "0"])
def test_a_default_reward_out_of_range_is_refused(bad: object) -> None:
    with pytest.raises(ConfigError):
        custom({"click": 1.0}, default_reward=bad)


def test_a_preset_can_not_be_changed_and_survives_a_copy() -> None:
    preset = PRESETS["memory"]
    with pytest.raises(TypeError):
        preset.signals["click"] = preset.signals["used"]
    with pytest.raises(AttributeError):
        preset.default_reward = 1.0
    for twin in (pickle.loads(pickle.dumps(preset)), copy.deepcopy(preset)):  # noqa: S301 - our own bytes
        assert isinstance(twin, RewardPreset)
        assert twin == preset


def test_a_file_can_say_what_a_signal_is() -> None:
    preset = custom({"click": {"weight": 0.4, "aggregation": "sum"}, "stream_s": {"weight": 0.8, "high": 3600.0}})
    assert preset.signals["click"] == replace(PRESETS["search"].signals["click"], weight=0.4, aggregation="sum")
    assert preset.signals["stream_s"] == SignalSpec(name="stream_s", weight=0.8, high=3600.0)
    assert (
        custom({"dwell": {"aggregation": "last"}}).signals["dwell"].weight == PRESETS["search"].signals["dwell"].weight
    )


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"x": {"wieght": 0.1}}, "rewards.x.wieght"),
        ({"x": {"high": 2.0}}, "rewards.x.weight"),
        ({"click": {"weight": 2.0}}, "signals.click.weight"),
        ({"click": {"aggregation": "median"}}, "signals.click.aggregation"),
    ],
)
def test_what_a_file_says_wrong_is_refused_by_name(said: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as error:
        custom(said)
    assert error.value.field == field


def test_the_published_weights_for_support_are_shipped() -> None:
    signals = PRESETS["support"].signals
    published = {"resolved": 1.0, "helpful": 0.8, "follow_up": 0.3, "abandoned": -0.4}
    assert {name: signals[name].weight for name in published} == published


def test_the_page_on_rewards_has_every_weight_of_every_preset(root: Path) -> None:
    lines = (root / "docs" / "rewards.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    heads = rows[0][4:]
    shown = {(row[0].strip("`"), name): row[4 + i] for row in rows[1:] for i, name in enumerate(heads)}
    known = {(s.name, p.name): f"{s.weight:g}" for p in PRESETS.values() for s in p.signals.values()}
    assert {pair: cell for pair, cell in shown.items() if cell} == known
    for row in rows[1:]:
        specs = [p.signals[row[0].strip("`")] for p in PRESETS.values() if row[0].strip("`") in p.signals]
        assert {s.aggregation for s in specs} == {row[3]}
        assert " or ".join(sorted({s.scope for s in specs})) == row[1]
