"""The OpenAPI 3.1 document, and a page that shows it without any network."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from dwell import __version__
from dwell.server.endpoints import Endpoint
from dwell.server.headers import MAX_KEY_CHARS
from dwell.server.problems import MEDIA_TYPE, Problem

__all__ = ["docs_page", "openapi_document"]

_JSON: Final = "application/json"
_LINES: Final = "application/x-ndjson"
_TEXT: Final = "text/plain"  # what a browser posts without asking first
_REF: Final = re.compile(r"#/components/schemas/(\w+)")
_IN_PATH: Final = re.compile(r"{(\w+)}")
_SEGMENT: Final = {"type": "string", "pattern": r"^[\w.:@-]{1,128}$"}  # an event's id, in one step of the path
_STATUSES: Final = {
    "400": "Malformed: code, path and remedy say what to change.",
    "401": "A key is needed.",
    "403": "Another kind of key is needed, or a token is not good.",
    "404": "Not there, or another tenant's.",
    "405": "Another method is due here.",
    "408": "The body came too slowly.",
    "409": "It contradicts what is there.",
    "413": "Too large.",
    "415": "A content type or encoding that is not taken.",
    "429": "Too often; Retry-After says when again.",
    "503": "Not at the moment; Retry-After says when again.",
}


def openapi_document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the document, made of the very types that the handlers read and write."""
    types = [kind for endpoint in endpoints for kind in (*endpoint.body, *endpoint.reply)]
    schemas, components = msgspec.json.schema_components([*types, Problem], ref_template="#/components/schemas/{name}")
    by_type = {id(kind): schema for kind, schema in zip([*types, Problem], schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dwell",
            "version": __version__,
            "description": "Retrieval that learns from what happened after it answered.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _one_of(kinds: Sequence[Any], by_type: dict[int, Any]) -> dict[str, Any]:
    if not kinds:
        return {"type": "object"}
    found = [by_type[id(kind)] for kind in kinds]
    return dict(found[0]) if len(found) == 1 else {"anyOf": found}


def _operation(endpoint: Endpoint, by_type: dict[int, Any]) -> dict[str, Any]:
    reply = {"schema": {"type": "string"}} if endpoint.other else {"schema": _one_of(endpoint.reply, by_type)}
    done = {"description": "Done.", "content": {endpoint.other or _JSON: reply}}
    responses: dict[str, Any] = {str(endpoint.status): done if endpoint.status != 204 else {"description": "Done."}}
    problem = {"content": {MEDIA_TYPE: {"schema": by_type[id(Problem)]}}}
    if endpoint.path == "/readyz":
        responses["503"] = {"description": "Not ready.", "content": {_JSON: {"schema": {"type": "object"}}}}
    if endpoint.needs != "nobody":
        responses |= {status: {"description": words, **problem} for status, words in _STATUSES.items()}
    found: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": re.sub(r"\W+", "_", endpoint.path.strip("/")).removeprefix("v1_"),
        "description": f"Needs a key of kind {endpoint.needs}." if endpoint.needs != "nobody" else "Needs no key.",
        "responses": responses,
        "security": [{"bearer": []}, {"header": []}] if endpoint.needs != "nobody" else [],
    }
    if endpoint.method == "POST" and (endpoint.body or not endpoint.may_be_empty):
        content: dict[str, Any] = {_JSON: {"schema": _one_of(endpoint.body, by_type)}}
        if not endpoint.body:
            told = "An object, or an array of them; what is no object is answered in `quarantined`."
            content = {_JSON: {"schema": {"description": told}}}
        if endpoint.lines:
            content[_LINES] = {"schema": {"type": "string"}}
            content[_TEXT] = {"schema": {"type": "string"}}
        found["requestBody"] = {"required": not endpoint.may_be_empty, "content": content}
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "query", "schema": {"type": _number_type(low), "minimum": low, "maximum": high}}
        for name, (low, high) in endpoint.query.items()
    ]
    parameters += [
        {"name": name, "in": "path", "required": True, "schema": _SEGMENT} for name in _IN_PATH.findall(endpoint.path)
    ]
    if endpoint.takes_key:
        key = {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS, "pattern": "^[\\x21-\\x7e]+$"}
        parameters.append({"name": "Idempotency-Key", "in": "header", "schema": key})
    if parameters:
        found["parameters"] = parameters
    return found


def _number_type(bound: float) -> str:
    return "integer" if isinstance(bound, int) else "number"


def docs_page(document: dict[str, Any]) -> str:
    """Return an HTML page of the API: no script, no style from elsewhere."""
    parts = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            body = operation.get("requestBody", {}).get("content", {}).get(_JSON, {}).get("schema")
            done = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
            reply = next((one["schema"] for one in done.get("content", {}).values()), None)
            parts.append(
                f"<section><h2><code>{method.upper()} {html.escape(path)}</code></h2>"
                f"<p>{html.escape(operation['summary'])} {html.escape(operation['description'])}</p>"
                f"{_shown('Body', body)}{_shown('Answer', reply)}</section>"
            )
    schemas = "".join(
        f'<section id="{html.escape(name)}"><h3>{html.escape(name)}</h3>{_shown("", schema)}</section>'
        for name, schema in document["components"]["schemas"].items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>dwell: the API</title>'
        '<meta name="viewport" content="width=device-width"></head><body><main><h1>dwell: the API</h1>'
        '<p>The same as a document for programs: <a href="/openapi.json">openapi.json</a>. Errors are '
        "<code>application/problem+json</code> with code, path and remedy.</p>"
        f"{''.join(parts)}<h2>Types</h2>{schemas}</main></body></html>"
    )


def _shown(title: str, schema: object) -> str:
    if schema is None:
        return ""
    text = html.escape(msgspec.json.format(msgspec.json.encode(schema), indent=1).decode())
    text = _REF.sub(r'<a href="#\1">\1</a>', text)
    heading = f"<p>{title}</p>" if title else ""
    return f"{heading}<pre>{text}</pre>"
