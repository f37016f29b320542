"""What somebody meets who starts the service for the first time: each step says what the next one is."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import dwell
from dwell.cli import main

from .serving import ROOT, Service, service

LEARNER_S = 20.0
PACKAGES = ("starlette", "uvicorn", "httptools", "itsdangerous", "limits", "jinja2", "prometheus_client")
ITEM = {"event_id": "e", "signal": "click", "doc": "a"}


def dwell_(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    return subprocess.run(
        [sys.executable, "-m", "dwell", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Path]]:
    """A service of a new store, started with nothing but its name."""
    store = tmp_path_factory.mktemp("with blank") / "s.dwell"
    with service(store) as found:
        yield found, store


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Path]]:
    store = tmp_path_factory.mktemp("open") / "s.dwell"
    with service(store, "--features", "good", "--no-auth") as found:
        until = time.monotonic() + LEARNER_S
        while found.call("GET", "/readyz")[1]["learner"] != "up" and time.monotonic() < until:
            time.sleep(0.1)
        yield found, store


def test_a_service_that_lacks_keys_and_features_says_how_to_get_them(bare: tuple[Service, Path]) -> None:
    found, store = bare
    until = time.monotonic() + 5.0
    while found.log().count("\n") < 2 and time.monotonic() < until:
        time.sleep(0.05)
    features, keys = found.log().splitlines()
    assert "no features" in features
    assert "--features" in features
    assert "store.features" in features
    assert "dwell" not in found.said.replace("dwell serves on", ""), "the next steps are no output"
    # the command that is shown is one that works, and opens the door
    command = keys.partition("nobody has a key yet: ")[2].partition(" makes")[0]
    made = dwell_(*shlex.split(command)[1:])
    assert made.returncode == 0, made.stderr
    time.sleep(1.0)
    key = made.stdout.strip()
    assert found.call("GET", "/v1/params", key=key)[0] == 200
    asked = {"query": "q", "candidates": [{"id": "a", "bm25": 1.0}]}
    status, problem, _ = found.call("POST", "/v1/rank", asked, key=key)
    assert (status, problem["code"]) == (400, "feature_schema")
    assert "--features" in problem["remedy"]
    results = [{"id": "a", "rank": 1}]
    assert found.call("POST", "/v1/log_retrieval", {"query": "q", "results": results}, key=key)[0] == 200
    assert store.exists()


def test_one_that_has_both_says_nothing(served: tuple[Service, Path]) -> None:
    assert served[0].log() == ""


def test_a_key_is_alone_on_the_output(bare: tuple[Service, Path]) -> None:
    made = dwell_("keys", "create", bare[1], "--kind", "admin", "--name", "me", "--tenant", "new")
    assert len(made.stdout.splitlines()) == 1
    assert made.stdout.startswith("dwell_adm_")
    for word in ("only time", "admin", "me", "nothing of tenant 'new' yet"):
        assert word in made.stderr
    assert made.stdout.strip() not in made.stderr
    rotated = dwell_("keys", "rotate", made.stdout.split("_")[2], bare[1])
    assert len(rotated.stdout.splitlines()) == 1


def test_keys_before_the_first_start_are_told_what_makes_a_store(tmp_path: Path) -> None:
    made = dwell_("keys", "create", tmp_path / "none.dwell", "--kind", "secret", "--name", "n")
    assert (made.returncode, made.stdout) == (1, "")
    assert "dwell serve STORE --features" in made.stderr
    assert not (tmp_path / "none.dwell").exists()


# Each package hidden in turn from modules that are imported anew: one process for all of them
HIDING = f"""
import contextlib, io, json, sys
from dwell.cli import main
told = {{}}
for package in {PACKAGES!r}:
    for name in [name for name in sys.modules if name.startswith("dwell.server")]:
        del sys.modules[name]
    kept = {{n: sys.modules.pop(n) for n in list(sys.modules) if n == package or n.startswith(package + ".")}}
    sys.modules[package] = None
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        code = main(["serve", sys.argv[1], "--features", "a", "--no-auth", "--port", "0"])
    told[package] = [code, errors.getvalue()]
    del sys.modules[package]
    sys.modules.update(kept)
print(json.dumps(told))
"""


def test_a_package_that_is_missing_is_told_with_the_extra(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HIDING, str(tmp_path / "s.dwell")],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert set(found) == set(PACKAGES)
    for package, (code, said) in found.items():
        assert code == 1
        (line,) = said.splitlines()
        assert line.startswith("dwell: ")
        assert f"the package {package} is not installed" in line
        assert 'pip install "dwell[server]"' in line


def test_remedies_of_commands_name_options_and_not_arguments(tmp_path: Path) -> None:
    store = tmp_path / "s.dwell"
    dwell.open(str(store), features=["a", "b"]).close()
    (tmp_path / "weights.toml").write_text("[store]\nweights = { a = 2.0, b = 1.0 }\n")
    for words, option in (
        (("--features", "a"), "--features"),
        (("--config", str(tmp_path / "weights.toml")), "store.weights"),
    ):
        done = dwell_("serve", store, *words, "--no-auth", "--port", "0")
        assert done.returncode == 1
        assert option in done.stderr
        assert "Loop." not in done.stderr


@pytest.mark.parametrize(
    ("body", "kind", "path"),
    [
        ({**ITEM, "user": "u"}, "application/json", "/user"),
        ([ITEM, {**ITEM, "user": "u"}], "application/json", "/1/user"),
        ({"items": [{**ITEM, "user": "u"}]}, "text/plain", "/items/0/user"),
        ({"items": [{**ITEM, "key": "u"}]}, "text/plain", "/items/0/key"),
    ],
)
def test_a_field_of_the_envelope_inside_a_reaction_is_told_where_it_belongs(
    served: tuple[Service, Path], body: object, kind: str, path: str
) -> None:
    status, problem, _ = served[0].call("POST", "/v1/feedback", body, content_type=kind)
    assert (status, problem["code"], problem["path"]) == (400, "unknown_field", path)
    assert '"items": [...]' in problem["remedy"]
    assert path.rpartition("/")[2] in problem["remedy"]
    assert served[0].call("POST", "/v1/feedback", {**ITEM, "usr": "u"})[1]["remedy"].count("items") == 0


def test_a_line_with_a_field_of_the_envelope_is_told_the_same(served: tuple[Service, Path]) -> None:
    lines = json.dumps({**ITEM, "user": "u"}).encode()
    answer = served[0].call("POST", "/v1/feedback", lines, content_type="application/x-ndjson")[1]
    assert '"items": [...]' in answer["results"][0]["reason"]


def test_an_address_that_is_not_there_is_told_without_being_repeated(served: tuple[Service, Path]) -> None:
    for method, path, status in (("GET", "/v1/nothing/~here", 404), ("GET", "/v1/rank", 405), ("POST", "/", 405)):
        found, problem, headers = served[0].call(method, path, {} if method == "POST" else None)
        assert (found, problem["path"]) == (status, "")
        assert "nothing/" not in json.dumps(problem)
        assert headers["content-type"] == "application/problem+json"
        assert "/docs" in problem["remedy"]


def test_the_root_says_what_this_is_and_every_link_of_it_leads_somewhere(served: tuple[Service, Path]) -> None:
    status, page, headers = served[0].call("GET", "/")
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    policy = headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert "unsafe" not in policy
    text = page.decode()
    assert "style=" not in text
    assert all(tag.startswith(" src=") for tag in text.split("<script")[1:])  # nothing stands between the tags
    assert re.search(r"\son\w+=", text) is None
    links = {part.partition('"')[0] for part in re.split(r'(?:href|src)="', text)[1:]} - {"data:,", "#main"}
    assert {"/docs", "/dashboard/decisions"} <= links
    assert not any(link.startswith("http") or "://" in link for link in links)
    for link in sorted(links):
        assert served[0].call("GET", link)[0] == 200, link


def test_what_is_live_is_not_promoted_again_over_http_nor_by_command(served: tuple[Service, Path]) -> None:
    found, store = served
    live = found.call("POST", "/v1/promote", {"weights": {"good": 1.0}, "force": True})[1]["params"]["version"]
    n_entries = len(found.call("GET", "/v1/history")[1]["decisions"])
    for body in ({"version": live, "force": True}, {"version": live}, {"weights": {"good": 1.0}, "force": True}):
        status, problem, _ = found.call("POST", "/v1/promote", body)
        assert (status, problem["code"]) == (409, "already_live")
        assert f"version {live}" in problem["detail"]
    done = dwell_("promote", store, "--version", live, "--force")
    assert done.returncode == 1
    assert f"live already, as version {live}" in done.stderr
    assert len(found.call("GET", "/v1/history")[1]["decisions"]) == n_entries


@pytest.mark.parametrize("junk", ["not json\n", "[1]\n2\n", '{"a": 1}\n', "\x00\x01\n", "<html></html>\n"])
@pytest.mark.parametrize("kind", ["personalizer", "ubi"])
def test_a_file_of_which_nothing_can_be_read_is_a_failure(
    kind: str, junk: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "junk").write_text(junk)
    words = ["import", kind, str(tmp_path / "s.dwell"), str(tmp_path / "junk"), "--create"]
    assert main(words) == 1
    assert "could be read" in capsys.readouterr().err.splitlines()[-1]
    assert main([*words, "--json"]) == 1
    assert json.loads(capsys.readouterr().out), "a program gets the document all the same"
    (tmp_path / "junk").write_text("\n\n")
    assert main(words) == 0, "an empty log is a quiet night"
