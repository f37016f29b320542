"""A gate's decision, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dwell.cli.printing import fact_lines, number, plain, say, styled, when

if TYPE_CHECKING:
    from dwell.records import Estimate, GateDecision, Params

__all__ = ["estimate_text", "ledger_lines", "params_document", "say_decision", "units_of"]

_COLORS: Final[Mapping[str, str]] = {"promote": "green", "hold": "yellow", "reject": "red"}


def estimate_text(estimate: Estimate) -> str:
    """Return a value with its interval and what stands behind it."""
    if not estimate.n:
        return "no evidence"
    low, high = number(estimate.low, signed=True), number(estimate.high, signed=True)
    return (
        f"{number(estimate.value, signed=True)} [{low}, {high}]"
        f"  n={estimate.n} (worth {estimate.effective_sample_size:.0f})"
    )


def _verdict(decision: GateDecision) -> str:
    return styled(decision.verdict.upper(), _COLORS.get(decision.verdict, "white"))


def say_decision(decision: GateDecision, *, is_of_proposal: bool = True) -> None:
    """Print one verdict with its reasons and every estimate behind it; the versions where there is a proposal."""
    versions = f"  version {decision.proposed_version} against version {decision.safe_version}"
    say(f"{_verdict(decision)}{versions if is_of_proposal else ''}")
    for reason in decision.reasons:
        say(f"  {plain(reason)}")
    pairs: list[tuple[str, object]] = [("difference", estimate_text(decision.difference))]
    pairs += [(plain(name), estimate_text(estimate)) for name, estimate in decision.estimates.items()]
    pairs += [("alpha", number(decision.alpha))]
    pairs += [(plain(name), number(value)) for name, value in decision.diagnostics.items()]
    say()
    fact_lines(pairs)


def ledger_lines(index: int, decision: GateDecision) -> None:
    """Print one line of the ledger and its reasons below it."""
    difference = decision.difference
    figures = f"  difference {estimate_text(difference)}  alpha={number(decision.alpha)}" if difference.n else ""
    versions = f"version {decision.proposed_version} against {decision.safe_version}"
    say(f"{index:>4}  {when(decision.decided_at)}  {decision.kind:<9}  {_verdict(decision)}  {versions}{figures}")
    for reason in decision.reasons:
        say(f"      {plain(reason)}")


def units_of(params: Params) -> str:
    """Return on what the weights of a version act, in words."""
    if params.origin == "caller-order":
        return "none: the caller's own order is served"
    if params.transform is None:
        return "raw: weights act on feature values as they come"
    how = "rank to normal" if params.transform.kind == "gauss" else params.transform.kind
    return f"standardised ({how}): weights act on features in standard deviations"


def params_document(params: Params) -> dict[str, Any]:
    """Return one version for JSON, whole: enough to score with it elsewhere."""
    return {
        "version": params.version,
        "origin": params.origin,
        "parent": params.parent,
        "created_at": params.created_at or None,
        "temperature": params.temperature,
        "units": "raw" if params.transform is None else "standardised",
        "weights": dict(params.weights),
        "raw_score": params.raw_score,
        "transform": params.transform,
        "by_segment": {
            segment: {"weights": dict(one.weights), "coefficient": one.coefficient}
            for segment, one in params.by_segment.items()
        },
        "by_query": None
        if params.by_query is None
        else {"rank": params.by_query.rank, "u": params.by_query.u, "v": params.by_query.v},
    }
