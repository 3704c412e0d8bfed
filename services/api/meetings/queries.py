"""Reads of meetings; who may see which is one condition, and the place is for members alone."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Text, Uuid, and_, bindparam, cast, func, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access import roles
from services.api.access.roles import Role
from services.api.access.rules import Actor
from services.api.meetings.rules import GONE, OCCUPYING, UPCOMING, MeetingStatus
from services.api.meetings.tables import Meeting, MeetingAttendee, MeetingPlace
from services.api.mentorships.queries import MEMBER
from services.api.mentorships.rules import MemberStatus
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

MEETING = Meeting.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
ATTENDEE = MeetingAttendee.__table__  # type: ignore[attr-defined]  # as above
PLACE = MeetingPlace.__table__  # type: ignore[attr-defined]  # as above

_OWN = MEMBER.alias("own")
_PRESENT = MEMBER.alias("present")
_EARLIER = MEETING.alias("earlier")
_LOCK_CALENDARS = text(
    "SELECT pg_advisory_xact_lock(hashtextextended(:organization || person, 2))"
    " FROM unnest(CAST(:people AS text[])) AS person ORDER BY person"
)


def visible_to() -> Any:
    """Return the condition that an actor may know of a meeting.

    Members know those made while they were in the mentorship; staff know when and in what state.
    """
    own = select(_OWN.c.id).where(
        _OWN.c.organization_id == MEETING.c.organization_id,
        _OWN.c.mentorship_id == MEETING.c.mentorship_id,
        _OWN.c.person_id == bindparam("me", type_=Uuid),
        _OWN.c.joined_at.is_not(None),
        or_(_OWN.c.left_at.is_(None), MEETING.c.created_at <= _OWN.c.left_at),
    )
    return or_(
        bindparam("sees_all", type_=Boolean),
        MEETING.c.program_id == func.any(bindparam("own_programs", type_=ARRAY(Uuid))),
        own.exists(),
    )


def sight(actor: Actor) -> dict[str, Any]:
    """Return the values that `visible_to` compares."""
    return {
        "sees_all": roles.grants("meeting.read_all", actor.facts()),
        "own_programs": [*actor.programs_as(Role.COORDINATOR)],
        "me": actor.person_id,
    }


_ATTENDEES = (
    select(func.array_agg(aggregate_order_by(ATTENDEE.c.person_id, ATTENDEE.c.person_id)))
    .where(
        ATTENDEE.c.organization_id == MEETING.c.organization_id,
        ATTENDEE.c.meeting_id == MEETING.c.id,
    )
    .correlate(MEETING)
    .scalar_subquery()
    .label("attendee_ids")
)
_LOCATION = (
    select(PLACE.c.location)
    .where(PLACE.c.organization_id == MEETING.c.organization_id, PLACE.c.meeting_id == MEETING.c.id)
    .correlate(MEETING)
    .scalar_subquery()
    .label("location")
)
_NUMBER = (
    select(func.count() + 1)
    .where(
        _EARLIER.c.organization_id == MEETING.c.organization_id,
        _EARLIER.c.mentorship_id == MEETING.c.mentorship_id,
        _EARLIER.c.starts_at < MEETING.c.starts_at,
        cast(_EARLIER.c.status, Text) == MeetingStatus.HELD.value,
    )
    .correlate(MEETING)
    .scalar_subquery()
    .label("number")
)


_IS_MEMBER = (
    select(_PRESENT.c.id)
    .where(
        _PRESENT.c.organization_id == MEETING.c.organization_id,
        _PRESENT.c.mentorship_id == MEETING.c.mentorship_id,
        _PRESENT.c.person_id == bindparam("me", type_=Uuid),
        cast(_PRESENT.c.status, Text) == MemberStatus.ACTIVE.value,
    )
    .correlate(MEETING)
    .exists()
    .label("is_member")
)


def _shown() -> AnySelect:
    return select(*MEETING.c, _ATTENDEES, _LOCATION, _NUMBER, _IS_MEMBER).where(
        MEETING.c.organization_id == bindparam("organization_id"), visible_to()
    )


_FILTERS: Mapping[str, Any] = {
    "mentorship_id": MEETING.c.mentorship_id == bindparam("mentorship_id"),
    "status": cast(MEETING.c.status, Text) == func.any(bindparam("status", type_=ARRAY(Text))),
}


@once
def _many(filters: tuple[str, ...], *, is_first: bool) -> AnySelect:
    statement = _shown().where(*(_FILTERS[name] for name in filters))
    return keyset(statement, (MEETING.c.id,), is_first=is_first)


@once
def _one() -> AnySelect:
    return _shown().where(MEETING.c.id == bindparam("meeting_id"))


@once
def _coming() -> AnySelect:
    """Return what somebody is to attend, or to answer, soonest first."""
    attends = select(ATTENDEE.c.person_id).where(
        ATTENDEE.c.organization_id == MEETING.c.organization_id,
        ATTENDEE.c.meeting_id == MEETING.c.id,
        ATTENDEE.c.person_id == bindparam("me", type_=Uuid),
    )
    return (
        _shown()
        .where(
            attends.exists(),
            cast(MEETING.c.status, Text) == func.any(bindparam("states", type_=ARRAY(Text))),
            or_(MEETING.c.ends_at.is_(None), MEETING.c.ends_at > bindparam("now")),
        )
        .order_by(MEETING.c.starts_at.asc().nulls_first(), MEETING.c.id)
        .limit(bindparam("limit"))
    )


async def get(reader: Reader, *, actor: Actor, meeting_id: UUID) -> Mapping[str, Any]:
    """Return one visible meeting."""
    row = await reader.fetch_one(
        _one(), organization_id=actor.organization_id, meeting_id=meeting_id, **sight(actor)
    )
    if row is None:
        raise NotFoundError
    return row


async def list_page(
    reader: Reader, *, actor: Actor, filters: Mapping[str, Any], after: UUID | None, limit: int
) -> list[Mapping[str, Any]]:
    """Return visible meetings, in the order they were made."""
    return await reader.fetch(
        _many(tuple(sorted(filters)), is_first=after is None),
        organization_id=actor.organization_id,
        limit=limit,
        **filters,
        **sight(actor),
        **place_of([after] if after else None),
    )


async def coming(
    reader: Reader, *, actor: Actor, now: datetime, limit: int
) -> list[Mapping[str, Any]]:
    """Return the acting person's next meetings, those still without a time first."""
    return await reader.fetch(
        _coming(),
        organization_id=actor.organization_id,
        states=sorted({*UPCOMING, *OCCUPYING}),
        now=now,
        limit=limit,
        **sight(actor),
    )


async def find(session: AsyncSession, *, organization_id: UUID, meeting_id: UUID) -> Meeting:
    """Load a meeting, unlocked, to learn whose it is."""
    meeting = await session.get(Meeting, (organization_id, meeting_id))
    if meeting is None:
        raise NotFoundError
    return meeting


async def lock(session: AsyncSession, *, organization_id: UUID, meeting_id: UUID) -> Meeting:
    """Load a meeting for a change."""
    meeting = await session.get(
        Meeting, (organization_id, meeting_id), with_for_update=True, populate_existing=True
    )
    if meeting is None:
        raise NotFoundError
    return meeting


async def attendees_of(
    session: AsyncSession, *, organization_id: UUID, meeting_id: UUID
) -> list[UUID]:
    """Return who is to attend."""
    statement = (
        select(ATTENDEE.c.person_id)
        .where(ATTENDEE.c.organization_id == organization_id, ATTENDEE.c.meeting_id == meeting_id)
        .order_by(ATTENDEE.c.person_id)
    )
    return list((await session.execute(statement)).scalars())


async def has_meeting(session: AsyncSession, *, organization_id: UUID, mentorship_id: UUID) -> bool:
    """Tell whether a mentorship has a meeting that was not called off."""
    statement = select(col(Meeting.id)).where(
        col(Meeting.organization_id) == organization_id,
        col(Meeting.mentorship_id) == mentorship_id,
        col(Meeting.status).not_in(GONE),
    )
    return (await session.execute(statement.limit(1))).first() is not None


async def lock_calendars(
    session: AsyncSession, *, organization_id: UUID, person_ids: Iterable[UUID]
) -> None:
    """Let nobody else arrange a meeting with these people until this transaction ends."""
    await session.execute(
        _LOCK_CALENDARS,
        {"organization": f"calendar:{organization_id}:", "people": sorted(map(str, person_ids))},
    )


async def is_anybody_busy(
    session: AsyncSession,
    *,
    organization_id: UUID,
    person_ids: Iterable[UUID],
    starts_at: datetime,
    ends_at: datetime,
    except_id: UUID,
) -> bool:
    """Tell whether one of these people attends another meeting at that time."""
    statement = (
        select(MEETING.c.id)
        .join(
            ATTENDEE,
            and_(
                ATTENDEE.c.organization_id == MEETING.c.organization_id,
                ATTENDEE.c.meeting_id == MEETING.c.id,
            ),
        )
        .where(
            MEETING.c.organization_id == organization_id,
            ATTENDEE.c.person_id.in_(list(person_ids)),
            MEETING.c.status.in_(OCCUPYING),
            MEETING.c.starts_at < ends_at,
            MEETING.c.ends_at > starts_at,
            MEETING.c.id != except_id,
        )
    )
    return (await session.execute(statement.limit(1))).first() is not None


async def upcoming_ids(
    session: AsyncSession, *, organization_id: UUID, mentorship_id: UUID
) -> list[UUID]:
    """Return the meetings of a mentorship that are still to come."""
    statement = (
        select(col(Meeting.id))
        .where(
            col(Meeting.organization_id) == organization_id,
            col(Meeting.mentorship_id) == mentorship_id,
            col(Meeting.status).in_(UPCOMING),
        )
        .order_by(col(Meeting.id))
    )
    return list((await session.execute(statement)).scalars())


async def find_place(
    session: AsyncSession, *, organization_id: UUID, meeting_id: UUID
) -> MeetingPlace | None:
    """Return where a meeting is, to its members."""
    return await session.get(MeetingPlace, (organization_id, meeting_id))
