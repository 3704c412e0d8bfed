"""Reads of who is about to come together."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import Text, and_, cast, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.mentorships.queries import MEMBER, MENTORSHIP
from services.api.mentorships.rules import MentorshipStatus
from services.api.participants.rules import CLOSED
from services.api.participants.tables import Participant, ParticipantTrackRole
from services.api.people.tables import Person


async def newcomers(
    session: AsyncSession, *, organization_id: UUID, track_id: UUID, participant_ids: Iterable[UUID]
) -> list[tuple[Participant, Person, ParticipantTrackRole | None]]:
    """Return participants with their person, and one row per role they hold in the track."""
    seated = and_(
        col(ParticipantTrackRole.organization_id) == col(Participant.organization_id),
        col(ParticipantTrackRole.participant_id) == col(Participant.id),
        col(ParticipantTrackRole.track_id) == track_id,
    )
    statement = (
        select(Participant, Person, ParticipantTrackRole)
        .join(
            Person,
            and_(
                col(Person.organization_id) == col(Participant.organization_id),
                col(Person.id) == col(Participant.person_id),
            ),
        )
        .outerjoin(ParticipantTrackRole, seated)
        .where(
            col(Participant.organization_id) == organization_id,
            col(Participant.id).in_(list(participant_ids)),
        )
    )
    rows = (await session.execute(statement)).all()
    return [(participant, person, seat) for participant, person, seat in rows]


async def gone(
    session: AsyncSession, *, organization_id: UUID, participant_ids: Iterable[UUID]
) -> set[UUID]:
    """Return those who no longer take part."""
    statement = select(col(Participant.id)).where(
        col(Participant.organization_id) == organization_id,
        col(Participant.id).in_(list(participant_ids)),
        cast(col(Participant.status), Text).in_([one.value for one in CLOSED]),
    )
    return set((await session.execute(statement)).scalars())


async def people_beside(
    session: AsyncSession, *, organization_id: UUID, track_id: UUID, person_id: UUID
) -> list[UUID]:
    """Return whom a person has been with in a track, once per mentorship that took place."""
    other = MEMBER.alias("other")
    statement = (
        select(other.c.person_id)
        .join(
            MEMBER,
            and_(
                MEMBER.c.organization_id == other.c.organization_id,
                MEMBER.c.mentorship_id == other.c.mentorship_id,
                MEMBER.c.person_id == person_id,
            ),
        )
        .join(
            MENTORSHIP,
            and_(
                MENTORSHIP.c.organization_id == other.c.organization_id,
                MENTORSHIP.c.id == other.c.mentorship_id,
            ),
        )
        .where(
            other.c.organization_id == organization_id,
            other.c.person_id != person_id,
            MENTORSHIP.c.track_id == track_id,
            MENTORSHIP.c.status != MentorshipStatus.CANCELLED,
        )
    )
    return list((await session.execute(statement)).scalars())
