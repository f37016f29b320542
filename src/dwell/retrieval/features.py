"""What is known of a candidate for a query, by name. Pure: numbers in, numbers out."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dwell.retrieval.vectors import Floats, Ints, TermIndex

#: The features of every candidate, in the order of the columns. All are finite; larger is usually better.
#:
#: bm25        BM25 of the body, >= 0 (k1 1.2, b 0.75, as FTS5 has them)
#: bm25_title  BM25 of the title, >= 0
#: cosine      of the query and the document in the latent space, -1 to 1
#: title_match share of the title's terms that the query names, by idf, 0 to 1
#: coverage    share of the query's terms that title or body hold, by idf, 0 to 1
#: proximity   share of the query's neighbouring terms that stand close together in the body, 0 to 1
#: length      ln(1 + terms of the body)
#: recency     -log2(1 + age in days), age against the newest document; 0 for all where any date is unknown
#: popularity  ln(1 + documents that refer to it)
FEATURE_NAMES: tuple[str, ...] = (
    "bm25",
    "bm25_title",
    "cosine",
    "title_match",
    "coverage",
    "proximity",
    "length",
    "recency",
    "popularity",
)

#: Two terms are close within this many terms of the body, function words not counted.
#: Source: T. Tao, C. Zhai, "An exploration of proximity measures in information retrieval", SIGIR 2007: the minimum
#: distance of two query terms carries the signal, and it is gone beyond a few words.
_WINDOW = 4

_DAY_S = 86_400.0


def coverage(index: TermIndex, title_terms: Sequence[frozenset[int]], query: Sequence[int], candidates: Ints) -> Floats:
    """(n,) idf-weighted share of the query's known terms that each candidate holds, in [0, 1]."""
    held = np.zeros(len(candidates))
    total = 0.0
    for term in dict.fromkeys(query):
        inside = np.isin(candidates, index.documents_at(index.positions_of(term)))
        inside |= np.array([term in title_terms[number] for number in candidates.tolist()], dtype=bool)
        held += index.idf[term] * inside
        total += float(index.idf[term])
    return held / total if total else held


def title_match(
    index: TermIndex, title_terms: Sequence[frozenset[int]], query: Sequence[int], candidates: Ints
) -> Floats:
    """(n,) idf-weighted share of each candidate's title terms that the query names, in [0, 1]."""
    asked = frozenset(query)
    shares = np.zeros(len(candidates))
    for row, number in enumerate(candidates.tolist()):
        title = title_terms[number]
        named = sum(index.idf[term] for term in title & asked)
        if named:
            shares[row] = named / sum(index.idf[term] for term in title)
    return np.minimum(shares, 1.0)


def proximity(index: TermIndex, query: Sequence[int], candidates: Ints) -> Floats:
    """(n,) share of the query's pairs of neighbouring terms that stand within the window in each candidate's body.

    Queries of one term have no pairs: 0 for all.
    """
    ordered = list(dict.fromkeys(query))
    pairs = list(pairwise(ordered))
    close = np.zeros(len(candidates))
    for first, second in pairs:
        ours, theirs = index.positions_of(first), index.positions_of(second)
        # Positions of `theirs` within [p - window, p + window] of a position p of `ours`.
        reached = np.searchsorted(theirs, ours + _WINDOW, side="right") > np.searchsorted(theirs, ours - _WINDOW)
        close += np.isin(candidates, index.documents_at(ours[reached]))
    return close / max(len(pairs), 1)


def recency(modified_at: Sequence[float | None]) -> Floats:
    """(n_documents,) -log2(1 + age in days) against the newest document; all 0 where any date is unknown."""
    known = [at for at in modified_at if at is not None]
    if len(known) < len(modified_at) or not known:
        return np.zeros(len(modified_at))
    dates = np.array(known, dtype=np.float64)
    ages: Floats = (dates.max() - dates) / _DAY_S
    return np.negative(np.log2(1.0 + ages))


def popularity(doc_ids: Sequence[str], links: Sequence[Sequence[str]]) -> Floats:
    """(n_documents,) ln(1 + number of other documents that refer to it). Links to unknown ids count for nothing."""
    number_of = {doc_id: number for number, doc_id in enumerate(doc_ids)}
    inbound = np.zeros(len(doc_ids))
    for source, targets in zip(doc_ids, links, strict=True):
        for target in {*targets} - {source}:
            if target in number_of:
                inbound[number_of[target]] += 1.0
    return np.log1p(inbound)
