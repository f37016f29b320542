"""Names of attributes, as OpenTelemetry and OpenInference write them; what begins with `dwell.` is this project's own.

Sources: open-telemetry/semantic-conventions-genai, docs/gen-ai/gen-ai-spans.md (Retrievals) and gen-ai-events.md
(`gen_ai.evaluation.result`), status Development: they may change; Arize-ai/openinference, spec/semantic_conventions.md
and spec/annotations.md.
"""

from typing import Final

__all__ = [
    "DATA_SOURCE",
    "DOCUMENTS",
    "DWELL_DOCUMENT",
    "DWELL_EVENT_ID",
    "DWELL_SEGMENT",
    "ERROR_TYPE",
    "EVALUATION",
    "EVALUATION_LABEL",
    "EVALUATION_NAME",
    "EVALUATION_VALUE",
    "INPUT_VALUE",
    "OPENINFERENCE_KIND",
    "OPERATION",
    "QUERY_TEXT",
    "RETRIEVAL",
    "RETRIEVER",
    "TOP_K",
    "USERS",
]

OPERATION: Final = "gen_ai.operation.name"
RETRIEVAL: Final = "retrieval"  # the operation
DATA_SOURCE: Final = "gen_ai.data_source.id"
QUERY_TEXT: Final = "gen_ai.retrieval.query.text"
DOCUMENTS: Final = "gen_ai.retrieval.documents"
TOP_K: Final = "gen_ai.retrieval.top_k"  # until 2026 gen_ai.request.top_k, which says how a model samples

EVALUATION: Final = "gen_ai.evaluation.result"  # the event
EVALUATION_NAME: Final = "gen_ai.evaluation.name"
EVALUATION_VALUE: Final = "gen_ai.evaluation.score.value"
EVALUATION_LABEL: Final = "gen_ai.evaluation.score.label"

OPENINFERENCE_KIND: Final = "openinference.span.kind"
RETRIEVER: Final = "RETRIEVER"  # the kind
INPUT_VALUE: Final = "input.value"

ERROR_TYPE: Final = "error.type"
USERS: Final = ("user.id", "enduser.id")  # OpenInference and OpenTelemetry, then what OpenTelemetry had before

DWELL_EVENT_ID: Final = "dwell.event_id"
DWELL_DOCUMENT: Final = "dwell.document.id"
DWELL_SEGMENT: Final = "dwell.segment"
