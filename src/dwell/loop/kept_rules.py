"""Under which rules activation was summed up: they stand in the store beside the sums, and hold until a rebuild.

What an event has added is worked out again when late feedback comes or its user is erased. By other rules than those
under which it was added, something else would be taken away than was given. Therefore whoever opens the store, the
commands included, goes by the rules in the store; what the loop was opened with instead is taken over by a rebuild.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from dwell.config import ActivationSettings
from dwell.errors import DwellError, RecordError
from dwell.loop.sessions import SessionRules
from dwell.reward.examination import PositionBased
from dwell.reward.presets import RewardPreset
from dwell.reward.signals import SignalSpec
from dwell.storage import Reader, Transaction

__all__ = ["RULES", "KeptRules", "differences", "in_force", "put_rules", "rules_in"]

RULES: Final = "activation_rules"  # setting of the tenant


class KeptRules(NamedTuple):
    """What the sums of a store are sums of.

    Attributes:
        session: What an event adds.
        settings: With the number of rates; all else in them is about reading, and may change at any time.
    """

    session: SessionRules
    settings: ActivationSettings


def rules_in(reader: Reader) -> KeptRules | None:
    """Return the rules under which the sums of a store are kept; None where it has none yet.

    Raises:
        RecordError: code `corrupt`.
    """
    body = reader.setting(RULES)
    if not body:
        return None
    try:
        found: dict[str, Any] = msgspec.msgpack.decode(body, type=dict[str, Any])
        preset = dict(found["preset"])
        signals = {name: SignalSpec(**spec) for name, spec in preset.pop("signals").items()}
        return KeptRules(
            SessionRules(
                preset=RewardPreset(signals=signals, **preset),
                examination=PositionBased(found["eta"]),
                cap=found["cap"],
                window_s=found["window_s"],
                most_shown=found["most_shown"],
            ),
            ActivationSettings(**found["settings"]),
        )
    except (msgspec.DecodeError, DwellError, KeyError, TypeError, ValueError) as error:
        raise RecordError(
            f"what activation is kept by can not be read: {error}",
            code="corrupt",
            field=RULES,
            hint="Drop the activation features and open with learner='both' again, then rebuild.",
        ) from error


def put_rules(tx: Transaction, rules: KeptRules) -> None:
    """Note under which rules the sums are kept, where that is not what stands there."""
    body = _body(rules)
    if tx.setting(RULES) != body:
        tx.put_setting(RULES, body)


def in_force(kept: KeptRules, asked: KeptRules) -> KeptRules:
    """Return what holds until a rebuild: how things are read as asked, what is added as it was before."""
    return KeptRules(kept.session, dataclasses.replace(asked.settings, **_added_by(kept.settings)))


def differences(kept: KeptRules, asked: KeptRules) -> list[str]:
    """Return the names of what a rebuild would change, none where the sums are what was asked for."""
    before, after = _told(kept), _told(asked)
    return [name for name in ("preset", "eta", "most_shown") if before[name] != after[name]] + [
        name for name, value in _added_by(kept.settings).items() if value != getattr(asked.settings, name)
    ]


def _added_by(settings: ActivationSettings) -> dict[str, Any]:
    names = ("n_rates", "session_cap", "session_window_s")
    return {name: getattr(settings, name) for name in names}


def _told(rules: KeptRules) -> Mapping[str, Any]:
    session, preset = rules.session, rules.session.preset
    return {
        "preset": {
            "name": preset.name,
            "version": preset.version,
            "signals": {name: dataclasses.asdict(spec) for name, spec in sorted(preset.signals.items())},
            "default_reward": preset.default_reward,
        },
        "eta": session.examination.eta,
        "cap": session.cap,
        "window_s": session.window_s,
        "most_shown": session.most_shown,
        "settings": dataclasses.asdict(rules.settings),
    }


def _body(rules: KeptRules) -> bytes:
    return msgspec.msgpack.encode(_told(rules))
