"""Settings of the shell as one frozen tree; the core never sees it.

Order of precedence: default, then a TOML file or a mapping, then environment variables `DWELL_<SECTION>__<NAME>`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast

from dwell.errors import ConfigError, RecordError
from dwell.evaluation import GateSettings
from dwell.health import AlertSettings
from dwell.learning.learner import LearnerSettings
from dwell.records import checks
from dwell.replay.bounds import checked_quotas
from dwell.reward.presets import custom, resolve_rewards
from dwell.storage.archive_places import archive_folder

__all__ = [
    "LEARNERS",
    "MIN_TEMPERATURE",
    "NEVER_FORGET_NATS",
    "NOT_SHOWN",
    "ActivationSettings",
    "Config",
    "ReplaySettings",
    "ServeSettings",
    "Setting",
    "StoreSettings",
    "TrainingSettings",
    "read_config",
    "settings_of",
]

Strategy = Literal["uniform", "priority", "rank", "recency", "stratified"]
EmbeddingKind = Literal["none", "float16", "float32"]

MIN_TEMPERATURE: Final = (
    1e-6  # there odds of a thousandth of a standard deviation are exp(1000): float64 ends at exp(709)
)
LEARNERS: Final = ("replay", "activation", "both")
NEVER_FORGET_NATS: Final = -1_000.0  # a base level that no history reaches in the age of the universe
NOT_SHOWN: Final = "(not shown)"
_SECRETS: Final = frozenset({"alerts.webhook_secret", "alerts.webhook_url"})  # many a webhook's path lets one in
_PLAIN: Final = {"DWELL_ALERTS_WEBHOOK_SECRET": ("alerts", "webhook_secret")}  # a text, whatever number it looks like
_ORIGIN: Final = re.compile(r"https?://[^/\s?#@]+")


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
        segment_quotas: Who stays when the buffer is full: "none" (the oldest leaves), "equal" (each segment is sure of
            the same share) or {segment: share of the buffer that it is sure of}. Held-out events leave oldest first.
    """

    strategy: Strategy = "recency"
    half_life_s: float = 604_800.0  # the seed: 168 hours
    alpha: float = 0.6  # Schaul et al. 2016, "Prioritized Experience Replay": proportional variant
    embeddings: EmbeddingKind = "float32"  # as they were given
    max_ratio: float = 1_000.0  # beyond what the default plan reaches: who wants a limit sets one
    beta: float = 1.0  # replay study: an offline expectation is estimated, so the correction is full
    segment_quotas: Mapping[str, float] | str = "none"

    def __post_init__(self) -> None:
        if isinstance(self.segment_quotas, str):
            _choice("replay.segment_quotas", self.segment_quotas, ("none", "equal"))
        else:
            with _named("replay."):
                checked_quotas(self.segment_quotas)
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
class StoreSettings:
    """What `dwell serve` opens, for those who keep it in a file: the arguments of `dwell.open` by their names.

    Attributes:
        where: The store's file; "" leaves it to the command line.
        features: Names of the features of every candidate; none takes those of the store.
        weights: Starting weights on raw values, by feature; none serves the caller's order first.
        mode: "log-only", "shadow", "canary" or "live".
        temperature: Exploration, 0 or at least 1e-6.
        rewards: Name of a reward preset, or weights by signal, as `dwell.reward.custom` takes them.
        default_reward: Reward of a list whose window ended without feedback, in [-1, 1].
        attribution_window_s: How long reactions are waited for.
        late_window_s: How long after the close a reaction still counts.
        capacity: Closed events kept for learning and judging.
        learner: "replay", "activation" or "both".
        max_results: Served documents that are learned from.
        max_candidates: Documents whose features are kept per event.
        canary_share: Share of users who are served the proposal in mode "canary".
        holdout: Share of users whose events only judge.
        durability: "full" or "relaxed".
        retention_s: Age at which facts are removed; 0 keeps them.
        max_store_bytes: Size from which evicted facts are removed, oldest first.
        seed: Seeds the draws, with the store's secret.
        archive: Folder of Parquet files that facts go to before they are removed; "" archives nothing.

    Raises:
        ConfigError: A value that `dwell.open` would refuse, by the setting's full name.
    """

    where: str = ""
    features: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    mode: str = "live"
    temperature: float = 0.3
    rewards: str | Mapping[str, Any] = "search"
    default_reward: float = 0.0
    attribution_window_s: float = 1800.0
    late_window_s: float = 604_800.0
    capacity: int = 100_000
    learner: str = "replay"
    max_results: int = 20
    max_candidates: int = 64
    canary_share: float = 0.05
    holdout: float = 0.3
    durability: str = "full"
    retention_s: float = 0.0
    max_store_bytes: int = 10_000_000_000
    seed: int = 0
    archive: str = ""

    def __post_init__(self) -> None:
        _choice("store.mode", self.mode, ("log-only", "shadow", "canary", "live"))
        _choice("store.durability", self.durability, ("full", "relaxed"))
        _choice("store.learner", self.learner, LEARNERS)
        _check("store.temperature", self.temperature, 0.0, 100.0)
        if 0.0 < self.temperature < MIN_TEMPERATURE:
            raise ConfigError(
                f"a temperature is 0 or at least {MIN_TEMPERATURE:g}",
                field="store.temperature",
                value=self.temperature,
                hint="Use 0 for a stable sort.",
            )
        _check("store.default_reward", self.default_reward, -1.0, 1.0)
        for name in ("attribution_window_s", "late_window_s"):
            _check(f"store.{name}", getattr(self, name), 0.0, 1e9)
        if self.retention_s != 0.0:
            _check("store.retention_s", self.retention_s, 1.0, 1e11)
        _check("store.canary_share", self.canary_share, 0.0, 1.0)
        _check("store.holdout", self.holdout, 0.0, 0.9)
        for name, low, high in (
            ("capacity", 1, 100_000_000),
            ("max_results", 1, 1_000),
            ("max_candidates", 1, 1_000),
            ("max_store_bytes", 1, 2**60),
            ("seed", 0, 2**63 - 1),
        ):
            _whole(f"store.{name}", getattr(self, name), low, high)
        if self.archive:
            with _named("store."):
                archive_folder(self.archive)
        if self.max_candidates < self.max_results:
            raise ConfigError(
                "max_candidates is below max_results",
                field="store.max_candidates",
                value=self.max_candidates,
                hint="Served documents are kept first: raise it, or lower store.max_results.",
            )
        with _named("store."):
            for names in (self.features, tuple(self.weights)):
                if names:
                    checks.feature_names(names)
            for feature, weight in self.weights.items():
                checks.finite(weight, f"weights.{feature}")
            resolve_rewards(self.rewards)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `dwell.open`, `where` left out."""
        left_out = {"where", "default_reward"}
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in left_out}
        if self.default_reward:
            signals = resolve_rewards(self.rewards).signals
            found["rewards"] = custom(signals, default_reward=self.default_reward)
        found["retention_s"], found["archive"] = self.retention_s or None, self.archive or None
        return {**found, "features": list(self.features) or None, "weights": dict(self.weights) or None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationSettings:
    """How activation is kept, where `learner` is "activation" or "both".

    Attributes:
        decay: d in [0.1, 0.9]: how fast an event's worth falls; may be changed at any time, for the past too.
        n_rates: 12 or 14 exponentials: base level within 0.014 or 0.005 nats. Another number needs a rebuild.
        session_cap: Most events that count per item, user and window, >= 1.
        session_window_s: Length of such a window, > 0.
        base_rate: Reward per exposure that is believed of an item nobody has seen, in (0, 1).
        prior_exposures: How many exposures of an hour ago that belief is worth, > 0.
        limit_nats: How far activation may lift or lower an item beside one that nobody has seen, > 0.
        forget_below_nats: Base level below which an item may be forgotten, ages in seconds; the default is never.
    """

    decay: float = 0.5  # ACT-R's; facts of its literature, not ours
    n_rates: int = 12
    session_cap: int = 3  # a choice: who comes back to an item twice in a day still says something
    session_window_s: float = 86_400.0
    base_rate: float = 0.1  # a guess: clicks per shown document of ten
    prior_exposures: float = 1.0
    limit_nats: float = 6.0  # twice what separates a day from a year at d = 0.5
    forget_below_nats: float = NEVER_FORGET_NATS

    def __post_init__(self) -> None:
        _check("activation.decay", self.decay, 0.1, 0.9)
        if self.n_rates not in {12, 14}:
            raise ConfigError("rates are 12 or 14", field="activation.n_rates", value=self.n_rates, hint="Use 12.")
        _whole("activation.session_cap", self.session_cap, 1, 1_000_000)
        _check("activation.session_window_s", self.session_window_s, 1.0, 1e9)
        _check("activation.base_rate", self.base_rate, 1e-6, 1.0 - 1e-6)
        _check("activation.prior_exposures", self.prior_exposures, 1e-6, 1e9)
        _check("activation.limit_nats", self.limit_nats, 0.01, 100.0)
        _check("activation.forget_below_nats", self.forget_below_nats, NEVER_FORGET_NATS, 100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """How `dwell serve` answers.

    Attributes:
        host: Address to listen on; beyond this machine it takes keys.
        port: Port, in [0, 65535]; 0 takes a free one.
        workers: Processes that serve, in [1, 64]; more than one on PostgreSQL alone.
        origins: Web origins that browsers may call from, exactly as they send them.
        trusted_proxies: Addresses and networks of proxies whose word for the caller's address is taken.
        token_lifetime_s: How long an impression token is taken, in [1, 604800].
        train_every_s: Longest time between two rounds of learning, > 0.
        train_after_events: Events after which a round begins earlier, >= 1.
        max_in_flight: Requests worked on at once, >= 1; those beyond are answered 503.
        max_body_bytes: Longest body, in [1000, 100 MB].
        body_timeout_s: Longest time for a body to arrive, > 0.
        header_timeout_s: Longest time for a request's head to arrive, > 0.
        max_connections: Connections held at once, >= 1.
        requests_per_minute_per_key: Requests of one public key, >= 1.
        requests_per_minute_per_address: Requests with a public key from one address, >= 1.
        requests_per_minute_per_subject: Requests with a public key for one user, >= 1.
        is_example_served: Whether /example shows a search page over the documentation of Python.
        is_traced: Whether OpenTelemetry is told of rankings, reactions and rounds of learning (extra `otel`); where its
            spans go is the configuration of its SDK.
        query_text_for: Whose dashboard shows what was asked: that of keys of kind "admin", of "secret" as well, or
            "nobody" at all.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    workers: int = 1
    origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    token_lifetime_s: float = 86_400.0  # a page that is left open over night still counts
    train_every_s: float = 60.0  # Personalizer offered 1, 15 and 60 minutes; a round without news costs milliseconds
    train_after_events: int = 1_000  # gated-loop study: a round every 1,000 events
    max_in_flight: int = 256  # of a millisecond each: beyond it a search waits longer than it takes a client to give up
    max_body_bytes: int = 2_000_000  # Algolia's limit, and 1,000 reactions with long ids
    body_timeout_s: float = 10.0  # reliability study: closed both body attacks on three servers
    header_timeout_s: float = 10.0  # a person's browser sends its head in one packet
    max_connections: int = 12_000
    requests_per_minute_per_key: int = 60_000
    requests_per_minute_per_address: int = 600  # a household or an office behind one address
    requests_per_minute_per_subject: int = 120  # two a second: more than a person reads
    is_example_served: bool = False
    is_traced: bool = False
    query_text_for: str = "admin"

    def __post_init__(self) -> None:
        _check("serve.port", self.port, 0, 65_535)
        _whole("serve.workers", self.workers, 1, 64)
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigError(
                    "an origin is a scheme and a host, nothing behind them",
                    field="serve.origins",
                    value=origin,
                    hint="Write it as browsers send it: https://shop.example, with the port where it is not the usual.",
                )
        for proxy in self.trusted_proxies:
            _check_network("serve.trusted_proxies", proxy)
        _choice("serve.query_text_for", self.query_text_for, ("admin", "secret", "nobody"))
        _check("serve.token_lifetime_s", self.token_lifetime_s, 1.0, 604_800.0)
        _check("serve.train_every_s", self.train_every_s, 0.05, 1e7)
        _check("serve.max_body_bytes", self.max_body_bytes, 1_000, 100_000_000)
        for name in ("body_timeout_s", "header_timeout_s"):
            _check(f"serve.{name}", getattr(self, name), 0.05, 3_600.0)
        for name in (
            "train_after_events",
            "max_in_flight",
            "max_connections",
            "requests_per_minute_per_key",
            "requests_per_minute_per_address",
            "requests_per_minute_per_subject",
        ):
            _check(f"serve.{name}", getattr(self, name), 1, 2**31)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings.

    Attributes:
        gate: When a proposal goes live.
        learner: What the learner may do.
        replay: How experience is drawn.
        training: How much one call does.
        store: What is served, for `dwell serve`.
        serve: How it is served.
        activation: How activation is kept.
        alerts: When an alert fires, and who is told.
    """

    gate: GateSettings = field(default_factory=GateSettings)
    learner: LearnerSettings = field(default_factory=LearnerSettings)
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    serve: ServeSettings = field(default_factory=ServeSettings)
    activation: ActivationSettings = field(default_factory=ActivationSettings)
    alerts: AlertSettings = field(default_factory=AlertSettings)


class Setting(NamedTuple):
    """One setting, as `dwell config show` prints it.

    Attributes:
        name: "section.name".
        value: Its value; "(not shown)" for what lets one in somewhere, where it is set.
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


def _check_network(name: str, value: str) -> None:
    try:
        if ipaddress.ip_network(value).prefixlen > 0:
            return
        words, hint = "everybody is no proxy", "Name the proxies: who is trusted can claim any address."
    except ValueError:
        words, hint = "a proxy is an address or a network", 'Write "10.0.0.7" or "10.0.0.0/8", without bits behind it.'
    raise ConfigError(words, field=name, value=value, hint=hint)


def _whole(name: str, value: object, low: int, high: int) -> None:
    _check(name, value, low, high)
    if not isinstance(value, int):
        raise ConfigError("a whole number is due here", field=name, value=value, hint="Correct the setting.")


def _choice(name: str, value: object, among: tuple[str, ...]) -> None:
    if value not in among:
        raise ConfigError(
            "a setting is none of the known ones",
            field=name,
            value=value,
            hint=_nearest(value, list(among)) if isinstance(value, str) else f"There are {list(among)}.",
        )


@contextlib.contextmanager
def _named(prefix: str) -> Iterator[None]:
    """Raise what is wrong with a value under the full name of its setting."""
    try:
        yield
    except (ConfigError, RecordError) as error:
        raise ConfigError(
            error.message, field=f"{prefix}{error.field or ''}", value=error.value, hint=error.hint
        ) from error


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
        if key in _PLAIN:
            section, name = _PLAIN[key]
            found.setdefault(section, {})[name] = text
        elif key.startswith("DWELL_") and "__" in key:
            section, name = key.removeprefix("DWELL_").lower().split("__", 1)
            try:
                value: Any = tomllib.loads(f"x = {text}")["x"]
            except tomllib.TOMLDecodeError:
                value = text
            found.setdefault(section, {})[name] = value
    return found


def _section(section: str, given: object, overrides: Mapping[str, Any]) -> Any:  # noqa: ANN401 - one of eight classes
    types: dict[str, type[Any]] = {
        "store": StoreSettings,
        "serve": ServeSettings,
        "gate": GateSettings,
        "learner": LearnerSettings,
        "replay": ReplaySettings,
        "training": TrainingSettings,
        "activation": ActivationSettings,
        "alerts": AlertSettings,
    }
    cls = types[section]
    if isinstance(given, cls):
        return dataclasses.replace(given, **overrides) if overrides else given
    if not isinstance(given, Mapping):
        raise ConfigError("a section of the configuration is a mapping", field=section, value=given)
    merged = {**given, **overrides}
    defaults = {
        f.name: f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
        for f in dataclasses.fields(cls)
    }
    for name, value in merged.items():
        if name not in defaults:
            shown = NOT_SHOWN if section == "alerts" else value  # a secret whose name was mistyped is one
            raise ConfigError(
                "unknown setting", field=f"{section}.{name}", value=shown, hint=_nearest(name, list(defaults))
            )
        _check_type(f"{section}.{name}", value, defaults[name])
    return cls(**{name: tuple(v) if isinstance(defaults[name], tuple) else v for name, v in merged.items()})


def _check_type(name: str, value: object, default: object) -> None:
    is_number = _is_number(value)
    if isinstance(default, tuple):
        fits, due = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value), "a list of texts"
    elif isinstance(default, Mapping):
        is_table = isinstance(value, Mapping)
        fits = is_table and all(_is_number(one) for one in cast("Mapping[str, Any]", value).values())
        due = "a table of numbers"
    elif name == "store.rewards":
        fits, due = isinstance(value, str | Mapping), "a preset's name, or a table of weights,"
    elif name == "replay.segment_quotas":
        fits, due = isinstance(value, str | Mapping), '"none", "equal", or a table of shares,'
    elif isinstance(default, str):
        fits, due = isinstance(value, str), "a text"
    elif isinstance(default, bool):
        fits, due = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        fits, due = isinstance(value, int) and is_number, "a whole number"
    else:
        fits, due = is_number, "a number"
    if not fits:
        shown = NOT_SHOWN if name in _SECRETS else value
        raise ConfigError(f"{due} is due here", field=name, value=shown, hint="Correct the setting.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
            name, value = f"{section.name}.{setting.name}", getattr(getattr(config, section.name), setting.name)
            yield Setting(name, NOT_SHOWN if value and name in _SECRETS else value, origin)
