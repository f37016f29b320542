"""The service killed with -9 under load: what was acknowledged is there, once, and a retry is answered as before."""

import json
import os
import signal
import threading
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

import dwell

from .serving import Service, service

FEATURES = ("--features", "good,noise")
N_KILLS = int(os.environ.get("DWELL_SERVICE_KILLS", "2"))  # `make soak` kills twenty times
N_SENDERS = 3
LOAD_S = 1.0


def send(served: Service, name: str, told: dict[str, Any], stop: threading.Event) -> None:
    """Rank and feed back without a pause; note what was acknowledged, with the key under which it was sent."""
    n = 0
    while not stop.is_set():
        event, n = f"{name}-{n}", n + 1
        candidates = [{"id": f"d{i}", "good": i / 4, "noise": 0.5} for i in range(4)]
        asked = {"query": "q", "candidates": candidates, "event_id": event, "wait": True}
        try:
            status, found, _ = served.call("POST", "/v1/rank", asked)
            if status != 200 or found["recorded"] != "durable":
                continue
            told.setdefault(event, None)
            item = {"event_id": event, "signal": "click", "doc": found["ids"][0]}
            status, found, _ = served.call("POST", "/v1/feedback", [item], idempotency_key=event)
            if status == 200:
                told[event] = (item, found)
        except (HTTPException, URLError, OSError, ValueError):  # it was killed
            return


@pytest.mark.crash
def test_what_was_acknowledged_survives_and_counts_once(tmp_path: Path) -> None:
    store = tmp_path / "s.dwell"
    told: dict[str, Any] = {}
    for kill in range(N_KILLS):
        with service(store, *FEATURES, "--no-auth") as served:
            for event, sent in list(told.items())[-20:]:  # retries of what was answered before the kill
                if sent is not None:
                    item, first = sent
                    assert served.call("POST", "/v1/feedback", [item], idempotency_key=event)[1] == first
            stop = threading.Event()
            senders = [
                threading.Thread(target=send, args=(served, f"k{kill}-{i}", told, stop)) for i in range(N_SENDERS)
            ]
            for sender in senders:
                sender.start()
            time.sleep(LOAD_S)
            served.process.send_signal(signal.SIGKILL)
            served.process.wait(timeout=30)
            stop.set()
            for sender in senders:
                sender.join(60)
    n_joined = sum(sent is not None for sent in told.values())
    assert n_joined > 5 * N_KILLS, "there was no load to speak of"
    with dwell.open(store) as loop:
        found = {one.event_id: one for one in loop.experiences()}
    assert set(told) <= set(found), "a list that was acknowledged as durable is gone"
    clicks = {event: len(found[event].feedback_signals) for event, sent in told.items() if sent is not None}
    assert set(clicks.values()) == {1}, json.dumps(clicks)
