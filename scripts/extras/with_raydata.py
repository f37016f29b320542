"""A job of Ray Data looks at every part."""

from dwell.cluster.ray_engine import started
from dwell.cluster.ray_jobs import by_ray_data

with started(n_cpus=2):
    print(list(by_ray_data()(str.upper, ["one", "two"])))
