"""Files that others put into an archive, and values that no event can have: each is refused by name."""

import dataclasses
import os
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dwell
from dwell.errors import ArchiveError, PepperMismatch
from dwell.loop.archive_import import import_archive
from dwell.records import Signal
from dwell.storage.archive import read_archive
from dwell.storage.archive_parts import opened_part, written
from dwell.storage.archive_places import archive_files, tenant_folder
from dwell.storage.archive_rows import ArchivedEvent, schema, table_of
from dwell.storage.archive_verify import verify_archive

from .archives import archived, differing, everything

Open = Callable[..., dwell.Loop]
DAY = "day=2023-11-14"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def events(opened: Open, world: Any) -> list[ArchivedEvent]:
    """Return some events of a loop, with signals and embeddings."""
    loop = opened()
    for i in range(4):
        served = world.visit(loop)
        loop.feedback(served.event_id, "click", doc=served.ids[0], idempotency_key=f"k{i}", now=world.now)
        loop.rank("q", world.candidates(), k=3, query_embedding=[0.5, -1.0], event_id=f"m{i}", now=world.now)
    world.now += 200.0
    loop.close_events(now=world.now)
    return everything(loop)


def day_of(folder: Path) -> Path:
    day = tenant_folder(folder, "") / DAY
    day.mkdir(parents=True, exist_ok=True)
    return day


def planted(folder: Path, raw: bytes, *, first: int = 1, last: int = 8, digest: str | None = None) -> Path:
    """Put bytes where a part would stand, under the name that they would have."""
    name = digest or blake2b(raw, digest_size=16).hexdigest()
    path = day_of(folder) / f"part-{first}-{last}-{name}.parquet"
    path.write_bytes(raw)
    return path


def refused(folder: Path) -> ArchiveError:
    """Return why an archive can not be read; a check of it says the same."""
    with pytest.raises(ArchiveError) as caught:
        _read_all(folder)
    assert verify_archive(folder)
    return caught.value


def _read_all(folder: Path) -> None:
    archived(folder)
    list(read_archive(folder))


def parquet(table: pa.Table, metadata: dict[str, str] | None = None, **how: Any) -> bytes:
    """Return rows as bytes of Parquet, with what we write around them unless told otherwise."""
    sink = pa.BufferOutputStream()
    told = {"dwell.format": "1", "dwell.store": "s", "dwell.pepper": "p", "dwell.users": "00000000"}
    settings = {"compression": "zstd", "use_dictionary": False, "write_statistics": False, "store_schema": False} | how
    n_rows = settings.pop("row_group_size", None)
    with pq.ParquetWriter(sink, table.schema, **settings) as writer:
        writer.write_table(table, row_group_size=n_rows)
        writer.add_key_value_metadata(told if metadata is None else metadata)
    return bytes(sink.getvalue())


# ---- files


def test_what_is_written_is_read_and_found_sound(events: list[ArchivedEvent], folder: Path) -> None:
    written(day_of(folder), table_of(events), store="s", pepper="p")
    assert [differing(a, b) for a, b in zip(events, archived(folder), strict=True)] == [[]] * 8
    assert verify_archive(folder) == []


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "archive_schema"),
        (b"PAR1", "archive_schema"),
        (b"{}" * 40, "archive_schema"),
        (b"PAR1" + bytes(40) + (2**31 - 1).to_bytes(4, "little") + b"PAR1", "archive_too_large"),
        (b"PAR1" + bytes(40) + (20).to_bytes(4, "little") + b"PAR1", "archive_schema"),
    ],
)
def test_what_is_no_parquet_file_is_refused(folder: Path, raw: bytes, code: str) -> None:
    planted(folder, raw)
    assert refused(folder).code == code


@pytest.mark.parametrize("at", [4, 300, -20])
def test_one_changed_byte_is_found(events: list[ArchivedEvent], folder: Path, at: int) -> None:
    path = written(day_of(folder), table_of(events), store="s", pepper="p").path
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    assert refused(folder).code == "archive_digest"


def test_a_cut_part_is_found(events: list[ArchivedEvent], folder: Path) -> None:
    path = written(day_of(folder), table_of(events), store="s", pepper="p").path
    path.write_bytes(path.read_bytes()[:-100])
    assert refused(folder).code in {"archive_schema", "archive_too_large"}


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns(["body"]),
        lambda table: table.append_column("extra", pa.array([1] * len(table))),
        lambda table: table.rename_columns(["number", *table.column_names[1:]]),
        lambda table: table.set_column(0, "seq", table.column("seq").cast(pa.int32())),
        lambda table: table.set_column(19, "body", table.column("body").cast(pa.large_binary())),
        lambda table: table.select(list(reversed(table.column_names))),
    ],
    ids=["a column less", "a column more", "another name", "another width", "another kind", "another order"],
)
def test_other_columns_are_refused(events: list[ArchivedEvent], folder: Path, change: Any) -> None:
    planted(folder, parquet(change(table_of(events))))
    found = refused(folder)
    assert found.code == "archive_schema"
    assert "columns" in found.message


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"dwell.format": "2", "dwell.users": "00000000"},
        {"dwell.format": "1"},
        {"dwell.format": "1", "dwell.users": "zz"},
        {"dwell.format": "1", "dwell.users": "00"},
        {"dwell.format": "1", "dwell.users": "0123456700000000"},
    ],
)
def test_other_metadata_are_refused(events: list[ArchivedEvent], folder: Path, metadata: dict[str, str]) -> None:
    planted(folder, parquet(table_of(events), metadata))
    assert refused(folder).code == "archive_schema"


@pytest.mark.parametrize("how", [{"use_dictionary": True}, {"use_dictionary": ["query"]}, {"compression": "gzip"}])
def test_other_encodings_are_refused(events: list[ArchivedEvent], folder: Path, how: dict[str, Any]) -> None:
    planted(folder, parquet(table_of(events), **how))
    assert refused(folder).code == "archive_schema"


def test_a_small_file_that_unfolds_into_a_large_one_is_refused_before_it_does(
    events: list[ArchivedEvent], folder: Path
) -> None:
    """200 rows share a text of 1 MB: by a dictionary the file has some KB, and would take 200 MB."""
    table = pa.concat_tables([table_of(events[:1])] * 200)
    huge = pa.array(["x" * 1_000_000] * 200)
    bomb = table.set_column(5, schema().field("query"), huge)
    small = parquet(bomb, use_dictionary=["query"])
    assert len(small) < 1_000_000
    planted(folder, small)
    assert refused(folder).code == "archive_schema"
    archive_files(folder)[0].unlink()
    zeros = parquet(bomb)  # without one zstd does the same
    assert len(zeros) < 1_000_000
    path = planted(folder, zeros)
    peak = pa.total_allocated_bytes()
    assert refused(folder).code == "archive_too_large"
    assert pa.total_allocated_bytes() - peak < 50_000_000
    assert path.exists()


def test_a_footer_that_says_less_than_the_pages_hold_is_not_believed(events: list[ArchivedEvent], folder: Path) -> None:
    """4 rows share a text of 60 MB, and the footer is rewritten to tell of a kilobyte: Parquet would take 240 MB."""
    n, query = 60_000_000, schema().get_field_index("query")
    raw = parquet(
        pa.concat_tables([table_of(events[:1])] * 4).set_column(query, schema().field("query"), [["x" * n] * 4])
    )
    group = pq.ParquetFile(pa.BufferReader(raw)).metadata.row_group(0)
    start = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    footer = raw[start:-8]
    column = [group.column(j).path_in_schema for j in range(group.num_columns)].index("query")
    for size in (group.column(column).total_uncompressed_size, group.total_byte_size):
        number = varint(size, 0)
        assert footer.count(number) == 1
        footer = footer.replace(number, varint(1_000, len(number)))
    path = planted(folder, raw[:start] + footer + raw[-8:])
    before = pa.total_allocated_bytes()
    with opened_part(path) as part, pytest.raises(ArchiveError) as caught:
        part.group(0)
    assert caught.value.code == "archive_too_large"
    with opened_part(path) as part:
        assert part.group(0, ["seq"]).num_rows == 4  # what is asked for is no larger than it says
    assert pa.total_allocated_bytes() - before < 50_000_000
    assert refused(folder).code == "archive_too_large"


def varint(value: int, at_least: int) -> bytes:
    """Return a whole number as Thrift's compact protocol writes it, of at least so many bytes."""
    left, found = 2 * value, []
    while left or len(found) < max(at_least, 1):
        found.append(left & 127)
        left >>= 7
    return bytes([*(byte | 128 for byte in found[:-1]), found[-1]])


@pytest.mark.parametrize(
    "how", [{"column_encoding": {"query": "DELTA_BYTE_ARRAY"}}, {"data_page_version": "2.0"}], ids=["deltas", "v2"]
)
def test_pages_of_another_kind_are_refused(events: list[ArchivedEvent], folder: Path, how: dict[str, Any]) -> None:
    planted(folder, parquet(table_of(events), **how))
    assert refused(folder).code == "archive_schema"


def test_too_many_rows_at_once_are_refused(events: list[ArchivedEvent], folder: Path) -> None:
    planted(folder, parquet(pa.concat_tables([table_of(events)] * 200), row_group_size=1_600))
    assert refused(folder).code == "archive_too_large"


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    path = day_of(folder) / f"part-1-8-{'0' * 32}.parquet"
    os.mkfifo(path)
    assert refused(folder).code == "archive_link"
    with pytest.raises(ArchiveError), opened_part(path):
        pass


# ---- values


def with_impression(event: ArchivedEvent, **changes: Any) -> ArchivedEvent:
    return event._replace(impression=dataclasses.replace(event.impression, **changes))


def with_outcome(event: ArchivedEvent, **changes: Any) -> ArchivedEvent:
    return event._replace(outcome=dataclasses.replace(event.outcome, **changes))


def with_signal(event: ArchivedEvent, **changes: Any) -> ArchivedEvent:
    plain = {"event_id": event.impression.event_id, "name": "click", "doc": None, "value": 1.0, "at": 1.0}
    return event._replace(signals=(Signal(**{**plain, "received_at": 1.0, **changes}),))


def changed(values: Any, value: float) -> Any:
    found = np.array(values)
    found[0] = value
    return found


BAD: dict[str, tuple[str, Callable[[ArchivedEvent], ArchivedEvent]]] = {
    "event id with a blank": ("event_id", lambda e: with_impression(e, event_id="a b")),
    "query of 1 MB": ("query", lambda e: with_impression(e, query="x" * 1_000_000)),
    "query with NUL": ("query", lambda e: with_impression(e, query="a\0b")),
    "user with a control character": ("user", lambda e: with_impression(e, user="a\x1b")),
    "empty document id": ("served[0].id", lambda e: with_impression(e, served=("", *e.impression.served[1:]))),
    "more served than propensities": ("propensities", lambda e: with_impression(e, served=(*e.impression.served, "z"))),
    "propensity 0": (
        "propensities",
        lambda e: with_impression(e, propensities=changed(e.impression.propensities, 0.0)),
    ),
    "propensity NaN": (
        "propensities",
        lambda e: with_impression(e, propensities=changed(e.impression.propensities, np.nan)),
    ),
    "propensity 2": (
        "propensities",
        lambda e: with_impression(e, propensities=changed(e.impression.propensities, 2.0)),
    ),
    "inclusion below 0": ("inclusion", lambda e: with_impression(e, inclusion=changed(e.impression.inclusion, -0.5))),
    "score NaN": ("scores", lambda e: with_impression(e, scores=changed(e.impression.scores, np.nan))),
    "place beyond the candidates": (
        "document_scores",
        lambda e: with_impression(e, document_scores=changed(e.impression.document_scores, 99)),
    ),
    "feature inf": ("features", lambda e: with_impression(e, features=changed(e.impression.features, np.inf))),
    "features of other documents": ("features", lambda e: with_impression(e, features=e.impression.features[:-1])),
    "features without names": ("features", lambda e: with_impression(e, feature_names=("good",))),
    "temperature NaN": ("temperature", lambda e: with_impression(e, temperature=float("nan"))),
    "keep probability 0": ("keep_probability", lambda e: with_impression(e, keep_probability=0.0)),
    "spread below 0": ("score_sd", lambda e: with_impression(e, score_sd=-1.0)),
    "embedding NaN": (
        "query_embedding",
        lambda e: with_impression(e, query_embedding=np.array([np.nan], dtype=np.float32)),
    ),
    "version below 0": ("params_version", lambda e: with_impression(e, params_version=-1)),
    "unknown mode": ("body", lambda e: with_impression(e, mode="other")),
    "unknown state": ("state", lambda e: with_outcome(e, state="gone")),
    "reward 7": ("reward", lambda e: with_outcome(e, reward=7.0)),
    "priority NaN": ("priority", lambda e: with_outcome(e, priority=float("nan"))),
    "document reward NaN": (
        "document_rewards",
        lambda e: with_outcome(e, document_rewards=changed(e.outcome.document_rewards, np.nan)),
    ),
    "exposure below 0": ("exposure", lambda e: with_outcome(e, exposure=changed(e.outcome.exposure, -1.0))),
    "exposure of other documents": ("exposure", lambda e: with_outcome(e, exposure=e.outcome.exposure[:-1])),
    "signal NaN": ("signals.value", lambda e: with_signal(e, value=float("nan"))),
    "signal without a name": ("signals.name", lambda e: with_signal(e, name="")),
    "1,001 signals": ("signals", lambda e: e._replace(signals=e.signals * 1_001)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_no_event_can_be_is_refused_by_name(events: list[ArchivedEvent], folder: Path, name: str) -> None:
    field, change = BAD[name]
    planted(folder, parquet(table_of([change(events[0])])), last=1)
    found = refused(folder)
    assert (found.code, found.field) == ("archive_values", field)


@pytest.mark.parametrize(
    ("column", "value"),
    [("event_id", "other"), ("user", "0" * 32), ("user", None), ("query", "other"), ("params_version", 7)],
)
def test_columns_that_say_something_else_than_the_body_are_refused(
    events: list[ArchivedEvent], folder: Path, column: str, value: object
) -> None:
    """Erasure goes by the columns: whoever forged them could keep a user's events from it."""
    table = table_of(events)
    place = table.column_names.index(column)
    field = table.schema.field(column)
    values = [value, *table.column(column).to_pylist()[1:]]
    planted(folder, parquet(table.set_column(place, field, pa.array(values, field.type))))
    found = refused(folder)
    assert (found.code, found.field) == ("archive_values", column)


@pytest.mark.parametrize("body", [b"", b"\x01", bytes(64), b"\x01" + bytes(200)])
def test_a_body_that_is_none_is_refused(events: list[ArchivedEvent], folder: Path, body: bytes) -> None:
    table = table_of(events[:1])
    place = table.column_names.index("body")
    planted(folder, parquet(table.set_column(place, schema().field("body"), pa.array([body], pa.binary()))), last=1)
    assert refused(folder).code == "archive_values"


def test_a_part_that_hides_its_users_is_found_by_verifying(events: list[ArchivedEvent], folder: Path) -> None:
    planted(folder, parquet(table_of(events)))
    assert len(archived(folder)) == 8
    assert "erasure would pass it over" in verify_archive(folder)[0]


@pytest.mark.parametrize(("first", "last"), [(2, 8), (1, 9)])
def test_a_part_whose_name_tells_of_other_events_is_found(
    events: list[ArchivedEvent], folder: Path, first: int, last: int
) -> None:
    raw = written(day_of(folder), table_of(events), store="s", pepper="p").path.read_bytes()
    archive_files(folder)[0].unlink()
    planted(folder, raw, first=first, last=last)
    assert "its name tells of" in verify_archive(folder)[0]


def test_events_of_another_day_and_events_twice_are_found(events: list[ArchivedEvent], folder: Path) -> None:
    part = written(day_of(folder), table_of(events), store="s", pepper="p")
    other = day_of(folder).parent / "day=2023-11-15"
    other.mkdir()
    (other / part.path.name).write_bytes(part.path.read_bytes())
    assert "of another day" in verify_archive(folder)[0]
    (other / part.path.name).unlink()
    written(day_of(folder), table_of(events[2:]), store="t", pepper="p")
    problems = verify_archive(folder)
    assert "stands in" in problems[0]
    assert "parts of 2 stores" in problems[1]


# ---- bringing back


def test_events_come_back_as_they_were_under_new_numbers(opened: Open, world: Any, folder: Path) -> None:
    loop = opened("a.dwell", retention_s=500.0, archive=folder)
    for _ in range(12):
        world.visit(loop)
    loop.rank("later", world.candidates(), k=4, user="eve", event_id="deferred", activate=False, now=world.now)
    loop.activate("deferred", now=world.now + 1.0)
    loop.rank("never", world.candidates(), event_id="unseen", activate=False, now=world.now)
    world.now += 200.0
    loop.close_events(now=world.now)
    loop.feedback("event-00003", "click", doc=None, now=world.now)
    before = everything(loop)
    loop.close_events(now=world.now + 1_000.0)
    assert everything(loop) == []
    loop.close()
    loop = opened("a.dwell")
    loop.erase("user-2", now=world.now)
    found = import_archive(loop, folder)
    assert found == (13, 0, 0)
    after = everything(loop)
    kept = [one for one in before if one.impression.event_id != "event-00002"]
    assert [differing(a, b) for a, b in zip(kept, after, strict=True)] == [["seq", "seq"]] * 13
    assert [one.impression.seq for one in after] == list(range(15, 28))
    assert import_archive(loop, folder) == (0, 13, 0)
    assert loop.train(now=world.now + 2_000.0).n_closed == 0  # they are learned from again
    assert len(loop._state.replayed) == 12  # all but the one that nobody saw


def test_a_backup_of_an_archive_does_not_bring_an_erased_user_back(
    events: list[ArchivedEvent], opened: Open, world: Any, folder: Path
) -> None:
    from dwell.storage import fingerprint

    pepper = fingerprint(b"a pepper of these tests").hex()
    written(day_of(folder), table_of(events), store="s", pepper=pepper)
    loop = opened("b.dwell")
    loop.erase("user-0", now=world.now)
    assert import_archive(loop, folder) == (7, 0, 1)


def test_another_pepper_or_other_params_are_refused(events: list[ArchivedEvent], opened: Open, folder: Path) -> None:
    from dwell.storage import fingerprint

    written(day_of(folder), table_of(events), store="s", pepper="another")
    loop = opened("b.dwell")
    with pytest.raises(PepperMismatch):
        import_archive(loop, folder)
    archive_files(folder)[0].unlink()
    foreign = [with_impression(event, params_version=5) for event in events]
    written(day_of(folder), table_of(foreign), store="s", pepper=fingerprint(b"a pepper of these tests").hex())
    with pytest.raises(ArchiveError) as caught:
        import_archive(loop, folder)
    assert (caught.value.code, caught.value.field) == ("archive_foreign", "params_version")
    assert everything(loop) == []
