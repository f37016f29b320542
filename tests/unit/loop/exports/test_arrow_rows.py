"""The columns of Arrow and Parquet are those that their page documents, one by one."""

import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

import dwell
from dwell.loop.exports.arrow_rows import SCHEMA_VERSION, arrow_schema

PAGE = Path(__file__).resolve().parents[4] / "docs" / "exports.md"


def fields(schema: Any, prefix: str = "") -> list[tuple[str, str, str]]:
    """Return name, type and nullability of every field, those of structs below their list."""
    found = []
    for field in schema:
        kind, has_structs = field.type, pa.types.is_list(field.type) and pa.types.is_struct(field.type.value_type)
        words = "list of struct" if has_structs else str(kind)
        found.append((f"{prefix}{field.name}", words, "yes" if field.nullable else "no"))
        if has_structs:
            found += fields(kind.value_type, f"{field.name}.")
    return found


def test_every_field_stands_on_the_page_as_it_is() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| ([^|]+) \| (yes|no) \| \S", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == fields(arrow_schema())


def test_the_page_names_the_format_and_the_metadata_the_version() -> None:
    assert f"Format {SCHEMA_VERSION}." in PAGE.read_text(encoding="utf-8")
    assert arrow_schema().metadata == {b"dwell.version": dwell.__version__.encode(), b"dwell.export": b"1"}
    assert metadata.version("dwell") == dwell.__version__
