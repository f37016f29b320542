"""The settings of the demo that one lives in."""

from dataclasses import fields

from dwell.config import Config, read_config, settings_of
from dwell.demo.living import LIVED_IN, settings_for


def test_what_differs_from_the_defaults_is_little_and_never_the_gate() -> None:
    settings = settings_for({})
    assert settings == LIVED_IN
    differing = {one.name for one in settings_of(settings) if one.origin != "default"}
    own = {f"{section}.{name}" for section, values in LIVED_IN.items() for name in values}
    assert differing == own
    for name in own:  # a setting that stands there and is the default would be announced for nothing
        section, _, short = name.partition(".")
        assert getattr(getattr(Config(), section), short) != LIVED_IN[section][short]
    assert read_config(settings).gate == Config().gate


def test_what_is_given_goes_on_top_section_by_section() -> None:
    found = settings_for({"store": {"attribution_window_s": 1.0}, "gate": {"min_users": 3}})
    assert found["store"] == {**LIVED_IN["store"], "attribution_window_s": 1.0}
    assert found["gate"] == {"min_users": 3}
    assert found["learner"] == LIVED_IN["learner"]
    assert set(found) <= {section.name for section in fields(Config)}
