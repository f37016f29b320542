"""Trees of xgboost are grown on a log of simulated users, and judged."""

import numpy as np

import dwell

rng = np.random.default_rng(0)
with dwell.open(":memory:", features=["good"], pepper="p", temperature=1.0) as loop:
    for i in range(300):
        found = [{"id": f"d{j}", "good": float(rng.random())} for j in range(6)]
        served = loop.rank("q", found, user=f"u{i}", event_id=f"e{i}", now=1e9 + i)
        loop.submit_feedback(f"e{i}", "click", doc=served.ids[0], now=1e9 + i + 1.0)
    loop.close_events(now=1e9 + 1e5)
    settings = dwell.TreeSettings(kind="xgboost", n_rounds=5, min_documents=20)
    print("xgboost:", loop.challenge(settings=settings, now=1e9 + 1e5).decision.verdict)
