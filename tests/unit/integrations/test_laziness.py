"""What the adapters load: nothing of another library before it is asked for by name."""

import subprocess
import sys

SAYS = """
import sys
import dwell, dwell.integrations
import dwell.integrations.reranking, dwell.integrations.opened, dwell.integrations.txtai, dwell.integrations.scores
print(sorted(set(sys.modules) & {"haystack", "dspy", "txtai", "langfuse", "phoenix", "opik", "httpx", "opentelemetry"}))
"""


def test_no_library_is_loaded_before_its_own_module_is() -> None:
    done = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
