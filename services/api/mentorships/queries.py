"""Reads of mentorships and their members; who may see which is one condition.

Contact details of members stand beside them here, because the directory lies below and cannot know
who is matched with whom; the presenter shows them to whoever may write to the member.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Text, Uuid, and_, bindparam, cast, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access import roles
from services.api.access.roles import Role
from services.api.access.rules import Actor
from services.api.mentorships.rules import LIVE, MemberStatus
from services.api.mentorships.tables import Mentorship, MentorshipMember, PrivateReason
from services.api.people.queries import TABLE as PERSON
from services.api.people.rules import PersonStatus
from services.api.programs.queries import PROGRAM
from services.api.programs.rules import TrackRole, Visibility
from services.api.programs.tables import Track
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

MENTORSHIP = Mentorship.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
MEMBER = MentorshipMember.__table__  # type: ignore[attr-defined]  # as above
REASON = PrivateReason.__table__  # type: ignore[attr-defined]  # as above

_ME = bindparam("me", type_=Uuid)
_OWN = MEMBER.alias("own")
_MANAGED = MEMBER.alias("managed")


def own_membership(of: Any) -> Any:
    """Return the condition that the actor is or was a member; an invitation is no membership."""
    return and_(
        _OWN.c.organization_id == of.c.organization_id,
        _OWN.c.mentorship_id == of.c.id,
        _OWN.c.person_id == _ME,
        _OWN.c.joined_at.is_not(None),
    )


def visible_to() -> Any:
    """Return the condition that an actor may know of a mentorship.

    Members know their own, also after its end; staff know all of theirs; a people manager knows
    those of reports where the program lets managers see how it stands.
    """
    manages = select(PERSON.c.id).where(
        _MANAGED.c.organization_id == MENTORSHIP.c.organization_id,
        _MANAGED.c.mentorship_id == MENTORSHIP.c.id,
        _MANAGED.c.joined_at.is_not(None),
        PERSON.c.organization_id == _MANAGED.c.organization_id,
        PERSON.c.id == _MANAGED.c.person_id,
        PERSON.c.manager_id == _ME,
        PROGRAM.c.organization_id == MENTORSHIP.c.organization_id,
        PROGRAM.c.id == MENTORSHIP.c.program_id,
        cast(PROGRAM.c.people_manager_visibility, Text) == Visibility.STATUS.value,
    )
    return or_(
        bindparam("sees_all", type_=Boolean),
        MENTORSHIP.c.program_id == func.any(bindparam("own_programs", type_=ARRAY(Uuid))),
        select(_OWN.c.id).where(own_membership(MENTORSHIP)).exists(),
        manages.exists(),
    )


def sight(actor: Actor) -> dict[str, Any]:
    """Return the values that `visible_to` compares."""
    return {
        "sees_all": roles.grants("mentorship.read_all", actor.facts()),
        "own_programs": [*actor.programs_as(Role.COORDINATOR)],
        "me": actor.person_id,
    }


_MEMBERS = (
    select(
        func.jsonb_agg(
            aggregate_order_by(
                func.jsonb_build_object(
                    *("id", MEMBER.c.id),
                    *("participant_id", MEMBER.c.participant_id),
                    *("person_id", MEMBER.c.person_id),
                    *("role", MEMBER.c.role),
                    *("status", MEMBER.c.status),
                    *("joined_at", MEMBER.c.joined_at),
                    *("left_at", MEMBER.c.left_at),
                    *("given_name", func.coalesce(PERSON.c.preferred_name, PERSON.c.given_name)),
                    *("family_name", PERSON.c.family_name),
                    *("manager_id", PERSON.c.manager_id),
                    *("email", PERSON.c.email),
                    *("phone", PERSON.c.phone),
                ),
                MEMBER.c.id,
            ),
            type_=JSONB,
        )
    )
    .where(
        MEMBER.c.organization_id == MENTORSHIP.c.organization_id,
        MEMBER.c.mentorship_id == MENTORSHIP.c.id,
        PERSON.c.organization_id == MEMBER.c.organization_id,
        PERSON.c.id == MEMBER.c.person_id,
    )
    .correlate(MENTORSHIP)
    .scalar_subquery()
    .label("members")
)
_SMALLEST = (
    select(col(Track.min_members))
    .where(
        col(Track.organization_id) == MENTORSHIP.c.organization_id,
        col(Track.id) == MENTORSHIP.c.track_id,
    )
    .scalar_subquery()
    .label("min_members")
)
_OWN_REASONS = (
    select(
        func.jsonb_agg(
            aggregate_order_by(
                func.jsonb_build_object(
                    *("kind", REASON.c.kind),
                    *("reason", REASON.c.reason),
                    *("at", REASON.c.created_at),
                ),
                REASON.c.id,
            ),
            type_=JSONB,
        )
    )
    .where(
        REASON.c.organization_id == MENTORSHIP.c.organization_id,
        REASON.c.mentorship_id == MENTORSHIP.c.id,
        REASON.c.person_id == _ME,
    )
    .correlate(MENTORSHIP)
    .scalar_subquery()
    .label("own_reasons")
)


def _shown() -> AnySelect:
    return select(*MENTORSHIP.c, _MEMBERS, _SMALLEST, _OWN_REASONS).where(
        MENTORSHIP.c.organization_id == bindparam("organization_id"), visible_to()
    )


def _stays(*, is_there: bool) -> Any:
    gone = _OWN.c.left_at.is_not(None)
    return select(_OWN.c.id).where(own_membership(MENTORSHIP), ~gone if is_there else gone).exists()


def _stands_in(states: str) -> Any:
    return cast(MENTORSHIP.c.status, Text) == func.any(bindparam(states, type_=ARRAY(Text)))


_FILTERS: Mapping[str, Any] = {
    "program_id": MENTORSHIP.c.program_id == bindparam("program_id"),
    "track_id": MENTORSHIP.c.track_id == bindparam("track_id"),
    "status": _stands_in("status"),
    "own_live": and_(_stands_in("own_live"), _stays(is_there=True)),
    "own_past": or_(
        _stays(is_there=False),
        and_(
            _stands_in("own_past"),
            select(_OWN.c.id).where(own_membership(MENTORSHIP)).exists(),
        ),
    ),
}
"""`own_live` and `own_past` hold the states in which one's own mentorship counts as such."""


@once
def _many(filters: tuple[str, ...], *, is_first: bool) -> AnySelect:
    statement = _shown().where(*(_FILTERS[name] for name in filters))
    return keyset(statement, (MENTORSHIP.c.id,), is_first=is_first)


@once
def _one() -> AnySelect:
    return _shown().where(MENTORSHIP.c.id == bindparam("mentorship_id"))


async def get(reader: Reader, *, actor: Actor, mentorship_id: UUID) -> Mapping[str, Any]:
    """Return one visible mentorship with its members."""
    row = await reader.fetch_one(
        _one(),
        organization_id=actor.organization_id,
        mentorship_id=mentorship_id,
        **sight(actor),
    )
    if row is None:
        raise NotFoundError
    return row


async def list_page(
    reader: Reader, *, actor: Actor, filters: Mapping[str, Any], after: UUID | None, limit: int
) -> list[Mapping[str, Any]]:
    """Return visible mentorships, oldest first."""
    return await reader.fetch(
        _many(tuple(sorted(filters)), is_first=after is None),
        organization_id=actor.organization_id,
        limit=limit,
        **filters,
        **sight(actor),
        **place_of([after] if after else None),
    )


async def lock(session: AsyncSession, *, organization_id: UUID, mentorship_id: UUID) -> Mentorship:
    """Load a mentorship for a change; its members change only under this lock."""
    mentorship = await session.get(
        Mentorship, (organization_id, mentorship_id), with_for_update=True, populate_existing=True
    )
    if mentorship is None:
        raise NotFoundError
    return mentorship


async def members_of(
    session: AsyncSession, *, organization_id: UUID, mentorship_id: UUID
) -> list[MentorshipMember]:
    """Return everybody who is or was in a mentorship, in the order they came."""
    statement = (
        select(MentorshipMember)
        .where(
            col(MentorshipMember.organization_id) == organization_id,
            col(MentorshipMember.mentorship_id) == mentorship_id,
        )
        .order_by(col(MentorshipMember.id))
        .execution_options(populate_existing=True)
    )
    return list((await session.execute(statement)).scalars())


async def find_member(
    session: AsyncSession, *, organization_id: UUID, member_id: UUID
) -> MentorshipMember:
    """Load a member, unlocked, to learn whose mentorship it is."""
    member = await session.get(MentorshipMember, (organization_id, member_id))
    if member is None:
        raise NotFoundError
    return member


async def mentor_of_group(
    session: AsyncSession, *, organization_id: UUID, mentorship_id: UUID
) -> MentorshipMember | None:
    """Return who mentors a group, or did."""
    found = await members_of(session, organization_id=organization_id, mentorship_id=mentorship_id)
    return next((one for one in found if one.role is TrackRole.MENTOR), None)


async def live_ids_of_participant(
    session: AsyncSession, *, organization_id: UUID, participant_id: UUID
) -> list[UUID]:
    """Return the live mentorships a participant is in."""
    statement = (
        select(MENTORSHIP.c.id)
        .join(
            MEMBER,
            and_(
                MEMBER.c.organization_id == MENTORSHIP.c.organization_id,
                MEMBER.c.mentorship_id == MENTORSHIP.c.id,
            ),
        )
        .where(
            MENTORSHIP.c.organization_id == organization_id,
            MENTORSHIP.c.status.in_(LIVE),
            MEMBER.c.participant_id == participant_id,
            MEMBER.c.status == MemberStatus.ACTIVE,
        )
        .distinct()
        .order_by(MENTORSHIP.c.id)
    )
    return list((await session.execute(statement)).scalars())


async def live_ids_of_people(
    session: AsyncSession, *, organization_id: UUID, person_ids: Iterable[UUID]
) -> list[UUID]:
    """Return the live mentorships in which one of these people is."""
    statement = (
        select(MENTORSHIP.c.id)
        .join(
            MEMBER,
            and_(
                MEMBER.c.organization_id == MENTORSHIP.c.organization_id,
                MEMBER.c.mentorship_id == MENTORSHIP.c.id,
            ),
        )
        .where(
            MENTORSHIP.c.organization_id == organization_id,
            MENTORSHIP.c.status.in_(LIVE),
            MEMBER.c.person_id.in_(list(person_ids)),
            MEMBER.c.status == MemberStatus.ACTIVE,
        )
        .distinct()
        .order_by(MENTORSHIP.c.id)
    )
    return list((await session.execute(statement)).scalars())


async def live_ids_of_program(
    session: AsyncSession, *, organization_id: UUID, program_id: UUID
) -> list[UUID]:
    """Return the live mentorships of a program."""
    statement = (
        select(MENTORSHIP.c.id)
        .where(
            MENTORSHIP.c.organization_id == organization_id,
            MENTORSHIP.c.program_id == program_id,
            MENTORSHIP.c.status.in_(LIVE),
        )
        .order_by(MENTORSHIP.c.id)
    )
    return list((await session.execute(statement)).scalars())


async def are_all_here(
    session: AsyncSession, *, organization_id: UUID, person_ids: Iterable[UUID]
) -> bool:
    """Tell whether none of these people is on leave or gone."""
    statement = select(PERSON.c.id).where(
        PERSON.c.organization_id == organization_id,
        PERSON.c.id.in_(list(person_ids)),
        PERSON.c.status.in_((PersonStatus.ON_LEAVE, PersonStatus.INACTIVE)),
    )
    return (await session.execute(statement)).first() is None


def roles_of(members: Iterable[MentorshipMember]) -> list[tuple[TrackRole, UUID]]:
    """Return who is in now, and as what."""
    return [(one.role, one.person_id) for one in members if one.status is MemberStatus.ACTIVE]
