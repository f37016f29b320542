"""The parts of the benchmarks: sets, clicks, baselines, figures and how they are printed."""
