"""All cases of the reference file: base level, optimized learning, the hybrid, blending, closed forms, traces."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from dwell.activation import LADDERS, Activation, blending, exact, petrov, retrieval
from dwell.activation.blending import blended, choice_probabilities

WITHIN = 1e-9


def ages_of(case: dict[str, Any]) -> list[float]:
    return [case["now"] - time for time in case["times"]]


def test_base_level_and_optimized_learning(reference: dict[str, Any]) -> None:
    assert len(reference["base_level"]) == 36
    for case in reference["base_level"]:
        ages, d = ages_of(case), case["decay"]
        assert exact.base_level(ages, d) == pytest.approx(case["base_level_exact"], abs=WITHIN)
        optimized = exact.optimized_base_level(len(ages), max(ages), d)
        assert optimized == pytest.approx(case["base_level_optimized"], abs=WITHIN)


def test_the_hybrid_by_its_formula(reference: dict[str, Any]) -> None:
    for case in reference["base_level"]:
        ages = sorted(ages_of(case))
        for k, expected in case["petrov_hybrid_formula"].items():
            found = petrov.hybrid_base_level(ages[: int(k)], len(ages), max(ages), case["decay"])
            assert found == pytest.approx(expected, abs=WITHIN)


def test_the_faces_of_both_meanings(reference: dict[str, Any]) -> None:
    # whole microseconds of an epoch: what the face takes; the cases of file are moved there
    epoch = 1_700_000_000_000_000
    for case in reference["base_level"]:
        instants = [epoch + round(time * 1e6) for time in case["times"]]
        now = epoch + round(case["now"] * 1e6)
        ages = [(now - at) / 1e6 for at in instants]
        one = Activation(meaning="exact", channels="access", decay=case["decay"])
        other = Activation(meaning="petrov", channels="access", decay=case["decay"], n_recent=5)
        for at in instants:
            one.access(["item"], at)
            other.access(["item"], at)
        assert one.scores(["item"], now)[0] == pytest.approx(exact.base_level(ages, case["decay"]), abs=WITHIN)
        assert one.scores(["item"], now)[0] == pytest.approx(case["base_level_exact"], abs=1e-6)
        expected = case["petrov_hybrid_formula"]["5"]
        assert other.scores(["item"], now)[0] == pytest.approx(expected, abs=1e-6)


def test_blending_and_partial_matching(reference: dict[str, Any]) -> None:
    assert len(reference["blending"]) == 10
    for case in reference["blending"]:
        chunks, asked = case["chunks"], case["query"]
        levels = [exact.base_level([case["now"] - t for t in c["references"]], case["decay"]) for c in chunks]
        similar = [[1.0 - abs(c["attributes"]["size"] - asked["size"]) / 10.0] for c in chunks]
        taken = retrieval.mismatch(similar, case["mismatch_penalty"])
        activations = np.array(levels) + taken
        shares = choice_probabilities(activations, case["temperature"])
        for found, name in ((levels, "base_level"), (taken, "mismatch"), (activations, "activation")):
            assert found == pytest.approx([c[name] for c in chunks], abs=WITHIN)
        assert shares == pytest.approx([c["retrieval_probability"] for c in chunks], abs=WITHIN)
        values = [c["attributes"]["u"] for c in chunks]
        assert blended(values, activations, case["temperature"]) == pytest.approx(case["blended_u"], abs=WITHIN)


def test_closed_forms(reference: dict[str, Any]) -> None:
    forms = reference["closed_form"]
    for case in forms["recall_probability"]:
        assert retrieval.recall_probability([case["A"]], case["tau"], case["s"])[0] == pytest.approx(
            case["p"], abs=WITHIN
        )
    for case in forms["latency"]:
        assert retrieval.latency_s([case["A"]], case["F"], case["f"])[0] == pytest.approx(case["seconds"], abs=WITHIN)
    for case in forms["fan"]:
        found = retrieval.spreading(np.array([[True]]), [case["fan"]], strength=case["S"])
        assert found[0] == pytest.approx(case["S_ji"], abs=WITHIN)
    for case in forms["logistic_noise"]:
        assert retrieval.noise_variance(case["s"]) == pytest.approx(case["variance"], abs=WITHIN)


def test_a_game_of_instance_based_learning(reference: dict[str, Any]) -> None:
    game = reference["pyibl_game"]
    # per option and outcome the rounds in which it was seen; the default outcome was there at time 0
    seen: dict[tuple[str, float], list[int]] = {(o, game["default_utility"]): [0] for o in ("x", "y")}
    for turn in game["rounds"]:
        for option, expected in turn["blended"].items():
            outcomes = {u: times for (o, u), times in seen.items() if o == option}
            levels = [exact.base_level([turn["time"] - t for t in times], game["decay"]) for times in outcomes.values()]
            found = blended(list(outcomes), levels, game["temperature"])
            assert found == pytest.approx(expected, abs=WITHIN)
        seen.setdefault((turn["choice"], turn["outcome"]), []).append(turn["time"])


def test_our_weights_are_those_of_the_linear_programme(reference: dict[str, Any]) -> None:
    joint = reference["kexp_joint_ladder_incl_zero_rate"]
    for size, ladder in (("12", LADDERS["joint-12"]), ("14", LADDERS["joint-14"])):
        assert list(ladder.rates_per_s) == joint[size]["rates_per_second"]
        for decay, error in joint[size]["max_rel_err_by_decay"].items():
            # another solver on another grid of ages: the optimum is one, its error flat around it
            assert ladder.error_nats(float(decay)) == pytest.approx(-np.log1p(-error), rel=1e-3)


def test_traces_reach_the_exact_values_of_the_file(reference: dict[str, Any]) -> None:
    now = 1_700_000_000_000_000
    for case in reference["kexp_60s_10y"]["cases_d0_5"]:
        instants = [now - round(age * 1e6) for age in case["ages_seconds"]]
        for ladder in LADDERS.values():
            memory = Activation(channels="access", ladder=ladder)
            for at, times in Counter(instants).items():
                for _ in range(times):
                    memory.access(["item"], at)
            assert memory.scores(["item"], now)[0] == pytest.approx(case["exact"], abs=ladder.bound_nats)


def test_the_default_temperature_is_that_of_the_noise() -> None:
    assert blending.default_temperature(0.25) == pytest.approx(np.sqrt(2.0) * 0.25)
    assert blending.default_temperature(0.0) == 0.01
