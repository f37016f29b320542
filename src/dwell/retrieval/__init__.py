"""Where candidates come from: an embedded retriever, sources behind one protocol, and several of them as one list."""

from dwell.retrieval.embedded_sources import RetrieverSource, VectorSource
from dwell.retrieval.features import FEATURE_NAMES
from dwell.retrieval.fts5 import Fts5Source
from dwell.retrieval.fulltext import StoredDocument
from dwell.retrieval.gathering import asearch, gathered
from dwell.retrieval.hybrid import Gathered, Start, reciprocal_rank_fusion, weighted
from dwell.retrieval.hybrid_retriever import Answer, HybridRetriever
from dwell.retrieval.retriever import Candidates, Retriever, Searchable
from dwell.retrieval.sources import CandidateSource, Found

__all__ = [
    "FEATURE_NAMES",
    "Answer",
    "CandidateSource",
    "Candidates",
    "Found",
    "Fts5Source",
    "Gathered",
    "HybridRetriever",
    "Retriever",
    "RetrieverSource",
    "Searchable",
    "Start",
    "StoredDocument",
    "VectorSource",
    "asearch",
    "gathered",
    "reciprocal_rank_fusion",
    "weighted",
]
