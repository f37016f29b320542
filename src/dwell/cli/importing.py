"""What enters a store from elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import click

from dwell.cli.options import instant, json_object, rewards_option, tenant_option
from dwell.cli.printing import document, examples, fact_lines, json_option, plain, say, table
from dwell.cli.stores import owner_loop
from dwell.errors import RecordError, StoreOwnedError

if TYPE_CHECKING:
    from dwell.integrations.otel import OtelReport
    from dwell.integrations.personalizer import PersonalizerReport
    from dwell.integrations.ubi import Refusal, UbiReport
    from dwell.loop import Loop

__all__ = ["check_read", "importing", "open_for_import", "say_refusals", "words_of"]

_SHOWN: Final = 10  # refusals that people are shown; the document has a thousand
_WITHOUT_FEATURES: Final = (
    "These lists have no features. They are counted, joined and exported (relevance judgments: `dwell export STORE\n"
    "FILE --format quepid`), and nothing is learned from them. docs/ubi.md says how a program gives them theirs."
)
_WITHOUT_NUMBERS: Final = (
    "These lists have not all of the store's features. They are counted, joined and exported, and nothing is learned\n"
    "from them. docs/otel.md says where features are looked for."
)
_STEP: Final = 1_000  # items between two words on progress


@click.group(name="import")
@examples("dwell import ubi search.dwell ubi_queries.ndjson ubi_events.ndjson")
def importing() -> None:
    """Bring in what was logged elsewhere."""


def _actions(context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, str | None] | None:
    found = json_object(context, parameter, value)
    if found is not None and not all(signal is None or isinstance(signal, str) for signal in found.values()):
        raise click.BadParameter('a signal\'s name or null is due for each action, like {"buy": "purchase"}')
    return found


def _meanings(context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, object] | None:
    found = json_object(context, parameter, value)
    if found is not None and not all(one is None or isinstance(one, str | dict) for one in found.values()):
        raise click.BadParameter(
            'a signal\'s name, {"signal": name, "labels": {...}} or null is due for each evaluation'
        )
    return found


@importing.command()
@click.argument("store")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option(
    "--opensearch", metavar="URL", help="Take the indices ubi_queries and ubi_events of a running OpenSearch."
)
@click.option("--since", callback=instant, metavar="INSTANT", help="With --opensearch: only what is not older.")
@click.option(
    "--actions", callback=_actions, metavar="JSON", help="{action: signal}, null to ignore it, where names differ."
)
@click.option(
    "--ordinal-base", type=click.IntRange(0, 1), help="Where places are counted from. Default: found per query."
)
@click.option("--create", is_flag=True, help="Make the store where there is none.")
@rewards_option
@tenant_option
@json_option
@examples(
    "dwell import ubi search.dwell ubi_queries.ndjson ubi_events.ndjson",
    "dwell import ubi search.dwell --opensearch https://search.example:9200 --since 2026-01-31",
    'dwell import ubi search.dwell log.ndjson --actions \'{"buy": "purchase", "hover": null}\'',
)
def ubi(
    store: str,
    files: tuple[str, ...],
    *,
    opensearch: str | None,
    since: float | None,
    actions: dict[str, str | None] | None,
    ordinal_base: int | None,
    rewards: object,
    tenant: str,
    create: bool,
    as_json: bool,
) -> None:
    """Bring in searches and reactions that User Behavior Insights logged.

    Files hold JSON lines, OpenSearch bulk lines or a JSON array. Doing it again changes nothing. OpenSearch is asked
    over https, or over http on this machine, with OPENSEARCH_USER and OPENSEARCH_PASSWORD where they are set.
    """
    if bool(files) == (opensearch is not None) or (since is not None and opensearch is None):
        raise click.UsageError("Give files, or --opensearch URL with or without --since.")
    how: dict[str, Any] = {"actions": actions, "ordinal_base": ordinal_base, "on_progress": _progress()}
    with closing(open_for_import(store, tenant, rewards, may_create=create)) as loop:
        report = _from_files(loop, files, how) if opensearch is None else _from_opensearch(loop, opensearch, since, how)
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    if as_json:
        document(report)
    else:
        _say(report)
    check_read(report.n_queries + report.n_events, report.n_quarantined, [one.reason for one in report.quarantined])


@importing.command()
@click.argument("store")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--shown",
    type=click.Choice(["first", "all"]),
    default="first",
    show_default=True,
    help="What users saw of a ranking.",
)
@click.option("--create", is_flag=True, help="Make the store where there is none.")
@rewards_option
@tenant_option
@json_option
@examples("dwell import personalizer search.dwell ranks.ndjson rewards.ndjson")
def personalizer(
    store: str, files: tuple[str, ...], *, shown: str, rewards: object, tenant: str, create: bool, as_json: bool
) -> None:
    """Bring in what Azure Personalizer was asked and told.

    Files hold one rank, reward or activation a line, ranks before their rewards. Doing it again changes nothing.
    """
    from dwell.integrations.personalizer import import_personalizer, lines_of

    way = cast("Literal['first', 'all']", shown)
    with closing(open_for_import(store, tenant, rewards, may_create=create)) as loop:
        report = import_personalizer(loop, lines_of(files), shown=way, now=time.time(), on_progress=_progress())
    if as_json:
        document(report)
    else:
        _say_of_personalizer(report)
    check_read(report.n_lines - report.n_refused, report.n_refused, [one.reason for one in report.refused])


@importing.command()
@click.argument("store")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--signals",
    callback=_meanings,
    metavar="JSON",
    help="{evaluation: signal}, null to ignore it, where names differ; see docs/scores.md for labels and ranges.",
)
@click.option("--id-key", metavar="KEY", help="Key of a document's metadata that is its id, where it has none.")
@click.option("--create", is_flag=True, help="Make the store where there is none.")
@rewards_option
@tenant_option
@json_option
@examples(
    "dwell import otel search.dwell traces.jsonl",
    'dwell import otel search.dwell traces.jsonl --signals \'{"user_feedback": "thumbs", "toxicity": null}\'',
)
def otel(
    store: str,
    files: tuple[str, ...],
    *,
    signals: dict[str, object] | None,
    id_key: str | None,
    rewards: object,
    tenant: str,
    create: bool,
    as_json: bool,
) -> None:
    """Bring in retrievals and evaluations that OpenTelemetry traced.

    Files hold OTLP in JSON, a request a line, as the collector's file exporter writes them. Doing it again changes
    nothing.
    """
    from dwell.integrations.otel import import_otel_files

    with closing(open_for_import(store, tenant, rewards, may_create=create)) as loop:
        report = import_otel_files(
            loop, [Path(file) for file in files], signals=signals, id_key=id_key, on_progress=_progress()
        )
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    if as_json:
        document(report)
    else:
        _say_of_otel(report)
    n_used = report.n_lists + report.n_lists_known + sum(report.feedback.values())
    check_read(n_used, report.n_quarantined, [one.reason for one in report.quarantined])


def check_read(n_read: int, n_refused: int, reasons: Sequence[str]) -> None:
    """Refuse a log of which nothing could be read: most likely it is something else. An empty one is a quiet night.

    Raises:
        RecordError: It holds items, and each was refused.
    """
    if n_refused and not n_read:
        raise RecordError(
            f"none of {n_refused} items could be read: {reasons[0]}",
            code="nothing_read",
            hint="Nothing was imported; check that these are the files.",
        )


def _say_of_personalizer(report: PersonalizerReport) -> None:
    fact_lines(
        [
            ("lines", f"{report.n_lines} read, {report.n_refused} could not be read"),
            ("lists", f"{report.n_lists} recorded or known, {report.n_deferred} deferred and never shown"),
            ("rewards", words_of(report.feedback)),
            ("left out", words_of(report.left_out)),
        ]
    )
    if report.refused:
        say()
        table(("line", "reason"), [(r.line, plain(r.reason)) for r in report.refused[:_SHOWN]], right=("line",))


def _say_of_otel(report: OtelReport) -> None:
    fact_lines(
        [
            ("read", f"{report.n_spans} spans and log records, {report.n_quarantined} could not be used"),
            ("lists", f"{report.n_lists} recorded, {report.n_lists_known} known"),
            ("evaluations", words_of(report.feedback)),
            ("unknown evaluations", words_of(report.unknown_evaluations)),
            ("left out", words_of(report.left_out)),
            ("noted", words_of(report.noted)),
            *([("refused lists", words_of(report.refused_lists))] if report.refused_lists else []),
        ]
    )
    if report.n_lists_without_features:
        say()
        say(_WITHOUT_NUMBERS)
    say_refusals(report.quarantined)


def say_refusals(quarantined: Sequence[Refusal], place: str = "item") -> None:
    """Print the first refusals as a table; `place` is what their index counts."""
    if quarantined:
        say()
        rows = [(one.source, one.index, plain(one.pointer), plain(one.reason)) for one in quarantined[:_SHOWN]]
        table(("where", place, "field", "reason"), rows, right=(place,))


def _from_files(loop: Loop, files: tuple[str, ...], how: dict[str, Any]) -> UbiReport:
    from dwell.integrations.ubi import import_ubi_files

    return import_ubi_files(loop, [Path(file) for file in files], **how)


def _from_opensearch(loop: Loop, url: str, since: float | None, how: dict[str, Any]) -> UbiReport:
    from dwell.integrations.ubi import import_ubi
    from dwell.integrations.ubi.opensearch import check_url, fetch

    check_url(url)
    user = os.environ.get("OPENSEARCH_USER")
    login = None if user is None else (user, os.environ.get("OPENSEARCH_PASSWORD", ""))
    queries, events = (fetch(url, kind, since=since, login=login) for kind in ("queries", "events"))
    return import_ubi(loop, queries, events, **how)


def open_for_import(
    store: str, tenant: str, rewards: object, *, may_create: bool, features: Sequence[str] | None = None
) -> Loop:
    """Open a store as its owner, made where it is not there and may be.

    Raises:
        StoreOwnedError: Another process owns it.
        StorageError: There is none, and none may be made.
    """
    from dwell.loop import open_loop

    if may_create and not os.path.lexists(store):
        return open_loop(store, tenant=tenant, rewards=rewards, features=features)
    try:
        return owner_loop(store, tenant, {"rewards": rewards})
    except StoreOwnedError as error:
        raise StoreOwnedError(
            error.message, hint="Stop that process, or call dwell.integrations.ubi.import_ubi, or its like, in it."
        ) from error


def _progress() -> Callable[[int], None]:
    """Return what says on a terminal how far it went, and nothing in a pipe."""
    is_shown = sys.stderr.isatty()

    def say_so(n: int) -> None:
        if is_shown and n % _STEP == 0:
            click.echo(f"\r{n} items", nl=False, err=True)

    return say_so


def _say(report: UbiReport) -> None:
    pairs: list[tuple[str, object]] = [
        ("read", f"{report.n_queries} queries, {report.n_events} events, {report.n_quarantined} could not be read"),
        (
            "lists",
            f"{report.n_lists} recorded, {report.n_lists_known} known, {report.n_lists_rebuilt} from impressions",
        ),
        ("reactions", words_of(report.feedback)),
        ("events of a known query", report.n_joins),
        ("repeated events", report.n_duplicates),
        (
            "query ids",
            f"{report.n_repeated_query_ids} stand in several queries, {report.n_split_query_ids} have several lists",
        ),
        ("queries without a list", report.n_queries_without_list),
        ("before their list", f"{report.n_negative_delays}, of these left out {report.n_too_early}"),
        ("normalised", words_of(report.normalised)),
        ("unknown actions", words_of(report.unknown_actions)),
    ]
    pairs += [(f"places of {name or '(no name)'}", _bases(bases)) for name, bases in report.ordinal_bases.items()]
    if report.refused_lists:
        pairs.append(("refused lists", words_of(report.refused_lists)))
    if report.n_erased:
        pairs.append(("of erased users", report.n_erased))
    fact_lines(pairs)
    if report.n_lists_without_features:
        say()
        say(_WITHOUT_FEATURES)
    say_refusals(report.quarantined)


def words_of(counts: Any) -> str:  # noqa: ANN401 - {name: number}
    """Return counts as words, "none" where there are none."""
    return ", ".join(f"{name} {n}" for name, n in counts.items()) or "none"


def _bases(bases: Any) -> str:  # noqa: ANN401 - {base: number}
    told = {"0": "from 0", "1": "from 1", "undecided": "undecided"}
    return ", ".join(f"{n} queries {told[name]}" for name, n in bases.items())
