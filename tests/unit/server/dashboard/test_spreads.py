import pytest

from dwell.health import Check, Distribution, HealthReport, Section, Share
from dwell.loop.rows import query_digest, query_hash, user_hash
from dwell.server.dashboard.spreads import groups_of_shares, most_harmful_first, spread_of, tally
from dwell.server.recent_lists import Seen

USER = "0" * 31 + "7"


def seen(query: str, user: str | None) -> Seen:
    digest = query_digest(query).hex()
    return Seen(
        1, "e", query, digest, user, None, 1.0, "closed", "params", 0, 1, 1, {}, (), 1.0, has_features=True,
        query_hash=query_hash(query),
    )  # fmt: skip


def check(name: str, severity: str) -> Check:
    return Check(name, name, 1.0, "", "", severity, "told")  # type: ignore[arg-type]


def test_bars_are_as_high_as_their_counts_and_empty_ends_are_cut() -> None:
    found = spread_of(Distribution("age", "hours", (0.0, 1.0, 2.0, 4.0, 8.0, 9.0), (0, 30, 0, 10, 0)))
    assert found is not None
    assert found.n == 40
    assert [(bar.low, bar.high, bar.n, bar.share) for bar in found.bars] == [
        (1.0, 2.0, 30, 0.75), (2.0, 4.0, 0, 0.0), (4.0, 8.0, 10, 0.25),
    ]  # fmt: skip
    assert [bar.height for bar in found.bars] == [40.0, 0.0, round(40.0 / 3.0, 3)]
    assert all(bar.y + bar.height == pytest.approx(40.0) for bar in found.bars)  # they stand on the ground
    assert found.fullest == found.bars[0]


@pytest.mark.parametrize("n", [1, 7, 60])
def test_bars_lie_beside_each_other_within_the_drawing(n: int) -> None:
    found = spread_of(Distribution("x", "", tuple(map(float, range(n + 1))), (1,) * n))
    assert found is not None
    edges = [edge for bar in found.bars for edge in (bar.x, bar.x + bar.width)]
    assert edges == sorted(edges)
    assert edges[0] >= 0.0
    assert edges[-1] <= 100.0


def test_one_among_many_is_still_seen_and_nothing_is_not_drawn() -> None:
    found = spread_of(Distribution("x", "", (0.0, 1.0, 2.0), (1, 1_000_000)))
    assert found is not None
    assert found.bars[0].height == 0.6
    assert spread_of(Distribution("x", "", (0.0, 1.0), (0,))) is None


def test_hashes_are_named_where_the_newest_lists_know_them() -> None:
    shares = {
        "segment": (Share("how", 9, 0.9),),
        "query": (Share(f"{query_hash('Reset  2FA'):016x}", 5, 0.5), Share("00000000000000aa", 1, 0.1)),
        "user": (Share(f"{user_hash(USER):016x}", 4, 0.4), Share("00000000000000bb", 1, 0.1)),
    }
    found = groups_of_shares(shares, [seen("reset 2fa", USER), seen("else", None)])
    assert [(g.name, g.is_known) for g in found["segment"]] == [("how", True)]
    known, unknown = found["query"]
    assert (known.query, known.digest) == ("reset 2fa", query_digest("reset 2fa").hex())  # case and spacing aside
    assert (unknown.name, unknown.query, unknown.is_known) == ("00000000000000aa", None, False)
    assert [(g.name, g.is_known) for g in found["user"]] == [(USER, True), ("00000000000000bb", False)]
    assert groups_of_shares({}, []) == {"segment": [], "query": [], "user": []}


def test_what_is_wrong_stands_first_and_all_are_counted() -> None:
    names = ["unknown", "ok", "warning", "critical", "ok"]
    section = Section("buffer", "Buffer", tuple(check(f"{i}", name) for i, name in enumerate(names)))
    assert [c.name for c in most_harmful_first(section)] == ["3", "2", "1", "4", "0"]
    report = HealthReport("critical", [], {}, sections=(section, section))
    assert tally(report) == {"critical": 2, "warning": 2, "ok": 4, "unknown": 2}
