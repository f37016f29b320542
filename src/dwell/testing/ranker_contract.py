"""What everything that scores documents promises, as tests: params, trees, and whatever else is to be judged."""
# ruff: noqa: D102 - the test's name says what it shows

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from dwell.errors import DwellError
from dwell.learning.protocol import Scorer
from dwell.records.arrays import FloatArray
from dwell.testing.store_samples import Refused, equal, true

__all__ = ["RankerContract"]


class RankerContract:
    """What `dwell.learning.protocol.Scorer` promises, as tests for pytest.

    Derive a class whose name begins with Test and give it `ranker`, and `features` if standard normal ones do not do.

    Attributes:
        n_features: Columns that it expects.
        takes_missing: Whether NaN is a missing feature to it.
    """

    n_features: ClassVar[int] = 4
    takes_missing: ClassVar[bool] = True

    def ranker(self) -> Scorer:
        """Return what is tried; each test asks for one."""
        raise NotImplementedError

    def features(self) -> npt.NDArray[np.float32]:
        """Return raw features of some documents that it can tell apart, float32 (n, f), n >= 20."""
        return np.random.default_rng(0).normal(size=(50, self.n_features)).astype(np.float32)

    def test_a_score_per_document(self) -> None:
        scores = self.ranker().score(self.features())
        equal((scores.shape, scores.dtype), ((len(self.features()),), np.dtype(np.float64)))
        true(bool(np.isfinite(scores).all()), "a score is not finite")
        true(len(np.unique(scores)) > 1, "all documents have the same score: nothing is ranked")

    def test_the_same_documents_have_the_same_scores(self) -> None:
        ranker, features = self.ranker(), self.features()
        equal(ranker.score(features).tobytes(), ranker.score(features.copy()).tobytes())

    def test_two_of_them_made_alike_agree(self) -> None:
        features = self.features()
        equal(self.ranker().score(features).tobytes(), self.ranker().score(features).tobytes())

    def test_a_score_does_not_depend_on_the_other_documents(self) -> None:
        ranker, features = self.ranker(), self.features()
        scores = ranker.score(features)
        order = np.random.default_rng(1).permutation(len(features))
        close(ranker.score(features[order]), scores[order])
        close(ranker.score(features[7:8]), scores[7:8])

    def test_what_it_was_given_is_not_changed(self) -> None:
        features = self.features()
        before = features.tobytes()
        self.ranker().score(features)
        equal(features.tobytes(), before)

    def test_no_document_has_no_score(self) -> None:
        equal(self.ranker().score(self.features()[:0]).shape, (0,))

    def test_doubles_that_floats_can_hold_are_the_same(self) -> None:
        ranker, features = self.ranker(), self.features()
        close(ranker.score(features.astype(np.float64)), ranker.score(features))

    def test_a_missing_feature_is_no_obstacle(self) -> None:
        if not self.takes_missing:
            return
        features = self.features()
        features[0, 0] = np.nan
        features[1] = np.nan
        true(
            bool(np.isfinite(self.ranker().score(features)).all()), "a missing feature makes a score that is no number"
        )

    def test_another_number_of_features_is_refused(self) -> None:
        features = self.features()
        for wrong in (features[:, :-1], np.concatenate([features, features[:, :1]], axis=1)):
            with Refused(DwellError):
                self.ranker().score(wrong)

    def test_threads_may_share_it(self) -> None:
        ranker, features = self.ranker(), self.features()
        alone = ranker.score(features).tobytes()
        with ThreadPoolExecutor(4) as pool:
            for scores in pool.map(lambda _: ranker.score(features).tobytes(), range(16)):
                equal(scores, alone)


def close(found: FloatArray, expected: FloatArray) -> None:
    """Demand that scores agree to what summing in another order may change."""
    true(bool(np.allclose(found, expected, rtol=1e-9, atol=1e-12)), f"found {found}, due is {expected}")
