"""The caller's address behind proxies: whom nobody trusts can not choose it."""

import ipaddress
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwell.config import ServeSettings
from dwell.errors import ConfigError
from dwell.server.forwarding import caller_address

PROXY, INNER, CALLER = "10.0.0.1", "10.1.2.3", "203.0.113.9"
TRUSTED = ("10.0.0.0/8", "fd00::/8", "127.0.0.1")


def headers(**values: str | list[str]) -> list[tuple[bytes, bytes]]:
    names = {"xff": b"x-forwarded-for", "fwd": b"forwarded", "other": b"x-real-ip"}
    return [
        (names[name], value.encode("latin-1"))
        for name, many in values.items()
        for value in (many if isinstance(many, list) else [many])
    ]


@pytest.mark.parametrize(
    ("peer", "given_headers", "expected"),
    [
        (PROXY, {}, PROXY),
        (PROXY, {"xff": CALLER}, CALLER),
        (PROXY, {"xff": f"{CALLER}:4711"}, CALLER),
        (PROXY, {"xff": "[2001:db8::1]:443"}, "2001:db8::1"),
        (PROXY, {"xff": "2001:db8::1"}, "2001:db8::1"),
        (PROXY, {"xff": f"::ffff:{CALLER}"}, CALLER),
        (f"::ffff:{PROXY}", {"xff": CALLER}, CALLER),
        ("fd00::7", {"xff": CALLER}, CALLER),
        (PROXY, {"xff": f"{CALLER}, {INNER}"}, CALLER),
        (PROXY, {"xff": [CALLER, INNER]}, CALLER),
        (PROXY, {"xff": f"{INNER}, 10.9.9.9"}, INNER),
        # left of the first hop that is not trusted anybody may have written
        (PROXY, {"xff": f"198.51.100.1, {CALLER}"}, CALLER),
        (PROXY, {"xff": f"198.51.100.1, {INNER}, {CALLER}, {INNER}"}, CALLER),
        (PROXY, {"xff": ["198.51.100.1", f"127.0.0.1, {CALLER}"]}, CALLER),
        # what can not be read ends the way at the hop before it
        (PROXY, {"xff": "unknown"}, PROXY),
        (PROXY, {"xff": ""}, PROXY),
        (PROXY, {"xff": f"{CALLER},"}, PROXY),
        (PROXY, {"xff": f"{CALLER}, localhost, {INNER}"}, INNER),
        (PROXY, {"xff": "fe80::1%eth0"}, PROXY),
        (PROXY, {"xff": "1"}, PROXY),
        (PROXY, {"xff": "203.0.113.009"}, PROXY),
        # a caller that is no proxy, or none
        (CALLER, {"xff": "198.51.100.1"}, CALLER),
        (CALLER, {"fwd": "for=198.51.100.1"}, CALLER),
        ("", {"xff": "198.51.100.1"}, ""),
        (PROXY, {"other": CALLER}, PROXY),
        # RFC 7239
        (PROXY, {"fwd": f"for={CALLER}"}, CALLER),
        (PROXY, {"fwd": f"For={CALLER};proto=https;by={PROXY}"}, CALLER),
        (PROXY, {"fwd": f'proto=https;for="{CALLER}:4711"'}, CALLER),
        (PROXY, {"fwd": 'for="[2001:db8:cafe::17]:4711"'}, "2001:db8:cafe::17"),
        (PROXY, {"fwd": 'for="[2001:db8:cafe::17]"'}, "2001:db8:cafe::17"),
        (PROXY, {"fwd": f"for=198.51.100.1, for={CALLER}, for={INNER}"}, CALLER),
        (PROXY, {"fwd": ["for=198.51.100.1", f"for={CALLER}"]}, CALLER),
        (PROXY, {"fwd": f'for=198.51.100.1;by="a, for={INNER}", for={CALLER}'}, CALLER),
        (PROXY, {"fwd": r'for="203.0.113\.9"'}, CALLER),
        (PROXY, {"fwd": "for=_hidden"}, PROXY),
        (PROXY, {"fwd": "for=unknown, for=10.2.2.2"}, "10.2.2.2"),
        (PROXY, {"fwd": "proto=https"}, PROXY),
        (PROXY, {"fwd": f"for={CALLER};for=198.51.100.1"}, PROXY),
        (PROXY, {"fwd": f'for="{CALLER}'}, PROXY),
        (PROXY, {"fwd": f"for={CALLER} for=198.51.100.1"}, PROXY),
        # the one that the proxy does not set comes from the caller
        (PROXY, {"xff": CALLER, "fwd": f"for={CALLER}"}, CALLER),
        (PROXY, {"xff": CALLER, "fwd": "for=198.51.100.1"}, PROXY),
        (PROXY, {"xff": "198.51.100.1", "fwd": f"for={CALLER}"}, PROXY),
        (PROXY, {"xff": CALLER, "fwd": "nonsense"}, PROXY),
    ],
)
def test_the_way_back_ends_where_nobody_is_trusted(peer: str, given_headers: dict[str, str], expected: str) -> None:
    assert caller_address(peer, headers(**given_headers), TRUSTED) == expected


ANYTHING = st.text(st.characters(codec="latin-1"), max_size=60) | st.sampled_from(
    ["127.0.0.1", "10.0.0.1, 10.0.0.2", CALLER, "for=10.0.0.1", "for=1.2.3.4, ", '"', 'for="', "unknown", ","]
)  # fmt: skip


@given(ANYTHING, ANYTHING)
def test_no_header_of_a_caller_changes_what_the_proxy_says(xff: str, fwd: str) -> None:
    """A proxy appends the caller's address to the one header and removes, or passes on, the other."""
    appended = headers(xff=f"{xff}, {CALLER}")
    assert caller_address(PROXY, appended, TRUSTED) == CALLER
    assert caller_address(PROXY, headers(xff=[xff, CALLER]), TRUSTED) == CALLER
    assert caller_address(PROXY, [*appended, *headers(fwd=fwd)], TRUSTED) in {CALLER, PROXY}
    assert caller_address(PROXY, headers(fwd=[fwd, f"for={CALLER}"]), TRUSTED) in {CALLER, PROXY}
    assert caller_address(CALLER, [*appended, *headers(fwd=fwd)], TRUSTED) == CALLER


@given(st.lists(st.ip_addresses(), min_size=1, max_size=6))
def test_both_headers_say_the_same(hops: list[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> None:
    """Against a walk written out: from the right, to the first one that is in no trusted network."""
    networks = [ipaddress.ip_network(name) for name in TRUSTED]
    plain = [getattr(hop, "ipv4_mapped", None) or hop for hop in hops]
    outside = [hop for hop in plain if not any(hop in network for network in networks)]
    expected = str(outside[-1] if outside else plain[0])
    listed = ", ".join(map(str, hops))
    paired = ", ".join(f'for="[{hop}]"' if hop.version == 6 else f"for={hop}" for hop in hops)
    assert caller_address(PROXY, headers(xff=listed), TRUSTED) == expected
    assert caller_address(PROXY, headers(fwd=paired), TRUSTED) == expected


def test_a_long_header_is_read_in_time_linear_in_its_length() -> None:
    for value in ('for="' + "\\" * 60_000, "for=" + "a=" * 30_000, "10.0.0.1," * 7_000, 'for="a' + '";for="a' * 8_000):
        began = time.perf_counter()
        caller_address(PROXY, headers(xff=value, fwd=value), TRUSTED)
        assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize(
    "wrong", ["proxy.example", "10.0.0.1/8", "10.0.0.0/33", "", "0.0.0.0/0", "::/0", "10.0.0.1:80"]
)
def test_what_names_no_proxy_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match=re.escape("serve.trusted_proxies")):
        ServeSettings(trusted_proxies=("10.0.0.1", wrong))
