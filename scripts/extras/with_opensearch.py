"""That nobody listens is told by name."""

from dwell.errors import MissingDependencyError, StorageError
from dwell.integrations.ubi.opensearch import fetch

try:
    list(fetch("http://127.0.0.1:9", "queries"))
except MissingDependencyError:
    raise
except StorageError as error:
    print(str(error)[:80])
