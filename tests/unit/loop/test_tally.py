from dwell.loop.tally import JOIN_DELAY_EDGES_S, OTHER, Histogram, Tally


def test_a_value_on_an_edge_belongs_to_it_and_beyond_the_last_there_is_room() -> None:
    found = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.5):
        found.observe(value)
    assert (found.counts, found.total) == ([2, 2, 1], 7.0)


def test_histograms_share_nothing() -> None:
    one, other = Histogram((1.0,)), Histogram((1.0,))
    one.observe(0.0)
    assert other.counts == [0, 0]


def test_callers_make_up_no_labels() -> None:
    tally = Tally(frozenset({"click"}))
    for i in range(1_000):
        tally.reacted(f"made-up-{i}", "rejected")
    tally.reacted("click", "joined", 3.0)
    assert tally.feedback == {(OTHER, "rejected"): 1_000, ("click", "joined"): 1}
    assert tally.join_delay_s.counts[JOIN_DELAY_EDGES_S.index(5.0)] == 1
    assert sum(tally.join_delay_s.counts) == 1
