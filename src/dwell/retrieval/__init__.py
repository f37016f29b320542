"""A small embedded hybrid retriever: FTS5 and latent vectors, and named features for each candidate."""

from dwell.retrieval.features import FEATURE_NAMES
from dwell.retrieval.fulltext import StoredDocument
from dwell.retrieval.retriever import Candidates, Retriever, Searchable

__all__ = ["FEATURE_NAMES", "Candidates", "Retriever", "Searchable", "StoredDocument"]
