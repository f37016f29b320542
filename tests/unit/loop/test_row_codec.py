"""A row of fixed width holds an event bit for bit; only an embedding may lose digits, where that was chosen."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dwell.loop.row_codec import EmbeddingKind, LearningRow, RowShape, packed, row_schema, unpacked
from dwell.records.rows import EventRow

ARRAYS = ("doc_hashes", "features", "inclusion", "exposure", "rewards", "propensities", "caller_rank")
EMBEDDINGS: tuple[EmbeddingKind, ...] = ("none", "float16", "float32")


def event(seed: int, length: int, kept: int, *, n_features: int = 3, **changed: Any) -> EventRow:
    """Return an event whose numbers are what the facts can hold, features of any bits included."""
    rng = np.random.default_rng(seed)
    fields: dict[str, Any] = {
        "seq": seed + 1,
        "event_id": f"e{seed}",
        "query_hash": int(rng.integers(0, 2**64, dtype=np.uint64)),
        "user_hash": int(rng.integers(0, 2**64, dtype=np.uint64)),
        "served_at": float(rng.integers(0, 2**50)) / 1e6,
        "features": rng.integers(0, 2**32, (length, n_features), dtype=np.uint32).view(np.float32),
        "inclusion": rng.uniform(np.nextafter(0, 1), 1.0, length),
        "exposure": rng.uniform(0, 1, length).astype(np.float32).astype(np.float64),
        "n_kept": kept,
        "n_shown": kept + int(rng.integers(0, 50)),
        "rewards": rng.uniform(-1, 1, kept).astype(np.float32).astype(np.float64),
        "propensities": rng.uniform(0, 1, kept),
        "caller_rank": rng.permutation(length).astype(np.float64),
        "params_version": int(rng.integers(0, 1000)),
        "temperature": float(rng.uniform(0, 100)),
        "is_held_out": bool(rng.integers(2)),
        "is_deterministic": bool(rng.integers(2)),
        "is_caller_ordered": bool(rng.integers(2)),
        "version": int(rng.integers(1, 2**40)),
        "segment_code": int(rng.integers(0, 2**31)),
        "late_us": int(rng.integers(0, 2**50)),
        "doc_hashes": rng.integers(0, 2**64, kept, dtype=np.uint64),
    }
    return EventRow(**{**fields, **changed})


def learning(of: EventRow, embedding: Any = None, **changed: Any) -> LearningRow:
    return LearningRow(of, changed.get("reward", 0.5), changed.get("priority", 1.25), embedding)


def same_bits(a: EventRow, b: EventRow) -> bool:
    numbers = [name for name in a.__dataclass_fields__ if name not in ARRAYS]
    return all(repr(getattr(a, n)) == repr(getattr(b, n)) for n in numbers) and all(
        getattr(a, n).dtype == getattr(b, n).dtype
        and getattr(a, n).shape == getattr(b, n).shape
        and getattr(a, n).tobytes() == getattr(b, n).tobytes()
        for n in ARRAYS
    )


@st.composite
def events(draw: st.DrawFn) -> EventRow:
    length = draw(st.integers(1, 64))
    user = draw(st.none() | st.just(0) | st.integers(0, 2**64 - 1))
    return event(
        draw(st.integers(0, 2**32)),
        length,
        draw(st.integers(0, length)),
        user_hash=user,
        event_id=draw(st.from_regex(r"[\w.:/@-]{1,128}", fullmatch=True)),
    )


@given(
    st.lists(events(), min_size=1, max_size=6, unique_by=lambda e: e.seq),
    st.sampled_from(EMBEDDINGS),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.integers(0, 2**32),
)
@example([event(0, 64, 64, event_id="\U0001e900" * 128)], "float16", [True] * 6, 0)  # four bytes a character
def test_a_round_trip_keeps_every_bit(
    found: list[EventRow], embedding: EmbeddingKind, has: list[bool], seed: int
) -> None:
    vectors = np.random.default_rng(seed).normal(size=(len(found), 5)).astype(np.float32)
    rows = [learning(e, vectors[i] if has[i] else None) for i, e in enumerate(found)]
    shape = RowShape(3)
    for row in rows:
        shape = shape.holding(row, embedding)
    columns = packed(rows, row_schema(shape, key="k", embedding=embedding))
    names = {e.segment_code: f"segment {e.segment_code}" for e in found[1:]}
    for i, (before, after) in enumerate(zip(found, unpacked(columns, names), strict=True)):
        assert same_bits(replace(before, segment=names.get(before.segment_code)), replace(after, query_embedding=None))
        assert (after.query_embedding is not None) == (has[i] and embedding != "none")
        if after.query_embedding is not None:
            assert after.query_embedding.tobytes() == columns["query_embedding"][i].tobytes()
    without = {name: values for name, values in columns.items() if name != "query_embedding"}
    assert all(after.query_embedding is None for after in unpacked(without))
    assert columns["priority"].tolist() == [1.25] * len(rows)
    has_any = embedding != "none" and any(has[: len(found)])
    assert ("query_embedding" in columns) == has_any
    if has_any:
        kept = columns["query_embedding"]
        assert kept.dtype == np.dtype(embedding)
        due = np.where(np.array(has[: len(found)])[:, None], vectors, 0)
        # a float16 has 11 digits in base 2: half a unit of the last one, or of the smallest number, 2^-24
        error = 0.0 if embedding == "float32" else np.maximum(np.abs(due) * 2.0**-11, 2.0**-25)
        assert (np.abs(kept.astype(np.float64) - due) <= error).all()


def test_an_embedding_beyond_the_range_of_float16_stays_finite() -> None:
    row = learning(event(1, 2, 1), np.array([1e6, -1e6, 3.0], dtype=np.float32))
    for embedding, due in (("float16", [65504.0, -65504.0, 3.0]), ("float32", [1e6, -1e6, 3.0])):
        kind: Any = embedding
        schema = row_schema(RowShape(3).holding(row, kind), key="", embedding=kind)
        assert packed([row], schema)["query_embedding"].tolist() == [due]


def test_the_reward_of_a_row_is_that_of_its_list_within_bounds() -> None:
    rows = [
        learning(event(i, 3, 3, rewards=np.array(r))) for i, r in enumerate([[1.0, 0.5, 0], [-1, -1, 0], [0.25] * 3])
    ]
    found = packed(rows, row_schema(RowShape(3), key="", embedding="none"))
    assert found["row_reward"].tolist() == [1.0, -1.0, 0.75]


@pytest.mark.parametrize(
    ("length", "kept", "text", "due"),
    [
        (16, 16, "e" * 40, (16, 16, 40)),
        (17, 16, "e", (32, 16, 40)),
        (64, 17, "e", (64, 32, 40)),
        (1, 1, "ä" * 21, (16, 16, 80)),
    ],
)
def test_a_shape_doubles_until_a_row_fits(length: int, kept: int, text: str, due: tuple[int, int, int]) -> None:
    shape = RowShape(3).holding(learning(event(1, length, kept, event_id=text)), "none")
    assert (shape.n_documents, shape.n_positions, shape.id_bytes, shape.embedding_dim) == (*due, 0)
    assert shape.holding(learning(event(2, 1, 1)), "none") == shape  # and never shrinks


def test_another_key_or_another_kind_of_embedding_is_another_schema() -> None:
    shape = RowShape(3)
    digests = {row_schema(shape, key=key, embedding=embedding).digest for key in ("a", "b") for embedding in EMBEDDINGS}
    assert len(digests) == 6
