"""Who calls, and whether that caller may: one place for keys, kinds of keys and rate limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from starlette.requests import Request

from dwell.errors import RequestError
from dwell.server.forwarding import caller_address
from dwell.server.house import House
from dwell.server.keys import Kind

__all__ = ["Caller", "caller_of", "granted", "house_of"]

# who may do more may do less; an agent stands in no such order: it may do what lets agents in, and nothing else
_RANK: Final[dict[Kind, int]] = {"agent": -1, "public": 0, "secret": 1, "admin": 2}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is.

    Attributes:
        key_id: Identity of the key.
        kind: What it may do.
        tenant: Whose data it sees.
    """

    key_id: str
    kind: Kind
    tenant: str

    @property
    def is_public(self) -> bool:
        """Whether it proves nothing by itself: its feedback needs a token."""
        return self.kind == "public"

    @property
    def is_agent(self) -> bool:
        """Whether all that it says of what it was served is an agent's own word."""
        return self.kind == "agent"


def house_of(request: Request) -> House:
    """Return the house that this service runs in."""
    return cast("House", request.app.state.house)


def caller_of(
    request: Request, needed: Kind, *, key: str | None = None, lets_agents: bool = False
) -> tuple[House, Caller]:
    """Return the house and who calls, where that caller may do what needs such a key.

    Args:
        request: The request; its key stands in `Authorization: Bearer`, `X-API-Key` or, as clients of Personalizer send
            it, `Ocp-Apim-Subscription-Key`, never in the address.
        needed: The least kind of key.
        key: A public key that came in the body, as browsers send it when a page ends.
        lets_agents: Whether an agent's key will do as well.

    Raises:
        RequestError: 401 without a good key, 403 with one of another kind.
    """
    house = house_of(request)
    found = house.key_of(_presented(request) or key)
    if found is None:
        raise RequestError(
            "no key, or one that is not good",
            code="unauthorized",
            field="Authorization",
            value="(not shown)",
            hint="Send `Authorization: Bearer <key>`; `dwell keys create` makes one.",
        )
    may = _RANK[found.kind] >= _RANK[needed] or (lets_agents and found.kind == "agent")
    if not may or (found.kind != "public" and key is not None and not _presented(request)):
        raise RequestError(
            f"this call needs a key of kind {needed}",
            code="forbidden",
            field="Authorization",
            value=found.kind,
            hint="Use such a key from a server of yours; a key with more power never belongs into a page.",
        )
    request.state.tenant = found.tenant
    return house, Caller(found.id, found.kind, found.tenant)


def _presented(request: Request) -> str | None:
    given = request.headers.get("authorization")
    if given is not None:
        scheme, _, text = given.partition(" ")
        return text.strip() if scheme.lower() == "bearer" else None
    return request.headers.get("x-api-key") or request.headers.get("ocp-apim-subscription-key")


def granted(house: House, caller: Caller, request: Request, *, subject: str | None = None, n: int = 1) -> None:
    """Return where a public caller has not asked too often.

    Args:
        house: The service.
        caller: Who asks.
        request: From where.
        subject: For which user, by the caller's word.
        n: For how many reactions.

    Raises:
        RequestError: 429 with the time to wait.
    """
    if not caller.is_public:
        return
    peer = request.client.host if request.client is not None else ""
    proxies = house.settings.trusted_proxies
    address = caller_address(peer, request.scope["headers"], proxies) if proxies else peer
    verdict = house.limiter.check(key=caller.key_id, address=address, subject=subject or "", cost=n)
    if not verdict.allowed:
        raise RequestError(
            "too many requests",
            code="too_many_requests",
            retry_after_s=verdict.retry_after_s,
            hint="Wait as long as Retry-After says, and send more in one request.",
        )
