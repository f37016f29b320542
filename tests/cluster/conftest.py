"""One Ray for all tests of this folder: on loopback, with a token of its own, and nothing of it left behind."""

import importlib.util
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from engines import Engine, bearing

_ENDS_WITHIN_S = 30.0


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
    folder = tempfile.mkdtemp(prefix="r-")  # short: the path of a socket has at most 107 characters
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
        ends_at = time.monotonic() + _ENDS_WITHIN_S
        while (left := bearing(os.environ["RAY_AUTH_TOKEN"])) and time.monotonic() < ends_at:
            time.sleep(0.1)
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
    assert not left, left  # nothing of it stays behind
