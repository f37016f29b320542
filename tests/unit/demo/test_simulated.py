"""The visitors whom a person sends after a result."""

import numpy as np

import dwell
from dwell.demo.simulated import N_SENT, SEGMENT, send_after
from dwell.retrieval import Candidates

#: Twelve candidates, of which ten are shown. The scores are so far apart that the draw changes nothing.
FOUND = Candidates(tuple(f"d{i}" for i in range(12)), np.linspace(12e3, 1e3, 12)[:, None], ("x",))


def test_thirty_distinct_visitors_click_what_they_want_where_they_see_it() -> None:
    with dwell.open(":memory:", features=["x"], weights={"x": 1.0}, temperature=0.0) as loop:
        assert send_after(loop, "q", FOUND, "d2") == N_SENT
        assert send_after(loop, "q", FOUND, "d11") == 0  # twelfth: nobody is shown it
        lists = list(loop.experiences())
    assert len(lists) == 2 * N_SENT
    assert len({one.user for one in lists}) == N_SENT  # the same thirty came twice
    assert {one.segment for one in lists} == {SEGMENT}
    clicked = [one.document_signals for one in lists]
    assert [dict(row.get("d2", {})) for row in clicked] == [{"click": 1.0}] * N_SENT + [{}] * N_SENT
