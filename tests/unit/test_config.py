import inspect
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.config import Config, ReplaySettings, StoreSettings, TrainingSettings, read_config, settings_of
from dwell.errors import ConfigError
from dwell.evaluation import GateSettings
from dwell.learning.learner import LearnerSettings
from dwell.reward.presets import DEFAULT_PRESET


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
        ({"store": {"wehre": "x"}}, "store.wehre", "'where'"),
        ({"store": {"where": 3}}, "store.where", ""),
        ({"store": {"mode": "Live"}}, "store.mode", "'live'"),
        ({"store": {"mode": "canari"}}, "store.mode", "'canary'"),
        ({"store": {"durability": "some"}}, "store.durability", "full"),
        ({"store": {"temperature": -0.1}}, "store.temperature", ""),
        ({"store": {"temperature": 1e-7}}, "store.temperature", "0"),
        ({"store": {"features": "bm25"}}, "store.features", ""),
        ({"store": {"features": ["bm25", 3]}}, "store.features", ""),
        ({"store": {"features": ["bm25", "bm25"]}}, "store.features", "once"),
        ({"store": {"features": [""]}}, "store.features[0]", ""),
        ({"store": {"weights": {"bm25": "1"}}}, "store.weights", ""),
        ({"store": {"weights": {"bm25": True}}}, "store.weights", ""),
        ({"store": {"weights": {"bm25": float("nan")}}}, "store.weights.bm25", ""),
        ({"store": {"weights": [1.0]}}, "store.weights", ""),
        ({"store": {"rewards": "serach"}}, "store.rewards", "search"),
        ({"store": {"rewards": {"click": 2.0}}}, "store.signals.click.weight", ""),
        ({"store": {"rewards": {"click": {"wieght": 0.2}}}}, "store.rewards.click.wieght", "weight"),
        ({"store": {"rewards": {}}}, "store.rewards", ""),
        ({"store": {"rewards": 3}}, "store.rewards", ""),
        ({"store": {"default_reward": 1.5}}, "store.default_reward", ""),
        ({"store": {"attribution_window_s": -1.0}}, "store.attribution_window_s", ""),
        ({"store": {"late_window_s": 1e10}}, "store.late_window_s", ""),
        ({"store": {"capacity": 0}}, "store.capacity", ""),
        ({"store": {"capacity": 1.5}}, "store.capacity", ""),
        ({"store": {"max_results": 1_001}}, "store.max_results", ""),
        ({"store": {"max_results": 65}}, "store.max_candidates", ""),
        ({"store": {"canary_share": 1.1}}, "store.canary_share", ""),
        ({"store": {"holdout": 0.95}}, "store.holdout", ""),
        ({"store": {"retention_s": 0.5}}, "store.retention_s", ""),
        ({"store": {"max_store_bytes": 0}}, "store.max_store_bytes", ""),
        ({"store": {"archive": "a/../b"}}, "store.archive", ""),
        ({"store": {"seed": -1}}, "store.seed", ""),
        ({"serve": {"prot": 1}}, "serve.prot", "'port'"),
        ({"serve": {"port": 65_536}}, "serve.port", ""),
        ({"serve": {"port": "8765"}}, "serve.port", ""),
        ({"serve": {"origins": "https://a.example"}}, "serve.origins", ""),
        ({"serve": {"origins": ["https://a.example/"]}}, "serve.origins", "browsers"),
        ({"serve": {"origins": ["*"]}}, "serve.origins", "browsers"),
        ({"serve": {"is_example_served": 1}}, "serve.is_example_served", ""),
        ({"servr": {}}, "servr", "'serve'"),
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


def test_variables_reach_every_kind_of_setting() -> None:
    environ = {
        "DWELL_SERVE__PORT": "9000",
        "DWELL_SERVE__ORIGINS": '["https://a.example", "http://localhost:3000"]',
        "DWELL_SERVE__IS_EXAMPLE_SERVED": "true",
        "DWELL_STORE__FEATURES": '["bm25", "cosine"]',
        "DWELL_STORE__WEIGHTS": "{bm25 = 1, cosine = 0.5}",
        "DWELL_STORE__REWARDS": "rag",
        "DWELL_STORE__MODE": '"shadow"',
    }
    config = read_config(None, environ)
    assert (config.serve.port, config.serve.is_example_served) == (9000, True)
    assert config.serve.origins == ("https://a.example", "http://localhost:3000")
    assert (config.store.features, dict(config.store.weights)) == (("bm25", "cosine"), {"bm25": 1, "cosine": 0.5})
    assert (config.store.rewards, config.store.mode) == ("rag", "shadow")
    for name, text in (("PORT", "http"), ("PROT", "1"), ("ORIGINS", "https://a.example")):
        with pytest.raises(ConfigError) as error:
            read_config(None, {f"DWELL_SERVE__{name}": text})
        assert error.value.field == f"serve.{name.lower()}"


def test_what_a_file_says_of_the_store_can_be_opened() -> None:
    said = {
        "store": {
            "features": ["bm25"],
            "weights": {"bm25": 2.0},
            "rewards": {"click": {"weight": 0.5, "aggregation": "sum"}},
            "default_reward": -0.25,
            "retention_s": 86_400.0,
        }
    }
    arguments = read_config(said).store.arguments()
    with dwell.open(":memory:", **arguments) as loop:
        assert dict(loop.params.weights) == {"bm25": 2.0}
        assert loop.rewards.default_reward == -0.25
        assert loop.rewards.signals["click"].aggregation == "sum"


def test_the_defaults_of_the_store_are_those_of_open() -> None:
    ours, theirs = StoreSettings().arguments(), inspect.signature(dwell.open).parameters
    differ = {name for name, value in ours.items() if theirs[name].default != value}
    assert differ == {"rewards"}
    assert (ours["rewards"], theirs["rewards"].default) == (DEFAULT_PRESET, None)


def test_the_example_file_is_read_and_says_what_the_defaults_are(root: Path) -> None:
    path = root / "docs" / "dwell.toml"
    config, defaults = read_config(path), read_config()
    for line in path.read_text(encoding="utf-8").splitlines():
        name, is_setting, _ = line.partition(" = ")
        if line.startswith("["):
            section = line.strip("[]").partition("]")[0]
        elif is_setting and section != "store.weights" and "default: none" not in line and "no default" not in line:
            assert getattr(getattr(config, section), name) == getattr(getattr(defaults, section), name), line
    assert set(config.store.weights) == set(config.store.features)


def test_every_setting_and_its_default_stands_in_the_docs(root: Path) -> None:
    text = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [s.name for s in settings_of() if f"| `{s.name}` | {s.value} |" not in text] == []


def test_the_secret_of_the_webhook_is_a_text_and_is_never_shown(tmp_path: Path) -> None:
    secret, url = "1" * 40, "https://hooks.example/services/T0/B1"
    environ = {"DWELL_ALERTS_WEBHOOK_SECRET": secret, "DWELL_ALERTS__WEBHOOK_URL": url}
    config = read_config(None, environ)
    assert (config.alerts.webhook_secret, config.alerts.webhook_url) == (secret, url)
    shown = {s.name: (s.value, s.origin) for s in settings_of(None, environ)}
    assert shown["alerts.webhook_secret"] == shown["alerts.webhook_url"] == ("(not shown)", "environment")
    assert secret not in repr(config)
    assert "services" not in repr(config)
    with pytest.raises(ConfigError, match="a text is due here") as caught:
        read_config({"alerts": {"webhook_secret": int(secret)}})
    assert secret not in str(caught.value)
    with pytest.raises(ConfigError, match="webhook_secret") as caught:  # it offers the right name
        read_config({"alerts": {"webhook_secrets": secret}})
    assert secret not in str(caught.value)
