"""Sync runs as leased work: read and plan without holding a transaction, apply in short ones.

A worker that dies anywhere leaves a run the next one goes on with: a plan is stored whole or not
at all, and each of its rows says itself whether it was applied.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

import structlog
from sqlalchemy import and_, or_
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.integrations.imports import operations, queries, rules
from services.api.integrations.imports.operations import LeaseLostError, Source
from services.api.integrations.imports.rules import RunStatus
from services.api.timers import queries as timers
from shared.persistence import leases
from shared.persistence.leases import ENDLESS, NOW, Claim, JobDatabase, Queue, Search
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.workers.backoff import Backoff

# A run that keeps killing its worker is claimed once more, to be given up in sight of everybody.
QUEUE = Queue(queries.RUN, lease_seconds=30, max_attempts=ENDLESS)
DUE = Search(
    QUEUE,
    and_(
        or_(*(queries.RUN.c.status == status for status in rules.WORKED_ON)),
        queries.RUN.c.due_at <= NOW,
    ),
    limit=1,
)
MOST_ATTEMPTS = 5
RETRYING = Backoff(first=1, ceiling=60)
WAITING = timedelta(seconds=1)

logger = structlog.get_logger()


async def turn(database: JobDatabase) -> int:
    """Work on one sync run that is due; return how many there were."""
    claims = await leases.claim(database.claims, DUE, now=database.clock())
    for claimed in claims:
        await _work(database, claimed)
    return len(claims)


async def _work(database: JobDatabase, claimed: Claim) -> None:
    try:
        given = await begin(database, claimed)
        if given is not None:
            await plan(database, claimed, given)
        while await apply_chunk(database, claimed):
            await leases.renew(database.claims, QUEUE, claimed, now=database.clock())
    except LeaseLostError:
        logger.info("lease_lost", operation="imports", subject_id=str(claimed.id))
    except Exception as error:  # noqa: BLE001 - whatever it was, it is retried and then shown
        logger.warning("sync_run_failed", error_type=type(error).__name__)
        await _retry(database, claimed)


async def begin(database: JobDatabase, claimed: Claim) -> Source | None:
    """Return what a plan is to be made from; None when there is a plan, or nothing to do now."""
    async with _run_transaction(database, claimed) as session:
        run = await operations.lock_claimed(session, claimed)
        now = await _now(database, session, claimed)
        if claimed.attempts > MOST_ATTEMPTS:
            operations.fail(session, run=run, code="worker_lost", now=now)
            return None
        if run.status is not RunStatus.APPLYING and await queries.is_connection_busy(
            session, run=run
        ):
            operations.leave(run, due_at=database.clock() + WAITING)
            run.attempts = 0
            return None
        if run.status in {RunStatus.QUEUED, RunStatus.VALIDATING}:
            return await operations.source(session, run=run, now=now)
        return None


async def plan(database: JobDatabase, claimed: Claim, given: Source) -> None:
    """Read the file with no transaction open, then store the plan in one."""
    inputs = await asyncio.to_thread(operations.read, given)
    async with _run_transaction(database, claimed) as session:
        run = await operations.lock_claimed(session, claimed)
        await operations.store_plan(
            session,
            run=run,
            document=given.document,
            inputs=inputs,
            now=await _now(database, session, claimed),
        )


async def apply_chunk(database: JobDatabase, claimed: Claim, *, limit: int = rules.CHUNK) -> int:
    """Apply the next rows in one transaction; return how many, none once the run is finished."""
    async with _run_transaction(database, claimed) as session:
        run = await operations.lock_claimed(session, claimed)
        now = await _now(database, session, claimed)
        if run.status is RunStatus.PLANNED:
            operations.begin_applying(session, run=run, now=now)
        return await operations.apply_next(session, run=run, limit=limit, now=now)


async def _retry(database: JobDatabase, claimed: Claim) -> None:
    async with _run_transaction(database, claimed) as session:
        try:
            run = await operations.lock_claimed(session, claimed)
        except LeaseLostError:
            return
        operations.leave(run, due_at=database.clock() + RETRYING.after(claimed.attempts))


def _run_transaction(
    database: JobDatabase, claimed: Claim
) -> AbstractAsyncContextManager[AsyncSession]:
    return transaction(database.sessions, Tenant(claimed.organization_id))


async def _now(database: JobDatabase, session: AsyncSession, claimed: Claim) -> datetime:
    return await timers.organization_now(
        session, organization_id=claimed.organization_id, real_now=database.clock()
    )
