"""One of several processes that serve: it ranks and takes in reactions; closing and learning are the learner's."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from dwell.config import ServeSettings
from dwell.errors import DwellError
from dwell.health import AlertSettings
from dwell.server.counts import counts_of
from dwell.server.house import open_house
from dwell.server.page_routes import Library
from dwell.server.redaction import log_as_lines
from dwell.server.running import serve_house, webhook_of
from dwell.server.worker_link import WorkerLink

__all__ = ["WorkerPlan", "run_worker"]


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What a serving process is told when it starts.

    Attributes:
        where: The store's URL.
        arguments: Of `dwell.open`.
        settings: How to serve.
        is_open: Whether no key is asked for.
        started_at: When the service was started, UTC epoch seconds.
        open_library: What the search page at /example searches.
        alerts: When an alert fires, and who is told.
        is_first: Whether this one looks at alerts and tells of them, for all.
    """

    where: str
    arguments: Mapping[str, Any]
    settings: ServeSettings
    is_open: bool
    started_at: float
    open_library: Callable[[], Library] | None
    alerts: AlertSettings
    is_first: bool


def run_worker(pipe: Connection, listeners: list[socket.socket], plan: WorkerPlan) -> None:
    """Serve until SIGTERM, or until the supervisor's end of the pipe is gone.

    Args:
        pipe: To the supervisor; a failure to open the store is told there.
        listeners: Sockets that are bound already.
        plan: What to serve.
    """
    log_as_lines()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: the supervisor says when to stop
    link = WorkerLink(pipe)
    try:
        house = open_house(plan.where, plan.arguments, plan.settings, is_open=plan.is_open, link=link)
    except DwellError as error:
        pipe.send(("failed", error))
        os._exit(1)  # threads of a store that did not open hold nobody up
    house.started_at = plan.started_at
    house.gather = link.gathered
    link.counts = lambda: counts_of(house)
    link.on_report = house.reports.__setitem__
    try:
        serve_house(
            house,
            open_library=plan.open_library,
            alerts=plan.alerts,
            webhook=webhook_of(plan.alerts) if plan.is_first else None,
            is_telling=plan.is_first,
            listeners=listeners,
            started=lambda _, advice: link.ready(advice),
        )
    finally:
        house.close()
