"""schemathesis against a real `dwell serve` in little memory: no 5xx, every answer as its own OpenAPI document says."""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from .serving import ROOT, Service, service

# Per call, read before a fixture clears the shell's settings; `make soak` asks for 10,000 cases and more in all
N_EXAMPLES = os.environ.get("DWELL_SCHEMA_EXAMPLES")
MEMORY_KB = 800_000  # of addresses, per process: one that starts has mapped 360,000, and 515,000 at work
# The one check that can not be had: a body that fits the schema and not the store is rightly a 4xx, for no schema says
# which features, lists and versions there are, that ids differ, or that rows are as many as they
LEFT_OUT = "positive_data_acceptance"
ALIASES = ("/ubi_queries", "/ubi_events", "/ubi/ubi_queries", "/ubi/ubi_events")  # handlers that others have, too


def keyed(found: Service, store: Path) -> str:
    """Return an admin key of a store, known to its service."""
    command = [sys.executable, "-m", "dwell", "keys", "create", "--kind", "admin", "--name", "n", str(store), "--json"]
    env = {"PYTHONPATH": str(ROOT / "src"), "PATH": ""}
    made = json.loads(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)["key"]
    until = time.monotonic() + 5.0
    while found.call("GET", "/v1/params", key=made)[0] != 200 and time.monotonic() < until:
        time.sleep(0.1)
    return str(made)


def answered(found: Service) -> Counter[tuple[str, int]]:
    """Return how often each call was answered with each status."""
    text = found.call("GET", "/metrics")[1].decode()
    told = re.findall(r'^dwell_http_requests_total\{route="([^"]+)",status="(\d+)"\} (\S+)$', text, re.MULTILINE)
    return Counter({(route, int(status)): int(float(n)) for route, status, n in told})


def test_no_case_is_a_5xx_and_every_answer_is_within_its_schema(tmp_path: Path) -> None:
    store = tmp_path / "s.dwell"
    with service(store, "--features", "good,noise", limits=(f"-v {MEMORY_KB}",)) as found:
        found.key = keyed(found, store)
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{found.url}/openapi.json"]
        command += ["-H", f"Authorization: Bearer {found.key}", "--no-color", "--warnings", "off"]
        command += ["--checks", "all", "--exclude-checks", LEFT_OUT, "--continue-on-failure"]
        command += ["--max-examples", N_EXAMPLES or "8"]
        if N_EXAMPLES is None:  # the gate asks the same on every run, and no handler twice
            command += ["--generation-deterministic", *(f"--exclude-path={path}" for path in ALIASES)]
        else:
            command += ["--generation-database", "none"]
        env = {**os.environ, "SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(Path(__file__).parent)}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        summary = done.stdout[done.stdout.find("= SUMMARY =") :]
        print(summary)
        assert done.returncode == 0, done.stdout + done.stderr
        statuses = answered(found)
        assert not [status for _, status in statuses if status >= 500], statuses
        for path in ("rank", "log_retrieval", "feedback", "activate", "evaluate", "erase", "train", "experiences"):
            assert statuses[f"/v1/{path}", 200], f"{path} was never asked anything that it answers: {statuses}"
        n_cases = int((re.search(r"(\d+) generated", summary) or ["0", "0"])[1])
        assert n_cases > (10_000 if N_EXAMPLES else 500)
        assert found.process.poll() is None
        assert found.call("GET", "/readyz")[1]["learner"] == "up"
