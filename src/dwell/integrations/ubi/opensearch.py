"""The indices of a running OpenSearch, a page at a time.

Paging goes by instant and document id (`search_after`), which no deletion or insertion between two pages disturbs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dwell.errors import MissingDependencyError, StorageError
from dwell.integrations.addresses import checked_address
from dwell.integrations.ubi.records import Kind

__all__ = ["INDICES", "check_url", "fetch"]

INDICES: Final[Mapping[Kind, str]] = {"queries": "ubi_queries", "events": "ubi_events"}
_PAGE: Final = 1_000  # a tenth of what OpenSearch allows a page: a request of about a megabyte
_TIMEOUT_S: Final = 30.0


def check_url(url: str) -> str:
    """Return a URL that may be asked: https, or http on this very machine; without a path, and without a password.

    Raises:
        ConfigError: It is another.
    """
    return checked_address(
        url,
        asked="OpenSearch",
        field="opensearch",
        hint="Give https://host:9200; name and password go into OPENSEARCH_USER and OPENSEARCH_PASSWORD.",
    )


def fetch(
    url: str, kind: Kind, *, since: float | None = None, login: tuple[str, str] | None = None, page: int = _PAGE
) -> Iterator[object]:
    """Yield the documents of an index in time order; what stands in them is not looked at.

    Args:
        url: See `check_url`.
        kind: Which index.
        since: Only those from this instant on, UTC epoch seconds; documents without an instant come only without it.
        login: Name and password.
        page: Documents a request, 1 to 10,000.

    Raises:
        ConfigError: See `check_url`.
        MissingDependencyError: opensearch-py is not installed.
        StorageError: OpenSearch does not answer, refuses, or answers something else.
    """
    client = _client(check_url(url), login)
    body: dict[str, Any] = {
        "size": page,
        "sort": [{"timestamp": {"order": "asc", "format": "epoch_millis"}}, {"_id": "asc"}],
        "query": {"match_all": {}},
    }
    if since is not None:
        body["query"] = {"range": {"timestamp": {"gte": round(since * 1e3), "format": "epoch_millis"}}}
    try:
        while True:
            hits = _hits(client, INDICES[kind], body)
            for hit in hits:
                yield hit.get("_source") if isinstance(hit, Mapping) else hit
            if len(hits) < page:
                return
            last = hits[-1].get("sort") if isinstance(hits[-1], Mapping) else None
            if not last or last == body.get("search_after"):
                raise _failed("its answer does not say where the next page begins")
            body["search_after"] = last
    finally:
        client.close()


def _client(url: str, login: tuple[str, str] | None) -> Any:  # noqa: ANN401 - opensearch-py has no types
    try:
        from opensearchpy import OpenSearch
    except ImportError as error:
        raise MissingDependencyError(
            "reading from OpenSearch needs opensearch-py", hint="pip install 'dwell[opensearch]'"
        ) from error
    return OpenSearch([url], http_auth=login, timeout=_TIMEOUT_S, max_retries=2, retry_on_timeout=True)


def _hits(client: Any, index: str, body: Mapping[str, Any]) -> list[Any]:  # noqa: ANN401 - opensearch-py has no types
    from opensearchpy.exceptions import OpenSearchException

    try:
        answer = client.search(index=index, body=body)
    except OpenSearchException as error:
        raise _failed(f"{type(error).__name__}: {getattr(error, 'status_code', '')}") from error
    found = answer.get("hits", {}).get("hits") if isinstance(answer, Mapping) else None
    if not isinstance(found, list):
        raise _failed("its answer holds no hits")
    return found


def _failed(what: str) -> StorageError:
    return StorageError(
        f"OpenSearch did not give its documents: {what}",
        code="opensearch",
        hint="Check the URL, the rights of the user, and that both indices exist.",
    )
