"""Forks children that have imported everything already: half a second less for each that is killed.

    python nursery.py

Reads lines from standard input, each a JSON list, and answers each with a line of JSON:

* ["start", module, fifo, [arguments]]: forks a child that writes to the fifo as its standard output and calls
  `module.main(arguments)`; answers its process id.
* ["wait", process id]: waits until it is dead; answers the signal that ended it, negative, or its exit code.

No thread runs and no store is open here when a child is forked: it is as if it had been started anew.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

NAMES = ("activation_child", "holding_child", "import_child", "ingest_child", "loop_child", "memory_child")
MODULES = {name: importlib.import_module(name) for name in NAMES}


def born(module: str, fifo: str, arguments: list[str]) -> None:
    """Become the child; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody listens any more: the test was ended
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        pipe = os.open(fifo, os.O_WRONLY)
        os.dup2(pipe, 1)
        os.close(pipe)
        MODULES[module].main(arguments)
        code = 0
    except SystemExit as error:  # as Python ends: what is registered for the end runs first
        atexit._run_exitfuncs()
        code = int(error.code or 0)
    except BaseException:  # noqa: BLE001 - it may not come back into the nursery, whatever happens
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Serve until standard input ends."""
    for line in sys.stdin:
        command, *rest = json.loads(line)
        if command == "start":
            answer = os.fork()
            if answer == 0:
                born(*rest)
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(rest[0], 0)[1])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
