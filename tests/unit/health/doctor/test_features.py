"""How well a feature tells clicks, against counting pairs one by one; and what numbers places."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from dwell.health.doctor.evidence import SeenEvent
from dwell.health.doctor.features import auc_of_click, place_bases
from dwell.testing.store_samples import sample_impression


def events(rng: np.random.Generator, n: int) -> list[SeenEvent]:
    found = []
    for i in range(n):
        k, d = int(rng.integers(2, 6)), 6
        shown = replace(
            sample_impression(f"e{i}"),
            served=tuple(f"d{j}" for j in range(k)),
            documents=tuple(f"d{j}" for j in range(d)),
            features=rng.integers(0, 4, size=(d, 2)).astype(np.float32),
            feature_names=("a", "b"),
        )
        credit = rng.choice([-0.5, 0.0, 0.7], size=k).astype(np.float32)
        found.append(SeenEvent(shown, "closed", float(credit.sum()), credit, ()))
    return found


def test_auc_is_the_share_of_pairs_in_which_the_praised_document_has_more() -> None:
    sample = events(np.random.default_rng(3), 60)
    won: list[list[float]] = [[], []]
    for event in sample:
        assert event.document_rewards is not None
        credit = event.document_rewards.tolist()
        for i, j in itertools.permutations(range(len(credit)), 2):
            if credit[i] > 0.0 and credit[j] <= 0.0:
                for column in (0, 1):
                    x, y = event.impression.features[i, column], event.impression.features[j, column]
                    won[column].append(1.0 if x > y else 0.5 if x == y else 0.0)
    found = auc_of_click(sample)
    assert found is not None
    np.testing.assert_allclose(found, [np.mean(won[0]), np.mean(won[1])], rtol=1e-12)


def test_auc_is_not_told_of_too_few() -> None:
    sample = events(np.random.default_rng(3), 60)
    assert auc_of_click(sample[:20]) is None
    assert auc_of_click([one._replace(document_rewards=None) for one in sample]) is None
    all_alike = [one._replace(document_rewards=np.ones(len(one.impression.served), np.float32)) for one in sample]
    assert auc_of_click(all_alike) is None


@pytest.mark.parametrize(
    ("values", "base"),
    [
        ([2.0, 0.0, 1.0], 0),
        ([1.0, 3.0, 2.0, 4.0], 1),
        ([2.0, 3.0, 4.0], None),
        ([0.0, 1.0, 1.0], None),
        ([0.0, 1.0, 3.0], None),
        ([0.5, 1.5, 2.5], None),
        ([-1.0, 0.0, 1.0], None),
        ([float("nan"), 1.0, 2.0], None),
    ],
)
def test_places_are_each_number_once_from_0_or_1(values: list[float], base: int | None) -> None:
    assert place_bases(np.array(values)) == base
