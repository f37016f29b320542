"""Opens a loop that keeps activation and serves from several threads, telling on standard output what is durable.

    python activation_child.py <path> <number of this run>

As `loop_child.py`, with few items and few users, so that sessions meet, and with rows of sums written ten times as
often as they usually are, so that kills come between all steps of it. One more thread erases users. A line is an event
id and the item clicked, written after the answer said "joined", or "erased" and a user.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import dwell
from dwell.loop import activity

N_THREADS = 4
ITEMS = [f"item-{i}" for i in range(12)]
N_USERS = 5
START = 1_700_006_400.0  # a day begins
FLUSH_S = 0.1


def opened(path: str | Path) -> dwell.Loop:
    """Return the loop."""
    return dwell.open(path, features=["x"], learner="both", rewards={"click": 0.5})


def serve_for_ever(loop: dwell.Loop, name: str) -> None:
    """Serve one list after the other and click on one of it, telling of each click once it is durable."""
    from loop_child import tell

    number = 0
    while True:
        event, now = f"{name}-{number}", START + number
        shown = [{"id": ITEMS[(5 * number + j) % len(ITEMS)], "x": 1.0 - j / 10} for j in range(4)]
        ids = loop.rank("q", shown, user=f"user-{number % N_USERS}", event_id=event, now=now).ids
        answer = loop.feedback(event, "click", doc=ids[0], now=now + 1.0)
        tell(f"{event} {ids[0]}" if answer.status == "joined" else f"! {event} {answer}")
        number += 1


def erase_for_ever(loop: dwell.Loop, run: int) -> None:
    """Erase one user of the run after the other, each many times."""
    while True:
        loop.erase(f"user-{run % N_USERS}", now=START + 86_400.0)


def main(arguments: list[str]) -> None:
    """Run until killed."""
    from loop_child import tell

    path, run = arguments[0], int(arguments[1])
    activity._FLUSH_S = FLUSH_S  # type: ignore[misc]
    loop = opened(path)
    tell("open")
    threads = [
        threading.Thread(target=serve_for_ever, args=(loop, f"run{run}-thread{n}"), daemon=True)
        for n in range(N_THREADS)
    ]
    if run % 3 == 2:
        threads.append(threading.Thread(target=erase_for_ever, args=(loop, run), daemon=True))
    for thread in threads:
        thread.start()
    threads[0].join()


if __name__ == "__main__":
    main(sys.argv[1:])
