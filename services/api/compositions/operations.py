"""Put people together, and let others join them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import rules as access
from services.api.access.rules import Actor
from services.api.compositions import queries, rules
from services.api.compositions.rules import Candidate, NewMember, Terms
from services.api.events import operations as events
from services.api.mentorships import operations as mentorships
from services.api.mentorships import queries as mentorship_queries
from services.api.mentorships import rules as mentorship_rules
from services.api.mentorships.rules import MemberStatus, MentorshipSource
from services.api.mentorships.tables import Mentorship, MentorshipMember
from services.api.organizations import queries as organizations
from services.api.participants import operations as participants
from services.api.participants import queries as participant_queries
from services.api.participants.rules import CLOSED, ParticipantStatus, Places
from services.api.participants.tables import Participant, ParticipantTrackRole
from services.api.people import queries as people
from services.api.people.tables import Person
from services.api.programs import operations as program_operations
from services.api.programs import queries as programs
from services.api.programs.rules import (
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
from shared.errors import ConflictError, NotFoundError, Violation, unknown_reference
from shared.persistence.reads import SessionReader

type Because = Sequence[Mapping[str, Any]]
type Members = Sequence[MentorshipMember]


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
    await mentorships.record(
        session, "mentorship.created", mentorship, joined, actor_id=actor_id, now=now
    )
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
    track, _program = await mentorships.setting(session, mentorship)
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
    mentorship, members = await mentorships.lock(
        session, organization_id=organization_id, mentorship_id=mentorship_id
    )
    rules.check_joinable(mentorship.status)
    return mentorship, [one for one in members if one.status is MemberStatus.ACTIVE]


async def require_led(session: AsyncSession, track: Track, present: Members) -> None:
    """Refuse to ask anybody into a mentorship that nobody leads.

    Of a member whose participation has ended only a worker has yet to take notice. Whoever was
    asked before may still come: somebody else is looked for who leads.
    """
    gone = await queries.gone(
        session,
        organization_id=track.organization_id,
        participant_ids=[one.participant_id for one in present],
    )
    rules.check_led(track.format, [one.role for one in present if one.participant_id not in gone])


async def candidates_of(session: AsyncSession, track: Track, members: Members) -> list[Candidate]:
    """Return members of a mentorship as the rules of its format look at them."""
    listed = [NewMember(one.participant_id, one.role) for one in members]
    found = await _newcomers(session, track, listed)
    return await _candidates(session, track.organization_id, found, listed)


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
    found = mentorship_rules.gaps(
        mentorship.format, mentorship_queries.roles_of(members), min_members=track.min_members
    )
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
        if seat.taken + mentorship_rules.places_of(format_, one.role, roles) > seat.capacity:
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
        places = Places(
            mentorship.organization_id,
            one.participant_id,
            mentorship.track_id,
            one.role,
            mentorship_rules.places_of(mentorship.format, one.role, roles),
        )
        try:
            await participants.take_places(session, places, now=now)
        except ConflictError as refused:
            raise seat_taken(index) from refused


async def _schedule_start(session: AsyncSession, mentorship: Mentorship, *, now: datetime) -> None:
    for kind, after in (
        ("mentorship.nudge", mentorship_rules.FIRST_NUDGE),
        ("mentorship.second_nudge", mentorship_rules.SECOND_NUDGE),
        ("mentorship.cancel", mentorship_rules.PENDING_LASTS),
    ):
        await mentorships.schedule(session, mentorship, kind, now + after)


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
