"""The bad inputs that every entry point refuses, kind by kind: each with its code, its field and a remedy."""

import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from dwell.errors import RecordError
from dwell.records import checks


def refusal(check: Callable[..., object], *arguments: object, **options: object) -> RecordError:
    with pytest.raises(RecordError) as caught:
        check(*arguments, **options)
    assert caught.value.hint, "a refusal says what to do"
    return caught.value


NOT_FINITE = [math.nan, math.inf, -math.inf, float("1e999"), np.float32("inf"), np.float64("nan"), 10**400]
NOT_NUMBERS = [True, False, np.True_, "1", "NaN", "inf", None, b"1", [1.0], 1j, Decimal(1)]


@pytest.mark.parametrize("value", NOT_FINITE)
def test_not_finite(value: object) -> None:
    error = refusal(checks.finite, value, "bm25")
    assert (error.code, error.field) == ("non_finite", "bm25")
    assert error.value is value


@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_not_a_number(value: object) -> None:
    error = refusal(checks.finite, value, "bm25")
    assert (error.code, error.field) == ("type", "bm25")


@pytest.mark.parametrize("value", [0, -3, 2.5, np.int64(7), np.float32(0.5), Fraction(1, 4), 2**63, -0.0])
def test_a_real_number_becomes_a_float_of_the_same_value(value: object) -> None:
    found = checks.finite(value, "x")
    assert type(found) is float
    assert found == value


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5, 1])
def test_a_range_holds_its_ends(value: object) -> None:
    assert checks.within(value, "x", 0.0, 1.0) == value


@pytest.mark.parametrize("value", [math.nextafter(0.0, -1.0), math.nextafter(1.0, 2.0), -5, 7])
def test_out_of_range(value: object) -> None:
    assert refusal(checks.within, value, "reward", 0.0, 1.0, code="reward_range").code == "reward_range"
    assert refusal(checks.within, value, "reward", 0.0, 1.0).code == "range"


def test_a_range_refuses_what_is_no_number_by_its_own_code() -> None:
    assert refusal(checks.within, True, "x", 0.0, 1.0, code="reward_range").code == "type"
    assert refusal(checks.within, math.nan, "x", 0.0, 1.0, code="reward_range").code == "non_finite"


@pytest.mark.parametrize("value", [1, 2**31, np.int32(5)])
def test_a_positive_integer(value: object) -> None:
    found = checks.positive_integer(value, "k")
    assert type(found) is int
    assert found == value


@pytest.mark.parametrize(
    ("value", "code"),
    [(0, "range"), (-1, "range"), (2**31 + 1, "range"), (2**63, "range"), (10**4000, "range")]
    + [(bad, "type") for bad in (True, np.True_, 1.0, "1", None, math.nan)],
)
def test_not_a_positive_integer(value: object, code: str) -> None:
    assert refusal(checks.positive_integer, value, "k").code == code


def test_a_positive_integer_has_a_largest_value_of_its_own() -> None:
    assert checks.positive_integer(9, "k", most=9) == 9
    assert refusal(checks.positive_integer, 10, "k", most=9).code == "range"


@pytest.mark.parametrize("value", [0, 1, "true", None, np.True_])
def test_not_a_bool(value: object) -> None:
    assert refusal(checks.boolean, value, "activate").code == "type"


def test_a_bool() -> None:
    assert checks.boolean(True, "activate") is True
    assert checks.boolean(False, "activate") is False


@pytest.mark.parametrize("value", [0, 0.0, 1_700_000_000, 1e11])
def test_an_instant(value: object) -> None:
    assert checks.timestamp(value, "now") == value


@pytest.mark.parametrize(
    "value",
    [
        -1.0,
        math.nextafter(0.0, -1.0),
        1_700_000_000_000,  # milliseconds
        1_700_000_000_000_000,  # microseconds
        math.nan,
        math.inf,
        True,
        "2026-01-01T00:00:00",
        "1700000000",
        None,
        dt.datetime(2026, 1, 1),
    ],
)
def test_not_an_instant(value: object) -> None:
    error = refusal(checks.timestamp, value, "now")
    assert (error.code, error.field) == ("timestamp", "now")


@pytest.mark.parametrize("text", ["", "reset 2fa", "größe", "日本語", "a\nb\tc", "x" * 65_536, "😀" * 16_384])
def test_a_query(text: str) -> None:
    assert checks.query_text(text) == text


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "x" * 65_537, "😀" * 16_384 + "x", "ü" * 32_769])
def test_not_a_query(text: str) -> None:
    assert refusal(checks.query_text, text).code == "text"


@pytest.mark.parametrize("value", [None, 5, b"query", ["q"]])
def test_a_query_is_text(value: object) -> None:
    assert refusal(checks.query_text, value).code == "type"


@pytest.mark.parametrize("text", ["a", "kb-12", "a b", "größe", "日本語", "a/b?c=d#e", "x" * 512, "ü" * 256, "👩‍💻"])
def test_an_id(text: str) -> None:
    assert checks.identifier(text, "doc") == text


@pytest.mark.parametrize("text", ["", "x" * 513, "ü" * 257, "\ud800", "a\ud800"])
def test_not_an_id(text: str) -> None:
    assert refusal(checks.identifier, text, "doc").code == "id"


@pytest.mark.parametrize(
    "code_point", [*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
def test_control_and_bidirectional_characters_in_an_id(code_point: int) -> None:
    assert refusal(checks.identifier, f"kb{chr(code_point)}12", "doc").code == "id"


@pytest.mark.parametrize("value", [7, None, b"kb", True])
def test_an_id_is_text(value: object) -> None:
    assert refusal(checks.identifier, value, "doc").code == "type"


def test_an_optional_id_is_none_or_an_id() -> None:
    assert checks.optional_identifier(None, "user") is None
    assert checks.optional_identifier("u-1", "user") == "u-1"
    assert refusal(checks.optional_identifier, "", "user").code == "id"


@pytest.mark.parametrize("value", ["e", "0190-ab:c/d@e.f_g", "x" * 128])
def test_an_event_id(value: object) -> None:
    assert checks.event_id(value) == value


@pytest.mark.parametrize(
    "value",
    ["", "x" * 129, "a b", "a\n", "\na", "a\x00", "a\u202eb", "\ud800", "a'--", "a;b", "<script>", "a%00", "a\\b"],
)
def test_not_an_event_id(value: object) -> None:
    error = refusal(checks.event_id, value)
    assert (error.code, error.field) == ("id", "event_id")


@pytest.mark.parametrize("value", [None, 5, b"e", True])
def test_an_event_id_is_text(value: object) -> None:
    assert refusal(checks.event_id, value).code == "type"


@pytest.mark.parametrize(
    "value", [[0.5, -1.0], (1, 2, 3), np.array([1, 2]), np.float32([0.1]), [0.0, 0.0], np.zeros(8_192)]
)
def test_an_embedding_becomes_float64_of_the_same_values(value: object) -> None:
    found = checks.embedding(value)
    assert found.dtype == np.float64
    assert found.tolist() == list(value)


def test_an_embedding_is_copied() -> None:
    given = np.array([1.0, 2.0])
    found = checks.embedding(given)
    given[0] = 9.0
    assert found[0] == 1.0


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ([], "embedding_dim"),
        (np.zeros(8_193), "embedding_dim"),
        (np.zeros((2, 2)), "embedding_dim"),
        (np.array(3.0), "embedding_dim"),
        ([0.1, math.nan], "non_finite"),
        ([0.1, math.inf], "non_finite"),
        (np.array([0.1, np.nan]), "non_finite"),
        ([True, 0.5], "type"),
        (["0.1", 0.2], "type"),
        (np.array([True, False]), "type"),
        (np.array(["a"]), "type"),
        (np.array([1 + 2j]), "type"),
        ("0.1,0.2", "type"),
        (b"\x00", "type"),
        (None, "type"),
        (7.0, "type"),
    ],
)
def test_not_an_embedding(value: object, code: str) -> None:
    assert refusal(checks.embedding, value).code == code


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_an_embedding_must_fit_float32() -> None:
    assert checks.embedding([3.4e38]).tolist() == [3.4e38]
    assert refusal(checks.embedding, [3.5e38]).code == "non_finite"


def test_an_embedding_has_the_registered_dimension() -> None:
    assert checks.embedding([1.0, 2.0], dim=2).size == 2
    error = refusal(checks.embedding, [1.0, 2.0, 3.0], dim=2)
    assert error.code == "embedding_dim"
    assert "2" in str(error)


def test_a_bad_number_in_an_embedding_is_named_by_its_place() -> None:
    assert refusal(checks.embedding, [0.0, 0.0, math.nan]).field == "query_embedding[2]"


def test_feature_names_keep_their_order() -> None:
    assert checks.feature_names(["bm25", "age", "Cosine"]) == ("bm25", "age", "Cosine")
    assert checks.feature_names(str(i) for i in range(1_024)) == tuple(str(i) for i in range(1_024))


@pytest.mark.parametrize("names", [[], ["a", "a"], ["id"], ["a", "id"], [str(i) for i in range(1_025)]])
def test_not_feature_names(names: object) -> None:
    error = refusal(checks.feature_names, names)
    assert (error.code, error.field) == ("feature_schema", "features")


def test_a_bad_feature_name_is_named_by_its_place() -> None:
    assert refusal(checks.feature_names, ["a", ""]).field == "features[1]"
    assert refusal(checks.feature_names, ["a", 5]).code == "type"
    assert refusal(checks.feature_names, "bm25").code == "type"


def test_subclasses_of_text_become_plain_text() -> None:
    class Loud(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "another text"

        def encode(self, *_: object) -> bytes:
            raise RuntimeError

    for given in (np.str_("a"), Loud("a")):
        for check in (checks.query_text, checks.event_id):
            assert (check(given), type(check(given))) == ("a", str)
        found = checks.identifier(given, "doc")
        assert (found, type(found)) == ("a", str)
