"""Fire due timers, each once and in the order they are due."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from sqlalchemy import and_, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.timers import queries
from services.api.timers.tables import OrganizationClock, Timer
from shared.persistence import leases
from shared.persistence.leases import NOW, Claim, JobDatabase, Queue, Search
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.workers.backoff import Backoff
from shared.workers.rows import work_off

TIMERS = Timer.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
CLOCKS = OrganizationClock.__table__  # type: ignore[attr-defined]  # as above
QUEUE = Queue(TIMERS, lease_seconds=30, max_attempts=7)
BACKOFF = Backoff(first=0.5, ceiling=60)
BATCH = 20

WITH_CLOCK = TIMERS.join(CLOCKS, TIMERS.c.organization_id == CLOCKS.c.organization_id)
_OFFSET = func.make_interval(0, 0, 0, 0, 0, 0, CLOCKS.c.offset_seconds)
_DUE = and_(TIMERS.c.done_at.is_(None), TIMERS.c.due_at <= NOW + _OFFSET)
DUE = Search(
    QUEUE,
    and_(_DUE, CLOCKS.c.advance_to.is_(None)),
    limit=BATCH,
    joined=WITH_CLOCK,
    organizations=CLOCKS,
)
DUE_IN = Search(
    QUEUE,
    and_(_DUE, CLOCKS.c.organization_id == bindparam("organization_id")),
    limit=BATCH,
    joined=WITH_CLOCK,
)
"""What is due in one organization, whose clock may be moving."""

type OnTimer = Callable[..., Awaitable[None]]
type TimerHandlers = Mapping[str, OnTimer]
"""Who is told, by the part of a timer's kind before the dot."""


async def fire_due(
    database: JobDatabase, handlers: TimerHandlers, *, organization_id: UUID | None = None
) -> int:
    """Fire what is due, and return how many timers that were.

    A sandbox whose clock is moving is left to whoever moves it, who names it.
    """
    now = database.clock()
    claims = (
        await leases.claim(database.claims, DUE, now=now)
        if organization_id is None
        else await leases.claim(database.claims, DUE_IN, now=now, organization_id=organization_id)
    )
    return await work_off(
        database, QUEUE, claims, partial(_fire, database, handlers), backoff=BACKOFF
    )


async def _fire(database: JobDatabase, handlers: TimerHandlers, claimed: Claim) -> None:
    async with transaction(database.sessions, Tenant(claimed.organization_id)) as session:
        await queries.yield_to_people(session)
        now = await queries.organization_now(
            session, organization_id=claimed.organization_id, real_now=database.clock()
        )
        # Taken before the effect: a timer that was moved or cancelled meanwhile has none.
        taken = await _take(session, claimed, now=now)
        if taken is not None:
            kind, subject_id = taken
            await handlers[kind.partition(".")[0]](
                session,
                organization_id=claimed.organization_id,
                kind=kind,
                subject_id=subject_id,
                now=now,
            )


async def _take(session: AsyncSession, claimed: Claim, *, now: datetime) -> tuple[str, UUID] | None:
    result = await session.execute(
        update(Timer)
        .where(
            col(Timer.organization_id) == claimed.organization_id,
            col(Timer.id) == claimed.id,
            col(Timer.lease_token) == claimed.lease_token,
            col(Timer.done_at).is_(None),
        )
        .values(done_at=now, leased_until=None, lease_token=None, failure=None)
        .returning(col(Timer.kind), col(Timer.subject_id))
        .execution_options(synchronize_session=False)
    )
    row = result.one_or_none()
    return None if row is None else (row[0], row[1])


async def organizations(database: JobDatabase) -> Sequence[UUID]:
    """Return every organization there is: each has a clock."""
    async with database.claims.connect() as connection:
        return (await connection.scalars(select(CLOCKS.c.organization_id))).all()
