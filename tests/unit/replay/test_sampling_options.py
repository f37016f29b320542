"""What a caller may ask of a draw: normalisations, caps, another alpha, the highest priority."""

import numpy as np
import pytest

from dwell.errors import ConfigError, NotEnoughExperienceError, ReplayError
from dwell.records import Experience
from dwell.replay import ReplayBuffer

HALF_LIFE_S = 100.0
PRIORITIES = {"e0": 1.0, "e1": 4.0, "e2": 9.0, "e3": 2.0, "e4": 0.5}
TIMES = {"e0": 0.0, "e1": 50.0, "e2": 300.0, "e3": 120.0, "e4": 260.0}
SEGMENTS = {"e0": "a", "e1": "a", "e2": None, "e3": "a", "e4": "b"}


def made(half_life_s: float | None, alpha: float = 0.5) -> ReplayBuffer:
    buffer = ReplayBuffer(10, alpha=alpha, half_life_s=half_life_s, seed=0)
    for name, priority in PRIORITIES.items():
        buffer.add(
            Experience(name, 1e9 + TIMES[name], "", [], [], {}, {}, 0.0, priority, segment=SEGMENTS[name], user="u")
        )
    return buffer


def target_of(half_life_s: float | None) -> dict[str, float]:
    masses = {name: 1.0 if half_life_s is None else 2.0 ** (at / half_life_s) for name, at in TIMES.items()}
    return {name: mass / sum(masses.values()) for name, mass in masses.items()}


def law_of(strategy: str, half_life_s: float | None) -> dict[str, float]:
    recency = target_of(half_life_s)
    if strategy == "priority":
        masses = {name: priority**0.5 for name, priority in PRIORITIES.items()}
    elif strategy == "rank":
        ordered = sorted(PRIORITIES, key=lambda name: -PRIORITIES[name])
        masses = {name: (1 + ordered.index(name)) ** -0.5 for name in PRIORITIES}
    elif strategy == "recency":
        masses = target_of(HALF_LIFE_S)
    elif strategy == "stratified":
        within = {s: sum(recency[n] for n in recency if SEGMENTS[n] == s) for s in SEGMENTS.values()}
        masses = {name: recency[name] / within[SEGMENTS[name]] for name in PRIORITIES}
    else:
        masses = dict.fromkeys(PRIORITIES, 1.0)
    return {name: mass / sum(masses.values()) for name, mass in masses.items()}


@pytest.mark.parametrize("half_life_s", [None, HALF_LIFE_S], ids=["to uniform", "to recency"])
@pytest.mark.parametrize("strategy", ["uniform", "priority", "rank", "recency", "stratified"])
@pytest.mark.parametrize("beta", [1.0, 0.4, 0.0])
@pytest.mark.parametrize("normalisation", ["batch_mean", "batch_max", "buffer_max", "none"])
def test_weights_are_the_ratio_over_what_the_name_says(
    normalisation: str, beta: float, strategy: str, half_life_s: float | None
) -> None:
    if strategy == "recency" and half_life_s is None:
        return
    buffer, target, law = made(half_life_s), target_of(half_life_s), law_of(strategy, half_life_s)
    ratio = {name: (target[name] / law[name]) ** beta for name in law}
    for n_drawn in (40, 1, 1, 2, 2, 2):  # small ones lack the newest, and the one of the highest ratio
        batch = buffer.sample(n_drawn, strategy=strategy, beta=beta, normalisation=normalisation)  # type: ignore[arg-type]
        drawn = np.array([ratio[name] for name in batch.event_ids])
        by = {"batch_mean": drawn.mean(), "batch_max": drawn.max(), "buffer_max": max(ratio.values()), "none": 1.0}
        assert batch.sampling_weights == pytest.approx(drawn / by[normalisation], rel=1e-9)


@pytest.mark.parametrize("strategy", ["uniform", "priority", "stratified"])
@pytest.mark.parametrize("normalisation", ["batch_mean", "batch_max", "none"])
def test_under_a_cap_the_ratio_is_that_to_the_expected_share(strategy: str, normalisation: str) -> None:
    buffer, target = made(HALF_LIFE_S), target_of(HALF_LIFE_S)
    batch = buffer.sample(6, strategy=strategy, max_repeats=2, normalisation=normalisation)  # type: ignore[arg-type]
    drawn = np.array([target[name] for name in batch.event_ids]) / batch.sampling_probabilities
    by = {"batch_mean": drawn.mean(), "batch_max": drawn.max(), "none": 1.0}
    assert batch.sampling_weights == pytest.approx(drawn / by[normalisation], rel=1e-9)


def test_weights_without_a_divisor_have_mean_one_over_many_batches() -> None:
    buffer = made(HALF_LIFE_S)
    weights = [buffer.sample(50, strategy="priority", normalisation="none").sampling_weights.mean() for _ in range(400)]
    assert np.mean(weights) == pytest.approx(1.0, abs=5 * np.std(weights) / 20 + 1e-9)


@pytest.mark.parametrize("strategy", ["uniform", "priority", "rank", "recency", "stratified"])
@pytest.mark.parametrize("cap", [1, 2, 4])
def test_nobody_stands_in_a_batch_more_often_than_the_cap(strategy: str, cap: int) -> None:
    buffer = made(HALF_LIFE_S)
    for n_drawn in (1, 4, 5 * cap):
        batch = buffer.sample(n_drawn, strategy=strategy, max_repeats=cap)  # type: ignore[arg-type]
        counts = np.unique(batch.seqs, return_counts=True)[1]
        assert counts.max() <= cap
        assert (n_drawn * batch.sampling_probabilities <= cap + 1e-12).all()
    assert counts.tolist() == [cap] * 5
    with pytest.raises(NotEnoughExperienceError, match=str(5 * cap)):
        buffer.sample(5 * cap + 1, strategy=strategy, max_repeats=cap)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("max_repeats", {"max_repeats": 0}),
        ("max_repeats", {"max_repeats": 1.0}),
        ("max_repeats", {"max_repeats": 2, "replace": False}),
        ("normalisation", {"normalisation": "mean"}),
        ("normalisation", {"normalisation": "buffer_max", "replace": False}),
        ("normalisation", {"normalisation": None}),
    ],
)
def test_options_that_mean_nothing_are_refused(field: str, wrong: dict[str, object]) -> None:
    with pytest.raises(ReplayError, match=field):
        made(None).sample(2, **wrong)  # type: ignore[arg-type]


def test_another_alpha_and_back_gives_the_same_law_and_the_same_draws() -> None:
    one, two = made(None), made(None)
    for buffer in (one, two):
        buffer.sample(5, strategy="priority", rng=np.random.default_rng(0))
    raw = one.priorities().tolist()
    one.alpha = 1.0
    batch = one.sample(200, strategy="priority", rng=np.random.default_rng(1))
    whole = sum(PRIORITIES.values())
    assert batch.sampling_probabilities == pytest.approx([PRIORITIES[name] / whole for name in batch.event_ids])
    one.alpha = 0.0
    assert set(one.sample(200, strategy="rank").sampling_probabilities.tolist()) == {0.2}
    one.alpha = 0.5
    assert (one.alpha, one.priorities().tolist()) == (0.5, raw)
    for strategy in ("priority", "rank"):
        left, right = (b.sample(300, strategy=strategy, rng=np.random.default_rng(2)) for b in (one, two))  # type: ignore[arg-type]
        assert left.seqs.tolist() == right.seqs.tolist()
        assert left.sampling_probabilities.tobytes() == right.sampling_probabilities.tobytes()


@pytest.mark.parametrize("alpha", [-0.1, 16.5, float("nan"), "1", None, True])
def test_an_alpha_out_of_range_is_refused_and_the_old_one_stays(alpha: object) -> None:
    buffer = made(None)
    with pytest.raises((ReplayError, ConfigError), match="alpha"):
        buffer.alpha = alpha  # type: ignore[assignment]
    assert buffer.alpha == 0.5


def test_the_highest_priority_is_that_of_who_is_here_now() -> None:
    buffer = ReplayBuffer(3)
    assert buffer.max_priority() == 1.0
    for name in ("e0", "e1", "e2"):
        buffer.add(Experience(name, 0.0, "", [], [], {}, {}, 0.0, 2.0, user=name))
    assert buffer.max_priority() == 2.0
    buffer.update_priorities(["e1", "e1"], [1e300, 7.0])  # of duplicates the last holds
    assert buffer.max_priority() == 7.0
    buffer.update_priorities(["e2"], [50.0])
    assert buffer.max_priority() == 50.0
    buffer.remove("e2")  # the outlier is forgotten with its experience
    assert buffer.max_priority() == 7.0
    buffer.update_priorities(["e1"], [0.5])
    assert buffer.max_priority() == 2.0
    buffer.add(Experience("e1", 0.0, "", [], [], {}, {}, 0.0, 9.0))
    assert buffer.max_priority() == 9.0
    for i in range(3):  # evicted, too
        buffer.add(Experience(f"n{i}", 0.0, "", [], [], {}, {}, 0.0, 0.25))
    assert buffer.max_priority() == 0.25
    buffer.update_priorities(buffer.seqs(), np.zeros(3))
    assert buffer.max_priority() == 1.0  # with 0 a new one would never be drawn once another has more
    buffer.clear()
    assert buffer.max_priority() == 1.0


def test_the_highest_priority_is_right_after_thousands_of_changes() -> None:
    rng = np.random.default_rng(0)
    buffer = ReplayBuffer(40)
    for i in range(3000):
        kind = rng.integers(4)
        name = f"e{rng.integers(60)}"
        if kind < 2:
            buffer.add(Experience(name, 0.0, "", [], [], {}, {}, 0.0, float(rng.exponential())))
        elif kind == 2:
            buffer.remove(name)
        elif len(buffer):
            seqs = rng.choice(buffer.seqs(), 5)
            buffer.update_priorities(seqs, rng.exponential(size=5) * (rng.random(5) < 0.8))
        assert buffer.max_priority() == (buffer.priorities().max() if len(buffer) else 1.0), i


def test_a_user_is_removed_alone_whatever_moved_before() -> None:
    rng = np.random.default_rng(1)
    buffer = ReplayBuffer(60, seed=0)
    model: dict[str, str | None] = {}
    for i in range(600):
        name, user = f"e{rng.integers(90)}", [None, "u0", "u1", "u2"][int(rng.integers(4))]
        evicted = {buffer.get(seq).event_id for seq in []}  # type: ignore[union-attr]
        if name not in model and len(model) == 60:
            evicted = {next(iter(buffer)).event_id}
        buffer.add(Experience(name, 0.0, "", [], [], {}, {}, 0.0, user=user))
        model = {other: whose for other, whose in model.items() if other not in evicted} | {name: user}
        if i % 20 == 19:
            gone = f"u{rng.integers(3)}"
            assert buffer.remove_user(gone) == sum(whose == gone for whose in model.values())
            model = {other: whose for other, whose in model.items() if whose != gone}
        assert {item.event_id: item.user for item in buffer} == model
