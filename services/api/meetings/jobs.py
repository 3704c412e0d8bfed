"""What happens to meetings without anybody asking: their time comes, their mentorship rests."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.meetings import operations, queries, rules
from services.api.meetings.rules import MeetingAction
from services.api.mentorships import queries as mentorships

ACTION_OF_TIMER: Mapping[str, MeetingAction] = {
    "meeting.expire": MeetingAction.EXPIRE,
    "meeting.start": MeetingAction.START,
    "meeting.finish": MeetingAction.FINISH,
}


async def on_timer(
    session: AsyncSession, *, organization_id: UUID, kind: str, subject_id: UUID, now: datetime
) -> None:
    """Let an unanswered offer expire; begin and end a meeting at its time."""
    meeting = await queries.lock(session, organization_id=organization_id, meeting_id=subject_id)
    action = ACTION_OF_TIMER[kind]
    if (meeting.status, action) in rules.TRANSITIONS:
        await operations.advance(session, meeting=meeting, action=action, actor_id=None, now=now)


async def on_mentorship_stopped(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """Call off what is to come of a mentorship that rests or is over."""
    for meeting_id in await queries.upcoming_ids(
        session, organization_id=organization_id, mentorship_id=subject_id
    ):
        meeting = await queries.lock(
            session, organization_id=organization_id, meeting_id=meeting_id
        )
        if meeting.status in rules.UPCOMING:
            await operations.advance(
                session, meeting=meeting, action=MeetingAction.CANCEL, actor_id=None, now=now
            )


async def on_member_joined(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """Put whoever joined on the meetings to come that everybody else attends."""
    member = await mentorships.find_member(
        session, organization_id=organization_id, member_id=subject_id
    )
    present = await mentorships.members_of(
        session, organization_id=organization_id, mentorship_id=member.mentorship_id
    )
    people = {person_id for _role, person_id in mentorships.roles_of(present)}
    if member.person_id not in people:
        return
    for meeting_id in await queries.upcoming_ids(
        session, organization_id=organization_id, mentorship_id=member.mentorship_id
    ):
        meeting = await queries.lock(
            session, organization_id=organization_id, meeting_id=meeting_id
        )
        attendees = await queries.attendees_of(
            session, organization_id=organization_id, meeting_id=meeting_id
        )
        if people - {*attendees} == {member.person_id}:
            await operations.expect(session, meeting=meeting, person_id=member.person_id, now=now)


async def on_member_gone(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """Take a member who left off the meetings to come."""
    member = await mentorships.find_member(
        session, organization_id=organization_id, member_id=subject_id
    )
    for meeting_id in await queries.upcoming_ids(
        session, organization_id=organization_id, mentorship_id=member.mentorship_id
    ):
        meeting = await queries.lock(
            session, organization_id=organization_id, meeting_id=meeting_id
        )
        attendees = await queries.attendees_of(
            session, organization_id=organization_id, meeting_id=meeting_id
        )
        if member.person_id in attendees:
            await operations.excuse(session, meeting=meeting, person_id=member.person_id, now=now)
