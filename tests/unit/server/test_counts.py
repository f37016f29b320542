from dwell.server.counts import added, histogram_of


def test_what_several_counted_is_added_by_name_and_label() -> None:
    one = {("requests", "/v1/rank", "200"): 3, ("dropped", "store"): 0}
    other = {("requests", "/v1/rank", "200"): 4, ("requests", "/v1/rank", "503"): 1}
    assert added(one, other, {}) == {
        ("requests", "/v1/rank", "200"): 7, ("requests", "/v1/rank", "503"): 1, ("dropped", "store"): 0,
    }  # fmt: skip
    assert one == {("requests", "/v1/rank", "200"): 3, ("dropped", "store"): 0}
    assert added() == {}


def test_the_sum_does_not_depend_on_who_has_died() -> None:
    parts = [{("a",): float(i), ("b", str(i)): 1.0} for i in range(4)]
    assert added(added(parts[0], parts[1]), parts[2], parts[3]) == added(*parts)


def test_a_histogram_has_all_its_buckets_also_where_nothing_fell_into_them() -> None:
    counts = {("rank_duration", "0"): 2.0, ("rank_duration", "2"): 5.0, ("rank_duration", "total"): 1.5}
    assert histogram_of(counts, "rank_duration", 4) == ([2, 0, 5, 0], 1.5)
    assert histogram_of({}, "rank_duration", 2) == ([0, 0], 0.0)
