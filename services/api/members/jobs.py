"""What becomes of memberships as participants go."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.members import operations
from services.api.mentorships import operations as mentorships
from services.api.mentorships import queries
from services.api.mentorships.rules import TWO_MEMBERS, ClosingReason, MemberStatus


async def on_participant_withdrawn(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """Let the mentorships of somebody who withdrew close; from a group they just leave."""
    await _let_go(session, organization_id, subject_id, status=MemberStatus.LEFT, now=now)


async def on_participant_removed(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """End the mentorships of somebody who was taken out; a group goes on without them."""
    await _let_go(session, organization_id, subject_id, status=MemberStatus.REMOVED, now=now)


async def _let_go(
    session: AsyncSession,
    organization_id: UUID,
    participant_id: UUID,
    *,
    status: MemberStatus,
    now: datetime,
) -> None:
    for mentorship_id in await queries.live_ids_of_participant(
        session, organization_id=organization_id, participant_id=participant_id
    ):
        mentorship, members = await mentorships.lock(
            session, organization_id=organization_id, mentorship_id=mentorship_id
        )
        if mentorship.format not in TWO_MEMBERS:
            for member in members:
                if member.participant_id == participant_id and member.status is MemberStatus.ACTIVE:
                    await operations.part(
                        session,
                        mentorship=mentorship,
                        members=members,
                        member=member,
                        status=status,
                        actor_id=None,
                        now=now,
                    )
        elif status is MemberStatus.LEFT:
            await mentorships.call_off(session, mentorship=mentorship, members=members, now=now)
        else:
            await mentorships.end(
                session,
                mentorship=mentorship,
                members=members,
                reason=ClosingReason.OTHER,
                now=now,
            )
