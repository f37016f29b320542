import math
from typing import Any

import numpy as np
import pytest

from dwell.errors import RecordError
from dwell.loop.candidates import Candidates
from dwell.loop.serve import Request, Serving, caller_scores, serve, serve_drafted
from dwell.records import Params


def request(**changed: object) -> Request:
    fields: dict[str, Any] = {
        "event_id": "e",
        "query": "q",
        "query_embedding": None,
        "user": None,
        "segment": None,
        "k": 3,
        "is_shown": True,
        "now": 1.0,
    }
    return Request(**{**fields, **changed})


def serving(**changed: object) -> Serving:
    fields: dict[str, Any] = {
        "params": Params(version=4, weights={"x": 1.0}),
        "policy": "params",
        "mode": "live",
        "arm": "live",
        "temperature": 0.5,
        "max_results": 20,
        "max_candidates": 64,
        "secret": b"secret",
        "seed": 0,
    }
    return Serving(**{**fields, **changed})


def candidates(n: int) -> Candidates:
    return Candidates([f"d{i}" for i in range(n)], np.linspace(-1.0, 1.0, n, dtype=np.float32)[:, None])


def test_the_same_arguments_serve_the_same_list() -> None:
    first, impression = serve(candidates(30), request(), serving())
    again, other = serve(candidates(30), request(), serving())
    assert first.ids == again.ids == list(impression.served)
    assert impression.documents == other.documents


@pytest.mark.parametrize(
    "how", [(request(event_id="f"), serving()), (request(), serving(secret=b"x")), (request(), serving(seed=1))]
)
def test_another_event_secret_or_seed_draws_anew(how: tuple[Request, Serving]) -> None:
    first, _ = serve(candidates(30), request(k=30), serving(temperature=10.0))
    asked, to = how
    other, _ = serve(candidates(30), asked._replace(k=30), to._replace(temperature=10.0))
    assert first.ids != other.ids  # by chance with a probability of about 1 / 30!


def test_the_callers_order_is_minus_the_rank() -> None:
    assert caller_scores(3).tolist() == [0.0, -1.0, -2.0]
    served, impression = serve(candidates(5), request(k=5), serving(policy="caller", temperature=0.0))
    assert served.ids == ["d0", "d1", "d2", "d3", "d4"]
    assert (impression.policy, impression.is_deterministic) == ("caller", True)


def test_served_documents_are_kept_first_then_a_uniform_sample() -> None:
    n_times = np.zeros(50)
    n_draws = 600
    for i in range(n_draws):
        served, impression = serve(
            candidates(50), request(event_id=f"e{i}", k=4), serving(max_results=3, max_candidates=10)
        )
        assert list(impression.documents[:3]) == served.ids[:3]
        assert len(set(impression.documents)) == 10
        # 7 of the other 47, the one shown fourth among them
        np.testing.assert_allclose(impression.inclusion, [1.0] * 3 + [7 / 47] * 7)
        assert impression.scores[impression.document_scores].tolist() == impression.features[:, 0].tolist()
        for doc in impression.documents[3:]:
            n_times[int(doc[1:])] += 1.0
    # every unserved document is as likely; those often served are rarer among the rest
    rare = n_times[:10] / n_draws
    error = math.sqrt(7 / 47 * 40 / 47 / n_draws)
    assert np.abs(rare - 7 / 47).max() < 5.0 * error  # ten documents at 5 standard errors: false alarm 6e-6


def test_scores_beyond_a_thousand_are_summed() -> None:
    _, impression = serve(candidates(1_300), request(k=2), serving(max_candidates=5))
    all_scores = candidates(1_300).features[:, 0].astype(np.float64)
    scale = 0.5 * all_scores.std()
    logged = {float(s) for s in impression.scores}
    left_out = [s for s in all_scores.tolist() if s not in logged]
    assert (impression.scores.size, len(left_out)) == (1_000, 300)
    assert impression.score_sd == pytest.approx(all_scores.std(), rel=1e-12)
    expected = math.log(math.fsum(math.exp(s / scale) for s in left_out))
    assert impression.rest_logsumexp == pytest.approx(expected, rel=1e-12)
    assert impression.scores[impression.document_scores].tolist() == impression.features[:, 0].tolist()


def test_k_is_cut_to_the_candidates() -> None:
    served, impression = serve(candidates(2), request(k=10), serving())
    assert (len(served.ids), impression.n_candidates, impression.rest_logsumexp) == (2, 2, -math.inf)


def test_a_score_beyond_float32_is_refused() -> None:
    many = Candidates(["a", "b"], np.array([[1.0], [3e38]], dtype=np.float32))
    with pytest.raises(RecordError) as error:
        serve(many, request(), serving(params=Params(version=1, weights={"x": 10.0})))
    assert (error.value.code, error.value.field) == ("non_finite:score", "scores[1]")


def test_what_the_caller_does_to_his_list_leaves_the_record_alone() -> None:
    served, impression = serve(candidates(5), request(), serving())
    before = impression.propensities.copy()
    served.propensities[:] = -1.0
    served.scores[:] = -1.0
    assert impression.propensities.tolist() == before.tolist()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the division overflows, which is what is looked at
def test_a_propensity_that_is_not_finite_is_refused() -> None:
    # 5e-324 times a spread below 1/2 rounds to zero: scores are divided by it
    near = candidates(30)._replace(features=np.linspace(0.0, 0.1, 30, dtype=np.float32)[:, None])
    with pytest.raises(RecordError) as error:
        serve(near, request(), serving(temperature=5e-324))
    assert error.value.code == "non_finite:propensity"


def test_both_drafts_of_a_list_are_what_each_would_have_served() -> None:
    """The same noise on both sides: a document of a team is the best that its own draw had left."""
    found = Candidates([f"d{i}" for i in range(12)], np.random.default_rng(3).normal(size=(12, 2)).astype(np.float32))
    live = serving(params=Params(version=4, weights={"x": 1.0, "y": 0.0}))
    proposed = serving(params=Params(version=5, weights={"x": 0.3, "y": 1.0}))
    whole = {team: serve(found, request(k=12), how)[0].ids for team, how in ((-1, live), (1, proposed))}
    served, impression = serve_drafted(found, request(k=8), live, proposed)
    assert list(impression.served) == served.ids
    assert (served.params_version, impression.params_version) == (5, 5)
    assert served.propensities.tolist() == impression.propensities.tolist() == [1.0] * 8
    assert impression.is_deterministic
    assert set(impression.teams) >= {1, -1}
    for doc, team in zip(impression.served, impression.teams, strict=True):
        assert {ranking[0] == doc for ranking in ([*whole.values()] if team == 0 else [whole[team]])} == {True}
        for ranking in whole.values():
            ranking.remove(doc)
    assert serve_drafted(found, request(k=8), live, proposed)[0].ids == served.ids


def test_two_equal_policies_draft_what_either_serves() -> None:
    alone, _ = serve(candidates(9), request(), serving())
    served, impression = serve_drafted(candidates(9), request(), serving(), serving())
    assert served.ids == alone.ids
    assert impression.teams == (0, 0, 0)


def test_the_coins_of_a_draft_are_fair() -> None:
    live, proposed = serving(), serving(params=Params(version=5, weights={"x": -1.0}))
    teams = [
        serve_drafted(candidates(9), request(event_id=f"e{i}", k=1), live, proposed)[1].teams[0] for i in range(400)
    ]
    drafted = np.array([team for team in teams if team])
    assert drafted.size > 300  # opposite orders rarely begin alike
    assert abs(drafted.sum()) < 4.0 * np.sqrt(drafted.size)  # four standard errors


def test_a_share_of_nothing_changes_no_bit() -> None:
    served, impression = serve(candidates(30), request(k=10), serving())
    again, other = serve(candidates(30), request(k=10), serving(swap_share=0.0))
    assert (served.ids, served.propensities.tobytes()) == (again.ids, again.propensities.tobytes())
    assert (impression.arm, impression.swap_pair) == (other.arm, other.swap_pair) == ("live", 0)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_a_share_of_lists_has_one_pair_in_either_order_and_the_rest_is_as_it_was(temperature: float) -> None:
    n, share, k = 600, 0.2, 5
    drawn = np.zeros(k - 1)
    n_swapped = 0
    for i in range(n):
        plain, before = serve(candidates(8), request(event_id=f"e{i}", k=k), serving(temperature=temperature))
        served, found = serve(
            candidates(8), request(event_id=f"e{i}", k=k), serving(temperature=temperature, swap_share=share)
        )
        pair = found.swap_pair
        if not pair:
            assert (found.arm, served.ids, found.is_swapped) == ("live", plain.ids, False)
            assert served.propensities.tobytes() == plain.propensities.tobytes()
            continue
        drawn[pair - 1] += 1
        n_swapped += found.is_swapped
        assert found.arm == "swap"
        expected = list(plain.ids)
        if found.is_swapped:
            expected[pair - 1 : pair + 1] = expected[pair - 1 : pair + 1][::-1]
        assert served.ids == list(found.served) == expected
        assert found.documents[:k] == found.served  # features and credit follow what was shown
        assert ((served.propensities > 0.0) & (served.propensities <= 1.0)).all()
        untouched = [j for j in range(k) if j not in {pair - 1, pair}]
        assert (served.propensities[untouched] == before.propensities[untouched]).all()
        if temperature == 0.0:
            assert served.propensities.prod() == 0.5
    # binomial: within five standard errors of the share, of each pair, and of the coin
    assert abs(drawn.sum() - n * share) < 5 * np.sqrt(n * share * (1 - share))
    assert (abs(drawn - n * share / (k - 1)) < 5 * np.sqrt(n * share / (k - 1))).all()
    assert abs(n_swapped - drawn.sum() / 2) < 5 * np.sqrt(drawn.sum() / 4)


def test_the_propensities_of_a_swapped_list_are_its_chance_given_the_pair() -> None:
    """Two of three documents, every order enumerated: P(y | pair 1) = (P(a, b) + P(b, a)) / 2."""
    weight = np.exp(np.array([-1.0, 0.0, 1.0]) / np.std([-1.0, 0.0, 1.0]) / 0.5)
    total = weight.sum()
    found = []
    for i in range(400):
        served, impression = serve(candidates(3), request(event_id=f"e{i}", k=2), serving(swap_share=0.2))
        if impression.swap_pair:
            a, b = (int(doc[1:]) for doc in served.ids)
            ab = weight[a] / total * weight[b] / (total - weight[a])
            ba = weight[b] / total * weight[a] / (total - weight[b])
            assert served.propensities.prod() == pytest.approx((ab + ba) / 2.0, rel=1e-5)  # scores are float32
            found.append((a, b))
    assert len(found) > 40
    assert len(set(found)) > 2


def test_a_pair_stands_among_what_is_learned_from_and_a_list_of_one_has_none() -> None:
    how = serving(swap_share=0.2, max_results=3, temperature=0.0)
    found = [serve(candidates(12), request(event_id=f"e{i}", k=12), how)[1] for i in range(300)]
    assert {i.swap_pair for i in found} == {0, 1, 2}
    assert all(i.served[3:] == found[0].served[3:] for i in found)
    alone = [serve(candidates(12), request(event_id=f"e{i}", k=1), how)[1].swap_pair for i in range(300)]
    assert set(alone) == {0}


def test_a_propensity_that_underflows_is_not_divided_by() -> None:
    how = serving(swap_share=0.2, temperature=1e-3)
    for i in range(200):
        served, impression = serve(candidates(6), request(event_id=f"e{i}", k=6), how)
        assert np.isfinite(served.propensities).all()
        assert not impression.swap_pair or (served.propensities > 0.0).all()
