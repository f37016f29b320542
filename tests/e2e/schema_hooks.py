"""What schemathesis can not know from a schema: this store's features and lists, so that its calls get beyond the door.

Every other well-formed case is fitted to the store; the rest, and all that are malformed on purpose, go as they are.
"""

from __future__ import annotations

from typing import Any

import schemathesis

FEATURES = ("good", "noise")
MOST_STEPS = 3  # a hundred thousand are legal, and take minutes
_served: list[tuple[str, list[str]]] = []  # lists that were answered: event id, documents
_asked = {"n": 0}


def _number(value: object) -> float:
    return float(value) if type(value) in (int, float) and abs(value) < 1e30 else 1.0  # type: ignore[operator, arg-type]


def _rank(body: dict[str, Any]) -> None:
    given = body.get("candidates") or [{}, {}]
    body["candidates"] = [
        {"id": f"d{i}", **{name: _number(one.get(name, i % 7)) for name in FEATURES}} for i, one in enumerate(given)
    ]
    for name in ("ids", "features", "query_embedding"):
        body.pop(name, None)


def _log(body: dict[str, Any]) -> None:
    body["results"] = [
        {"id": f"d{i}", "rank": i + 1, "score": _number(one.get("score"))} for i, one in enumerate(body["results"])
    ]
    body.pop("query_embedding", None)


def _react(body: Any) -> None:
    items = body.get("items", [body]) if isinstance(body, dict) else body
    for i, item in enumerate(items):
        if _served and isinstance(item, dict):
            event_id, documents = _served[(_asked["n"] + i) % len(_served)]
            item |= {"event_id": event_id, "doc": documents[i % len(documents)], "signal": ("click", "dwell")[i % 2]}
            item["value"] = min(1.0, abs(_number(item.get("value"))))


def _activate(body: dict[str, Any]) -> None:
    if _served:
        body["event_id"], documents = _served[_asked["n"] % len(_served)]
        body["shown"] = documents


def _weigh(body: dict[str, Any]) -> None:
    body |= {"weights": {"good": 1.0, "noise": 0.5}, "version": None}
    if "expected_version" in body:
        body["expected_version"] = None


def _train(body: dict[str, Any]) -> None:
    if body.get("steps") is not None:
        body["steps"] = min(body["steps"], MOST_STEPS)


_FITTING = {
    "/v1/rank": _rank,
    "/v1/log_retrieval": _log,
    "/v1/feedback": _react,
    "/v1/activate": _activate,
    "/v1/evaluate": _weigh,
    "/v1/promote": _weigh,
}


@schemathesis.hook
def before_call(_context: Any, case: Any, **_kwargs: Any) -> None:
    """Fit every other well-formed case to the store."""
    is_well_formed = case.meta is None or case.meta.generation.mode.is_positive
    if not is_well_formed or not isinstance(case.body, dict | list):
        return
    _asked["n"] += 1
    path = case.operation.path
    if path == "/v1/train":
        _train(case.body)
    elif _asked["n"] % 2 and path in _FITTING:
        _FITTING[path](case.body)


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """Remember what was served, to react to."""
    if case.operation.path == "/v1/rank" and response.status_code == 200:
        found = response.json()
        _served.append((found["event_id"], found["ids"]))
        del _served[:-50]
