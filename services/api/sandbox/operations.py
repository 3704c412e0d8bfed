"""Move a sandbox's clock and empty a sandbox: what is asked for at once, and each step of it."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access.rules import Actor
from services.api.people.tables import Person
from services.api.sandbox import queries, rules
from services.api.timers.tables import OrganizationClock
from shared.persistence.leases import Claim
from shared.persistence.reads import SessionReader


async def advance(
    session: AsyncSession,
    *,
    actor: Actor,
    days: int | None,
    until: datetime | None,
    real_now: datetime,
) -> OrganizationClock:
    """Send the clock on its way; a worker does what is due as it goes."""
    clock = await _own_clock(session, actor)
    clock.advance_to = rules.destination(
        now=real_now + timedelta(seconds=clock.offset_seconds),
        going_to=clock.advance_to,
        real_now=real_now,
        days=days,
        until=until,
    )
    return clock


async def ask_for_reset(
    session: AsyncSession, *, actor: Actor, real_now: datetime
) -> OrganizationClock:
    """Ask a worker to empty the sandbox."""
    clock = await _own_clock(session, actor)
    clock.reset_at = clock.reset_at or real_now
    return clock


async def _own_clock(session: AsyncSession, actor: Actor) -> OrganizationClock:
    await queries.clock(SessionReader(session), organization_id=actor.organization_id)
    return await queries.lock_clock(session, organization_id=actor.organization_id)


async def hold(session: AsyncSession, claimed: Claim) -> OrganizationClock | None:
    """Load the clock for a step; None when somebody else moves it now."""
    clock = await queries.lock_clock(session, organization_id=claimed.organization_id)
    return clock if clock.lease_token == claimed.lease_token else None


def let_go(clock: OrganizationClock) -> None:
    """Give the clock back, its work being done."""
    clock.leased_until = clock.lease_token = clock.failure = None
    clock.attempts = 0


async def empty(session: AsyncSession, *, organization_id: UUID) -> None:
    """Delete everything but the organization, those who run it, and its keys."""
    await session.execute(
        update(Person)
        .where(col(Person.organization_id) == organization_id)
        .values(manager_id=None)
        .execution_options(synchronize_session=False)
    )
    for table, goes in queries.emptied():
        await session.execute(delete(table).where(table.c.organization_id == organization_id, goes))
