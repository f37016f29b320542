"""One loop is one tenant with one feature set; features come and go by name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.errors import FeatureSchemaError, NothingToRollBackError

Open = Callable[..., dwell.Loop]


def test_tenants_are_isolated(opened: Open, world: Any) -> None:
    first = opened("a.dwell", tenant="one")
    world.visits(first, 5)
    first.promote(dwell.Params(version=1, weights={"good": 1.0, "bad": 0.0, "noise": 0.0}), force=True)
    of_first = {e.user for e in first.experiences()}
    first.close()
    second = opened("a.dwell", tenant="two", features=["other"], weights={"other": 1.0})
    assert (second.features, second.params.version, len(second.history())) == (("other",), 0, 1)
    assert list(second.experiences()) == []
    assert second.feedback("event-00000", "click", doc="d0", now=world.now).status == "orphan"
    # the same person is somebody else to another tenant
    second.rank("q", [{"id": "a", "other": 1.0}], user="user-0", event_id="event-00000", now=world.now)
    assert not of_first & {e.user for e in second.experiences()}
    assert second.erase("user-1") == 0
    second.close()
    again = opened("a.dwell", tenant="one")
    assert (len(list(again.experiences())), again.params.version) == (5, 1)


def test_opening_without_features_takes_the_stored_ones(opened: Open, world: Any) -> None:
    opened("a.dwell").close()
    loop = opened("a.dwell", features=None, weights=None)
    assert loop.features == world.features
    assert world.visit(loop).fallback is None


def test_the_order_of_features_is_irrelevant(opened: Open, world: Any) -> None:
    opened("a.dwell", temperature=0.0).close()
    loop = opened("a.dwell", features=["noise", "bad", "good"], temperature=0.0)
    candidates = world.candidates()
    # columns follow the order in which this caller named them
    array = np.array([[c[name] for name in ("noise", "bad", "good")] for c in candidates])
    by_array = loop.rank("q", ids=[c["id"] for c in candidates], features=array, now=world.now)
    by_name = loop.rank("q", candidates, now=world.now)
    assert by_array.ids == by_name.ids
    assert by_array.scores.tolist() == by_name.scores.tolist()


def test_an_additional_name_makes_a_new_version_with_weight_0_for_it(opened: Open, world: Any) -> None:
    loop = opened("a.dwell", temperature=0.0)
    old = world.visit(loop)
    loop.close()
    grown = opened("a.dwell", features=["good", "bad", "noise", "fresh"], weights=None, temperature=0.0)
    assert grown.params.version == 1
    assert dict(grown.params.weights) == {"good": 0.1, "bad": 1.0, "noise": 0.5, "fresh": 0.0}
    assert grown.params.parent == 0
    assert "fresh" in grown.history()[-1].reasons[0]
    served = grown.rank("q", [{**c, "fresh": 9.0} for c in world.candidates()], now=world.now)
    assert (served.params_version, served.fallback) == (1, None)
    assert grown.version(0).feature_names == world.features
    grown.close_events(now=world.now + world.window_s)
    row = next(r for r in grown._state.replayed.rows.in_close_order() if r.event_id == old.event_id)
    assert np.isnan(row.features[:, 3]).all()  # the missing mask of what was served before
    assert np.isfinite(row.features[:, :3]).all()


def test_older_events_train_beside_newer_ones(opened: Open, world: Any) -> None:
    loop = opened("a.dwell", temperature=1.0)
    world.visits(loop, 60)
    loop.close()
    grown = opened("a.dwell", features=["good", "bad", "noise", "fresh"], weights=None, temperature=1.0)
    report = grown.train(now=world.now)
    assert report.n_learned_from > 0
    assert np.isfinite(report.proposed.vector).all()
    # nobody has seen `fresh` yet, so nothing was learned about it
    assert report.proposed.weights["fresh"] == 0.0


def test_missing_names_are_refused_with_the_difference(opened: Open) -> None:
    opened("a.dwell").close()
    with pytest.raises(FeatureSchemaError, match=r"missing: \['noise'\]; additional: \['fresh'\]") as error:
        opened("a.dwell", features=["good", "bad", "fresh"], weights=None)
    assert "drop_features" in error.value.hint
    assert opened("a.dwell").features == ("good", "bad", "noise")


def test_drop_features_retires_them_and_history_stays_readable(opened: Open, world: Any) -> None:
    loop = opened("a.dwell")
    old = world.visit(loop)
    loop.close()
    how: dict[str, Any] = {"features": ["good", "bad"], "weights": None, "drop_features": ["noise"]}
    shrunk = opened("a.dwell", **how)
    assert dict(shrunk.params.weights) == {"good": 0.1, "bad": 1.0}
    served = shrunk.rank("q", [{"id": "a", "good": 1.0, "bad": 0.0}], now=world.now)
    assert (served.params_version, served.fallback) == (1, None)
    found = {e.event_id: e for e in shrunk.experiences()}
    assert dict(found[old.event_id].ranking_params) == {"good": 0.1, "bad": 1.0, "noise": 0.5}
    assert "noise" in found[old.event_id].results_served[0]
    shrunk.close()
    # the same line in a deployed script is run at every start
    again = opened("a.dwell", **how)
    assert again.params.version == 1


@pytest.mark.parametrize(
    "how",
    [
        {"drop_features": ["never"], "features": ["good", "bad", "noise"]},
        {"drop_features": ["noise"], "features": ["good", "bad", "noise"]},
        {"drop_features": ["good", "bad", "noise"], "features": None},
    ],
)
def test_what_can_not_be_dropped_is_refused(opened: Open, how: dict[str, Any]) -> None:
    opened("a.dwell").close()
    with pytest.raises(FeatureSchemaError) as error:
        opened("a.dwell", weights=None, **how)
    assert error.value.field == "drop_features"


def test_a_rollback_does_not_cross_a_change_of_features(opened: Open, world: Any) -> None:
    opened("a.dwell").close()
    grown = opened("a.dwell", features=["good", "bad", "noise", "fresh"], weights=None)
    with pytest.raises(NothingToRollBackError, match="fresh"):
        grown.rollback()
    with pytest.raises(NothingToRollBackError):
        grown.rollback(to=0)
    served = grown.rank("q", [{**c, "fresh": 1.0} for c in world.candidates()], now=world.now)
    assert (served.params_version, served.fallback) == (1, None)


def test_other_starting_weights_are_refused(opened: Open) -> None:
    opened("a.dwell").close()
    for weights in ({"good": 0.2, "bad": 1.0, "noise": 0.5}, {"good": 0.1, "bad": 1.0, "noise": 0.5, "new": 3.0}):
        with pytest.raises(dwell.ConfigError, match="other weights"):
            opened("a.dwell", weights=weights, features=None)
    with pytest.raises(FeatureSchemaError) as error:  # its weight is that of a feature that is not there, and yet
        opened("a.dwell", weights={"good": 0.1, "bad": 1.0, "noise": 0.5, "new": 0.0}, features=None)
    assert (error.value.field, error.value.value) == ("weights", ["new"])
    opened("a.dwell", features=None)


def test_the_ledger_says_why_params_went_live_without_a_judgement(opened: Open) -> None:
    opened("a.dwell").close()
    grown = opened("a.dwell", features=["good", "bad", "noise", "fresh"], weights=None)
    assert [decision.reasons[0].split(":")[0] for decision in grown.history()] == ["initial", "features"]
    assert {decision.kind for decision in grown.history()} == {"initial"}


def test_warm_up_goes_on_with_a_feature_more(opened: Open, world: Any) -> None:
    config = {"training": {"first_version_events": 4}}
    loop = opened("a.dwell", weights=None, config=config)
    for _ in range(3):
        world.visit(loop)
    loop.close()
    grown = opened("a.dwell", features=["good", "bad", "noise", "fresh"], weights=None, config=config)
    versions = [
        grown.rank("q", [{**c, "fresh": 1.0} for c in world.candidates()], now=world.now).params_version
        for _ in range(2)
    ]
    assert versions == [1, 2]
    assert [decision.reasons[0].split(":")[0] for decision in grown.history()] == [
        "initial",
        "features",
        "first_version",
    ]
    assert set(grown.params.weights.values()) == {0.5}  # four equal weights at norm 1


def test_the_first_embedding_fixes_the_dimension_for_ever(opened: Open, world: Any) -> None:
    loop = opened("a.dwell")
    assert loop.rank("q", world.candidates(), query_embedding=[1.0, 2.0], now=world.now).fallback is None
    assert loop.rank("q", world.candidates(), query_embedding=[1.0], now=world.now).fallback == "embedding_dim"
    loop.close()
    again = opened("a.dwell")
    assert again.rank("q", world.candidates(), query_embedding=[1.0], now=world.now).fallback == "embedding_dim"
    assert again.rank("q", world.candidates(), query_embedding=[1.0, 2.0], now=world.now).fallback is None
    again.close()
    with pytest.raises(dwell.ConfigError, match="2 dimensions"):
        opened("a.dwell", embedding_dim=3)
