"""The torture suite: what a replay buffer should survive, run against any that has an adapter.

Each case runs in a process of its own, so a crash and a hang are outcomes like any other. Write an adapter
(`BufferAdapter`) in a module that can be imported, and

    results = run("my_package.my_adapter:MyAdapter")
    print(table({"mine": results}))

Most cases re-express, in the words of this suite, tests that other replay buffers have, and name them. Some stand in
none of those; they say "none checks this".
"""

from dwell.testing.buffer_torture.adapter import ROW_WIDTH, Applied, BufferAdapter, Drawn, NotOfferedError, Offer
from dwell.testing.buffer_torture.demands import Case, WrongAnswerError
from dwell.testing.buffer_torture.suite import (
    CASES,
    OUTCOMES,
    AdapterNotImportedError,
    Outcome,
    Result,
    run,
    table,
)

__all__ = [
    "CASES",
    "OUTCOMES",
    "ROW_WIDTH",
    "AdapterNotImportedError",
    "Applied",
    "BufferAdapter",
    "Case",
    "Drawn",
    "NotOfferedError",
    "Offer",
    "Outcome",
    "Result",
    "WrongAnswerError",
    "run",
    "table",
]
