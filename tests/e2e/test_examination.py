"""Who looks where, as people see it: an intervention in the settings, health, and the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

import dwell
from dwell.cli import main

START = 1_700_000_000.0


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_readers_who_look_everywhere_are_seen_in_health_and_by_inspect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DWELL_PEPPER", "a pepper of these tests")
    store, rng = tmp_path / "a.dwell", np.random.default_rng(5)
    config = {"training": {"swap_share": 0.2, "target_steps": 5}}
    with dwell.open(store, features=["good"], weights={"good": 1.0}, temperature=1.0, config=config) as loop:
        swapped = {}
        for i in range(700):
            good = rng.random(6)
            candidates = [{"id": f"d{j}", "good": float(g)} for j, g in enumerate(good)]
            served = loop.rank("q", candidates, k=3, user=f"u{i % 150}", event_id=f"e{i}", now=START + i)
            for doc in served.ids:
                if rng.random() < 0.2 + 0.5 * good[int(doc[1:])]:
                    loop.submit_feedback(f"e{i}", "click", doc=doc, now=START + i)
        loop.train(now=START + 1e6)
        for experience in loop.experiences():
            if experience.arm == "swap":
                swapped[experience.event_id] = experience
        loop.train(now=START + 1e6)
        health = loop.health(now=START + 1e6).to_dict()
    assert 80 < len(swapped) < 200
    assert health["examinations_measured"] == 1
    assert health["examination_source"] == "harvest"
    seen = health["examination"]
    assert (seen["source"], seen["measured"], seen["rises"]) == ("harvest", "harvest", ())
    values, low, high = (np.array(seen[name][:3]) for name in ("values", "low", "high"))
    # 1/k would be .5 and .33; readers look at all three alike
    assert values[1:].min() > 0.6
    assert (low <= 1.0).all()
    assert (high > 0.8).all()
    assert len(seen["calibration"]) == 3

    summary = json.loads(told(capsys, "inspect", store, "--json"))["examination"]
    assert summary["source"] == "harvest"
    assert summary["values"][:3] == values.tolist()
    assert all(a <= v <= b for a, v, b in zip(summary["low"], summary["values"], summary["high"], strict=True))
    assert "by harvest over" in told(capsys, "inspect", store)
    assert "who looks where: harvest" in told(capsys, "health", store)

    event, experience = next(iter(swapped.items()))
    found = json.loads(told(capsys, "inspect", store, event, "--json"))
    assert found["arm"] == "swap"
    assert found["swap_pair"] in {1, 2}
    assert [doc["id"] for doc in found["served"]] == [doc["id"] for doc in experience.results_served]
    assert "never judges" in told(capsys, "inspect", store, event)
