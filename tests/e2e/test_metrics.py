"""What Prometheus is told, and that it finds nothing to say about it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dwell.health import AlertState, Check, HealthReport, Section
from dwell.records import Estimate, GateDecision
from dwell.server.house import House
from dwell.server.metrics import exposition

from ..canary import CANARY  # noqa: TID252 - tests are no installed package
from .prometheus import house_at, promtool, samples

PEPPER = CANARY + "-pepper"
QUERY, USER, DOC = "a very private question", "user-of-whom-nothing-is-told", "doc-of-which-nothing-is-told"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with house_at(tmp_path, pepper=PEPPER) as found:
        yield found


def check(name: str, value: float) -> Check:
    return Check(name, "Title", value, "ratio", "", "ok", "seen")


REPORT = HealthReport(
    "warning",
    [],
    {"size": 400, "capacity_pct": 0.4, "oldest_hours": 2.0, "rewarded_share": 0.25, "avg_reward": 0.125},
    sections=(Section("buffer", "Buffer", (check("dominant_segment", 0.75), check("effective_experiences", 100.0))),),
    at=1_940.0,
)


def decision(verdict: str, at: float, kind: str = "judged", difference: Estimate | None = None) -> GateDecision:
    nothing = Estimate(0.0, 0.0, 0.0, 0, 0.0)
    return GateDecision(verdict, ["code: words"], difference or nothing, kind=kind, decided_at=at)  # type: ignore[arg-type]


def test_lists_and_reactions_are_counted_by_what_they_are(house: House) -> None:
    loop = house.loop("")
    now = time.time()
    for i in range(3):
        candidates = [{"id": DOC, "bm25": 1.0, "cosine": 0.5}, {"id": "b", "bm25": 0.0, "cosine": 0.1}]
        loop.rank(QUERY, candidates, k=2, user=USER, event_id=f"e{i}", now=now - 100.0)
    loop.log_retrieval(QUERY, [{"id": DOC}], user=USER, event_id="theirs", now=now - 100.0)
    for event, signal in (("e0", "click"), ("e0", "click"), ("e1", "thumbs"), ("nowhere", "click")):
        loop.feedback(event, signal, doc=DOC if signal == "click" else None, value=1.0, now=now - 90.0)
    loop.feedback_many([{"event_id": "e1", "signal": "made-up-by-a-caller"}])
    found = samples(house)
    assert found["dwell_retrievals_total", "live", "params"] == 3
    assert found["dwell_retrievals_total", "live", "external"] == 1
    reactions = {key[1:]: n for key, n in found.items() if key[0] == "dwell_feedback_total" and n}
    assert reactions == {
        ("joined", "click"): 1,
        ("duplicate", "click"): 1,
        ("joined", "thumbs"): 1,
        ("orphan", "click"): 1,
        ("rejected", "other"): 1,
    }
    assert found["dwell_feedback_total", "joined", "purchase"] == 0  # it is there before its first one
    delays = {key[1]: n for key, n in found.items() if key[0] == "dwell_feedback_join_delay_seconds_bucket"}
    assert (delays["5"], delays["15"], delays["+Inf"]) == (0, 2, 2)
    assert found["dwell_feedback_join_delay_seconds_sum",] == pytest.approx(20.0, abs=0.01)
    told = exposition(house, now).decode()
    for private in (QUERY, USER, DOC, "made-up-by-a-caller", "e0"):
        assert private not in told


def test_what_the_learner_last_said_is_told_without_asking_it(house: House) -> None:
    assert not [key for key in samples(house) if key[0].startswith("dwell_buffer")]  # it has said nothing yet
    house.reports[""] = REPORT
    began = time.perf_counter()
    found = samples(house, now=2_000.0)
    assert time.perf_counter() - began < 1.0
    assert {key[0]: value for key, value in found.items() if key[1:] == ("",) and key[0] != "dwell_active_version"} == {
        "dwell_buffer_items": 400.0,
        "dwell_buffer_utilization_ratio": 0.4,
        "dwell_buffer_oldest_age_seconds": 7_200.0,
        "dwell_rewarded_ratio": 0.25,
        "dwell_reward_mean": 0.125,
        "dwell_stratum_share_max_ratio": 0.75,
        "dwell_sample_effective_size_ratio": 0.25,
        "dwell_health_age_seconds": 60.0,
    }
    assert found["dwell_health_checks", "ok", ""] == 2


def test_alerts_that_fire_are_told_and_those_that_wait_are_not(house: House) -> None:
    def state(code: str, phase: str) -> AlertState:
        return AlertState(code, phase, "critical", 1.0, 1.0, 0, "m", "r")  # type: ignore[arg-type]

    states = (state("dropped", "firing"), state("failed", "resolving"), state("fallback", "pending"))
    house.alerts[""] = {one.code: one for one in states}
    found = {key: n for key, n in samples(house).items() if key[0] == "dwell_alerts_firing"}
    assert found == {("dwell_alerts_firing", code, "critical", ""): 1.0 for code in ("dropped", "failed")}


def test_what_serves_and_what_was_decided(house: House) -> None:
    found = samples(house)
    assert found["dwell_param_value", "bm25", ""] == 1.0
    assert found["dwell_param_value", "cosine", ""] == 0.25
    assert [key for key in found if key[0] == "dwell_active_version_info"] == [
        ("dwell_active_version_info", "given", "", "0")
    ]
    assert [found["dwell_promotions_total", how, ""] for how in ("promoted", "held", "rejected", "rolled_back")] == [
        0
    ] * 4
    assert not [key for key in found if key[0] == "dwell_policy_value_estimate"]
    better = Estimate(0.25, 0.125, 0.5, 900, 400.0)
    for i, (verdict, kind) in enumerate(
        [
            ("hold", "judged"),
            ("reject", "judged"),
            ("hold", "evaluated"),
            ("promote", "rollback"),
            ("promote", "forced"),
        ]
    ):
        one = decision(verdict, float(i), kind, better)
        house.loop("")._state.write(lambda tx, one=one: tx.add_decision(one))
        samples(house)  # a scrape between two decisions
    found = samples(house)
    assert [found["dwell_promotions_total", how, ""] for how in ("promoted", "held", "rejected", "rolled_back")] == [
        1
    ] * 4
    bounds = {key[1]: n for key, n in found.items() if key[0] == "dwell_policy_value_estimate"}
    assert bounds == {"lower": 0.125, "mean": 0.25, "upper": 0.5}


def test_tenants_are_summed_where_they_are_counts(house: House) -> None:
    for tenant in ("", "acme"):
        house.loop(tenant).log_retrieval("q", [{"id": "a"}], event_id="e")
        house.rank_duration_s.observe(0.002)
    found = samples(house)
    assert found["dwell_retrievals_total", "live", "external"] == 2
    assert {key[1] for key in found if key[0] == "dwell_active_version"} == {"", "acme"}
    buckets = {key[1]: n for key, n in found.items() if key[0] == "dwell_rank_duration_seconds_bucket"}
    assert (buckets["0.001"], buckets["0.0025"], buckets["+Inf"]) == (0, 2, 2)


def test_promtool_finds_nothing_to_say(house: House) -> None:
    house.reports[""] = REPORT
    house.alerts[""] = {"dropped": AlertState("dropped", "firing", "critical", 1.0, 1.0, 0, "m", "r")}
    house.requests["/v1/rank", 200] += 1
    assert promtool("check", "metrics", read=exposition(house, 2_000.0)) == (0, "")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (b"# HELP dwell_feedback x\n# TYPE dwell_feedback counter\ndwell_feedback 1\n", '"_total" suffix'),
        (b"# HELP dwell_x_ms x\n# TYPE dwell_x_ms gauge\ndwell_x_ms 1\n", "ms"),
        (b"# TYPE dwell_x gauge\ndwell_x 1\n", "no help text"),
        (b"dwell_x{ 1\n", "error while linting"),
    ],
)
def test_promtool_is_seen_red(broken: bytes, said: str) -> None:
    code, words = promtool("check", "metrics", read=broken)
    assert code != 0
    assert said in words
