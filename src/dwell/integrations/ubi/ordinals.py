"""From which number a producer counts places: the schemas do not say, and real ones differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from dwell.errors import ConfigError

__all__ = ["Base", "base_of_application", "check_bases", "observed_base"]

Base = Literal[0, 1]

ANY_APPLICATION: Final = ""  # in an override: every application that is not named itself


def observed_base(ordinals: Iterable[int]) -> Base | None:
    """Return the base that the impressions of one query tell: their lowest place, where it is 0 or 1; None otherwise.

    The first result is nearly always seen. Where it was not, the lowest place says nothing: 1 may be the second of a
    list that counts from 0, which is why `base_of_application` looks at all of them.
    """
    lowest = min(ordinals, default=None)
    return 0 if lowest == 0 else 1 if lowest == 1 else None


def base_of_application(counts: Mapping[str, int]) -> Base | None:
    """Return the base of an application from {"0": queries, "1": queries, ...}; None where nothing was observed.

    A tie is counted from 0: no list that counts from 1 has a place 0.
    """
    zeros, ones = counts.get("0", 0), counts.get("1", 0)
    if zeros == ones == 0:
        return None
    return 1 if ones > zeros else 0


def check_bases(given: Mapping[str, int] | int | None) -> dict[str, Base]:
    """Return an override as {application: base}; one number is that of every application, under "".

    Raises:
        ConfigError: A base is neither 0 nor 1.
    """
    bases = {} if given is None else dict(given) if isinstance(given, Mapping) else {ANY_APPLICATION: given}
    for application, base in bases.items():
        if isinstance(base, bool) or base not in {0, 1}:
            raise ConfigError(
                "places are counted from 0 or from 1",
                field=f"ordinal_base.{application}" if application else "ordinal_base",
                value=base,
                hint="Leave it out to have it found per query.",
            )
    return bases  # type: ignore[return-value]


def counted(base: Base | None) -> str:
    """Return the name under which a query's base is counted."""
    return "undecided" if base is None else str(base)


def resolve(
    application: str | None, observed: Base | None, given: Mapping[str, Base], seen: Mapping[str, Counter[str]]
) -> Base | None:
    """Return the base of one query: the override, else its own, else its application's, else None.

    Args:
        application: Whose query it is.
        observed: What its own impressions tell.
        given: The override, see `check_bases`.
        seen: {application: {"0": queries, "1": queries, ...}}.
    """
    name = application or ""
    if name in given:
        return given[name]
    if ANY_APPLICATION in given:
        return given[ANY_APPLICATION]
    return observed if observed is not None else base_of_application(seen.get(name, {}))
