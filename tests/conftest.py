"""What every test relies on: the same examples on each run, and no setting from the shell that started it."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from . import canary

# A gate must not depend on luck: examples are derived from the test itself. `HYPOTHESIS_PROFILE=explore` searches on.
settings.register_profile(
    "gate", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", deadline=None, print_blob=True, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))


def pytest_configure(config: pytest.Config) -> None:
    """Search everything that is said during the run for secrets."""
    config.pluginmanager.register(canary, "dwell-canary")


@pytest.fixture(autouse=True)
def _no_settings_from_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove each DWELL_ variable: a pepper or a setting of the developer's would change what is tested."""
    for name in list(os.environ):
        if name.startswith("DWELL_") and name != "DWELL_GATES":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the root of the project."""
    return Path(__file__).resolve().parent.parent
