"""What leaves a loop is read by the tools that it is for."""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import dwell
from dwell.errors import MissingDependencyError, RecordError
from dwell.evaluation.estimators import ips, list_ips
from dwell.integrations.arrow import ExperienceTable
from dwell.integrations.obp import to_obp, to_obp_slates, write_obp
from dwell.loop.exports.pieces import has_policy

from .exported import N_LISTS, PEPPER, START, events, made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dwell.Loop]:
    found = made(tmp_path_factory.mktemp("exports") / "a.dwell")
    yield found
    found.close()


# ---- Arrow


def test_pandas_polars_and_pyarrow_take_the_table_as_it_is(store: dwell.Loop) -> None:
    table = ExperienceTable(store)
    known = events(store)
    told = pa.table(table)
    assert told["event_id"].to_pylist() == list(known)
    assert pa.schema(table) == told.schema
    assert pl.DataFrame(table)["event_id"].to_list() == list(known)
    rewards = [event.outcome.reward for event in known.values()]
    frame = pd.DataFrame.from_arrow(table)
    assert [None if np.isnan(value) else value for value in frame["reward"]] == rewards
    clicks = pl.DataFrame(table).explode("signals").unnest("signals").filter(pl.col("name") == "click")
    assert clicks.height == sum(signal.name == "click" for event in known.values() for signal in event.signals)


def test_a_table_gives_what_is_asked_for_each_time_anew(store: dwell.Loop) -> None:
    table = ExperienceTable(store, limit=2, has_text=False)
    for _ in range(2):
        assert pl.DataFrame(table).select("event_id", "query").rows() == [("deep", None), ("open", None)]
    with pytest.raises(RecordError, match="limit"):
        ExperienceTable(store, limit=-1)


def test_duckdb_takes_the_table(store: dwell.Loop) -> None:
    duckdb = pytest.importorskip("duckdb")
    table = ExperienceTable(store)  # noqa: F841 - the query names it
    assert duckdb.sql("select count(*) from table").fetchone() == (N_LISTS + 6,)


# ---- svmlight


def test_lightgbm_and_xgboost_read_svmlight(store: dwell.Loop, tmp_path: Path) -> None:
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    store.export(tmp_path / "a.svm", "svmlight")
    labels, groups, rows = [], [], []
    for event in events(store).values():
        impression, rewards = event.impression, event.outcome.document_rewards
        docs = [doc for doc in impression.served if doc in impression.documents]
        if rewards is None or not impression.has_features:
            continue
        labels += [float(rewards[impression.served.index(doc)]) for doc in docs]
        groups.append(len(docs))
        missing = np.zeros((len(docs), 3 - len(impression.feature_names)), np.float32)
        kept = np.nan_to_num(impression.features[[impression.documents.index(doc) for doc in docs]])
        rows.append(np.hstack([kept, missing]))
    bare = [line.split("#")[0].split() for line in (tmp_path / "a.svm").read_text(encoding="utf-8").splitlines()]
    plain = [" ".join(words[:1] + words[2:]) for words in bare if words]  # LightGBM takes neither qid nor comments
    (tmp_path / "plain.svm").write_text("\n".join(plain) + "\n", encoding="utf-8")
    data = lightgbm.Dataset(
        tmp_path / "plain.svm", params={"verbose": -1, "min_data_in_bin": 1, "zero_as_missing": True}
    )
    data.construct()
    assert data.get_label().tolist() == pytest.approx(labels)
    assert data.num_feature() == 4  # its columns count from 0, those of the file from 1
    (tmp_path / "with_qid.svm").write_text(
        "\n".join(" ".join(words) for words in bare if words) + "\n", encoding="utf-8"
    )
    with warnings.catch_warnings():  # it says that such files are on their way out, unless it was told to be quiet
        warnings.filterwarnings("ignore", r"(?s).*Text file input", UserWarning)
        matrix = xgboost.DMatrix(f"{tmp_path / 'with_qid.svm'}?format=libsvm&indexing_mode=1")
    assert matrix.get_label().tolist() == pytest.approx(labels)
    assert np.diff(matrix.get_uint_info("group_ptr")).tolist() == groups
    assert matrix.get_data().toarray() == pytest.approx(np.vstack(rows))


# ---- VW


def test_vowpal_wabbit_reads_the_examples(store: dwell.Loop, tmp_path: Path) -> None:
    vowpal = pytest.importorskip("vowpalwabbit")
    store.export(tmp_path / "a.vw", "vw")
    space = vowpal.Workspace("--cb_adf --noconstant --quiet")
    examples = (tmp_path / "a.vw").read_text(encoding="utf-8").split("\n\n")[:-1]
    known = [
        event for event in events(store).values() if has_policy(event.impression) and event.impression.has_features
    ]
    known = [event for event in known if event.outcome.document_rewards is not None]
    for text, event in zip(examples, known, strict=True):
        shared, *actions = space.parse(text)
        impression = event.impression
        order = np.argsort(impression.document_scores)
        assert shared.get_tag() == impression.event_id
        assert len(actions) == len(impression.documents)
        for i, action in zip(order, actions, strict=True):
            costs = action.get_label(vowpal.LabelType.CONTEXTUAL_BANDIT).costs
            if impression.documents[i] == impression.served[0]:
                (label,) = costs
                assert label.probability == pytest.approx(impression.propensities[0], rel=1e-6)
                assert label.cost == pytest.approx(-event.outcome.document_rewards[0])
            else:
                assert not costs
            values = [v for v in impression.features[i].tolist() if not np.isnan(v)]
            found = [action.feature_weight(ns, j) for ns in range(action.num_namespaces())
                     for j in range(action.num_features_in(ns))]  # fmt: skip
            assert found == pytest.approx([v for v in values if v != 0.0])
        space.finish_example([shared, *actions])
    space.finish()


# ---- obp


@pytest.fixture(scope="module")
def judged() -> Iterator[dwell.Loop]:
    """Return a loop whose params, not the caller, ordered every list, all of its candidates kept."""
    rng = np.random.default_rng(5)
    with dwell.open(":memory:", features=["a", "b"], weights={"a": 1.0, "b": -0.5}, pepper=PEPPER) as loop:
        for i in range(60):
            served = loop.rank("q", ids=[f"d{j}" for j in rng.permutation(9)[:6]], features=rng.normal(size=(6, 2)),
                               k=3, user=f"u{i % 7}", event_id=f"e{i}", now=1e9 + i)  # fmt: skip
            if i % 2:
                loop.feedback(served.event_id, "click", doc=served.ids[0 if i % 4 == 1 else 2], now=1e9 + i)
        loop.close_events(now=2e9)
        yield loop


@pytest.fixture(scope="module")
def obp() -> Any:
    """Return the estimators of obp, as those of our own are held against them."""
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        from _open_bandit_obp import obp_or_none

        found = obp_or_none()
    finally:
        sys.path.remove(folder)
    if found is None:
        if os.environ.get("DWELL_GATES") == "required":
            pytest.fail("the tests of what goes to obp need obp: requirements/oracles.txt")
        pytest.skip("obp is not installed")
    return found


def test_a_policy_judged_by_its_own_log_has_weights_of_one(judged: dwell.Loop) -> None:
    found = to_obp(judged, params=judged.params)
    rounds = np.arange(found["n_rounds"])
    assert found["n_rounds"] == 60
    assert found["action_dist"].shape == (60, found["n_actions"], 1)
    assert found["action_dist"].sum(axis=1) == pytest.approx(1.0)
    assert found["action_dist"][rounds, found["action"], 0] == pytest.approx(found["pscore"], rel=1e-5)
    slates = to_obp_slates(judged, params=judged.params)
    for name in ("pscore", "pscore_cascade"):
        assert slates[f"evaluation_policy_{name}"] == pytest.approx(slates[name], rel=1e-5)


def test_rounds_are_the_documents_on_top(judged: dwell.Loop) -> None:
    found = to_obp(judged)
    known = events(judged)
    assert found["event_id"].tolist() == list(known)
    assert found["action_id"][found["action"]].tolist() == [one.impression.served[0] for one in known.values()]
    assert found["reward"].tolist() == [one.outcome.document_rewards[0] for one in known.values()]
    assert found["pscore"].tolist() == [one.impression.propensities[0] for one in known.values()]
    assert not found["position"].any()
    assert found["context"].shape == (60, 1)
    doc = found["action_id"].tolist().index("d3")
    features = [one.impression.features[one.impression.documents.index("d3")] for one in known.values()
                if "d3" in one.impression.documents]  # fmt: skip
    assert found["action_context"][doc] == pytest.approx(np.mean(features, axis=0, dtype=np.float64))


def test_obp_and_our_own_estimators_say_the_same(judged: dwell.Loop, obp: Any) -> None:
    other = replace(judged.params, weights={"a": -1.0, "b": 2.0}, temperature=0.5)
    found = to_obp(judged, params=other)
    theirs = obp.estimators.InverseProbabilityWeighting().estimate_policy_value(
        **{name: found[name] for name in ("reward", "action", "position", "pscore", "action_dist")}
    )
    # by hand: the share of each document's exp(s / (0.5 sd)) among the six, s = 2 b - a
    known, target = list(events(judged).values()), []
    for one in known:
        a, b = one.impression.features.astype(np.float64).T
        s = 2.0 * b - a
        weight = np.exp(s / (0.5 * s.std()))
        target.append(weight[one.impression.documents.index(one.impression.served[0])] / weight.sum())
    reward = [one.outcome.document_rewards[0] for one in known]
    propensity = [one.impression.propensities[0] for one in known]
    assert theirs == pytest.approx(np.mean(np.array(reward) * target / propensity))
    assert theirs == pytest.approx(ips(reward, propensity, target).estimate().value)


def test_obp_and_our_own_estimators_say_the_same_of_slates(judged: dwell.Loop, obp: Any) -> None:
    other = replace(judged.params, weights={"a": 1.0, "b": 0.5})
    found = to_obp_slates(judged, params=other)
    theirs = obp.estimators_slate.SlateStandardIPS(len_list=3)._estimate_round_rewards(
        reward=found["reward"],
        position=found["position"],
        behavior_policy_pscore=found["pscore"],
        evaluation_policy_pscore=found["evaluation_policy_pscore"],
    )
    # by hand: the product over places of each document's share among those not yet placed
    known, target = list(events(judged).values()), []
    for one in known:
        a, b = one.impression.features.astype(np.float64).T
        s = a + 0.5 * b
        weight = dict(zip(one.impression.documents, np.exp(s / (other.temperature * s.std())), strict=True))
        probability = 1.0
        for doc in one.impression.served:
            probability *= weight[doc] / sum(weight.values())
            del weight[doc]
        target.append(probability)
    rewards = np.array([one.outcome.document_rewards for one in known])
    propensity = np.array([one.impression.propensities.prod() for one in known])
    assert found["slate_id"].tolist() == [i for i in range(60) for _ in range(3)]
    assert theirs.sum() / 60 == pytest.approx(list_ips(rewards, propensity, target).estimate().value)


def test_a_file_of_numpy_says_the_same(judged: dwell.Loop, tmp_path: Path) -> None:
    assert write_obp(judged, tmp_path / "a.npz", limit=10) == 10
    with np.load(tmp_path / "a.npz") as told:
        found = to_obp(judged, limit=10)
        assert set(told) == set(found)
        assert all(np.array_equal(told[name], found[name]) for name in found)
    assert write_obp(judged, tmp_path / "b.npz", is_slates=True) == 60


def test_only_one_policys_choices_are_rounds(store: dwell.Loop) -> None:
    found, slates = to_obp(store), to_obp_slates(store)
    assert found["n_rounds"] == N_LISTS + 2  # of the special ones `hostile` and `deep`
    assert slates["n_rounds"] == N_LISTS + 1  # not all of `deep` was kept
    assert not {"external", "unseen", "altered", "open"} & set(found["event_id"].tolist())
    with_text = to_obp(store, limit=20, until=START + N_LISTS)
    assert with_text["context"].shape == (20, 3)
    assert np.array_equal(to_obp(store, limit=20, until=START + N_LISTS, has_text=False)["context"], np.ones((20, 1)))
    with pytest.raises(RecordError, match="no event"):
        to_obp(store, limit=0)


def test_a_kept_candidate_stands_for_as_many_as_its_inclusion_says(store: dwell.Loop) -> None:
    params = replace(store.params, weights={"bm25": 1.0, "cosine": -2.0}, temperature=0.5)
    found = to_obp(store, params=params)
    assert found["action_dist"].sum(axis=1) == pytest.approx(1.0)
    one = events(store)[found["event_id"][0]].impression
    assert (len(one.documents), one.n_candidates) == (8, 12)
    # by hand: five shown stand for themselves, three sampled for seven; so in the mean, the spread and the sum
    times = np.array([1.0] * 5 + [7 / 3] * 3)
    s = one.features.astype(np.float64) @ [1.0, -2.0]
    spread = np.sqrt(times @ (s - times @ s / 12) ** 2 / 12)
    weight = times * np.exp(s / (0.5 * spread))
    told = dict(zip(found["action_id"].tolist(), found["action_dist"][0, :, 0].tolist(), strict=True))
    assert [told[doc] for doc in one.documents] == pytest.approx((weight / weight.sum()).tolist())


def test_deterministic_params_choose_for_certain(judged: dwell.Loop) -> None:
    sure = replace(judged.params, temperature=0.0)
    told = to_obp(judged, params=sure)
    found, names = told["action_dist"], told["action_id"]
    assert set(found.ravel().tolist()) == {0.0, 1.0}
    for i, one in enumerate(events(judged).values()):
        a, b = one.impression.features.astype(np.float64).T
        best = one.impression.documents[int(np.argmax(a - 0.5 * b))]
        assert names[found[i, :, 0].argmax()] == best


# ---- without what a format needs


def test_without_pyarrow_the_rest_works_and_the_remedy_is_named(
    store: dwell.Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert store.export(tmp_path / "a.csv", "csv") == N_LISTS + 6
    table = ExperienceTable(store)
    for call in (lambda: store.export(tmp_path / "a", "parquet"), table.__arrow_c_stream__, table.reader):
        with pytest.raises(MissingDependencyError, match=r"pip install 'dwell\[arrow\]'"):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_adapters_import_none_of_the_libraries() -> None:
    words = "import sys, dwell.integrations.arrow, dwell.integrations.obp, dwell.loop.export; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert not loaded & {"pyarrow", "pandas", "polars", "obp", "torch", "sklearn"}


def test_a_table_of_a_path_is_refused_by_name() -> None:
    with pytest.raises(RecordError, match=r"an open dwell\.Loop is due here"):
        ExperienceTable("search.dwell")  # type: ignore[arg-type]
