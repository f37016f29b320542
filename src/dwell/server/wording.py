"""An error of the loop in the words of HTTP: where in the body that was sent, and what to send instead.

The loop speaks to programs in Python, of arguments and types. Who called over HTTP sees names of JSON and calls of
this API.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["pointer_in_body", "remedy_of"]

_OPENAPI: Final = "Correct this field; GET /openapi.json describes every body."
# What only a program in Python can do
_PYTHON: Final = re.compile(r"\bPass\b|\w\(|\w=|\bdwell\.|\bLoop\b|\bTrue\b|\bFalse\b|\bNone\b|\bstr\b|\bfloat\b")
_PHRASES: Final = (
    (
        "Open the store with features=[...], or use log_retrieval.",
        "Start the service with their names (--features, store.features), or send the list to POST /v1/log_retrieval.",
    ),
    (" Declare others through rewards=.", " Others are declared in the service's settings, as store.rewards."),
    ("Pass doc=, the id of a served document.", "Send `doc`, the id of a document of the list."),
)
_BY_CODE: Final = {
    "embedding_dim": "Send `query_embedding` with as many numbers as the first one had.",
    "feature_schema": "Send each registered feature and no other; GET /v1/params names them under `weights`, where "
    "those that begin with `act.` are the service's own.",
    "id": "Send 1 to 512 bytes of UTF-8 without control characters.",
    "non_finite": "Send a finite number, or leave the document out.",
    "not_deferred": 'Rank with `"activate": false`, then activate once, with what was shown.',
    "not_served": "Send ids of the list that was served.",
    "nothing_to_roll_back": "GET /v1/history lists what was live.",
    "params_bounds": "Send `weights` within the bounds, at least one of them not 0.",
    "range": "Send a number of that range.",
    "results_shape": (
        "Send a list of at least one document: `candidates` or `results` with an `id` each, or `ids` with a row of "
        "`features` each; no document twice."
    ),
    "timestamp": "Send `at` in seconds since 1970 (UTC), not in milliseconds and not in the future, or leave it out.",
    "type": "Send a value of the type that GET /openapi.json gives for this field.",
    "unknown_version": "GET /v1/history lists the versions.",
}
_ROW: Final = re.compile(r"/features/(\d+)/(.+)")
_ID: Final = re.compile(r"(/(?:ids|shown)/\d+)/id")
# How the loop calls what stands at another place of the body, by the path of the call
_ELSEWHERE: Final = {
    "/v1/evaluate": (("/params/weights", "/weights"), ("/params", "/version")),
    "/v1/log_retrieval": (("/candidates", "/results"),),
    "/v1/promote": (("/params/weights", "/weights"), ("/params", "/version")),
}


def remedy_of(code: str, hint: str) -> str:
    """Return what somebody who called over HTTP can do.

    Args:
        code: The error's code, as "type:bm25".
        hint: What the error tells a program in Python.
    """
    for phrase, words in _PHRASES:
        hint = hint.replace(phrase, words)
    if hint and _PYTHON.search(hint) is None:
        return hint
    return _BY_CODE.get(code.partition(":")[0], _OPENAPI)


def pointer_in_body(pointer: str, path: str, features: Sequence[str]) -> str:
    """Return a JSON pointer into the body that was sent.

    Args:
        pointer: As the loop names the place.
        path: The path that was called.
        features: Names of the features, in the order of the columns.
    """
    if path.startswith("/ubi"):
        return "" if pointer in {"/payload", "/items"} else pointer
    for theirs, ours in _ELSEWHERE.get(path, ()):
        if pointer == theirs or pointer.startswith(f"{theirs}/"):
            return ours + pointer[len(theirs) :]
    row = _ROW.fullmatch(pointer)
    if row is not None and row[2] in features:
        return f"/features/{row[1]}/{list(features).index(row[2])}"
    doc = _ID.fullmatch(pointer)
    return pointer if doc is None else doc[1]
