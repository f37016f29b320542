"""Logs that other systems keep, into a loop: read item by item, taken once, gone on with where they were left.

`import_log` reads one log, `import_logs` several. docs/imports.md has a table per format.
"""

from dwell.integrations.importing.formats import FORMATS, TABLES
from dwell.integrations.importing.records import ImportReport
from dwell.integrations.importing.taking import import_log, import_logs

__all__ = ["FORMATS", "TABLES", "ImportReport", "import_log", "import_logs"]
