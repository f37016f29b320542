import uuid

from hypothesis import given
from hypothesis import strategies as st

from dwell.records.event_ids import uuid7


@given(milliseconds=st.integers(0, 2**50), chance=st.integers(0, 2**80 - 1))
def test_the_parts_stand_where_the_standard_puts_them(milliseconds: int, chance: int) -> None:
    found = uuid.UUID(uuid7(milliseconds, chance))
    assert str(found) == uuid7(milliseconds, chance)
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert found.int >> 80 == milliseconds % 2**48
    assert (found.int >> 64 & 0xFFF, found.int & (2**62 - 1)) == (chance >> 68, chance & (2**62 - 1))
