"""Work off claimed rows one after another; a failing one waits and holds nobody else up."""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from shared.persistence import leases
from shared.persistence.leases import Claim, JobDatabase, Queue
from shared.workers.backoff import Backoff

logger = structlog.get_logger()

type Work = Callable[[Claim], Awaitable[None]]


async def work_off(
    database: JobDatabase, queue: Queue, claims: Sequence[Claim], work: Work, *, backoff: Backoff
) -> int:
    """Do the work of each row and return how many succeeded."""
    succeeded = 0
    for claimed in claims:
        try:
            await work(claimed)
        except Exception as error:  # noqa: BLE001 - kept with the row, which is tried again or dead
            await _put_back(database, queue, claimed, error, backoff)
        else:
            succeeded += 1
    return succeeded


async def _put_back(
    database: JobDatabase, queue: Queue, claimed: Claim, error: Exception, backoff: Backoff
) -> None:
    failure = type(error).__name__
    is_dead = claimed.attempts >= queue.max_attempts
    logger.warning(
        "row_is_dead" if is_dead else "row_failed",
        operation=queue.table.name,
        organization_id=str(claimed.organization_id),
        object_id=str(claimed.id),
        attempt=claimed.attempts,
        error_type=failure,
    )
    until = database.clock() + backoff.after(claimed.attempts)
    await leases.postpone(database.claims, queue, claimed, until=until, failure=failure)
