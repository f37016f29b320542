"""The command line as people and programs use it, on stores made through the public API."""

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest

import dwell
from dwell.cli.program import program
from dwell.cli.stores import as_served, facts
from dwell.loop import open_loop

from .called import Run

START = 1_700_000_000.0
N_EVENTS = 60
HOSTILE = "\x1b]0;owned\x07\x1b[31m\u202egnp.exe\r\nsecond line"
PUBLIC_COMMANDS = {
    "demo", "inspect", "params", "history", "health", "train", "evaluate", "promote", "rollback", "erase", "export",
    "import", "keys", "config", "serve", "activation", "doctor", "db",
    "cluster", "archive", "mcp",
}  # fmt: skip


def fill(loop: dwell.Loop, n_events: int = N_EVENTS) -> None:
    """Serve lists and click where the cosine is high."""
    rng = np.random.default_rng(0)
    for i in range(n_events):
        candidates = [{"id": f"d{j}", "bm25": float(rng.normal()), "cosine": float(rng.normal())} for j in range(8)]
        cosine = {c["id"]: c["cosine"] for c in candidates}
        at = START + 60.0 * i
        served = loop.rank(f"query {i % 9}", candidates, k=5, user=f"u{i % 7}", event_id=f"e{i}", segment="web", now=at)
        for doc in served.ids:
            if cosine[str(doc)] > 0.5:
                loop.feedback(served.event_id, "click", doc=doc, now=at + 5.0)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store with versions 0 and 1, 1 being live by force, and with every kind of trouble in it."""
    path = tmp_path_factory.mktemp("made") / "search.dwell"
    with dwell.open(path, features=["bm25", "cosine"], weights={"bm25": 1.0, "cosine": 0.25}, holdout=0.0) as loop:
        fill(loop)
        proposed = loop.train(now=START + 86_400.0).proposed
        loop.promote(proposed, force=True, now=START + 86_500.0)
        later = START + 90_000.0
        loop.rank(
            HOSTILE, [{"id": "d1\u200b", "bm25": 1.0, "cosine": 0.0}], event_id="hostile", user="u-bad", now=later
        )
        loop.feedback("hostile", "task_completed", now=later + 1.0)
        loop.rank("broken", [{"id": "d1", "bm25": float("nan"), "cosine": 0.0}], event_id="broken", now=later)
        loop.feedback("unknown", "click", doc="d9", now=later)
    return path


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Path:
    """Return a copy of the made store in an empty folder, with its pepper."""
    for suffix in ("", ".pepper"):
        shutil.copy(f"{template}{suffix}", f"{tmp_path / template.name}{suffix}")
    return tmp_path / template.name


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_one_line(text: str) -> None:
    """Fail unless this is what a failure looks like from outside."""
    assert text.startswith("dwell: ")
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert text[:-1].isprintable()


# ---- the program itself


def leaves(command: click.Command, *words: str) -> Iterator[tuple[str, ...]]:
    """Yield every command by its words."""
    yield words
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from leaves(child, *words, name)


@pytest.mark.parametrize("words", list(leaves(program)), ids=" ".join)
def test_every_help_shows_an_example(words: tuple[str, ...], dwell_: Run) -> None:
    ran = dwell_(*words, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert f"    {' '.join(('dwell', *words))}" in ran.out.partition("Examples:")[2]


@pytest.mark.parametrize(
    "words",
    [
        words
        for words in leaves(program)
        if words
        not in {
            (),
            ("activation",),
            ("archive",),
            ("cluster",),
            ("cluster", "job"),
            ("cluster", "up"),
            ("config",),
            ("db",),
            ("db", "grants"),  # it prints SQL, to be read and run
            ("import",),
            ("keys",),
            ("mcp",),  # what it prints is the protocol's
            ("serve",),
        }
    ],
    ids=" ".join,
)
def test_every_command_that_prints_offers_json(words: tuple[str, ...], dwell_: Run) -> None:
    assert "--json" in dwell_(*words, "--help").out


def test_help_lists_what_works_and_no_more(dwell_: Run) -> None:
    listed = dwell_("--help").out.partition("Commands:\n")[2]
    assert {line.split()[0] for line in listed.splitlines() if line} == PUBLIC_COMMANDS


def loaded_by(*arguments: str) -> set[str]:
    """Return the packages that a command loads in a fresh interpreter."""
    code = "import sys; from dwell.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    return set(done.stderr.split())


def test_help_loads_no_store_and_no_learner() -> None:
    loaded = loaded_by("--help")
    assert "click" in loaded
    assert not loaded & {"apsw", "dwell.loop", "dwell.storage", "dwell.learning", "dwell.demo", "dwell.config", "rich"}


def test_help_loads_no_numpy() -> None:
    assert "numpy" not in loaded_by("--help")


def test_it_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "dwell", "--version"], check=True, capture_output=True, text=True)
    assert dwell.__version__ in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("fly",),
        ("params", "{store}", "--version", "x"),
        ("params", "{store}", "--version", "-1"),
        ("params", "{store}", "--colour"),
        ("params", "{store}", "extra"),
        ("promote", "{store}"),
        ("erase", "{store}"),
        ("export", "{store}"),
        ("evaluate", "{store}"),
        ("evaluate", "{store}", "--version", "0", "--weights", "{{}}"),
        ("evaluate", "{store}", "--weights", "not json"),
        ("evaluate", "{store}", "--weights", "[1]"),
        ("evaluate", "{store}", "--weights", '{{"bm25": true}}'),
        ("evaluate", "{store}", "--weights", '{{"bm25": NaN}}'),
        ("train", "{store}", "--mode", "fast"),
        ("train", "{store}", "--steps", "0"),
        ("train", "{store}", "--rewards", "{{"),
        ("config",),
        ("config", "show", "extra"),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...], store: Path, dwell_: Run) -> None:
    before = contents(store.parent)
    ran = dwell_(*(argument.format(store=store) for argument in arguments))
    assert (ran.code, ran.out) == (2, "")
    assert "Usage: dwell" in ran.err
    assert contents(store.parent) == before


# ---- stores that are not there, or are none


ON_A_STORE = [
    ("params",), ("inspect",), ("history",), ("health",), ("train",), ("evaluate", "--version", "0"),
    ("promote", "--version", "0"), ("rollback",), ("erase", "--user", "u1", "--yes"), ("erase", "--user", "u1"),
]  # fmt: skip


@pytest.mark.parametrize("command", [*ON_A_STORE, ("export",)], ids=" ".join)
def test_a_store_that_is_not_there_is_told_and_not_made(command: tuple[str, ...], tmp_path: Path, dwell_: Run) -> None:
    name, *options = command
    tail = [tmp_path / "out.jsonl"] if name == "export" else []
    ran = dwell_(name, tmp_path / "nowhere.dwell", *tail, *options)
    assert (ran.code, ran.out) == (1, "")
    assert_one_line(ran.err)
    assert "no store at" in ran.err
    assert "Check the path" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["params", "train", "rollback"])
@pytest.mark.parametrize("kind", ["empty", "text", "foreign", "folder", "memory", "postgresql"])
def test_what_is_no_store_stays_as_it_is(name: str, kind: str, tmp_path: Path, dwell_: Run) -> None:
    path = tmp_path / kind
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("dear diary\n" * 1_000, encoding="utf-8")
    elif kind == "foreign":
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE mine (x)")
        database.close()
    elif kind == "folder":
        path = tmp_path
    before = contents(tmp_path)
    where = {"memory": ":memory:", "postgresql": "postgresql://nobody@nowhere/x"}.get(kind, path)
    ran = dwell_(name, where)
    assert (ran.code, ran.out) == (1, "")
    assert_one_line(ran.err)
    after = contents(tmp_path)
    assert {key: after[key] for key in before} == before
    assert set(after) - set(before) == set()


def test_without_a_store_demo_dwell_is_taken(store: Path, monkeypatch: pytest.MonkeyPatch, dwell_: Run) -> None:
    monkeypatch.chdir(store.parent)
    ran = dwell_("params")
    assert ran.code == 2
    assert "demo.dwell" in ran.err
    for suffix in ("", ".pepper"):
        Path(f"{store}{suffix}").rename(store.parent / f"demo.dwell{suffix}")
    assert dwell_("params", "--json").json["version"] == 1
    assert dwell_("rollback", "--json").json["live"]["version"] == 0
    assert dwell_("health").code == 0


def test_an_unknown_tenant_is_refused_and_not_made(store: Path, dwell_: Run) -> None:
    with dwell.open(store, tenant="acme", features=["x"], weights={"x": 1.0}):
        pass
    assert list(dwell_("params", store, "--tenant", "acme", "--json").json["weights"]) == ["x"]
    for name in ("params", "rollback", "train", "inspect"):
        ran = dwell_(name, store, "--tenant", "other")
        assert ran.code == 1
        assert_one_line(ran.err)
        assert "'other'" in ran.err
    with sqlite3.connect(store) as database:
        assert {row[0] for row in database.execute("SELECT tenant FROM tenants")} == {"", "acme"}
    database.close()


@pytest.mark.parametrize("command", ON_A_STORE, ids=" ".join)
def test_a_missing_pepper_opens_nothing(command: tuple[str, ...], store: Path, dwell_: Run) -> None:
    pepper = Path(f"{store}.pepper")
    kept = pepper.read_text(encoding="ascii")
    pepper.unlink()
    name, *options = command
    ran = dwell_(name, store, *options)
    assert (ran.code, ran.out) == (1, "")
    assert_one_line(ran.err)
    assert "its file search.dwell.pepper is missing" in ran.err
    assert "set DWELL_PEPPER" in ran.err
    assert "pepper=" not in ran.err
    assert not pepper.exists()
    pepper.write_text("another\n", encoding="ascii")
    pepper.chmod(0o600)
    ran = dwell_(name, store, *options)
    assert ran.code == 1
    assert "was made with another pepper" in ran.err
    assert "pepper=" not in ran.err
    assert kept


def test_the_pepper_may_come_from_the_environment(store: Path, monkeypatch: pytest.MonkeyPatch, dwell_: Run) -> None:
    pepper = Path(f"{store}.pepper")
    monkeypatch.setenv("DWELL_PEPPER", pepper.read_text(encoding="ascii"))
    pepper.unlink()
    assert dwell_("params", store).code == 0
    assert not pepper.exists()


# ---- looking


LOOKING = [
    ("params", "{store}"), ("params", "{store}", "--version", "0"), ("history", "{store}"),
    ("history", "{store}", "--limit", "1"), ("health", "{store}"), ("inspect", "{store}"),
    ("inspect", "{store}", "e3"), ("inspect", "{store}", "hostile"), ("inspect", "{store}", "broken"),
    ("inspect", "{store}", "unknown"), ("evaluate", "{store}", "--version", "0"),
    ("evaluate", "{store}", "--weights", '{{"bm25": 1, "cosine": 4.0}}'), ("config", "show"),
]  # fmt: skip


@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
def test_looking_prints_for_people_and_for_programs_and_changes_nothing(
    command: tuple[str, ...], store: Path, dwell_: Run
) -> None:
    before = contents(store.parent)
    words = [word.format(store=store) for word in command]
    people, programs = dwell_(*words), dwell_(*words, "--json")
    assert (people.code, people.err) == (programs.code, programs.err) == (0, "")
    assert programs.json
    assert all(line.isprintable() for line in people.out.splitlines())
    assert programs.out.isascii()
    after = contents(store.parent)
    after = {name: content for name, content in after.items() if not name.endswith(("-shm", "-wal"))}
    assert after == before


@pytest.mark.parametrize(
    "command", [("params",), ("health",), ("history",), ("inspect",), ("evaluate", "--version", "0")]
)
def test_looking_leaves_the_owner_alone(command: tuple[str, ...], store: Path, dwell_: Run) -> None:
    name, *options = command
    with dwell.open(store) as owner:
        assert dwell_(name, store, *options).code == 0
        assert owner.rank("q", [{"id": "a", "bm25": 1.0, "cosine": 0.0}], event_id="after").fallback is None


def test_params_are_the_live_ones_largest_first(store: Path, dwell_: Run) -> None:
    with open_loop(store, _role="reader") as loop:
        live = loop.params
    told = dwell_("params", store, "--json").json
    assert told["version"] == told["live_version"] == live.version == 1
    assert told["weights"] == dict(live.weights)
    assert told["units"] == "standardised"
    assert [step["version"] for step in told["lineage"]] == [1, 0]
    assert told["lineage"][0]["live_at"] == START + 86_500.0
    assert live.raw_score is not None
    assert live.transform is not None
    assert told["raw_score"]["coefficient"] == live.raw_score.coefficient
    assert told["transform"]["knots"] == [knots.tolist() for knots in live.transform.knots]

    shown = dwell_("params", store).out.splitlines()
    first = next(i for i, line in enumerate(shown) if line.split()[:2] == ["feature", "weight"]) + 1
    weights = [(line.rstrip(" #").split()[-1], line.count("#")) for line in shown[first : first + 3]]
    sizes = [abs(float(weight)) for weight, _ in weights]
    assert sizes == sorted(sizes, reverse=True)
    assert [n for _, n in weights] == [round(30 * size / sizes[0]) for size in sizes]


def test_given_weights_are_raw(store: Path, dwell_: Run) -> None:
    ran = dwell_("params", store, "--version", "0")
    assert "not live (version 1 is)" in ran.out
    assert "raw" in ran.out
    assert dwell_("params", store, "--version", "0", "--json").json["weights"] == {"bm25": 1.0, "cosine": 0.25}


def test_an_unknown_version_is_refused(store: Path, dwell_: Run) -> None:
    for command in (("params",), ("evaluate",), ("promote",)):
        ran = dwell_(*command, store, "--version", "77")
        assert (ran.code, ran.out) == (1, "")
        assert_one_line(ran.err)
        assert "77" in ran.err
        assert "`dwell history`" in ran.err


def test_history_is_the_ledger(store: Path, dwell_: Run) -> None:
    with open_loop(store, _role="reader") as loop:
        ledger = loop.history()
    told = dwell_("history", store, "--json").json
    assert [entry["number"] for entry in told] == list(range(1, len(ledger) + 1))
    assert [entry["decision"]["kind"] for entry in told] == [decision.kind for decision in ledger]
    assert told[0]["decision"]["difference"]["low"] is None  # there was no evidence: minus infinity
    newest = dwell_("history", store, "--limit", "1", "--json").json
    assert newest == told[-1:]
    shown = dwell_("history", store).out
    assert all(reason in shown for decision in ledger for reason in decision.reasons)


def test_inspect_sums_up(store: Path, dwell_: Run) -> None:
    told = dwell_("inspect", store, "--limit", "2", "--json").json
    assert told["store"]["features"] == ["bm25", "cosine"]
    assert told["store"]["live_version"] == 1
    assert told["counts"]["closed"] == N_EVENTS
    assert (told["counts"]["open"], told["counts"]["orphans"], told["counts"]["quarantined"]) == (1, 1, 1)
    assert [event["event_id"] for event in told["events"]] == ["hostile", f"e{N_EVENTS - 1}"]
    assert told["events"][0]["signals"] == {"task_completed": 1}
    assert told["quarantined"][0]["event_id"] == "broken"
    assert told["quarantined"][0]["reason"].startswith("non_finite")
    shown = dwell_("inspect", store, "--limit", "2").out
    assert "non_finite" in shown
    assert "e58" not in shown
    assert dwell_("inspect", store, "--limit", "0", "--json").json["events"] == []


def test_inspect_shows_a_whole_event(store: Path, dwell_: Run) -> None:
    told = dwell_("inspect", store, "e3", "--json").json
    with open_loop(store, _role="reader") as loop:
        event = next(experience for experience in loop.experiences() if experience.event_id == "e3")
    assert [doc["id"] for doc in told["served"]] == [doc["id"] for doc in event.results_served]
    assert [doc["rank"] for doc in told["served"]] == [1, 2, 3, 4, 5]
    assert [doc["propensity"] for doc in told["served"]] == list(event.propensities)
    assert {doc["id"]: doc["reward"] for doc in told["served"]} == dict(event.document_rewards)
    assert told["reward"] == event.reward
    assert len(told["unserved"]) == 3
    for doc in told["served"]:
        # version 0: the score is the raw formula, in float32
        formula = 1.0 * doc["features"]["bm25"] + 0.25 * doc["features"]["cosine"]
        assert doc["score"] == pytest.approx(formula, rel=1e-5)
        assert 0.0 < doc["exposure"] <= 1.0
        assert [signal["name"] for signal in doc["signals"]] == (["click"] if doc["reward"] else [])
    shown = dwell_("inspect", store, "e3").out
    assert all(doc["id"] in shown for doc in told["served"])


def test_inspect_tells_what_it_knows_of_events_that_were_never_recorded(store: Path, dwell_: Run) -> None:
    assert "non_finite" in dwell_("inspect", store, "broken").out
    assert dwell_("inspect", store, "unknown", "--json").json["signals"][0]["doc"] == "d9"
    ran = dwell_("inspect", store, "never")
    assert ran.code == 1
    assert_one_line(ran.err)


def test_hostile_text_is_shown_and_drives_nothing(store: Path, dwell_: Run) -> None:
    for arguments in ((), ("hostile",)):
        shown = dwell_("inspect", store, *arguments).out
        assert "\\x1b]0;owned\\x07" in shown
        assert "d1\\u200b" in shown
    assert dwell_("inspect", store, "hostile", "--json").json["query"] == HOSTILE
    ran = dwell_("inspect", store, "\x1b[2J\nx")
    assert ran.code == 1
    assert_one_line(ran.err)


def test_health_is_0_unless_critical(store: Path, tmp_path: Path, dwell_: Run) -> None:
    assert dwell_("health", store).code == 0
    silent = tmp_path / "silent.dwell"
    with dwell.open(silent, features=["bm25"], weights={"bm25": 1.0}) as loop:
        ran = dwell_("health", silent)
        assert (ran.code, ran.out.split()[0]) == (0, "EMPTY")
        for i in range(60):
            loop.rank("q", [{"id": "a", "bm25": 1.0}, {"id": "b", "bm25": 0.0}], user=f"u{i}", now=START + i)
        loop.close_events(now=START + 86_400.0)
    ran = dwell_("health", silent)
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.startswith("CRITICAL")
    assert "Send Loop.feedback" in ran.out
    told = dwell_("health", silent, "--json")
    assert told.code == 1
    assert told.json["status"] == "critical"
    assert told.json["alerts"][0]["remedy"]


def test_evaluate_judges_weights_as_the_loop_does(store: Path, dwell_: Run) -> None:
    told = dwell_("evaluate", store, "--weights", '{"bm25": 1, "cosine": 4}', "--json").json
    with open_loop(store, _role="reader") as loop:
        decision = loop.evaluate(dwell.Params(version=2, weights={"bm25": 1.0, "cosine": 4.0}))
        n_decisions = len(loop.history())
    assert told["decision"]["verdict"] == decision.verdict
    assert told["decision"]["difference"]["value"] == decision.difference.value
    assert told["decision"]["difference"]["n"] == N_EVENTS
    assert told["params"]["version"] == 2
    assert len(dwell_("history", store, "--json").json) == n_decisions
    ran = dwell_("evaluate", store, "--weights", '{"bm25": 1, "colour": 4}')
    assert ran.code == 1
    assert_one_line(ran.err)
    assert "colour" in ran.err


def test_config_show_names_the_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dwell_: Run) -> None:
    file = tmp_path / "dwell.toml"
    file.write_text("[gate]\nalpha = 0.01\nmin_users = 5\n", encoding="utf-8")
    monkeypatch.setenv("DWELL_GATE__MIN_USERS", "7")
    told = {s["name"]: (s["value"], s["origin"]) for s in dwell_("config", "show", "--config", file, "--json").json}
    assert told["gate.alpha"] == (0.01, "file")
    assert told["gate.min_users"] == (7, "environment")
    assert told["gate.bound"] == (3.0, "default")
    monkeypatch.setenv("DWELL_GATE__ALFA", "1")
    ran = dwell_("config", "show")
    assert ran.code == 1
    assert_one_line(ran.err)
    assert "'alpha'" in ran.err
    assert dwell_("config", "show", "--config", tmp_path / "none.toml").code == 1


# ---- changing


def test_rollback_and_promote_are_each_others_inverse(store: Path, dwell_: Run) -> None:
    before = dwell_("params", store, "--json").json
    assert "version 0 is live again, was 1" in dwell_("rollback", store).out
    ran = dwell_("promote", store, "--version", "1", "--force", "--json")
    assert (ran.code, ran.json["was"], ran.json["decision"]["kind"]) == (0, 0, "forced")
    after = dwell_("params", store, "--json").json
    assert (after["version"], after["weights"]) == (before["version"], before["weights"])
    assert dwell_("rollback", store, "--to", "0", "--json").json["live"]["version"] == 0
    ran = dwell_("rollback", store, "--to", "9")
    assert (ran.code, ran.out) == (1, "")
    assert_one_line(ran.err)
    assert "`dwell history`" in ran.err
    assert "Loop" not in ran.err


def test_a_refused_promotion_is_1_and_says_why(store: Path, dwell_: Run) -> None:
    dwell_("rollback", store)
    ran = dwell_("promote", store, "--version", "1")
    assert (ran.code, ran.out) == (1, "")
    assert_one_line(ran.err)
    assert "too_few_events" in ran.err
    assert "--force" in ran.err
    assert "force=True" not in ran.err
    ran = dwell_("promote", store, "--version", "1", "--json")
    assert ran.code == 1
    assert ran.json["decision"]["verdict"] == "hold"
    assert ran.json["live"]["version"] == 0
    assert dwell_("history", store, "--json").json[-1]["decision"]["kind"] == "requested"


def test_train_closes_judges_and_learns(store: Path, dwell_: Run) -> None:
    ran = dwell_("train", store, "--holdout", "0", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.json["n_closed"] == 1
    assert ran.json["n_steps"] > 0
    assert ran.json["proposed"]["version"] == 2
    assert ran.json["decision"]["verdict"] == "hold"
    ran = dwell_("train", store, "--holdout", "0")
    assert ran.code == 0
    assert "standing proposal  version 2" in ran.out
    assert "HOLD" in ran.out
    assert "standing proposal  version 2" in dwell_("params", store).out


def test_commands_open_a_store_as_the_application_did(tmp_path: Path, dwell_: Run) -> None:
    path = tmp_path / "other.dwell"
    rewards = {"click": 0.125}
    with dwell.open(
        path,
        features=["bm25", "cosine"],
        weights={"bm25": 1.0, "cosine": 0.0},
        mode="canary",
        temperature=0.7,
        rewards=rewards,
        attribution_window_s=600.0,
        max_results=30,
    ) as loop:
        fill(loop, 20)
        loop.close_events(now=START + 86_400.0)
        late = [{"id": f"d{j}", "bm25": float(j), "cosine": 0.0} for j in range(40)]
        loop.rank("late", late, k=30, event_id="late", now=START + 90_000.0)
        loop.feedback("late", "click", doc="d39", now=START + 90_001.0)
    with facts(str(path), "") as reader:
        served = as_served(reader)
    assert served[:2] == ("canary", 0.7)
    assert served.rewards.startswith("custom/")
    assert served[3:] == (600.0, 30, 21)
    for command in (("train", path), ("export", path, tmp_path / "out.jsonl")):
        ran = dwell_(*command)
        assert ran.code == 1
        assert_one_line(ran.err)
        assert "--rewards" in ran.err
    assert not (tmp_path / "out.jsonl").exists()
    assert dwell_("train", path, "--rewards", json.dumps(rewards)).code == 0
    event = dwell_("inspect", path, "late", "--json").json
    assert event["reward_version"] == served.rewards
    assert event["closed_at"] == START + 90_600.0
    clicked = [doc["reward"] for doc in event["served"] if doc["signals"]]
    assert clicked in ([0.125], [])  # whether d39 was among the 30 is a draw


def test_erase_asks_and_then_leaves_nothing(store: Path, monkeypatch: pytest.MonkeyPatch, dwell_: Run) -> None:
    n_events = dwell_("inspect", store, "--json").json["counts"]["closed"]
    for answer in ("", "n\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        ran = dwell_("erase", store, "--user", "u3")
        assert ran.code == 1
        assert "for good?" in ran.err
        assert "nothing was erased" in ran.err.splitlines()[-1]
        assert dwell_("inspect", store, "--json").json["counts"]["closed"] == n_events
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    ran = dwell_("erase", store, "--user", "u3", "--json")
    expected = len([i for i in range(N_EVENTS) if i % 7 == 3])
    assert (ran.code, ran.json) == (0, {"n_events": expected})
    counts = dwell_("inspect", store, "--json").json["counts"]
    assert (counts["closed"], counts["erased_users"]) == (n_events - expected, 1)
    assert dwell_("inspect", store, "e3").code == 1
    assert "0 events erased" in dwell_("erase", store, "--user", "u3", "--yes").out


def test_export_writes_every_experience_once(store: Path, tmp_path: Path, dwell_: Run) -> None:
    path = tmp_path / "out.jsonl"
    ran = dwell_("export", store, path, "--json")
    assert (ran.code, ran.err) == (0, "")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert ran.json["n_experiences"] == len(lines) == N_EVENTS + 1
    assert [line["event_id"] for line in lines] == [f"e{i}" for i in range(N_EVENTS)] + ["hostile"]
    before = path.read_bytes()
    for taken in (path, tmp_path / "no" / "such" / "folder.jsonl"):
        ran = dwell_("export", store, taken)
        assert (ran.code, ran.out) == (1, "")
        assert_one_line(ran.err)
        assert taken.name in ran.err
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


# ---- two processes

OWNER = """
import sys, time, dwell
loop = dwell.open(sys.argv[1])
print("open", flush=True)
first = loop._state.live.version
end = time.monotonic() + 60.0
while loop.params.version == first and time.monotonic() < end:
    time.sleep(0.01)
served = loop.rank("q", [{"id": "a", "bm25": 1.0, "cosine": 0.0}], event_id="after")
print(time.monotonic(), loop.params.version, served.params_version, served.fallback, flush=True)
sys.stdin.readline()
loop.close()
"""


@pytest.fixture
def owner(store: Path) -> Iterator[subprocess.Popen[str]]:
    """Own the store in another process, which reports when other params are live."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


def test_a_second_process_rolls_back_and_the_owner_follows_within_a_second(
    store: Path, owner: subprocess.Popen[str]
) -> None:
    """Design, section 4. Both clocks are CLOCK_MONOTONIC, one for all processes of a machine."""

    def run(*arguments: str) -> str:
        done = subprocess.run([sys.executable, "-m", "dwell", *arguments], check=True, capture_output=True, text=True)
        assert done.stderr == ""
        return done.stdout

    assert json.loads(run("params", str(store), "--json"))["version"] == 1
    assert json.loads(run("health", str(store), "--json"))["live_version"] == 1
    assert json.loads(run("rollback", str(store), "--json"))["live"]["version"] == 0
    committed_before = time.monotonic()
    assert owner.stdout is not None
    seen_at, live, served, fallback = owner.stdout.readline().split()
    assert (live, served, fallback) == ("0", "0", "None")
    assert float(seen_at) - committed_before < 1.0


def test_what_needs_the_store_to_itself_says_who_has_it(store: Path, owner: subprocess.Popen[str], dwell_: Run) -> None:
    ran = dwell_("train", store)
    assert (ran.code, ran.out) == (1, "")
    assert_one_line(ran.err)
    assert f"process {owner.pid}" in ran.err
    assert "Loop.train()" in ran.err


def test_a_user_is_erased_beside_the_owner(store: Path, dwell_: Run) -> None:
    with dwell.open(store) as loop:
        loop.health()  # the experience is in memory
        n_before = int(loop.health().figures["size"])
        ran = dwell_("erase", store, "--user", "u3", "--yes", "--json")
        assert ran.code == 0
        time.sleep(1.0)  # design, section 4: an owner sees it within 1 s
        loop.train(now=START + 200_000.0)
        left = int(loop.health().figures["size"])
        assert left == n_before - ran.json["n_events"] + 1  # the open event was closed meanwhile


def test_a_canary_ends_when_another_process_moves_the_live_params(store: Path, dwell_: Run) -> None:
    """A standing proposal was learned from the params that were live then: against others nothing is known of it."""
    with dwell.open(store, mode="canary", canary_share=1.0, holdout=0.0) as loop:
        proposed = loop.train(now=START + 200_000.0).proposed
        candidates = [{"id": "a", "bm25": 1.0, "cosine": 0.0}]
        assert loop.rank("q", candidates, user="u1", event_id="before").params_version == proposed.version == 2
        assert dwell_("rollback", store, "--json").json["live"]["version"] == 0
        time.sleep(1.0)  # design, section 4: an owner sees it within 1 s
        assert loop.rank("q", candidates, user="u1", event_id="after").params_version == 0


# The interpreter may stand where the other user can not read: what is needed later is loaded before
READ_ONLY = """
import codecs, os, sys
import dwell.cli, dwell.loop, dwell.storage, apsw
codecs.lookup("unicode_escape")
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
sys.exit(dwell.cli.main(sys.argv[1:]))
"""


@pytest.fixture
def published(template: Path) -> Iterator[Path]:
    """Return a store that anybody may read, in a folder that the reader may not write to."""
    with tempfile.TemporaryDirectory() as name:  # a test's own folder is closed to other users
        path = Path(name) / "search.dwell"
        shutil.copy(template, path)
        shutil.copy(f"{template}.pepper", f"{path}.pepper")
        yield path
        path.parent.chmod(0o755)


def test_looking_needs_no_permission_to_write_while_somebody_owns_the_store(published: Path) -> None:
    environment = {**os.environ, "DWELL_PEPPER": Path(f"{published}.pepper").read_text(encoding="ascii")}
    with dwell.open(published):
        for path in published.parent.iterdir():
            path.chmod(0o444)
        published.parent.chmod(0o555)
        for command in (["params"], ["health"], ["history"], ["inspect"], ["evaluate", "--version", "0"]):
            done = subprocess.run(
                [sys.executable, "-c", READ_ONLY, command[0], str(published), *command[1:]],
                env=environment,
                check=False,
                capture_output=True,
                text=True,
            )
            assert (done.returncode, done.stderr) == (0, "")
        published.parent.chmod(0o755)


# ---- the unexpected


@click.command()
def _broken() -> None:
    raise ZeroDivisionError("a\nb\x1b[2J")


def test_the_unexpected_is_one_line_and_a_traceback_on_request(monkeypatch: pytest.MonkeyPatch, dwell_: Run) -> None:
    monkeypatch.setitem(program.commands, "broken", _broken)
    ran = dwell_("broken")
    assert (ran.code, ran.out) == (1, "")
    assert_one_line(ran.err)
    assert "unexpected ZeroDivisionError" in ran.err
    assert "DWELL_DEBUG=1" in ran.err
    monkeypatch.setenv("DWELL_DEBUG", "1")
    ran = dwell_("broken")
    assert ran.code == 1
    assert "Traceback" in ran.err


def test_a_damaged_store_is_told_without_a_traceback(store: Path, dwell_: Run) -> None:
    body = bytearray(store.read_bytes())
    body[4096 * 2 : 4096 * 40] = bytes(4096 * 38)
    store.write_bytes(bytes(body))
    ran = dwell_("inspect", store)
    assert (ran.code, ran.out) == (1, "")
    assert_one_line(ran.err)
    assert "unexpected" not in ran.err


def test_a_reader_that_leaves_early_is_no_traceback(store: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "dwell", "inspect", str(store), "--limit", "60", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_no_color_where_no_terminal_is(store: Path, dwell_: Run) -> None:
    assert "\x1b" not in dwell_("health", store).out + dwell_("history", store).out


# ---- the demo


def test_the_demo_refuses_to_replace_what_it_did_not_make(store: Path, tmp_path: Path, dwell_: Run) -> None:
    before = store.read_bytes()
    ran = dwell_("demo", "--store", store, "--report", tmp_path / "report.html", "--events", "10")
    assert (ran.code, ran.out) == (1, "")
    assert_one_line(ran.err)
    assert store.read_bytes() == before
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--events", "3"), ("--seed", "-1"), ("--corpus", "nowhere"), ("--config", "nowhere.toml"),
        ("--serve", "--seed", "-1"), ("--serve", "--corpus", "nowhere"), ("--serve", "--config", "nowhere.toml"),
        ("--serve", "--keep", "--corpus", "."),
    ],
)  # fmt: skip
def test_a_demo_that_can_not_run_says_why_and_makes_nothing(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dwell_: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = dwell_("demo", *arguments)
    assert ran.code == 1
    assert_one_line(ran.err)
    assert not (tmp_path / "demo.dwell").exists()


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("--serve", "--events", "300"), "--events"),
        (("--serve", "--train-every", "100"), "--train-every"),
        (("--serve", "--report", "r.html"), "--report"),
        (("--serve", "--json"), "--json"),
        (("--port", "0"), "--port"),
        (("--keep",), "--keep"),
    ],
)
def test_options_of_the_other_demo_are_wrong_usage(arguments: tuple[str, ...], option: str, dwell_: Run) -> None:
    ran = dwell_("demo", *arguments)
    assert ran.code == 2
    assert option in ran.err


def test_the_demo_is_served_to_this_machine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dwell_: Run) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "open.toml").write_text('[serve]\nhost = "0.0.0.0"\n')
    ran = dwell_("demo", "--serve", "--config", "open.toml")
    assert ran.code == 1
    assert "this machine only" in ran.err
    assert not (tmp_path / "demo.dwell").exists()


@pytest.mark.slow
def test_the_store_of_the_demo_is_what_the_other_commands_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dwell_: Run
) -> None:
    """So short a demo may have nothing to promote, and says so by its exit code; its store is there all the same."""
    monkeypatch.chdir(tmp_path)
    ran = dwell_("demo", "--events", "300", "--train-every", "100", "--json")
    assert ran.code in {0, 1}
    assert ran.err == ""
    assert ran.json["store"] == "demo.dwell"
    assert (tmp_path / "demo-report.html").exists()
    for command in (["params"], ["health"], ["history"], ["inspect"]):
        assert dwell_(*command, "--json").json
    assert len(dwell_("history", "--json").json) == len(ran.json["ledger"])
