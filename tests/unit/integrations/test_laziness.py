"""What the adapters load: nothing of another library before it is asked for by name."""

import subprocess
import sys

SAYS = """
import sys
import dwell, dwell.integrations, dwell.integrations.found
import dwell.integrations.reranking, dwell.integrations.opened, dwell.integrations.txtai, dwell.integrations.scores
import dwell.integrations.mem0, dwell.memory, dwell.cli.mcp, dwell.retrieval, dwell.testing.source_contract
from dwell.integrations.sources import chroma, elasticsearch, opensearch, pgvector, qdrant
others = {"haystack", "dspy", "txtai", "langfuse", "phoenix", "opik", "httpx", "opentelemetry"}
others |= {"qdrant_client", "chromadb", "psycopg", "opensearchpy", "elasticsearch"}
others |= {"langchain_core", "langsmith", "llama_index", "pydantic", "mem0", "langgraph", "mcp"}
print(sorted(set(sys.modules) & others))
"""


def test_no_library_is_loaded_before_its_own_module_is() -> None:
    done = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
