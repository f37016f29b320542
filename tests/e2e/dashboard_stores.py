"""Stores to look at the dashboard with: nothing served, one list, many with all that pages tell, and hostile text."""

import time
from pathlib import Path
from typing import Any

import numpy as np

import dwell

FEATURES = ("good", "bad", "noise")
CANARY = "zanzibar"  # stands in every query of `many`, and nowhere else
HOSTILE = (
    "<script>window.__hit=1</script>",
    '"><script>window.__hit=1</script>',
    "'\"><img src=x onerror=window.__hit=1>",
    "<svg onload=window.__hit=1>",
    "</title><script>window.__hit=1</script>",
    "</textarea><script>window.__hit=1</script>",
    "<!--<script>window.__hit=1//-->",
    "javascript:window.__hit=1",
    "{{ 7*7 }}{% for x in [1] %}${7*7}",
    "<a hx-get=/evil hx-trigger=load>x</a>",
    '" hx-get="/evil" hx-trigger="load" x="',
    "' hx-on:load='window.__hit=1' x='",
    "<style>body{display:none}</style>",
    "<iframe src=javascript:window.__hit=1></iframe>",
    "<form action=//evil.example><input name=csrf></form>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "\u202egnirts\u2066 \u200bzero\ufeff",
    "&lt;script&gt;window.__hit=1&lt;/script&gt;",
    "<dwell-chart data-chart='{\"x\":1}'></dwell-chart><div id=live hx-swap-oob=true>",
)


def opened(store: Path, **more: Any) -> dwell.Loop:
    """Open a store as these tests have it."""
    given: dict[str, Any] = {"features": list(FEATURES), "durability": "relaxed", **more}
    return dwell.open(store, **given)


def empty(store: Path) -> None:
    """Make a store in which nothing was served."""
    opened(store).close()


def one(store: Path) -> None:
    """Make a store with one list that nobody reacted to yet."""
    with opened(store, weights={"good": 1.0, "bad": -1.0, "noise": 0.0}) as loop:
        loop.rank("first", [{"id": "a", "good": 1.0, "bad": 0.0, "noise": 0.5}], event_id="only-one", user="u")


def many(store: Path, n: int = 2_000, *, ends_at: float | None = None) -> None:
    """Make a store of n lists over ten days, with reactions, versions, a proposal, quarantine and orphans.

    Args:
        store: Where.
        n: Lists.
        ends_at: When the last one was served, UTC epoch seconds; now when not given.
    """
    rng = np.random.default_rng(11)
    now = time.time() if ends_at is None else ends_at
    began, step = now - 864_000.0, 864_000.0 / n
    weights = {"good": 0.3, "bad": 0.5, "noise": 0.2}
    with opened(store, weights=weights, learner="both", capacity=max(n, 1_000)) as loop:
        at = began
        for i in range(n):
            at = began + i * step
            _visit(loop, rng, i, at)
            if i == 2 * n // 3:
                report = loop.train(now=at, steps=20)
                if report.proposed.version != loop.params.version:
                    loop.promote(report.proposed, force=True, now=at)
        loop.train(now=now - 60.0, steps=20)
        loop.rank("broken zanzibar", [{"id": "a", "good": float("nan"), "bad": 0.0, "noise": 0.0}], event_id="broken")
        loop.feedback("nobody-served-it", "click", doc="kb-1")
        assert loop.activation is not None
        loop.activation.pin(["kb-1"])


def _visit(loop: dwell.Loop, rng: np.random.Generator, i: int, at: float) -> None:
    relevance = rng.random(8)
    noise = rng.random(8)
    documents = [
        {"id": f"kb-{(7 * i + j) % 120}", "good": float(r), "bad": float(1.0 - r), "noise": float(x)}
        for j, (r, x) in enumerate(zip(relevance, noise, strict=True))
    ]
    good = {d["id"]: float(str(d["good"])) for d in documents}
    served = loop.rank(
        f"zanzibar question {min(int(rng.exponential(12.0)), 80)}", documents, k=5, user=f"user-{i % 97}",
        segment=("how", "what", "where")[i % 3], event_id=f"event-{i:06d}", now=at,
    )  # fmt: skip
    for place, doc in enumerate(served.ids, start=1):
        if rng.random() < good[doc] ** 2 / place:
            loop.submit_feedback(served.event_id, "click", doc=doc, now=at + 5.0)


def hostile(store: Path) -> None:
    """Make a store whose queries, documents, segments, features and signals are attacks."""
    features = [text for text in HOSTILE if _is_id(text)][:12]
    signal = "<img src=x onerror=window.__hit=1>"
    with opened(
        store, features=features, weights=dict.fromkeys(features, 1.0), learner="both", attribution_window_s=60.0,
        rewards={signal: 1.0, "click": 0.5},
    ) as loop:  # fmt: skip
        rng = np.random.default_rng(3)
        began = time.time() - 50_000.0
        ids = [text for text in HOSTILE if _is_id(text)]
        for i in range(260):
            documents = [
                {"id": doc, **dict(zip(features, rng.random(len(features)).tolist(), strict=True))} for doc in ids[:9]
            ]
            query = HOSTILE[i % len(HOSTILE)]
            served = loop.rank(
                query, documents, k=6, user=query.replace("\n", " "), segment=ids[i % len(ids)], event_id=f"h-{i}",
                now=began + i * 100.0,
            )  # fmt: skip
            loop.submit_feedback(
                served.event_id, signal if i % 3 else "click", doc=served.ids[i % 2], now=began + i * 100.0
            )
        loop.train(now=began + 40_000.0, steps=5)
        broken = [{"id": ids[0], **dict.fromkeys(features, float("inf"))}]
        loop.rank(HOSTILE[0], broken, event_id="h-broken", segment=ids[1])
        loop.feedback("h-orphan", "click", doc=ids[2])
        report = loop.train(steps=5)
        if report.proposed.version != loop.params.version:
            loop.promote(report.proposed, force=True)


def _is_id(text: str) -> bool:
    """Return whether the loop takes it for an id: bidi and zero-width marks it may refuse."""
    try:
        dwell.records.checks.identifier(text, "id")
    except dwell.errors.RecordError:
        return False
    return True
