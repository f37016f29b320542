"""Addresses of other people's servers that may be asked: over https, or on this very machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from dwell.errors import ConfigError

__all__ = ["checked_address"]


def checked_address(url: str, *, asked: str, field: str, hint: str) -> str:
    """Return a URL that may be asked: https, or http on this very machine; without a query, and without a password.

    Args:
        url: The address.
        asked: Who is asked, as the error calls it.
        field: What holds the address, as the error calls it.
        hint: What to give in its place.

    Raises:
        ConfigError: It is another; what it may hold of a password is not shown.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))
    if not host or not is_safe or parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(
            f"{asked} is asked over https, or over http on this machine",
            field=field,
            value=f"{parts.scheme}://{host}" if host else "",
            hint=hint,
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
