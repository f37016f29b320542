"""The text of an id that sorts by time, from an instant and chance that the caller brings."""

from __future__ import annotations

__all__ = ["uuid7"]


def uuid7(milliseconds: int, chance: int) -> str:
    """Return a UUID of version 7 as text.

    Args:
        milliseconds: UTC epoch milliseconds; the lowest 48 bits count.
        chance: 80 random bits, of which 74 count.

    Source:
        RFC 9562, section 5.7.
    """
    value = (milliseconds & (2**48 - 1)) << 80
    value |= 0x7 << 76
    value |= (chance >> 68 & (2**12 - 1)) << 64
    value |= 0b10 << 62
    value |= chance & (2**62 - 1)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
