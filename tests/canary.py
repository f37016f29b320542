"""A search for secrets over the whole run: what servers printed, what tests captured, what errors and answers said.

Every key and pepper that the tests' servers use is kept here, and every word that leaves a server is heard. A secret
that is heard fails the test during which it was. Keys and tokens are known by their form as well: one that nobody
kept is found too. What must hold a secret (the key that `dwell keys create` prints, the token that comes with a list)
is not told to `hear`.
"""

from __future__ import annotations

import base64
import re
import threading
import traceback
from collections.abc import Generator
from typing import Any, Final

import pytest

__all__ = ["CANARY", "Canary", "kept", "pytest_runtest_makereport"]

#: Stands for a secret wherever one can be chosen: a pepper, a key that is wrong, a cookie, an idempotency key
CANARY: Final = "canary-5f1d0c9a7be24a83a1f6-do-not-tell"
_SHORTEST: Final = 16  # characters; anything shorter is found by chance
_FORMS: Final = {
    "the secret part of a key": re.compile(r"dwell_(?:pub|agt|sec|adm)_[0-9A-Za-z]{11}_[0-9A-Za-z]{43}"),
    "an impression token": re.compile(r"(?<![\w.-])[A-Za-z0-9_-]{70,}\.[A-Za-z0-9_-]{43}(?![\w.-])"),
}
_MOST_KEPT: Final = 200_000  # characters of one text that are searched again for secrets that are kept later


class Canary:
    """Secrets, what was said, and where the one was found in the other. Safe from any thread."""

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {}
        self._said: list[tuple[str, str]] = []
        self._leaks: list[str] = []
        self._lock = threading.Lock()

    def keep(self, what: str, secret: str | bytes) -> None:
        """Remember a secret in each way in which it could be written; what was said before is searched for it.

        Args:
            what: What it is, for the report, which never shows the secret itself.
            secret: At least 16 characters or bytes.
        """
        for text in _spelled(secret):
            assert len(text) >= _SHORTEST, f"{what} is too short to be looked for"
            with self._lock:
                if text not in self._secrets:
                    self._secrets[text] = what
                    self._leaks += [f"{where} holds {what}" for where, said in self._said if text in said]

    def hear(self, where: str, said: str, *, again: bool = False) -> None:
        """Search a text for every secret.

        Args:
            where: Who said it, for the report.
            said: The text.
            again: Whether it is kept, to be searched for secrets that are only known later.
        """
        with self._lock:
            self._leaks += [f"{where} holds {what}" for text, what in self._secrets.items() if text in said]
            self._leaks += [f"{where} holds {what}" for what, form in _FORMS.items() if form.search(said)]
            if again:
                self._said.append((where, said[:_MOST_KEPT]))

    def leaks(self) -> list[str]:
        """Return where secrets were found since this was asked for last."""
        with self._lock:
            found, self._leaks = self._leaks, []
        return list(dict.fromkeys(found))


def _spelled(secret: str | bytes) -> list[str]:
    if isinstance(secret, str):
        return [secret]
    written = [secret.hex(), base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode()]
    return [*(text.rstrip("=") for text in written), repr(secret)[2:-1]]


kept = Canary()
kept.keep("the canary", CANARY)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test during which a secret was said, by a server, in captured output or log, or in an error."""
    report = yield
    for title, text in report.sections:
        kept.hear(f"{title} of {item.nodeid}", text)
    if call.excinfo is not None and not isinstance(call.excinfo.value, AssertionError):
        kept.hear(f"an error in {item.nodeid}", "".join(traceback.format_exception(call.excinfo.value)))
    leaks = kept.leaks()
    if leaks:
        report.outcome = "failed"
        report.longrepr = "a secret was said:\n" + "\n".join(leaks)
    return report
