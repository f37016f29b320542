"""Take the pictures of docs/dashboard.md: `python scripts/screenshots.py demo.dwell`, with playwright and a chromium.

The store is that of `dwell demo`, whose readers are simulated, so nothing in it is anybody's. Activation, which
the demo does not keep, is shown of the store of the browser tests.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "dashboard"
MOST_BYTES = 150_000
LEARNER_S = 60.0


class Picture(NamedTuple):
    """One picture: its name, the page, how wide and high, and the colour scheme."""

    name: str
    path: str
    size: tuple[int, int] = (1100, 780)
    scheme: str = "light"


SHOWN = (
    Picture("overview", "/"),
    Picture("overview-dark", "/", (1000, 700), "dark"),
    Picture("overview-narrow", "/", (360, 780)),
    Picture("params", "/dashboard/params"),
    Picture("decisions", "/dashboard/decisions"),
    Picture("buffer", "/dashboard/buffer"),
    Picture("queries", "/dashboard/queries"),
    Picture("events", "/dashboard/events"),
    Picture("event", "/dashboard/events/demo-005970", (1000, 860)),
    Picture("event-narrow", "/dashboard/events/demo-005970", (360, 780), "dark"),
    Picture("doctor", "/dashboard/doctor"),
)
OF_ITEMS = (Picture("activation", "/dashboard/activation/item?id=kb-1", (1100, 900), "dark"),)


def take(page: Page, picture: Picture, origin: str) -> None:
    """Write one picture.

    Raises:
        SystemExit: The page is wider than its window, or the picture too large to keep.
    """
    page.set_viewport_size({"width": picture.size[0], "height": picture.size[1]})
    page.emulate_media(color_scheme="dark" if picture.scheme == "dark" else "light", reduced_motion="reduce")
    page.goto(origin + picture.path, wait_until="networkidle")
    page.get_by_text("The doctor is looking").wait_for(state="hidden", timeout=1_000.0 * LEARNER_S)
    path = PICTURES / f"{picture.name}.png"
    page.screenshot(path=path)
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        raise SystemExit(f"screenshots: {picture.path} is wider than {picture.size[0]} px")
    if path.stat().st_size > MOST_BYTES:
        raise SystemExit(f"screenshots: {path.name} is larger than {MOST_BYTES:,} bytes")
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


def main() -> None:
    """Take every picture.

    Raises:
        SystemExit: No store was named.
    """
    if len(sys.argv) != 2:
        raise SystemExit("screenshots: name the store that `dwell demo` made")
    sys.path.insert(0, str(ROOT))
    from tests.e2e import dashboard_stores

    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "demo.dwell"
        for part in Path(sys.argv[1]).parent.glob(Path(sys.argv[1]).name + "*"):
            shutil.copy(part, copy.with_name("demo.dwell" + part.name.removeprefix(Path(sys.argv[1]).name)))
        take_all(copy, SHOWN)
        items = Path(folder) / "items.dwell"
        dashboard_stores.many(items)
        take_all(items, OF_ITEMS)


def take_all(store: Path, pictures: tuple[Picture, ...]) -> None:
    """Serve a store and take these pictures of it, once its learner has told how it is."""
    from tests.e2e import serving

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with serving.service(store, "--no-auth") as found, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(found.url + "/dashboard/queries")  # the newest lists are read by the second look
        until = time.monotonic() + LEARNER_S
        while time.monotonic() < until:
            page.goto(found.url + "/")
            if not page.get_by_text("The learner has not told").count():
                break
            page.wait_for_timeout(500)
        for picture in pictures:
            take(page, picture, found.url)
        browser.close()


if __name__ == "__main__":
    main()
