"""Whatever reports say, in whatever rhythm: an alert never flaps faster than stated."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dwell.health import Alert, AlertSettings, AlertState, Change, Check, HealthReport, Section, step

figures = st.one_of(st.none(), st.floats(-1e6, 1e6))
severities = st.sampled_from(["ok", "unknown", "warning", "critical"])
gaps_s = st.one_of(st.floats(0.0, 5.0), st.floats(0.0, 2_000.0))
seen = st.tuples(gaps_s, severities, figures)
rules = st.builds(
    AlertSettings,
    raise_after_reports=st.integers(1, 4),
    raise_after_s=st.floats(0.0, 200.0),
    clear_after_reports=st.integers(1, 4),
    clear_after_s=st.floats(200.0, 900.0),
    margin=st.sampled_from([0.0, 0.05, 1.0]),
)


def reported(severity: Any, value: float | None) -> HealthReport:
    alerts = [Alert("x", severity, "m", "r")] if severity in {"warning", "critical"} else []
    check = Check("x", "Title", value, "", "", severity, "m")
    return HealthReport("healthy", alerts, {}, sections=(Section("buffer", "Buffer", (check,)),))


@given(rules, st.lists(seen, max_size=60))
def test_no_input_flaps_faster_than_stated(
    settings: AlertSettings, inputs: list[tuple[float, str, float | None]]
) -> None:
    now, states = 1e6, dict[str, AlertState]()
    changes: list[tuple[int, Change]] = []
    times, severities_seen = [], []
    for i, (gap_s, severity, value) in enumerate(inputs):
        now += gap_s
        times.append(now)
        severities_seen.append(severity)
        states, found = step(states, reported(severity, value), now, settings)
        changes += [(i, change) for change in found]
        assert len(found) <= 1
    assert len({change.id for _, change in changes}) == len(changes)
    turns = [(i, change) for i, change in changes if change.kind != "escalated"]
    assert [change.kind for _, change in turns] == ["fired", "resolved"] * (len(turns) // 2) + ["fired"] * (
        len(turns) % 2
    )
    for i, change in turns:
        if change.kind == "fired":
            assert severities_seen[i] in {"warning", "critical"}
            continue
        last_bad = max(j for j in range(i) if severities_seen[j] in {"warning", "critical"})
        good = [j for j in range(last_bad + 1, i + 1) if severities_seen[j] == "ok"]
        assert len(good) >= settings.clear_after_reports
        assert times[i] - times[good[0]] >= settings.clear_after_s
    fired = [(i, change) for i, change in turns if change.kind == "fired"]
    for (i, one), (j, other) in pairwise(fired):
        assert other.at - one.at >= settings.clear_after_s
        assert j - i > settings.clear_after_reports
    escalated = [change.since for _, change in changes if change.kind == "escalated"]
    assert len(escalated) == len(set(escalated))
