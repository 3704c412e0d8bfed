"""Take a mentorship through its life."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import rules as access
from services.api.access.roles import Role
from services.api.access.rules import Actor
from services.api.credentials import queries as credentials
from services.api.events import operations as events
from services.api.mentorships import queries, rules
from services.api.mentorships.rules import (
    TWO_MEMBERS,
    ClosingReason,
    MemberStatus,
    MentorshipAction,
    MentorshipStatus,
)
from services.api.mentorships.tables import Mentorship, MentorshipMember, PrivateReason
from services.api.participants import operations as participants
from services.api.participants.rules import Places
from services.api.programs import operations as program_operations
from services.api.programs import queries as programs
from services.api.programs.operations import midnight
from services.api.programs.rules import FORMATS, ProgramAction, ProgramStatus
from services.api.programs.tables import Program, Track
from services.api.timers import operations as timers
from shared import ids
from shared.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, Violation
from shared.persistence.reads import SessionReader
from shared.web.preconditions import accept_match

type Members = Sequence[MentorshipMember]

_S, _A = MentorshipStatus, MentorshipAction

EVENT_OF_ACTION: Mapping[MentorshipAction, str] = {
    _A.START: "mentorship.started",
    _A.PAUSE: "mentorship.paused",
    _A.RESUME: "mentorship.resumed",
    _A.EXTEND: "mentorship.extended",
    _A.BEGIN_CLOSING: "mentorship.closing_started",
    _A.LAPSE: "mentorship.closing_started",
    _A.COMPLETE: "mentorship.completed",
    _A.END_EARLY: "mentorship.ended_early",
}
TIMERS_OF_STATUS: Mapping[MentorshipStatus, tuple[str, ...]] = {
    _S.PENDING_START: ("mentorship.nudge", "mentorship.second_nudge", "mentorship.cancel"),
    _S.ACTIVE: ("mentorship.begin_closing",),
    _S.PAUSED: ("mentorship.pause_end", "mentorship.pause_lapse"),
    _S.CLOSING: ("mentorship.complete",),
}
TOLD_COORDINATORS = frozenset(
    {
        "mentorship.cancelled",
        "mentorship.ended_early",
        "mentorship.below_minimum",
        "mentorship.needs_mentor",
        "mentorship.reporting_line_found",
    }
)


async def schedule(
    session: AsyncSession, mentorship: Mentorship, kind: str, due_at: datetime
) -> None:
    """Let something happen to a mentorship by itself."""
    await timers.schedule(
        session,
        organization_id=mentorship.organization_id,
        kind=kind,
        subject_id=mentorship.id,
        due_at=due_at,
    )


async def record(
    session: AsyncSession,
    kind: str,
    mentorship: Mentorship,
    members: Members,
    *,
    actor_id: UUID | None,
    now: datetime,
    before: MentorshipStatus | None = None,
    recipients: Mapping[str, Sequence[UUID]] | None = None,
) -> None:
    """Record what happened to a mentorship, and to whom it matters."""
    present = list(dict.fromkeys(person for _role, person in queries.roles_of(members)))
    told = {
        "members": present,
        "others": [person for person in present if person != actor_id],
        "driver": [mentorship.driver_person_id],
        **(recipients or {}),
    }
    if kind in TOLD_COORDINATORS:
        told["coordinators"] = await coordinators(session, mentorship)
    events.record(
        session,
        kind,
        mentorship,
        now=now,
        actor_id=actor_id,
        program_id=mentorship.program_id,
        from_state=before,
        to_state=mentorship.status,
        named={
            "track_id": mentorship.track_id,
            "person_ids": present,
            "driver_id": mentorship.driver_person_id,
        },
        recipients=told,
    )


async def coordinators(session: AsyncSession, mentorship: Mentorship) -> list[UUID]:
    """Return who runs the program of a mentorship."""
    return await credentials.coordinators_of(
        session,
        organization_id=mentorship.organization_id,
        program_id=mentorship.program_id,
    )


async def load(
    session: AsyncSession, *, actor: Actor, mentorship_id: UUID, permission: str
) -> tuple[Mentorship, list[MentorshipMember]]:
    """Lock a mentorship for the actor: 404 for who may not know, 403 for who may not act."""
    mentorship = await queries.lock(
        session, organization_id=actor.organization_id, mentorship_id=mentorship_id
    )
    members = await members_of(session, mentorship)
    facts = facts_towards(actor, mentorship, members)
    if not access.holds(permission, facts):
        await queries.get(SessionReader(session), actor=actor, mentorship_id=mentorship_id)
        raise ForbiddenError
    return mentorship, members


async def lock(
    session: AsyncSession, *, organization_id: UUID, mentorship_id: UUID
) -> tuple[Mentorship, list[MentorshipMember]]:
    """Lock a mentorship, whoever wants it; return it with its members."""
    mentorship = await queries.lock(
        session, organization_id=organization_id, mentorship_id=mentorship_id
    )
    return mentorship, await members_of(session, mentorship)


async def members_of(session: AsyncSession, mentorship: Mentorship) -> list[MentorshipMember]:
    """Return everybody who is or was in a mentorship."""
    return await queries.members_of(
        session, organization_id=mentorship.organization_id, mentorship_id=mentorship.id
    )


def facts_towards(actor: Actor, mentorship: Mentorship, members: Members) -> frozenset[Role]:
    """Return what the actor is towards a locked mentorship."""
    towards = {
        "program_id": mentorship.program_id,
        "driver_person_id": mentorship.driver_person_id,
    }
    return rules.facts_of(actor, towards, queries.roles_of(members))


async def start(
    session: AsyncSession,
    *,
    actor: Actor,
    mentorship_id: UUID,
    if_match: str | None,
    now: datetime,
) -> Mentorship:
    """Begin, as a member may before the first meeting is arranged."""
    mentorship, members = await load(
        session, actor=actor, mentorship_id=mentorship_id, permission="mentorship.start"
    )
    accept_match(if_match, version=mentorship.version)
    await begin(session, mentorship=mentorship, actor_id=actor.person_id, now=now, members=members)
    return mentorship


async def begin(
    session: AsyncSession,
    *,
    mentorship: Mentorship,
    actor_id: UUID | None,
    now: datetime,
    members: Members | None = None,
) -> None:
    """Start a locked mentorship: from today on its days count."""
    rules.next_status(mentorship.status, _A.START)
    members = await members_of(session, mentorship) if members is None else members
    track, program = await setting(session, mentorship)
    found = rules.gaps(mentorship.format, queries.roles_of(members), min_members=track.min_members)
    if found.below_minimum:
        counted = FORMATS[mentorship.format].counted
        detail = f"It begins with at least {track.min_members} {counted}."
        raise ConflictError(
            detail, code="format_rule_broken", errors=[Violation("#", "size", detail)]
        )
    mentorship.starts_on = now.date()
    mentorship.ends_on = rules.last_day(
        now.date(), length_days=track.length_days, program_ends_on=program.ends_on
    )
    await advance(
        session, mentorship=mentorship, members=members, action=_A.START, actor_id=actor_id, now=now
    )


async def setting(session: AsyncSession, mentorship: Mentorship) -> tuple[Track, Program]:
    """Return the track and the program of a mentorship."""
    track = await programs.find_part(
        session, Track, organization_id=mentorship.organization_id, part_id=mentorship.track_id
    )
    program = await programs.find(
        session,
        organization_id=mentorship.organization_id,
        program_id=mentorship.program_id,
    )
    if track is None or program is None:
        raise NotFoundError
    return track, program


async def pause(
    session: AsyncSession,
    *,
    actor: Actor,
    mentorship_id: UUID,
    to_on: date | None,
    reason: str | None,
    if_match: str | None,
    now: datetime,
) -> Mentorship:
    """Let a mentorship rest until a day; safeguarding may leave the day open and tells nobody."""
    mentorship, members = await load(
        session, actor=actor, mentorship_id=mentorship_id, permission="mentorship.pause"
    )
    accept_match(if_match, version=mentorship.version)
    rules.next_status(mentorship.status, _A.PAUSE)
    is_member = Role.MEMBER in facts_towards(actor, mentorship, members)
    if to_on is not None:
        rules.check_pause(now.date(), to_on)
    elif is_member:
        detail = "Say until when."
        raise InvalidError(errors=[Violation("#/to_on", "missing", detail)])
    mentorship.paused_from_on, mentorship.paused_to_on = now.date(), to_on
    mentorship.paused_by_safeguarding = not is_member
    _keep_reason(session, mentorship, actor, kind="pause", reason=reason, now=now)
    await advance(
        session,
        mentorship=mentorship,
        members=members,
        action=_A.PAUSE,
        actor_id=actor.person_id if is_member else None,
        now=now,
    )
    return mentorship


def _keep_reason(
    session: AsyncSession,
    mentorship: Mentorship,
    actor: Actor,
    *,
    kind: str,
    reason: str | None,
    now: datetime,
) -> None:
    if reason is None or actor.person_id is None:
        return
    session.add(
        PrivateReason(
            organization_id=mentorship.organization_id,
            id=ids.new_id(),
            created_at=now,
            updated_at=now,
            mentorship_id=mentorship.id,
            person_id=actor.person_id,
            kind=kind,
            reason=reason,
        )
    )


async def resume(
    session: AsyncSession,
    *,
    actor: Actor,
    mentorship_id: UUID,
    if_match: str | None,
    now: datetime,
) -> Mentorship:
    """Go on after a pause; a pause by safeguarding ends by safeguarding only."""
    mentorship, members = await load(
        session, actor=actor, mentorship_id=mentorship_id, permission="mentorship.pause"
    )
    accept_match(if_match, version=mentorship.version)
    rules.next_status(mentorship.status, _A.RESUME)
    is_member = Role.MEMBER in facts_towards(actor, mentorship, members)
    if is_member is mentorship.paused_by_safeguarding:
        raise ForbiddenError
    await advance(
        session,
        mentorship=mentorship,
        members=members,
        action=_A.RESUME,
        actor_id=actor.person_id if is_member else None,
        now=now,
    )
    return mentorship


async def extend(
    session: AsyncSession,
    *,
    actor: Actor,
    mentorship_id: UUID,
    ends_on: date,
    if_match: str | None,
    now: datetime,
) -> Mentorship:
    """Propose a later end, or agree to it; it takes effect when both sides named the same day."""
    mentorship, members = await load(
        session, actor=actor, mentorship_id=mentorship_id, permission="mentorship.extend"
    )
    accept_match(if_match, version=mentorship.version)
    rules.next_status(mentorship.status, _A.EXTEND)
    _track, program = await setting(session, mentorship)
    rules.check_extension(now.date(), ends_on, program_ends_on=program.ends_on)
    proposed = mentorship.extension or {}
    said = proposed["agreed_by"] if proposed.get("ends_on") == ends_on.isoformat() else []
    heard, is_agreed = rules.agreeing(queries.roles_of(members), said, _person(actor))
    if is_agreed:
        mentorship.ends_on = ends_on
        await advance(
            session,
            mentorship=mentorship,
            members=members,
            action=_A.EXTEND,
            actor_id=actor.person_id,
            now=now,
        )
        return mentorship
    mentorship.extension = {"ends_on": ends_on.isoformat(), "agreed_by": heard}
    mentorship.touch(now)
    await record(
        session,
        "mentorship.extension_proposed",
        mentorship,
        members,
        actor_id=actor.person_id,
        now=now,
    )
    return mentorship


def _person(actor: Actor) -> UUID:
    if actor.person_id is None:
        raise ForbiddenError
    return actor.person_id


async def begin_closing(
    session: AsyncSession,
    *,
    actor: Actor,
    mentorship_id: UUID,
    reason: ClosingReason,
    private_reason: str | None,
    if_match: str | None,
    now: datetime,
) -> Mentorship:
    """Bring a mentorship to its end, with time to say goodbye."""
    mentorship, members = await load(
        session, actor=actor, mentorship_id=mentorship_id, permission="mentorship.begin_closing"
    )
    accept_match(if_match, version=mentorship.version)
    rules.next_status(mentorship.status, _A.BEGIN_CLOSING)
    _keep_reason(session, mentorship, actor, kind="closing", reason=private_reason, now=now)
    await close(
        session,
        mentorship=mentorship,
        members=members,
        reason=reason,
        actor_id=actor.person_id,
        now=now,
    )
    return mentorship


async def close(
    session: AsyncSession,
    *,
    mentorship: Mentorship,
    members: Members,
    reason: ClosingReason,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    """Let a locked mentorship that runs or rests begin to close."""
    is_paused = mentorship.status is _S.PAUSED
    mentorship.closing_reason = reason
    mentorship.closing_opened_on = now.date()
    await advance(
        session,
        mentorship=mentorship,
        members=members,
        action=_A.LAPSE if is_paused else _A.BEGIN_CLOSING,
        actor_id=actor_id,
        now=now,
    )


async def complete(
    session: AsyncSession,
    *,
    actor: Actor,
    mentorship_id: UUID,
    if_match: str | None,
    now: datetime,
) -> Mentorship:
    """Say that all is done; complete once both sides have said so."""
    mentorship, members = await load(
        session, actor=actor, mentorship_id=mentorship_id, permission="mentorship.complete"
    )
    accept_match(if_match, version=mentorship.version)
    rules.next_status(mentorship.status, _A.COMPLETE)
    mentorship.completed_by, is_agreed = rules.agreeing(
        queries.roles_of(members), mentorship.completed_by, _person(actor)
    )
    if is_agreed:
        await advance(
            session,
            mentorship=mentorship,
            members=members,
            action=_A.COMPLETE,
            actor_id=actor.person_id,
            now=now,
        )
    else:
        mentorship.touch(now)
    return mentorship


async def end_early(
    session: AsyncSession,
    *,
    actor: Actor,
    mentorship_id: UUID,
    reason: ClosingReason,
    private_reason: str | None,
    if_match: str | None,
    now: datetime,
) -> Mentorship:
    """End at once and without fault; before the start this cancels. Nobody is told by whom."""
    mentorship, members = await load(
        session, actor=actor, mentorship_id=mentorship_id, permission="mentorship.end_early"
    )
    if mentorship.format not in TWO_MEMBERS:
        access.require("mentorship.end_group", facts_towards(actor, mentorship, members))
    accept_match(if_match, version=mentorship.version)
    rules.next_status(mentorship.status, _A.END_EARLY)
    _keep_reason(session, mentorship, actor, kind="ending", reason=private_reason, now=now)
    await end(session, mentorship=mentorship, members=members, reason=reason, now=now)
    return mentorship


async def end(
    session: AsyncSession,
    *,
    mentorship: Mentorship,
    members: Members,
    reason: ClosingReason,
    now: datetime,
) -> None:
    """End a locked mentorship early, whatever state it is in."""
    mentorship.closing_reason = reason
    await advance(
        session,
        mentorship=mentorship,
        members=members,
        action=_A.END_EARLY,
        actor_id=None,
        now=now,
    )


async def call_off(
    session: AsyncSession, *, mentorship: Mentorship, members: Members, now: datetime
) -> None:
    """Let a locked mentorship close, or not begin at all."""
    reason = ClosingReason.OTHER
    if mentorship.status is _S.PENDING_START:
        await end(session, mentorship=mentorship, members=members, reason=reason, now=now)
    elif mentorship.status in rules.RUNS_OR_RESTS:
        await close(
            session, mentorship=mentorship, members=members, reason=reason, actor_id=None, now=now
        )


async def advance(
    session: AsyncSession,
    *,
    mentorship: Mentorship,
    members: Members,
    action: MentorshipAction,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    """Apply an action to a locked mentorship, whoever wants it; set its timers and record it."""
    before = mentorship.status
    mentorship.status = rules.next_status(before, action)
    _tidy(mentorship)
    mentorship.touch(now)
    for kind in TIMERS_OF_STATUS.get(before, ()):
        await timers.cancel(
            session,
            organization_id=mentorship.organization_id,
            subject_id=mentorship.id,
            kind=kind,
        )
    is_cancelled = mentorship.status is _S.CANCELLED
    await record(
        session,
        "mentorship.cancelled" if is_cancelled else EVENT_OF_ACTION[action],
        mentorship,
        members,
        actor_id=actor_id,
        before=before,
        now=now,
    )
    if mentorship.status in rules.LIVE:
        await _schedule_next(session, mentorship, now=now)
    else:
        await _finish(session, mentorship, members, now=now)


def _tidy(mentorship: Mentorship) -> None:
    """Forget what belonged to the state before."""
    mentorship.extension = None
    if mentorship.status is not _S.PAUSED:
        mentorship.paused_from_on = mentorship.paused_to_on = None
        mentorship.paused_by_safeguarding = False
    if mentorship.status in {_S.ACTIVE, _S.PAUSED}:
        mentorship.closing_reason = mentorship.closing_opened_on = None
        mentorship.completed_by = []


async def _schedule_next(session: AsyncSession, mentorship: Mentorship, *, now: datetime) -> None:
    if mentorship.status is _S.ACTIVE and mentorship.ends_on is not None:
        closing_on = mentorship.ends_on - rules.CLOSING_LEAD
        await schedule(session, mentorship, "mentorship.begin_closing", midnight(closing_on))
    if mentorship.status is _S.PAUSED and mentorship.paused_to_on is not None:
        due_at = midnight(mentorship.paused_to_on)
        await schedule(session, mentorship, "mentorship.pause_end", due_at)
    if mentorship.status is _S.CLOSING:
        await schedule(session, mentorship, "mentorship.complete", now + rules.CLOSING_LASTS)


async def _finish(
    session: AsyncSession, mentorship: Mentorship, members: Members, *, now: datetime
) -> None:
    """Give the places back, and complete a program that was only waiting for its last ones."""
    mentorship.ended_on = now.date()
    await timers.cancel(
        session, organization_id=mentorship.organization_id, subject_id=mentorship.id
    )
    present = [one for one in members if one.status is MemberStatus.ACTIVE]
    roles = [one.role for one in present]
    for member in sorted(present, key=lambda one: (one.participant_id, one.role)):
        await release(
            session,
            mentorship,
            member,
            count=rules.places_of(mentorship.format, member.role, roles),
            now=now,
        )
    await session.flush()
    await complete_program(
        session,
        organization_id=mentorship.organization_id,
        program_id=mentorship.program_id,
        now=now,
    )


async def release(
    session: AsyncSession,
    mentorship: Mentorship,
    member: MentorshipMember,
    *,
    count: int,
    now: datetime,
) -> None:
    """Give back so many places of a member."""
    places = Places(
        mentorship.organization_id,
        member.participant_id,
        mentorship.track_id,
        member.role,
        count,
    )
    await participants.release_places(session, places, now=now)


async def complete_program(
    session: AsyncSession, *, organization_id: UUID, program_id: UUID, now: datetime
) -> None:
    """Complete a program that winds down and has no live mentorship left."""
    program = await programs.find(session, organization_id=organization_id, program_id=program_id)
    if program is None or program.status is not ProgramStatus.WINDING_DOWN:
        return
    # Locked before counting: of two last mentorships that end at once, the second one sees both.
    program = await programs.lock(session, organization_id=organization_id, program_id=program_id)
    live = await programs.count_live_mentorships(
        session, organization_id=organization_id, program_id=program_id
    )
    if program.status is ProgramStatus.WINDING_DOWN and live == 0:
        await program_operations.advance(
            session, program=program, action=ProgramAction.COMPLETE, actor_id=None, now=now
        )
