import json
import math
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import _scale_costs as costing
import _scale_plan as planning
import _scale_processes as serving
import _scale_same as comparing
import _scale_steps as stepping
import dwell
import scale
from _scale_clients import Crowd, Heard, Listed, candidates
from _scale_life import FEATURES
from _scale_place import apart

COSTS = planning.Costs(
    rank_s=1e-3,
    feedback_s=1e-4,
    write_s=2e-4,
    close_s=5e-4,
    database_s=8e-4,
    store_bytes=2_000.0,
    log_bytes=3_000.0,
    to_database_bytes=4_000.0,
    from_database_bytes=1_000.0,
    sync_s=4e-3,
    each_bytes=900.0,
    whole_per_s=500.0,
)


def test_a_line_through_the_smaller_sizes_predicts_the_largest() -> None:
    sizes = [10.0, 20.0, 40.0, 100.0]
    line = costing.fitted(sizes, [7.0 + 3.0 * n for n in sizes])
    assert (line.fixed, line.each, line.predicted) == pytest.approx((7.0, 3.0, 307.0))
    assert line.error == pytest.approx(0.0, abs=1e-12)


def test_a_cost_that_grows_with_the_square_is_no_line() -> None:
    sizes = [10.0, 20.0, 40.0, 100.0]
    line = costing.fitted(sizes, [n * n for n in sizes])
    slope, start = np.polyfit(sizes[:3], [100.0, 400.0, 1_600.0], 1)
    assert line.error == pytest.approx((start + 100.0 * slope - 1e4) / 1e4)
    assert abs(line.error) > costing.LINEAR


def told(n: int, **changes: float) -> dict[str, object]:
    found: dict[str, object] = {
        "n": n,
        "n_signals": n,
        "bytes": {"table events": 2_000 * n, "ring": 4_096, "archive": 9 * n},
    }
    found |= {f"cpu {name}": 1e-3 * n for name in ("rank", "feedback", "commit", "close", "database")}
    learn = {"n": n, "train": 1.0, "judge": 1.0, "n_steps": 1, "n_learned_from": n, "n_judged": n, "peak_bytes": 1}
    return found | {"log bytes": 3_000 * n, "to database": 4_000 * n, "from database": n, "learn": learn} | changes


def test_costs_are_told_per_event_and_what_is_not_linear_is_named() -> None:
    found = {"SQLite": [told(n) for n in (100, 200, 400)]}
    assert costing.models(found["SQLite"])[costing.ALL_BYTES].each == pytest.approx(2_000.0)
    assert costing.models(found["SQLite"])["cpu rank"].each == pytest.approx(1e-3)
    assert "**not linear**" not in "\n".join(costing.cost_lines(found, is_judged=True))
    found["SQLite"][-1]["log bytes"] = 1e9
    assert "**not linear**" in "\n".join(costing.cost_lines(found, is_judged=True))


def test_what_breaks_first_is_what_the_costs_say() -> None:
    one_file, one_tenant, many = planning.stages(COSTS, COSTS)
    share = planning.SHARE
    assert one_file.first.per_s == pytest.approx(share / 1.3e-3)  # rank, feedback and writing in one interpreter
    assert one_tenant.first.per_s == pytest.approx(share * 500.0)  # full transactions, one after the other
    assert many.first.per_s == pytest.approx(share * planning.CORES / 8e-4)
    slow = COSTS._replace(close_s=1e-2)
    assert "learner" in planning.stages(slow, slow)[1].first.what
    far = COSTS._replace(to_database_bytes=1e6)
    assert "network" in planning.stages(far, far)[2].first.what


def test_the_plan_is_computed_from_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "costs.json"
    planning.noted(path, "copy", {"store": 2_000.0, "bare": 2_500.0, "whole": 500.0})
    planning.noted(path, "steps", {"bytes of an experience": 900.0})
    with pytest.raises(SystemExit, match="costs"):
        planning.costs_in(json.loads(path.read_text()), "SQLite")
    stores = {store: [told(n) for n in (100, 200, 400)] for store in ("SQLite", "PostgreSQL")}
    planning.noted(path, "costs", stores | {"seconds of a commit": dict.fromkeys(stores, 0.004)})
    asked = scale.arguments(["--only", "plan", "--costs", str(path)])
    said = "\n".join(scale.plan(asked))
    # 10^9 events of 2,000 bytes; 3 x 10^9 / 86,400 s
    assert "| tables and indexes | 2.00 TB |" in said
    assert "34,722 at the peak" in said
    share = planning.SHARE * 500.0 / (3e9 / 86_400)  # the row of a tenant
    assert f"One tenant can keep {100 * share:.2g} %" in said
    assert f"{1 / math.sqrt(share):.1f} times as wide" in said
    assert capsys.readouterr().out == ""


def listed(begun: float, version: int) -> Listed:
    return Listed(0, ("a",), (0.0,), (1.0,), version, begun, begun + 0.01, 1)


def test_the_last_answer_of_an_older_version_is_found() -> None:
    changes = [serving.Change(1, 0.0, 0.0), serving.Change(2, 10.0, 10.1), serving.Change(1, 20.0, 20.0)]
    lists = [listed(9.0, 1), listed(10.5, 1), listed(10.3, 2), listed(15.0, 2), listed(20.2, 2), listed(25.0, 1)]
    assert serving.too_old(lists, changes) == pytest.approx([0.0, 0.4, 0.2])
    assert serving.too_old([listed(19.0, 1)], changes) == pytest.approx([0.0, 8.9, 0.0]), "1 was no longer live"
    assert serving.too_old([listed(9.995, 2)], changes).tolist() == [0.0] * 3, "it went live before the answer"
    assert serving.too_old([listed(9.0, 2)], changes).tolist() == [math.inf] * 3, "nobody could know it"


def test_an_answer_is_that_of_the_version_that_it_names() -> None:
    rng = np.random.default_rng(1)
    weights = dict(zip(FEATURES, rng.normal(size=len(FEATURES)).tolist(), strict=True))
    with dwell.open(":memory:", features=FEATURES, weights=weights, pepper="benchmark") as loop:
        for number in range(20):
            given = candidates(number)
            served = loop.rank(given["query"], ids=given["ids"], features=given["features"], k=10)
            numbers = served.scores.tolist(), served.propensities.tolist()
            one = Listed(number, tuple(served.ids), *map(tuple, numbers), served.params_version, 0.0, 0.0, 0)
            assert serving._error(one, loop.params) <= serving.AGREEING
            other = dwell.Params(1, {name: weight + 1e-3 for name, weight in weights.items()})
            assert serving._error(one, other) > serving.AGREEING
            assert serving._error(one, None) == math.inf


def ended(lists: list[Listed], reactions: list[Heard]) -> serving.Ended:
    crowd = Crowd("http://127.0.0.1:1", 1)
    crowd.lists, crowd.reactions = lists, reactions
    return serving.Ended(crowd, 1.0, {}, {}, [], 1)


def test_what_is_lost_doubled_or_invented_is_counted(tmp_path: Path) -> None:
    path, lists, reactions = str(tmp_path / "store.dwell"), [], []
    with dwell.open(path, features=FEATURES, weights=dict.fromkeys(FEATURES, 1.0), pepper="benchmark") as loop:
        begun = time.time()
        for number in range(6):
            given, event_id = candidates(number), f"scale-{number:012d}"
            served = loop.rank(given["query"], ids=given["ids"], features=given["features"], event_id=event_id)
            numbers = served.scores.tolist(), served.propensities.tolist()
            lists.append(Listed(number, tuple(served.ids), *map(tuple, numbers), 0, begun, time.time(), 0))
            assert loop.feedback(event_id, "click", doc=served.ids[0]).status == "joined"
            reactions.append(Heard(number, served.ids[0], "joined", 0.0))
    found = serving.checked(path, ended(lists, reactions))
    assert set(found.wrong.values()) == {0}
    assert (found.n_events, found.n_signals) == (6, 6)

    def wrong(lists: list[Listed], reactions: list[Heard]) -> dict[str, int]:
        counted = serving.checked(path, ended(lists, reactions)).wrong
        return {name: n for name, n in counted.items() if n}

    lost = lists[0]._replace(number=7)
    assert wrong([*lists, lost], reactions)["events lost"] == 1
    assert wrong(lists[1:], reactions) == {"events nobody was told of": 1}
    other = lists[0]._replace(ids=lists[0].ids[::-1])
    assert wrong([other, *lists[1:]], reactions)["lists other than answered"] == 1
    assert wrong(lists, [*reactions, reactions[0]._replace(doc="never")])["reactions lost"] == 1
    assert wrong(lists, reactions[1:]) == {"reactions nobody sent": 1}
    mixed = lists[0]._replace(scores=(lists[0].scores[0] + 1e-6, *lists[0].scores[1:]))
    assert wrong([mixed, *lists[1:]], reactions) == {"answers of two versions": 1}


def test_what_differs_between_two_stores_is_found() -> None:
    left = {"words": ["a", None, 3], "numbers": np.array([1.0, np.nan, 2e6]), "created_at": 1.0}
    same = comparing.difference(left, {**left, "created_at": 2.0, "numbers": left["numbers"] + [1e-12, 0.0, 1e-3]})
    assert (same.first, same.n_numbers) == ("", 3)
    assert same.largest == pytest.approx(1e-3 / 2e6, rel=1e-3)
    assert comparing.difference(left, {**left, "words": ["a", None, 4]}).first == ".words[2]: 3 and 4"
    assert comparing.difference(left, {**left, "words": ["a", None, 3.0]}).first
    assert comparing.difference(left, {**left, "words": ["a"]}).largest == math.inf
    assert comparing.difference(left, {**left, "numbers": np.array([1.0, 0.0, 2e6])}).largest == math.inf


def test_a_step_over_a_buffer_that_was_made_in_bulk_writes_back_where_it_read() -> None:
    kept = stepping.filled(600)
    assert len(kept.buffer) == len(kept.ring) == 600
    before = kept.ring.read(np.arange(1, 601), ["seq", "priority"])["priority"]
    assert len(stepping._step(kept, "priority", np.random.default_rng(0))) == len(stepping.PARTS)
    after = kept.ring.read(np.arange(1, 601), ["seq", "priority"])["priority"]
    changed = np.flatnonzero(before != after) + 1
    assert 0 < changed.size <= stepping.BATCH
    index = dict(zip(kept.buffer.seqs().tolist(), kept.buffer.priorities().tolist(), strict=True))
    assert [index[seq] for seq in changed.tolist()] == after[changed - 1].tolist()


def test_the_size_is_known_before_anything_is_made() -> None:
    # for each of 8 documents: 8 features of float32, inclusion, propensity and hash of 8 bytes, exposure, rank and
    # reward of 4; for the list a temperature, four int32 and two booleans
    row = 8 * (8 * 4 + 3 * 8 + 3 * 4) + 8 + 4 * 4 + 2
    # six numbers and two hashes of 8 bytes, two of 4, two booleans; seq, and an event id of 40
    index = (6 + 2) * 8 + 2 * 4 + 2 + 8 + 40
    assert stepping.sized(10) == 10 * (row + index + stepping.index_bytes("x" * 40, None, None))


def test_growth_is_held_against_the_logarithm() -> None:
    def steps(n: int, us: float) -> stepping.Steps:
        return stepping.Steps(n, "recency", {name: np.full(9, us / 4.0) for name in stepping.PARTS}, 0.0)

    ((low, high, found, bar),) = stepping.growth([steps(1_000, 100.0), steps(1_000_000, 150.0)], "recency")
    assert (low, high, found.value, bar) == (1_000, 1_000_000, pytest.approx(1.5), pytest.approx(2.0))


def test_no_password_stands_in_a_command_line() -> None:
    shown, secret = apart("postgresql://dwell:p%40ss%2Fw@/bench?host=%2Ftmp")
    assert (shown, secret) == ("postgresql://dwell@/bench?host=%2Ftmp", {"PGPASSWORD": "p@ss/w"})
    assert apart("postgresql://dwell@db:5432/bench") == ("postgresql://dwell@db:5432/bench", {})
    assert apart("store.dwell") == ("store.dwell", {})


def test_wrong_usage_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--only", "speed"], ["--sizes", "10"], ["--sizes", "500,400"], ["--sizes", "many"]):
        with pytest.raises(SystemExit) as refusal:
            scale.arguments(wrong)
        assert refusal.value.code == 2
    assert "no such section: speed" in capsys.readouterr().err
    assert scale.arguments([]).only == ["copy", "steps", "processes", "same", "costs", "plan"]


def test_a_body_is_as_long_as_what_is_sent() -> None:
    sizes = Counter(costing.http_bytes())
    assert sizes["rank, candidates as mappings"] > sizes["rank, ids and rows"] > 20 * 8 * 8
