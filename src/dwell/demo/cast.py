"""Who takes part in the demo and under which rules, in words."""

from collections.abc import Sequence

from dwell.demo.measures import DEPTH
from dwell.demo.quality import N_DRAWS
from dwell.demo.traffic import N_VISITORS, SEARCH_EVERY_S, USER, Plan
from dwell.demo.world import N_CANDIDATES, START, World
from dwell.records import Params
from dwell.records.checks import MAX_ID_BYTES

__all__ = ["cast_facts", "formula", "printable"]


def printable(text: object, most: int = MAX_ID_BYTES) -> str:
    """Text that can not drive a terminal: what is not printable is escaped, and what is too long is cut."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)[:most])
    return safe.encode("utf-8", "backslashreplace").decode()


def formula(params: Params) -> str:
    """Given weights as the formula that they are."""
    given = [(name, weight) for name, weight in params.weights.items() if weight]
    terms = [f"{'-' if weight < 0.0 else '+'} {_times(abs(weight))}{name}" for name, weight in given]
    return " ".join(terms).removeprefix("+ ")


def _times(weight: float) -> str:
    return "" if weight == 1.0 else f"{weight:g} x "


def cast_facts(world: World, plan: Plan, settings: Sequence[str]) -> list[tuple[str, str]]:
    """Who takes part and under which rules: (name, words), in order; nothing in it can drive a terminal.

    Args:
        world: The world.
        plan: How the demo is played.
        settings: What is not a default, "name = value (origin)".
    """
    made = "each is a sentence taken out of the corpus, thinned to 2 to 5 words; no answer occurs in both"
    queries = f"{len(world.train):,} that visitors make and {len(world.test):,} that only measure; {made}"
    visitors = (
        f"{N_VISITORS} SIMULATED ones: they read from the top, trust what stands high (trust {USER.trust:g}), click on"
        f" what they do not want with probability {USER.noise:g} and more near the top, read on with probability"
        f" {USER.patience:g}, and leave when satisfied ({USER.satisfaction:g})"
    )
    start = f"the starting ranker is {formula(Params(0, START))}, a formula made by hand; frozen, it is the yardstick"
    every = f"one every {SEARCH_EVERY_S / 60:g} minutes of simulated time; train() after every {plan.train_every:,}"
    figures = (
        f"nDCG@{DEPTH} and MRR@{DEPTH} of what would be served for the measuring queries, exploration included"
        f" (mean of {N_DRAWS} draws), with 95 % intervals; differences are paired"
    )
    return [
        ("corpus", _corpus(world)),
        ("queries", f"{queries}; the best {N_CANDIDATES} candidates are ranked"),
        ("visitors", visitors),
        ("taste", _tastes(world, plan)),
        ("start", start),
        ("traffic", f"{plan.n_searches:,} searches, {every}; seed {plan.seed}"),
        ("settings", _settings(settings)),
        ("figures", figures),
    ]


def _corpus(world: World) -> str:
    words = f"{printable(world.name)}: {world.n_documents:,} entries"
    if world.skipped:
        words += f"; {len(world.skipped)} files could not be read, the first one: {printable(world.skipped[0])}"
    return words


def _tastes(world: World, plan: Plan) -> str:
    short, long = world.tastes
    words = (
        f"wanted is what is on the subject of the answer (its module, topic or file) and {short.name}: {short.words};"
        " the answer itself, where it is longer, counts half"
    )
    if plan.changes_after is not None:
        words += f"; after search {plan.changes_after:,} the same with {long.name} entries: {long.words}"
    return words


def _settings(settings: Sequence[str]) -> str:
    if settings:
        return f"NOT the defaults: {'; '.join(map(printable, settings))}"
    return "gate, split, caps and window are the defaults, and so is everything else"
