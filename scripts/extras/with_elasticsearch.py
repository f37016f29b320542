"""The client is there: that nobody listens is told by name."""

from dwell.errors import MissingDependencyError, StorageError
from dwell.integrations.sources.elasticsearch import connect, text_source

try:
    text_source(connect("http://127.0.0.1:9"), "kb", fields=["title"]).search("reset 2fa")
except MissingDependencyError:
    raise
except StorageError as error:
    print(str(error)[:80])
