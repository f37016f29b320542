"""Run the protocol's own conformance suite against `dwell mcp --http`, as far as it asks for no tool of its own.

Needs npx, and a network the first time. Most scenarios of the suite call tools, prompts and resources that its own
example server has (`test_simple_text`, `test://static-text`...): those say nothing of another one, and are left out.

    python scripts/mcp_conformance.py
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

SUITE: Final = "@modelcontextprotocol/conformance@0.1.13"  # 0.1.16 needs a newer Node than 20
SCENARIOS: Final = (
    "server-initialize",
    "ping",
    "tools-list",
    "tools-call-error",
    "server-sse-multiple-streams",
    "resources-list",
    "prompts-list",
    "dns-rebinding-protection",
)
START_S: Final = 60.0
SCENARIO_S: Final = 120.0


def main() -> int:
    """Return 0 where every scenario passes, 1 where one fails, and 0 with a word where there is no npx."""
    npx = shutil.which("npx")
    if npx is None:
        print("no npx here: nothing was run")
        return 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dwell", "mcp", "a.dwell", "--http", "--no-auth", "--port", str(port)]
        server = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)  # noqa: S603 - our own program
        try:
            _wait_for(port)
            failed = [
                name for name in SCENARIOS if not _passes(npx, name, f"http://127.0.0.1:{port}/mcp", Path(folder))
            ]
        finally:
            server.terminate()
            server.wait(30.0)
    print(f"{len(SCENARIOS) - len(failed)} of {len(SCENARIOS)} scenarios pass")
    return 1 if failed else 0


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("the server did not start")


def _passes(npx: str, scenario: str, url: str, folder: Path) -> bool:
    command = [npx, "-y", SUITE, "server", "--url", url, "--scenario", scenario]
    done = subprocess.run(  # noqa: S603 - the suite, at the version named above
        command, cwd=folder, capture_output=True, text=True, timeout=SCENARIO_S, check=False
    )
    is_passed = done.returncode == 0
    print(f"{'passes' if is_passed else 'FAILS '}  {scenario}")
    if not is_passed:
        print(done.stdout[-2_000:], done.stderr[-2_000:])
    return is_passed


if __name__ == "__main__":
    sys.exit(main())
