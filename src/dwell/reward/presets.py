"""Named, versioned reward functions for search, RAG, support and agent memory, and the way to make one's own.

A preset's version changes whenever a number in it does: a reward is stored with the name and version that made it.

The classes of evidence follow the pages on which the project was founded (adaptiverecall.com, "build a feedback loop"
and "design reward functions"): explicit statements and outcomes are strong (0.8 to 1.0), behaviour is moderate (0.3 to
0.6), silence is weak (at most 0.1) because it is ambiguous. The weights are priors, not measurements; the learner is
free of the reward's scale, so only their proportions matter.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from dwell.errors import ConfigError, RecordError
from dwell.records import checks
from dwell.reward.signals import MAX_DWELL_S, MAX_SIGNALS, SignalSpec, spec_of

__all__ = ["DEFAULT_PRESET", "PRESETS", "RewardPreset", "custom", "resolve_rewards"]

DEFAULT_PRESET: Final = "search"


@dataclass(frozen=True, slots=True)
class RewardPreset:
    """A reward function by name.

    Attributes:
        name: Its name, an id.
        version: Its version; another one for every change of a number in it.
        signals: {name of the signal: its declaration}, 1 to 256 of them.
        default_reward: Reward of a list, in [-1, 1], whose window ended without feedback. Like every reaction to a
            whole list it is shared among the shown documents in proportion to examination.

    Raises:
        ConfigError: A field is out of its range, or a signal stands under another name than its own.
    """

    name: str
    version: str
    signals: Mapping[str, SignalSpec]
    default_reward: float = 0.0

    def __post_init__(self) -> None:
        try:
            checks.identifier(self.name, "rewards.name")
            checks.identifier(self.version, "rewards.version")
            default_reward = checks.within(self.default_reward, "rewards.default_reward", -1.0, 1.0)
        except RecordError as error:
            raise ConfigError(error.message, field=error.field, value=error.value, hint=error.hint) from error
        if not 1 <= len(self.signals) <= MAX_SIGNALS:
            raise ConfigError(
                f"rewards declare 1 to {MAX_SIGNALS} signals",
                field="rewards",
                value=len(self.signals),
                hint="Name at least one signal with its weight.",
            )
        for key, spec in self.signals.items():
            if spec.name != key:
                raise ConfigError(
                    "a signal stands under another name than its own",
                    field=f"rewards.{key}",
                    value=spec.name,
                    hint="Use the signal's own name as key.",
                )
        object.__setattr__(self, "default_reward", default_reward)
        object.__setattr__(self, "signals", MappingProxyType(dict(self.signals)))

    def __reduce__(self) -> tuple[type[RewardPreset], tuple[str, str, dict[str, SignalSpec], float]]:
        """Survive pickling, read-only signals included."""
        return (RewardPreset, (self.name, self.version, dict(self.signals), self.default_reward))

    @property
    def reward_version(self) -> str:
        """Name and version, as stored beside every reward."""
        return f"{self.name}/{self.version}"


def _flag(name: str, weight: float, note: str) -> SignalSpec:
    return SignalSpec(name=name, weight=weight, note=note)


def _of_document(name: str, weight: float, note: str) -> SignalSpec:
    return SignalSpec(name=name, weight=weight, scope="document", note=note)


def _of_list(name: str, weight: float, note: str) -> SignalSpec:
    return SignalSpec(name=name, weight=weight, scope="list", note=note)


# a person's last word holds: these four may be sent again to change a vote
_STATED: Final = (
    SignalSpec(
        name="reward",
        weight=1.0,
        low=-1.0,
        aggregation="last",
        note="The caller's own reward, taken as it is; 0 says that the outcome was neutral, not that none is known.",
    ),
    SignalSpec(
        name="rating",
        weight=1.0,
        low=1.0,
        high=5.0,
        aggregation="last",
        curve="centred",
        unit="stars",
        note="Explicit rating, the strongest class; three stars are neutral.",
    ),
    SignalSpec(
        name="thumbs",
        weight=0.8,
        low=-1.0,
        aggregation="last",
        note="One widget with three states: -1, 0 (taken back), 1. As strong as 'rated helpful'.",
    ),
    SignalSpec(
        name="helpful",
        weight=0.8,
        aggregation="last",
        note="Rated helpful: +0.8 in the founding pages' weights for support.",
    ),
)
_THUMBS: Final = (
    _flag("thumbs_up", 0.8, "The same as thumbs = 1, for systems with two buttons."),
    _flag("thumbs_down", -0.8, "The same as thumbs = -1, for systems with two buttons."),
)
_SEEN: Final = (
    _flag("impression", 0.0, "Default name in User Behavior Insights: being served is no reaction."),
    _flag("view", 0.0, "Default name in User Behavior Insights: being seen is what the examination model is for."),
)
_CLICK: Final = _flag(
    "click", 0.5, "Half of a full success, so that what follows can add up to one: click .5, open .3, watch .2 (Azure)."
)
_DWELL: Final = SignalSpec(
    name="dwell",
    weight=0.3,
    high=MAX_DWELL_S,
    aggregation="sum",
    curve="saturating",
    scale=60.0,
    unit="s",
    note="Clicks are usually called satisfied from 30 s on (Fox et al., TOIS 2005): half the credit; all at 60 s.",
)
_COPY: Final = _flag("copy", 0.4, "Copied a snippet: behaviour, moderate.")
_COMPLETED: Final = _of_list("task_completed", 1.0, "The ultimate quality signal in the founding pages.")
_ABANDONED: Final = _of_list("abandoned", -0.4, "Left within 10 s: -0.4 in the founding pages' weights for support.")
_REFORMULATED: Final = _of_list(
    "reformulated", -0.3, "Asked again in other words: the list failed, weaker than leaving, since refining is common."
)
_IGNORED: Final = _of_document("ignored", -0.1, "Served but unused: weak, because silence is ambiguous.")


def _preset(name: str, version: str, *groups: tuple[SignalSpec, ...]) -> RewardPreset:
    specs = [spec for group in groups for spec in group]
    return RewardPreset(name, version, {spec.name: spec for spec in specs})


_SEARCH: Final = (
    _CLICK,
    _DWELL,
    _COPY,
    _flag("bookmark", 0.5, "Kept for later: intent without an outcome yet."),
    _flag("share", 0.5, "Vouched for to others: as strong as keeping it."),
    _flag("download", 0.5, "Took it away: as strong as keeping it."),
    _flag("add_to_cart", 0.5, "With the click before it a full success; most carts are not bought."),
    _flag("watch", 0.3, "Default name in User Behavior Insights: attention, as dwell."),
    _flag("purchase", 1.0, "The outcome itself."),
    _flag("convert", 1.0, "The outcome itself, under its general name."),
    _of_document("skip", 0.0, "Passed over: already in the examination model; as a penalty it would count twice."),
    _of_document(
        "bounce", -0.4, "Came back within 10 s: takes back most of the click, as 'abandoned' does for a list."
    ),
    _COMPLETED,
    _ABANDONED,
    _REFORMULATED,
)
_RAG: Final = (
    _of_document("used", 0.5, "Content used in the response: moderate. The model says so, not the user."),
    _of_document("cited", 0.5, "Cited in the response: with 'used' a full success. The model says so, not the user."),
    replace(_CLICK, weight=0.3, note="Opened the source of an answer: checking it, less than choosing it."),
    replace(_DWELL, weight=0.2, note="Read the source: less than in search, the answer is what is read."),
    _COPY,
    _of_list("follow_up", -0.2, "A follow-up on the same topic: the answer was insufficient, weak since ambiguous."),
    _of_list("regenerated", -0.5, "Asked for another answer to the same question."),
    _flag("corrected", -0.8, "An explicit correction is in the strongest class."),
    _IGNORED,
    _COMPLETED,
    _ABANDONED,
    _REFORMULATED,
)
_SUPPORT: Final = (
    _of_list("resolved", 1.0, "Resolved without escalation: +1.0 in the founding pages."),
    _of_list("follow_up", 0.3, "A follow-up on the same topic: +0.3 in the founding pages, ambiguous but engaged."),
    _of_list(
        "escalated", -0.6, "Handed to a person: the opposite of resolved, less than -1: not always the list's fault."
    ),
    replace(_CLICK, weight=0.4, note="Followed the link: behaviour, moderate."),
    replace(_DWELL, weight=0.3, note="Read the article: behaviour, moderate."),
    _COPY,
    _of_document("sent", 0.6, "An agent sent this article to the customer: chosen by a person."),
    _IGNORED,
    _ABANDONED,
    _REFORMULATED,
    _COMPLETED,
)
_MEMORY: Final = (
    _of_document("used", 0.5, "Used in the response: moderate. The model says so, not the user."),
    _of_document("cited", 0.5, "Quoted in the response: with 'used' a full success."),
    _of_document("corroborated", 0.3, "Confirmed from elsewhere; a third of a contradiction, as +0.5 to -1.5 there."),
    _of_document(
        "contradicted", -0.9, "Contradicted: three times a corroboration, as -1.5 to +0.5 in the founding pages."
    ),
    _of_document("corrected", -0.8, "An explicit correction is in the strongest class."),
    _of_document("outdated", -0.6, "True once: worse than unused, better than wrong."),
    _IGNORED,
    _of_list("follow_up", -0.2, "A follow-up on the same topic: what was recalled was insufficient."),
    _COMPLETED,
    _of_list("task_failed", -0.6, "The task failed: much besides what was recalled can be the cause."),
)

PRESETS: Final[Mapping[str, RewardPreset]] = MappingProxyType(
    {
        "search": _preset("search", "1", _SEARCH, _STATED, _THUMBS, _SEEN),
        "rag": _preset("rag", "1", _RAG, _STATED, _THUMBS, _SEEN),
        "support": _preset("support", "1", _SUPPORT, _STATED, _THUMBS, _SEEN),
        "memory": _preset("memory", "1", _MEMORY, _STATED, _THUMBS, _SEEN),
    }
)

# a custom mapping names weights only: range, unit and curve of a known word come from the first preset that has it
_VOCABULARY: Final = {
    name: spec for preset in reversed(tuple(PRESETS.values())) for name, spec in preset.signals.items()
}


def custom(
    weights: Mapping[str, float | SignalSpec | Mapping[str, Any]], *, default_reward: float = 0.0
) -> RewardPreset:
    """Return a reward function of one's own; its version is a digest of its numbers.

    Args:
        weights: {signal: weight in [-1, 1]}, {signal: SignalSpec}, or, as files and JSON can say it,
            {signal: {"weight": 0.5, "aggregation": "sum"}}, freely mixed. What is not said of a name that a preset
            knows stays as there (dwell: seconds, on a saturating curve); any other name takes values in [0, 1], about
            a document or the list, and repeats count once.
        default_reward: Reward of a list whose window ended without feedback, in [-1, 1].

    Raises:
        ConfigError: No signal at all, a weight outside [-1, 1], a name that is no id, or a field that no signal has.
    """
    if not isinstance(weights, Mapping):
        raise ConfigError(
            "a mapping is due here", field="rewards", value=weights, hint="Pass {'click': 0.5, 'helpful': 0.8}."
        )
    specs: dict[str, SignalSpec] = {}
    for name, given in weights.items():
        if isinstance(given, SignalSpec):
            specs[name] = given
        else:
            said = dict(given) if isinstance(given, Mapping) else {"weight": given}
            specs[name] = _declared(name, said)
    # notes are words, not numbers: they stay outside the digest
    content = [astuple(replace(specs[name], note="")) for name in sorted(specs)]
    digest = hashlib.blake2b(repr((content, float(default_reward))).encode(), digest_size=6).hexdigest()
    return RewardPreset("custom", digest, specs, default_reward)


def _declared(name: str, said: Mapping[str, Any]) -> SignalSpec:
    """Return a signal as it is known, changed where something else is said of it.

    Raises:
        ConfigError: A field that no signal has, no weight for a new word, or a value out of range.
    """
    fields = [f.name for f in dataclasses.fields(SignalSpec) if f.name != "name"]
    unknown = [key for key in said if key not in fields]
    if unknown:
        raise ConfigError(
            "no such field of a signal",
            field=f"rewards.{name}.{unknown[0]}",
            value=said[unknown[0]],
            hint=f"There are {', '.join(fields)}.",
        )
    known = spec_of(_VOCABULARY, name)
    if known is not None:
        return replace(known, **said)
    if "weight" not in said:
        raise ConfigError(
            "a signal of one's own has a weight", field=f"rewards.{name}.weight", hint="Give one in [-1, 1]."
        )
    return SignalSpec(name=name, **said)


def resolve_rewards(
    rewards: str | Mapping[str, float | SignalSpec | Mapping[str, Any]] | RewardPreset | None,
) -> RewardPreset:
    """Return the reward function meant: None is "search", a name a preset, a mapping one's own.

    Raises:
        ConfigError: No preset of that name, or the mapping is malformed.
    """
    if rewards is None:
        return PRESETS[DEFAULT_PRESET]
    if isinstance(rewards, RewardPreset):
        return rewards
    if isinstance(rewards, str):
        if rewards not in PRESETS:
            raise ConfigError(
                "no such reward preset",
                field="rewards",
                value=rewards,
                hint=f"Use one of {', '.join(PRESETS)}, or a mapping of signals to weights.",
            )
        return PRESETS[rewards]
    return custom(rewards)
