"""What an error says, and that it says the same in another process. The drawing is tested with the package's names."""

import copy
import pickle

import pytest

from dwell import errors
from dwell.errors import DwellError, MissingDependencyError, PromotionRefused, RecordError, StoreBusyError


def test_it_says_what_happened_where_with_which_value_and_what_to_do() -> None:
    error = RecordError("the number is not finite", code="non_finite", field="bm25", value="nan", hint="Leave it out.")
    assert str(error) == "the number is not finite (field 'bm25', value 'nan'). Leave it out."
    assert error.code == "non_finite"
    assert str(DwellError("only this")) == "only this"
    assert str(DwellError("no field", value=3, hint="Do that.")) == "no field. Do that."


def test_a_long_value_is_shown_shortened_and_kept_whole() -> None:
    value = "x" * 1000
    error = RecordError("too long", field="query", value=value)
    assert error.value is value
    shown = str(error).split("value ")[1].rstrip(")")
    assert len(shown) == 80
    assert shown.endswith("...")


@pytest.mark.parametrize("n", [78, 79])
def test_eighty_characters_are_shown_whole_and_one_more_is_not(n: int) -> None:
    text = str(RecordError("m", field="f", value="x" * n))  # repr adds two quotes
    assert ("..." in text) == (n + 2 > 80)


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("value", [10**5_000, Unspeakable()], ids=["too many digits", "a repr that raises"])
def test_a_value_that_can_not_be_shown_does_not_hide_the_error(value: object) -> None:
    # Python refuses to print an int of more than 4,300 digits
    text = str(RecordError("out of range", field="k", value=value, hint="Pass less."))
    assert "out of range" in text
    assert "Pass less." in text


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_survives_pickling_and_copying(name: str) -> None:
    kind = getattr(errors, name)
    error = kind("what happened", hint="what to do")
    if not isinstance(error, PromotionRefused):
        error = kind("what happened", code="special", hint="what to do", field="f", value=[1, 2])
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own bytes
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert (twin.code, twin.field, twin.value, twin.hint) == (error.code, error.field, error.value, error.hint)
        assert twin.args == error.args


def test_a_refused_promotion_carries_its_decision_through_pickling() -> None:
    error = pickle.loads(pickle.dumps(PromotionRefused("held", decision={"verdict": "hold"}, hint="wait")))  # noqa: S301 - our own bytes
    assert error.decision == {"verdict": "hold"}


def test_an_own_code_does_not_leak_into_the_class() -> None:
    RecordError("m", code="special")
    assert RecordError("m").code == "record"


def test_callers_may_catch_what_python_would_have_raised() -> None:
    assert issubclass(RecordError, ValueError)
    assert issubclass(errors.UnknownEventError, LookupError)
    assert issubclass(MissingDependencyError, ImportError)
    assert not issubclass(errors.StorageError, ValueError)


def test_only_what_passes_by_itself_is_worth_trying_again() -> None:
    found = {name for name in errors.__all__ if getattr(errors, name).retryable}
    passing = {StoreBusyError, errors.LearnerDown, errors.QueueFull, errors.ServiceUnreachableError, errors.ShardLost}
    assert found == {kind.__name__ for kind in passing}
