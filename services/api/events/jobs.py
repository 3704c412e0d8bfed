"""Let features higher in the stack react to facts: once per event, in order per aggregate."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from sqlalchemy import ColumnElement, and_, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.events.tables import OutboxMessage
from services.api.timers import queries as timers
from services.api.timers.tables import OrganizationClock
from shared.persistence import leases
from shared.persistence.leases import Claim, JobDatabase, Queue, Search
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.workers.backoff import Backoff
from shared.workers.rows import work_off

OUTBOX = OutboxMessage.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
CLOCKS = OrganizationClock.__table__  # type: ignore[attr-defined]  # as above
QUEUE = Queue(OUTBOX, lease_seconds=30, max_attempts=7, order=("id",))
BACKOFF = Backoff(first=0.5, ceiling=60)
BATCH = 20

type Consumer = Callable[..., Awaitable[None]]
type Consumers = Mapping[str, Sequence[Consumer]]
"""Who reacts to a type of event, in this order and in one transaction."""


def _ready() -> ColumnElement[bool]:
    older = OUTBOX.alias("older")
    # An aggregate's later facts wait for its earlier ones, until those are given up.
    waits = select(older.c.id).where(
        older.c.organization_id == OUTBOX.c.organization_id,
        older.c.aggregate_id == OUTBOX.c.aggregate_id,
        older.c.id < OUTBOX.c.id,
        older.c.consumed_at.is_(None),
        older.c.attempts < QUEUE.max_attempts,
    )
    return and_(OUTBOX.c.consumed_at.is_(None), ~waits.exists())


WITH_CLOCK = OUTBOX.join(CLOCKS, OUTBOX.c.organization_id == CLOCKS.c.organization_id)
READY = Search(
    QUEUE,
    and_(_ready(), CLOCKS.c.advance_to.is_(None)),
    limit=BATCH,
    joined=WITH_CLOCK,
    organizations=CLOCKS,
)
READY_IN = Search(
    QUEUE,
    and_(_ready(), CLOCKS.c.organization_id == bindparam("organization_id")),
    limit=BATCH,
    joined=WITH_CLOCK,
)
"""What is ready in one organization, whose clock may be moving."""


async def consume(
    database: JobDatabase, consumers: Consumers, *, organization_id: UUID | None = None
) -> int:
    """Apply facts nobody has reacted to yet, and return how many that were.

    A sandbox whose clock is moving is left to whoever moves it, who names it.
    """
    now = database.clock()
    claims = (
        await leases.claim(database.claims, READY, now=now)
        if organization_id is None
        else await leases.claim(database.claims, READY_IN, now=now, organization_id=organization_id)
    )
    return await work_off(
        database, QUEUE, claims, partial(_apply, database, consumers), backoff=BACKOFF
    )


async def _apply(database: JobDatabase, consumers: Consumers, claimed: Claim) -> None:
    async with transaction(database.sessions, Tenant(claimed.organization_id)) as session:
        await timers.yield_to_people(session)
        now = await timers.organization_now(
            session, organization_id=claimed.organization_id, real_now=database.clock()
        )
        taken = await _take(session, claimed, now=now)
        if taken is not None:
            kind, subject_id = taken
            for consumer in consumers[kind]:
                await consumer(
                    session,
                    organization_id=claimed.organization_id,
                    subject_id=subject_id,
                    now=now,
                )


async def _take(session: AsyncSession, claimed: Claim, *, now: datetime) -> tuple[str, UUID] | None:
    result = await session.execute(
        update(OutboxMessage)
        .where(
            col(OutboxMessage.organization_id) == claimed.organization_id,
            col(OutboxMessage.id) == claimed.id,
            col(OutboxMessage.lease_token) == claimed.lease_token,
            col(OutboxMessage.consumed_at).is_(None),
        )
        .values(consumed_at=now, leased_until=None, lease_token=None, failure=None)
        .returning(col(OutboxMessage.type), col(OutboxMessage.aggregate_id))
        .execution_options(synchronize_session=False)
    )
    row = result.one_or_none()
    return None if row is None else (row[0], row[1])
