"""User Behavior Insights (UBI): searches and reactions as OpenSearch's plugin and its collectors log them.

`import_ubi` and `import_ubi_files` bring them into a loop, `take_ubi` answers one request of a collector, `export_ubi`
writes a loop's experience in the same shape, and `coec` turns clicks into relevance judgments.
"""

from dwell.integrations.ubi.exporting import export_ubi
from dwell.integrations.ubi.importing import import_ubi, import_ubi_files
from dwell.integrations.ubi.judgments import Judgment, Judgments, coec, write_quepid, write_workbench
from dwell.integrations.ubi.reading import read_item
from dwell.integrations.ubi.records import Kind, Refusal, UbiAnswer, UbiEvent, UbiQuery, UbiReport
from dwell.integrations.ubi.taking import take_ubi

__all__ = [
    "Judgment",
    "Judgments",
    "Kind",
    "Refusal",
    "UbiAnswer",
    "UbiEvent",
    "UbiQuery",
    "UbiReport",
    "coec",
    "export_ubi",
    "import_ubi",
    "import_ubi_files",
    "read_item",
    "take_ubi",
    "write_quepid",
    "write_workbench",
]
