"""Batch jobs over archives on Ray Data: learn again from all of it, or ask all of it what params are worth."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from dwell.cli.archive import days_or_none, existing_archive
from dwell.cli.decisions import estimate_text, params_document
from dwell.cli.options import json_object, settings_options, store_argument, tenant_option
from dwell.cli.printing import document, examples, fact_lines, json_option, number
from dwell.cli.stores import facts, owner_loop, reader_loop

if TYPE_CHECKING:
    from pathlib import Path

    from dwell.cluster.ray_jobs import Mapped
    from dwell.loop import Loop
    from dwell.records import Params

__all__ = ["job"]

_N_CPUS: Final = 2  # of a Ray that is started for one job


@click.group()
@examples("dwell cluster job evaluate search.dwell --from-archive archive --version 3")
def job() -> None:
    """Run a job over the Parquet files of an archive.

    It runs on the Ray of --address, on that of the store's cluster where it has one, else on one that is started for
    it. The archive has to stand under the same path on all of its machines.
    """


def _job_options(command: Any) -> Any:  # noqa: ANN401 - click's decorators, one after the other
    for option in (
        click.option("--address", metavar="HOST:PORT", help="Of the Ray to use."),
        click.option("--days", metavar="A..B", help="Only events served on these days, UTC."),
        click.option("--from-archive", "folder", metavar="DIR", required=True, help="The archive."),
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def _on_ray(store: str, tenant: str, address: str | None) -> Iterator[Mapped]:
    from dwell.cluster.members import members_in
    from dwell.cluster.ray_engine import joined, started
    from dwell.cluster.ray_jobs import by_ray_data

    with facts(store, tenant) as reader:
        members = members_in(reader)
    at = address or (None if members is None else members.address)
    with joined(at) if at is not None else started(n_cpus=_N_CPUS):
        yield by_ray_data()


def _parts(folder: str, tenant: str, days: str | None) -> list[Path]:
    from dwell.storage.archive_places import archive_files

    return archive_files(existing_archive(folder), tenant=tenant, days=days_or_none(days))


def _judged(loop: Loop, store: str, tenant: str, version: int | None, weights: dict[str, Any] | None) -> Params:
    from dwell.records import Params

    if version is not None:
        return loop.version(version)
    with facts(store, tenant) as reader:
        number_ = max(reader.params_versions()) + 1
    return Params(version=number_, weights=weights or {}, temperature=loop.params.temperature)


@job.command()
@store_argument
@_job_options
@click.option("--weights", callback=json_object, metavar="JSON", help="Weights on raw features, {name: number}.")
@click.option("--version", type=click.IntRange(min=0), metavar="N", help="A stored version.")
@settings_options
@tenant_option
@json_option
@examples("dwell cluster job evaluate search.dwell --from-archive archive --version 3")
def evaluate(
    store: str,
    folder: str,
    days: str | None,
    address: str | None,
    tenant: str,
    *,
    weights: dict[str, Any] | None,
    version: int | None,
    as_json: bool,
    **given: object,
) -> None:
    """Estimate what params are worth against the live ones, on archived events that they did not learn from.

    It is an estimate with its interval, no verdict: nothing is stored, and nothing goes live by it.
    """
    from dwell.cluster.ray_jobs import learned_until, reevaluated, task_for

    if (weights is None) == (version is None):
        raise click.UsageError("Give either --weights or --version.")
    parts = _parts(folder, tenant, days)  # first: Ray takes seconds to start
    with reader_loop(store, tenant, given) as loop:
        state = loop._state  # noqa: SLF001 - a job for a loop may look at all of it
        judged = _judged(loop, store, tenant, version, weights)
        task = task_for(state, store, after=learned_until(state, judged.version))
        with _on_ray(store, tenant, address) as over:
            told = reevaluated(
                parts, task, judged, state.live, mode=state.mode, theta=state.theta(),
                config=state.config, over=over,
            )  # fmt: skip
    if as_json:
        document(told._asdict() | {"params": params_document(judged), "live_version": state.live.version})
        return
    fact_lines(
        [
            (f"version {judged.version} against {state.live.version}", estimate_text(told.estimate)),
            ("lists, users", f"{told.estimate.n}, {told.n_users}"),
            ("exposure without support", number(told.unsupported)),
        ]
    )


@job.command()
@store_argument
@_job_options
@click.option(
    "--passes", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Steps: looks at all of it."
)
@settings_options
@tenant_option
@json_option
@examples("dwell cluster job train search.dwell --from-archive archive --passes 50")
def train(
    store: str,
    folder: str,
    days: str | None,
    address: str | None,
    passes: int,
    tenant: str,
    *,
    as_json: bool,
    **given: object,
) -> None:
    """Learn a proposal from all archived events, each step by the slope over all of them.

    The proposal stands then, and the next `dwell train` judges it, by the same gate as any other, on events that are
    served from now on. Where another proposal stands already nothing is learned.
    """
    from dwell.cluster.ray_jobs import check_free, learned_from_parts, put_proposal, task_for

    parts = _parts(folder, tenant, days)  # as above
    with owner_loop(store, tenant, given, has_rewards=False) as loop:
        state = loop._state  # noqa: SLF001 - as above
        version = check_free(state)
        with _on_ray(store, tenant, address) as over:
            learning = learned_from_parts(
                parts, task_for(state, store), state.live, version=version, mode=state.mode,
                theta=state.theta(), config=state.config, passes=passes, now=time.time(), over=over,
            )  # fmt: skip
        put_proposal(state, learning)
    learned = learning.learned
    if as_json:
        document(
            {
                "proposed": params_document(learning.params),
                "n_steps": learned.n_steps,
                "n_learned_from": sum(learning.version_counts.values()),
                "step_norm": learned.step_norm,
                "curves": learned.curves,
            }
        )
        return
    fact_lines(
        [
            ("learned", f"{learned.n_steps} steps from {sum(learning.version_counts.values())} events"),
            ("standing proposal", f"version {learning.params.version}, judged by the next `dwell train`"),
        ]
    )
