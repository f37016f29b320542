"""The doctor on stores made by real use: each planted fault is named first, and not without the plant."""

from collections.abc import Callable
from typing import Any

import pytest

import dwell
from dwell.health.doctor import BY_HARM, Diagnosis
from dwell.reward.presets import custom

Open = Callable[..., dwell.Loop]
Plant = Callable[[Open, Any], Diagnosis]

N = 100
START = {"good": 0.1, "bad": 1.0, "noise": 0.5}


def codes(found: Diagnosis) -> list[str]:
    return [one.code for one in found.findings]


def lived(loop: dwell.Loop, world: Any, rounds: int = 1, visit: Callable[..., Any] | None = None) -> Diagnosis:
    """Serve lists, let their windows pass and train, some times over; return what the doctor says."""
    for _ in range(rounds):
        for _ in range(N):
            (visit or world.visit)(loop)
        world.now += world.window_s + 1.0
        loop.train(now=world.now)
    return loop.doctor(now=world.now)


def silent_visit(world: Any, **how: Any) -> Callable[[dwell.Loop], dwell.Served]:
    """Return a visit without a reaction."""

    def visit(loop: dwell.Loop) -> dwell.Served:
        user = f"user-{world.n % 60}"
        served = loop.rank(f"query {world.n % 11}", world.candidates(), k=5, user=user, now=world.now, **how)
        world.n, world.now = world.n + 1, world.now + 1.0
        return served

    return visit


def visit_with(world: Any, column: Callable[[int, str, int], float], name: str, **how: Any) -> Callable[..., None]:
    """Return a visit whose candidates have one more feature, of (visit, document, place), and of clicks as always."""

    def visit(loop: dwell.Loop) -> None:
        found = [c | {name: column(world.n, c["id"], i)} for i, c in enumerate(world.candidates())]
        user = f"user-{world.n % 60}"
        served = loop.rank(f"query {world.n % 11}", found, k=5, user=user, now=world.now, **how)
        for doc in world.clicks(served.ids, found):
            loop.submit_feedback(served.event_id, "click", doc=doc, now=world.now + 1.0)
        world.n, world.now = world.n + 1, world.now + 1.0

    return visit


def with_feature(opened: Open, name: str, **how: Any) -> dwell.Loop:
    return opened(temperature=1.0, features=[*START, name], weights={**START, name: 0.0}, **how)


@pytest.fixture
def healthy(opened: Open, world: Any) -> Diagnosis:
    return lived(opened(temperature=1.0), world, rounds=2)


def test_a_healthy_store_has_no_finding_and_is_told_what_was_looked_at(healthy: Diagnosis) -> None:
    assert codes(healthy) == []
    assert healthy.is_healthy
    assert healthy.n_events == 2 * N
    assert healthy.answer.startswith("Is it learning? Yes")
    looked = {one.name: one for one in healthy.looked_at}
    assert {"rewards", "clocks", "exploration", "features", "crowd", "ring", "influence"} <= set(looked)
    assert looked["exploration"].sentence == f"{2 * N} of {2 * N} lists were drawn with known chances (100%)"
    assert looked["rewards"].is_judged
    assert not looked["influence"].is_judged


def test_an_empty_store_is_told_how_to_begin_and_is_no_fault(opened: Open) -> None:
    found = opened().doctor()
    assert found.is_healthy
    assert found.findings == ()
    assert "loop.rank(" in found.answer
    assert "loop.feedback(" in found.answer


# ---- plants


def no_reactions(opened: Open, world: Any) -> Diagnosis:
    return lived(opened(temperature=1.0), world, visit=silent_visit(world))


def reactions_with_other_ids(opened: Open, world: Any) -> Diagnosis:
    def visit(loop: dwell.Loop) -> None:
        served = silent_visit(world)(loop)
        loop.submit_feedback(f"page-{world.n}", "click", doc=served.ids[0], now=world.now)

    return lived(opened(temperature=1.0), world, visit=visit)


def reactions_that_do_not_count(opened: Open, world: Any) -> Diagnosis:
    def visit(loop: dwell.Loop) -> None:
        served = silent_visit(world)(loop)
        loop.submit_feedback(served.event_id, "view", doc=served.ids[0], now=world.now)

    return lived(opened(temperature=1.0, rewards={"click": 1.0, "view": 0.0}), world, visit=visit)


def silence_has_a_price(opened: Open, world: Any) -> Diagnosis:
    preset = custom({"click": 1.0}, default_reward=-0.1)
    return lived(opened(temperature=1.0, rewards=preset), world, visit=silent_visit(world))


def bare_lists(opened: Open, world: Any) -> Diagnosis:
    def visit(loop: dwell.Loop) -> None:
        found = world.candidates()
        event = loop.log_retrieval("q", [{"id": c["id"]} for c in found], user=f"u-{world.n % 60}", now=world.now)
        loop.submit_feedback(event, "click", doc=found[world.n % 3]["id"], now=world.now + 1.0)
        world.n, world.now = world.n + 1, world.now + 1.0

    return lived(opened(temperature=1.0), world, visit=visit)


def logged(world: Any, **more: Callable[[int, int], float]) -> Callable[[dwell.Loop], None]:
    """Return a visit that another ranker orders; `more` are values of (visit, place)."""

    def visit(loop: dwell.Loop) -> None:
        found = [c | {n: f(world.n, i) for n, f in more.items()} for i, c in enumerate(world.candidates())]
        event = loop.log_retrieval(f"query {world.n % 11}", found, user=f"user-{world.n % 60}", now=world.now)
        for doc in world.clicks([c["id"] for c in found], found):
            loop.submit_feedback(event, "click", doc=doc, now=world.now + 1.0)
        world.n, world.now = world.n + 1, world.now + 1.0

    return visit


def ordered_elsewhere(opened: Open, world: Any) -> Diagnosis:
    return lived(opened(temperature=1.0), world, visit=logged(world))


def places_from_0_and_from_1(opened: Open, world: Any) -> Diagnosis:
    loop = with_feature(opened, "place")
    return lived(loop, world, visit=visit_with(world, lambda n, _, i: float(i + n % 2), "place"))


def scores_from_0_and_from_1(opened: Open, world: Any) -> Diagnosis:
    return lived(opened(temperature=1.0), world, visit=logged(world, score=lambda n, i: float(i + n % 2)))


def plain_sorts(opened: Open, world: Any) -> Diagnosis:
    return lived(opened(temperature=0.0), world)


def drowned_scores(opened: Open, world: Any) -> Diagnosis:
    return lived(opened(temperature=100.0), world)


def equal_scores(opened: Open, world: Any) -> Diagnosis:
    def visit(loop: dwell.Loop) -> None:
        found = [c | dict.fromkeys(START, float(world.n % 5)) for c in world.candidates()]
        served = loop.rank(f"query {world.n % 11}", found, k=5, user=f"user-{world.n % 60}", now=world.now)
        if world.n % 2:
            loop.submit_feedback(served.event_id, "click", doc=served.ids[0], now=world.now + 1.0)
        world.n, world.now = world.n + 1, world.now + 1.0

    return lived(opened(temperature=1.0), world, visit=visit)


def nobody_closes(opened: Open, world: Any) -> Diagnosis:
    loop = opened(temperature=1.0)
    for _ in range(N):
        world.visit(loop)
        world.now += 120.0
    return loop.doctor(now=world.now)


def nobody_trains(opened: Open, world: Any) -> Diagnosis:
    loop = opened(temperature=1.0)
    world.visits(loop, 2 * N)
    loop.close_events(now=world.now)
    return loop.doctor(now=world.now)


def only_recorded(opened: Open, world: Any) -> Diagnosis:
    return lived(opened(temperature=1.0, mode="log-only"), world, rounds=2)


def nothing_to_find(opened: Open, world: Any) -> Diagnosis:
    gate = {"min_events": 50, "min_users": 5, "max_judged_events": 100}
    loop = opened(temperature=1.0, config={"gate": gate, "training": {"target_steps": 5}})

    def visit(loop: dwell.Loop) -> None:
        served = silent_visit(world)(loop)
        doc = served.ids[int(world.rng.integers(5))]
        loop.submit_feedback(served.event_id, "click", doc=doc, now=world.now)

    return lived(loop, world, rounds=5, visit=visit)


def inert_learning(opened: Open, world: Any) -> Diagnosis:
    loop = opened(temperature=1.0, config={"learner": {"max_step_norm": 1e-6}, "training": {"target_steps": 5}})
    world.visits(loop, N)
    loop.promote(loop.train(now=world.now).proposed, force=True, now=world.now)
    return lived(loop, world)


def far_away(opened: Open, world: Any) -> Diagnosis:
    """Judge the opposite of what is served, where hardly anything else is ever drawn."""
    loop = opened(temperature=0.05, weights={"good": 0.0, "bad": 1.0, "noise": 0.0})
    lived(loop, world, rounds=3)
    opposite = dwell.Params(version=0, weights={"good": 1.0, "bad": 0.0, "noise": 0.0}, temperature=0.05)
    with pytest.raises(dwell.PromotionRefused):
        loop.promote(opposite, now=world.now)
    return loop.doctor(now=world.now)


def early_reactions(opened: Open, world: Any) -> Diagnosis:
    def visit(loop: dwell.Loop) -> None:
        served = silent_visit(world)(loop)
        loop.submit_feedback(served.event_id, "click", doc=served.ids[0], at=world.now - 60.0, now=world.now)

    return lived(opened(temperature=1.0), world, visit=visit)


def lists_of_tomorrow(opened: Open, world: Any) -> Diagnosis:
    lived(loop := opened(temperature=1.0), world)
    return loop.doctor(now=world.now - 86_400.0)


def one_segment(opened: Open, world: Any) -> Diagnosis:
    def visit(loop: dwell.Loop) -> None:
        segment = "news" if world.n % 5 else "docs"
        visit_with(world, lambda *_: float(world.rng.random()), "noise", segment=segment)(loop)

    return lived(opened(temperature=1.0), world, visit=visit)


def a_constant_feature(opened: Open, world: Any) -> Diagnosis:
    return lived(with_feature(opened, "flat"), world, visit=visit_with(world, lambda n, *_: float(n), "flat"))


def a_feature_that_knows(opened: Open, world: Any) -> Diagnosis:
    """Log, of each document, whether it was clicked, as a join with yesterday's clicks would."""

    def visit(loop: dwell.Loop) -> None:
        found = world.candidates()
        clicked = set(world.clicks([c["id"] for c in found], found))
        results = [c | {"was_clicked": float(c["id"] in clicked)} for c in found]
        event = loop.log_retrieval(f"query {world.n % 11}", results, user=f"user-{world.n % 60}", now=world.now)
        for doc in clicked:
            loop.submit_feedback(event, "click", doc=doc, now=world.now + 1.0)
        world.n, world.now = world.n + 1, world.now + 1.0

    return lived(with_feature(opened, "was_clicked"), world, visit=visit)


def a_feature_that_is_a_place(opened: Open, world: Any) -> Diagnosis:
    return lived(with_feature(opened, "rr"), world, visit=visit_with(world, lambda _n, _d, i: 1.0 / (60 + i), "rr"))


class Repeats:
    """Visits that ask everything twice; features stay, but for how often a document was shown, where that counts."""

    def __init__(self, world: Any, *, counts: bool) -> None:
        self.world, self.counts = world, counts
        self.fixed = [world.candidates() for _ in range(11)]
        self.shown: dict[str, int] = {}

    def __call__(self, loop: dwell.Loop) -> None:
        world = self.world
        q = world.n % 11
        for _ in range(2):
            found = [c | {"shown": float(self.shown.get(f"{q}/{c['id']}", 0))} for c in self.fixed[q]]
            served = loop.rank(f"query {q}", found, k=3, user=f"user-{world.n % 60}", now=world.now)
            world.now += 1.0
            for doc in served.ids:
                self.shown[f"{q}/{doc}"] = self.shown.get(f"{q}/{doc}", 0) + self.counts
        for doc in world.clicks(served.ids, found):
            loop.submit_feedback(served.event_id, "click", doc=doc, now=world.now)
        world.n, world.now = world.n + 1, world.now + 1.0


def serving_counts(opened: Open, world: Any, *, counts: bool = True) -> Diagnosis:
    loop = opened(temperature=1.0, features=[*START, "shown"], weights={**START, "shown": 1.0})
    return lived(loop, world, visit=Repeats(world, counts=counts))


def a_robot(opened: Open, world: Any) -> Diagnosis:
    loop = opened(temperature=1.0)
    lived(loop, world)
    for i in range(40):
        served = loop.rank("query 3", world.candidates(), k=5, user="robot", now=world.now + i / 10.0)
        loop.submit_feedback(served.event_id, "click", doc=served.ids[-1], now=world.now + i / 10.0 + 0.05)
    world.now += world.window_s + 10.0
    return lived(loop, world, rounds=1)


def a_document_pushed(opened: Open, world: Any) -> Diagnosis:
    loop = opened(temperature=1.0)
    lived(loop, world)
    for _ in range(60):
        served = loop.rank("query 3", world.candidates(), k=8, user="friend of d3", now=world.now)
        loop.submit_feedback(served.event_id, "click", doc="d3", now=world.now + 1.0)
        world.now += 30.0
    return lived(loop, world, rounds=1)


def holes_in_features(opened: Open, world: Any) -> Diagnosis:
    def visit(loop: dwell.Loop) -> None:
        if world.n % 8:
            world.visit(loop)
            return
        world.n += 1
        broken = [c | {"bad": float("nan")} for c in world.candidates()]
        assert loop.rank("q", broken, user="u", now=world.now).fallback == "non_finite:bad"

    return lived(opened(temperature=1.0), world, visit=visit)


def some_reactions_get_lost(opened: Open, world: Any) -> Diagnosis:
    def visit(loop: dwell.Loop) -> None:
        served = world.visit(loop)
        if world.n % 5 == 0:
            loop.submit_feedback(f"page-{world.n}", "click", doc=served.ids[0], now=world.now)

    return lived(opened(temperature=1.0), world, visit=visit)


PLANTS: list[tuple[str, Plant, str]] = [
    ("rewards_missing", no_reactions, "loop.feedback(served.event_id"),
    ("rewards_missing", reactions_with_other_ids, "event_id"),
    ("rewards_all_default", reactions_that_do_not_count, 'rewards={"view": 1.0, ...}'),
    ("rewards_all_default", silence_has_a_price, "loop.feedback("),
    ("no_features", bare_lists, "log_retrieval"),
    ("quarantined", holes_in_features, "dwell inspect STORE"),
    ("learner_idle", nobody_closes, "loop.train()"),
    ("suspicious_users", a_robot, "dwell erase STORE"),
    ("suspicious_users", a_document_pushed, "dwell erase STORE"),
    ("feature_leaks", a_feature_that_knows, "drop_features=['was_clicked']"),
    ("positions_mixed", places_from_0_and_from_1, "from 1 everywhere"),
    ("positions_mixed", scores_from_0_and_from_1, "from 1 everywhere"),
    ("clock_skew", early_reactions, "at="),
    ("clock_skew", lists_of_tomorrow, "now="),
    ("order_moves_by_serving", serving_counts, "'shown'"),
    ("scores_equal", drowned_scores, "temperature=0.3"),
    ("scores_equal", equal_scores, "differ between the candidates"),
    ("nothing_learned", nobody_trains, "loop.train()"),
    ("nothing_learned", only_recorded, 'mode="shadow"'),
    ("no_propensities", ordered_elsewhere, "loop.rank("),
    ("no_exploration", plain_sorts, "temperature=0.3"),
    ("never_moved", nothing_to_find, "dwell history STORE"),
    ("no_influence", inert_learning, "max_step_norm"),
    ("dominant_segment", one_segment, "stratified"),
    ("ess_low", far_away, "temperature="),
    ("feature_is_rank", a_feature_that_is_a_place, "drop_features=['rr']"),
    ("feature_constant", a_constant_feature, "drop_features=['flat']"),
    ("orphans", some_reactions_get_lost, "event_id"),
]


@pytest.mark.parametrize(("code", "plant", "remedy"), PLANTS, ids=[plant.__name__ for _, plant, _ in PLANTS])
def test_a_planted_fault_is_named_first(code: str, plant: Plant, remedy: str, opened: Open, world: Any) -> None:
    found = plant(opened, world)
    assert codes(found)[0] == code, [(one.code, one.message) for one in found.findings]
    assert remedy in found.findings[0].remedy
    assert found.findings[0].figures
    assert found.is_healthy is (code == "feature_constant")  # a column too many costs space alone
    assert [one.harm for one in found.findings] == sorted(one.harm for one in found.findings)
    assert {one.code for one in found.findings} <= set(BY_HARM)


# ---- the same without the plant


def places_from_1(opened: Open, world: Any) -> Diagnosis:
    loop = with_feature(opened, "place")
    return lived(loop, world, visit=visit_with(world, lambda _n, _d, i: float(i + 1), "place"))


def scores_from_1(opened: Open, world: Any) -> Diagnosis:
    return lived(opened(temperature=1.0), world, visit=logged(world, score=lambda _, i: float(i + 1)))


def a_feature_that_varies(opened: Open, world: Any) -> Diagnosis:
    loop = with_feature(opened, "more")
    return lived(loop, world, visit=visit_with(world, lambda *_: float(world.rng.random()), "more"))


def a_sorted_feature(opened: Open, world: Any) -> Diagnosis:
    """Give candidates sorted by a feature, as search engines do: its value says more than the place."""
    loop = with_feature(opened, "bm25")
    return lived(loop, world, visit=visit_with(world, lambda n, _, i: 20.0 - i * (1.0 + n % 7), "bm25"))


def serving_does_not_count(opened: Open, world: Any) -> Diagnosis:
    return serving_counts(opened, world, counts=False)


def activation_is_served(opened: Open, world: Any) -> Diagnosis:
    """Ask everything twice where activation is among the features and orders: serving alone is no use."""
    loop = opened(temperature=1.0, features=[*START, "shown"], weights={**START, "shown": 1.0}, learner="both")
    lived(loop, world, visit=Repeats(world, counts=False))
    weights = {**dict.fromkeys(loop.features, 0.0), "act.activation": 1.0}
    loop.promote(dwell.Params(version=0, weights=weights, temperature=1.0), force=True, now=world.now)
    return lived(loop, world, visit=Repeats(world, counts=False))


def a_keen_reader(opened: Open, world: Any) -> Diagnosis:
    """Let one user praise as often as the robot, over an hour, whatever is good."""
    loop = opened(temperature=1.0)
    lived(loop, world)
    for _ in range(40):
        found = world.candidates()
        served = loop.rank(f"query {world.n % 11}", found, k=5, user="keen", now=world.now)
        good = {c["id"]: c["good"] for c in found}
        loop.submit_feedback(served.event_id, "click", doc=max(served.ids, key=good.__getitem__), now=world.now + 1.0)
        world.n, world.now = world.n + 1, world.now + 90.0
    return lived(loop, world, rounds=1)


def silence_with_a_price_and_clicks(opened: Open, world: Any) -> Diagnosis:
    return lived(opened(temperature=1.0, rewards=custom({"click": 1.0}, default_reward=-0.1)), world)


def three_segments(opened: Open, world: Any) -> Diagnosis:
    def visit(loop: dwell.Loop) -> None:
        segment = ("news", "docs", "shop")[world.n % 3]
        visit_with(world, lambda *_: float(world.rng.random()), "noise", segment=segment)(loop)

    return lived(opened(temperature=1.0), world, visit=visit)


def just_stopped(opened: Open, world: Any) -> Diagnosis:
    """Stop an application in the middle of its windows, and look a day later."""
    loop = opened(temperature=1.0)
    lived(loop, world)
    for _ in range(80):
        world.visit(loop)
    return loop.doctor(now=world.now + 86_400.0)


CONTROLS: list[tuple[str, Plant]] = [
    ("positions_mixed", places_from_1),
    ("positions_mixed", scores_from_1),
    ("feature_constant", a_feature_that_varies),
    ("feature_leaks", a_feature_that_varies),
    ("feature_is_rank", a_sorted_feature),
    ("order_moves_by_serving", serving_does_not_count),
    ("order_moves_by_serving", activation_is_served),
    ("suspicious_users", a_keen_reader),
    ("rewards_all_default", silence_with_a_price_and_clicks),
    ("dominant_segment", three_segments),
    ("learner_idle", just_stopped),
]


@pytest.mark.parametrize(("code", "control"), CONTROLS, ids=[f"{code}-{one.__name__}" for code, one in CONTROLS])
def test_without_the_plant_it_is_not_named(code: str, control: Plant, opened: Open, world: Any) -> None:
    found = control(opened, world)
    assert code not in codes(found), found.findings
