"""One Ray for all tests of this folder: on loopback, with a token of its own, and nothing of it left behind."""

import importlib.util
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parent))


class Engine(NamedTuple):
    """A running Ray.

    Attributes:
        ray: The module, connected.
        cluster: Ray's utility that adds and removes nodes.
        address: host:port.
    """

    ray: Any
    cluster: Any
    address: str


def of_ray() -> set[int]:
    """Return the processes that run Ray's own programs or call themselves so."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if words.startswith(b"ray::") or b"/ray/core/src/ray/" in words or b"/ray/_private/" in words:
            found.add(int(folder.name))
    return found


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Give a Ray of one node; it takes several seconds to start, so there is one."""
    if importlib.util.find_spec("ray") is None:
        if os.environ.get("DWELL_GATES") == "required":
            pytest.fail("the tests of clusters need the extra ray")
        pytest.skip("ray is not installed")
    from dwell.cluster.ray_engine import prepare_environment

    before = dict(os.environ)
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    prepare_environment(is_loopback=True)
    folder = tempfile.mkdtemp(prefix="r-", dir="/tmp")  # noqa: S108 - a socket's path may have 107 characters
    os.environ["RAY_TMPDIR"] = folder
    (Path(folder) / "ray").mkdir()  # its utility writes the address there, and does not make it
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 4, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    try:
        yield Engine(ray, cluster, cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
