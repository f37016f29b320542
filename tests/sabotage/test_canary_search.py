"""The search for secrets, seen red: a leak is planted in each place that is listened to, and is found."""

import os
import re
import subprocess
import sys
from pathlib import Path

from dwell.server.keys import Keyring, created
from dwell.server.tokens import SigningKey, mint

KEY = created(Keyring(), kind="secret", name="n", now=0.0, entropy=bytes(range(40))).text
TOKEN = mint([SigningKey(b"k" * 32, 0.0)], tenant="", event_id="e", served=["d"], subject="u", expires_at=1.0)
HEAD = f"""
import logging, os, sys
from tests.canary import CANARY, kept
from tests.e2e.serving import service
KEY, TOKEN = {KEY!r}, {TOKEN!r}
"""
PLANTED = {
    "output": ("print('pepper', CANARY)", "Captured stdout call of test_planted.py::test_output holds the canary"),
    "error_stream": ("print(KEY, file=sys.stderr)", "holds the secret part of a key"),
    "log": ("logging.getLogger('dwell').warning('token %s', TOKEN)", "holds an impression token"),
    "error": (
        "raise ValueError(f'no such key: {KEY}')",
        "an error in test_planted.py::test_error holds the secret part",
    ),
    "raw": ("kept.keep('a pepper', bytes(range(32))); print(bytes(range(32)))", "holds a pepper"),
    "early": (
        "kept.hear('a server', 'pepper: 0123456789abcdef', again=True); kept.keep('another', '0123456789abcdef')",
        "a server holds another",
    ),
}
SOUND = "print('a key of kind secret'); logging.error('dwell_sec_')"
# A module that every Python imports at its start: the service says its pepper before it does anything else
TALKATIVE = "import os, sys\nsys.stderr.write('pepper ' + os.environ.get('DWELL_PEPPER', 'none') + chr(10))\n"


def report_of(tests: dict[str, str], folder: Path, root: Path) -> dict[str, str]:
    """Return what a run of these tests reports of each of them that failed."""
    path = folder / "test_planted.py"
    path.write_text(HEAD + "".join(f"def test_{name}(tmp_path):\n    {code}\n" for name, code in tests.items()))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.canary", "-p", "no:cacheprovider", "-c", os.devnull]
    done = subprocess.run(
        [*command, "--rootdir", str(folder), str(path)],
        cwd=root, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    parts = re.split(r"^_{3,} test_(\w+) _{3,}$", done.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_a_leak_is_found_wherever_it_is_planted(tmp_path: Path, root: Path) -> None:
    found = report_of({**{name: code for name, (code, _) in PLANTED.items()}, "sound": SOUND}, tmp_path, root)
    assert set(found) == set(PLANTED)
    for name, (_, what) in PLANTED.items():
        assert "a secret was said" in found[name]
        assert what in found[name]


def test_a_server_that_says_its_pepper_is_found(tmp_path: Path, root: Path) -> None:
    (tmp_path / "talkative").mkdir()
    (tmp_path / "talkative" / "sitecustomize.py").write_text(TALKATIVE)
    path = os.pathsep.join([str(tmp_path / "talkative"), str(root / "src")])
    serve = (
        "with service(tmp_path / 's', '--features', 'a', '--no-auth', environment={'DWELL_PEPPER': CANARY, **%r}): 0"
    )
    found = report_of({"talkative": serve % {"PYTHONPATH": path}}, tmp_path, root)
    assert "the log of dwell serve holds the canary" in found["talkative"]
