"""Values that pyactup 2.2.5, pyactr 0.3.2 and pyibl 5.2.2 computed, where their folder is beside the project."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

SHARED = os.environ.get("DWELL_SHARED")


@pytest.fixture(scope="session")
def reference(root: Path) -> dict[str, Any]:
    path = (Path(SHARED) if SHARED else root.parent / "shared") / "data" / "actr" / "reference.json"
    if not path.exists():
        pytest.skip("the reference values are not beside the project; DWELL_SHARED names the folder that holds them")
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read
