"""One byte of the database file is flipped: it is refused by name, or everything reads as it was written.

`DWELL_FLIPS=500` flips that many, one at a time.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import flips
import pytest
import store_target
from children import environment_of

pytestmark = pytest.mark.crash

N_FLIPS = int(os.environ.get("DWELL_FLIPS", "60"))
SEED = 5


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    store_target.make(folder)
    assert sorted(path.name for path in folder.iterdir() if path.stat().st_size) == [store_target.FILE]
    return folder


def test_a_flipped_byte_is_refused_or_harmless(tmp_path: Path, root: Path, whole: Path) -> None:
    size = (whole / store_target.FILE).stat().st_size
    tried = flips.drawn(size, N_FLIPS, SEED)
    # and each byte that says what the file is: magic, page size, versions, schema
    tried += [flips.Flip(offset, 1 << offset % 8) for offset in range(0, 100, max(1, 1_000 // N_FLIPS))]
    verdicts = flips.judged("store_target", whole, tmp_path / "work", tried, environment_of(root))
    print("\n" + flips.told(verdicts) + f", in a file of {size} bytes")
    assert len(verdicts) == len(tried)
    unsaid = [verdict for verdict in verdicts if verdict.kind not in {"read", "verify", "harmless"}]
    assert unsaid == []
    assert all(verdict.words for verdict in verdicts if verdict.kind != "harmless")
    assert sum(verdict.kind != "harmless" for verdict in verdicts) > N_FLIPS // 2, (
        "nothing was read: nothing was tested"
    )


def without_checksums(whole: Path, folder: Path) -> Path:
    """Return a file of the same content as any SQLite would make it."""
    folder.mkdir()
    plain = apsw.Connection(str(folder / store_target.FILE))
    plain.execute("ATTACH ? AS whole", (str(whole / store_target.FILE),))
    made = plain.execute("SELECT type, name, sql FROM whole.sqlite_master WHERE sql IS NOT NULL").fetchall()
    for kind, name, sql in sorted(made, key=lambda row: ("table", "index", "trigger").index(row[0])):
        plain.execute(sql)
        if kind == "table":
            plain.execute(f"INSERT INTO main.{name} SELECT * FROM whole.{name}")
    for setting in ("application_id", "user_version"):
        plain.pragma(setting, plain.pragma(setting, schema="whole"), schema="main")
    plain.execute("DETACH whole")
    plain.pragma("journal_mode", "wal")
    plain.close()
    return folder / store_target.FILE


def test_without_checksums_a_flipped_byte_can_go_unnoticed(tmp_path: Path, root: Path, whole: Path) -> None:
    """The control, and what a store is worth that was made where the checksums' extension was not there."""
    content = without_checksums(whole, tmp_path / "plain").read_bytes()
    assert content[20] == 0, "the file has checksums"
    # "blick" is no signal that counts; some of the places found are copies that SQLite left behind
    changed = [flips.Flip(c.start() + 16, 1) for c in re.finditer(rb"[0-9a-f]{16}clickkb-", content)][::60]
    verdicts = flips.judged("store_target", tmp_path / "plain", tmp_path / "work", changed, environment_of(root))
    print(f"\nwithout checksums, the names of signals: {flips.told(verdicts)}")
    assert any(verdict.kind == "silent" for verdict in verdicts)


WITHOUT_EXTRAS = """
import sys
sys.modules["apsw.sqlite_extra"] = None  # as in an apsw that was built without its extras
from dwell.errors import StorageError
from dwell.storage import open_store
guarded, plain = sys.argv[1:]
for role in ("owner", "admin"):
    try:
        open_store(guarded, role=role)
    except StorageError as error:
        print(role, error.code)
with open_store(guarded, role="reader").snapshot() as reader:
    print("reader", reader.last_seq())
open_store(plain).close()
print("plain", open_store(plain).verify())
"""


def test_without_the_extension_a_store_with_checksums_is_read_and_never_written(
    tmp_path: Path, root: Path, whole: Path
) -> None:
    shutil.copytree(whole, tmp_path / "s")
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, str(tmp_path / "s" / store_target.FILE), str(tmp_path / "plain")],
        capture_output=True,
        text=True,
        env=environment_of(root, PYTHONWARNINGS="ignore"),
        check=True,
    )
    n_events = 251  # 250 visits and the one list that was logged beside them
    assert found.stdout.splitlines() == ["owner no_checksums", "admin no_checksums", f"reader {n_events}", "plain []"]
    assert (tmp_path / "plain").read_bytes()[20] == 0
    assert (tmp_path / "s" / store_target.FILE).read_bytes() == (whole / store_target.FILE).read_bytes()
