"""Ray starts on loopback, says where, and ends."""

from dwell.cluster.ray_engine import answers, started

with started(n_cpus=1) as (ray, address):
    assert answers(address)
    print(f"ray {ray.__version__} answered")
