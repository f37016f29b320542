"""Activation beside a loop: its own features among the registered ones, and whether it is kept.

A store keeps activation from the first time on that it is opened with learner "activation" or "both": its three
features are registered behind the caller's. Opening it without naming a learner changes nothing; dropping the three
features ends it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from dwell.activation import FEATURES
from dwell.config import ActivationSettings, TrainingSettings
from dwell.errors import ConfigError
from dwell.loop.activity_rows import Activity, fresh_activation, loaded
from dwell.loop.close import Rules
from dwell.loop.kept_rules import RULES, KeptRules, differences, in_force, put_rules, rules_in
from dwell.loop.sessions import SessionRules, Sessions
from dwell.reward.examination import PositionBased
from dwell.storage import Store

__all__ = [
    "activity_of",
    "callers_first",
    "callers_part",
    "learner_in_force",
    "own_features",
    "refuse_reserved",
]

_log = logging.getLogger("dwell")

_LEARNER: Final = "learner"  # setting of the tenant
_FOLLOWS: Final = frozenset({"owner", "serving"})


def callers_part(names: Sequence[str]) -> tuple[str, ...]:
    """Return the features that the caller gives."""
    return tuple(name for name in names if name not in FEATURES)


def callers_first(names: Sequence[str]) -> tuple[str, ...]:
    """Return features with the loop's own behind the caller's, as candidates are put together."""
    return (*callers_part(names), *(name for name in FEATURES if name in names))


def own_features(stored: Sequence[str], dropped: Sequence[str], learner: str) -> tuple[str, ...]:
    """Return the features that the loop adds by itself: all of `FEATURES` or none.

    Args:
        stored: Registered so far.
        dropped: Features to retire.
        learner: As asked for.

    Raises:
        ConfigError: Some of them are to be retired and others not, or all of them with a learner that needs them.
    """
    going = [name for name in FEATURES if name in dropped]
    if going and (len(going) < len(FEATURES) or learner != "replay"):
        raise ConfigError(
            "activation is kept with its three features, or not at all",
            field="drop_features",
            value=going,
            hint=f"Drop all of {list(FEATURES)} with learner='replay', or none of them.",
        )
    is_kept = learner != "replay" or set(FEATURES) <= set(stored)
    return FEATURES if is_kept and not going else ()


def refuse_reserved(names: Sequence[str] | None, field: str) -> None:
    """Return where a caller does not give what the loop knows by itself.

    Raises:
        ConfigError: A name is one of `FEATURES`.
    """
    reserved = [name for name in names or () if name in FEATURES]
    if reserved:
        raise ConfigError(
            "the loop makes these features itself",
            field=field,
            value=reserved,
            hint="Leave them out, and open the store with learner='both'.",
        )


def learner_in_force(store: Store, asked: str, names: Sequence[str]) -> str:
    """Return who learns; "replay" on a store that keeps activation stands for what it was opened with before."""
    if FEATURES[0] not in names:
        return "replay"
    with store.snapshot() as reader:
        body = reader.setting(_LEARNER)
    if asked == "replay":
        return "both" if body is None else body.decode()
    if store.role in _FOLLOWS and body != asked.encode():
        with store.transaction() as tx:
            tx.put_setting(_LEARNER, asked.encode())
    return asked


def activity_of(
    store: Store,
    settings: ActivationSettings,
    rules: Rules,
    max_results: int,
    names: Sequence[str],
    training: TrainingSettings,
    *,
    is_guest: bool = False,
) -> Activity | None:
    """Return activation as the store has it, None where it keeps none; only those that ingest follow the facts.

    What an event adds is what the store says, until a rebuild: see `kept_rules`.

    Args:
        store: Where it is kept; what a store no longer keeps is removed from it.
        settings: As configured.
        rules: How signals become reward.
        max_results: Documents of a list that count.
        names: Registered features.
        training: Has the examination by which what is said of a whole list is shared out.
        is_guest: Whether a command opens it for one call: then all stands as the application left it, as it does for
            whoever is not the owner.

    Raises:
        RecordError: code `corrupt`: rows or rules are damaged.
    """
    if FEATURES[0] not in names:
        _ended(store)
        return None
    session_rules = SessionRules(
        preset=rules.preset,
        examination=PositionBased(training.examination_eta),
        cap=settings.session_cap,
        window_s=settings.session_window_s,
        most_shown=max_results,
    )
    asked = KeptRules(session_rules, settings)
    with store.snapshot() as reader:
        kept = rules_in(reader)
    is_guest = is_guest or store.role not in _FOLLOWS
    found = asked if kept is None else kept if is_guest else in_force(kept, asked)
    if store.role in _FOLLOWS:
        with store.transaction() as tx:
            put_rules(tx, found)
    activity = Activity(fresh_activation(found.settings), Sessions(found.session), found.settings)
    differing = [] if is_guest else differences(found, asked)
    if differing:
        activity.asked = asked
    activity.is_following = store.role in _FOLLOWS
    activity.is_shared = store.role == "serving"
    if activity.is_following:
        if differing:
            _log.warning(
                "activation is kept by the rules of before, as %s differ: it goes over to the new ones by "
                "Loop.activation.rebuild()",
                ", ".join(differing),
            )
        loaded(activity, store)
    return activity


def _ended(store: Store) -> None:
    """Remove what is left of an activation that is not kept any more: nobody would take an erased user out of it."""
    if store.role not in _FOLLOWS:
        return
    with store.snapshot() as reader:
        is_there = bool(reader.setting(RULES)) or reader.n_traces() > 0
    if is_there:
        with store.transaction() as tx:
            tx.drop_traces()
            tx.put_setting(RULES, b"")
