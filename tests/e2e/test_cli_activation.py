"""`dwell activation`, beside a service too, and `dwell serve --learner both` over HTTP."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.cli import main

from .serving import service

START = 1_700_000_000.0
DAY_S = 86_400.0
CONFIG = {"activation": {"forget_below_nats": -5.0, "decay": 0.6, "session_cap": 2}}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store in which "new" was clicked now and the others long ago."""
    path = tmp_path / "s.dwell"
    with dwell.open(path, features=["x"], learner="both", config=CONFIG, rewards={"click": 0.9}) as loop:
        for event, at in (("old", START), ("new", time.time())):
            given = [{"id": doc, "x": 1.0} for doc in ([event] if event == "new" else ["a", "b", "c"])]
            loop.rank("q", given, user="u", event_id=event, now=at)
            for one in given:
                loop.feedback(event, "click", doc=one["id"], now=at + 1.0)
        loop.history()
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["activation", *map(str, words)])
        return (code, *capsys.readouterr())

    return run


def test_what_is_remembered_is_shown(store: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = run("show", store, "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert (found["n_items"], found["n_pinned"], found["decay"], found["threshold"]) == (4, 0, 0.6, -5.0)
    assert (found["n_below"], found["session_cap"]) == (3, 2)
    assert found["n_below_in_a_week"] == 4  # exp(-5) is passed after 148 ** (1 / 0.6) seconds: an hour and a bit
    assert found["worth"][1] == pytest.approx(1440**-0.6)
    assert "d = 0.6" in run("show", store)[1]
    code, out, _ = run("explain", store, "new", "--json")
    told = json.loads(out)
    assert (told["item"], told["is_pinned"]) == ("new", False)
    assert told["reward_mass"] == pytest.approx(0.9 * told["exposure_mass"])
    assert sum(one["reward"] for one in told["timescales"]) == pytest.approx(1.0)
    assert "share of the prior  100.0%" in run("explain", store, "nobody")[1]
    assert run("explain", store, "nobody\x1b[31m")[0] == 1


def test_items_are_pinned_and_forgotten(store: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    assert run("pin", store, "a", "never-seen", "--floor", "-1.5")[0] == 0
    assert json.loads(run("explain", store, "never-seen", "--json")[1])["floor"] == -1.5
    assert run("unpin", store, "never-seen")[0] == 0
    before = store.read_bytes()
    code, out, _ = run("forget", store)
    assert code == 0
    assert "would be forgotten" in out
    assert store.read_bytes() == before
    kept = tmp_path / "kept.jsonl"
    done = json.loads(run("forget", store, "--archive", kept, "--yes", "--json")[1])
    assert (sorted(done["items"]), done["is_done"]) == (["b", "c", "never-seen"], True)
    assert sorted(json.loads(line)["item"] for line in kept.read_text().splitlines()) == ["b", "c", "never-seen"]
    assert json.loads(run("show", store, "--json")[1])["n_items"] == 2
    assert json.loads(run("rebuild", store, "--json")[1]) == {"n_items": 4}  # the log still has them
    with dwell.open(store, features=["x"], learner="both", config=CONFIG, rewards={"click": 0.9}) as loop:
        assert loop.activation is not None
        assert loop.activation.explain("a").floor == -1.5


def test_a_store_without_it_says_so(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    with dwell.open(tmp_path / "s.dwell", features=["x"]):
        pass
    code, out, err = run("show", tmp_path / "s.dwell")
    assert (code, out) == (1, "")
    assert "keeps no activation" in err
    assert "--learner both" in err


def ids_and_features(found: Any) -> dict[str, dict[str, float]]:
    return {one["id"]: one for one in found}


def test_a_service_learns_by_both(tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    """The list that is ranked after a click has the click in its logged features, and only the clicked item's."""
    path = tmp_path / "s.dwell"
    given = [{"id": doc, "x": 1.0} for doc in "abc"]
    with service(path, "--features", "x", "--learner", "both", "--no-auth", environment=dict(os.environ)) as served:
        for event in ("first", "second"):
            asked = {"query": "q", "candidates": given, "event_id": event, "user": "u", "wait": True}
            assert served.call("POST", "/v1/rank", asked)[0] == 200
            said = served.call("POST", "/v1/feedback", {"event_id": event, "signal": "click", "doc": "b"})
            assert said[1]["status"] == "joined"
        for words in (("pin", path, "a"), ("forget", path, "--yes"), ("rebuild", path)):
            code, _, err = run(*words)
            assert code == 1
            assert "is owned by process" in err
            assert "Loop.activation" in err
        shown = json.loads(run("show", path, "--json")[1])
        assert shown["n_items"] == 3
        code, out, _ = run("explain", path, "b", "--json")
        assert json.loads(out)["reward_mass"] > 0.0
        assert json.loads(run("explain", path, "a", "--json")[1])["reward_mass"] == 0.0
    with dwell.open(path, learner="both") as loop:
        logged = {one.event_id: ids_and_features(one.results_served) for one in loop.experiences()}
    assert all(one["act.activation"] == 0.0 for one in logged["first"].values())
    second = logged["second"]
    assert second["b"]["act.activation"] > 0.0 > second["a"]["act.activation"]
    assert second["a"]["act.activation"] == pytest.approx(second["c"]["act.activation"])
