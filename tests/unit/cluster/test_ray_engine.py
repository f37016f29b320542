"""Ray is not loaded until it is needed, its token is nobody else's to read, and its namespaces hold no secret."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dwell.cluster.ray_engine import answers, check_resources, namespace_of, prepare_environment
from dwell.errors import ConfigError


def test_importing_the_room_loads_neither_ray_nor_arrow() -> None:
    rooms = "ray_engine, ray_host, ray_recipe, ray_scaling, ray_shards, ray_status, ray_jobs, training"
    words = f"import sys; from dwell.cluster import {rooms}; print({{'ray', 'pyarrow', 'pandas'}} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, check=True, env=os.environ.copy()
    )
    assert ran.stdout == "set()\n"


def test_a_namespace_tells_stores_and_tenants_apart_and_shows_no_password(tmp_path: Path) -> None:
    one = namespace_of(str(tmp_path / "a.dwell"), "")
    assert one == namespace_of(str(tmp_path / "." / "a.dwell"), "")
    assert len({one, namespace_of(str(tmp_path / "b.dwell"), ""), namespace_of(str(tmp_path / "a.dwell"), "t")}) == 3
    assert namespace_of("postgresql://u:one@h/d", "") == namespace_of("postgresql://u:two@h/d", "")


@pytest.mark.parametrize(("n_cpus", "n_bytes"), [(0, 100_000_000), (True, 100_000_000), (1.5, 100_000_000), (1, 1_000)])
def test_resources_that_ray_can_not_start_with_are_refused(n_cpus: object, n_bytes: object) -> None:
    with pytest.raises(ConfigError, match="whole number of at least"):
        check_resources(n_cpus, n_bytes)


def test_the_token_is_made_once_and_read_by_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("RAY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "")  # so that what is set is taken back
        monkeypatch.delenv(name)
    prepare_environment(is_loopback=False)
    token = tmp_path / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    text = token.read_text()
    assert len(text) == 64
    prepare_environment(is_loopback=False)
    assert token.read_text() == text
    assert os.environ["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize("address", ["", "nowhere", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:99999999", "127.0.0.1:1"])
def test_nobody_answers_where_nobody_is(address: str) -> None:
    assert not answers(address)
