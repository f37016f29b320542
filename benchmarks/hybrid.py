"""What hybrid weights learned from clicks are worth beside reciprocal rank fusion, and whether its scale matters.

The world is that of examples/hybrid_fts5.py; its users are simulated. Each seed is run twice with the same draws: with
the `_rrf` features as they are, of size 1/60, and with them times 60. Nothing else differs.

    python benchmarks/hybrid.py --seeds 8
"""

from __future__ import annotations

import argparse
import contextlib
import io
import runpy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from dwell.retrieval import gathering
from dwell.retrieval.hybrid import Gathered, united

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "hybrid_fts5.py"


@contextlib.contextmanager
def scaled(factor: float) -> Iterator[None]:
    """Have every `_rrf` feature times a factor."""

    def larger(*arguments: object, **named: object) -> Gathered:
        found = united(*arguments, **named)  # type: ignore[arg-type]
        factors = np.array([factor if name.endswith("_rrf") else 1.0 for name in found.names])
        return Gathered(found.ids, found.features * factors, found.names, found.found, found.left_out)

    with mock.patch.object(gathering, "united", larger):
        yield


def main() -> None:
    """Print a line for each seed and scale, and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    n_seeds = parser.parse_args().seeds
    run = runpy.run_path(str(EXAMPLE))["run"]
    rows: dict[float, list[list[float]]] = {1.0: [], 60.0: []}
    print("seed scale  RRF    learned  version  cosine  vectors_rrf  bm25  fts5_rrf")
    for seed in range(n_seeds):
        for factor, kept in rows.items():
            with scaled(factor), tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                _, learned, quality = run(Path(folder), seed)
            weights = [learned.weights[name] for name in ("cosine", "vectors_rrf", "bm25", "fts5_rrf")]
            kept.append(quality.mean(axis=0).tolist())
            print(
                f"{seed:4} {factor:5.0f}  {kept[-1][0]:.3f}  {kept[-1][1]:.3f}  {learned.version:7}",
                *(f"{w:+9.3f}" for w in weights),
            )
    for factor, kept in rows.items():
        mean = np.mean(kept, axis=0)
        print(f"mean {factor:5.0f}  {mean[0]:.3f}  {mean[1]:.3f}")
    differences = [a[1] - b[1] for a, b in zip(rows[1.0], rows[60.0], strict=True)]
    largest = np.abs(differences).max()
    print(f"learned at scale 1 less learned at scale 60: {np.mean(differences):+.4f}, at most {largest:.4f}")


if __name__ == "__main__":
    main()
