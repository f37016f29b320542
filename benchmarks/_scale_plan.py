"""A plan on paper: what breaks first on the way to a thousand million events a day, from costs that were measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from _scale_costs import ALL_BYTES, models

__all__ = ["Costs", "Limit", "Step", "costs_in", "noted", "plan_lines", "stages"]

A_DAY: Final = 1_000_000_000
PEAK: Final = 3.0  # of the mean: a service of one region sleeps at night
SECONDS_A_DAY: Final = 86_400.0
DEFAULT_STORE_BYTES: Final = 10_000_000_000  # store.max_store_bytes, docs/cli.md
MOST_AT_ONCE: Final = 1_000  # jobs of a transaction, storage/writer.py
CORES: Final = 32  # of a machine on paper; a core is one as it was measured
SHARE: Final = 0.6  # of a core or a lock that may be in use at the peak: beyond it, queues grow
MEMORY_BYTES: Final = 64e9  # for experience, of a machine on paper
RETENTION_DAYS: Final = 30
IN_MEMORY_DAYS: Final = 7  # one half-life of recency, the default of replay.half_life_s


class Costs(NamedTuple):
    """Costs per event, measured.

    Attributes:
        rank_s: Processor time of `rank`.
        feedback_s: Of the reactions of an event, before they are written.
        write_s: Of the writing thread, its share of the database left out.
        close_s: Of closing an event.
        database_s: Of the database's processes, everything counted.
        store_bytes: On its disk, indexes included.
        log_bytes: Of write-ahead log.
        to_database_bytes: Sent to it.
        from_database_bytes: Sent by it.
        sync_s: Of one commit that waits for the disk.
        each_bytes: Of an experience in memory, rows and index.
        whole_per_s: Events a second that one tenant's full transactions write, with reaction and outcome.
    """

    rank_s: float
    feedback_s: float
    write_s: float
    close_s: float
    database_s: float
    store_bytes: float
    log_bytes: float
    to_database_bytes: float
    from_database_bytes: float
    sync_s: float
    each_bytes: float
    whole_per_s: float


class Limit(NamedTuple):
    """Where something ends.

    Attributes:
        what: In words.
        per_s: Events per second at which it is in use by `SHARE`.
    """

    what: str
    per_s: float


class Step(NamedTuple):
    """A way to run it, and where it ends.

    Attributes:
        name: The way.
        limits: Each on its own.
        then: What is done about the first.
    """

    name: str
    limits: tuple[Limit, ...]
    then: str

    @property
    def first(self) -> Limit:
        """What breaks first."""
        return min(self.limits, key=lambda limit: limit.per_s)


def noted(path: Path, key: str, value: object) -> None:
    """Write one section's figures into the file of costs, beside those of the others."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(found | {key: value}, indent=1) + "\n", encoding="utf-8")


def costs_in(found: Mapping[str, Any], store: str) -> Costs:
    """Return the costs per event that were written down for a store.

    Args:
        found: What the file of costs holds.
        store: "SQLite" or "PostgreSQL".

    Raises:
        SystemExit: A section was not run.
    """
    missing = [key for key in ("copy", "costs", "steps") if key not in found]
    if missing:
        raise SystemExit(f"nothing is known of {', '.join(missing)}: run these sections first")
    each = {name: line.each for name, line in models(found["costs"][store]).items()}
    return Costs(
        rank_s=each["cpu rank"],
        feedback_s=each["cpu feedback"],
        write_s=each["cpu commit"],
        close_s=each["cpu close"],
        database_s=each.get("cpu database", 0.0),
        store_bytes=each[ALL_BYTES],
        log_bytes=each.get("log bytes", 0.0),
        to_database_bytes=each.get("to database", 0.0),
        from_database_bytes=each.get("from database", 0.0),
        sync_s=float(found["costs"]["seconds of a commit"][store]),
        each_bytes=float(found["steps"]["bytes of an experience"]),
        whole_per_s=float(found["copy"]["whole"]),
    )


def stages(file: Costs, database: Costs) -> list[Step]:
    """Return the ways, each beginning where the one before ends.

    A tenant's row is held for as long as its transactions take; near the limit each of them is full, so what they take
    is what bulk ingest of events with their reactions and outcomes does.
    """
    serving = database.rank_s + database.feedback_s
    return [
        Step(
            "one process, one SQLite file",
            (
                Limit("the interpreter of the API process", SHARE / (file.rank_s + file.feedback_s + file.write_s)),
                Limit("the learner closes events, one process", SHARE / file.close_s),
                Limit("commits: the disk's syncs, a thousand jobs in each", SHARE * MOST_AT_ONCE / file.sync_s),
            ),
            "several API processes on one PostgreSQL: `dwell serve --workers N`, on several hosts",
        ),
        Step(
            "several API processes, one tenant in one PostgreSQL",
            (
                Limit("the tenant's row: its transactions, all full, follow each other", SHARE * database.whole_per_s),
                Limit("the learner closes events, one process", SHARE / database.close_s),
                Limit("commits: the disk's syncs, a thousand jobs in each", SHARE * MOST_AT_ONCE / database.sync_s),
                Limit(f"API processes on {CORES} cores", SHARE * CORES / serving),
            ),
            "several tenants, each with its row, its learner and its params: by market, language or product",
        ),
        Step(
            f"many tenants in one PostgreSQL of {CORES} cores",
            (
                Limit("processor time of the database", SHARE * CORES / database.database_s),
                Limit("log on a disk of 500 MB/s", SHARE * 500e6 / database.log_bytes),
                Limit("network of 10 Gbit/s, both ways", SHARE * 1.25e9 / _network(database)),
            ),
            "several databases, tenants placed by name; or fewer lists kept",
        ),
    ]


def _network(costs: Costs) -> float:
    return max(costs.to_database_bytes, costs.from_database_bytes)


def _count(needed: float, of_one: float) -> str:
    return f"{math.ceil(needed / of_one):,}"


def plan_lines(found: Mapping[str, Any]) -> list[str]:
    """Return the plan as Markdown tables, every figure computed from the costs that were written down."""
    file, database = costs_in(found, "SQLite"), costs_in(found, "PostgreSQL")
    mean, peak = A_DAY / SECONDS_A_DAY, PEAK * A_DAY / SECONDS_A_DAY
    steps = stages(file, database)
    lines = [
        f"{A_DAY:,} events a day: {mean:,.0f} a second on average, {peak:,.0f} at the peak ({PEAK:g} times).",
        f"A limit is where {100 * SHARE:.0f} % are in use. Cores are as fast as those that were measured.",
        "",
        "| how it runs | what ends, events a second | | first | needed at the peak |",
        "|---|---|---|---|---|",
    ]
    for step in steps:
        for i, limit in enumerate(sorted(step.limits, key=lambda one: one.per_s)):
            name = step.name if i == 0 else ""
            first = "**breaks first**" if i == 0 else ""
            lines.append(
                f"| {name} | {limit.what} | {limit.per_s:,.0f} | {first} | {_count(peak, limit.per_s)} of it |"
            )
        lines.append(f"| | then: {step.then} | | | |")
    return [*lines, "", *_totals(database, mean, peak), "", *_thinned(steps, peak), "", *_checked(found, database)]


def _totals(costs: Costs, mean: float, peak: float) -> list[str]:
    """Return what a day takes in all, on PostgreSQL, nothing left out."""
    hours = A_DAY / 3_600.0
    kept, in_memory = A_DAY * RETENTION_DAYS, A_DAY * IN_MEMORY_DAYS
    stages_of = (
        ("rank", costs.rank_s), ("reactions", costs.feedback_s), ("writing", costs.write_s),
        ("closing", costs.close_s), ("the database", costs.database_s),
    )  # fmt: skip
    lines = ["| a day, every list kept | core-hours | cores at the peak |", "|---|---|---|"]
    lines += [f"| {name} | {seconds * hours:,.0f} | {seconds * peak / SHARE:,.0f} |" for name, seconds in stages_of]
    flows = (
        ("tables and indexes", costs.store_bytes),
        ("write-ahead log", costs.log_bytes),
        ("to the database", costs.to_database_bytes),
        ("from the database", costs.from_database_bytes),
    )
    lines += ["", "| bytes | a day | at the peak |", "|---|---|---|"]
    lines += [f"| {name} | {each * A_DAY / 1e12:,.2f} TB | {each * peak / 1e6:,.0f} MB/s |" for name, each in flows]
    memory = costs.each_bytes * in_memory
    minutes = DEFAULT_STORE_BYTES / costs.store_bytes / mean / 60.0
    return [
        *lines,
        "",
        f"{RETENTION_DAYS} days of facts, later ones archived or dropped: {costs.store_bytes * kept / 1e12:,.0f} TB.",
        f"{IN_MEMORY_DAYS} days of experience in memory, {costs.each_bytes:,.0f} bytes each: {memory / 1e12:,.1f} TB,",
        f"or {_count(memory, MEMORY_BYTES)} shards of {MEMORY_BYTES / 1e9:.0f} GB. `store.max_store_bytes`, by default",
        f"{DEFAULT_STORE_BYTES / 1e9:.0f} GB, holds {minutes:,.0f} minutes of all this.",
    ]


def _thinned(steps: list[Step], peak: float) -> list[str]:
    """Return what share of the lists one tenant can keep, and what that does to an interval."""
    limit = steps[1].first
    share = min(1.0, limit.per_s / peak)
    return [
        f"One tenant can keep {100 * share:.2g} % of the lists of the peak; what ends it: {limit.what}.",
        f"Kept by a hash of the user, so with one known probability, {share * A_DAY:,.0f} lists a day remain to learn",
        f"and judge from; an interval of the gate is {1.0 / math.sqrt(share):.1f} times as wide as with all of them.",
    ]


def _checked(found: Mapping[str, Any], costs: Costs) -> list[str]:
    """Return the predictions that can be held against a run of this machine."""
    lines = ["| predicted from the costs per event | predicted | measured | |", "|---|---|---|---|"]
    for store in ("SQLite", "PostgreSQL"):
        line, last = models(found["costs"][store])[ALL_BYTES], found["costs"][store][-1]["n"]
        off = f"off by {100 * line.error:+.1f} %"
        lines.append(
            f"| bytes of {store} at {last:,} events, from the smaller sizes | {line.predicted / 1e6:,.1f} MB "
            f"| {line.largest / 1e6:,.1f} MB | {off} |"
        )
    ran = found.get("processes")
    if ran is not None:
        total = sum(ran["cpu_s"].values()) / ran["n_events"]
        predicted, rate = ran["n_cores"] / total, ran["n_events"] / ran["seconds"]
        lines.append(
            f"| events a second of {ran['n_processes']} API processes on {ran['n_cores']} cores, all of them busy "
            f"| at most {predicted:,.0f} | {rate:,.0f} | {100 * rate / predicted:.0f} % of it |"
        )
        api = ran["cpu_s"]["API processes and learner"] / ran["n_events"]
        own = costs.rank_s + costs.feedback_s + costs.write_s + costs.close_s
        lines.append(
            f"| CPU of an event in the API processes and the learner, HTTP included | {1e3 * own:.2f} ms without HTTP "
            f"| {1e3 * api:.2f} ms | HTTP and learning: {1e3 * (api - own):+.2f} ms |"
        )
    return lines
