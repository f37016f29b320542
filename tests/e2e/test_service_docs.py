"""What the pages say of `dwell serve` is done, block by block, with a real service and a real `curl`.

Every `console served` block is run in one shell per page: `$ dwell serve ...` starts the service (on a free port), any
other `$` line goes to `sh`. What stands below a `curl` must be what it prints: the same status, the same keys, the same
kinds of values, and the same texts, `...` standing for anything.
"""

import contextlib
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .serving import ROOT, Service, service

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "docs.py"))
PAGES = ("README.md", "docs/service.md", "docs/personalizer.md")
ADDRESS = "127.0.0.1:8765"
END = "\x1e"
FOLLOWS_S = 1.0  # a service takes over new keys within that time
LEARNER_S = 30.0


def blocks(text: str) -> list[str]:
    """Return the blocks of a page that are run here."""
    return [block.text for block in SCRIPT["fences"](text) if block.language == "console" and "served" in block.flags]


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a block with what is shown below it; a quote or a backslash goes on in the next line."""
    for part in re.split(r"^(?=\$ )", block, flags=re.MULTILINE):
        lines = part.splitlines()
        for n in range(1, len(lines) + 1):
            command = "\n".join(lines[:n]).removeprefix("$ ")
            with contextlib.suppress(ValueError):
                shlex.split(command)
                if not command.endswith(("\\", "|")):
                    yield command, "\n".join(lines[n:]).strip()
                    break


class Shell:
    """One `sh` in which a page's commands are run; its `curl` also says the status, its `dwell` is this one."""

    def __init__(self, folder: Path) -> None:
        programs = folder / ".bin"
        programs.mkdir()
        curl = shutil.which("curl")
        assert curl, "curl is needed to run the pages"
        for name, line in (
            ("curl", f"exec {curl} --max-time 60 -w '%{{stderr}}\\nstatus %{{http_code}}\\n' \"$@\""),
            ("dwell", f'exec {shlex.quote(sys.executable)} -m dwell "$@"'),
        ):
            (programs / name).write_text(f"#!/bin/sh\n{line}\n")
            (programs / name).chmod(0o755)
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PATH": f"{programs}:{os.environ['PATH']}"}
        self._errors = folder / ".errors"
        self._process = subprocess.Popen(
            ["sh"], cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, command: str) -> tuple[str, list[int], str]:
        """Return what a command printed, the statuses of its calls, and what it complained of."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{{ {command}\n}} 2>.errors\nprintf '\\n{END}%s\\n' \"$?\"\n")
        self._process.stdin.flush()
        printed: list[str] = []
        for line in self._process.stdout:
            if line.startswith(END):
                errors = self._errors.read_text(encoding="utf-8")
                assert line[1:].strip() == "0", f"{command}\n{''.join(printed)}{errors}"
                statuses = re.findall(r"^status (\d+)$", errors, re.MULTILINE)
                return "".join(printed).strip(), [int(status) for status in statuses], errors
            printed.append(line)
        raise AssertionError(f"the shell ended: {command}")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


def matches(shown: str, printed: str) -> bool:
    """Tell whether a text is what is shown, `...` standing for anything."""
    return re.fullmatch(".*".join(re.escape(piece) for piece in shown.split("...")), printed, re.DOTALL) is not None


def differences(shown: Any, printed: Any, at: str = "") -> Iterator[str]:
    """Yield where an answer differs from what the page shows: its keys, the kinds of its values, its texts."""
    if isinstance(shown, dict) and isinstance(printed, dict):
        for key in printed.keys() - shown.keys() if "..." not in shown else ():
            yield f"{at}/{key}: is answered, and not shown"
        for key in shown.keys() - printed.keys() - {"..."}:
            yield f"{at}/{key}: is shown, and not answered"
        for key in shown.keys() & printed.keys():
            yield from differences(shown[key], printed[key], f"{at}/{key}")
    elif isinstance(shown, list) and isinstance(printed, list):
        n = len(shown) - 1 if shown[-1:] == ["..."] else max(len(shown), len(printed))
        if len(shown[:n]) != len(printed[:n]):
            yield f"{at}: {len(shown)} are shown, {len(printed)} answered"
        for i, (one, other) in enumerate(zip(shown[:n], printed[:n], strict=False)):
            yield from differences(one, other, f"{at}/{i}")
    elif not is_like(shown, printed):
        yield f"{at}: {shown!r} is shown, {printed!r} answered"


def is_like(shown: Any, printed: Any) -> bool:
    """Tell whether two values that hold no others are of one kind, and texts, truths and nulls the same."""
    if isinstance(shown, str) and isinstance(printed, str):
        return matches(shown, printed)
    if isinstance(shown, bool) or isinstance(printed, bool) or shown is None or printed is None:
        return shown is printed
    return isinstance(shown, int | float) and isinstance(printed, int | float)


def documents(text: str) -> list[Any] | None:
    """Return the JSON documents of a text: one, or one per line; None where it is none."""
    try:
        return [json.loads(text)]
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()] or None
    except ValueError:
        return None


def check(command: str, shown: str, printed: str, statuses: list[int]) -> None:
    """Fail unless a command did what the page shows."""
    if shown.startswith("HTTP/1.1"):
        head, _, shown = shown.partition("\n\n")
        said, _, printed = printed.replace("\r", "").partition("\n\n")
        for line in head.splitlines():
            is_said = any(matches(line.lower(), one.lower().strip()) for one in said.splitlines())
            assert is_said, f"{command}\n{line!r} is not in\n{said}"
    told = documents(shown)
    is_problem = told is not None and isinstance(told[0], dict) and "code" in told[0]
    due = {told[0]["status"]} if is_problem and told is not None else {200, 201, 204}
    assert set(statuses) <= due, f"{command}\nanswered {statuses}, {due} is shown\n{printed}"
    if told is None:
        assert not shown or matches(shown, printed), f"{command}\nshown\n{shown}\nprinted\n{printed}"
        return
    found = documents(printed)
    assert found is not None, f"{command}\nis no JSON: {printed}"
    assert list(differences(told, found)) == [], f"{command}\nshown\n{shown}\nprinted\n{printed}"


class Page:
    """One page being run: its shell, and the service that runs at the moment."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._shell = Shell(folder)
        stack.callback(self._shell.close)
        self._running: contextlib.ExitStack | None = None
        self._address = ADDRESS

    def run(self, command: str, shown: str) -> None:
        words = shlex.split(command, comments=True)
        if words[:2] == ["dwell", "serve"]:
            self._serve(words[2:], shown)
            return
        printed, statuses, errors = self._shell.run(command.replace(ADDRESS, self._address))
        assert "curl" not in command or statuses, f"{command}\nasked nothing: {errors}"
        check(command, shown, printed, statuses)
        if words[:2] == ["dwell", "keys"] or "dwell keys" in command:
            time.sleep(FOLLOWS_S)

    def _serve(self, arguments: list[str], shown: str) -> None:
        if self._running is not None:
            self._running.close()
        self._running = self._stack.enter_context(contextlib.ExitStack())
        found = self._running.enter_context(service(None, *arguments, cwd=self._folder))
        self._address = found.url.removeprefix("http://")
        if shown:
            assert shown.replace(ADDRESS, self._address) in found.said, f"shown: {shown}\nsaid: {found.said}"
        wait_for_the_learner(found)


def wait_for_the_learner(found: Service) -> None:
    """Return once the learner's process runs, and has answered where nobody is asked for a key."""
    until = time.monotonic() + LEARNER_S
    while time.monotonic() < until:
        status, health, _ = found.call("GET", "/v1/health")
        is_up = found.call("GET", "/readyz")[1]["learner"] == "up"
        if is_up and (status == 401 or "figures" not in health):
            return
        time.sleep(0.2)
    raise AssertionError("the learner did not start")


def done(text: str, folder: Path) -> int:
    """Run a page's blocks and return how many calls it made."""
    n = 0
    example = ROOT / "docs" / "dwell.toml"
    if example.exists():
        shutil.copy(example, folder / "dwell.toml")
    with contextlib.ExitStack() as stack:
        page = Page(folder, stack)
        for block in blocks(text):
            for command, shown in commands(block):
                page.run(command, shown)
                n += "curl" in command
    return n


def written() -> list[str]:
    return [name for name in PAGES if (ROOT / name).exists()]


@pytest.mark.parametrize("name", written())
def test_every_call_of_the_page_is_answered_as_it_shows(name: str, tmp_path: Path) -> None:
    assert done((ROOT / name).read_text(encoding="utf-8"), tmp_path) >= 3


@pytest.mark.parametrize("name", written())
def test_no_call_of_the_page_stands_outside_of_what_is_run(name: str) -> None:
    for block in SCRIPT["fences"]((ROOT / name).read_text(encoding="utf-8")):
        if "curl" in block.text:
            assert (block.language, block.flags) == ("console", ("served",)), f"{name}:{block.line}"


RIGHT = """```console served
$ dwell serve s.dwell --features a --no-auth
$ curl -s http://127.0.0.1:8765/v1/rank -d '{"query": "q",
    "candidates": [{"id": "x", "a": 1}], "event_id": "e"}'
{"event_id": "e", "ids": ["x"], "scores": [0.0], "propensities": [1.0], "params_version": 0, "token": "...",
 "fallback": null, "recorded": "queued"}
```
"""


def test_a_page_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    wrong = {
        "a key too few": RIGHT.replace(', "params_version": 0', ""),
        "a key too many": RIGHT.replace('"fallback"', '"more": 1, "fallback"'),
        "another kind": RIGHT.replace('"params_version": 0', '"params_version": "0"'),
        "another text": RIGHT.replace('"queued"', '"durable"'),
        "another length": RIGHT.replace('["x"]', '["x", "y"]'),
        "a null": RIGHT.replace('"token": "..."', '"token": null'),
        "another status": RIGHT.replace('"query": "q",', '"query": 3,'),
        "a call that is not there": RIGHT.replace("/v1/rank", "/v1/ranc"),
    }
    assert done(RIGHT, tmp_path) == 1
    shown = next(shown for command, shown in commands(blocks(RIGHT)[0]) if "curl" in command)
    answer = json.loads(shown)
    printed = {**answer, "token": "AQAA", "scores": [-0.0]}
    assert list(differences(answer, printed)) == []
    for kind, text in wrong.items():
        if kind in {"another status", "a call that is not there"}:
            continue
        told = next(s for command, s in commands(blocks(text)[0]) if "curl" in command)
        assert list(differences(json.loads(told), printed)), kind
    problem = json.dumps({"status": 400, "code": "type"})
    with pytest.raises(AssertionError, match="answered"):
        check("curl", shown, problem, [400])
    with pytest.raises(AssertionError, match="answered"):
        check("curl", problem, problem, [404])
