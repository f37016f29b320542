"""Opens a memory and adds, recalls, pins and forgets, telling on standard output what is durable.

    python memory_child.py <path> <number of this run>

A line is "added", "pinned" or "forgot" with an id, written once the call has returned, or "forgetting" with an id,
written before. A second thread recalls and praises all the time, so that lists are always on their way.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import dwell.memory
from dwell.memory import Memory

START = 1_700_006_400.0
PAUSE_S = 0.01  # the memory's lock is not fair: without it the other thread hardly gets in


def opened(path: str | Path) -> Memory:
    """Return the memory."""
    return dwell.memory.open(path)


def word_of(item: str) -> str:
    """Return the word that stands in one memory alone."""
    return "xylo" + "".join(chr(ord("a") + int(digit)) if digit.isdigit() else "q" for digit in item)


def live(memory: Memory, run: int) -> None:
    """Add one memory after the other, pin every fifth, and forget two of three."""
    from loop_child import tell

    number = 0
    while True:
        item = f"{run}-{number}"
        memory.add(f"the kettle says {word_of(item)} today", id=item, now=START + number)
        tell(f"added {item}")
        if number % 5 == 0 and memory.pin(item):
            tell(f"pinned {item}")
        if number % 3:
            tell(f"forgetting {item}")
            memory.forget(item)
            tell(f"forgot {item}")
        number += 1


def recall_for_ever(memory: Memory) -> None:
    """Recall and praise what stands first."""
    while True:
        recall = memory.search("what does the kettle say", k=5, now=START)
        if recall.event_id is not None:
            memory.feedback(recall.event_id, "used", item=recall.items[0].id, now=START)
        time.sleep(PAUSE_S)


def main(arguments: list[str]) -> None:
    """Run until killed."""
    from loop_child import tell

    memory = opened(arguments[0])
    tell("open")
    threading.Thread(target=recall_for_ever, args=(memory,), daemon=True).start()
    live(memory, int(arguments[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
