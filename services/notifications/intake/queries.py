"""Reads of intake: what is known of those a fact concerns."""

from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.notifications.deliveries.rules import MessageState
from services.notifications.deliveries.tables import Message, Organization, Recipient
from services.notifications.intake.tables import CalendarObject, Meeting


async def lock_organization(session: AsyncSession, organization_id: UUID) -> Organization | None:
    """Load the organization for a change; batches of one organization wait for each other."""
    return await session.get(Organization, organization_id, with_for_update=True)


async def recipients(
    session: AsyncSession, *, organization_id: UUID, person_ids: Collection[UUID]
) -> Mapping[UUID, Recipient]:
    """Return who is known of these people."""
    rows = await session.scalars(
        select(Recipient).where(
            col(Recipient.organization_id) == organization_id,
            col(Recipient.person_id).in_(person_ids),
        )
    )
    return {one.person_id: one for one in rows}


async def meeting(
    session: AsyncSession, *, organization_id: UUID, meeting_id: UUID
) -> Meeting | None:
    """Return what is known of a meeting."""
    return await session.get(Meeting, (organization_id, meeting_id))


async def calendar_object(
    session: AsyncSession, *, organization_id: UUID, meeting_id: UUID
) -> CalendarObject | None:
    """Return the last revision of a meeting that calendars were sent."""
    return await session.get(CalendarObject, (organization_id, meeting_id))


async def told_of(
    session: AsyncSession, *, organization_id: UUID, kind: str, resource_id: UUID
) -> set[UUID]:
    """Return who was told this kind of message about one thing."""
    rows = await session.scalars(
        select(col(Message.person_id)).where(
            col(Message.organization_id) == organization_id,
            col(Message.kind) == kind,
            col(Message.resource_id) == resource_id,
            col(Message.state) == MessageState.TOLD,
        )
    )
    return set(rows)
