import pytest

from dwell.loop.why import versions_asked


@pytest.mark.parametrize(("n_features", "n"), [(0, 100), (1, 100), (20, 100), (40, 50), (250, 8), (1_024, 8)])
def test_the_more_features_the_fewer_versions_are_read_for_one_list(n_features: int, n: int) -> None:
    # at 0.08 ms a feature a hundred versions of a thousand features are eight seconds a look
    assert versions_asked(n_features) == n
