"""What is learned from an archive is what is learned from the store: rows, sums and params, judged by the same gate."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.errors import ArchiveError, ConfigError, RecordError
from dwell.learning.space import space_for
from dwell.loop.archive_sums import predictors_over, seen_users
from dwell.loop.archived_rows import group_rows, row_rules
from dwell.loop.archiving import archive_first
from dwell.loop.caps import caps_of
from dwell.loop.from_archive import ArchiveRows, Basis, learn_from_batches, shuffled_batches
from dwell.loop.train import Plan, fit_predictors, fitting_features, propose
from dwell.records.rows import EventRow
from dwell.storage.archive_places import archive_files, days_between

from .archives import RETENTION_S, everything
from .conftest import QUICK

Open = Callable[..., dwell.Loop]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def copied(loop: dwell.Loop) -> None:
    """Archive all that a store holds, and leave it where it is."""
    with loop.facts() as reader:
        seqs = reader.seqs()
    assert archive_first(loop._state, seqs)


def differing(a: EventRow, b: EventRow) -> list[str]:
    found = []
    for field in fields(EventRow):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            x, y = (x.dtype, x.shape, x.tobytes()), (y.dtype, y.shape, y.tobytes())
        if x != y:
            found.append(field.name)
    return found


def all_rows(loop: dwell.Loop, folder: Path) -> list[EventRow]:
    rules = row_rules(loop._state)
    found = [row for path in archive_files(folder) for row in group_rows(path, None, rules)]
    return sorted(found, key=lambda row: row.seq)


def test_rows_are_those_of_the_store_bit_for_bit(opened: Open, world: Any, anywhere: str, folder: Path) -> None:
    how: dict[str, Any] = {"retention_s": 1e9, "archive": folder, "holdout": 0.3}
    loop = opened(anywhere, **how, config={**QUICK, "training": {**QUICK["training"], "swap_share": 0.2}})
    for i in range(60):
        world.visit(loop)
        loop.rank("late", world.candidates(), segment=f"s{i % 3}", event_id=f"d{i}", activate=False, now=world.now)
        loop.activate(f"d{i}", now=world.now + (200.0 if i % 2 else 1.0))
    world.now += 1_000.0
    loop.close_events(now=world.now)
    loop.log_retrieval("ext", [{"id": "a", "good": 1.0, "bad": 0.0, "noise": 0.0}], now=world.now)
    world.now += 1_000.0
    loop.close_events(now=world.now)
    copied(loop)
    expected = sorted(loop._state.replayed.rows.in_close_order(), key=lambda row: row.seq)
    found = all_rows(loop, folder)
    assert len(found) == len(expected) == 121
    assert {row.swap_pair > 0 for row in found} == {True, False}
    assert sum(row.late_us > 0 for row in found) == 30
    assert {row.is_held_out for row in found} == {True, False}
    wrong = [differing(a, b) for a, b in zip(expected, found, strict=True)]
    assert {name for names in wrong for name in names} <= {"segment_code"}  # numbered per read, named the same


def test_rows_follow_the_features_of_today(opened: Open, world: Any, folder: Path) -> None:
    loop = opened("a.dwell", retention_s=1e9, archive=folder)
    world.visits(loop, 20)
    loop.close_events(now=world.now)
    copied(loop)
    loop.close()
    loop = opened("a.dwell", weights=None, features=["good", "bad", "fresh"], drop_features=["noise"])
    found = all_rows(loop, folder)
    expected = sorted(_rebuilt(loop, world), key=lambda row: row.seq)
    assert [differing(a, b) for a, b in zip(expected, found, strict=True)] == [[]] * 20
    assert all(np.isnan(row.features[:, 2]).all() and np.isfinite(row.features[:, :2]).all() for row in found)


def _rebuilt(loop: dwell.Loop, world: Any) -> list[EventRow]:
    loop.close_events(now=world.now)
    return loop._state.replayed.rows.in_close_order()


def test_an_exposure_of_another_examination_is_computed_anew_as_in_the_store(
    opened: Open, world: Any, folder: Path
) -> None:
    loop = opened("a.dwell", retention_s=1e9, archive=folder)
    world.visits(loop, 20)
    loop.close_events(now=world.now)
    copied(loop)
    before = all_rows(loop, folder)
    loop.close()
    loop = opened("a.dwell", config={"training": {"examination": "assumed", "examination_eta": 0.5}})
    found = all_rows(loop, folder)
    expected = sorted(_rebuilt(loop, world), key=lambda row: row.seq)
    assert [differing(a, b) for a, b in zip(expected, found, strict=True)] == [[]] * 20
    assert any("exposure" in differing(a, b) for a, b in zip(before, found, strict=True))


def test_sums_over_row_groups_are_those_over_all_rows(opened: Open, world: Any, folder: Path) -> None:
    loop = opened(retention_s=1e9, archive=folder, holdout=0.2)
    for _ in range(150):  # everybody praises one document
        served = world.visit(loop)
        if "d0" in served.ids:
            loop.submit_feedback(served.event_id, "click", doc="d0", now=world.now)
    world.visits(loop, 150, n_users=2)  # two users who did as much as all others together
    loop.rank("q", world.candidates(), k=5, now=world.now)  # and one who names nobody
    world.now += 200.0
    loop.close_events(now=world.now)
    copied(loop)
    state = loop._state
    rows = state.replayed.trainable()
    archive = ArchiveRows(archive_files(folder), row_rules(state))
    seen = seen_users(archive.rows(), np.random.default_rng(1))
    space = space_for(state.live, fitting_features(rows, np.random.default_rng(2)))
    caps, found = predictors_over(archive.rows, seen, space, state.theta(), ridge=1.0)
    expected_caps = caps_of(rows)
    expected = fit_predictors(rows, space, state.theta(), ridge=1.0, caps=expected_caps)
    assert seen.n_events == len(rows)
    assert expected_caps.praise  # documents are capped, and so are users
    assert min(expected_caps.events.values()) < 1.0
    assert caps.of(rows).events == pytest.approx(expected_caps.events, rel=1e-12)
    for row in rows:
        np.testing.assert_allclose(caps.of([row]).praise[row.seq], expected_caps.praise[row.seq], rtol=1e-12)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.beta, theirs.beta, rtol=1e-9, atol=1e-12)
    assert seen.features.shape == (1_000, 3)  # 301 lists of eight documents


def test_the_same_batches_give_the_same_params(opened: Open, world: Any, folder: Path) -> None:
    loop = opened(retention_s=1e9, archive=folder)
    world.visits(loop, 200)
    loop.close_events(now=world.now)
    copied(loop)
    state = loop._state
    rows, theta, config = state.replayed.trainable(), state.theta(), state.config
    plan = Plan(12, 32)
    expected = propose(
        state.live, state.replayed, unseen=rows, plan=plan, version=1, mode="live", theta=theta, config=config,
        versions={}, most_replayed=0, now=world.now, rng=np.random.default_rng(3), clock=lambda: 0.0,
    )  # fmt: skip
    rng = np.random.default_rng(3)
    space = space_for(state.live, fitting_features(rows, rng))
    from_files = {row.seq: row for row in all_rows(loop, folder)}
    archive = ArchiveRows(archive_files(folder), row_rules(state))
    seen = seen_users(archive.rows(), np.random.default_rng(9))
    caps, predictors = predictors_over(archive.rows, seen, space, theta, ridge=config.learner.ridge)

    def batches() -> Iterator[Sequence[EventRow]]:  # those of `propose`: half of each unseen, and nothing replayed
        half = plan.batch // 2
        order = np.concatenate([rng.permutation(len(rows)) for _ in range(-(-plan.n_steps * half // len(rows)))])
        for step in range(plan.n_steps):
            yield [from_files[rows[i].seq] for i in order[step * half : (step + 1) * half]]

    basis = Basis(state.live, space, caps, predictors, "live", theta, seen.n_events)
    found = learn_from_batches(basis, batches(), config, rng=rng)
    assert found.n_steps == 12
    assert expected.learned.step_norm > 0.05
    np.testing.assert_allclose(found.vector, expected.learned.vector, rtol=0.0, atol=1e-9)


def learned(opened: Open, world: Any, folder: Path, **how: Any) -> tuple[dwell.Loop, dwell.TrainReport]:
    loop = opened("a.dwell" if "where" not in how else how.pop("where"), retention_s=RETENTION_S, archive=folder, **how)
    world.visits(loop, 200)
    loop.close_events(now=world.now)
    world.now += RETENTION_S
    loop.close_events(now=world.now)
    assert everything(loop) == []
    return loop, loop.train_from_archive(folder, steps=6, now=world.now)


def test_a_proposal_from_an_archive_goes_to_the_gate_and_only_later_events_judge_it(
    opened: Open, world: Any, folder: Path
) -> None:
    loop, report = learned(opened, world, folder)
    assert (report.decision.verdict, report.ended_by, report.n_steps) == ("hold", "steps", 6)
    assert report.decision.reasons[0].startswith("too_few_events")
    assert report.proposed.version == 1
    assert loop.params.version == 0
    standing = loop._state.standing
    assert standing is not None
    assert standing.proposal.after_seq == 200
    again = loop.train_from_archive(folder, now=world.now)  # while one stands it is judged, and nothing is learned
    assert (again.ended_by, again.n_steps, again.proposed.version) == ("standing", 0, 1)
    world.visits(loop, 60)
    judged = loop.train(now=world.now).decision
    assert (judged.proposed_version, judged.difference.n) == (1, 60)


def test_held_out_users_are_not_learned_from(opened: Open, world: Any, folder: Path) -> None:
    loop, report = learned(opened, world, folder, holdout=0.5)
    assert 0 < report.n_learned_from < 200
    archive = ArchiveRows(archive_files(folder), row_rules(loop._state))
    rows = [row for some in archive.rows() for row in some]
    assert len(rows) == report.n_learned_from
    assert len({row.user_hash for row in rows}) < 60
    assert not any(row.is_held_out for row in rows)


def test_learning_is_the_same_each_time(opened: Open, new_world: Any, tmp_path: Path) -> None:
    reports = [learned(opened, new_world(), tmp_path / f"{i}", where=f"{i}.dwell")[1] for i in range(2)]
    assert reports[0].proposed.weights == reports[1].proposed.weights
    assert reports[0].curves == reports[1].curves


def test_erased_users_are_left_out_even_where_a_backup_brought_them_back(
    opened: Open, world: Any, folder: Path, tmp_path: Path
) -> None:
    loop = opened("a.dwell", retention_s=RETENTION_S, archive=folder, holdout=0.0)
    world.visits(loop, 120)
    world.now += RETENTION_S
    loop.close_events(now=world.now)
    shutil.copytree(folder, tmp_path / "backup")
    assert loop.erase("user-7", now=world.now) == 2
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    assert loop.train_from_archive(folder, steps=2, now=world.now).n_learned_from == 118


def test_days_choose_what_is_learned_from(opened: Open, world: Any, folder: Path) -> None:
    loop = opened("a.dwell", retention_s=RETENTION_S, archive=folder, holdout=0.0)
    world.now = 1_700_006_400.0 - 50.0  # 50 s before midnight of 2023-11-15
    world.visits(loop, 80)
    world.now += RETENTION_S
    loop.close_events(now=world.now)
    report = loop.train_from_archive(folder, days=days_between("2023-11-15"), steps=2, now=world.now)
    assert report.n_learned_from == 30


def test_an_empty_archive_teaches_nothing_and_says_so(opened: Open, world: Any, folder: Path) -> None:
    report = opened().train_from_archive(folder, now=world.now)
    assert report.decision.reasons == ["too_few_events: no archived event can be learned from"]
    assert report.n_steps == 0


def test_every_event_comes_once_per_look_and_few_wait_at_a_time(opened: Open, world: Any, folder: Path) -> None:
    loop = opened(retention_s=1e9, archive=folder, holdout=0.0)
    for day in range(12):
        world.now = 1_700_000_000.0 + day * 86_400.0
        world.visits(loop, 20)
    loop.close_events(now=world.now)
    copied(loop)
    n_read = [0]

    class Counting(ArchiveRows):
        def rows(self, order: Any = None) -> Iterator[list[EventRow]]:
            for some in super().rows(order):
                n_read[0] += len(some)
                yield some

    archive = Counting(archive_files(folder), row_rules(loop._state))
    assert len(archive.groups) == 12
    batches = shuffled_batches(archive, 16, np.random.default_rng(5), window=48)
    given: list[int] = []
    for batch in batches:
        given += [row.seq for row in batch]
        assert n_read[0] - len(given) < 48 + 20  # the window, and the group that filled it
        if len(given) >= 240:
            break
    assert sorted(given) == list(range(1, 241))
    assert given != sorted(given)
    assert len({seq // 20 for seq in given[:16]}) > 1  # not one day after the other


def test_a_part_that_is_gone_meanwhile_is_told(opened: Open, world: Any, folder: Path) -> None:
    loop = opened(retention_s=1e9, archive=folder)
    world.visits(loop, 20)
    loop.close_events(now=world.now)
    copied(loop)
    archive = ArchiveRows(archive_files(folder), row_rules(loop._state))
    archive_files(folder)[0].unlink()
    with pytest.raises(ArchiveError) as caught:
        next(archive.rows())
    assert caught.value.code == "archive_changed"


@pytest.mark.parametrize(
    ("field", "how"),
    [
        ("mode", {"mode": "log-only"}),
        ("learner", {"learner": "activation"}),
        ("learner.objective", {"config": {"learner": {"objective": "pdgd"}}}),
        ("learner.segment_weights", {"config": {"learner": {"segment_weights": True}}}),
        ("learner.query_rank", {"config": {"learner": {"query_rank": 1}, "replay": {"embeddings": "float32"}}}),
        ("learner.trust_bias", {"config": {"learner": {"trust_bias": True}}}),
        ("learner.negative_weight", {"config": {"learner": {"negative_weight": 2.0}}}),
        ("learner.negative_examination", {"config": {"learner": {"negative_examination": "shown"}}}),
    ],
)
def test_what_can_not_be_learned_from_an_archive_is_refused_by_name(
    opened: Open, folder: Path, field: str, how: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(**how).train_from_archive(folder)
    assert caught.value.field == field


@pytest.mark.parametrize("steps", [0, -1, True, 1.5, "3"])
def test_steps_that_are_none_are_refused_by_name(opened: Open, folder: Path, steps: Any) -> None:
    with pytest.raises(RecordError) as caught:
        opened().train_from_archive(folder, steps=steps)
    assert caught.value.field == "steps"
