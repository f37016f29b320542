"""How weights came to be what they are: versions told lightly, and drawn over time with what went live marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from dwell.records import GateDecision, Params
from dwell.server.dashboard.charts import Chart, Line
from dwell.server.dashboard.ledger import marks_of

__all__ = ["MOST_LINES", "Version", "charts_of", "read_bound", "version_of"]

MOST_LINES: Final = 8  # a chart has six colours, and six more lines with dashes; beyond eight nobody finds one
_MOST_VERSIONS: Final = 80
_LEAST_VERSIONS: Final = 8
_MOST_WEIGHTS: Final = 1_000  # reading a version costs 0.08 ms a feature: tens of milliseconds in all


@dataclass(frozen=True, slots=True)
class Version:
    """A version without the map of its features, which is large.

    Attributes:
        version: Its number.
        weights: {feature: weight}.
        coefficient: Weight of the starting ranker's own score, or None where it is no feature.
        is_standardised: Whether the weights act on standardised values; else on raw ones.
        parent: What it was learned from, or None.
        origin: As of `Params`.
        created_at: UTC epoch seconds.
        n_segments: Segments with weights of their own.
        is_by_query: Whether a query's embedding adds to the weights.
        step_norm: How far it lies from its parent; None where the two can not be compared.
    """

    version: int
    weights: Mapping[str, float]
    coefficient: float | None
    is_standardised: bool
    parent: int | None
    origin: str
    created_at: float
    n_segments: int
    is_by_query: bool
    step_norm: float | None = None


def read_bound(n_features: int) -> int:
    """Return how many of the newest versions a page reads."""
    return min(max(_MOST_WEIGHTS // max(n_features, 1), _LEAST_VERSIONS), _MOST_VERSIONS)


def version_of(params: Params, parent: Params | None) -> Version:
    """Return what a page tells of a version, its distance from the parent included."""
    return Version(
        params.version, params.weights, None if params.raw_score is None else params.raw_score.coefficient,
        params.transform is not None, params.parent, params.origin, params.created_at, len(params.by_segment),
        params.by_query is not None, None if parent is None else _distance(params, parent),
    )  # fmt: skip


def _distance(params: Params, parent: Params) -> float | None:
    """Return how far weights moved in their own units.

    Learning begins with the starting ranker's own score at coefficient 1 and no weight beside it: so the first learned
    version is told against that.
    """
    if (params.transform is None) == (parent.transform is None):
        before, start = parent.weights, 0.0 if parent.raw_score is None else parent.raw_score.coefficient
    elif params.raw_score is not None:
        before, start = {}, 1.0
    else:
        return None
    coefficient = 0.0 if params.raw_score is None else params.raw_score.coefficient
    return math.hypot(coefficient - start, *(w - before.get(name, 0.0) for name, w in params.weights.items()))


def charts_of(versions: Sequence[Version], history: Sequence[GateDecision], n_versions: int) -> list[Chart]:
    """Return charts of the weights, of the starting ranker's part, and of how far each version stepped.

    Args:
        versions: The newest ones, ascending.
        history: The ledger.
        n_versions: How many there are in all.
    """
    shown = [v for v in versions if v.is_standardised] or list(versions)
    # a version that another set of features made keeps the date of what it was made of: time never goes back in a chart
    x = list(accumulate((v.created_at for v in shown), max))
    marks = marks_of(history, x[0], x[-1]) if x else []
    cut = f" The newest {len(versions):,} of {n_versions:,} versions are read." if len(versions) < n_versions else ""
    if len(shown) < len(versions):
        n_raw = len(versions) - len(shown)
        cut += f" {n_raw:,} that weigh raw values are of another unit, and not drawn."
    names = _most_moved(shown)
    lines = [Line(name, [v.weights.get(name) for v in shown]) for name in names]
    found = [Chart("The weight of each feature", _says(shown, names) + cut, x, lines, _unit(shown), marks)]
    if any(v.coefficient is not None for v in shown):
        last = next(v.coefficient for v in reversed(shown) if v.coefficient is not None)
        says = f"What was there before learning counts {last:.3f} in the newest version; it began at 1."
        kept = [v.coefficient for v in shown]
        found.append(Chart("The starting ranker", says, x, [Line("its weight", kept)], "", marks))
    steps = [v.step_norm for v in shown]
    known = [step for step in steps if step is not None]
    if known:
        says = f"The newest version lies {known[-1]:.3g} from what it was learned from; the largest step was "
        says += f"{max(known):.3g}."
        found.append(Chart("How far each version stepped", says, x, [Line("step", steps)], "", marks))
    return found


def _most_moved(shown: Sequence[Version]) -> list[str]:
    """Return the features whose weights moved most, in feature order."""
    names = list(dict.fromkeys(name for v in shown for name in v.weights))

    def travelled(name: str) -> float:
        values = [v.weights[name] for v in shown if name in v.weights]
        return max(values) - min(values)

    chosen = set(sorted(names, key=travelled, reverse=True)[:MOST_LINES])
    return [name for name in names if name in chosen]


def _unit(shown: Sequence[Version]) -> str:
    return "per standard deviation of the feature" if shown and shown[-1].is_standardised else "per unit of the feature"


def _says(shown: Sequence[Version], names: Sequence[str]) -> str:
    if len(shown) < 2:
        return "There is one version; lines begin with the second."
    before, after = shown[0].weights, shown[-1].weights
    name = max(after, key=lambda one: abs(after[one] - before.get(one, 0.0)))
    told = (
        f"From version {shown[0].version} to {shown[-1].version} the weight of {name} moved most: "
        f"{before.get(name, 0.0):+.3f} to {after[name]:+.3f}."
    )
    return told if len(after) <= len(names) else f"{told} The {len(names)} of {len(after)} that moved most are drawn."
