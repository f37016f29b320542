"""The service starts, answers, and ends when it is told to."""

import os
import re
import signal
import subprocess
import sys
import urllib.request

command = [
    sys.executable,
    "-I",
    "-u",
    "-m",
    "dwell",
    "serve",
    "s.dwell",
    "--features",
    "good",
    "--port",
    "0",
    "--no-auth",
]
environment = {**os.environ, "DWELL_PEPPER": "p" * 32}
with subprocess.Popen(  # noqa: S603 - our own command
    command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
) as service:
    assert service.stdout is not None
    for line in service.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    else:
        raise SystemExit("it did not start")
    with urllib.request.urlopen(f"{found[0]}/readyz", timeout=10) as answer:  # noqa: S310 - on this machine
        status = answer.status
    service.send_signal(signal.SIGTERM)
    service.stdout.read()
assert status == 200
assert service.returncode == 0
print(f"{found[0]} was ready, and ended")
