from dwell.records import Params
from dwell.records.params import RawScore
from dwell.server.dashboard.params import weights_of

LIVE = Params(version=1, weights={"a": 0.1, "b": -3.0, "c": 1.0})


def test_weights_stand_beside_the_proposals_the_largest_in_either_first() -> None:
    proposed = Params(version=2, weights={"a": 5.0, "b": -2.0, "c": 1.0, "d": 0.5})
    found = weights_of(LIVE, proposed)
    assert [one.name for one in found] == ["a", "b", "c", "d"]
    assert [one.change for one in found] == [4.9, 1.0, 0.0, None]  # d is new: it did not move


def test_without_a_proposal_there_is_nothing_beside_them() -> None:
    assert [(one.name, one.live, one.proposed) for one in weights_of(LIVE, None)] == [
        ("b", -3.0, None), ("c", 1.0, None), ("a", 0.1, None),
    ]  # fmt: skip


def test_the_starting_rankers_score_is_a_weight_and_no_feature() -> None:
    start = RawScore((1.0, 1.0, 1.0), 0.0, 1.0, 0.9)
    proposed = Params(version=2, weights={"a": 0.0, "b": 0.0, "c": 0.0}, raw_score=start)
    first = weights_of(LIVE, proposed)[0]
    assert (first.is_feature, first.live, first.proposed) == (False, None, 0.9)
