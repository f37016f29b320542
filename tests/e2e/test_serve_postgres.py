"""`dwell serve` on PostgreSQL: it learns, and follows what others commit."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ..canary import CANARY  # noqa: TID252 - tests are no installed package
from ..postgres import emptied_database  # noqa: TID252 - tests are no installed package
from .serving import ROOT, Service, service

QUICK = {
    "DWELL_PEPPER": CANARY,
    "DWELL_STORE__ATTRIBUTION_WINDOW_S": "0.2",
    "DWELL_GATE__MIN_EVENTS": "20",
    "DWELL_GATE__MIN_USERS": "5",
    "DWELL_SERVE__TRAIN_EVERY_S": "3600.0",
}


@pytest.fixture
def url() -> Iterator[str]:
    with emptied_database() as found:
        yield found


@pytest.fixture
def served(url: str) -> Iterator[Service]:
    with service(url, "--features", "good,noise", "--no-auth", environment=QUICK) as found:
        yield found


def visit(served: Service, event_id: str) -> tuple[int, Any]:
    candidates = [{"id": f"d{i}", "good": i / 4, "noise": 0.5} for i in range(4)]
    # Somebody else each time: of two or three users the split may hold out all, and then nothing is learned
    asked = {"query": "q", "candidates": candidates, "k": 3, "user": f"u-{event_id}", "event_id": event_id}
    status, answer, _ = served.call("POST", "/v1/rank", {**asked, "wait": True})
    return status, answer


def test_it_serves_learns_and_follows_a_promotion_within_a_second(served: Service, url: str) -> None:
    for i in range(40):
        status, answer = visit(served, f"e{i}")
        assert (status, answer["recorded"]) == (200, "durable")
        if i % 2:
            served.call("POST", "/v1/feedback", {"event_id": f"e{i}", "signal": "click", "doc": answer["ids"][0]})
    time.sleep(0.3)
    status, report, _ = served.call("POST", "/v1/train", {"steps": 5})
    assert status == 200, report
    assert report["n_closed"] == 40
    proposed = report["proposed"]["version"]
    promoted = subprocess.run(
        [sys.executable, "-m", "dwell", "promote", url, "--version", str(proposed), "--force"],
        env={**QUICK, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert promoted.returncode == 0, promoted.stderr
    time.sleep(1.0)
    assert visit(served, "after")[1]["params_version"] == proposed, "a promoted version is not served after a second"
    status, _, _ = served.call("GET", "/v1/health")
    assert status == 200
    assert "postgresql://dwell@/" in served.said + served.log() or "postgresql" not in served.said + served.log()
