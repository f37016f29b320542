"""Which arithmetic makes the sum trees: numpy, or numba where it is installed and asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, get_args

from dwell.errors import ConfigError
from dwell.replay.prefix_tree import PrefixTree
from dwell.replay.samplers import ExactTree

__all__ = ["ENGINES", "Engine", "tree_maker"]

Engine = Literal["numpy", "numba"]
ENGINES: Final[tuple[str, ...]] = get_args(Engine)


def tree_maker(engine: object) -> Callable[[int], ExactTree]:
    """Return what makes a sum tree of n leaves; whole numbers make the draws of both engines the same, bit for bit.

    Raises:
        ConfigError: There is no such engine, or numba is not installed.
    """
    if engine == "numpy":
        return PrefixTree
    if engine != "numba":
        raise ConfigError("there is no such engine", field="engine", value=engine, hint=f"One of {', '.join(ENGINES)}.")
    try:
        from dwell.replay.compiled_tree import CompiledTree
    except ImportError as error:
        raise ConfigError(
            "the engine numba is not installed",
            field="engine",
            value=engine,
            hint="Install dwell[fast], or leave engine out.",
        ) from error
    return CompiledTree
