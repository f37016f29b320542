"""Generators that depend on names, not on the order of calls."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["named_generator"]


def named_generator(secret: bytes, *parts: str | int) -> np.random.Generator:
    """Return a generator that the same secret and parts always give, and that nobody can predict without the secret.

    Args:
        secret: 0 to 64 bytes; empty where the stream need not be hidden.
        parts: What the stream is for.

    Source:
        Philox keyed by BLAKE2b; Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3".
    """
    # each part is preceded by its length, so that no two lists of parts are written alike
    name = "".join(f"{len(text)}:{text}" for text in map(str, parts))
    digest = hashlib.blake2b(name.encode(), digest_size=16, key=secret).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype="<u8").astype(np.uint64)))
