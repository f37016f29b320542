"""How long each page of the dashboard takes at 100,000 lists: the answer, and until a browser has drawn it.

    python benchmarks/dashboard.py [--quick] [--json FILE]

The store is that of the browser tests, 2,000 lists of ten days, copied into the years before with ids of their own. The
service runs beside its learner, as always. `first` is the first look at a page after the start, `again` the median of
five more, and `drawn` the first contentful paint in Chromium, `-` where there is no browser.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.e2e import dashboard_stores, serving  # noqa: E402

from dwell.server.dashboard.rendering import NAV  # noqa: E402 - the tests of this checkout come first
from dwell.storage import Store, open_store  # noqa: E402

BAR_S: Final = 0.3
N_LISTS: Final = 100_000
SPAN_S: Final = 864_000.0  # of the lists that are copied
AT_ONCE: Final = 1_000
LEARNER_S: Final = 120.0
MORE: Final = (
    "/dashboard/events/event-000100",
    "/dashboard/events?state=closed",
    "/dashboard/events?text=zanzibar%20question%201",
    "/dashboard/queries?against=previous",
    "/dashboard/activation/item?id=kb-1",
)


def grow(store: Path, n_lists: int) -> int:
    """Make a store of so many lists, and return how many there are."""
    n_base = min(n_lists, 2_000)
    n_copies = math.ceil(1.05 * n_lists / n_base) - 1  # those that are open are not copied
    dashboard_stores.many(store, n_base, ends_at=time.time() - n_copies * SPAN_S - 60.0)
    opened = open_store(str(store), role="owner")
    try:
        with opened.snapshot() as reader:
            seqs = reader.seqs(states=("closed",))
        for copy in range(1, n_copies + 1):
            for start in range(0, len(seqs), AT_ONCE):
                _copy(opened, seqs[start : start + AT_ONCE], copy)
        with opened.snapshot() as reader:
            return sum(n for state, n in reader.counts().items() if state in {"open", "closed", "reopened"})
    finally:
        opened.close()


def _copy(opened: Store, seqs: Sequence[int], copy: int) -> None:
    later = copy * SPAN_S
    with opened.transaction() as tx:
        outcomes = {outcome.seq: outcome for outcome in tx.outcomes(seqs)}
        signals = tx.signals(seqs)
        for impression in tx.impressions(seqs):
            event_id = f"{impression.event_id}-copy-{copy}"
            seq = tx.add_impression(
                replace(impression, event_id=event_id, served_at=impression.served_at + later, seq=0)
            )
            for signal in signals[impression.seq]:
                at, received_at = signal.at + later, signal.received_at + later
                tx.add_signal(seq, replace(signal, event_id=event_id, at=at, received_at=received_at))
            outcome = outcomes[impression.seq]
            closed_at = None if outcome.closed_at is None else outcome.closed_at + later
            tx.put_outcome(replace(outcome, seq=seq, closed_at=closed_at, version=1), expected_version=0)


def timed(found: serving.Service, path: str) -> float:
    """Return the seconds until a page's answer is read.

    Raises:
        SystemExit: It is no page.
    """
    began = time.perf_counter()
    status, _, _ = found.call("GET", path)
    took = time.perf_counter() - began
    if status != 200:
        raise SystemExit(f"dashboard: {path} answers {status}: {found.log()[-500:]}")
    return took


def drawn(url: str, paths: Sequence[str]) -> dict[str, float]:
    """Return the seconds to the first contentful paint of each page; nothing where there is no browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {}
    if chromium is None:
        return {}
    painted = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url + "/dashboard/login")  # files are kept from the first page on
        found = {}
        for path in paths:
            times = []
            for _ in range(3):
                page.goto(url + path, wait_until="load")
                page.wait_for_function(f"() => ({painted}) !== null", timeout=10_000)
                times.append(float(page.evaluate(painted)) / 1e3)
            found[path] = statistics.median(times)
        browser.close()
    return found


def main() -> int:
    """Print the times of every page, and whether the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4,000 lists: a smoke test")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    paths = [*(path for path, _ in NAV), *MORE]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "many.dwell"
        n = grow(store, 4_000 if asked.quick else N_LISTS)
        with serving.service(store, "--no-auth") as found:
            until = time.monotonic() + LEARNER_S
            while found.call("GET", "/readyz")[1].get("learner") != "up" and time.monotonic() < until:
                time.sleep(0.5)
            first = {path: timed(found, path) for path in paths}
            again = {path: statistics.median(timed(found, path) for _ in range(5)) for path in paths}
            seen = drawn(found.url, paths)
    print(f"# The dashboard at {n:,} lists\n\nPython {platform.python_version()}, {platform.machine()}.\n")
    print("| page | first, ms | again, ms | drawn, ms |\n|---|---|---|---|")
    for path in paths:
        paint = f"{1e3 * seen[path]:.0f}" if path in seen else "-"
        print(f"| `{path}` | {1e3 * first[path]:.0f} | {1e3 * again[path]:.0f} | {paint} |")
    slow = [path for path in paths if first[path] > BAR_S]
    verdict = "met" if not slow else f"**not met** by {', '.join(slow)}"
    print(f"\nThe bar is {1e3 * BAR_S:.0f} ms for the first answer: {verdict}.")
    if asked.json is not None:
        asked.json.write_text(json.dumps({"n": n, "first": first, "again": again, "drawn": seen}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
