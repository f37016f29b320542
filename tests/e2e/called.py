"""What the fixture `dwell_` gives: the program, called within the test's own process."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Ran", "Run"]


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Read standard output as one finite JSON document."""

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is no JSON")

        return json.loads(self.out, parse_constant=refuse)


Run = Callable[..., Ran]
