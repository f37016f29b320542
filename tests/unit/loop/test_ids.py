import time
import uuid

from dwell.loop.ids import new_event_id
from dwell.records import checks


def test_ids_are_of_version_7_and_legal() -> None:
    before = time.time_ns() // 1_000_000
    found = [new_event_id() for _ in range(500)]
    after = time.time_ns() // 1_000_000
    assert len(set(found)) == 500
    for text in found:
        one = uuid.UUID(text)
        assert (one.version, one.variant) == (7, uuid.RFC_4122)
        assert before <= one.int >> 80 <= after  # 48 bits of milliseconds, RFC 9562
        assert checks.event_id(text) == text


def test_the_random_bits_are_all_used() -> None:
    found = [uuid.UUID(new_event_id()).int & (2**80 - 1) for _ in range(200)]
    is_fixed = {76, 77, 78, 79, 62, 63}  # version and variant
    for bit in range(80):
        n = sum(number >> bit & 1 for number in found)
        # 200 fair coins: all alike with a probability of 2^-199
        assert (n in {0, 200}) == (bit in is_fixed)
