"""Whose request it is behind proxies: the caller's address, as far as those say it who may be believed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

__all__ = ["caller_address"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_WITH_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\w{1,8})?|([0-9.]+):\w{1,8}", re.ASCII)
# One pair of RFC 7239, section 4, and what follows it: the end of the pair, of the element, or of the header
_PAIR: Final = re.compile(
    r"""[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*+)"|([!#$%&'*+.^_`|~0-9A-Za-z-]+))[ \t]*(;|,|$)""",
    re.ASCII | re.DOTALL,
)
_UNKNOWN: Final = ""  # a hop that tells nothing; it ends the way back


def caller_address(peer: str, headers: Iterable[tuple[bytes, bytes]], trusted: Sequence[str]) -> str:
    """Return the address of whoever called, "" where there is none.

    It is the connection's own, unless that one is a trusted proxy. Then the way back is read from `X-Forwarded-For` or
    `Forwarded` (RFC 7239), from the right, and goes on as long as each hop is trusted: what stands left of the first
    one that is not was written by whoever pleased. A hop that can not be read ends the way at the hop before it. A
    proxy sets one of the two and lets the other one through: where they contradict each other, neither is believed.

    Args:
        peer: Address of the connection.
        headers: Name in lower case and value of each header, in their order.
        trusted: Addresses and networks of proxies that set or extend such a header.
    """
    networks = _networks(tuple(trusted))
    here = _parsed(peer)
    if here is None or not _is_in(here, networks):
        return peer if here is None else str(here)
    by_name: dict[bytes, list[str]] = {b"x-forwarded-for": [], b"forwarded": []}
    for name, value in headers:
        if name in by_name:
            by_name[name].append(value.decode("latin-1"))
    ways = [
        _back(here, hops, networks)
        for hops in (_hops_of_list(by_name[b"x-forwarded-for"]), _hops_of_pairs(by_name[b"forwarded"]))
        if hops
    ]
    return str(here if len(set(ways)) != 1 else ways[0])


def _back(here: _Address, hops: list[str], networks: Sequence[_Network]) -> _Address:
    """Return the last address on the way back that somebody trusted told."""
    for hop in reversed(hops):
        before = _parsed(hop)
        if before is None:
            break
        here = before
        if not _is_in(here, networks):
            break
    return here


def _hops_of_list(values: Sequence[str]) -> list[str]:
    return [hop.strip() for hop in ",".join(values).split(",")] if values else []


def _hops_of_pairs(values: Sequence[str]) -> list[str]:
    """Return the `for` of each element, one that is unknown for a header that is none."""
    if not values:
        return []
    text = ",".join(values)
    hops: list[str] = []
    found: list[str] = []
    at = 0
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is None:
            return [_UNKNOWN]
        if pair[1].lower() == "for":
            found.append(pair[3] if pair[2] is None else re.sub(r"\\(.)", r"\1", pair[2]))
        if pair[4] != ";":
            hops.append(found[0] if len(found) == 1 else _UNKNOWN)
            found = []
        at = pair.end()
    return hops


def _parsed(text: str) -> _Address | None:
    """Return an address, with or without a port; an IPv4 address inside of an IPv6 one is that one."""
    with_port = _WITH_PORT.fullmatch(text)
    try:
        found = ipaddress.ip_address(text if with_port is None else with_port[1] or with_port[2])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:  # a name of an interface, of any length: as many addresses as one likes
            return None
        return found.ipv4_mapped or found
    return found


def _is_in(address: _Address, networks: Sequence[_Network]) -> bool:
    return any(address in network for network in networks)


@lru_cache(maxsize=8)
def _networks(names: tuple[str, ...]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(name) for name in names)
