"""`dwell serve` with `serve.is_traced`: its spans, those of its learner, and the trace of whoever calls."""

import json
import time
from pathlib import Path
from typing import Any

from .serving import ROOT, made_key, service

# What `opentelemetry-instrument` does by the same means: every Python process configures its SDK as it starts
SITE = """
import os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

file = open(os.environ["SPANS"], "a", encoding="utf-8", buffering=1)
provider = TracerProvider()
provider.add_span_processor(
    SimpleSpanProcessor(ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\\n"))
)
trace.set_tracer_provider(provider)
"""
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"  # the example of W3C Trace Context


def spans_of(file: Path, name: str, n: int) -> list[dict[str, Any]]:
    """Return the spans of a name once there are so many of them."""
    until = time.monotonic() + 10.0
    found: list[dict[str, Any]] = []
    while len(found) < n and time.monotonic() < until:
        time.sleep(0.1)
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        found = [span for span in map(json.loads, lines) if span["name"] == name]
    return found


def test_a_search_its_feedback_and_a_round_of_learning_are_spans(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    file = tmp_path / "spans.jsonl"
    environment = {
        "PYTHONPATH": f"{ROOT / 'src'}:{tmp_path / 'site'}",
        "SPANS": str(file),
        "DWELL_SERVE__IS_TRACED": "true",
        "DWELL_STORE__FEATURES": '["x"]',
    }
    store = tmp_path / "s.dwell"
    with service(store, environment=environment) as found:
        found.key = made_key(store, "admin")
        until = time.monotonic() + 5.0
        while found.call("GET", "/v1/params")[0] != 200 and time.monotonic() < until:
            time.sleep(0.1)
        body = {"query": "secret words", "candidates": [{"id": "a", "x": 1.0}], "user": "somebody"}
        status, served, _ = found.call("POST", "/v1/rank", body, traceparent=f"00-{TRACE}-{CALLER}-01")
        assert status == 200
        said = {"event_id": served["event_id"], "signal": "click", "doc": "a"}
        assert found.call("POST", "/v1/feedback", said)[1]["status"] == "joined"
        assert found.call("POST", "/v1/rank", body, traceparent="nonsense")[0] == 200
        status, trained, _ = found.call("POST", "/v1/train", {})
        assert status == 200
        retrieval, other = spans_of(file, "retrieval", 2)
        (feedback,) = spans_of(file, "dwell feedback", 1)
        trains = spans_of(file, "dwell train", 1)
        text = file.read_text(encoding="utf-8")
    assert retrieval["parent_id"] == f"0x{CALLER}"
    assert retrieval["context"]["trace_id"] == feedback["context"]["trace_id"] == f"0x{TRACE}"
    assert feedback["parent_id"] == retrieval["context"]["span_id"]
    assert feedback["events"][0]["attributes"]["gen_ai.evaluation.name"] == "click"
    assert other["parent_id"] is None
    assert trained["decision"]["verdict"] in {one["attributes"]["dwell.gate.verdict"] for one in trains}
    assert "secret words" not in text
    assert "somebody" not in text
