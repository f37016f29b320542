"""LangChain: a retriever and a document compressor that a loop orders, and feedback by the ids of runs.

Needs the extra `langchain` (langchain-core), and LangSmith only where a client of it is given.
"""

from dwell.errors import MissingDependencyError

try:
    import langchain_core as _langchain_core  # noqa: F401 - whether it is there
except ImportError as error:
    raise MissingDependencyError("langchain-core is not installed", hint="pip install 'dwell[langchain]'") from error

from dwell.integrations.found import Reading
from dwell.integrations.langchain.compressor import DwellCompressor
from dwell.integrations.langchain.feedback import feedback_for_run
from dwell.integrations.langchain.mirroring import MirroredClient, mirrored_client
from dwell.integrations.langchain.retriever import DwellRetriever
from dwell.integrations.langchain.trail import RunTrail

__all__ = [
    "DwellCompressor",
    "DwellRetriever",
    "MirroredClient",
    "Reading",
    "RunTrail",
    "feedback_for_run",
    "mirrored_client",
]
