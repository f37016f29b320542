from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from dwell.config import Config, ReplaySettings, TrainingSettings, read_config, settings_of
from dwell.errors import ConfigError
from dwell.evaluation import GateSettings
from dwell.learning.learner import LearnerSettings


def test_without_a_source_everything_is_as_declared() -> None:
    config = read_config()
    assert config == Config(
        gate=GateSettings(), learner=LearnerSettings(), replay=ReplaySettings(), training=TrainingSettings()
    )


def test_a_mapping_changes_what_it_names() -> None:
    config = read_config({"gate": {"alpha": 0.01}, "replay": {"strategy": "priority"}})
    assert config == Config(gate=GateSettings(alpha=0.01), replay=ReplaySettings(strategy="priority"))


def test_a_toml_file_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "dwell.toml"
    path.write_text('[gate]\nalpha = 0.01\n[replay]\nstrategy = "priority"\n')
    mapping = {"gate": {"alpha": 0.01}, "replay": {"strategy": "priority"}}
    assert read_config(path) == read_config(str(path)) == read_config(mapping)


def test_a_config_is_taken_as_it_is() -> None:
    config = Config(gate=GateSettings(alpha=0.2))
    assert read_config(config) == config
    assert read_config({"gate": GateSettings(alpha=0.2)}) == config


def test_variables_come_last() -> None:
    environ = {
        "DWELL_GATE__ALPHA": "0.3",
        "DWELL_REPLAY__STRATEGY": "rank",
        "DWELL_TRAINING__MAX_STEPS": "7",
        "DWELL_PEPPER": "no setting",
        "PATH": "no setting",
        "OTHER_GATE__ALPHA": "9",
    }
    expected = Config(
        gate=GateSettings(alpha=0.3), replay=ReplaySettings(strategy="rank"), training=TrainingSettings(max_steps=7)
    )
    assert read_config({"gate": {"alpha": 0.01}}, environ) == expected
    assert read_config(Config(gate=GateSettings(alpha=0.01)), environ) == expected


def test_a_whole_number_is_a_fraction_where_one_is_due() -> None:
    assert read_config({"training": {"max_seconds": 5}}).training.max_seconds == 5


@pytest.mark.parametrize(
    ("source", "field", "hint"),
    [
        ({"gaet": {}}, "gaet", "'gate'"),
        ({"gate": {"alhpa": 0.1}}, "gate.alhpa", "'alpha'"),
        ({"zzz": {}}, "zzz", "gate"),
        ({"gate": 3}, "gate", ""),
        ({"gate": {"alpha": "0.1"}}, "gate.alpha", ""),
        ({"gate": {"alpha": True}}, "gate.alpha", ""),
        ({"gate": {"alpha": 0.0}}, "gate.alpha", ""),
        ({"gate": {"alpha": float("nan")}}, "gate.alpha", ""),
        ({"gate": {"kind": "none"}}, "gate.kind", "anytime"),
        ({"gate": {"kind": 1}}, "gate.kind", ""),
        ({"gate": {"min_events": 2.5}}, "gate.min_events", ""),
        ({"replay": {"strategy": "newest"}}, "replay.strategy", "recency"),
        ({"replay": {"beta": 1.01}}, "replay.beta", ""),
        ({"training": {"max_steps": 0}}, "training.max_steps", ""),
        ({"training": {"max_seconds": 0.0}}, "training.max_seconds", ""),
        ({"training": {"min_batch": 300}}, "training.min_batch", ""),
        ({"training": {"examination_eta": -1.0}}, "training.examination_eta", ""),
        ("no-such-file.toml", "config", ""),
        (3, "config", ""),
    ],
)
def test_mistakes_are_refused_by_name(source: Any, field: str, hint: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_config(source)
    assert error.value.field == field
    assert hint in error.value.hint


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    for name, written in (("a.toml", b"[gate\n"), ("b.toml", b"\xff\xfe"), ("c.toml", b"gaet = 1\n")):
        (tmp_path / name).write_bytes(written)
        with pytest.raises(ConfigError):
            read_config(tmp_path / name)


@pytest.mark.parametrize("name", ["DWELL_GATE__ALHPA", "DWELL_GAET__ALPHA", "DWELL_GATE__ALPHA"])
def test_a_mistaken_variable_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        read_config(None, {name: "7.0"})


def test_every_setting_is_told_with_its_origin() -> None:
    told = {s.name: s for s in settings_of({"gate": {"alpha": 0.01}}, {"DWELL_REPLAY__BETA": "0.5"})}
    config = read_config({"gate": {"alpha": 0.01}}, {"DWELL_REPLAY__BETA": "0.5"})
    expected = {
        f"{section.name}.{f.name}": getattr(getattr(config, section.name), f.name)
        for section in fields(config)
        for f in fields(getattr(config, section.name))
    }
    assert {name: s.value for name, s in told.items()} == expected
    assert told["gate.alpha"].origin == "file"
    assert told["replay.beta"].origin == "environment"
    assert {s.origin for s in told.values()} == {"default", "file", "environment"}


def test_the_settings_of_a_config_value_are_told() -> None:
    told = {s.name: s.value for s in settings_of(Config(gate=GateSettings(alpha=0.2)))}
    assert told["gate.alpha"] == 0.2


def test_settings_are_frozen() -> None:
    config = read_config()
    for part in (config, config.gate, config.learner, config.replay, config.training):
        with pytest.raises(FrozenInstanceError):
            setattr(part, fields(part)[0].name, None)


def test_every_setting_and_its_default_stands_in_the_docs(root: Path) -> None:
    text = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [s.name for s in settings_of() if f"| `{s.name}` | {s.value} |" not in text] == []
