"""OTLP over HTTP in JSON: where a collector may send traces and logs, for the retrievals and evaluations among them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from dwell.errors import RecordError
from dwell.integrations.otel import OtelReport, import_otel
from dwell.integrations.ubi.lines import decoded
from dwell.loop import Loop
from dwell.server.caller import caller_of

__all__ = ["OtlpLogs", "OtlpReply", "OtlpSpans", "OtlpSpansReply", "logs", "traces"]

_REASONS_TOLD: Final = 3  # the collector logs them at every batch


class OtlpSpans(msgspec.Struct, frozen=True, rename="camel"):
    """An ExportTraceServiceRequest; what stands in it is looked at span by span."""

    resource_spans: list[Any] | None = None


class OtlpLogs(msgspec.Struct, frozen=True, rename="camel"):
    """An ExportLogsServiceRequest; what stands in it is looked at record by record."""

    resource_logs: list[Any] | None = None


class OtlpRejectedSpans(msgspec.Struct, frozen=True, rename="camel"):
    """What of a request was not taken."""

    rejected_spans: str
    error_message: str


class OtlpRejectedRecords(msgspec.Struct, frozen=True, rename="camel"):
    """What of a request was not taken."""

    rejected_log_records: str
    error_message: str


class OtlpSpansReply(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Empty where everything was taken, or has nothing to do with retrievals."""

    partial_success: OtlpRejectedSpans | None = None


class OtlpReply(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Empty where everything was taken, or is no evaluation."""

    partial_success: OtlpRejectedRecords | None = None


async def traces(request: Request) -> Response:
    """Record the retrievals among spans, and join the evaluations in them."""
    report = await _taken(request, "resourceSpans")
    told = OtlpRejectedSpans(str(report.n_quarantined), _reasons(report)) if report.n_quarantined else None
    return Response(msgspec.json.encode(OtlpSpansReply(told)), media_type="application/json")


async def logs(request: Request) -> Response:
    """Join the evaluations among log records."""
    report = await _taken(request, "resourceLogs")
    told = OtlpRejectedRecords(str(report.n_quarantined), _reasons(report)) if report.n_quarantined else None
    return Response(msgspec.json.encode(OtlpReply(told)), media_type="application/json")


async def _taken(request: Request, name: str) -> OtelReport:
    house, caller = caller_of(request, "secret")
    return await asyncio.to_thread(_read_and_taken, house.loop(caller.tenant), name, await request.body())


def _read_and_taken(loop: Loop, name: str, body: bytes) -> OtelReport:
    """Return what became of a request.

    Raises:
        RecordError: code `malformed_json` or `type`: nothing was taken.
        StorageError: The store did not take the lists.
    """
    try:
        found = decoded(body)
    except ValueError as error:
        raise RecordError(
            "the body is no JSON",
            code="malformed_json",
            field="",
            value="(body)",
            hint="Send an export request of OTLP in JSON; a collector's exporter does with `encoding: json`.",
        ) from error
    if not isinstance(found, Mapping) or not isinstance(found.get(name), list | None):
        raise RecordError(
            "the body is no export request",
            code="type",
            field=name if isinstance(found, Mapping) else "",
            value="(body)",
            hint=f"Send an object whose {name} is an array.",
        )
    # a request without any is an empty one, and not everything that a newer protocol knows is for us
    told = [{name: found[name]}] if name in found else []
    return import_otel(loop, told, now=time.time())


def _reasons(report: OtelReport) -> str:
    return "; ".join(f"{one.pointer}: {one.reason}" for one in report.quarantined[:_REASONS_TOLD])
