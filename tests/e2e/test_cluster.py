"""`dwell cluster` as a program: up, looked at, scaled, drained and ended, with nothing left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.cli import main

from ..cluster.engines import bearing  # noqa: TID252 - test folders are no packages

START = 1_700_000_000.0
N_EVENTS = 30


def environment_of(more: dict[str, str]) -> dict[str, str]:
    """Return this process's environment without another Ray's settings, and with these."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | more


def run(*arguments: object, code: int = 0, **environment: str) -> str:
    """Run a command and return what it printed, on either stream where it failed."""
    ran = subprocess.run(
        [sys.executable, "-m", "dwell", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, env=environment_of(environment), check=False,
    )  # fmt: skip
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout if code == 0 else ran.stderr


def shown(*arguments: object, **environment: str) -> Any:
    return json.loads(run(*arguments, "--json", **environment))


def fill(where: Path) -> None:
    with dwell.open(str(where), features=["bm25"], durability="relaxed") as loop:
        for i in range(N_EVENTS):
            candidates = [{"id": f"d{j}", "bm25": float((i + j) % 5)} for j in range(5)]
            served = loop.rank(f"query {i % 5}", candidates, user=f"u{i}", event_id=f"e{i}", now=START + i)
            loop.submit_feedback(f"e{i}", "click", doc=served.ids[i % 2], now=START + i + 1.0)
        loop.close_events(now=START + 10_000.0)


def test_without_a_cluster_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = tmp_path / "search.dwell"
    fill(where)
    for command in (("status",), ("scale", "--shards", 2), ("drain", "--shard", "shard-0"), ("down",)):
        assert main(["cluster", command[0], str(where), *map(str, command[1:])]) == 1
        assert capsys.readouterr().err == "dwell: this store has no cluster. Run `dwell cluster up STORE` first.\n"
    assert main(["cluster", "drain", str(where)]) == 2
    assert main(["cluster", "up", str(where), "--shards", "5000"]) == 1
    assert "1 to 1024 shards" in capsys.readouterr().err


def test_a_cluster_from_up_to_down(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="clusters need the extra ray")
    where = tmp_path / "search.dwell"
    fill(where)
    short = Path(tempfile.mkdtemp(prefix="r-"))  # the path of a socket has at most 107 characters
    home = {"HOME": str(tmp_path), "TMPDIR": str(short)}
    command = [sys.executable, "-m", "dwell", "cluster", "up", str(where), "--shards", "2"]
    up = subprocess.Popen(
        command, env=environment_of(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert up.stdout is not None
        assert up.stdout.readline().startswith("2 shards of ")
        token = tmp_path / ".ray" / "auth_token"
        assert token.stat().st_mode & 0o777 == 0o600
        (folder,) = short.glob("dwell-ray-*")  # inside, Ray opens its sockets and logs to every user of the host
        assert folder.stat().st_mode & 0o777 == 0o700
        told = shown("cluster", "status", where, **home)
        assert (told["n_held"], told["n_live"], told["is_whole"]) == (N_EVENTS, N_EVENTS, True)
        assert told["address"].startswith("127.0.0.1:")
        assert "has a cluster already" in run("cluster", "up", where, code=1, **home)
        assert "can be joined" in run("cluster", "status", where, code=1, RAY_AUTH_TOKEN="0" * 64, **home)
        moved = shown("cluster", "scale", where, "--shards", 3, **home)
        assert (moved["shards"], moved["n_after"]) == (["shard-0", "shard-1", "shard-2"], N_EVENTS)
        assert shown("cluster", "drain", where, "--shard", "shard-0", **home)["shards"] == ["shard-1", "shard-2"]
        assert f"{N_EVENTS} of {N_EVENTS} closed events" in run("cluster", "status", where, **home)
        shutil.copy(where, tmp_path / "alone.dwell")  # nobody has it open
        shutil.copy(f"{where}.pepper", tmp_path / "alone.dwell.pepper")
        trained = shown("cluster", "train", where, "--steps", 5, **home)
        assert (trained["n_steps"], trained["n_learned_from"]) == (5, told["shards"][0]["n"] + told["shards"][1]["n"])
        alone = shown("train", tmp_path / "alone.dwell", "--steps", 5)
        assert trained["proposed"]["weights"] == pytest.approx(alone["proposed"]["weights"], abs=1e-9)
        run("cluster", "down", where, **home)
        out, err = up.communicate(timeout=60)
        assert (up.returncode, out, err) == (0, "the cluster was ended\n", "")
        assert not list(short.glob("dwell-ray-*"))
    finally:
        if up.poll() is None:
            os.kill(up.pid, signal.SIGINT)
            up.communicate(timeout=60)
        shutil.rmtree(short, ignore_errors=True)
    ends_at = time.monotonic() + 30.0
    while left := bearing(f"HOME={tmp_path}\0"):
        assert time.monotonic() < ends_at, left
        time.sleep(0.1)
