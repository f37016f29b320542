"""What look-ups read of a PostgreSQL store that no ANALYZE has seen yet, as it is while the first events come in."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from dwell.storage import open_store, postgres_reader, postgres_transaction
from dwell.testing.store_samples import sample_impression, sample_signal

from ..postgres import database  # noqa: TID252 - tests are no installed package

N_EVENTS = 1_500
N_ASKED = 20
MOST_READ = 12 * N_ASKED  # a row of each of three tables for each number, and what is passed on by the nodes above

OF_SEQS = {
    "states": postgres_reader._STATES,
    "impressions": postgres_reader._IMPRESSIONS,
    "outcomes": postgres_reader._OUTCOMES,
    "signals": postgres_reader._SIGNALS,
    "known signals": postgres_transaction._KNOWN_SIGNALS,
}


@pytest.fixture(scope="module")
def connection() -> Iterator[psycopg.Connection]:
    url = database()
    store = open_store(url, tenant="large")
    ids = [f"event-{i}" for i in range(N_EVENTS)]
    with store.transaction() as tx:
        tx.prefetch(ids)
        for seq, event_id in enumerate(ids, start=1):
            assert tx.add_impression(sample_impression(event_id)) == seq
            tx.add_signal(seq, sample_signal(event_id))
    store.close()
    with psycopg.connect(url) as found:
        found.execute("SET search_path = dwell")
        yield found


def n_read(node: dict[str, Any]) -> float:
    """Return how many rows the nodes of a plan gave or threw away."""
    each = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float(each * node["Actual Loops"]) + sum(map(n_read, node.get("Plans", ())))


def plan(connection: psycopg.Connection, sql: str, bindings: Any) -> dict[str, Any]:
    found = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", bindings).fetchall()  # type: ignore[arg-type]  # text made of ours
    made: dict[str, Any] = found[0][0][0]["Plan"]
    return made


@pytest.mark.parametrize("what", OF_SEQS)
def test_the_rows_of_some_numbers_are_read_alone(connection: psycopg.Connection, what: str) -> None:
    seqs = list(range(5, N_EVENTS, N_EVENTS // N_ASKED))
    bindings = {"tenant": "large", "seqs": seqs, "first": seqs[0], "last": seqs[-1]}
    found = plan(connection, OF_SEQS[what], bindings)
    assert found["Actual Rows"] == len(seqs)
    assert n_read(found) <= MOST_READ


def test_names_are_looked_up_one_by_one(connection: psycopg.Connection) -> None:
    ids = [f"event-{i}" for i in range(0, N_EVENTS, 2 * N_EVENTS // N_ASKED)] + [f"new-{i}" for i in range(10)]
    found = plan(connection, postgres_reader._SEQS_OF_IDS, ("large", ids))
    assert found["Actual Rows"] == len(ids) - 10
    assert n_read(found) <= MOST_READ
