"""Open a memory: the loop's store, the texts beside it, and both brought in step."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dwell.activation import FEATURES as ACTIVATION
from dwell.errors import ConfigError, FeatureSchemaError, RecordError, StorageError
from dwell.loop import Loop, open_loop
from dwell.memory.memory import Memory
from dwell.memory.shelf import FEATURES, Embed, Shelf
from dwell.memory.texts import Texts
from dwell.records import checks
from dwell.storage import is_postgres

__all__ = ["STARTING_WEIGHTS", "open"]

#: The formula that a memory begins with, on raw values; the loop learns its own from there. A choice: words and meaning
#: count alike, each of them at most 1; a year of age takes away 0.4, and activation, which is within 3 nats, moves a
#: memory by at most 0.45: less than half of what separates the best match from none.
STARTING_WEIGHTS: Final[Mapping[str, float]] = {"bm25": 1.0, "cosine": 1.0, "recency": 0.05, ACTIVATION[0]: 0.15}
_CONFIG: Final = {"activation": {"limit_nats": 3.0}}


def open(  # noqa: A001 - the name is public surface: dwell.memory.open
    where: str | Path,
    *,
    user: str | None = None,
    rewards: object = "memory",
    pepper: bytes | str | None = None,
    embed: Embed | None = None,
    max_items: int | None = None,
    max_age_s: float | None = None,
    weights: Mapping[str, float] | None = None,
    temperature: float = 0.3,
    mode: str = "live",
    learner: str = "both",
    durability: str = "full",
    attribution_window_s: float = 1800.0,
    late_window_s: float = 604_800.0,
    seed: int = 0,
    config: object = None,
) -> Memory:
    """Return a memory on a file, made where there is none: the loop's store, and `<where>.texts` beside it.

    Every `dwell` command works on the store (`dwell health agent.dwell`). One process at a time has it open.

    Args:
        where: A path, or ":memory:".
        user: Who asks, where a search does not say.
        rewards: As `dwell.open`.
        pepper: As `dwell.open`; ids made from texts depend on it.
        embed: Texts in, an array (n, d) of vectors out; None for latent semantic analysis of the texts themselves.
        max_items: Most memories, >= 1; what is least active goes first, what is pinned never.
        max_age_s: Age after which a memory goes, >= 1, unless it is pinned.
        weights: Starting formula over "bm25", "cosine", "recency" and "act.activation"; `STARTING_WEIGHTS` when not
            given. Of a memory that is there already, the ones that it was begun with.
        temperature: As `dwell.open`.
        mode: As `dwell.open`.
        learner: "both" or "activation".
        durability: As `dwell.open`, for both files.
        attribution_window_s: As `dwell.open`.
        late_window_s: As `dwell.open`.
        seed: As `dwell.open`.
        config: As `dwell.open`; when not given, activation is kept within 3 nats of a memory that nobody has seen.

    Raises:
        ConfigError: An argument is out of range, by name.
        FeatureSchemaError: The store is no memory's.
        StorageError: It can not be opened: owned elsewhere, another pepper, damaged, texts of another store or none.
    """
    place = _place(where)
    who, most, oldest = _limits(user, max_items, max_age_s)
    _check(learner, embed)
    is_there = place != ":memory:" and Path(place).exists()
    starting = STARTING_WEIGHTS if weights is None else weights
    try:
        loop = open_loop(
            place,
            features=FEATURES,
            weights=None if is_there and weights is None else starting,
            mode=mode,
            temperature=temperature,
            rewards=rewards,
            attribution_window_s=attribution_window_s,
            late_window_s=late_window_s,
            durability=durability,
            seed=seed,
            config=_CONFIG if config is None else config,
            learner=learner,
            pepper=pepper,
        )
    except FeatureSchemaError as error:
        raise _no_memory(place) from error
    try:
        texts, shelf = _beside(loop, place, durability, embed)
    except BaseException:
        loop.close()
        raise
    return Memory(loop, texts, shelf, user=who, max_items=most, max_age_s=oldest)


def _beside(loop: Loop, place: str, durability: str, embed: Embed | None) -> tuple[Texts, Shelf]:
    """Return what stands beside a loop's store, in step with it."""
    texts = _texts(loop, place, durability)
    try:
        shelf = Shelf(embed)
        _in_step(loop, texts)
        _filled(shelf, texts)
    except BaseException:
        texts.close()
        raise
    return texts, shelf


def _no_memory(place: str) -> FeatureSchemaError:
    return FeatureSchemaError(
        "this store was made for other features, and is no memory",
        field="where",
        value=place,
        hint="`dwell mcp --loop STORE` serves it, and dwell.open opens it; give a memory a path of its own.",
    )


def _place(where: object) -> str:
    if not isinstance(where, str | os.PathLike) or not str(where):
        raise ConfigError("a path is due here", field="where", value=where, hint='Pass a path, or ":memory:".')
    place = os.fspath(where)
    if not isinstance(place, str) or is_postgres(place):
        raise ConfigError(
            "a memory is kept in a file",
            field="where",
            value=place,
            hint='Pass a path, or ":memory:"; for a database use dwell.open and a retriever of your own.',
        )
    return place


def _check(learner: object, embed: object) -> None:
    if learner not in {"both", "activation"}:
        raise ConfigError(
            "a memory keeps activation", field="learner", value=learner, hint="Use 'both' or 'activation'."
        )
    if embed is not None and not callable(embed):
        raise ConfigError(
            "an embedding is a function", field="embed", value=embed, hint="Pass texts in, an array of vectors out."
        )


def _limits(user: object, max_items: object, max_age_s: object) -> tuple[str | None, int | None, float | None]:
    try:
        return (
            checks.optional_identifier(user, "user"),
            None if max_items is None else checks.positive_integer(max_items, "max_items", most=10_000_000),
            None if max_age_s is None else checks.within(max_age_s, "max_age_s", 1.0, 1e11),
        )
    except RecordError as error:
        raise ConfigError(error.message, field=error.field, value=error.value, hint=error.hint) from error


def _texts(loop: Loop, place: str, durability: str) -> Texts:
    """Return the texts that belong to a loop's store.

    Raises:
        StorageError: code `not_in_step`: they are another's, or gone, though lists were served from them.
    """
    beside = place if place == ":memory:" else f"{os.path.realpath(place)}.texts"
    if place != ":memory:" and not Path(beside).exists() and loop.last_seq():
        raise StorageError(
            f"{beside} is gone: lists were served from the texts in it",
            code="not_in_step",
            hint="Restore both files of the memory from one backup. A store that dwell.open made was never a memory: "
            "`dwell mcp --loop STORE` serves it.",
        )
    return Texts.open(beside, mark=loop.pseudonym("dwell.memory"), durability=durability)


def _in_step(loop: Loop, texts: Texts) -> None:
    """Finish what a crash left half done: texts say what is there and what is pinned, activation follows."""
    activation = loop.activation
    if activation is None:
        raise StorageError("the store keeps no activation", code="not_in_step", hint="Open it with learner='both'.")
    leaving = texts.leaving()
    # what is said of a whole list reaches what was forgotten since it was shown
    strangers = set(activation.items()) - {row.id for row in texts.rows()}
    if leaving or strangers:
        activation.drop(sorted(strangers | set(leaving)))
    if leaving:
        texts.scrub()
        texts.left(leaving)
    pinned = set(texts.pinned())
    told = set(activation.pinned())
    if pinned - told:
        activation.pin(sorted(pinned - told))
    if told - pinned:
        activation.unpin(sorted(told - pinned))


def _filled(shelf: Shelf, texts: Texts) -> None:
    """Put what is there on the shelf, with vectors for what has none yet.

    Raises:
        ConfigError: The texts have vectors of the caller's embedding, and it is not given, or is another one.
    """
    rows = texts.rows()
    if not shelf.is_embedded and any(row.vector is not None for row in rows):
        raise ConfigError(
            "the memory was begun with an embedding of its user's", field="embed", value=None, hint="Give it again."
        )
    without = [row for row in rows if shelf.is_embedded and row.vector is None]
    if without:
        vectors = shelf.vectors([row.text for row in without])
        if vectors is not None:
            texts.put_vectors(zip([row.number for row in without], vectors, strict=True))
            rows = texts.rows()
    for row in rows:
        shelf.put(row)
    shelf.fit(rows)
