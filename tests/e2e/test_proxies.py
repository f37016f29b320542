"""Limits by address behind a proxy: each caller has its own, and none can take another's or a new one each time."""

import time
from collections.abc import Iterator

import pytest

from .serving import Service, made_key, service

PER_MINUTE = 5


@pytest.fixture(scope="module", params=['["127.0.0.1"]', "[]"], ids=["trusted", "nobody"])
def behind(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[tuple[Service, bool]]:
    """A service whose callers come from 127.0.0.1, as from a proxy on this machine."""
    environment = {
        "DWELL_SERVE__TRUSTED_PROXIES": request.param,
        "DWELL_SERVE__REQUESTS_PER_MINUTE_PER_ADDRESS": str(PER_MINUTE),
    }
    store = tmp_path_factory.mktemp("behind") / "s.dwell"
    with service(store, "--features", "a", environment=environment) as found:
        found.key = made_key(store, "public")
        until = time.monotonic() + 10.0
        while found.call("GET", "/v1/params")[0] == 401 and time.monotonic() < until:
            time.sleep(0.05)  # a new key is good within a second; for params another kind is due, which is a 403
        yield found, request.param != "[]"


def n_taken(found: Service, n: int, forwarded: str) -> int:
    """Send as often, and return how many were not held up."""
    statuses = [found.call("POST", "/ubi/events", [], x_forwarded_for=forwarded % i)[0] for i in range(n)]
    assert set(statuses) <= {200, 429}, statuses
    return statuses.count(200)


def test_addresses_are_told_apart_only_where_the_proxy_is_trusted(behind: tuple[Service, bool]) -> None:
    found, is_trusted = behind
    until = time.monotonic() + 5.0
    while found.call("GET", "/v1/params")[0] == 401 and time.monotonic() < until:  # the key is not known yet
        time.sleep(0.1)
    taken = [n_taken(found, PER_MINUTE + 3, f"203.0.113.{who}%.0s") for who in (1, 2)]
    assert taken == ([PER_MINUTE, PER_MINUTE] if is_trusted else [PER_MINUTE, 0])
    # one caller that writes another address before its own each time, which the proxy then adds
    invented = n_taken(found, PER_MINUTE + 3, "198.51.100.%d, 203.0.113.3")
    assert invented == (PER_MINUTE if is_trusted else 0)
