"""Settings of the shell as one frozen tree; the core never sees it.

Order of precedence: default, then a TOML file or a mapping, then environment variables `DWELL_<SECTION>__<NAME>`.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from dwell.errors import ConfigError
from dwell.evaluation import GateSettings
from dwell.learning.learner import LearnerSettings

__all__ = ["Config", "ReplaySettings", "Setting", "TrainingSettings", "read_config", "settings_of"]

Strategy = Literal["uniform", "priority", "rank", "recency", "stratified"]
EmbeddingKind = Literal["none", "float16", "float32"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """How experience is drawn for learning.

    Attributes:
        strategy: "recency" (recency-weighted uniform), "uniform", "priority", "rank" or "stratified".
        half_life_s: Age at which an experience counts half, > 0.
        alpha: Exponent of priorities, in [0, 10].
        beta: Exponent of the sampling weights, in [0, 1]; 1 corrects fully.
        embeddings: How query embeddings stand in the column ring: "float32", "float16" or "none".
        max_ratio: Most replayed lists per event taken in, > 0: above it a call of `train` draws fewer. Feedback is
            never held up.
    """

    strategy: Strategy = "recency"
    half_life_s: float = 604_800.0  # the seed: 168 hours
    alpha: float = 0.6  # Schaul et al. 2016, "Prioritized Experience Replay": proportional variant
    embeddings: EmbeddingKind = "float32"  # as they were given
    max_ratio: float = 1_000.0  # beyond what the default plan reaches: who wants a limit sets one
    beta: float = 1.0  # replay study: an offline expectation is estimated, so the correction is full

    def __post_init__(self) -> None:
        if self.strategy not in {"uniform", "priority", "rank", "recency", "stratified"}:
            raise ConfigError(
                "unknown sampling strategy",
                field="replay.strategy",
                value=self.strategy,
                hint="Use 'recency', 'uniform', 'priority', 'rank' or 'stratified'.",
            )
        if self.embeddings not in {"none", "float16", "float32"}:
            raise ConfigError(
                "unknown kind of embeddings",
                field="replay.embeddings",
                value=self.embeddings,
                hint="Use 'float32', 'float16' or 'none'.",
            )
        _check("replay.max_ratio", self.max_ratio, 1e-3, 1e9)
        _check("replay.half_life_s", self.half_life_s, 1.0, 1e10)
        _check("replay.alpha", self.alpha, 0.0, 10.0)
        _check("replay.beta", self.beta, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How much one call of `train` does.

    Attributes:
        max_steps: Most steps, >= 1.
        target_steps: Steps that one pass is spread over, >= 1.
        min_batch: Fewest lists in a step, >= 1.
        max_batch: Most lists in a step.
        max_seconds: Longest learning time, > 0.
        first_version_events: Events served in the caller's order before equal weights are fitted, >= 1.
        examination: "measured" (from the loop's own draws, where they say enough; assumed until then) or "assumed".
        examination_eta: Examination of position k is assumed to be 1 / k^eta, eta in [0, 4].
        recalibrate: Whether a monotone map is fitted over what the predictor expects of a document.
        swap_share: Share of served lists of which an adjacent pair is drawn and shown in either order by a fair coin,
            in [0, 0.2]: it measures examination where the temperature is too low to tell.
    """

    max_steps: int = 200
    target_steps: int = 100  # gated-loop study: 50 to 100 steps a round did no harm
    min_batch: int = 16
    max_batch: int = 256
    max_seconds: float = 10.0
    first_version_events: int = 200
    examination: Literal["measured", "assumed"] = "measured"
    examination_eta: float = 1.0
    recalibrate: bool = False  # docs/experiments.md: it helps single documents, and not the lists of cascade users
    swap_share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("max_steps", "target_steps", "min_batch", "max_batch", "first_version_events"):
            _check(f"training.{name}", getattr(self, name), 1, 2**31)
        if self.examination not in {"measured", "assumed"}:
            raise ConfigError(
                "unknown way to an examination",
                field="training.examination",
                value=self.examination,
                hint="Use 'measured' or 'assumed'.",
            )
        if not isinstance(self.recalibrate, bool):
            raise ConfigError(
                "true or false is due here", field="training.recalibrate", value=self.recalibrate, hint="Use True."
            )
        _check("training.max_seconds", self.max_seconds, 1e-3, 1e6)
        _check("training.examination_eta", self.examination_eta, 0.0, 4.0)
        _check("training.swap_share", self.swap_share, 0.0, 0.2)
        if self.min_batch > self.max_batch:
            raise ConfigError("min_batch exceeds max_batch", field="training.min_batch", value=self.min_batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings.

    Attributes:
        gate: When a proposal goes live.
        learner: What the learner may do.
        replay: How experience is drawn.
        training: How much one call does.
    """

    gate: GateSettings = field(default_factory=GateSettings)
    learner: LearnerSettings = field(default_factory=LearnerSettings)
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)


class Setting(NamedTuple):
    """One setting, as `dwell config show` prints it.

    Attributes:
        name: "section.name".
        value: Its value.
        origin: "default", "file" or "environment".
    """

    name: str
    value: object
    origin: str


def _check(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(
            f"a setting is outside [{low:g}, {high:g}]", field=name, value=value, hint="Correct the setting."
        )


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"There are {known}."


def read_config(source: object = None, environ: Mapping[str, str] | None = None) -> Config:
    """Return the settings that a mapping, a TOML file or nothing describes, environment variables applied on top.

    Args:
        source: None, a `Config`, a mapping {section: {name: value}}, or the path of a TOML file.
        environ: Environment variables; none are read when not given.

    Raises:
        ConfigError: An unknown section or name (the nearest one is offered), or a value out of range.
    """
    if isinstance(source, Config):
        given: Mapping[str, Any] = {s.name: getattr(source, s.name) for s in dataclasses.fields(Config)}
    else:
        given = _mapping(source)
    sections = {f.name: f for f in dataclasses.fields(Config)}
    overrides = _from_environment(environ or {})
    unknown = [name for name in (*given, *overrides) if name not in sections]
    if unknown:
        raise ConfigError(
            "unknown section of the configuration", field=unknown[0], hint=_nearest(unknown[0], list(sections))
        )
    built = {name: _section(name, given.get(name, {}), overrides.get(name, {})) for name in sections}
    return Config(**built)


def _mapping(source: object) -> Mapping[str, Any]:
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return cast("Mapping[str, Any]", source)
    if not isinstance(source, str | Path):
        raise ConfigError("a configuration is a mapping or the path of a TOML file", field="config", value=source)
    try:
        return tomllib.loads(Path(source).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"the configuration can not be read: {error}",
            field="config",
            value=str(source),
            hint="Give a readable TOML file.",
        ) from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for key, text in environ.items():
        if key.startswith("DWELL_") and "__" in key:
            section, name = key.removeprefix("DWELL_").lower().split("__", 1)
            try:
                value: Any = tomllib.loads(f"x = {text}")["x"]
            except tomllib.TOMLDecodeError:
                value = text
            found.setdefault(section, {})[name] = value
    return found


def _section(section: str, given: object, overrides: Mapping[str, Any]) -> Any:  # noqa: ANN401 - one of four classes
    types: dict[str, type[Any]] = {
        "gate": GateSettings,
        "learner": LearnerSettings,
        "replay": ReplaySettings,
        "training": TrainingSettings,
    }
    cls = types[section]
    if isinstance(given, cls):
        return dataclasses.replace(given, **overrides) if overrides else given
    if not isinstance(given, Mapping):
        raise ConfigError("a section of the configuration is a mapping", field=section, value=given)
    merged = {**given, **overrides}
    defaults = {f.name: f.default for f in dataclasses.fields(cls)}
    for name, value in merged.items():
        if name not in defaults:
            raise ConfigError(
                "unknown setting", field=f"{section}.{name}", value=value, hint=_nearest(name, list(defaults))
            )
        _check_type(f"{section}.{name}", value, defaults[name])
    return cls(**merged)


def _check_type(name: str, value: object, default: object) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, str):
        fits = isinstance(value, str)
    elif isinstance(default, bool):
        fits = isinstance(value, bool)
    elif isinstance(default, int):
        fits = isinstance(value, int) and is_number
    else:
        fits = is_number
    if not fits:
        raise ConfigError(
            f"a {type(default).__name__} is due here", field=name, value=value, hint="Correct the setting."
        )


def settings_of(source: object = None, environ: Mapping[str, str] | None = None) -> Iterator[Setting]:
    """Yield every setting with its value and where it came from, in the order of the tree."""
    config = read_config(source, environ)
    given, overrides = ({} if isinstance(source, Config) else _mapping(source)), _from_environment(environ or {})
    for section in dataclasses.fields(config):
        for setting in dataclasses.fields(getattr(config, section.name)):
            origin = "default"
            if setting.name in given.get(section.name, {}):
                origin = "file"
            if setting.name in overrides.get(section.name, {}):
                origin = "environment"
            yield Setting(
                f"{section.name}.{setting.name}", getattr(getattr(config, section.name), setting.name), origin
            )
