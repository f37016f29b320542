"""Log lines that no secret gets into: one JSON object a line, with keys and tokens masked wherever they stand."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Final

from dwell.storage.places import without_passwords

__all__ = ["MASK", "JsonLines", "log_as_lines", "redacted"]

MASK: Final = "[redacted]"
# By their form, wherever they stand: a key keeps its kind and id, by which it is found and revoked
_KEY: Final = re.compile(r"(dwell_(?:pub|agt|sec|adm)_[0-9A-Za-z]{1,11})_[0-9A-Za-z_]+")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{70,}\.[A-Za-z0-9_-]{20,}")
# By the name before them: what looks like neither, as a key that was cut or that is somebody else's. The mark
# around and after the name covers headers, query strings, JSON, and the repr of a mapping or of pairs of bytes
_NAMED: Final = re.compile(
    r"""(?ix)
    (authorization | x-api-key | subscription-key
        | idempotency-key | cookie | api_?key | token | secret | password | pepper)
    (["']? \s* [:=,] \s* (?:b?["'])? (?:(?:bearer|basic) \s+)?)
    [^\s"'&,;})\]]+
    """
)


def redacted(text: str) -> str:
    """Return text in which keys, tokens, URLs' passwords and what stands after a telling name are masked."""
    text = _KEY.sub(rf"\1_{MASK}", text)
    text = _TOKEN.sub(MASK, without_passwords(text))
    return _NAMED.sub(rf"\1\2{MASK}", text)


class JsonLines(logging.Formatter):
    """A formatter that makes one line of each record: time, level, logger, message, the alert and the traceback if any.

    The whole text is masked after it was put together, traceback included, so that it plays no part how a secret got
    into it. JSON escapes line ends and control characters.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        request_id = getattr(record, "request_id", None)
        if request_id is not None:
            line["request_id"] = redacted(str(request_id))
        alert = getattr(record, "alert", None)
        if alert is not None:
            line["alert"] = {name: redacted(v) if isinstance(v, str) else v for name, v in alert.items()}
        if record.exc_info:
            line["traceback"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line)


def log_as_lines() -> None:
    """Have this process log to its error stream in such lines, from warnings up; a logger set up before stays."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
