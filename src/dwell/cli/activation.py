"""What a store remembers of its items: how active they are and why, what stays, what may be forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from dwell.cli.options import store_argument, tenant_option
from dwell.cli.printing import document, examples, fact_lines, json_option, number, plain, say, table, when
from dwell.cli.stores import owner_loop, reader_loop
from dwell.errors import StorageError

if TYPE_CHECKING:
    from dwell.activation import Explanation
    from dwell.loop import Loop
    from dwell.loop.item_activation import ItemActivation

__all__ = ["activation"]

_MOST_NAMED: Final = 20
_LEAST_SHARE: Final = 0.0005  # what would be shown as 0.0 %


@click.group()
@examples(
    "dwell activation show search.dwell",
    "dwell activation explain search.dwell kb-12",
    "dwell activation forget search.dwell",
)
def activation() -> None:
    """Look after what a store remembers of its items.

    A store keeps activation from the first time on that it is opened with learner "activation" or "both". What changes
    it needs the store to itself: the process that serves holds it in memory.
    """


@activation.command()
@store_argument
@tenant_option
@json_option
@examples("dwell activation show search.dwell", "dwell activation show search.dwell --json")
def show(store: str, tenant: str, *, as_json: bool) -> None:
    """Show how much is remembered, and for how long."""
    with reader_loop(store, tenant) as loop:
        found = _kept(loop, store).overview()
    if as_json:
        document(found)
        return
    threshold = "never" if found.threshold is None else f"below {found.threshold:g} nats"
    fact_lines(
        [
            ("items", found.n_items),
            ("pinned", found.n_pinned),
            ("decay", f"d = {found.decay:g}, on {found.ladder}"),
            ("worth of an event", _worth(found.worth)),
            ("forgotten", threshold),
            ("below it now", found.n_below),
            ("below it in a week", found.n_below_in_a_week),
            ("counted", f"{found.session_cap} events per item and user in {found.session_window_s:g} s"),
            ("rewards", found.reward_version),
        ]
    )


@activation.command()
@click.argument("store")
@click.argument("item")
@tenant_option
@json_option
@examples("dwell activation explain search.dwell kb-12", "dwell activation explain search.dwell kb-12 --json")
def explain(store: str, item: str, tenant: str, *, as_json: bool) -> None:
    """Show everything that went into the activation of one item."""
    with reader_loop(store, tenant) as loop:
        found = _kept(loop, store).explain(item)
    if as_json:
        document(found)
    else:
        _say_explanation(found)


@activation.command()
@click.argument("store")
@click.argument("items", nargs=-1, required=True, metavar="ITEM...")
@click.option("--floor", type=float, metavar="NATS", help="Least activation that they are to have.")
@tenant_option
@json_option
@examples("dwell activation pin search.dwell kb-12 kb-13", "dwell activation pin search.dwell kb-12 --floor -1.5")
def pin(store: str, items: tuple[str, ...], floor: float | None, tenant: str, *, as_json: bool) -> None:
    """Keep items from being forgotten, with a history or without."""
    with _owned(store, tenant) as loop:
        _kept(loop, store).pin(list(items), floor=floor)
    _say_done({"pinned": list(items), "floor": floor}, f"{len(items)} pinned", as_json=as_json)


@activation.command()
@click.argument("store")
@click.argument("items", nargs=-1, required=True, metavar="ITEM...")
@tenant_option
@json_option
@examples("dwell activation unpin search.dwell kb-12")
def unpin(store: str, items: tuple[str, ...], tenant: str, *, as_json: bool) -> None:
    """Let items be forgotten again; their floors go."""
    with _owned(store, tenant) as loop:
        _kept(loop, store).unpin(list(items))
    _say_done({"unpinned": list(items)}, f"{len(items)} unpinned", as_json=as_json)


@activation.command()
@store_argument
@click.option("--archive", metavar="FILE", help="Append what goes to this file first, a JSON object a line.")
@click.option("--yes", is_flag=True, help="Do it. Without it nothing changes: what would go is shown.")
@tenant_option
@json_option
@examples(
    "dwell activation forget search.dwell",
    "dwell activation forget search.dwell --archive forgotten.jsonl --yes",
)
def forget(store: str, archive: str | None, tenant: str, *, yes: bool, as_json: bool) -> None:
    """Forget the items below the threshold activation.forget_below_nats; what is pinned stays.

    Only what is remembered of them goes: an item that is served again begins as one that nobody has seen. At most
    10,000 go at once.
    """
    with _owned(store, tenant) if yes else reader_loop(store, tenant) as loop:
        found = _kept(loop, store).forget(archive=archive, dry_run=not yes)
    if as_json:
        document(found)
        return
    what = "forgotten" if found.is_done else "would be forgotten" if found.items else "are below the threshold"
    say(f"{len(found.items)} items {what}{', and there are more' if found.has_more else ''}")
    for item in found.items[:_MOST_NAMED]:
        say(f"  {plain(item)}")
    if len(found.items) > _MOST_NAMED:
        say(f"  and {len(found.items) - _MOST_NAMED} others; --json names them all")
    if found.archive is not None:
        say(f"kept in {plain(found.archive)}")
    if found.items and not found.is_done:
        say("pass --yes to forget them")


@activation.command()
@store_argument
@tenant_option
@json_option
@examples("dwell activation rebuild search.dwell")
def rebuild(store: str, tenant: str, *, as_json: bool) -> None:
    """Make all sums anew from the events that the store still has, by the rules that they are kept by.

    What retention has removed is lost by it; pins stay.
    """
    with _owned(store, tenant) as loop:
        n_items = _kept(loop, store).rebuild()
    _say_done({"n_items": n_items}, f"{n_items} items made anew from the log", as_json=as_json)


def _owned(store: str, tenant: str) -> Loop:
    return owner_loop(store, tenant, {}, has_rewards=False, remedy="change its activation there: Loop.activation")


def _kept(loop: Loop, store: str) -> ItemActivation:
    if loop.activation is None:
        raise StorageError(
            f"{store} keeps no activation",
            code="no_activation",
            hint="Serve it with --learner both, or open it with learner='both'.",
        )
    return loop.activation


def _say_done(facts: dict[str, Any], words: str, *, as_json: bool) -> None:
    if as_json:
        document(facts)
    else:
        say(words)


def _worth(worth: tuple[float, ...]) -> str:
    hour, day, year = worth
    return f"{hour:.2%} after an hour, {day:.2%} after a day, {year:.3%} after a year, of that of a minute ago"


def _instant(at_us: int | None) -> str:
    return "never" if at_us is None else when(at_us / 1e6)


def _say_explanation(found: Explanation) -> None:
    say(plain(found.item))
    pinned = "no" if not found.is_pinned else "yes" if found.floor is None else f"yes, at least {found.floor:g}"
    fact_lines(
        [
            ("activation", f"{number(found.activation, signed=True)} nats"),
            ("reward mass", number(found.reward_mass)),
            ("exposure mass", number(found.exposure_mass)),
            ("share of the prior", f"{found.prior_share:.1%}"),
            ("latest event", _instant(found.last_us)),
            ("pinned", pinned),
            ("may be forgotten", _instant(found.forget_us)),
        ]
    )
    shown = [one for one in found.timescales if max(one.reward, one.exposure) >= _LEAST_SHARE]
    if shown:
        say()
        table(
            ["half-life", "reward", "exposure"],
            [[_span(one.half_life_s), f"{one.reward:.1%}", f"{one.exposure:.1%}"] for one in shown],
            right=["half-life", "reward", "exposure"],
        )


def _span(seconds: float) -> str:
    for unit, size in (("years", 31_557_600.0), ("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds >= size:
            return "for ever" if seconds == float("inf") else f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
