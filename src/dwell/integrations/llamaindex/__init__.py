"""LlamaIndex: a postprocessor and a retriever that a loop orders, and passive capture of what is retrieved anyway.

Needs the extra `llamaindex` (llama-index-core).
"""

from dwell.errors import MissingDependencyError

try:
    import llama_index.core as _llama_index_core  # noqa: F401 - whether it is there
except ImportError as error:
    raise MissingDependencyError("llama-index-core is not installed", hint="pip install 'dwell[llamaindex]'") from error

from dwell.integrations.found import Reading
from dwell.integrations.llamaindex.capturing import Capture, capture
from dwell.integrations.llamaindex.feedback import event_ids_of, feedback_for
from dwell.integrations.llamaindex.postprocessor import DwellPostprocessor
from dwell.integrations.llamaindex.retriever import DwellRetriever

__all__ = [
    "Capture",
    "DwellPostprocessor",
    "DwellRetriever",
    "Reading",
    "capture",
    "event_ids_of",
    "feedback_for",
]
