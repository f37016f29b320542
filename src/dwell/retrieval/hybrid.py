"""Several sources as one list of candidates, and reciprocal rank fusion as the formula that learning starts from.

Each source adds the numbers that it brings, and `<source>_rrf` = 1 / (60 + rank), 0 where it did not find the document.
The sum of the latter is reciprocal rank fusion: a linear formula of features like any other, so it can be the starting
weights of a loop, and what is learned from there on are hybrid weights, without a judgment of anybody.

Source: G. Cormack, C. Clarke, S. Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
methods", SIGIR 2009.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from dwell.errors import ConfigError, RecordError
from dwell.records import checks
from dwell.records.arrays import FloatArray
from dwell.retrieval.sources import Found

__all__ = [
    "RRF_CONSTANT",
    "Answers",
    "Declared",
    "Gathered",
    "Start",
    "declared_names",
    "reciprocal_rank_fusion",
    "united",
    "weighted",
]

#: Source: Cormack et al. 2009, section 2: "k = 60 was fixed during a pilot investigation and not altered".
RRF_CONSTANT: Final = 60.0


class Declared(Protocol):
    """What is to be known of a source before it is asked."""

    @property
    def name(self) -> str:
        """What it is called among others."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the numbers that it brings."""
        ...


#: What each source found, best first, by its name; a source that is not there was left out.
Answers = Mapping[str, Sequence[Found]]


class Start(NamedTuple):
    """What a loop is opened with: `dwell.open(where, features=start.features, weights=start.weights)`.

    Attributes:
        features: Names of all features of a candidate, in order.
        weights: {feature: starting weight}.
    """

    features: tuple[str, ...]
    weights: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """The candidates of one query, best first by reciprocal rank fusion.

    Attributes:
        ids: n document ids.
        features: (n, f) float64, finite, a column per name.
        names: The f names, in the order of `declared_names`.
        found: {id: the document as the first source that had its text, or else any, gave it}.
        left_out: {source: why it has no part in this}, for those that failed or were too slow.
    """

    ids: tuple[str, ...]
    features: FloatArray
    names: tuple[str, ...]
    found: Mapping[str, Found]
    left_out: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.ids)

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return the candidates as `Loop.rank` takes them, in the same order."""
        return [
            {"id": doc, **dict(zip(self.names, row, strict=True))}
            for doc, row in zip(self.ids, self.features.tolist(), strict=True)
        ]


def declared_names(sources: Sequence[Declared], *, missing: bool = False) -> tuple[str, ...]:
    """Return the names of all features: what each source brings, its `_rrf`, and its `_missing` if asked.

    Raises:
        ConfigError: There is no source, two have one name, or two features have.
    """
    if not sources:
        raise ConfigError("there is no source to ask", field="sources", value=0, hint="Give at least one.")
    if len({source.name for source in sources}) < len(sources):
        raise ConfigError(
            "two sources share a name",
            field="sources",
            value=[source.name for source in sources],
            hint="Pass name= where they are made.",
        )
    names: list[str] = []
    for source in sources:
        names += [*source.features, f"{source.name}_rrf", *([f"{source.name}_missing"] if missing else [])]
    try:
        return checks.feature_names(names)
    except RecordError as error:
        raise ConfigError(
            f"the features of the sources do not fit together: {error.message}",
            field="sources",
            value=names,
            hint="Two sources of one feature: pass feature= where one of them is made.",
        ) from error


def reciprocal_rank_fusion(sources: Sequence[Declared], *, missing: bool = False) -> Start:
    """Return starting weights that order candidates as reciprocal rank fusion does: 1 for each `_rrf`, 0 elsewhere.

    Raises:
        ConfigError: See `declared_names`.
    """
    return weighted(sources, {f"{source.name}_rrf": 1.0 for source in sources}, missing=missing)


def weighted(sources: Sequence[Declared], weights: Mapping[str, float], *, missing: bool = False) -> Start:
    """Return starting weights of your own, on raw values: today's hybrid formula, or weighted reciprocal rank fusion.

    Args:
        sources: What is asked.
        weights: {feature: weight}; features that are left out weigh 0.
        missing: Whether candidates have `_missing` features.

    Raises:
        ConfigError: An unknown feature, a weight that is no finite number, or none but zeros; see `declared_names`.
    """
    names = declared_names(sources, missing=missing)
    for name, weight in weights.items():
        if name not in names:
            raise ConfigError(
                "no source has this feature", field="weights", value=name, hint=f"There are {list(names)}."
            )
        try:
            checks.finite(weight, f"weights.{name}")
        except RecordError as error:
            raise ConfigError(error.message, field=error.field, value=weight, hint=error.hint) from error
    if not any(weights.values()):
        raise ConfigError("no feature has a weight", field="weights", value=dict(weights), hint="Give at least one.")
    return Start(names, {name: float(weights.get(name, 0.0)) for name in names})


def united(
    sources: Sequence[Declared],
    answers: Answers,
    *,
    fill: Mapping[str, float] | None = None,
    missing: bool = False,
    left_out: Mapping[str, str] | None = None,
) -> Gathered:
    """Return the documents of all answers, each once, with a number for every feature.

    Args:
        sources: Those that were asked, answered or not, in the order of the columns.
        answers: What they found, best first.
        fill: {feature: its value where a source did not find the document}; 0 for those that are left out: no word
            matched, at right angles, infinitely far.
        missing: Whether each source also has a feature `<source>_missing`, 1 where it did not find the document.
        left_out: Why a source has no answer.

    Raises:
        ConfigError: See `declared_names`; or a value to fill with is not finite, or of no feature.
    """
    names = declared_names(sources, missing=missing)
    filled = filling(sources, fill)
    shares: dict[str, list[float]] = {}
    found: dict[str, Found] = {}
    for source in sources:
        for rank, one in enumerate(answers.get(source.name, ()), start=1):
            shares.setdefault(one.id, []).append(1.0 / (RRF_CONSTANT + rank))
            if one.id not in found or (one.text and not found[one.id].text):
                found[one.id] = one
    # fsum rounds once, so that documents of equal ranks are equal whichever source had which rank
    ids = tuple(sorted(shares, key=lambda doc: -math.fsum(shares[doc])))
    columns = [_columns(source, answers.get(source.name, ()), ids, filled, missing=missing) for source in sources]
    features = np.concatenate(columns, axis=1) if ids else np.zeros((0, len(names)))
    return Gathered(ids, features, names, found, dict(left_out or {}))


def filling(sources: Sequence[Declared], fill: Mapping[str, float] | None) -> dict[str, float]:
    """Return the value of each feature where its source did not find a document.

    Raises:
        ConfigError: A value is not finite, or no source brings a feature of that name.
    """
    brought = [name for source in sources for name in source.features]
    given = dict(fill or {})
    for name, value in given.items():
        if name not in brought:
            raise ConfigError("no source brings this feature", field="fill", value=name, hint=f"There are {brought}.")
        try:
            checks.finite(value, f"fill.{name}")
        except RecordError as error:
            raise ConfigError(error.message, field=error.field, value=value, hint=error.hint) from error
    return {name: float(given.get(name, 0.0)) for name in brought}


def _columns(
    source: Declared, answer: Sequence[Found], ids: Sequence[str], filled: Mapping[str, float], *, missing: bool
) -> FloatArray:
    """Return what one source says of each document, (n, its features, rrf and missing)."""
    absent = [*(filled[name] for name in source.features), 0.0, *([1.0] if missing else [])]
    known = {
        one.id: [
            *(float(one.features[name]) for name in source.features),
            1.0 / (RRF_CONSTANT + rank),
            *([0.0] if missing else []),
        ]
        for rank, one in enumerate(answer, start=1)
    }
    return np.array([known.get(doc, absent) for doc in ids], dtype=np.float64).reshape(len(ids), len(absent))
