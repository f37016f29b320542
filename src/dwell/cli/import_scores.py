"""`dwell import scores`: what people and judges gave in Langfuse, Phoenix or Opik."""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from dwell.cli.options import instant, json_object, rewards_option, tenant_option
from dwell.cli.printing import document, examples, fact_lines, json_option, plain, say, table
from dwell.cli.stores import owner_loop
from dwell.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dwell.integrations.scores import ScoresReport

__all__ = ["scores"]

_SHOWN: Final = 10  # refusals that people are shown; the document has a thousand


@click.command()
@click.argument("source", type=click.Choice(["langfuse", "opik", "phoenix"]))
@click.argument("store")
@click.option(
    "--map",
    "given",
    callback=json_object,
    required=True,
    metavar="JSON",
    help='{score: signal}, or {score: {"signal": "rating", "low": 0, "high": 1, "onto": [1, 5]}}; see docs/scores.md.',
)
@click.option("--project", metavar="NAME", help="Project of Opik or Phoenix; Langfuse's keys name theirs.")
@click.option("--since", callback=instant, metavar="INSTANT", help="Only what is not older.")
@click.option("--progress", metavar="FILE", help="Keep how far it went there, and go on from there.")
@rewards_option
@tenant_option
@json_option
@examples(
    'dwell import scores langfuse search.dwell --map \'{"helpful": "thumbs"}\' --progress langfuse.json',
    'dwell import scores phoenix search.dwell --project kb --since 2026-01-31 --map \'{"thumbs": "thumbs"}\'',
)
def scores(
    source: str,
    store: str,
    *,
    given: dict[str, Any],
    project: str | None,
    since: float | None,
    progress: str | None,
    rewards: object,
    tenant: str,
    as_json: bool,
) -> None:
    """Bring in scores that were given elsewhere.

    The client is configured by its own variables: LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL;
    PHOENIX_COLLECTOR_ENDPOINT and PHOENIX_API_KEY; OPIK_URL_OVERRIDE and OPIK_API_KEY. Doing it again changes nothing.
    """
    from dwell.integrations.scores import import_scores
    from dwell.integrations.scores.clients import reader_of

    remedy = "call dwell.integrations.scores.import_scores in it"
    with (
        reader_of(source, project) as reader,
        closing(owner_loop(store, tenant, {"rewards": rewards}, remedy=remedy)) as loop,
    ):
        report = import_scores(loop, reader, given, since=since, progress=progress, on_progress=_say_how_far)
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    if as_json:
        document(report)
    else:
        _say(report)
    if report.n_quarantined and report.n_quarantined == report.n_scores:
        raise RecordError(
            f"none of {report.n_scores} scores could be used: {report.quarantined[0].reason}",
            code="nothing_read",
            hint="Check --map: docs/scores.md says what a score can mean.",
        )


def _say_how_far(n: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{n} scores", nl=False, err=True)


def _say(report: ScoresReport) -> None:
    fact_lines(
        [
            ("scores", f"{report.n_scores} read, {report.n_quarantined} could not be used"),
            ("feedback", _words(report.feedback)),
            ("left out", _words(report.left_out)),
            ("next since", datetime.fromtimestamp(report.next_since, UTC).isoformat(timespec="seconds")),
        ]
    )
    if report.quarantined:
        say()
        rows = [(one.index, plain(one.pointer), plain(one.reason)) for one in report.quarantined[:_SHOWN]]
        table(("score", "field", "reason"), rows, right=("score",))


def _words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items()) or "none"
