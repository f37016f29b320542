"""The n-th system call fails: what was acknowledged is there, what was refused was told so, and the process goes on.

Calls fail by `strace -e inject`, on the files of one store, counted per thread: small numbers fail while the store is
opened or made, and every number also fails in the thread that writes. `DWELL_FAULTS=20` fails each of the first 20.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import faulty_child
import loop_child
import pytest
from children import Nursery
from ledger import Ledger
from tracing import run_failing

import dwell
from dwell.storage import open_store

pytestmark = pytest.mark.crash

N_FAULTS = int(os.environ.get("DWELL_FAULTS", "0"))
N_EVENTS = 12
REMEDIES = ("Free space on the disk", "Check the disk", "kernel log", "Check that the folder exists", "permissions")


def numbers(call: str, few: tuple[int, ...]) -> list[int]:
    """Return these few calls, or with DWELL_FAULTS so many of the first ones: each, or every ninth write."""
    step = 9 if call == "pwrite64" else 1  # making a store takes 90 of them, a commit about 14
    return list(range(1, N_FAULTS * step + 1, step)) if N_FAULTS else list(few)


def judge(path: Path, lines: list[str], ledger: Ledger) -> tuple[list[str], list[str]]:
    """Demand that a child was told the truth, and return what it was refused: while it opened, and then.

    The store is opened as any owner would, and everything in it is compared.
    """
    refused = [line for line in lines if line.startswith("!")]
    assert not any(line.startswith(("! rank", "! close")) for line in refused), refused
    for line in refused:
        # a list that could not be recorded was served; its click waits for it for a day, and says so
        assert any(remedy in line for remedy in REMEDIES) or " orphan: unknown_event" in line, line
    ledger.took([line for line in lines if not line.startswith("!") and line != "closed"])
    ledger.n_refused += len(refused)
    dwell.open(path, features=loop_child.FEATURES).close()
    store = open_store(str(path), role="reader")
    ledger.checked = 0
    ledger.check(store, everything=True)
    store.close()
    ledger.acknowledged.clear()
    opening = [line for line in refused if line.startswith("! open")]
    return opening, refused[len(opening) :]


def told(ledger: Ledger, what: str) -> None:
    print(ledger.told(what) + f"; {ledger.n_refused} answers said what had failed")
    ledger.demand_nothing_wrong()
    assert ledger.n_lost == 0
    assert ledger.n_refused > 0, "nothing failed: nothing was tested"


@pytest.mark.parametrize(
    ("call", "error", "few"),
    [
        ("fdatasync", "EIO", (1, 6)),
        ("pwrite64", "ENOSPC", (1, 47, 80)),
        ("pwrite64", "EIO", (30, 120)),
        ("ftruncate", "EIO", (1, 2)),
        ("unlink", "EIO", (1, 2)),
        ("openat", "EMFILE", (4,)),
    ],
)
def test_one_call_that_fails_is_told_and_gone(
    tmp_path: Path, root: Path, call: str, error: str, few: tuple[int, ...]
) -> None:
    ledger = Ledger()
    for n in numbers(call, few):
        path = tmp_path / f"s{n}"
        lines = run_failing(root, path, call, f"error={error}", str(n), 0, N_EVENTS)
        opening, later = judge(path, lines, ledger)
        # The second try opens it, and one failure in the thread that writes refuses what shares its commit, no more
        assert len(opening) <= 1, opening
        assert len(later) <= 2, later
        assert lines[-1] == "closed"
        assert not lines[-2].startswith("!") or n > 10, "it did not go on after the failure"
    told(ledger, f"times the n-th {call} failed with {error}")


@pytest.mark.parametrize(
    ("call", "error", "few"),
    [("fdatasync", "EIO", (6, 11)), ("pwrite64", "ENOSPC", (101,)), ("pwrite64", "EIO", (130,))],
)
def test_a_disk_that_fails_for_good_loses_nothing_acknowledged(
    tmp_path: Path, root: Path, call: str, error: str, few: tuple[int, ...]
) -> None:
    ledger = Ledger()
    for n in numbers(call, few):
        path = tmp_path / f"s{n}"
        lines = run_failing(root, path, call, f"error={error}", f"{n}+", 0, N_EVENTS)
        _, later = judge(path, lines, ledger)
        first = next((i for i, line in enumerate(lines) if line.startswith("! run")), len(lines))
        assert set(lines[first:]) <= {*later, "closed"}, "something was acknowledged by a disk that keeps nothing"
    told(ledger, f"disks on which every {call} from the n-th on failed with {error}")


@pytest.mark.parametrize(
    ("call", "few"), [("fdatasync", (2, 4, 9)), ("pwrite64", (5, 40, 100)), ("unlink", (1, 2)), ("ftruncate", (2,))]
)
def test_kill9_at_the_nth_call_loses_nothing(tmp_path: Path, root: Path, call: str, few: tuple[int, ...]) -> None:
    """Not at a random moment but in each of the places where files are half changed, those of making a store first."""
    ledger = Ledger()
    for n in numbers(call, few):
        path = tmp_path / f"s{n}"
        lines = run_failing(root, path, call, "signal=KILL", str(n), 0, N_EVENTS)
        judge(path, lines, ledger)
        ledger.n_refused += lines[-1:] != ["closed"]
    told(ledger, f"kills at the n-th {call}")


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory, root: Path) -> tuple[Path, list[str]]:
    """Return a store with a journal that nobody has folded in, and what was acknowledged of it."""
    folder = tmp_path_factory.mktemp("crashed")
    nursery = Nursery(root, folder)
    child = nursery.start("loop_child", folder / "s", 0)
    lines = child.until_open()
    lines += [child.line() for _ in range(30)]
    lines += child.ended()[1]
    nursery.close()
    assert (folder / "s-wal").stat().st_size > 100_000
    return folder / "s", lines


def copied(store: Path, folder: Path) -> Path:
    """Return a copy of a store with all that stands beside it, but for the memory that readers shared."""
    folder.mkdir()
    for path in store.parent.glob("s*"):
        if path.suffix != ".so" and not path.name.endswith("-shm"):
            shutil.copy2(path, folder / path.name)
    return folder / "s"


def bytes_of(store: Path) -> list[bytes]:
    """Return the content of a store's database and journal, "" for one that is not there."""
    return [path.read_bytes() if path.exists() else b"" for path in (store, store.with_name(f"{store.name}-wal"))]


@pytest.mark.parametrize(
    ("call", "error", "few"),
    [
        ("pread64", "EIO", (4,)),
        ("pwrite64", "ENOSPC", (2,)),
        ("ftruncate", "EIO", (2,)),
        ("openat", "EIO", (5,)),
    ],
)
def test_a_failure_during_recovery_is_told_and_the_second_try_works(
    tmp_path: Path, root: Path, crashed: tuple[Path, list[str]], call: str, error: str, few: tuple[int, ...]
) -> None:
    ledger = Ledger()
    n_unopened = n_unchanged = 0
    for n in numbers(call, few):
        # For good first: it can not be opened, and nothing of it goes
        path = copied(crashed[0], tmp_path / f"for-good-{n}")
        before = bytes_of(path)
        lines = run_failing(root, path, call, f"error={error}", f"{n}+", 1, 0, 1)
        if "open" not in lines:
            n_unopened += 1
            n_unchanged += bytes_of(path) == before  # else it failed after the recovery, and closing folded that in
        judge(path, [*crashed[1], *lines], ledger)
        # Once: the second try of the same process recovers it
        path = copied(crashed[0], tmp_path / f"once-{n}")
        lines = run_failing(root, path, call, f"error={error}", str(n), 1, N_EVENTS)
        opening, later = judge(path, [*crashed[1], *lines], ledger)
        assert len(opening) <= 1, opening
        assert len(later) <= 2, f"it did not go on after the failure: {later}"
        assert lines[-1] == "closed"
    told(ledger, f"recoveries in which the n-th {call} failed with {error}, once or for good")
    print(f"{n_unopened} could not be opened meanwhile; of those {n_unchanged} stayed as they were, byte by byte")
    assert n_unchanged > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 16 MB of its own: a journal of 4 MB is usual."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a full disk needs a file system of its own: there is no mount")
    if mounted.returncode != 0:
        pytest.skip(f"a full disk needs a file system of its own: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(path: Path) -> None:
    """Write a file until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4_096)
        except OSError:
            pass


def test_a_full_disk_is_told_and_the_same_process_goes_on_when_there_is_space(small_disk: Path) -> None:
    ledger = Ledger()
    path = small_disk / "s"
    refused = []
    n_resumed = 0
    with dwell.open(path, features=loop_child.FEATURES) as loop:
        for i in range(600):
            event_id = f"run0-thread0-{i}"
            if i == 100:
                fill(small_disk / "ballast")
            if len(refused) == 40:
                (small_disk / "ballast").unlink(missing_ok=True)
            answers = {answer.status: answer for answer in loop_child.serve(loop, event_id)}
            if answers.keys() <= {"joined", "late"}:
                ledger.took([event_id])
                n_resumed += len(refused) >= 40
            else:
                refused.append(next(answer for status, answer in answers.items() if status != "joined"))
            assert faulty_child.is_served(loop, f"run0-probe0-{i}"), "a search was not served"
            if n_resumed == 60:
                break
        reasons = {(answer.reason or "").split(":")[0] for answer in refused}
        assert any("Free space on the disk" in (answer.reason or "") for answer in refused)
        assert reasons <= {"storage", "unknown_event"}, reasons
        assert n_resumed == 60, "it did not go on by itself"
    store = open_store(str(path), role="reader")
    ledger.check(store, everything=True)
    store.close()
    ledger.n_runs = 1
    print(ledger.told("full disk") + f"; {len(refused)} refused while it was full, {n_resumed} taken after")
    ledger.demand_nothing_wrong()
    assert ledger.n_lost == 0


def test_a_store_on_a_full_disk_is_left_as_it_is_and_opens_when_there_is_space(
    small_disk: Path, crashed: tuple[Path, list[str]], nursery: Callable[..., Nursery]
) -> None:
    path = copied(crashed[0], small_disk / "of-ours")
    fill(path.with_name("ballast"))
    before = bytes_of(path)
    with pytest.raises(dwell.errors.StorageError, match=r"Free space|Check the disk"):
        dwell.open(path, features=loop_child.FEATURES)
    assert bytes_of(path) == before
    path.with_name("ballast").unlink()
    ledger = Ledger()
    judge(path, crashed[1], ledger)
    ledger.demand_nothing_wrong()
    assert ledger.n_lost == 0
