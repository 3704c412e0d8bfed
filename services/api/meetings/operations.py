"""Arrange meetings, move them, call them off, and note that they took place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access.rules import Actor
from services.api.events import operations as events
from services.api.meetings import queries, rules
from services.api.meetings.rules import MeetingAction, MeetingMode, MeetingStatus
from services.api.meetings.tables import Meeting, MeetingAttendee, MeetingPlace
from services.api.mentorships import operations as mentorships
from services.api.mentorships import queries as mentorship_queries
from services.api.mentorships.rules import LIVE, MentorshipAction, MentorshipStatus
from services.api.mentorships.tables import Mentorship, MentorshipMember
from services.api.timers import operations as timers
from shared import ids
from shared.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, Violation
from shared.persistence.reads import SessionReader
from shared.web.preconditions import accept_match, require_match

_S, _A = MeetingStatus, MeetingAction

EVENT_OF_ACTION: Mapping[MeetingAction, str] = {
    _A.CONFIRM: "meeting.scheduled",
    _A.DECLINE_TIMES: "meeting.declined",
    _A.EXPIRE: "meeting.declined",
    _A.RESCHEDULE: "meeting.rescheduled",
    _A.CANCEL: "meeting.cancelled",
    _A.START: "meeting.in_progress",
    _A.FINISH: "meeting.held",
}
CALENDAR_CHANGES = frozenset({_A.CONFIRM, _A.RESCHEDULE, _A.CANCEL})
"""Actions after which an invitation in somebody's calendar has to change."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What somebody wants to arrange: one time, several to choose from, or one gone by."""

    starts_at: datetime | None
    proposed_times: Sequence[datetime]
    minutes: int | None
    mode: MeetingMode
    location: str | None
    logged_after: bool
    meeting_id: UUID | None = None


async def arrange(
    session: AsyncSession, *, actor: Actor, mentorship_id: UUID, plan: Plan, now: datetime
) -> Meeting:
    """Book a meeting, offer times for one, or log one that took place."""
    mentorship, members = await mentorships.load(
        session, actor=actor, mentorship_id=mentorship_id, permission="meeting.arrange"
    )
    _check_shape(plan)
    _require_open(mentorship)
    await _require_first(session, mentorship)
    meeting = _drafted(mentorship, plan, now=now)
    rules.check_flash(mentorship.format, meeting.minutes)
    attendees = _attendees(members)
    if plan.logged_after:
        _log(meeting, plan, now=now)
    elif plan.starts_at is not None:
        await _book(session, meeting, attendees, plan.starts_at, now=now)
    else:
        _offer(meeting, plan, actor, now=now)
    session.add(meeting)
    await session.flush()
    _invite(session, meeting, attendees)
    _put_place(session, meeting, plan.location, now=now)
    if meeting.status is not _S.PROPOSED:
        await _begin_mentorship(session, mentorship, members, actor, now=now)
    await _schedule(session, meeting, now=now)
    kind = _event_of_new(meeting)
    _record(session, kind, meeting, attendees, actor_id=actor.person_id, before=None, now=now)
    return meeting


def _check_shape(plan: Plan) -> None:
    if (plan.starts_at is None) is (not plan.proposed_times):
        detail = "Name one time, or several to choose from."
        raise InvalidError(errors=[Violation("#/starts_at", "missing", detail)])
    if plan.logged_after and plan.starts_at is None:
        detail = "Say when it took place."
        raise InvalidError(errors=[Violation("#/starts_at", "missing", detail)])


def _require_open(mentorship: Mentorship) -> None:
    if mentorship.status not in LIVE:
        raise ConflictError("This mentorship is over.", code="already_ended")
    if mentorship.status is MentorshipStatus.PAUSED:
        raise ConflictError(
            "A mentorship that rests has no meetings.",
            code="invalid_transition",
            allowed=[MentorshipAction.RESUME],
        )


async def _require_first(session: AsyncSession, mentorship: Mentorship) -> None:
    if mentorship.format in rules.ONE_MEETING and await queries.has_meeting(
        session, organization_id=mentorship.organization_id, mentorship_id=mentorship.id
    ):
        raise ConflictError("This format meets once.", code="one_meeting_only")


def _drafted(mentorship: Mentorship, plan: Plan, *, now: datetime) -> Meeting:
    meeting_id = plan.meeting_id or ids.new_id()
    return Meeting(
        organization_id=mentorship.organization_id,
        id=meeting_id,
        created_at=now,
        updated_at=now,
        program_id=mentorship.program_id,
        mentorship_id=mentorship.id,
        status=_S.SCHEDULED,
        minutes=plan.minutes or mentorship.meeting_minutes,
        timezone=mentorship.timezone,
        mode=plan.mode,
        logged_after=plan.logged_after,
        ical_uid=f"{ids.format_id('meeting', meeting_id)}@mentoring",
    )


def _attendees(members: Sequence[MentorshipMember]) -> list[UUID]:
    return sorted({person_id for _role, person_id in mentorship_queries.roles_of(members)})


def _log(meeting: Meeting, plan: Plan, *, now: datetime) -> None:
    _set_time(meeting, plan.starts_at)
    if meeting.ends_at is not None:
        rules.check_past(meeting.ends_at, now)
    meeting.status = _S.HELD


async def _book(
    session: AsyncSession,
    meeting: Meeting,
    attendees: Sequence[UUID],
    starts_at: datetime,
    *,
    now: datetime,
) -> None:
    """Give a meeting its time, if everybody has it."""
    rules.check_future([starts_at], now)
    ends_at = _set_time(meeting, starts_at)
    await queries.lock_calendars(
        session, organization_id=meeting.organization_id, person_ids=attendees
    )
    is_busy = await queries.is_anybody_busy(
        session,
        organization_id=meeting.organization_id,
        person_ids=attendees,
        starts_at=starts_at,
        ends_at=ends_at,
        except_id=meeting.id,
    )
    if is_busy:
        raise ConflictError("Somebody has another meeting then.", code="clash")


def _set_time(meeting: Meeting, starts_at: datetime | None) -> datetime:
    if starts_at is None:
        raise NotFoundError
    ends_at = starts_at + timedelta(minutes=meeting.minutes)
    meeting.starts_at, meeting.ends_at = starts_at, ends_at
    return ends_at


def _offer(meeting: Meeting, plan: Plan, actor: Actor, *, now: datetime) -> None:
    rules.check_future(plan.proposed_times, now)
    meeting.status = _S.PROPOSED
    meeting.proposed_times = [at.astimezone(UTC).isoformat() for at in sorted(plan.proposed_times)]
    meeting.proposed_by = actor.person_id


def _invite(session: AsyncSession, meeting: Meeting, attendees: Sequence[UUID]) -> None:
    for person_id in attendees:
        session.add(
            MeetingAttendee(
                organization_id=meeting.organization_id,
                meeting_id=meeting.id,
                person_id=person_id,
            )
        )


def _put_place(
    session: AsyncSession, meeting: Meeting, location: str | None, *, now: datetime
) -> None:
    if location is None:
        return
    session.add(
        MeetingPlace(
            organization_id=meeting.organization_id,
            meeting_id=meeting.id,
            mentorship_id=meeting.mentorship_id,
            location=location,
            created_at=now,
        )
    )


async def _begin_mentorship(
    session: AsyncSession,
    mentorship: Mentorship,
    members: Sequence[MentorshipMember],
    actor: Actor,
    *,
    now: datetime,
) -> None:
    """Start the mentorship with its first meeting."""
    if mentorship.status is MentorshipStatus.PENDING_START:
        await mentorships.begin(
            session, mentorship=mentorship, actor_id=actor.person_id, now=now, members=members
        )


def _event_of_new(meeting: Meeting) -> str:
    if meeting.status is _S.PROPOSED:
        return "meeting.times_proposed"
    return "meeting.held" if meeting.status is _S.HELD else "meeting.scheduled"


async def _schedule(session: AsyncSession, meeting: Meeting, *, now: datetime) -> None:
    """Set the one timer of a meeting's state, and forget any other."""
    await timers.cancel(session, organization_id=meeting.organization_id, subject_id=meeting.id)
    due = {
        _S.PROPOSED: ("meeting.expire", now + rules.OFFER_LASTS),
        _S.SCHEDULED: ("meeting.start", meeting.starts_at),
        _S.IN_PROGRESS: ("meeting.finish", meeting.ends_at),
    }
    kind, due_at = due.get(meeting.status, ("", None))
    if due_at is not None:
        await timers.schedule(
            session,
            organization_id=meeting.organization_id,
            kind=kind,
            subject_id=meeting.id,
            due_at=due_at,
        )


def _record(
    session: AsyncSession,
    kind: str,
    meeting: Meeting,
    attendees: Sequence[UUID],
    *,
    actor_id: UUID | None,
    before: MeetingStatus | None,
    now: datetime,
    changed: Sequence[str] = (),
) -> None:
    events.record(
        session,
        kind,
        meeting,
        now=now,
        actor_id=actor_id,
        program_id=meeting.program_id,
        from_state=before,
        to_state=meeting.status,
        changed=changed,
        named={"mentorship_id": meeting.mentorship_id, "person_ids": attendees},
        recipients={
            "attendees": attendees,
            "members": attendees,
            "others": [person for person in attendees if person != actor_id],
        },
    )


async def load(
    session: AsyncSession, *, actor: Actor, meeting_id: UUID, if_match: str | None
) -> tuple[Meeting, Mentorship, list[MentorshipMember]]:
    """Lock a meeting and its mentorship for a member: 404 for who may not know, else 403."""
    known = await queries.find(
        session, organization_id=actor.organization_id, meeting_id=meeting_id
    )
    mentorship = await mentorship_queries.lock(
        session, organization_id=actor.organization_id, mentorship_id=known.mentorship_id
    )
    members = await mentorship_queries.members_of(
        session, organization_id=actor.organization_id, mentorship_id=mentorship.id
    )
    if actor.person_id is None or actor.person_id not in _attendees(members):
        await queries.get(SessionReader(session), actor=actor, meeting_id=meeting_id)
        raise ForbiddenError
    meeting = await queries.lock(
        session, organization_id=actor.organization_id, meeting_id=meeting_id
    )
    accept_match(if_match, version=meeting.version)
    return meeting, mentorship, members


async def confirm(
    session: AsyncSession,
    *,
    actor: Actor,
    meeting_id: UUID,
    starts_at: datetime,
    if_match: str | None,
    now: datetime,
) -> Meeting:
    """Choose one of the times that another member offered."""
    meeting, mentorship, members = await load(
        session, actor=actor, meeting_id=meeting_id, if_match=if_match
    )
    rules.next_status(meeting.status, _A.CONFIRM)
    _require_other(meeting, actor)
    _require_open(mentorship)
    if starts_at not in {datetime.fromisoformat(at) for at in meeting.proposed_times}:
        detail = "Choose one of the times offered."
        raise InvalidError(errors=[Violation("#/starts_at", "not_allowed", detail)])
    attendees = await _invited(session, meeting)
    await _book(session, meeting, attendees, starts_at, now=now)
    await advance(session, meeting=meeting, action=_A.CONFIRM, actor_id=actor.person_id, now=now)
    await _begin_mentorship(session, mentorship, members, actor, now=now)
    return meeting


def _require_other(meeting: Meeting, actor: Actor) -> None:
    if meeting.proposed_by == actor.person_id:
        raise ForbiddenError("Somebody else answers the times you offer.")


async def decline_times(
    session: AsyncSession,
    *,
    actor: Actor,
    meeting_id: UUID,
    if_match: str | None,
    now: datetime,
) -> Meeting:
    """Say that none of the times offered suits."""
    meeting, _mentorship, _members = await load(
        session, actor=actor, meeting_id=meeting_id, if_match=if_match
    )
    rules.next_status(meeting.status, _A.DECLINE_TIMES)
    _require_other(meeting, actor)
    await advance(
        session, meeting=meeting, action=_A.DECLINE_TIMES, actor_id=actor.person_id, now=now
    )
    return meeting


async def reschedule(
    session: AsyncSession,
    *,
    actor: Actor,
    meeting_id: UUID,
    starts_at: datetime,
    minutes: int | None,
    if_match: str | None,
    now: datetime,
) -> tuple[Meeting, list[str]]:
    """Move a meeting; return it with warnings."""
    meeting, mentorship, _members = await load(
        session, actor=actor, meeting_id=meeting_id, if_match=if_match
    )
    rules.next_status(meeting.status, _A.RESCHEDULE)
    _require_open(mentorship)
    warnings = rules.warnings(meeting.starts_at, now)
    meeting.minutes = minutes or meeting.minutes
    rules.check_flash(mentorship.format, meeting.minutes)
    await _book(session, meeting, await _invited(session, meeting), starts_at, now=now)
    await advance(session, meeting=meeting, action=_A.RESCHEDULE, actor_id=actor.person_id, now=now)
    return meeting, warnings


async def act(
    session: AsyncSession,
    *,
    actor: Actor,
    meeting_id: UUID,
    action: MeetingAction,
    if_match: str | None,
    now: datetime,
) -> tuple[Meeting, list[str]]:
    """Call a meeting off, or note that it begins or is over; return it with warnings."""
    meeting, _mentorship, _members = await load(
        session, actor=actor, meeting_id=meeting_id, if_match=if_match
    )
    rules.next_status(meeting.status, action)
    warnings = rules.warnings(meeting.starts_at, now) if action is _A.CANCEL else []
    await advance(session, meeting=meeting, action=action, actor_id=actor.person_id, now=now)
    return meeting, warnings


async def change(
    session: AsyncSession,
    *,
    actor: Actor,
    meeting_id: UUID,
    changes: Mapping[str, Any],
    if_match: str | None,
    now: datetime,
) -> Meeting:
    """Change how or where people meet."""
    meeting, _mentorship, _members = await load(
        session, actor=actor, meeting_id=meeting_id, if_match=None
    )
    require_match(if_match, version=meeting.version)
    if meeting.status in rules.GONE:
        raise ConflictError("This meeting does not take place.", code="already_ended")
    meeting.mode = changes.get("mode", meeting.mode)
    if "location" in changes:
        await _move(session, meeting, changes["location"], now=now)
    meeting.touch(now)
    _record(
        session,
        "meeting.changed",
        meeting,
        await _invited(session, meeting),
        actor_id=actor.person_id,
        before=None,
        changed=sorted(changes),
        now=now,
    )
    return meeting


async def _move(
    session: AsyncSession, meeting: Meeting, location: str | None, *, now: datetime
) -> None:
    place = await queries.find_place(
        session, organization_id=meeting.organization_id, meeting_id=meeting.id
    )
    if place is None:
        _put_place(session, meeting, location, now=now)
    elif location is None:
        await session.delete(place)
    else:
        place.location = location


async def advance(
    session: AsyncSession,
    *,
    meeting: Meeting,
    action: MeetingAction,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    """Apply an action to a locked meeting, whoever wants it; set its timer and record it."""
    before = meeting.status
    meeting.status = rules.next_status(before, action)
    if action in CALENDAR_CHANGES:
        meeting.ical_sequence += 1
    meeting.touch(now)
    await _schedule(session, meeting, now=now)
    attendees = await _invited(session, meeting)
    kind = EVENT_OF_ACTION[action]
    _record(session, kind, meeting, attendees, actor_id=actor_id, before=before, now=now)


async def _invited(session: AsyncSession, meeting: Meeting) -> list[UUID]:
    return await queries.attendees_of(
        session, organization_id=meeting.organization_id, meeting_id=meeting.id
    )


async def excuse(
    session: AsyncSession, *, meeting: Meeting, person_id: UUID, now: datetime
) -> None:
    """Take somebody who left the mentorship off a locked meeting that is still to come."""
    await session.execute(
        delete(MeetingAttendee).where(
            col(MeetingAttendee.organization_id) == meeting.organization_id,
            col(MeetingAttendee.meeting_id) == meeting.id,
            col(MeetingAttendee.person_id) == person_id,
        )
    )
    await _attended_by_others(session, meeting, now=now)


async def expect(
    session: AsyncSession, *, meeting: Meeting, person_id: UUID, now: datetime
) -> None:
    """Put somebody who joined the mentorship on a locked meeting that is still to come."""
    _invite(session, meeting, [person_id])
    await session.flush()
    await _attended_by_others(session, meeting, now=now)


async def _attended_by_others(session: AsyncSession, meeting: Meeting, *, now: datetime) -> None:
    meeting.ical_sequence += 1
    meeting.touch(now)
    _record(
        session,
        "meeting.rescheduled",
        meeting,
        await _invited(session, meeting),
        actor_id=None,
        before=meeting.status,
        changed=["attendees"],
        now=now,
    )
