"""Commands on a store in PostgreSQL: its URL in the place of a file, and no password in anything they print."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.storage.postgres_schema import VERSION

from ..canary import kept  # noqa: TID252 - tests are no installed package
from ..postgres import database, emptied_database, server  # noqa: TID252 - tests are no installed package

PEPPER = "a pepper of these tests"


@pytest.fixture
def url() -> Iterator[str]:
    with emptied_database() as found:
        yield found


def run(root: Path, *words: str, pepper: str | None = PEPPER) -> subprocess.CompletedProcess[str]:
    given = {} if pepper is None else {"DWELL_PEPPER": pepper}
    kept_out = {name: value for name, value in os.environ.items() if name != "DWELL_PEPPER"}
    done = subprocess.run(
        [sys.executable, "-m", "dwell", *words],
        env={**kept_out, "PYTHONPATH": str(root / "src"), **given},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    kept.hear(" ".join(words[:2]), done.stdout + done.stderr)
    return done


def as_json(root: Path, *words: str) -> Any:
    done = run(root, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_store_is_copied_looked_at_and_changed(root: Path, url: str, tmp_path: Path) -> None:
    path = str(tmp_path / "a.dwell")
    with dwell.open(path, features=["x"], weights={"x": 1.0}, pepper=PEPPER) as loop:
        for i in range(12):
            served = loop.rank("q", [{"id": "a", "x": 1.0}, {"id": "b", "x": 0.5}], user=f"u{i % 3}", now=1.7e9 + i)
            loop.feedback(served.event_id, "click", doc="a", now=1.7e9 + i + 1)
    copied = as_json(root, "db", "copy", path, url)
    assert (copied["n_rows"]["events"], copied["n_rows"]["signals"]) == (12, 12)
    assert copied["target"].startswith("postgresql://dwell@/")
    of_file, of_database = (as_json(root, "inspect", store) for store in (path, url))
    for found in (of_file, of_database):
        found["store"] = {
            name: v for name, v in found["store"].items() if name not in {"path", "size_bytes", "schema_version"}
        }
    assert of_file == of_database
    assert as_json(root, "doctor", url)["findings"] == as_json(root, "doctor", path)["findings"]
    assert as_json(root, "db", "upgrade", url)["schema_version"] == VERSION
    erased = run(root, "erase", url, "--user", "u1", "--yes")
    assert (erased.returncode, erased.stdout) == (0, "4 events erased\n")
    assert as_json(root, "inspect", url)["counts"]["erased_users"] == 1
    again = run(root, "db", "copy", path, url)
    assert (again.returncode, again.stdout) == (1, "")
    assert "holds something already" in again.stderr


def test_what_is_wrong_is_told_without_the_password(root: Path, url: str) -> None:
    for words in (
        ("inspect", server().url("postgres")),  # a database without a store
        ("inspect", server().url("nowhere")),
        ("db", "copy", url, url, url),  # wrong usage, which quotes the words
        ("health", url.replace("postgresql://dwell:", "postgresql://nobody:")),
    ):
        done = run(root, *words)
        assert done.returncode in {1, 2}, done.stdout
        assert "postgresql://" in done.stderr
        assert server().password not in done.stderr


@pytest.mark.parametrize("pepper", [None, "another one"])
def test_a_database_is_never_told_to_have_a_pepper_file(root: Path, url: str, pepper: str | None) -> None:
    dwell.open(url, features=["x"], weights={"x": 1.0}, pepper=PEPPER).close()
    refused = run(root, "inspect", url, pepper=pepper)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Set DWELL_PEPPER" in refused.stderr
    assert ".pepper" not in refused.stderr
    assert "pepper=" not in refused.stderr
    asked = run(root, "doctor", url, "--json", pepper=pepper)
    (found,) = json.loads(asked.stdout)["findings"]
    assert (asked.returncode, found["code"], found["severity"]) == (1, "pepper_missing", "critical")
    assert found["remedy"].startswith("Set DWELL_PEPPER")


def test_the_doctor_tells_of_a_database_that_does_not_answer(root: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listened on: refused at once, and nobody else can take it
        asked = run(root, "doctor", f"postgresql://dwell@127.0.0.1:{nobody.getsockname()[1]}/dwell", "--json")
    (found,) = json.loads(asked.stdout)["findings"]
    assert (asked.returncode, found["code"], found["severity"]) == (1, "store_unusable", "critical")
    assert "Check that the database runs" in found["remedy"]


def test_a_database_without_tables_says_who_makes_them(root: Path) -> None:
    refused = run(root, "inspect", database())
    assert refused.returncode == 1
    assert "`dwell serve STORE --features NAMES` makes the tables" in refused.stderr
