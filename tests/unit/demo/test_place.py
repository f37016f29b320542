"""The demo replaces what an earlier demo left, and nothing else."""

import os
import stat
from pathlib import Path

import pytest

import dwell
from dwell.demo.place import (
    GENERATOR,
    check_report,
    check_store,
    clear_store,
    kept_pepper,
    pepper_of,
    place_pepper,
    place_report,
)
from dwell.errors import ConfigError, PepperMismatch, StoreOwnedError


def make_demo(store: Path, seed: int = 0) -> None:
    dwell.open(store, features=["x"], pepper=place_pepper(store, seed)).close()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_demo_store_goes_with_everything_beside_it(tmp_path: Path) -> None:
    store = tmp_path / "demo.dwell"
    make_demo(store, seed=4)
    (tmp_path / "demo.dwell-wal").touch()
    (tmp_path / "demo.dwell.learner.lock").touch()  # where it was served
    (tmp_path / "demo.dwell.backup").touch()
    assert stat.S_IMODE((tmp_path / "demo.dwell.pepper").stat().st_mode) == 0o600
    clear_store(store)
    assert names(tmp_path) == {"demo.dwell.backup"}
    clear_store(store)  # nothing is there: nothing is done


def test_a_demo_store_that_is_kept_opens_with_the_pepper_beside_it(tmp_path: Path) -> None:
    store = tmp_path / "demo.dwell"
    with pytest.raises(ConfigError, match="no store of an earlier demo"):
        kept_pepper(store)
    place_pepper(store, 4)
    with pytest.raises(ConfigError, match="no store of an earlier demo"):  # only its pepper is left
        kept_pepper(store)
    (tmp_path / "demo.dwell.pepper").unlink()
    make_demo(store, seed=4)
    assert kept_pepper(store) == pepper_of(4)
    with dwell.open(store, pepper=kept_pepper(store)) as loop:
        assert loop.features == ("x",)


def test_the_commands_find_its_pepper(tmp_path: Path) -> None:
    store = tmp_path / "demo.dwell"
    make_demo(store)
    with dwell.open(store) as loop:
        assert loop.features == ("x",)
    (tmp_path / "demo.dwell.pepper").write_text("another")
    with pytest.raises(PepperMismatch):
        dwell.open(store)


def test_a_store_that_is_no_demos_is_refused_and_untouched(tmp_path: Path) -> None:
    store = tmp_path / "search.dwell"
    dwell.open(store, features=["x"]).close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="not made by the demo") as caught:
        clear_store(store)
    assert caught.value.field == "store"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("content", [b"", b"notes of mine", b"SQLite format 3\0"])
def test_any_other_file_is_refused(tmp_path: Path, content: bytes) -> None:
    store = tmp_path / "demo.dwell"
    store.write_bytes(content)
    with pytest.raises(ConfigError):
        clear_store(store)
    assert store.read_bytes() == content


def test_a_real_store_under_a_demos_pepper_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "mine.dwell"
    dwell.open(store, features=["x"]).close()
    pepper = tmp_path / "mine.dwell.pepper"
    pepper.write_text(pepper_of(0))
    with pytest.raises(ConfigError):
        clear_store(store)
    assert store.exists()


def test_what_a_crash_left_of_a_demo_is_cleared(tmp_path: Path) -> None:
    store = tmp_path / "demo.dwell"
    place_pepper(store, 1)
    (tmp_path / "demo.dwell.lock").touch()
    clear_store(store)
    assert names(tmp_path) == set()


def test_a_demo_that_is_open_elsewhere_stays(tmp_path: Path) -> None:
    store = tmp_path / "demo.dwell"
    with dwell.open(store, features=["x"], pepper=place_pepper(store, 0)), pytest.raises(StoreOwnedError):
        clear_store(store)
    assert store.exists()


def test_links_and_folders_are_refused(tmp_path: Path) -> None:
    real = tmp_path / "real.dwell"
    make_demo(real)
    link = tmp_path / "link.dwell"
    link.symlink_to(real)
    (tmp_path / "link.dwell.pepper").write_bytes((tmp_path / "real.dwell.pepper").read_bytes())
    with pytest.raises(ConfigError):
        check_store(link)
    with pytest.raises(ConfigError):
        check_store(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        check_store(tmp_path / "absent" / "demo.dwell")
    assert real.exists()


def test_a_report_replaces_a_report_only(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    check_report(report)
    place_report(report, f'<meta name="generator" content="{GENERATOR}">one')
    check_report(report)
    place_report(report, f'<meta name="generator" content="{GENERATOR}">two')
    assert report.read_text().endswith("two")
    assert names(tmp_path) == {"report.html"}
    report.write_text("a page of mine")
    with pytest.raises(ConfigError, match="not made by the demo"):
        check_report(report)
    for place in (tmp_path, tmp_path / "absent" / "report.html"):
        with pytest.raises(ConfigError, match="can not be put there"):
            check_report(place)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_report_that_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="denied"):
        place_report(tmp_path / "report.html", "x")
    assert names(tmp_path) == set()
