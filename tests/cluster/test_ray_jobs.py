"""Jobs over archives: sums of parts, joined, are those of all events at once, in one process and by Ray Data."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import Engine

import dwell
from dwell.cli import main
from dwell.cluster.part_sums import Crowd, PartTask, Seen, fits_of, seen_of
from dwell.cluster.ray_jobs import learned_from_parts, reevaluated, task_for
from dwell.config import read_config
from dwell.errors import EvaluationError, LearningError
from dwell.evaluation.judging import differences
from dwell.learning.space import space_for
from dwell.loop.caps import caps_of
from dwell.loop.judge import Bench, Judgement
from dwell.loop.train import Standardised, fitted, predictor_sums
from dwell.reward.examination import PositionBased
from dwell.storage.archive_places import archive_files

PEPPER = b"0123456789abcdef"  # given, so that the same users are held out on each run
START, DAY_S = 1_700_000_000.0, 86_400.0
N_EVENTS, N_DAYS = 240, 3
THETA = 1.0 / np.arange(1.0, 11.0)
CONFIG = read_config({"learner": {"step_size": 0.05}}, {})


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], PartTask, dwell.Params]:
    """Archive three days of lists, one user asking a third of them, one document clicked whenever it is shown."""
    folder = tmp_path_factory.mktemp("jobs")
    rng = np.random.default_rng(3)
    where, archive = str(folder / "a.dwell"), str(folder / "archive")
    with dwell.open(
        where, features=["bm25", "cosine"], weights={"bm25": 1.0, "cosine": 0.2}, archive=archive, retention_s=3_600.0,
        attribution_window_s=60.0, durability="relaxed", pepper=PEPPER,
    ) as loop:  # fmt: skip
        at = START
        for i in range(N_EVENTS):
            at = START + N_DAYS * DAY_S * i / N_EVENTS
            features = rng.normal(size=(4 + i % 5, 2))
            ids = ["d0", *(f"d{j}-{i % 7}" for j in range(1, len(features)))]
            user = None if i % 10 == 9 else "u0" if i % 3 == 0 else f"u{i % 40}"
            served = loop.rank(f"q{i % 11}", ids=ids, features=features, k=4, user=user, event_id=f"e{i:03d}", now=at)
            clicked = {"d0"} | {doc for doc in served.ids if features[ids.index(str(doc)), 1] > 0.8}
            for doc in clicked & set(served.ids):
                loop.submit_feedback(served.event_id, "click", doc=str(doc), now=at + 1.0)
        loop.close_events(now=at + 100.0)
        loop.close_events(now=at + 10_000.0)
        assert loop.counts["archived"] == N_EVENTS
        task = task_for(loop._state, where)
        live = loop.params
    return archive_files(archive), task, live


def seen_over(files: list[Path], task: PartTask) -> Seen:
    """Return who is in all parts."""
    return functools.reduce(Seen.joined, [seen_of(str(part), task) for part in files])


def test_sums_of_parts_are_those_of_all_events(parts: tuple[list[Path], PartTask, dwell.Params]) -> None:
    files, task, live = parts
    assert len(files) > N_DAYS - 1
    rows = [row for part in files for row in task.learned_rows(str(part))]
    whole = seen_over(files, task)
    assert whole.n_events == len(rows) > 100
    assert whole.features.shape == (len(rows), 2)
    expected = caps_of(rows)  # of one machine
    crowd = Crowd.of(whole)
    assert min(expected.events.values()) < 1.0
    assert crowd.counts(rows) == pytest.approx([expected.event(row) for row in rows], rel=1e-12)
    space = space_for(live, whole.features)
    joined = fits_of(str(files[0]), task, space, THETA, crowd)
    for part in files[1:]:
        joined = joined.joined(fits_of(str(part), task, space, THETA, crowd))
    capped = joined.capped()
    assert capped
    for row in rows:
        own = [
            capped.get(doc, 1.0) if r > 0.0 else 1.0
            for doc, r in zip(row.doc_hashes.tolist(), row.rewards, strict=True)
        ]
        said = np.where(row.rewards > 0.0, expected.praise[row.seq], 1.0)
        assert own == pytest.approx(said.tolist(), rel=1e-12)
    # fitted with the caps on documents, as one machine fits them
    crowd = Crowd(crowd.users, crowd.weights, crowd.nameless, capped)
    joined = fits_of(str(files[0]), task, space, THETA, crowd)
    for part in files[1:]:
        joined = joined.joined(fits_of(str(part), task, space, THETA, crowd))
    found = fitted(joined.folds, ridge=1.0)
    oracle = fitted(predictor_sums(rows, Standardised(space, rows), THETA, caps=expected), ridge=1.0)
    for one, other in zip(found, oracle, strict=True):
        np.testing.assert_allclose(one.beta, other.beta, rtol=0.0, atol=1e-9)


def test_what_an_archive_says_of_a_policy_is_what_its_events_say(
    parts: tuple[list[Path], PartTask, dwell.Params],
) -> None:
    files, task, live = parts
    how = {"mode": "live", "theta": THETA, "config": CONFIG}
    found = learned_from_parts(files, task, live, version=1, passes=6, now=1.8e9, **how)  # type: ignore[arg-type]
    assert found.learned.n_steps == 6
    start = space_for(live, seen_over(files, task).features).vector(live)
    assert found.params.vector[1] > start[1] + 0.01  # the cosine is what was clicked for
    proposed = found.params
    told = reevaluated(files, task, proposed, live, **how)  # type: ignore[arg-type]
    rows = [row for part in files for row in task.rows(str(part))]
    learned = [row for row in rows if not row.is_held_out]
    space = space_for(proposed, np.zeros((1, 2)))
    sums = predictor_sums(learned, Standardised(space, learned), THETA, caps=caps_of(learned))
    predictors = fitted(sums, ridge=CONFIG.learner.ridge)[:2]
    bench = Bench(proposed, live, "live", space, predictors, THETA, CONFIG.gate.max_importance_weight)
    judgement = Judgement(bench, {})
    gains = differences([judgement.judged(row) for row in rows], [row.rewards for row in rows])
    assert told.estimate.value == pytest.approx(gains.mean(), abs=1e-9)
    assert told.estimate.n == len(rows) == N_EVENTS
    # users, by hand: each one's sum of what its lists are above the mean
    groups: dict[object, float] = {}
    for row, gain in zip(rows, gains, strict=True):
        key = row.event_id if row.user_hash is None else row.user_hash
        groups[key] = groups.get(key, 0.0) + gain - gains.mean()
    m = len(groups)
    error = np.sqrt(sum(value**2 for value in groups.values()) * m / (m - 1)) / N_EVENTS
    assert told.estimate.high - told.estimate.value == pytest.approx(1.959963984540054 * error, rel=1e-9)
    assert told.n_users == m
    late = PartTask(task.rules, after=10_000)
    with pytest.raises(LearningError, match="no archived event"):
        reevaluated(files, late, proposed, live, **how)  # type: ignore[arg-type]
    few = PartTask(task.rules, after=N_EVENTS - 1)
    with pytest.raises((EvaluationError, LearningError)):
        reevaluated(files, few, proposed, live, **how)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # it sets an option of its own that it advises against
def test_the_commands_come_to_the_same_by_ray_data(
    parts: tuple[list[Path], PartTask, dwell.Params],
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pandas", reason="Ray Data needs the extra ray-data")
    files, task, live = parts
    monkeypatch.setenv("DWELL_PEPPER", PEPPER.decode())
    given = [task.where, "--from-archive", str(files[0].parents[2]), "--address", engine.address, "--json"]

    def said(*words: str) -> Any:
        capsys.readouterr()
        assert main(["cluster", "job", words[0], *given, *words[1:]]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    config = read_config(None, {})
    theta = PositionBased(config.training.examination_eta).theta(20)
    how: dict[str, Any] = {"mode": "live", "theta": theta, "config": config}
    told = said("evaluate", "--weights", '{"bm25": 0.1, "cosine": 1.0}')
    params = dwell.Params(version=1, weights={"bm25": 0.1, "cosine": 1.0}, temperature=live.temperature)
    expected = reevaluated(files, task, params, live, **how)
    assert told["estimate"]["value"] == pytest.approx(expected.estimate.value, abs=1e-9)
    assert told["estimate"]["low"] == pytest.approx(expected.estimate.low, abs=1e-9)
    assert told["n_users"] == expected.n_users
    found = said("train", "--passes", "1")
    learned = learned_from_parts(files, task, live, version=1, passes=1, now=1.8e9, **how)
    np.testing.assert_allclose(list(found["proposed"]["weights"].values()), learned.params.vector, rtol=0.0, atol=1e-9)
    assert found["n_learned_from"] == sum(learned.version_counts.values())
    with dwell.open(task.where, pepper=PEPPER) as loop:
        assert loop._state.standing is not None  # the gate has it now
        assert loop._state.standing.params.vector.tolist() == list(found["proposed"]["weights"].values())
    assert main(["cluster", "job", "train", *given[:-1]]) == 1
    assert "version 1 is being judged" in capsys.readouterr().err
