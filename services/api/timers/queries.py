"""Reads of clocks and timers, for background work."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.timers.tables import OrganizationClock

# Far below the limit of requests: where work and a person want the same row, the work gives way.
_YIELD = text("SELECT set_config('lock_timeout', '300', true)")


async def yield_to_people(session: AsyncSession) -> None:
    """Let this transaction give up early when it meets a lock, and so never stall a request."""
    await session.execute(_YIELD)


async def organization_now(
    session: AsyncSession, *, organization_id: UUID, real_now: datetime
) -> datetime:
    """Return what time it is on the organization's own clock."""
    offset = await session.scalar(
        select(col(OrganizationClock.offset_seconds)).where(
            col(OrganizationClock.organization_id) == organization_id
        )
    )
    return real_now + timedelta(seconds=offset or 0)
