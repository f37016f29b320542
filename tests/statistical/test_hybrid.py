"""Hybrid weights taught by clicks are worth more than reciprocal rank fusion, where the taste of users is known."""

import runpy
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.statistical

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hybrid_fts5.py"
#: One-sided 0.001 of the normal distribution. The mean of 150 paired differences of fresh queries is near normal: were
#: the learned weights no better, one world in a thousand would show this by luck.
BOUND = 3.09


def test_learned_weights_beat_reciprocal_rank_fusion(tmp_path: Path) -> None:
    begun, learned, quality = runpy.run_path(str(EXAMPLE))["run"](tmp_path, 3)
    gains = quality[:, 1] - quality[:, 0]
    assert learned.version > begun.version  # the gate promoted what was learned
    assert gains.mean() / (gains.std(ddof=1) / np.sqrt(gains.size)) > BOUND
    assert {name for name, weight in learned.weights.items() if weight > 0.05} == {"cosine", "vectors_rrf"}
