"""Feature values as text: the shortest that reads back to the same float32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from dwell.records import Impression

__all__ = ["feature_texts"]


def feature_texts(impression: Impression, names: Sequence[str], docs: Iterable[str]) -> dict[str, list[str]]:
    """Return, by document, its features in the order of names, "" for one that did not exist when it was served.

    Args:
        impression: What was served.
        names: Of features.
        docs: Documents that are asked for; those whose features were not kept are left out.
    """
    if not impression.has_features:
        return {}
    at = {doc: i for i, doc in enumerate(impression.documents)}
    kept = {doc: at[doc] for doc in docs if doc in at}
    values = impression.features[list(kept.values())]
    texts = np.where(np.isnan(values), "", values.astype(str)).tolist()
    if tuple(names) != impression.feature_names:
        column = {name: j for j, name in enumerate(impression.feature_names)}
        places = [column.get(name) for name in names]
        texts = [["" if j is None else row[j] for j in places] for row in texts]
    return dict(zip(kept, texts, strict=True))
