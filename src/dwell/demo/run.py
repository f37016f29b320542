"""`dwell demo`: one command, no network, under a minute; what it shows is printed, reported, and kept in a store."""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TextIO

from dwell.config import read_config, settings_of
from dwell.demo.cast import cast_facts
from dwell.demo.place import check_report, check_store, clear_store, place_pepper, place_report
from dwell.demo.progress import Screen, screen_on
from dwell.demo.report import Account, report_page
from dwell.demo.story import Moment, Searched, play
from dwell.demo.telling import cast_lines, conclusion, moment_lines, outcome_of
from dwell.demo.traffic import Plan
from dwell.demo.world import START, World, build_world
from dwell.errors import ConfigError
from dwell.loop import Loop, open_loop
from dwell.storage.pepper import PEPPER_VARIABLE

__all__ = ["DemoOptions", "run_demo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What may be asked of the demo.

    Attributes:
        corpus: A folder of text; None for the documentation of the running Python.
        store: Where the store goes and stays. A store of an earlier demo is replaced, anything else refused.
        report: Where the report goes. A report of an earlier demo is replaced, anything else refused.
        seed: Seeds everything that is drawn, in [0, 2^32).
        n_events: Searches in all, in [10, 100,000].
        train_every: Searches between two calls of `train`, in [10, n_events]; more than that is n_events.
        config: Settings other than the defaults, as `dwell.open` takes them; whatever differs is printed.
        as_json: Print one JSON document instead of lines.

    Raises:
        ConfigError: One is out of range, by name.
    """

    corpus: Path | None = None
    store: Path = Path("demo.dwell")
    report: Path = Path("demo-report.html")
    seed: int = 0
    n_events: int = 6_000
    train_every: int = 1_000
    config: Mapping[str, Any] = field(default_factory=dict)
    as_json: bool = False

    def __post_init__(self) -> None:
        for name, least, most in (("seed", 0, 2**32 - 1), ("n_events", 10, 100_000), ("train_every", 10, 100_000)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise ConfigError(
                    f"not a whole number from {least} to {most}", field=name, value=value, hint="Give another one."
                )

    @property
    def plan(self) -> Plan:
        """How the demo is played; the taste changes half-way, where there are two rounds or more."""
        every = min(self.train_every, self.n_events)
        n_rounds = -(-self.n_events // every)
        return Plan(self.n_events, every, self.seed, every * (n_rounds // 2) if n_rounds > 1 else None)


def run_demo(options: DemoOptions, *, out: TextIO) -> int:
    """Play the demo, print it, and return the exit code.

    0: the loop promoted something on evidence, the planted mistake stayed out, and the rollback restored what was.
    1: one of these did not happen, and a line says which. The report is written and the store kept in either case.

    Args:
        options: What is asked for.
        out: Where it is printed. A terminal gets a progress bar and the seconds it took; elsewhere, two runs with the
            same options, text and machine print the same.

    Raises:
        ConfigError: The corpus, the store's or the report's place can not be used.
        StorageError: The store could not.
    """
    began_at = time.monotonic()
    read_config(options.config, os.environ)  # what is wrong there is said before anything is removed
    check_report(options.report)
    check_store(options.store)
    plan = options.plan
    settings = [
        f"{setting.name} = {setting.value} ({setting.origin if setting.origin == 'environment' else 'given'})"
        for setting in settings_of(options.config, os.environ)
        if setting.origin != "default"
    ]
    with _screen(options, out, plan) as screen:
        world = build_world(options.corpus, plan.seed, on_step=lambda words: screen.show(0, words))
        facts = cast_facts(world, plan, settings)
        for line in cast_lines(facts):
            screen.say(line)
        clear_store(options.store)
        with _loop(options) as loop:
            moments = list(_told(play(loop, world, plan), world, screen))
            versions = {d.proposed_version: loop.version(d.proposed_version) for d in loop.history()}
            account = Account(facts, plan, world, moments, loop.history(), versions)
        outcome = outcome_of(moments)
        place_report(options.report, report_page(account, outcome))
        for line in conclusion(outcome, world, str(options.store)):
            screen.say(line)
        if PEPPER_VARIABLE in os.environ:
            screen.say(
                f"  {PEPPER_VARIABLE} is set here: unset it for these commands, the demo has a pepper of its own"
            )
        if screen.is_terminal:
            screen.say(f"  it took {time.monotonic() - began_at:.0f} seconds")
        if outcome.complaint is not None:
            screen.say(f"  the demo did not show what it should: {outcome.complaint}")
        screen.say(f"report: {options.report}")
    if options.as_json:
        out.write(_document(account, options) + "\n")
    return int(outcome.complaint is not None)


@contextmanager
def _screen(options: DemoOptions, out: TextIO, plan: Plan) -> Iterator[Screen]:
    if options.as_json:
        yield Screen(lambda _line: None, lambda _done, _words: None, is_terminal=False)
        return
    with screen_on(out, plan.n_searches) as screen:
        yield screen


def _loop(options: DemoOptions) -> Loop:
    return open_loop(
        options.store,
        features=list(START),
        weights=START,
        seed=options.seed,
        pepper=place_pepper(options.store, options.seed),
        config=options.config,
    )


def _told(moments: Iterator[Moment], world: World, screen: Screen) -> Iterator[Moment]:
    """Yield the moments that are worth keeping, each told as it happens."""
    for moment in moments:
        if isinstance(moment, Searched):
            screen.show(moment.n_searches, "simulated searches")
            continue
        for line in moment_lines(moment, world):
            screen.say(line)
        yield moment


# ------------------------------------------------------------------------------------------------------------- JSON


def _document(account: Account, options: DemoOptions) -> str:
    outcome = outcome_of(account.moments)
    return json.dumps(
        {
            "simulated": "the users are simulated, the text is real",
            "facts": dict(account.facts),
            "moments": [{"what": type(m).__name__} | _finite(m) for m in account.moments],
            "outcome": _finite(outcome) | {"complaint": outcome.complaint},
            "ledger": _finite(account.ledger),
            "weights": {str(version): dict(params.weights) for version, params in account.versions.items()},
            "store": str(options.store),
            "report": str(options.report),
        },
        indent=2,
        allow_nan=False,
    )


def _finite(value: object) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Plain values: records as objects, what is not finite as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        value = {part.name: getattr(value, part.name) for part in fields(value)}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value if value is None or isinstance(value, str | int) else str(value)
