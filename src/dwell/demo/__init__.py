"""The demo: a real corpus, queries with known answers, simulated visitors, the report."""
