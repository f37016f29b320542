import json

import numpy as np
import pytest

from study.bars import bar_lines, bars_of, query_bars
from study.baselines import LEARNING_RATES, PASSES, Literal
from study.figures import DWELL, FROZEN, LINEAR, RIVALS, TREES, UNGATED, Study
from study.one_query_each import Drift, Trail
from study.query_report import query_markdown, query_values
from study.report import as_values, markdown
from study.simulation import Checkpoint, Run
from study.worlds import World

N_TEST = 6


def a_run(*means: float, versions: tuple[int, ...] | None = None, step: int = 1_000) -> Run:
    """Return a run whose checkpoints stand every 1,000 events, the first before any."""
    found = tuple(
        Checkpoint(step * i, versions[i] if versions else i, np.full(N_TEST, mean), mean + 0.1, "hold", "not_yet: x")
        for i, mean in enumerate(means)
    )
    return Run(found, tuple(means[1:]), {"rank": 1.0})


def a_literal(value: float, best: tuple[float, int] = (0.001, 2)) -> Literal:
    grid = {(rate, passes): np.full(N_TEST, value - 0.01) for rate in LEARNING_RATES for passes in PASSES}
    return Literal(grid | {best: np.full(N_TEST, value)})


def start_of(world: World) -> float:
    return float(Study(world=world, n_events=1_000, gated=[a_run(0.5)]).logging.mean())


def a_study(world: World, name: str, gated: float, *, literal: float = 0.6, ungated: float = 0.8) -> Study:
    means = [start_of(world)] * 10
    return Study(
        world=world._replace(name=name),
        n_events=10_000,
        gated=[a_run(*means, gated) for _ in range(5)],
        ungated=[a_run(*means, ungated) for _ in range(5)],
        literal=[a_literal(literal)] * 5,
        labelled={LINEAR: np.full(N_TEST, 0.7), TREES: np.full(N_TEST, 0.75)},
    )


def with_rivals(study: Study, ours: float, **others: float) -> Study:
    figures = {FROZEN: ours} | {RIVALS[int(key[1:])]: value for key, value in others.items()}
    rivals = {name: np.full((5, N_TEST), value) for name, value in figures.items()}
    return Study(**{**vars_of(study), "rivals": rivals})


def vars_of(study: Study) -> dict[str, object]:
    return {name: getattr(study, name) for name in Study.__dataclass_fields__}


@pytest.mark.parametrize(
    ("gated", "literal", "ungated", "met"),
    [
        (0.72, 0.705, 0.725, ["met", "met", "met"]),
        (0.719, 0.68, 0.725, ["not met", "met", "met"]),
        (0.73, 0.72, 0.725, ["met", "met", "not met"]),
        (0.73, 0.68, 0.724, ["met", "not met", "met"]),
    ],
)
def test_the_bars_of_lightgbm_rank(
    small_world: World, gated: float, literal: float, ungated: float, met: list[str]
) -> None:
    bars = bars_of(a_study(small_world, "lightgbm_rank", gated, literal=literal, ungated=ungated))
    assert [bar.verdict for bar in bars] == met


def test_other_users_have_bars_of_their_own_but_for_the_literal_trainer_s(small_world: World) -> None:
    study = a_study(small_world, "lightgbm_rank", 0.72)
    bars = bars_of(Study(**{**vars_of(study), "user": "cascade"}))
    assert [bar.promise.split(":")[0] for bar in bars] == ["lightgbm_rank, cascade users"] * 2


@pytest.mark.parametrize(("below", "verdict"), [(0.005, "met"), (0.006, "not met")])
@pytest.mark.parametrize("where", [100, 1_000, 3_000])
def test_harm_is_looked_for_after_100_1000_and_3000_events(
    small_world: World, where: int, below: float, verdict: str
) -> None:
    start = start_of(small_world)
    means = [start] * 11
    early = [start] * 3
    if where == 100:
        early[2] -= below
    else:
        means[where // 1_000] -= below
    study = a_study(small_world, "lightgbm_rank", 0.72)
    runs = {"gated": [a_run(*means)] * 5, "early": {DWELL: [a_run(*early, step=50)] * 5}, "ungated": ()}
    harm = next(bar for bar in bars_of(Study(**{**vars_of(study), **runs})) if "worst" in bar.promise)
    assert harm.value == pytest.approx(-below)
    assert harm.verdict == verdict


def test_a_dip_between_the_points_that_are_promised_is_none_of_this_bar_s(small_world: World) -> None:
    start = start_of(small_world)
    means = [start] * 11
    means[2] -= 0.1
    study = a_study(small_world, "lightgbm_rank", 0.72)
    runs = {"gated": [a_run(*means)] * 5, "early": {DWELL: [a_run(start, start, start, step=50)] * 5}, "ungated": ()}
    harm = next(bar for bar in bars_of(Study(**{**vars_of(study), **runs})) if "worst" in bar.promise)
    assert harm.verdict == "met"


@pytest.mark.parametrize(
    ("ours", "others", "verdict", "best"),
    [
        (0.7, {"r0": 0.6, "r2": 0.65}, "met", 2),
        (0.7, {"r0": 0.7, "r2": 0.65}, "tie", 0),
        (0.7, {"r0": 0.6, "r4": 0.71}, "not met", 4),
    ],
)
def test_dwell_is_held_against_the_best_of_the_others(
    small_world: World, ours: float, others: dict[str, float], verdict: str, best: int
) -> None:
    study = with_rivals(a_study(small_world, "lightgbm_rank", 0.72), ours, **others)
    bar = bars_of(study)[-1]
    assert bar.verdict == verdict
    assert bar.promise.endswith(RIVALS[best])
    assert any(line.startswith(f"| {RIVALS[best]} |") for line in markdown(study))


def test_the_heavy_tails_have_three_bars(small_world: World) -> None:
    start = start_of(small_world)

    def run(at_5000: float, at_10000: float) -> Run:
        means = [start] * 11
        means[5], means[10] = start + at_5000, start + at_10000
        return a_run(*means)

    study = a_study(small_world, "heavy_tailed", 0.5)
    gated = [run(0.03, 0.04)] * 4 + [run(-0.001, 0.01)]
    bars = bars_of(Study(**{**vars_of(study), "gated": gated}))
    assert [bar.verdict for bar in bars] == ["met", "not met", "not met"]
    assert [bar.value for bar in bars] == pytest.approx([0.119 / 5, -0.001, 0.17 / 5])


@pytest.mark.parametrize(("below", "verdict"), [(0.01, "met"), (0.011, "not met")])
def test_cranfield_s_bar_looks_at_every_thousand_events(small_world: World, below: float, verdict: str) -> None:
    start = start_of(small_world)
    study = a_study(small_world, "cranfield", start)
    gated = [a_run(start, start, start - below, start)] * 5
    (bar,) = bars_of(Study(**{**vars_of(study), "gated": gated}))
    assert bar.verdict == verdict


def test_a_short_run_judges_no_bar(small_world: World) -> None:
    study = a_study(small_world, "lightgbm_rank", 0.9)
    short = Study(**{**vars_of(study), "n_events": 3_000})
    assert {bar.verdict for bar in bars_of(short)} == {"not judged"}
    lines = bar_lines(bars_of(short))
    assert "not judged: needs" in lines[2]
    assert lines[-1] == "0 met, 0 not met, 0 tie, 3 not judged."


def test_the_table_calls_a_tie_a_tie(small_world: World) -> None:
    start = start_of(small_world)
    better = a_literal(start)
    study = a_study(small_world, "lightgbm_rank", 0.5)
    same = [
        Run((*run.checkpoints[:-1], run.checkpoints[-1]._replace(test=study.logging)), *run[1:]) for run in study.gated
    ]
    above = [Literal({key: np.minimum(study.logging + 0.1, 2.0) for key in better.test})] * 5
    lines = markdown(Study(**{**vars_of(study), "gated": same, "literal": above}))
    dwell = next(line for line in lines if line.startswith(f"| {DWELL} | {start:.4f}"))
    literal = next(line for line in lines if line.startswith("| founding"))
    assert dwell.endswith("| tie |")
    assert literal.endswith("| better |")


def test_every_table_is_as_wide_as_its_heading(small_world: World) -> None:
    study = with_rivals(a_study(small_world, "lightgbm_rank", 0.6), 0.7, r0=0.6, r3=0.7)
    early = {DWELL: [a_run(0.5, 0.5, 0.5, step=50)] * 5, UNGATED: [a_run(0.5, 0.5, 0.5, step=50)] * 5}
    study = Study(**{**vars_of(study), "early": early})
    lines = [*markdown(study), *bar_lines(bars_of(study)), *query_markdown({8: [a_trail()] * 2})]
    tables = [[]]  # type: list[list[int]]
    for line in lines:
        if line.startswith("|"):
            tables[-1].append(line.count("|"))
        elif tables[-1]:
            tables.append([])
    assert all(len(set(widths)) == 1 for widths in tables if widths)
    assert sum(bool(widths) for widths in tables) >= 6


def test_the_values_survive_json(small_world: World) -> None:
    values = as_values(with_rivals(a_study(small_world, "lightgbm_rank", 0.75), 0.7, r0=0.6))
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["rankers"][DWELL]["ndcg_by_seed"] == pytest.approx([0.75] * 5)
    assert [bar["verdict"] for bar in values["bars"]] == ["met"] * 4


def test_parts_that_were_not_run_are_left_out(small_world: World) -> None:
    study = Study(world=small_world._replace(name="lightgbm_rank"), n_events=10_000, ungated=[a_run(0.5, 0.6)] * 5)
    lines = markdown(study)
    assert not any(DWELL in line or "founding" in line for line in lines)
    assert [bar.promise for bar in bars_of(study)] == [
        f"lightgbm_rank, pbm users: {UNGATED}, nDCG@10 after 10,000 events"
    ]


def a_trail(proposed: float = 0.01, live: tuple[float, ...] = (0.0, 0.0, 0.01, 0.02)) -> Trail:
    """Return a trail of four calls of train, the last one after 5,000 events."""
    events = (500, 1_000, 2_000, 5_000)
    loop = tuple(Drift(n, gain, gain, int(gain != 0.0)) for n, gain in zip(events, live, strict=True))
    return Trail(loop, dict.fromkeys(events, proposed), 1.1)


@pytest.mark.parametrize(
    ("proposed", "lowest", "verdicts"),
    [(0.010, -0.005, ["met", "met"]), (0.009, -0.005, ["not met", "met"]), (0.01, -0.006, ["met", "not met"])],
)
def test_the_bars_where_no_query_comes_twice(proposed: float, lowest: float, verdicts: list[str]) -> None:
    trails = [a_trail(proposed, (0.0, lowest, 0.01, 0.02))] * 5
    assert [bar.verdict for bar in query_bars({8: trails})] == verdicts
    assert {bar.verdict for bar in query_bars({8: trails[:4]})} == {"not judged"}
    assert len(query_bars({32: trails})) == 1


def test_learning_pays_from_where_live_stays_above_the_start() -> None:
    """Above it at 1,000, below it at 2,000, above it again at the end: it is the end that counts."""
    (values,) = query_values({8: [a_trail(live=(0.0, 0.01, -0.01, 0.02))] * 2})
    assert values["pays_from"] == 5_000
    (never,) = query_values({8: [a_trail(live=(0.0, 0.01, 0.02, -0.02)), a_trail()]})
    assert never["pays_from"] is None
    text = "\n".join(query_markdown({8: [a_trail()] * 2, 32: [a_trail(live=(0.0,) * 4)] * 2}))
    assert "With 8 features and 3% to gain, learning pays from 2,000 events on" in text
    assert "With 32 features and 3% to gain, learning does not pay within 5,000 events" in text
