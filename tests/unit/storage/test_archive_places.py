"""Where archived events stand, and what is no place for them."""

from datetime import date
from pathlib import Path
from urllib.parse import unquote

import pytest

from dwell.errors import ArchiveError, ConfigError
from dwell.storage.archive_places import (
    archive_files,
    archive_folder,
    days_between,
    part_of,
    parts_of,
    tenant_folder,
    utc_day,
)

DIGEST = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "tenant", ["", "shop", "..", "../../etc", "a/b", "a%2Fb", "ü\u4e2d", "a~b", "C:\\x", "=", "x" * 200]
)
def test_a_tenant_is_one_level_below_its_archive_and_can_be_told_again(tenant: str) -> None:
    folder = tenant_folder(Path("/archive"), tenant)
    assert folder.parent == Path("/archive")
    assert len(folder.name.encode()) <= 255
    assert unquote(folder.name) == f"tenant={tenant}"


def test_long_names_are_cut_and_stay_apart() -> None:
    names = ["\u4e2d" * 170 + end for end in ("", "a", "b")]
    folders = {tenant_folder(Path("/archive"), name).name for name in names}
    assert len(folders) == 3
    assert all(len(name) <= 255 and name.isascii() for name in folders)


@pytest.mark.parametrize(
    ("served_at", "day"),
    # 2000-02-29 is 11,016 days after the epoch: 30 years of 365 days, 7 leap days, 31 + 28 days of that year
    [(0.0, "1970-01-01"), (86_399.999999, "1970-01-01"), (86_400.0, "1970-01-02"), (11_016 * 86_400.0, "2000-02-29")],
)
def test_days_are_those_of_utc(served_at: float, day: str) -> None:
    assert utc_day(served_at).isoformat() == day


def test_days_are_written_with_both_ends() -> None:
    first, last = date(2026, 1, 31), date(2026, 2, 28)
    assert days_between("2026-01-31..2026-02-28") == (first, last)
    assert days_between("2026-01-31") == (first, first)


@pytest.mark.parametrize("text", ["", "..", "2026-02-30", "2026-01-31..", "2026-02-02..2026-02-01", "yesterday"])
def test_other_days_are_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        days_between(text)
    assert caught.value.field == "days"


@pytest.mark.parametrize("given", ["", None, 7, True, b"x", "a\0b", "a/../b", "../up"])
def test_what_is_no_folders_path_is_refused_by_name(given: object) -> None:
    with pytest.raises(ConfigError) as caught:
        archive_folder(given, "store.archive")
    assert caught.value.field == "store.archive"


def test_a_link_or_a_file_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for name in ("file", "link"):
        with pytest.raises(ConfigError):
            archive_folder(tmp_path / name)
    assert archive_folder(tmp_path / "there") == tmp_path / "there"
    assert archive_folder(tmp_path / "not yet").is_absolute()


def put(folder: Path, day: str, name: str) -> Path:
    path = tenant_folder(folder, "") / f"day={day}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_parts_come_by_day_and_seq_and_side_files_are_none(tmp_path: Path) -> None:
    paths = [
        put(tmp_path, day, f"part-{first}-{first + 5}-{DIGEST}.parquet")
        for day, first in (("2026-01-02", 9), ("2026-01-01", 100), ("2026-01-02", 10), ("2026-01-03", 1))
    ]
    put(tmp_path, "2026-01-01", ".tmp-1")
    (tenant_folder(tmp_path, "") / "_dwell.json").write_text("{}")
    assert archive_files(tmp_path) == [paths[1], paths[0], paths[2], paths[3]]
    assert archive_files(tmp_path, days=days_between("2026-01-02")) == [paths[0], paths[2]]
    assert archive_files(tmp_path, tenant="other") == []
    assert parts_of(tmp_path)[1][1:] == (date(2026, 1, 2), 9, 14, DIGEST)


@pytest.mark.parametrize(
    "name",
    [
        "part-1-2.parquet",
        f"part-2-1-{DIGEST}.parquet",
        f"part-0-1-{DIGEST}.parquet",
        f"part-1-{2**63}-{DIGEST}.parquet",
        f"part-1-2-{DIGEST.upper()}.parquet",
        f"part-1-2-{DIGEST}.parquet.bak",
        "notes.txt",
    ],
)
def test_what_is_not_named_as_a_part_is_refused_by_name(tmp_path: Path, name: str) -> None:
    put(tmp_path, "2026-01-01", name)
    with pytest.raises(ArchiveError) as caught:
        archive_files(tmp_path)
    assert (caught.value.code, caught.value.field) == ("archive_name", "path")
    assert name in str(caught.value.value)


def test_a_day_that_is_none_is_refused() -> None:
    with pytest.raises(ArchiveError):
        part_of(Path(f"/a/tenant=/day=2026-02-30/part-1-2-{DIGEST}.parquet"))


@pytest.mark.parametrize("where", ["tenant", "day", "part"])
def test_links_are_not_followed(tmp_path: Path, where: str) -> None:
    elsewhere = put(tmp_path / "elsewhere", "2026-01-01", f"part-1-2-{DIGEST}.parquet")
    archive = tmp_path / "archive"
    root = tenant_folder(archive, "")
    link, target = {
        "tenant": (root, elsewhere.parent.parent),
        "day": (root / "day=2026-01-01", elsewhere.parent),
        "part": (root / "day=2026-01-01" / elsewhere.name, elsewhere),
    }[where]
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    with pytest.raises(ArchiveError) as caught:
        archive_files(archive)
    assert caught.value.code == "archive_link"
