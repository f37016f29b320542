"""Holds a write transaction open for a second, to be stopped inside it.

python holding_child.py <path>
"""

from __future__ import annotations

import sys
import time

from loop_child import tell

from dwell.storage import open_store


def main(arguments: list[str]) -> None:
    """Write, tell "inside", wait, commit, tell "committed"."""
    store = open_store(arguments[0])
    with store.transaction() as tx:
        tx.put_setting("half", b"whole")
        tell("inside")
        time.sleep(1.0)
    tell("committed")
    store.close()


if __name__ == "__main__":
    main(sys.argv[1:])
