"""Lines of bounded length, where they end, and what tells one log from another."""

import gzip
import io
import zlib

import pytest

from dwell.errors import ConfigError, RecordError
from dwell.integrations.importing.shelf import Shelf
from dwell.integrations.importing.sources import is_same_so_far, lines_of, lines_of_file, opened


def test_lines_come_with_their_end_and_the_checksum_up_to_there() -> None:
    text = b"\xef\xbb\xbfone\r\n\ntwo"
    found = list(lines_of_file(io.BytesIO(text)))
    assert [(line.number, line.end, line.data) for line in found] == [(1, 8, b"one"), (2, 9, b""), (3, 12, b"two")]
    assert [line.mark for line in found] == [zlib.crc32(text[:end]) for end in (8, 9, 12)]
    assert is_same_so_far(io.BytesIO(text), 9, found[1].mark)
    assert not is_same_so_far(io.BytesIO(b"X" + text[1:]), 9, found[1].mark)
    assert not is_same_so_far(io.BytesIO(text[:5]), 9, found[1].mark)


def test_a_line_that_is_too_long_is_passed_over_and_the_next_one_is_read() -> None:
    text = b"x" * 11 + b"\n" + b"y" * 10 + b"\n" + b"z" * 50
    assert [line.data for line in lines_of_file(io.BytesIO(text), most_bytes=10)] == [None, b"y" * 10, None]
    assert [line.end for line in lines_of_file(io.BytesIO(text), most_bytes=10)] == [12, 23, 73]
    assert [line.data for line in lines_of(["x" * 11, "y"], most_bytes=10)] == [None, b"y"]


def test_gzip_is_known_by_its_first_bytes_and_what_the_caller_opened_stays_open() -> None:
    for text in (b"one\ntwo\n", gzip.compress(b"one\n") + gzip.compress(b"two\n")):
        given = io.BytesIO(text)
        with opened(given) as file:
            assert [line.data for line in lines_of_file(file)] == [b"one", b"two"]
        assert not given.closed


@pytest.mark.parametrize("magic", [b"PK\x03\x04", b"PAR1", b"SQLite format 3\0", b"\x28\xb5\x2f\xfd"])
def test_what_is_no_text_is_refused(magic: bytes) -> None:
    with pytest.raises(ConfigError, match="no text"), opened(io.BytesIO(magic + bytes(20))):
        pass


def test_a_packed_file_that_is_cut_off_gives_what_it_has_and_then_says_so() -> None:
    packed = gzip.compress(b"".join(b"%d\n" % (i * i * 7919 % 1_000_003) for i in range(50_000)))
    found = []
    with opened(io.BytesIO(packed[: len(packed) // 2])) as file, pytest.raises(RecordError) as caught:
        found.extend(lines_of_file(file))
    assert found
    assert caught.value.code == "damaged"


def test_a_bomb_is_refused_after_64_megabytes() -> None:
    packed = gzip.compress(b"\n" * 80_000_000, compresslevel=1)
    assert len(packed) * 200 < 80_000_000
    with opened(io.BytesIO(packed)) as file:
        assert len(file.read(60_000_000)) == 60_000_000
        with pytest.raises(RecordError) as caught:
            file.read(20_000_000)
    assert caught.value.code == "bomb"


def test_a_shelf_gives_back_what_was_put_last_also_beyond_what_is_near() -> None:
    shelf = Shelf()
    for i in range(12_000):
        shelf.put(f"item-{i}", {"n": float(i)})
    shelf.put("item-5", {"n": -5.0})
    assert [shelf.get(f"item-{i}").get("n") for i in (0, 5, 11_999)] == [0.0, -5.0, 11_999.0]
    assert shelf.get("nobody") == {}
    shelf.close()
