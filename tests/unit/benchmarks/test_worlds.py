import json
from pathlib import Path

import numpy as np
import pytest

from study.worlds import (
    MissingDataError,
    Question,
    read_cranfield,
    read_lightgbm_rank,
    read_qrels,
    read_scifact,
    read_svmlight,
    ridge_start,
    ridge_weights,
    shared_folder,
    shuffled,
    world_of,
)


def test_svmlight_lines_become_questions_by_group() -> None:
    lines = ["2 1:0.5 3:-1", "0 2:7", "1 3:2"]
    first, second = read_svmlight(lines, [2, 1], 3, "q")
    assert first.query == "q0"
    assert first.features.tolist() == [[0.5, 0.0, -1.0], [0.0, 7.0, 0.0]]
    assert first.grades.tolist() == [2, 0]
    assert second.features.tolist() == [[0.0, 0.0, 2.0]]
    assert len({*first.ids, *second.ids}) == 3


def test_groups_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="groups of 3 documents in all, 1 lines"):
        read_svmlight(["1 1:1"], [3], 1, "q")


def test_shuffling_keeps_every_candidate_with_its_features_and_grade() -> None:
    ids = tuple(f"d{i}" for i in range(50))
    features = np.arange(50, dtype=np.float32)[:, None]
    found = shuffled(Question("q", ids, features, np.arange(50)), np.random.default_rng(0))
    assert found.ids != ids
    assert sorted(found.ids) == sorted(ids)
    assert [f"d{int(value)}" for value in found.features[:, 0]] == list(found.ids)
    assert [f"d{grade}" for grade in found.grades] == list(found.ids)


def test_test_questions_without_a_relevant_candidate_are_left_out_and_counted() -> None:
    good = Question("good", ("a", "b"), np.zeros((2, 1), np.float32), np.array([0, 1]))
    bad = Question("bad", ("a", "b"), np.zeros((2, 1), np.float32), np.array([0, 0]))
    world = world_of("w", ["x"], [bad], [good, bad, bad], max_grade=1, weights={"x": 1.0}, start="x")
    assert [question.query for question in world.test] == ["good"]
    assert world.n_left_out == 2
    assert len(world.train) == 1  # users ask such things, too


def test_ridge_weights_minimise_the_penalised_squares() -> None:
    """Against least squares on the augmented system, an independent way to the same minimum."""
    rng = np.random.default_rng(0)
    x = rng.normal(loc=3.0, scale=[1.0, 10.0, 0.1], size=(40, 3))
    y = rng.integers(0, 5, size=40)
    question = Question("q", tuple(map(str, range(40))), x.astype(np.float32), y)
    ridge = 7.0
    kept = question.features.astype(np.float64)
    z = (kept - kept.mean(axis=0)) / kept.std(axis=0)
    augmented = np.concatenate([z, np.sqrt(ridge) * np.eye(3)])
    target = np.concatenate([y - y.mean(), np.zeros(3)])
    expected = np.linalg.lstsq(augmented, target)[0] / kept.std(axis=0)
    assert ridge_weights([question], ridge) == pytest.approx(expected, rel=1e-9)


def test_a_feature_that_never_varies_gets_no_weight() -> None:
    features = np.array([[1.0, 5.0], [2.0, 5.0]], dtype=np.float32)
    weights = ridge_weights([Question("q", ("a", "b"), features, np.array([0, 1]))], 1.0)
    assert weights[1] == 0.0
    assert weights[0] > 0.0


def test_the_starting_ranker_sees_its_share_of_the_questions_only() -> None:
    rng = np.random.default_rng(1)
    questions = [
        Question(str(i), ("a", "b", "c"), rng.normal(size=(3, 2)).astype(np.float32), rng.integers(0, 3, 3))
        for i in range(40)
    ]
    chosen = np.random.default_rng(9).choice(40, 4, replace=False)
    expected = ridge_weights([questions[i] for i in chosen], 10.0)
    assert ridge_start(questions, 0.1, 10.0, 9).tolist() == expected.tolist()
    assert ridge_start(questions, 0.1, 10.0, 8).tolist() != expected.tolist()


def test_qrels_are_read_by_query() -> None:
    lines = ["query-id\tcorpus-id\tscore", "0\t31\t1", "2\t7\t2", "0\t5\t0"]
    assert read_qrels(lines) == {"0": {"31": 1, "5": 0}, "2": {"7": 2}}


def test_the_folder_comes_from_the_environment_or_from_beside_the_project(tmp_path: Path) -> None:
    beside = tmp_path / "shared" / "data"
    elsewhere = tmp_path / "elsewhere" / "data"
    beside.mkdir(parents=True)
    elsewhere.mkdir(parents=True)
    project = tmp_path / "project"
    assert shared_folder(project, {}) == beside
    assert shared_folder(project, {"DWELL_SHARED": str(tmp_path / "elsewhere")}) == elsewhere


@pytest.mark.parametrize("environ", [{}, {"DWELL_SHARED": "nowhere"}])
def test_without_the_folder_it_says_so(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(MissingDataError, match="DWELL_SHARED"):
        shared_folder(tmp_path / "project", environ)


def test_lightgbm_rank_is_read_from_its_four_files(tmp_path: Path) -> None:
    folder = tmp_path / "lightgbm_rank"
    folder.mkdir()
    for part in ("train", "test"):
        (folder / f"rank.{part}").write_text("1 1:0.5 300:2\n0 2:1\n4 1:1\n0 3:1\n")
        (folder / f"rank.{part}.query").write_text("2\n2\n")
    world = read_lightgbm_rank(tmp_path)
    assert len(world.train) == len(world.test) == 2
    assert world.max_grade == 4
    assert tuple(world.weights) == world.feature_names
    first = world.test[0]
    assert first.features[first.ids.index("test-0-0")][[0, 299]].tolist() == [0.5, 2.0]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"lightgbm_rank/rank\.train\.query"):
        read_lightgbm_rank(tmp_path)
    with pytest.raises(MissingDataError, match=r"text_ltr/cranfield\.npz"):
        read_cranfield(tmp_path)


def test_cranfield_is_cut_into_its_groups_and_starts_from_bm25(tmp_path: Path) -> None:
    (tmp_path / "text_ltr").mkdir()
    arrays: dict[str, np.ndarray] = {"features": np.array(["bm25_all", "noise"])}
    for part, sizes in (("train", [2, 1]), ("test", [1, 2])):
        arrays |= {
            f"X_{part}": np.arange(6, dtype=np.float32).reshape(3, 2),
            f"y_{part}": np.array([0, 3, 1], dtype=np.float32),
            f"g_{part}": np.array(sizes),
            f"q_{part}": np.array(["7", "9"]),
            f"d_{part}": np.array(["a", "b", "c"]),
        }
    np.savez(tmp_path / "text_ltr" / "cranfield.npz", **arrays)
    world = read_cranfield(tmp_path)
    assert world.weights == {"bm25_all": 1.0, "noise": 0.0}
    assert world.n_left_out == 1  # the first test question has grade 0 alone
    last = world.test[0]
    assert last.query == "9"
    assert {doc: (row.tolist(), int(grade)) for doc, row, grade in zip(*last[1:], strict=True)} == {
        "b": ([2.0, 3.0], 3),
        "c": ([4.0, 5.0], 1),
    }


def test_scifact_takes_candidates_and_features_from_the_retriever(tmp_path: Path) -> None:
    folder = tmp_path / "scifact"
    (folder / "qrels").mkdir(parents=True)
    topics = ["zebra stripes", "coral reefs", "solar flares"]
    corpus = [{"_id": str(i), "title": topic, "text": f"All about {topic}."} for i, topic in enumerate(topics)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    queries = [{"_id": f"q{i}", "text": topic} for i, topic in enumerate(topics)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    judged = "\n".join(f"q{i}\t{i}\t1" for i in range(3))
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}\n")
    world = read_scifact(tmp_path)
    assert (len(world.train), len(world.test), world.n_left_out) == (2, 1, 0)
    for question in (*world.train, *world.test):
        relevant = [doc for doc, grade in zip(question.ids, question.grades, strict=True) if grade]
        assert relevant == [str(topics.index(question.query))]
    assert world.weights["bm25"] == 1.0
    assert sum(world.weights.values()) == 1.0
