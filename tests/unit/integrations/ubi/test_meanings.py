"""An action is the signal of its name, unless somebody says otherwise."""

import pytest

from dwell.errors import ConfigError
from dwell.integrations.ubi.meanings import Meaning, check_actions, meaning_of, value_of
from dwell.integrations.ubi.records import UbiEvent
from dwell.reward.presets import PRESETS

DECLARED = PRESETS["search"].signals


@pytest.mark.parametrize(
    ("action", "meaning"),
    [
        ("click", Meaning("signal", "click")),
        ("item_click", Meaning("signal", "click")),
        ("click_through", Meaning("signal", "click")),
        ("purchase", Meaning("signal", "purchase")),
        ("impression", Meaning("shown")),
        ("buy", Meaning("signal", "purchase")),
        ("hover", Meaning("ignored")),
        ("rendered", Meaning("shown")),
        ("brand_filter", Meaning("unknown")),
    ],
)
def test_actions_and_what_they_mean(action: str, meaning: Meaning) -> None:
    overrides = check_actions({"buy": "purchase", "hover": None, "rendered": "impression"}, DECLARED)
    assert meaning_of(action, DECLARED, overrides) == meaning


def test_an_override_names_a_declared_signal() -> None:
    with pytest.raises(ConfigError, match="do not declare"):
        check_actions({"buy": "bought"}, DECLARED)


def test_reading_time_is_never_made_up() -> None:
    def event(**attributes: object) -> UbiEvent:
        return UbiEvent(action_name="x", at=1.0, attributes=attributes)

    assert value_of(event(), "click") == 1.0
    assert value_of(event(), "dwell") is None
    assert value_of(event(dwell_time=4.5), "dwell") == 4.5
    assert value_of(event(dwell_time=4.5), "click") == 1.0
    assert value_of(event(**{"dwell.value": 4.0}), "rating") == 4.0
    assert value_of(event(dwell_time=True), "dwell") is None
