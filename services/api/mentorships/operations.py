"""Put people together, and take a mentorship through its life."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
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
    Candidate,
    ClosingReason,
    MemberStatus,
    MentorshipAction,
    MentorshipSource,
    MentorshipStatus,
    NewMember,
    Terms,
)
from services.api.mentorships.tables import Mentorship, MentorshipMember, PrivateReason
from services.api.organizations import queries as organizations
from services.api.participants import operations as participants
from services.api.participants import queries as participant_queries
from services.api.participants.rules import CLOSED, ParticipantStatus, Places
from services.api.participants.tables import Participant, ParticipantTrackRole
from services.api.people import queries as people
from services.api.people.tables import Person
from services.api.programs import operations as program_operations
from services.api.programs import queries as programs
from services.api.programs.operations import midnight
from services.api.programs.rules import (
    FORMATS,
    MENTEE_SIDE,
    MENTOR_SIDE,
    Format,
    ProgramAction,
    ProgramStatus,
    TrackRole,
    check_matching,
)
from services.api.programs.tables import Program, Track
from services.api.shortlists import queries as shortlists
from services.api.timers import operations as timers
from shared import ids
from shared.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    Violation,
    unknown_reference,
)
from shared.persistence.reads import SessionReader
from shared.web.preconditions import accept_match

type Because = Sequence[Mapping[str, Any]]
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


@dataclass(frozen=True, slots=True)
class _Newcomer:
    """A participant about to join, with what their place in the track looks like."""

    participant: Participant
    person: Person
    seats: Mapping[TrackRole, ParticipantTrackRole]


async def create(
    session: AsyncSession,
    *,
    organization_id: UUID,
    track_id: UUID,
    members: Sequence[NewMember],
    source: MentorshipSource,
    because: Because = (),
    actor_id: UUID | None,
    holds_seats: bool,
    now: datetime,
    name: str | None = None,
    common_ground: str | None = None,
    mentorship_id: UUID | None = None,
) -> Mentorship:
    """Put people together; the first mentorship of a program in matching starts the program.

    `holds_seats` says that an accepted proposal has taken the members' places already.
    """
    track = await programs.find_part(
        session, Track, organization_id=organization_id, part_id=track_id
    )
    if track is None:
        raise NotFoundError
    program = await _matching_program(session, track)
    found = await _arriving(session, track, members)
    if holds_seats:
        _require_present(found)
    else:
        _require_places(track.format, found, members)
        await _require_not_apart(session, organization_id, sorted(found))
    candidates = await _candidates(session, organization_id, found, members)
    await _require_composition(session, track, candidates, common_ground=common_ground)
    await _require_no_line(session, organization_id, candidates)
    mentorship = Mentorship(
        organization_id=organization_id,
        id=mentorship_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        program_id=track.program_id,
        track_id=track.id,
        format=track.format,
        name=name,
        common_ground=common_ground,
        driver_person_id=rules.first_driver(track.format, candidates),
        cadence=track.cadence,
        meeting_minutes=track.meeting_minutes,
        timezone=_zone_of_driver(track.format, candidates, found),
        source=source,
        because=[dict(one) for one in because],
    )
    session.add(mentorship)
    await session.flush()
    joined = [_join(session, mentorship, one, now=now) for one in candidates]
    if not holds_seats:
        await _take_seats(session, mentorship, members, now=now)
    await _schedule_start(session, mentorship, now=now)
    await record(session, "mentorship.created", mentorship, joined, actor_id=actor_id, now=now)
    if program.status is ProgramStatus.MATCHING:
        await program_operations.advance(
            session, program=program, action=ProgramAction.START, actor_id=None, now=now
        )
    return mentorship


async def join(
    session: AsyncSession,
    *,
    organization_id: UUID,
    mentorship_id: UUID,
    members: Sequence[NewMember],
    actor_id: UUID | None,
    now: datetime,
) -> Mentorship:
    """Let people into a mentorship that is there; an accepted proposal has taken their places."""
    mentorship, present = await lock_to_join(
        session, organization_id=organization_id, mentorship_id=mentorship_id
    )
    track, _program = await setting(session, mentorship)
    await _matching_program(session, track)
    found = await _arriving(session, track, members)
    _require_present(found)
    candidates = await _candidates(session, organization_id, found, members)
    there = await candidates_of(session, track, present)
    broken = rules.broken_joining(candidates, there, terms_of(track))
    if broken:
        raise _format_rule_broken(track, broken)
    rules.check_room(
        track.format,
        [(one.role, one.person_id) for one in [*there, *candidates]],
        max_members=track.max_members,
    )
    joining = {one.person_id for one in candidates}
    await _require_no_line(session, organization_id, [*there, *candidates], concerning=joining)
    joined = [_join(session, mentorship, one, now=now) for one in candidates]
    await session.flush()
    mentorship.touch(now)
    for member in joined:
        _record_joined(session, mentorship, present, member, actor_id=actor_id, now=now)
    await _stop_refilling(session, mentorship, track, [*present, *joined])
    return mentorship


async def lock_to_join(
    session: AsyncSession, *, organization_id: UUID, mentorship_id: UUID
) -> tuple[Mentorship, list[MentorshipMember]]:
    """Lock a mentorship that somebody may come into; return who is in it now."""
    mentorship = await queries.lock(
        session, organization_id=organization_id, mentorship_id=mentorship_id
    )
    rules.check_joinable(mentorship.status)
    members = await _members(session, mentorship)
    return mentorship, [one for one in members if one.status is MemberStatus.ACTIVE]


async def candidates_of(session: AsyncSession, track: Track, members: Members) -> list[Candidate]:
    """Return members of a mentorship as the rules of its format look at them."""
    listed = [NewMember(one.participant_id, one.role) for one in members]
    found = await _newcomers(session, track, listed)
    return await _candidates(session, track.organization_id, found, listed)


async def mentor_of_group(
    session: AsyncSession, *, organization_id: UUID, mentorship_id: UUID
) -> MentorshipMember | None:
    """Return who mentors a group, or did."""
    found = await queries.members_of(
        session, organization_id=organization_id, mentorship_id=mentorship_id
    )
    return next((one for one in found if one.role is TrackRole.MENTOR), None)


def _record_joined(
    session: AsyncSession,
    mentorship: Mentorship,
    present: Members,
    member: MentorshipMember,
    *,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    others = dict.fromkeys(one.person_id for one in present)
    events.record(
        session,
        "member.joined",
        member,
        now=now,
        actor_id=actor_id,
        program_id=mentorship.program_id,
        to_state=member.status,
        named={"mentorship_id": mentorship.id, "person_id": member.person_id},
        recipients={"members": [*others], "person": [member.person_id]},
    )


async def _stop_refilling(
    session: AsyncSession, mentorship: Mentorship, track: Track, members: Members
) -> None:
    """Let a mentorship go on that lacks nobody any more."""
    found = rules.gaps(mentorship.format, queries.roles_of(members), min_members=track.min_members)
    if not found.below_minimum and not found.needs_mentor:
        await timers.cancel(
            session,
            organization_id=mentorship.organization_id,
            subject_id=mentorship.id,
            kind="mentorship.refill",
        )


async def _matching_program(session: AsyncSession, track: Track) -> Program:
    """Return the program if it takes new mentorships, locked when this one will start it."""
    named = {"organization_id": track.organization_id, "program_id": track.program_id}
    program = await programs.find(session, **named)
    if program is not None and program.status is ProgramStatus.MATCHING:
        program = await programs.lock(session, **named)
    if program is None:
        raise NotFoundError
    check_matching(program.status)
    return program


async def _arriving(
    session: AsyncSession, track: Track, members: Sequence[NewMember]
) -> dict[UUID, _Newcomer]:
    """Lock those who are about to join and return them.

    Before anything of theirs is written: a row that refers to somebody locks them halfway, and two
    who hold such a lock wait for each other's end.
    """
    await participant_queries.lock_all(
        session,
        organization_id=track.organization_id,
        participant_ids={one.participant_id for one in members},
    )
    return await _newcomers(session, track, members)


def _require_present(found: Mapping[UUID, _Newcomer]) -> None:
    """Refuse for whoever left after being asked; a worker ends their proposal in a moment."""
    if any(one.participant.status in CLOSED for one in found.values()):
        raise ConflictError("Somebody of it no longer takes part.", code="not_available")


async def _newcomers(
    session: AsyncSession, track: Track, members: Sequence[NewMember]
) -> dict[UUID, _Newcomer]:
    rows = await queries.newcomers(
        session,
        organization_id=track.organization_id,
        track_id=track.id,
        participant_ids={one.participant_id for one in members},
    )
    seats: dict[UUID, dict[TrackRole, ParticipantTrackRole]] = {}
    for participant, _person, seat in rows:
        held = seats.setdefault(participant.id, {})
        if seat is not None:
            held[TrackRole(seat.role)] = seat
    found = {
        participant.id: _Newcomer(participant, person, seats[participant.id])
        for participant, person, _seat in rows
        if participant.program_id == track.program_id
    }
    for index, one in enumerate(members):
        if one.participant_id not in found:
            raise unknown_reference(f"#/members/{index}/participant_id")
    return found


def _require_places(
    format_: Format, found: Mapping[UUID, _Newcomer], members: Sequence[NewMember]
) -> None:
    roles = [one.role for one in members]
    for index, one in enumerate(members):
        newcomer = found[one.participant_id]
        seat = newcomer.seats.get(one.role)
        if seat is None:
            raise _not_available(f"#/members/{index}/role", "Nobody plays a role unasked.")
        if newcomer.participant.status is ParticipantStatus.AT_CAPACITY:
            raise seat_taken(index)
        if newcomer.participant.status is not ParticipantStatus.AVAILABLE:
            raise _not_available(f"#/members/{index}/participant_id", "They are not available.")
        if seat.taken + rules.places_of(format_, one.role, roles) > seat.capacity:
            raise seat_taken(index)


def _not_available(pointer: str, detail: str) -> ConflictError:
    return ConflictError(
        detail, code="not_available", errors=[Violation(pointer, "not_available", detail)]
    )


def seat_taken(index: int) -> ConflictError:
    """Refuse a member who has no place left."""
    detail = "This participant has too few places left."
    pointer = f"#/members/{index}/participant_id"
    return ConflictError(
        detail, code="seat_taken", errors=[Violation(pointer, "seat_taken", detail)]
    )


async def _candidates(
    session: AsyncSession,
    organization_id: UUID,
    found: Mapping[UUID, _Newcomer],
    members: Sequence[NewMember],
) -> list[Candidate]:
    organization = await organizations.get(SessionReader(session), organization_id=organization_id)
    ranks = {grade: rank for rank, grade in enumerate(organization["grade_order"])}
    return [
        Candidate(
            person_id=found[one.participant_id].person.id,
            participant_id=one.participant_id,
            role=one.role,
            grade_rank=ranks.get(found[one.participant_id].person.grade),
        )
        for one in members
    ]


async def _require_composition(
    session: AsyncSession,
    track: Track,
    candidates: Sequence[Candidate],
    *,
    common_ground: str | None,
) -> None:
    broken = rules.broken_composition(candidates, terms_of(track))
    if track.format is Format.CIRCLE and not common_ground:
        detail = "A circle says what its members have in common."
        broken.append(Violation("#/common_ground", "common_ground_missing", detail))
    if track.format is Format.FLASH and not broken:
        broken = await _broken_flash(session, track, candidates)
    if broken:
        raise _format_rule_broken(track, broken)


def terms_of(track: Track) -> Terms:
    """Return what a track demands of the people in one mentorship."""
    return Terms(
        format=track.format,
        min_members=track.min_members,
        max_members=track.max_members,
        seniority=track.seniority,
        grade_gap_min=track.grade_gap_min,
        grade_gap_max=track.grade_gap_max,
    )


def _format_rule_broken(track: Track, broken: Sequence[Violation]) -> ConflictError:
    return ConflictError(
        f"A mentorship of the format {track.format} cannot be like this.",
        code="format_rule_broken",
        errors=broken,
    )


async def _broken_flash(
    session: AsyncSession, track: Track, candidates: Sequence[Candidate]
) -> list[Violation]:
    mentor = next(one for one in candidates if one.role in MENTOR_SIDE)
    mentee = next(one for one in candidates if one.role in MENTEE_SIDE)
    beside = await queries.people_beside(
        session,
        organization_id=track.organization_id,
        track_id=track.id,
        person_id=mentee.person_id,
    )
    return rules.broken_flash(have_met=mentor.person_id in beside, mentee_meetings=len(beside))


async def _require_no_line(
    session: AsyncSession,
    organization_id: UUID,
    candidates: Sequence[Candidate],
    *,
    concerning: Collection[UUID] | None = None,
) -> None:
    """Refuse to match anybody with whoever stands above or below them, however far.

    Of `concerning`, only lines that one of these people stands in are refused.
    """
    if await people.are_in_line(
        session,
        organization_id=organization_id,
        person_ids=sorted({one.person_id for one in candidates}),
        concerning=concerning,
    ):
        detail = "Two of these people stand in one reporting line."
        raise ConflictError(
            detail,
            code="reporting_line",
            errors=[Violation("#/members", "reporting_line", detail)],
        )


async def _require_not_apart(
    session: AsyncSession, organization_id: UUID, participant_ids: Sequence[UUID]
) -> None:
    """Refuse people of whom one wants to be kept apart from another; nobody is told which."""
    if await shortlists.are_apart(
        SessionReader(session), organization_id=organization_id, participant_ids=participant_ids
    ):
        detail = "Somebody here is kept apart."
        raise ConflictError(
            detail,
            code="excluded_pair",
            errors=[Violation("#/members", "not_blocked", detail)],
        )


def _zone_of_driver(
    format_: Format, candidates: Sequence[Candidate], found: Mapping[UUID, _Newcomer]
) -> str:
    driver = rules.first_driver(format_, candidates)
    return next(one.person.timezone for one in found.values() if one.person.id == driver)


def _join(
    session: AsyncSession, mentorship: Mentorship, candidate: Candidate, *, now: datetime
) -> MentorshipMember:
    member = MentorshipMember(
        organization_id=mentorship.organization_id,
        id=ids.new_id(),
        created_at=now,
        updated_at=now,
        mentorship_id=mentorship.id,
        participant_id=candidate.participant_id,
        person_id=candidate.person_id,
        role=candidate.role,
        joined_at=now,
    )
    session.add(member)
    return member


async def _take_seats(
    session: AsyncSession, mentorship: Mentorship, members: Sequence[NewMember], *, now: datetime
) -> None:
    """Take every member's place, always in the same order, so that two compositions never lock."""
    numbered = sorted(enumerate(members), key=lambda one: (one[1].participant_id, one[1].role))
    roles = [one.role for one in members]
    for index, one in numbered:
        try:
            count = rules.places_of(mentorship.format, one.role, roles)
            await participants.take_places(session, _places(mentorship, one, count), now=now)
        except ConflictError as refused:
            raise seat_taken(index) from refused


async def _schedule_start(session: AsyncSession, mentorship: Mentorship, *, now: datetime) -> None:
    for kind, after in (
        ("mentorship.nudge", rules.FIRST_NUDGE),
        ("mentorship.second_nudge", rules.SECOND_NUDGE),
        ("mentorship.cancel", rules.PENDING_LASTS),
    ):
        await _schedule(session, mentorship, kind, now + after)


async def _schedule(
    session: AsyncSession, mentorship: Mentorship, kind: str, due_at: datetime
) -> None:
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


async def compose(
    session: AsyncSession,
    *,
    actor: Actor,
    track_id: UUID,
    members: Sequence[NewMember],
    name: str | None,
    common_ground: str | None,
    mentorship_id: UUID | None,
    now: datetime,
) -> Mentorship:
    """Put people together by hand, as a coordinator does."""
    track = await programs.get_part(SessionReader(session), Track, actor=actor, part_id=track_id)
    access.require("mentorship.create", actor.facts(program_id=track["program_id"]))
    return await create(
        session,
        organization_id=actor.organization_id,
        track_id=track_id,
        members=members,
        source=MentorshipSource.COORDINATOR,
        actor_id=actor.person_id,
        holds_seats=False,
        now=now,
        name=name,
        common_ground=common_ground,
        mentorship_id=mentorship_id,
    )


def facts_of(
    actor: Actor, mentorship: Mapping[str, Any], members: Sequence[tuple[TrackRole, UUID]]
) -> frozenset[Role]:
    """Return what the actor is towards one mentorship; `members` are those who are in it now.

    A coordinator who is a member has no coordinator's rights on their own mentorship. Any of two
    peers may pass the drive on, as its driver may elsewhere.
    """
    facts = actor.facts(program_id=mentorship["program_id"])
    held = {role for role, person_id in members if person_id == actor.person_id}
    if not held:
        return facts
    own = {Role.MEMBER}
    if TrackRole.FACILITATOR in held:
        own.add(Role.FACILITATOR)
    if TrackRole.PEER in held or mentorship["driver_person_id"] == actor.person_id:
        own.add(Role.DRIVER)
    return facts - {Role.COORDINATOR} | own


def offered(actor: Actor, mentorship: Mapping[str, Any], facts: frozenset[Role]) -> list[str]:
    """Return what the actor, with these facts towards a mentorship, may do with it now."""
    actions = rules.open_actions(
        MentorshipStatus(mentorship["status"]),
        paused_by_safeguarding=mentorship["paused_by_safeguarding"],
        is_member=Role.MEMBER in facts,
    )
    return access.offered(actor, actions, rules.needs(Format(mentorship["format"])), facts)


async def load(
    session: AsyncSession, *, actor: Actor, mentorship_id: UUID, permission: str
) -> tuple[Mentorship, list[MentorshipMember]]:
    """Lock a mentorship for the actor: 404 for who may not know, 403 for who may not act."""
    mentorship = await queries.lock(
        session, organization_id=actor.organization_id, mentorship_id=mentorship_id
    )
    members = await _members(session, mentorship)
    facts = _facts(actor, mentorship, members)
    if not access.holds(permission, facts):
        await queries.get(SessionReader(session), actor=actor, mentorship_id=mentorship_id)
        raise ForbiddenError
    return mentorship, members


async def _members(session: AsyncSession, mentorship: Mentorship) -> list[MentorshipMember]:
    return await queries.members_of(
        session, organization_id=mentorship.organization_id, mentorship_id=mentorship.id
    )


def _facts(actor: Actor, mentorship: Mentorship, members: Members) -> frozenset[Role]:
    towards = {
        "program_id": mentorship.program_id,
        "driver_person_id": mentorship.driver_person_id,
    }
    return facts_of(actor, towards, queries.roles_of(members))


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
    members = await _members(session, mentorship) if members is None else members
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
    is_member = Role.MEMBER in _facts(actor, mentorship, members)
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
    is_member = Role.MEMBER in _facts(actor, mentorship, members)
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
        access.require("mentorship.end_group", _facts(actor, mentorship, members))
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
        await _schedule(session, mentorship, "mentorship.begin_closing", midnight(closing_on))
    if mentorship.status is _S.PAUSED and mentorship.paused_to_on is not None:
        due_at = midnight(mentorship.paused_to_on)
        await _schedule(session, mentorship, "mentorship.pause_end", due_at)
    if mentorship.status is _S.CLOSING:
        await _schedule(session, mentorship, "mentorship.complete", now + rules.CLOSING_LASTS)


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
        await _release(
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


async def _release(
    session: AsyncSession,
    mentorship: Mentorship,
    member: MentorshipMember,
    *,
    count: int,
    now: datetime,
) -> None:
    await participants.release_places(session, _places(mentorship, member, count), now=now)


def _places(mentorship: Mentorship, member: MentorshipMember | NewMember, count: int) -> Places:
    return Places(
        mentorship.organization_id,
        member.participant_id,
        mentorship.track_id,
        member.role,
        count,
    )


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
    mentorship, members = await load(
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
    await record(
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
    mentorship = await queries.lock(
        session, organization_id=actor.organization_id, mentorship_id=mentorship_id
    )
    members = await _members(session, mentorship)
    member = next(one for one in members if one.id == member_id)
    facts = _facts(actor, mentorship, members)
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
            allowed=[_A.END_EARLY],
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
            await _release(session, mentorship, member, count=count, now=now)


async def _follow_gaps(
    session: AsyncSession, mentorship: Mentorship, members: Members, *, now: datetime
) -> None:
    track, _program = await setting(session, mentorship)
    found = rules.gaps(mentorship.format, queries.roles_of(members), min_members=track.min_members)
    if found.below_minimum:
        await record(
            session, "mentorship.below_minimum", mentorship, members, actor_id=None, now=now
        )
    if found.needs_mentor:
        await record(
            session, "mentorship.needs_mentor", mentorship, members, actor_id=None, now=now
        )
    if found.below_minimum or found.needs_mentor:
        await _schedule(session, mentorship, "mentorship.refill", now + rules.REFILL_LASTS)
