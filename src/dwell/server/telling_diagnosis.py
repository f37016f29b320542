"""What is wrong with a tenant's loop, as the service tells it: the learner looks, so that no search waits for it."""

from __future__ import annotations

from typing import Final

from dwell.health.doctor import Diagnosis, finding, with_counted, with_finding
from dwell.server.house import House

__all__ = ["told_diagnosis"]

_PATIENCE_S: Final = 50.0  # below the guard's minute: a learner that is learning looks when it is done
_LEARNER_DOWN: Final = finding(
    "learner_down",
    "warning",
    "the learner's process does not run; searches are served as before, and nothing is learned",
    "It is started anew by itself; where it dies again and again, the log of `dwell serve` says why.",
)


async def told_diagnosis(house: House, tenant: str) -> Diagnosis:
    """Return what is wrong with a loop, from its newest events and what this process has counted.

    Whoever asks while somebody else's look is under way is told what that one finds.

    Args:
        house: The service.
        tenant: Whose loop.

    Raises:
        LearnerDown: The learner is busy for longer than a caller waits.
        StorageError: The loop can not be opened or read.
    """
    loop = house.loop(tenant)
    if house.link.is_up:
        await house.arrivals.of(loop.when_recorded("nothing"))  # what was served before this call is looked at
        found: Diagnosis = await house.calls.shared_call("doctor", tenant, timeout_s=_PATIENCE_S)
        return with_counted(found, loop.counts)
    return with_finding(await house.pages.done(loop.doctor), _LEARNER_DOWN)
