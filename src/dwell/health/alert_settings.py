"""When an alert is raised and when it is over, and who is told."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from dwell.errors import ConfigError

__all__ = ["MIN_SECRET_CHARACTERS", "AlertSettings"]

MIN_SECRET_CHARACTERS: Final = 32  # RFC 2104, section 3: a key of HMAC is no shorter than its digest
_URL: Final = re.compile(r"https://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?(?:/[!-\x22$-~]*)?")
_MOST_URL: Final = 2_000  # characters; longer ones are cut somewhere on their way


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """When an alert fires, when it is over, and who is told.

    Attributes:
        every_s: How often `dwell serve` looks, in [1, 86400].
        raise_after_reports: Reports in a row that say so before an alert fires, >= 1.
        raise_after_s: Or the time for which they said so, whichever comes first, >= 0.
        clear_after_reports: Reports in a row that no longer say so before it is over, >= 1.
        clear_after_s: And the time for which they did not, no shorter than `raise_after_s`.
        margin: How far a figure must be from the values at which it was bad before it counts as good again, as a share
            of the nearest of them, in [0, 1].
        webhook_url: Where changes are sent to, https on a public address; "" sends nothing.
        webhook_secret: What they are signed with, at least 32 characters; its repr does not show it.
    """

    every_s: float = 60.0  # as often as Prometheus evaluates rules by default
    raise_after_reports: int = 3  # two of them may stand in one burst
    raise_after_s: float = 120.0  # as long as three reports take
    clear_after_reports: int = 3
    clear_after_s: float = 600.0  # a choice: who is called twice in ten minutes for one thing looks away
    margin: float = 0.05  # a choice: shares of some hundreds of events move by so much by chance
    webhook_url: str = field(default="", repr=False)  # its path may be what lets one in
    webhook_secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("every_s", 1.0, 86_400.0),
            ("raise_after_reports", 1, 1_000),
            ("raise_after_s", 0.0, 1e6),
            ("clear_after_reports", 1, 1_000),
            ("clear_after_s", 0.0, 1e7),
            ("margin", 0.0, 1.0),
        ):
            value = getattr(self, name)
            wanted = int if name.endswith("_reports") else (int, float)
            if isinstance(value, bool) or not isinstance(value, wanted) or not low <= value <= high:
                kind = "a whole number" if wanted is int else "a number"
                raise ConfigError(
                    f"an alert setting is {kind} in [{low:g}, {high:g}]",
                    field=f"alerts.{name}",
                    value=value,
                    hint="Correct the setting.",
                )
        if self.clear_after_s < self.raise_after_s:
            raise ConfigError(
                "an alert would be over sooner than it is raised",
                field="alerts.clear_after_s",
                value=self.clear_after_s,
                hint=f"Give at least alerts.raise_after_s, {self.raise_after_s:g}.",
            )
        self._check_webhook()

    def _check_webhook(self) -> None:
        if not self.webhook_url:
            return
        if len(self.webhook_url) > _MOST_URL or not _URL.fullmatch(self.webhook_url):
            raise ConfigError(
                "alerts are sent to an https address, without a user's name or a fragment in it",
                field="alerts.webhook_url",
                value="(not shown)",
                hint="Write it as https://host/path.",
            )
        if len(self.webhook_secret) < MIN_SECRET_CHARACTERS:
            raise ConfigError(
                f"what is sent is signed, with a secret of at least {MIN_SECRET_CHARACTERS} characters",
                field="alerts.webhook_secret",
                value="(not shown)",
                hint="Set DWELL_ALERTS_WEBHOOK_SECRET to what `openssl rand -hex 32` prints.",
            )
