"""Alerts are remembered with the facts, of each tenant by itself."""

from collections.abc import Callable

import dwell
from dwell.health import Alert, AlertSettings, AlertState, HealthReport, step
from dwell.loop.alert_states import alert_states, put_alert_states

RULES = AlertSettings(raise_after_reports=2)


def kept(loop: dwell.Loop) -> dict[str, AlertState]:
    with loop._state.store.snapshot() as reader:
        return alert_states(reader)


def test_what_fires_is_remembered_and_not_told_again(opened: Callable[..., dwell.Loop]) -> None:
    report = HealthReport("critical", [Alert("dropped", "critical", "seen", "do")], {})
    loop = opened("a.dwell")
    assert kept(loop) == {}
    states, told = step(step({}, report, 10.0, RULES).states, report, 20.0, RULES)
    assert [change.kind for change in told] == ["fired"]
    loop._state.write(lambda tx: put_alert_states(tx, states))
    loop.close()

    again = opened("a.dwell")
    assert kept(again) == states
    assert kept(again)["dropped"].since == 20.0
    assert step(kept(again), report, 30.0, RULES).changes == ()
    again._state.write(lambda tx: put_alert_states(tx, {}))
    assert kept(again) == {}


def test_of_each_tenant_by_itself_and_what_can_not_be_read_is_none(opened: Callable[..., dwell.Loop]) -> None:
    state = AlertState("x", "firing", "warning", 1.0, 1.0, 0, "m", "r")
    one, other = opened("a.dwell", tenant="one"), opened("a.dwell", tenant="other")
    one._state.write(lambda tx: put_alert_states(tx, {"x": state}))
    assert (kept(one), kept(other)) == ({"x": state}, {})
    one._state.write(lambda tx: tx.put_setting("alert_states", b'[{"code": 1}]'))
    assert kept(one) == {}
