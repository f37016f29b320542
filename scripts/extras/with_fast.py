"""The compiled engine draws what numpy draws."""

import numpy as np

import dwell

SPEC = dwell.ColumnSpec({"x": ((2,), np.dtype("float32"))})
drawn = []
for engine in ("numpy", "numba"):
    buffer = dwell.ReplayBuffer(64, columns=SPEC, seed=1, engine=engine)
    ids = [f"e{i}" for i in range(64)]
    columns = {"x": np.zeros((64, 2), "float32")}
    buffer.extend_columns(ids, timestamps=np.arange(64.0), columns=columns, priorities=np.arange(1.0, 65.0))
    drawn.append(buffer.sample(32, strategy="priority").seqs.tolist())
assert drawn[0] == drawn[1]
print(f"the same {len(drawn[1])} events by numba and by numpy")
