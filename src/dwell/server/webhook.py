"""One small signed message to an https address that the operator named, and what became of it.

    Dwell-Signature: t=<epoch seconds>,v1=<hex of HMAC-SHA256(secret, t + "." + body)>

The name is resolved once, and exactly that address is connected to, under the name for TLS. Redirects are not followed:
a receiver that moved is named anew by the operator. Of the answer only the first line is read.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from dwell import __version__
from dwell.errors import ConfigError
from dwell.server.public_addresses import AddressRefused, is_public, resolved

__all__ = ["Sent", "Webhook", "signature"]

_TIMEOUT_S: Final = 10.0  # for each of connecting, TLS and the answer; receivers are asked to queue, not to work
_PORT: Final = 443
_FIRST_FREE_PORT: Final = 1_024  # below it stand other protocols, which a request could be mistaken for
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r)")
_VISIBLE: Final = re.compile(r"[!-~]+")  # what stands in a request's first line, without a way to end it early
_MOST_STATUS: Final = 1_024  # bytes of a first line
_AGAIN: Final = frozenset({408, 425, 429})  # RFC 9110 and 8470, RFC 6585: not now


class Sent(NamedTuple):
    """What became of one attempt.

    Attributes:
        outcome: "delivered", "again" (it may be tried once more) or "refused" (it will not get better).
        reason: Why, in a few words that hold neither the path nor a secret.
    """

    outcome: Literal["delivered", "again", "refused"]
    reason: str


def signature(secret: str, body: bytes, at: int) -> str:
    """Return the value of `Dwell-Signature`: who knows the secret can tell that the body is ours, and from when.

    Args:
        secret: Shared with the receiver.
        body: Exactly as it is sent.
        at: UTC epoch seconds: receivers refuse what is old.
    """
    digest = hmac.new(secret.encode(), b"%d.%b" % (at, body), hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where messages go.

    Attributes:
        url: https://host[:port]/path.
        secret: What they are signed with.
        is_allowed: Which addresses may be connected to; only tests have reason to allow others than public ones.
        tls: How certificates are checked; by those of the system where not given.

    Raises:
        ConfigError: Not https, a port that other protocols have, or an address that is not public.
    """

    url: str = field(repr=False)
    secret: str = field(repr=False)
    is_allowed: Callable[[str], bool] = is_public
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        host, port, _ = self._parts()
        if port != _PORT and port < _FIRST_FREE_PORT:
            raise _unfit("the port of a webhook is 443, or 1024 and above", "Have it listen on another port.")
        if _is_address(host) and not self.is_allowed(host):
            raise _unfit("a webhook has a public address", "Name a receiver on the internet, or a relay there.")

    def send(self, body: bytes, *, id: str) -> Sent:  # noqa: A002 - it is called so in the message as well
        """Return what became of one attempt to send a message; takes up to half a minute, raises nothing.

        Args:
            body: JSON.
            id: The same for each attempt of one message, of letters, digits and dashes.
        """
        host, port, target = self._parts()
        at = int(time.time())
        head = (
            f"POST {target} HTTP/1.1\r\nHost: {urlsplit(self.url).netloc}\r\nUser-Agent: dwell/{__version__}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nIdempotency-Key: {id}\r\n"
            f"Dwell-Signature: {signature(self.secret, body, at)}\r\nConnection: close\r\n\r\n"
        )
        try:
            place = resolved(host, port, is_allowed=self.is_allowed)
            with socket.socket(place.family, socket.SOCK_STREAM) as plain:
                plain.settimeout(_TIMEOUT_S)
                plain.connect(place.address)
                with self._context().wrap_socket(plain, server_hostname=host) as secure:
                    secure.sendall(head.encode("ascii") + body)
                    return _told(_first_line(secure))
        except AddressRefused as refused:
            return Sent("refused", str(refused))
        except ssl.SSLCertVerificationError as error:
            return Sent("again", f"its certificate is not trusted: {error.verify_message}")
        except TimeoutError:
            return Sent("again", "no answer in time")
        except (OSError, UnicodeError) as error:  # the kind says enough
            return Sent("again", f"it can not be reached: {type(error).__name__}")

    def _context(self) -> ssl.SSLContext:
        return self.tls or ssl.create_default_context()

    def _parts(self) -> tuple[str, int, str]:
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        else:
            is_plain = _VISIBLE.fullmatch(self.url) is not None
            if is_plain and parts.scheme == "https" and host and parts.username is None and not parts.fragment:
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                return host, _PORT if port is None else port, target
        raise _unfit(
            "a webhook is an https address", "Write it as https://host/path, in visible ASCII: xn--... and %C3%A9."
        )


def _unfit(message: str, hint: str) -> ConfigError:
    return ConfigError(message, field="alerts.webhook_url", value="(not shown)", hint=hint)


def _is_address(host: str) -> bool:
    """Return whether a host is a number in any way of writing one: inet_aton takes 0x7f.1 and 2130706433 as well."""
    if ":" in host:
        return True
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


def _first_line(secure: ssl.SSLSocket) -> bytes:
    until = time.monotonic() + _TIMEOUT_S
    line = b""
    while b"\n" not in line and len(line) < _MOST_STATUS:
        left_s = until - time.monotonic()
        if left_s <= 0.0:
            raise TimeoutError
        secure.settimeout(left_s)
        more = secure.recv(_MOST_STATUS)
        if not more:
            break
        line += more
    return line


def _told(line: bytes) -> Sent:
    found = _STATUS.match(line)
    if found is None:
        return Sent("again", "its answer is no HTTP")
    status = int(found[1])
    if 200 <= status < 300:
        return Sent("delivered", f"status {status}")
    if 300 <= status < 400:
        return Sent("refused", f"status {status}: redirects are not followed")
    return Sent("again" if status >= 500 or status in _AGAIN else "refused", f"status {status}")
