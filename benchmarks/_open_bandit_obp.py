"""The estimators of obp, without the libraries that it needs elsewhere.

obp names torch, pandas and scikit-learn at the top of the modules that hold its estimators, for code paths that are not
called here. They stand in for a moment as empty modules, and are gone again when this returns.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["Obp", "obp_folder", "obp_or_none"]


class Obp(NamedTuple):
    """The two modules of obp that hold estimators."""

    estimators: Any
    estimators_slate: Any


def obp_folder() -> Path | None:
    """Return where obp is installed, or None where it is not; nothing of it is run."""
    spec = importlib.util.find_spec("obp")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    return Path(places[0]) if places else None


def obp_or_none() -> Obp | None:
    """Return the estimators of obp, or None where it is not installed."""
    folder = obp_folder()
    if folder is None:
        return None
    before = dict(sys.modules)
    try:
        for name in ("torch", "pandas", "sklearn", "sklearn.utils"):
            sys.modules[name] = _stand_in(name)
        for name in ("obp", "obp.ope"):
            sys.modules[name] = _package(name)
        _loaded("obp.utils", folder / "utils.py")
        return Obp(
            _loaded("obp.ope.estimators", folder / "ope" / "estimators.py"),
            _loaded("obp.ope.estimators_slate", folder / "ope" / "estimators_slate.py"),
        )
    finally:
        for name in set(sys.modules) - set(before):
            if name.partition(".")[0] in {"torch", "pandas", "sklearn", "obp"}:
                del sys.modules[name]
        sys.modules.update(before)


def _stand_in(name: str) -> ModuleType:
    module = ModuleType(name)
    module.Tensor = type("Tensor", (), {})  # type: ignore[attr-defined]  # torch: named in annotations
    module.DataFrame = type("DataFrame", (), {})  # type: ignore[attr-defined]  # pandas
    module.check_random_state = None  # type: ignore[attr-defined]  # sklearn.utils: for bootstraps only
    return module


def _package(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = []
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    return module


def _loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
