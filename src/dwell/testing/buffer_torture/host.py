"""The process that the torture suite runs a buffer in: it loads the adapter once and forks for each case.

Started by `suite.run`; the cases' names come on the command line, one line of JSON goes out for each.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from dwell.testing.buffer_torture.adapter import BufferAdapter, NotOfferedError
from dwell.testing.buffer_torture.demands import Case, WrongAnswerError
from dwell.testing.buffer_torture.suite import CASES

__all__ = ["main"]

TICK_S: Final = 0.002  # how often a running case is looked at
MAX_DETAIL_CHARS: Final = 400


def main(arguments: list[str]) -> int:
    """Run cases and print one line of JSON for each.

    Args:
        arguments: Where the adapter is ("module:Class"), the time limit in seconds, and the cases' names.
    """
    where, timeout_s, *names = arguments
    # what a buffer prints must not mix with the results
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        module, _, name = where.partition(":")
        adapter = getattr(import_module(module), name)
        adapter.load()
    except Exception as error:  # noqa: BLE001 - an adapter's module may fail in any way
        print(json.dumps({"failed": f"{type(error).__name__}: {error}"}), file=out, flush=True)
        return 1
    cases = {case.name: case for case in CASES}
    for name in names:
        print(json.dumps({"name": name, **_outcome(adapter, cases[name], float(timeout_s))}), file=out, flush=True)
    return 0


def _outcome(adapter: type[BufferAdapter], case: Case, timeout_s: float) -> Mapping[str, Any]:
    """Return outcome, detail and duration of one case, run in a process of its own."""
    lacking = sorted(case.needs - adapter.offers)
    if lacking:
        return {"outcome": "not offered", "detail": ", ".join(lacking), "took_s": 0.0}
    began = time.monotonic()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.setsid()
        _run_and_exit(adapter, case, writer)
    os.close(writer)
    status = _waited(pid, began + timeout_s)
    took_s = time.monotonic() - began
    _end_group(pid)
    if status is None:
        os.waitpid(pid, 0)
    with os.fdopen(reader, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    if status is None:
        return {"outcome": "hang", "detail": f"still running after {timeout_s:g} s", "took_s": took_s}
    if status or not said:
        return {"outcome": "crash", "detail": _ended(status), "took_s": took_s}
    return {**json.loads(said), "took_s": took_s}


def _waited(pid: int, end: float) -> int | None:
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(TICK_S)
    return None


def _end_group(pid: int) -> None:
    """End whatever a case started and left running; it was a session of its own."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _ended(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with exit code {os.WEXITSTATUS(status)} in the middle"


def _run_and_exit(adapter: type[BufferAdapter], case: Case, writer: int) -> None:
    outcome, detail = "pass", ""
    try:
        case.check(adapter)
    except WrongAnswerError as error:
        outcome, detail = "wrong answer", str(error)
    except NotOfferedError as error:
        outcome, detail = "not offered", str(error)
    except BaseException as error:  # noqa: BLE001 - whatever a buffer raises is the result
        outcome, detail = "exception", f"{type(error).__name__}: {error} {_place_of(error)}"
    os.write(writer, json.dumps({"outcome": outcome, "detail": detail[:MAX_DETAIL_CHARS]}).encode())
    os._exit(0)


def _place_of(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"({os.path.basename(frame.filename)}:{frame.lineno} {frame.name})"  # noqa: PTH119 - a name, no path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
