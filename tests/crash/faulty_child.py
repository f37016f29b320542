"""Opens a loop on a disk that fails, serves one list after the other, and tells what it was answered.

    python faulty_child.py <path> <number of this run> <number of events> [tries to open]

Lines: "! open <code> <error>" for each try that failed, "open", then for each event its id once its clicks are durable,
or "! <event id> <answer>", and at last "closed" or "! close <code> <error>". Whatever else goes wrong ends it.
"""

from __future__ import annotations

import sys

from loop_child import FEATURES, N_DOCUMENTS, START, WINDOW_S, candidates_of, check_text, serve, tell

import dwell
from dwell.errors import StorageError


def opened(path: str, n_tries: int) -> dwell.Loop | None:
    """Return the loop, or None where no try succeeded."""
    for _ in range(n_tries):
        try:
            return dwell.open(path, features=FEATURES, attribution_window_s=WINDOW_S)
        except StorageError as error:
            tell(f"! open {error.code} {error}")
    return None


def is_served(loop: dwell.Loop, event_id: str) -> bool:
    """Rank a list and return whether all its documents are served."""
    found = candidates_of(event_id)
    served = loop.rank(check_text(event_id), found, event_id=event_id, now=START)
    return len(found) == N_DOCUMENTS and sorted(served.ids) == sorted(document["id"] for document in found)


def main(arguments: list[str]) -> None:
    """Serve, whatever the disk does."""
    path, run, n_events, *tries = arguments
    loop = opened(path, int((tries or ["3"])[0]))
    if loop is None:
        return
    tell("open")
    for i in range(int(n_events)):
        event_id = f"run{run}-thread0-{i}"
        refused = [answer for answer in serve(loop, event_id) if answer.status not in {"joined", "late"}]
        tell(f"! {event_id} {refused[0].status}: {refused[0].reason}" if refused else event_id)
        # A search is served whatever the disk does, in an order of its own choice, and says so where it can not record
        if not is_served(loop, f"run{run}-probe0-{i}"):
            tell(f"! rank {event_id}")
    try:
        loop.close()
    except StorageError as error:
        tell(f"! close {error.code} {error}")
    else:
        tell("closed")


if __name__ == "__main__":
    main(sys.argv[1:])
