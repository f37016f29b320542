"""Archives on the command line: listed, checked, brought back, learned from, erased from, forgotten."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.storage.archive_places import archive_files

from .called import Run

PEPPER = "a pepper of these tests"
START = 1_700_000_000.0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder one is in, with a store whose events were archived, but for the last ten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DWELL_PEPPER", PEPPER)
    with dwell.open(
        tmp_path / "a.dwell", features=["x", "y"], weights={"x": 1.0, "y": 0.1}, pepper=PEPPER, retention_s=5_000.0,
        archive=tmp_path / "archive", attribution_window_s=100.0,
    ) as loop:  # fmt: skip
        for i in range(70):
            now = START + i + (6_000.0 if i >= 60 else 0.0)
            candidates = [{"id": f"d{j}", "x": float(i * j % 5), "y": float(j % 3)} for j in range(5)]
            served = loop.rank(f"q{i % 4}", candidates, user=f"u{i % 7}", event_id=f"e{i}", now=now)
            loop.feedback(served.event_id, "click", doc="d2", now=now + 1.0)
            if i == 60:
                loop.close_events(now=START + 200.0)
        loop.close_events(now=START + 6_200.0)
    return tmp_path


def as_json(dwell_: Run, *words: str) -> Any:
    done = dwell_(*words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_an_archive_is_listed_checked_and_brought_back(place: Path, dwell_: Run) -> None:
    parts = as_json(dwell_, "archive", "ls", "archive")["parts"]
    assert [(part["day"], part["first_seq"], part["last_seq"], part["n_rows"], part["n_users"]) for part in parts] == [
        ("2023-11-14", 1, 60, 60, 7)
    ]
    assert parts[0]["n_bytes"] == (place / "archive" / parts[0]["path"]).stat().st_size
    assert as_json(dwell_, "archive", "ls", "archive", "--days", "2023-11-13")["parts"] == []
    assert as_json(dwell_, "archive", "verify", "archive") == {"problems": []}
    erased = as_json(dwell_, "erase", "a.dwell", "--user", "u3", "--yes")
    assert erased["n_events"] == 10  # 9 of them in the archive: 3, 10, ..., 59
    brought = as_json(dwell_, "archive", "import", "a.dwell", "archive")
    assert brought == {"n_added": 51, "n_known": 0, "n_erased": 0}
    as_json(dwell_, "export", "a.dwell", "all.jsonl")
    assert len((place / "all.jsonl").read_text().splitlines()) == 60  # 51, and 9 of the ten that were there
    again = as_json(dwell_, "archive", "import", "a.dwell", "archive")
    assert again == {"n_added": 0, "n_known": 51, "n_erased": 0}


def test_what_is_wrong_is_told_and_the_command_fails(place: Path, dwell_: Run) -> None:
    path = archive_files(place / "archive")[0]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    done = dwell_("archive", "verify", "archive")
    assert done.code == 1
    assert path.name in done.out
    assert "1 things are wrong" in done.out


def test_it_is_learned_from_on_some_days(place: Path, dwell_: Run) -> None:
    told = as_json(
        dwell_, "train", "a.dwell", "--from-archive", "archive", "--days", "2023-11-14..2023-11-15", "--steps", "2"
    )
    assert (told["n_steps"], told["proposed"]["version"], told["decision"]["verdict"]) == (2, 1, "hold")
    assert 0 < told["n_learned_from"] < 60  # held-out users are not learned from


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("train", "a.dwell", "--days", "2023-11-14"), 2, "--from-archive"),
        (("train", "a.dwell", "--from-archive", "archive", "--days", "soon"), 1, "days"),
        (("train", "a.dwell", "--from-archive", "up/../archive"), 1, "archive"),
        (("archive", "ls", "a.dwell"), 1, "archive"),
        (("archive", "import", "none.dwell", "archive"), 1, "no store"),
        (("archive", "forget", "a.dwell", "elsewhere", "--yes"), 1, "never archived"),
    ],
)
def test_what_can_not_be_is_one_line(place: Path, words: tuple[str, ...], code: int, told: str, dwell_: Run) -> None:
    done = dwell_(*words)
    assert done.code == code
    assert told in done.err
    assert "Traceback" not in done.err


def test_an_archive_that_is_gone_is_waited_for_until_it_is_forgotten(place: Path, dwell_: Run) -> None:
    shutil.rmtree(place / "archive")
    done = dwell_("erase", "a.dwell", "--user", "u3", "--yes")
    assert done.code == 1
    assert "pending" in done.err
    assert "dwell archive forget" in done.err
    assert dwell_("archive", "forget", "a.dwell", "archive", "--yes").code == 0
    assert as_json(dwell_, "erase", "a.dwell", "--user", "u3", "--yes") == {"n_events": 0}


@pytest.mark.parametrize(
    "words",
    [
        ("archive", "ls", "arhcive"),
        ("archive", "verify", "arhcive"),
        ("archive", "import", "a.dwell", "arhcive"),
        ("train", "a.dwell", "--from-archive", "arhcive"),
        ("cluster", "job", "train", "a.dwell", "--from-archive", "arhcive"),
        ("cluster", "job", "evaluate", "a.dwell", "--from-archive", "arhcive", "--version", "1"),
    ],
)
@pytest.mark.usefixtures("place")
def test_a_folder_that_is_not_there_is_no_empty_archive(dwell_: Run, words: tuple[str, ...]) -> None:
    done = dwell_(*words)
    assert (done.code, done.out) == (1, "")
    assert "there is no such folder" in done.err


def test_a_pending_erasure_is_told_by_whoever_looks(place: Path, dwell_: Run) -> None:
    (place / "archive").rename(place / "away")
    assert "kept pending" in dwell_("erase", "a.dwell", "--user", "u3", "--yes").err
    doctor, health = (json.loads(dwell_(name, "a.dwell", "--json").out) for name in ("doctor", "health"))
    assert ("archive_erasures_pending", "critical") in [(one["code"], one["severity"]) for one in doctor["findings"]]
    assert "archive_erasures_pending" in [one["code"] for one in health["alerts"]]
    (place / "away").rename(place / "archive")
    as_json(dwell_, "erase", "a.dwell", "--user", "u3", "--yes")
    doctor, health = (json.loads(dwell_(name, "a.dwell", "--json").out) for name in ("doctor", "health"))
    told = [one["code"] for one in doctor["findings"] + health["alerts"]]
    assert "archive_erasures_pending" not in told
