"""The driver is there: that nobody listens is told by name."""

import dwell
from dwell.errors import MissingDependencyError, StorageError

try:
    dwell.open("postgresql://nobody@127.0.0.1:9/none", features=["good"], pepper="p")
except MissingDependencyError:
    raise
except StorageError as error:
    print(str(error).splitlines()[0][:80])
