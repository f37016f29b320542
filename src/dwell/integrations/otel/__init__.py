"""OpenTelemetry: a loop's calls as spans, and the retrievals that are traced already as a loop's experience.

`traced` tells a tracer what a loop does (extra `otel`). `RetrievalCapture` records the retrievals of a traced process
as they end, `import_otel` and `import_otel_files` those that a collector wrote down; these need no library.
"""

from dwell.integrations.otel.capture import RetrievalCapture
from dwell.integrations.otel.importing import import_otel, import_otel_files
from dwell.integrations.otel.records import OtelReport, Refusal
from dwell.integrations.otel.tracing import TracedLoop, traced

__all__ = [
    "OtelReport",
    "Refusal",
    "RetrievalCapture",
    "TracedLoop",
    "import_otel",
    "import_otel_files",
    "traced",
]
