"""Which addresses are of the public internet: a webhook must not become a way to what only this machine can reach."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, NamedTuple

__all__ = ["AddressRefused", "Resolved", "is_public", "resolved"]

_GLOBAL_UNICAST: Final = ip_network("2000::/3")  # RFC 4291, section 2.4: all that is handed out of version 6
# What `ipaddress` takes for public in some of its versions, or what carries another address in itself
_REFUSED: Final[tuple[IPv4Network | IPv6Network, ...]] = tuple(
    ip_network(text)
    for text in (
        "100.64.0.0/10",  # RFC 6598: carrier-grade NAT; one cloud's metadata among them
        "192.0.0.0/24",  # RFC 6890: protocol assignments; another one's metadata
        "192.88.99.0/24",  # RFC 7526: relays from 6to4
        "168.63.129.16/32",  # a third one's, which is public by its number alone
        "2001::/23",  # RFC 2928: protocol assignments, Teredo among them
        "2001:db8::/32",  # RFC 3849: documentation
        "2002::/16",  # RFC 3056: 6to4, an address of version 4 in bits 16 to 48
        "3fff::/20",  # RFC 9637: documentation
    )
)


class AddressRefused(Exception):  # noqa: N818 - never leaves this room
    """A name stands for an address that is not public."""


class Resolved(NamedTuple):
    """One address to connect to.

    Attributes:
        family: Of the socket.
        address: As `socket.connect` takes it: numbers, so that nothing is looked up again.
    """

    family: socket.AddressFamily
    address: tuple[Any, ...]


def is_public(text: str) -> bool:
    """Return whether an address is one of the public internet, as far as its number tells.

    Private, loopback, link-local, shared, multicast, reserved and documentation addresses are not, nor are addresses of
    version 6 in which one of version 4 is wrapped, whichever that is, nor those under which clouds tell their machines
    secrets.
    """
    try:
        address: IPv4Address | IPv6Address = ip_address(text.split("%", 1)[0])
    except ValueError:
        return False
    # ::ffff:0:0/96 (mapped), 64:ff9b::/96 (NAT64), fc00::/7, fe80::/10, fec0::/10 and ff00::/8 lie outside of it
    if isinstance(address, IPv6Address) and ("%" in text or address not in _GLOBAL_UNICAST):
        return False
    if any(address.version == network.version and address in network for network in _REFUSED):
        return False
    return address.is_global and not address.is_multicast


def resolved(host: str, port: int, *, is_allowed: Callable[[str], bool] = is_public) -> Resolved:
    """Return the address that a name stands for now, the first one of those it has.

    Args:
        host: A name, or an address.
        port: To connect to.
        is_allowed: Which addresses may be connected to.

    Raises:
        AddressRefused: One of its addresses is not allowed: such a name is not trusted for the others either.
        OSError: It can not be resolved.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    if not found or not all(is_allowed(str(one[4][0])) for one in found):
        raise AddressRefused("it does not stand for a public address")
    family, _, _, _, address = found[0]
    return Resolved(family, address)
