"""Ten times as much as can be answered, for a moment: what `benchmarks/service.py overload` measures at length.

Rates are not judged here, for others share the machine. What holds at any rate: every arrival is answered, a refusal
says when to come again, memory is bounded, and what was acknowledged is in the store, once.
"""

import sys
from pathlib import Path
from typing import Any

from .serving import ROOT, service

sys.path.insert(0, str(ROOT / "benchmarks"))

from _service_flood import Flooder
from _service_load import Loader
from _service_overload import OverloadSize, overload_report, overloaded, rankings, reactions, served

FEATURES = ("good", "noise")
SIZE = OverloadSize(1, 100, 200, 1.0, 600)
LIMIT = {"DWELL_SERVE__MAX_IN_FLIGHT": "64", "DWELL_SERVE__TRAIN_EVERY_S": "3600.0"}
MOST_GROWTH = 60_000_000


def bodies() -> list[dict[str, Any]]:
    candidates = [{"id": f"d{i}", "good": i / 20, "noise": 0.5} for i in range(20)]
    return [{"query": f"q{i}", "candidates": candidates, "user": f"u{i}"} for i in range(20)]


def test_a_flood_is_refused_in_part_and_harms_nothing(tmp_path: Path) -> None:
    store = tmp_path / "s.dwell"
    with (
        service(store, "--features", ",".join(FEATURES), "--no-auth", environment=LIMIT) as found,
        Loader() as loader,
        Flooder() as flooder,
    ):
        lists = served(loader, found.url, bodies(), None, SIZE.n_lists)
        for kind in (reactions(lists, None, str(store)), rankings(bodies(), None, str(store))):
            result = overloaded(found.url, found.process.pid, loader, flooder, kind, SIZE)
            told = "\n".join(overload_report([result], SIZE))
            (only,) = result.rounds
            assert only.n_wrong == 0, told
            assert only.n_refused > 0, "there was no flood to speak of"
            assert (result.n_missing, result.n_twice) == (0, 0), told
            assert result.n_acknowledged > 100, told
            assert only.most_bytes - result.start_bytes < MOST_GROWTH, told
        refused = found.call("GET", "/metrics")[1].decode()
        assert 'dwell_http_requests_total{route="/v1/rank",status="503"}' in refused
        assert found.stop() == 0
