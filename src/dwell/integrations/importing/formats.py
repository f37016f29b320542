"""The formats of logs, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dwell.integrations.importing.algolia import ALGOLIA
from dwell.integrations.importing.jsonl import JSONL
from dwell.integrations.importing.metarank import METARANK
from dwell.integrations.importing.open_bandit import OPEN_BANDIT
from dwell.integrations.importing.parquet import PARQUET
from dwell.integrations.importing.reading import Format
from dwell.integrations.importing.tables import CSV
from dwell.integrations.importing.vowpal import VW_DSJSON, VW_TEXT

__all__ = ["FORMATS", "TABLES"]

FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "algolia": ALGOLIA,
        "csv": CSV,
        "jsonl": JSONL,
        "metarank": METARANK,
        "open-bandit": OPEN_BANDIT,
        "parquet": PARQUET,
        "vw-dsjson": VW_DSJSON,
        "vw-text": VW_TEXT,
    }
)
TABLES: Final = frozenset({"csv", "parquet"})  # whose columns can be named
