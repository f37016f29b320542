"""Open a loop: check the arguments, take the store, meet its features, and have params in force."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple, cast, get_args

import msgspec
import numpy as np

from dwell.config import LEARNERS, MIN_TEMPERATURE, ReplaySettings, read_config
from dwell.errors import ConfigError, FeatureSchemaError, RecordError, StorageError
from dwell.loop.archiving import checked_archive
from dwell.loop.close import Rules
from dwell.loop.companion import (
    activity_of,
    callers_first,
    callers_part,
    learner_in_force,
    own_features,
    refuse_reserved,
)
from dwell.loop.erasures import n_erasures_of
from dwell.loop.examining import examination_in_force
from dwell.loop.experiences import read_experience
from dwell.loop.ingest import EMBEDDING_DIM
from dwell.loop.replayed import Replayed
from dwell.loop.state import Identity, Limits, LoopState
from dwell.records import Estimate, Experience, GateDecision, LowRank, Params, Transform, checks
from dwell.records.impression import Mode
from dwell.replay.bounds import Quotas
from dwell.reward.examination import PositionBased
from dwell.reward.presets import resolve_rewards
from dwell.storage import (
    Durability,
    Role,
    Store,
    Transaction,
    Writer,
    check_pepper,
    open_store,
    resolve_pepper,
    split_salt,
    store_secret,
)
from dwell.storage.places import has_side_files, is_postgres

__all__ = ["LoopRole", "Start", "build_state", "check_limits"]

# A server ingests, beside others where the store is a database, and leaves closing and learning to the learner. A guest
# owns the store for one call of a command, which may not know how the application opens it
LoopRole = Role | Literal["server", "guest"]
INGESTS: Final = frozenset({"owner", "serving"})  # roles of a store that take facts in
_MEETINGS: Final = 3  # of several that begin a store at once one writes it, and the others meet what it wrote
_FEATURES: Final = "features"
_NOTHING: Final = Estimate(0.0, -np.inf, np.inf, 0, 0.0)
_MODES: Final = get_args(Mode)
_DURABILITIES: Final = get_args(Durability)


class Start(NamedTuple):
    """What the caller says of features and weights.

    Attributes:
        features: Names, or None for the stored ones.
        weights: Starting weights on raw values, or None.
        drop_features: Names to retire.
    """

    features: Sequence[str] | None
    weights: Mapping[str, float] | None
    drop_features: Sequence[str]


@contextmanager
def _arguments() -> Iterator[None]:
    """Say of a malformed value that it is an argument's; other features than the stored ones stay what they are."""
    try:
        yield
    except FeatureSchemaError:
        raise
    except RecordError as error:
        raise ConfigError(error.message, field=error.field, value=error.value, hint=error.hint) from error


def _number(name: str, value: object, low: float, high: float) -> float:
    with _arguments():
        number = checks.finite(value, name)
    if not low <= number <= high:
        raise ConfigError(f"an argument is outside [{low:g}, {high:g}]", field=name, value=value, hint="Correct it.")
    return number


def _temperature(value: object) -> float:
    temperature = _number("temperature", value, 0.0, 100.0)
    if 0.0 < temperature < MIN_TEMPERATURE:
        raise ConfigError(
            f"a temperature is 0 or at least {MIN_TEMPERATURE:g}",
            field="temperature",
            value=value,
            hint="Use 0 for a stable sort, which a lower temperature would only imitate.",
        )
    return temperature


def _names(value: object, field: str) -> tuple[str, ...]:
    """Return names of features, each an id; they may be none.

    Raises:
        RecordError: No list of ids.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise RecordError(
            "a list of feature names is due here", code="type", field=field, value=value, hint="Pass ['bm25', ...]."
        )
    return tuple(checks.identifier(name, f"{field}[{i}]") for i, name in enumerate(value))


def _checked_start(start: Start, learner: object) -> Start:
    """Return what the caller says of features and weights, each well formed, before any file is touched.

    A starting formula may weigh activation where it is kept: then what users say counts from the first list on.

    Raises:
        ConfigError: One is not, by name.
    """
    with _arguments():
        features = None if start.features is None else checks.feature_names(_names(start.features, "features"))
        dropped = _names(start.drop_features, "drop_features")
        weights = start.weights
        if weights is not None:
            if not isinstance(weights, Mapping):
                raise RecordError(
                    "weights are a mapping", field="weights", value=weights, hint="Pass {'bm25': 1.0, ...}."
                )
            checks.feature_names(_names(list(weights), "weights"))
            weights = {name: checks.finite(weight, f"weights.{name}") for name, weight in weights.items()}
    refuse_reserved(features, "features")
    refuse_reserved(list(weights) if weights is not None and learner == "replay" else None, "weights")
    return Start(features, weights, dropped)


def _choice(name: str, value: object, among: Sequence[str]) -> None:
    if value not in among:
        raise ConfigError(f"an argument is none of {list(among)}", field=name, value=value, hint="Choose one of them.")


def _seed(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ConfigError("a seed is a whole number in [0, 2^63)", field="seed", value=value, hint="Give another one.")
    return value


def check_limits(limits: Limits) -> Limits:
    """Return limits that are in range, the archive's folder as an absolute path.

    Raises:
        ConfigError: One is not, by name.
    """
    with _arguments():
        checks.positive_integer(limits.capacity, "capacity", most=100_000_000)
        checks.positive_integer(limits.max_results, "max_results", most=1_000)
        checks.positive_integer(limits.max_candidates, "max_candidates", most=1_000)
        checks.positive_integer(limits.max_store_bytes, "max_store_bytes", most=2**60)
        if limits.embedding_dim is not None:
            checks.positive_integer(limits.embedding_dim, "embedding_dim", most=checks.MAX_EMBEDDING_DIM)
    if limits.max_candidates < limits.max_results:
        raise ConfigError(
            f"max_candidates is below max_results, which is {limits.max_results}",
            field="max_candidates",
            value=limits.max_candidates,
            hint="Served documents are kept first: raise max_candidates, or lower max_results.",
        )
    if limits.retention_s is not None:
        _number("retention_s", limits.retention_s, 1.0, 1e11)
    _number("canary_share", limits.canary_share, 0.0, 1.0)
    _number("holdout", limits.holdout, 0.0, 0.9)
    return limits._replace(archive=checked_archive(limits.archive))


def _store_role(role: LoopRole, where: str) -> Role:
    if role == "server" and is_postgres(where):
        return "serving"
    return "owner" if role in {"server", "guest"} else cast("Role", role)


def build_state(
    where: str,
    *,
    start: Start,
    limits: Limits,
    served: tuple[str, float],
    rewards: object,
    windows: tuple[float, float],
    durability: str,
    config: object,
    strict: bool,
    learner: str,
    pepper: bytes | str | None,
    tenant: str,
    seed: int,
    role: LoopRole = "owner",
) -> LoopState:
    """Return an open loop's state.

    Raises:
        ConfigError: An argument is malformed or out of range, by name.
        FeatureSchemaError: The features differ from the stored ones in a way that was not asked for.
        StorageError: The store can not be opened so.
    """
    settings = read_config(config, os.environ)
    start = _checked_start(start, learner)
    limits = check_limits(limits)
    mode, temperature = served
    _choice("mode", mode, _MODES)
    _choice("durability", durability, _DURABILITIES)
    _choice("learner", learner, LEARNERS)
    seed = _seed(seed)
    with _arguments():
        is_strict = checks.boolean(strict, "strict")
        if tenant != "":  # not by its truth: None is no tenant
            checks.identifier(tenant, "tenant")
    temperature = _temperature(temperature)
    attribution_window_s, late_window_s = windows
    rules = Rules(
        preset=resolve_rewards(cast("Any", rewards)),
        examination=PositionBased(settings.training.examination_eta),  # until the store is asked, below
        attribution_window_s=_number("attribution_window_s", attribution_window_s, 0.0, 1e9),
        late_window_s=_number("late_window_s", late_window_s, 0.0, 1e9),
    )
    store = open_store(where, tenant=tenant, durability=cast("Durability", durability), role=_store_role(role, where))
    try:
        identity = _identity(store, where, pepper, tenant, seed)
        names, live = _met(store, start, temperature, learner)
        learner = learner_in_force(store, learner, names)
        limits = limits._replace(embedding_dim=_dimension(store, limits.embedding_dim))
        with store.snapshot() as reader:
            n_erasures = n_erasures_of(reader)
            rules = rules._replace(examination=examination_in_force(reader, settings))
        activity = activity_of(
            store, settings.activation, rules, limits.max_results, names, settings.training, is_guest=role == "guest"
        )
    except BaseException:
        store.close()
        raise
    return LoopState(
        store=store,
        writer=Writer(store) if store.role in INGESTS else None,
        config=settings,
        rules=rules,
        feature_names=names,
        caller_names=tuple(start.features) if start.features is not None else callers_part(names),
        identity=identity,
        limits=limits,
        mode=cast("Mode", mode),
        temperature=temperature,
        is_strict=is_strict,
        live=replace(live, temperature=temperature),
        replayed=_replayed(store, where, settings.replay, rules=rules, limits=limits, identity=identity, names=names),
        n_erasures_seen=n_erasures,
        is_learning_elsewhere=role in {"server", "serving"},
        activity=activity,
        learner=learner,
    )


def _replayed(
    store: Store,
    where: str,
    settings: ReplaySettings,
    *,
    rules: Rules,
    limits: Limits,
    identity: Identity,
    names: tuple[str, ...],
) -> Replayed:
    return Replayed(
        capacity=limits.capacity,
        holdout=limits.holdout,
        salt=identity.salt,
        half_life_s=settings.half_life_s,
        alpha=settings.alpha,
        read_experience=lambda seq: _read(store, rules, seq),
        feature_names=names,
        path=ring_path(where, identity.tenant) if has_side_files(where) else None,
        embedding=settings.embeddings,
        is_owner=store.role == "owner",
        snapshot=store.snapshot,
        examination=rules.examination,
        segment_quotas=_quotas(settings),
    )


def _quotas(settings: ReplaySettings) -> Quotas | None:
    given = settings.segment_quotas
    if isinstance(given, str):
        return "equal" if given == "equal" else None
    return {name: share for name, share in given.items()}  # noqa: C416 - a dict of str is none of str | None to mypy


def ring_path(where: str, tenant: str) -> str:
    """Return the file of a tenant's column ring, beside the store."""
    path = os.path.realpath(where)
    if not tenant:
        return f"{path}.ring"
    return f"{path}.{hashlib.blake2b(tenant.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}.ring"


def _dimension(store: Store, given: int | None) -> int | None:
    """Return the dimension of the store's embeddings, or None before the first one.

    Raises:
        ConfigError: The store's embeddings have another dimension than the given one.
    """
    with store.snapshot() as reader:
        body = reader.setting(EMBEDDING_DIM)
    stored = int(msgspec.msgpack.decode(body, type=int)) if body else None
    if None not in {given, stored} and given != stored:
        raise ConfigError(
            f"the store's query embeddings have {stored} dimensions",
            field="embedding_dim",
            value=given,
            hint="Use one embedding model per store.",
        )
    if given is not None and stored is None and store.role in INGESTS:
        with store.transaction() as tx:
            tx.put_setting(EMBEDDING_DIM, msgspec.msgpack.encode(given))
    return stored if given is None else given


def _read(store: Store, rules: Rules, seq: int) -> Experience:
    with store.snapshot() as reader:
        return read_experience(reader, seq, preset=rules.preset, examination=rules.examination, params=reader.params)


def _identity(store: Store, where: str, pepper: bytes | str | None, tenant: str, seed: int) -> Identity:
    resolved = resolve_pepper(where, pepper, os.environ)
    check_pepper(store, resolved)
    given = None if pepper is None else resolved  # who gives the pepper may have the same draws from a new store
    return Identity(tenant, store_secret(store, given), split_salt(store, given), resolved, seed)


def _met(store: Store, start: Start, temperature: float, learner: str) -> tuple[tuple[str, ...], Params]:
    """Return the loop's features and live params; where another process wrote them at the same moment, its own."""
    for _ in range(_MEETINGS - 1):
        try:
            return _meet(store, start, temperature, learner)
        except StorageError as error:
            if error.code != "duplicate_version":
                raise
    return _meet(store, start, temperature, learner)


def _meet(store: Store, start: Start, temperature: float, learner: str) -> tuple[tuple[str, ...], Params]:
    """Return the loop's features and live params, written where the store is new or the features evolved."""
    with store.snapshot() as reader:
        body, version = reader.setting(_FEATURES), reader.live_version()
        live = None if version is None else reader.params(version)
        first = reader.params(0)
        versions = reader.params_versions()
    stored = () if body is None else tuple(msgspec.msgpack.decode(body, type=list[str]))
    own = own_features(stored, start.drop_features, learner)
    if body is None or live is None:
        return _begin(store, start, temperature, own)
    _refuse_other_weights(start, first, stored)
    given = (*(callers_part(stored) if start.features is None else start.features), *own)
    dropped = _to_drop(store, start, stored, versions)
    missing = [name for name in stored if name not in given and name not in dropped]
    if missing:
        raise FeatureSchemaError(
            f"registered features are missing: {missing}; additional: {[n for n in given if n not in stored]}",
            field="features",
            value=list(given),
            hint="Name them all, or retire some with drop_features=[...].",
        )
    added = [name for name in given if name not in stored and name not in dropped]
    if not added and not dropped:
        return stored, live
    names = callers_first((*(name for name in stored if name not in dropped), *added))
    if not names:
        raise FeatureSchemaError(
            "no feature would be left", field="drop_features", value=sorted(dropped), hint="Keep or add one."
        )
    evolved = _evolved(live, names, version=max(versions) + 1)
    decision = _went_live(
        evolved, live.version, f"features: added {added}, dropped {sorted(dropped)}; new weights are 0"
    )
    _write_live(store, names, evolved, decision)
    return names, evolved


def _to_drop(store: Store, start: Start, stored: Sequence[str], versions: Sequence[int]) -> set[str]:
    """Return the registered features to retire; one that is retired already may be named again.

    Raises:
        FeatureSchemaError: A feature that this store never had, or that is given as well.
    """
    dropped = set(start.drop_features)
    both = dropped & set(start.features or ())
    if both:
        raise FeatureSchemaError(
            "a feature is given and dropped at once",
            field="drop_features",
            value=sorted(both),
            hint="Name it in one of features and drop_features.",
        )
    unknown = dropped - set(stored)
    if unknown:
        with store.snapshot() as reader:
            found = [reader.params(version) for version in versions]
        unknown -= {name for params in found if params is not None for name in params.feature_names}
    if unknown:
        raise FeatureSchemaError(
            "a feature to drop was never registered",
            field="drop_features",
            value=sorted(unknown),
            hint=f"Registered are {list(stored)}.",
        )
    return dropped & set(stored)


def _begin(store: Store, start: Start, temperature: float, own: tuple[str, ...]) -> tuple[tuple[str, ...], Params]:
    if start.drop_features:
        raise FeatureSchemaError(
            "a new store has no feature to drop", field="drop_features", value=list(start.drop_features)
        )
    if start.features is None and start.weights is not None:
        names = checks.feature_names(callers_part(list(start.weights)))
    else:
        names = () if start.features is None else checks.feature_names(start.features)
    if start.weights is not None and set(start.weights) - set(own) != set(names):
        raise FeatureSchemaError(
            "starting weights and features differ",
            field="weights",
            value=sorted(start.weights),
            hint=f"Give one weight for each of {list(names)}.",
        )
    weights = dict.fromkeys(names, 0.0) if start.weights is None else {name: start.weights[name] for name in names}
    if start.weights is not None and not any(weights.values()):
        raise ConfigError("all starting weights are zero", field="weights", value=weights, hint="Give at least one.")
    given = {} if start.weights is None else start.weights
    names, weights = (*names, *own), weights | {name: given.get(name, 0.0) for name in own}
    live = Params(
        version=0, weights=weights, temperature=temperature, origin="caller-order" if start.weights is None else "given"
    )
    words = "the caller's order is served first" if start.weights is None else "the given weights are served as given"
    _write_live(store, names, live, _went_live(live, 0, f"initial: {words}"))
    return names, live


def _refuse_other_weights(start: Start, first: Params | None, stored: Sequence[str]) -> None:
    if start.weights is None or first is None:
        return
    unknown = set(start.weights) - {*stored, *first.weights, *(start.features or ()), *start.drop_features}
    if unknown and not any(start.weights[name] for name in unknown):  # with a weight they are other weights, see below
        raise FeatureSchemaError(
            "a weight is given to a feature that is not registered",
            field="weights",
            value=sorted(unknown),
            hint=f"Registered are {list(stored)}; name additional ones in features.",
        )
    # a feature that came later began with weight 0
    is_other = any(first.weights.get(name, 0.0) != weight for name, weight in start.weights.items())
    if first.origin != "given" or is_other:
        raise ConfigError(
            "the store was begun with other weights",
            field="weights",
            value=dict(start.weights),
            hint="Leave weights out: the store has params of its own. To serve other ones use Loop.promote.",
        )


def _went_live(params: Params, safe_version: int, reason: str) -> GateDecision:
    return GateDecision(
        "promote",
        [reason],
        _NOTHING,
        proposed_version=params.version,
        safe_version=safe_version,
        kind="initial",
        decided_at=time.time(),
    )


def _write_live(store: Store, names: Sequence[str], params: Params, decision: GateDecision) -> None:
    def job(tx: Transaction) -> None:
        learned = None if params.parent is None else tx.setting(f"learned:{params.parent}")
        if learned is not None:  # what its weights were learned from may not judge it
            tx.put_setting(f"learned:{params.version}", learned)
        tx.put_setting(_FEATURES, msgspec.msgpack.encode(list(names)))
        tx.put_setting("proposal", b"")
        tx.add_params(params)
        tx.set_live(params.version)
        tx.add_decision(decision)

    with store.transaction() as tx:
        job(tx)


def _evolved(live: Params, names: Sequence[str], *, version: int) -> Params:
    """Return the live params for other features: kept weights as they are, additional ones 0."""
    transform = live.transform
    if transform is not None:
        at = {name: i for i, name in enumerate(live.feature_names)}
        nothing = np.zeros(1)
        transform = Transform(
            tuple(transform.knots[at[name]] if name in at else nothing for name in names),
            tuple(transform.levels[at[name]] if name in at else nothing for name in names),
            transform.kind,
        )
    raw = live.raw_score
    if raw is not None:
        known = dict(zip(live.feature_names, raw.weights, strict=True))
        raw = replace(raw, weights=tuple(known.get(name, 0.0) for name in names))
    return replace(
        live,
        version=version,
        weights={name: live.weights.get(name, 0.0) for name in names},
        transform=transform,
        raw_score=raw,
        parent=live.version,
        by_segment={
            segment: replace(one, weights={name: one.weights.get(name, 0.0) for name in names})
            for segment, one in live.by_segment.items()
        },
        by_query=_evolved_factors(live, names),
    )


def _evolved_factors(live: Params, names: Sequence[str]) -> LowRank | None:
    if live.by_query is None:
        return None
    u = live.by_query.u
    rows = dict(zip(live.feature_names, u, strict=False))
    found = [rows.get(name, np.zeros(u.shape[1])) for name in names]
    return LowRank(np.array([*found, *u[len(live.feature_names) :]]), live.by_query.v)
