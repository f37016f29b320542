"""Learn from what is there, and judge params on it."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import click

from dwell.cli.archive import days_or_none, existing_archive
from dwell.cli.decisions import params_document, say_decision
from dwell.cli.options import json_object, rewards_option, settings_options, store_argument, tenant_option
from dwell.cli.printing import document, examples, fact_lines, json_option, plain, say
from dwell.cli.stores import facts, owner_loop, reader_loop

if TYPE_CHECKING:
    from dwell.loop import Loop, TrainReport
    from dwell.records import Params

__all__ = ["evaluate", "say_report", "train"]


def _weights(context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, float] | None:
    found = json_object(context, parameter, value)
    for name, weight in (found or {}).items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise click.BadParameter(f"the weight of {name!r} is no finite number")
    return found


@click.command()
@store_argument
@click.option("--steps", type=click.IntRange(min=1), help="Learning steps. Default: one pass over unseen events.")
@rewards_option
@click.option(
    "--attribution-window",
    "attribution_window_s",
    type=float,
    metavar="SECONDS",
    help="How long reactions are waited for. Default: as for the newest closed event, else 1800.",
)
@click.option("--from-archive", "folder", metavar="DIR", help="Learn from the archived events in DIR instead.")
@click.option("--days", metavar="A..B", help="With --from-archive: only events served on these days, UTC.")
@settings_options
@tenant_option
@json_option
@examples(
    "dwell train search.dwell",
    "dwell train search.dwell --from-archive archive --days 2026-01-01..2026-03-31",
    'dwell train search.dwell --rewards \'{"click": 0.5, "helpful": 0.8}\' --json',
)
def train(
    store: str,
    steps: int | None,
    folder: str | None,
    days: str | None,
    tenant: str,
    *,
    as_json: bool,
    **given: object,
) -> None:
    """Learn, judge, and promote on evidence.

    Closes events, judges the standing proposal, learns a new one where none stands. The store must not be open
    elsewhere: there, Loop.train() does the same. What the file does not keep of the application's settings is taken
    from its newest events; options overrule that. Nothing is evicted unless --capacity says so.
    """
    if days is not None and folder is None:
        raise click.UsageError("--days goes with --from-archive.")
    between = days_or_none(days)
    if folder is not None:
        existing_archive(folder)
    with owner_loop(store, tenant, given) as loop:
        if sys.stderr.isatty():
            say(f"training on {plain(store)}...", err=True)
        before = loop.params.version
        if folder is None:
            report = loop.train(steps=steps)
        else:
            report = loop.train_from_archive(folder, days=between, steps=steps)
    say_report(report, before, as_json=as_json)


def say_report(report: TrainReport, before: int, *, as_json: bool) -> None:
    """Print what a training did.

    Args:
        report: Of it.
        before: Version that was live before it.
        as_json: Whether to print a document.
    """
    if as_json:
        document(
            {
                "decision": report.decision,
                "live": params_document(report.live),
                "proposed": params_document(report.proposed),
                "live_version_before": before,
                "curves": report.curves,
                "ended_by": report.ended_by,
                "n_steps": report.n_steps,
                "n_closed": report.n_closed,
                "n_learned_from": report.n_learned_from,
                "n_replayed": report.n_replayed,
                "left_out": report.left_out,
                "step_norm": report.step_norm,
            }
        )
        return
    is_standing = report.proposed.version != report.live.version
    left_out = ", ".join(f"{n} {reason}" for reason, n in sorted(report.left_out.items()))
    fact_lines(
        [
            ("events closed now", report.n_closed),
            ("learned", f"{report.n_steps} steps, ended by {report.ended_by}"),
            *([("left out", left_out)] if left_out else []),
            ("live", f"version {report.live.version}" + ("" if report.live.version == before else f", was {before}")),
            ("standing proposal", f"version {report.proposed.version}" if is_standing else "none"),
        ]
    )
    say()
    # version 0 is where a store begins: it is never a proposal, but what a decision names where there is none
    say_decision(
        report.decision, is_of_proposal=report.decision.proposed_version > 0 or report.decision.kind == "rollback"
    )


@click.command()
@store_argument
@click.option("--weights", callback=_weights, metavar="JSON", help="Weights on raw features, {name: number}.")
@click.option("--version", type=click.IntRange(min=0), metavar="N", help="A stored version.")
@settings_options
@tenant_option
@json_option
@examples(
    "dwell evaluate search.dwell --version 3",
    'dwell evaluate search.dwell --weights \'{"bm25": 1.0, "cosine": 4.0}\'',
)
def evaluate(
    store: str,
    weights: dict[str, float] | None,
    version: int | None,
    tenant: str,
    *,
    as_json: bool,
    **given: object,
) -> None:
    """Ask the gate about other params.

    They are judged on every closed event that they did not learn from. Nothing moves, nothing is stored.
    """
    if (weights is None) == (version is None):
        raise click.UsageError("Give either --weights or --version.")
    with reader_loop(store, tenant, given) as loop:
        judged = loop.version(version) if version is not None else _unstored(store, tenant, loop, weights or {})
        decision = loop.evaluate(judged)
    if as_json:
        document({"decision": decision, "params": params_document(judged)})
        return
    if version is None:
        say(f"the given weights are judged as version {judged.version}; nothing is stored")
    say_decision(decision)


def _unstored(store: str, tenant: str, loop: Loop, weights: dict[str, float]) -> Params:
    """Return weights under the number that they would get."""
    from dwell.records import Params

    with facts(store, tenant) as reader:
        version = max(reader.params_versions()) + 1
    return Params(version=version, weights=weights, temperature=loop.params.temperature)
