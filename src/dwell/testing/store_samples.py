"""Records to try a store with, and the demands made of its answers: no test framework is needed for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol

import numpy as np

from dwell.records import Impression, Signal
from dwell.storage.protocol import Role, Store

__all__ = [
    "PATIENCE_S",
    "USERS",
    "Refused",
    "equal",
    "opened",
    "same_record",
    "sample_impression",
    "sample_signal",
    "true",
]

USERS: Final = tuple(f"{i:032x}" for i in range(1, 9))  # pseudonyms
PATIENCE_S: Final = 10.0  # far beyond what a thread needs to go on; reached only by one that is stuck


def sample_impression(event_id: str, *, k: int = 3, n: int = 6, f: int = 2, **changes: Any) -> Impression:  # noqa: ANN401 - fields of any type
    """Return an impression whose numbers are all different, its first feature missing."""
    documents = tuple(f"{event_id}/doc-{i}" for i in range(n))
    features = np.arange(1, n * f + 1, dtype=np.float32).reshape(n, f) / np.float32(3)
    features[0, 0] = np.nan
    made = Impression(
        event_id=event_id,
        served_at=1_700_000_000.123457,
        query="reset 2fa \N{KEY}",
        mode="live",
        policy="params",
        params_version=3,
        temperature=0.3,
        is_deterministic=False,
        served=documents[:k],
        propensities=np.linspace(1 / 3, 1.0, k),
        n_candidates=n,
        scores=np.linspace(-1.0, 1 / 3, n, dtype=np.float32),
        score_sd=1 / 7,
        documents=documents,
        document_scores=np.arange(n)[::-1].copy(),
        inclusion=np.linspace(1.0, 1 / 3, n),
        features=features,
        feature_names=tuple(f"feature {j}" for j in range(f)),
    )
    return dataclasses.replace(made, **changes)


def sample_signal(event_id: str, **changes: Any) -> Signal:  # noqa: ANN401 - fields of any type
    """Return a click on the first document of a sample impression."""
    made = Signal(
        event_id=event_id,
        name="click",
        doc=f"{event_id}/doc-0",
        value=1.0,
        at=1_700_000_001.5,
        received_at=1_700_000_002.25,
    )
    return dataclasses.replace(made, **changes)


def equal(found: object, expected: object) -> None:
    """Demand that both are equal."""
    if found != expected:
        raise AssertionError(f"found {found!r}, due is {expected!r}")


def true(claim: bool, words: str) -> None:  # noqa: FBT001 - a claim and its words
    """Demand that a claim is true; the words say what is the case where it is not."""
    if not claim:
        raise AssertionError(words)


class Opens(Protocol):
    """Whoever can open a store."""

    def open_store(self, place: Path, *, tenant: str = "", role: Role = "owner") -> Store:
        """Return the store of a place."""
        ...


@contextmanager
def opened(opens: Opens, place: Path) -> Iterator[Store]:
    """Give a store, owned, and close it."""
    store = opens.open_store(place / "store")
    try:
        yield store
    finally:
        store.close()


class Refused:
    """A `with` block that has to end in an error of this kind, and of this code where one is given."""

    def __init__(self, kind: type[Exception], code: str | None = None) -> None:
        self._kind = kind
        self._code = code

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            raise AssertionError(f"{self._kind.__name__} was due, and nothing was raised")
        if not isinstance(error, self._kind):
            return False
        if self._code is not None:
            equal(getattr(error, "code", None), self._code)
        return True


def same_record(found: object, expected: object, *, besides: Sequence[str] = ()) -> None:
    """Demand that all fields are equal, floats and arrays by their bits, arrays read-only."""
    for field in dataclasses.fields(expected):  # type: ignore[arg-type]
        if field.name in besides:
            continue
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(b, np.ndarray):
            true(isinstance(a, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape, f"{field.name}: {a!r}")
            true(a.tobytes() == b.tobytes(), f"{field.name}: {a!r} has other bits than {b!r}")
            true(not a.flags.writeable, f"{field.name} can be changed by whoever reads it")
        elif isinstance(b, float):
            true(np.float64(a).tobytes() == np.float64(b).tobytes(), f"{field.name}: {a!r} is not {b!r}")
        else:
            true(a == b, f"{field.name}: {a!r} is not {b!r}")
