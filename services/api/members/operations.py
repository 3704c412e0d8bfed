"""Pass the drive on, and let members go."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import rules as access
from services.api.access.roles import Role
from services.api.access.rules import Actor
from services.api.events import operations as events
from services.api.mentorships import operations as mentorships
from services.api.mentorships import queries, rules
from services.api.mentorships.rules import TWO_MEMBERS, MemberStatus, MentorshipAction
from services.api.mentorships.tables import Mentorship, MentorshipMember
from services.api.programs.rules import TrackRole
from shared.errors import ConflictError, ForbiddenError
from shared.persistence.reads import SessionReader
from shared.web.preconditions import accept_match

type Members = Sequence[MentorshipMember]


async def change_driver(
    session: AsyncSession,
    *,
    actor: Actor,
    mentorship_id: UUID,
    person_id: UUID,
    if_match: str | None,
    now: datetime,
) -> Mentorship:
    """Make it somebody else's move."""
    mentorship, members = await mentorships.load(
        session, actor=actor, mentorship_id=mentorship_id, permission="mentorship.change_driver"
    )
    accept_match(if_match, version=mentorship.version)
    if mentorship.status not in rules.LIVE:
        raise ConflictError("This mentorship is over.", code="already_ended")
    if person_id not in {one for _role, one in queries.roles_of(members)}:
        raise ConflictError("The driver is one of the members.", code="not_a_member")
    if person_id != mentorship.driver_person_id:
        await _hand_drive(session, mentorship, members, person_id, actor.person_id, now=now)
    return mentorship


async def _hand_drive(
    session: AsyncSession,
    mentorship: Mentorship,
    members: Members,
    person_id: UUID,
    actor_id: UUID | None,
    *,
    now: datetime,
) -> None:
    mentorship.driver_person_id = person_id
    mentorship.touch(now)
    await mentorships.record(
        session, "mentorship.driver_changed", mentorship, members, actor_id=actor_id, now=now
    )


async def leave(
    session: AsyncSession, *, actor: Actor, member_id: UUID, if_match: str | None, now: datetime
) -> Mentorship:
    """Leave a mentorship of several; two people end theirs instead."""
    return await _part(
        session,
        actor=actor,
        member_id=member_id,
        permission="member.leave",
        status=MemberStatus.LEFT,
        if_match=if_match,
        now=now,
    )


async def remove(
    session: AsyncSession, *, actor: Actor, member_id: UUID, if_match: str | None, now: datetime
) -> Mentorship:
    """Take somebody out of a mentorship of several."""
    return await _part(
        session,
        actor=actor,
        member_id=member_id,
        permission="member.remove",
        status=MemberStatus.REMOVED,
        if_match=if_match,
        now=now,
    )


async def _part(
    session: AsyncSession,
    *,
    actor: Actor,
    member_id: UUID,
    permission: str,
    status: MemberStatus,
    if_match: str | None,
    now: datetime,
) -> Mentorship:
    known = await queries.find_member(
        session, organization_id=actor.organization_id, member_id=member_id
    )
    mentorship_id = known.mentorship_id
    mentorship, members = await mentorships.lock(
        session, organization_id=actor.organization_id, mentorship_id=mentorship_id
    )
    member = next(one for one in members if one.id == member_id)
    facts = mentorships.facts_towards(actor, mentorship, members)
    if member.person_id == actor.person_id:
        facts |= {Role.SELF}
    if not access.holds(permission, facts):
        await queries.get(SessionReader(session), actor=actor, mentorship_id=mentorship_id)
        raise ForbiddenError
    accept_match(if_match, version=member.version)
    _require_partable(mentorship, members, member, status)
    actor_id = actor.person_id if Role.SAFEGUARDING not in facts else None
    await part(
        session,
        mentorship=mentorship,
        members=members,
        member=member,
        status=status,
        actor_id=actor_id,
        now=now,
    )
    return mentorship


def _require_partable(
    mentorship: Mentorship, members: Members, member: MentorshipMember, status: MemberStatus
) -> None:
    if mentorship.status not in rules.LIVE or member.status is not MemberStatus.ACTIVE:
        raise ConflictError("This membership is over.", code="already_ended")
    if mentorship.format in TWO_MEMBERS:
        raise ConflictError(
            "Two people end their mentorship together.",
            code="invalid_transition",
            allowed=[MentorshipAction.END_EARLY],
        )
    others = [
        role for role, person_id in queries.roles_of(one for one in members if one.id != member.id)
    ]
    if status is MemberStatus.LEFT and member.role not in others:
        if member.role is TrackRole.FACILITATOR:
            raise ConflictError("Somebody has to facilitate.", code="last_facilitator")
        if member.role is TrackRole.MENTOR:
            raise ConflictError("Somebody has to mentor.", code="last_mentor")


async def part(
    session: AsyncSession,
    *,
    mentorship: Mentorship,
    members: Members,
    member: MentorshipMember,
    status: MemberStatus,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    """Let a member go from a locked mentorship of several, which goes on as far as it can."""
    member.status, member.left_at = status, now
    member.touch(now)
    mentorship.touch(now)
    await _release_of_one(session, mentorship, members, member, now=now)
    present = queries.roles_of(members)
    events.record(
        session,
        f"member.{status}",
        member,
        now=now,
        actor_id=actor_id,
        program_id=mentorship.program_id,
        from_state=MemberStatus.ACTIVE,
        to_state=status,
        named={"mentorship_id": mentorship.id, "person_id": member.person_id},
        recipients={
            "members": [person_id for _role, person_id in present],
            "person": [member.person_id],
        },
    )
    successor = rules.next_driver(mentorship.format, present)
    still_in = {person_id for _role, person_id in present}
    if mentorship.driver_person_id not in still_in and successor is not None:
        await _hand_drive(session, mentorship, members, successor, actor_id, now=now)
    await _follow_gaps(session, mentorship, members, now=now)


async def _release_of_one(
    session: AsyncSession,
    mentorship: Mentorship,
    members: Members,
    gone: MentorshipMember,
    *,
    now: datetime,
) -> None:
    """Give back the places of somebody who has gone, and what others had for them."""
    present = [one for one in members if one.status is MemberStatus.ACTIVE]
    roles = [one.role for one in present]
    freed = [(gone, rules.places_of(mentorship.format, gone.role, roles))]
    for one in present:
        before = rules.places_of(mentorship.format, one.role, [*roles, gone.role])
        freed.append((one, before - rules.places_of(mentorship.format, one.role, roles)))
    for member, count in sorted(freed, key=lambda one: (one[0].participant_id, one[0].role)):
        if count:
            await mentorships.release(session, mentorship, member, count=count, now=now)


async def _follow_gaps(
    session: AsyncSession, mentorship: Mentorship, members: Members, *, now: datetime
) -> None:
    track, _program = await mentorships.setting(session, mentorship)
    found = rules.gaps(mentorship.format, queries.roles_of(members), min_members=track.min_members)
    if found.below_minimum:
        await mentorships.record(
            session, "mentorship.below_minimum", mentorship, members, actor_id=None, now=now
        )
    if found.needs_mentor:
        await mentorships.record(
            session, "mentorship.needs_mentor", mentorship, members, actor_id=None, now=now
        )
    if found.below_minimum or found.needs_mentor:
        await mentorships.schedule(
            session, mentorship, "mentorship.refill", now + rules.REFILL_LASTS
        )
