"""Imports a log into a store and says how far it came.

    python import_child.py <path of the store> <path of the log>

Writes "open", a number for every hundred items read, and "done" with what was recorded and joined.
"""

from __future__ import annotations

import sys

import dwell
from dwell.integrations.importing import import_log

PEPPER = b"a pepper of these tests"


def main(arguments: list[str]) -> None:
    """Import."""
    store, log = arguments
    with dwell.open(store, features=["bm25"], mode="log-only", pepper=PEPPER) as loop:
        print("open", flush=True)

        def say(n: int, _: int) -> None:
            if n % 100 == 0:
                print(n, flush=True)

        report = import_log(loop, log, format="jsonl", on_progress=say)
        print(f"done {report.n_skipped} {report.n_lists_known}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
