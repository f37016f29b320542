"""What retention removes is archived in Parquet."""

from pathlib import Path

import dwell

settings = {
    "features": ["good"],
    "attribution_window_s": 60.0,
    "retention_s": 3_600.0,
    "archive": "archive",
    "pepper": "p",
}
with dwell.open("s.dwell", **settings) as loop:  # type: ignore[arg-type]
    for i in range(20):
        loop.rank("q", [{"id": "a", "good": 1.0}, {"id": "b", "good": 0.0}], user=f"u{i}", now=1_700_000_000.0 + i)
    loop.close_events(now=1_700_000_400.0)
    loop.close_events(now=1_700_010_000.0)
    assert loop.counts["archived"] == 20
print(f"{len(list(Path('archive').rglob('*.parquet')))} part of Parquet")
