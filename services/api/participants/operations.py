"""Register, review and place participants; their seats and what they look for."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import rules as access
from services.api.access.roles import Role
from services.api.access.rules import Actor
from services.api.credentials import queries as credentials
from services.api.events import operations as events
from services.api.participants import queries, rules
from services.api.participants.rules import (
    ParticipantAction,
    ParticipantSource,
    ParticipantStatus,
    Places,
    Review,
    Seats,
)
from services.api.participants.tables import MatchPreference, Participant, ParticipantTrackRole
from services.api.people import queries as people
from services.api.people.rules import PersonStatus
from services.api.programs import queries as programs
from services.api.programs import rules as program_rules
from services.api.programs.rules import FORMATS, ManagerAcknowledgement, Switch
from services.api.programs.tables import Program
from services.api.timers import operations as timers
from shared import ids
from shared.errors import ConflictError, InvalidError, NotFoundError, Violation, unknown_reference
from shared.web.preconditions import accept_match, require_match, require_match_or_new

EVENT_OF_STATUS: Mapping[ParticipantStatus, str] = {
    ParticipantStatus.INVITED: "participant.invited",
    ParticipantStatus.STARTED: "participant.registered",
    ParticipantStatus.SUBMITTED: "participant.submitted",
    ParticipantStatus.MANAGER_REVIEW: "participant.manager_ack_requested",
    ParticipantStatus.COORDINATOR_REVIEW: "participant.review_requested",
    ParticipantStatus.INFO_REQUESTED: "participant.info_requested",
    ParticipantStatus.WAITLISTED: "participant.waitlisted",
    ParticipantStatus.APPROVED: "participant.approved",
    ParticipantStatus.AVAILABLE: "participant.available",
    ParticipantStatus.AT_CAPACITY: "participant.at_capacity",
    ParticipantStatus.PAUSED: "participant.paused",
    ParticipantStatus.DECLINED: "participant.declined",
    ParticipantStatus.EXPIRED: "participant.expired",
    ParticipantStatus.REJECTED: "participant.rejected",
    ParticipantStatus.WITHDRAWN: "participant.withdrawn",
    ParticipantStatus.REMOVED: "participant.removed",
    ParticipantStatus.COMPLETED: "participant.completed",
}
TOLD_COORDINATORS = frozenset(
    {"participant.review_requested", "participant.withdrawn", "participant.declined"}
)
TOLD_MANAGER = frozenset({"participant.manager_ack_requested"})

type Wanted = Sequence[Mapping[str, Any]]
"""Roles per track as a request states them: track_id, role, capacity."""


async def register(
    session: AsyncSession,
    *,
    actor: Actor,
    program_id: UUID,
    person_id: UUID | None,
    track_roles: Wanted,
    answers: Mapping[str, Any],
    hours_per_month: int | None,
    participant_id: UUID | None,
    now: datetime,
) -> Participant:
    """Start a registration: one's own, or somebody else's by staff and services."""
    program = await _program(session, actor, program_id)
    whom = await _registered_person(session, actor, program, person_id)
    _require_open(program)
    known = await queries.find_live(
        session, organization_id=actor.organization_id, program_id=program_id, person_id=whom
    )
    if known is not None and known.status is not ParticipantStatus.INVITED:
        raise ConflictError("This person takes part already.", code="already_enrolled")
    participant = known or Participant(
        organization_id=actor.organization_id,
        id=participant_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        program_id=program_id,
        person_id=whom,
        status=ParticipantStatus.STARTED,
        source=ParticipantSource.SELF if whom == actor.person_id else ParticipantSource.IMPORT,
    )
    participant.hours_per_month = hours_per_month
    session.add(participant)
    await _take_answers(session, participant, answers)
    await session.flush()
    await _set_roles(session, participant, track_roles)
    if known is None:
        await _record(session, participant, actor_id=actor.person_id, before=None, now=now)
    else:
        await timers.cancel(
            session, organization_id=participant.organization_id, subject_id=participant.id
        )
        await _advance(
            session, participant, ParticipantAction.REGISTER, actor_id=actor.person_id, now=now
        )
    return participant


async def invite(
    session: AsyncSession,
    *,
    actor: Actor,
    program_id: UUID,
    person_ids: Sequence[UUID],
    track_roles: Wanted,
    now: datetime,
) -> list[Participant]:
    """Invite people; who takes part already is returned as they are."""
    program = await _program(session, actor, program_id)
    access.require("participant.invite", actor.facts(program_id=program_id))
    _require_open(program)
    invited = []
    for index, person_id in enumerate(person_ids):
        known = await queries.find_live(
            session,
            organization_id=actor.organization_id,
            program_id=program_id,
            person_id=person_id,
        )
        invited.append(
            known
            or await _invited(
                session,
                actor=actor,
                program=program,
                person_id=person_id,
                track_roles=track_roles,
                pointer=f"#/person_ids/{index}",
                now=now,
            )
        )
    return invited


async def _invited(
    session: AsyncSession,
    *,
    actor: Actor,
    program: Program,
    person_id: UUID,
    track_roles: Wanted,
    pointer: str,
    now: datetime,
) -> Participant:
    await _require_active(session, actor.organization_id, person_id, pointer)
    participant = Participant(
        organization_id=actor.organization_id,
        id=ids.new_id(),
        created_at=now,
        updated_at=now,
        program_id=program.id,
        person_id=person_id,
        status=ParticipantStatus.INVITED,
        source=ParticipantSource.INVITATION,
    )
    session.add(participant)
    await session.flush()
    await _set_roles(session, participant, track_roles)
    await timers.schedule(
        session,
        organization_id=participant.organization_id,
        kind="participant.expire",
        subject_id=participant.id,
        due_at=now + rules.INVITE_LASTS,
    )
    await _record(session, participant, actor_id=actor.person_id, before=None, now=now)
    return participant


async def change(
    session: AsyncSession,
    *,
    actor: Actor,
    participant_id: UUID,
    changes: Mapping[str, Any],
    if_match: str | None,
    now: datetime,
) -> Participant:
    """Change answers, roles, capacity or hours; capacity never falls below what is taken."""
    participant = await load(
        session, actor=actor, participant_id=participant_id, permission="participant.change"
    )
    require_match(if_match, version=participant.version)
    if participant.status in rules.CLOSED:
        raise ConflictError("This participation is over.", code="already_ended")
    if set(changes) - {"track_roles"}:
        access.require(
            "participant.answer",
            actor.facts(program_id=participant.program_id, person_id=participant.person_id),
        )
    if "answers" in changes:
        await _take_answers(session, participant, {**participant.answers, **changes["answers"]})
    if "hours_per_month" in changes:
        participant.hours_per_month = changes["hours_per_month"]
    if "track_roles" in changes:
        await _set_roles(session, participant, changes["track_roles"])
        await _follow_places(session, participant, now=now)
    participant.touch(now)
    events.record(
        session,
        "participant.changed",
        participant,
        now=now,
        actor_id=actor.person_id,
        program_id=participant.program_id,
        changed=sorted(changes),
        named={"person_id": participant.person_id},
    )
    return participant


async def submit(
    session: AsyncSession,
    *,
    actor: Actor,
    participant_id: UUID,
    has_seen_preview: bool,
    if_match: str | None,
    now: datetime,
) -> Participant:
    """Hand a registration in; reviews that the program does without are passed at once."""
    participant = await load(
        session, actor=actor, participant_id=participant_id, permission="participant.answer"
    )
    accept_match(if_match, version=participant.version)
    rules.next_status(participant.status, ParticipantAction.SUBMIT)
    if not has_seen_preview:
        raise ConflictError(
            "Show the person what others will see, then say so.", code="preview_required"
        )
    seats = await queries.seats_of(
        session, organization_id=participant.organization_id, participant_id=participant.id
    )
    fields = await _fields(session, participant, {seat.role for seat in seats})
    broken = rules.broken_answers(fields, participant.answers, is_final=True)
    if not seats:
        broken.append(Violation("#/track_roles", "missing", "Choose a track and a role."))
    if broken:
        raise ConflictError("Some answers are missing.", code="form_incomplete", errors=broken)
    participant.preview_acknowledged_at = now
    await _advance(
        session, participant, ParticipantAction.SUBMIT, actor_id=actor.person_id, now=now
    )
    await _settle(session, participant, now=now)
    return participant


async def act(
    session: AsyncSession,
    *,
    actor: Actor,
    participant_id: UUID,
    action: ParticipantAction,
    permission: str,
    reason: str | None = None,
    paused_until: date | None = None,
    if_match: str | None,
    now: datetime,
) -> Participant:
    """Take a participant from one state to the next, and on as far as it goes by itself."""
    participant = await load(
        session, actor=actor, participant_id=participant_id, permission=permission
    )
    accept_match(if_match, version=participant.version)
    rules.next_status(participant.status, action)
    if action in {ParticipantAction.REJECT, ParticipantAction.REFUSE} and not reason:
        raise ConflictError("Say why, as a reason code.", code="reason_required")
    participant.decision_reason = reason
    participant.paused_until = paused_until
    await advance(
        session, participant=participant, action=action, actor_id=actor.person_id, now=now
    )
    return participant


async def advance(
    session: AsyncSession,
    *,
    participant: Participant,
    action: ParticipantAction,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    """Apply an action to a locked participant, whoever wants it."""
    await timers.cancel(
        session, organization_id=participant.organization_id, subject_id=participant.id
    )
    await _advance(session, participant, action, actor_id=actor_id, now=now)
    await _settle(session, participant, now=now)
    await _follow_places(session, participant, now=now)


async def put_preferences(
    session: AsyncSession,
    *,
    actor: Actor,
    participant_id: UUID,
    values: Mapping[str, Any],
    if_match: str | None,
    if_none_match: str | None,
    now: datetime,
) -> tuple[MatchPreference, bool]:
    """Say what one looks for and brings; return it, and whether it is new."""
    participant = await load(
        session, actor=actor, participant_id=participant_id, permission="preference.write"
    )
    key = (participant.organization_id, participant.id)
    found = await session.get(MatchPreference, key, with_for_update=True)
    require_match_or_new(if_match, if_none_match, version=found.version if found else None)
    if found is None:
        preference = MatchPreference(
            organization_id=participant.organization_id,
            participant_id=participant.id,
            updated_at=now,
            **values,
        )
        session.add(preference)
    else:
        preference = found
        for name, value in values.items():
            setattr(preference, name, value)
        preference.version += 1
        preference.updated_at = now
    events.record(
        session,
        "participant.changed",
        participant,
        now=now,
        actor_id=actor.person_id,
        program_id=participant.program_id,
        changed=["preferences"],
        named={"person_id": participant.person_id},
    )
    return preference, found is None


async def take_places(session: AsyncSession, places: Places, *, now: datetime) -> None:
    """Take places of a participant; the last one taken makes them `at_capacity`."""
    participant = await _lock_owner(session, places)
    if not await queries.take_places(session, places):
        raise rules.capacity_reached()
    await _follow_places(session, participant, now=now)


async def hold_places(session: AsyncSession, places: Places) -> None:
    """Hold places without a word: nothing that anybody can read changes."""
    if not await queries.hold_places(session, places):
        raise rules.capacity_reached()


async def drop_places(session: AsyncSession, places: Places) -> None:
    """Give places back that nobody was told of."""
    await queries.drop_places(session, places)


async def reveal_places(session: AsyncSession, places: Places, *, now: datetime) -> None:
    """Let held places be seen; the last one makes the participant `at_capacity`.

    They may offer fewer since: nobody told them that some were held.
    """
    participant = await _lock_owner(session, places)
    if not await queries.reveal_places(session, places):
        raise rules.capacity_reached()
    await _follow_places(session, participant, now=now)


async def release_places(session: AsyncSession, places: Places, *, now: datetime) -> None:
    """Give places back; a participant who was full is available again."""
    participant = await _lock_owner(session, places)
    await queries.release_places(session, places)
    await _follow_places(session, participant, now=now)


async def _lock_owner(session: AsyncSession, places: Places) -> Participant:
    return await queries.lock(
        session,
        organization_id=places.organization_id,
        participant_id=places.participant_id,
    )


async def load(
    session: AsyncSession, *, actor: Actor, participant_id: UUID, permission: str
) -> Participant:
    """Lock a participant for the actor: 404 for who may not know, 403 for who may not act."""
    participant = await queries.lock(
        session, organization_id=actor.organization_id, participant_id=participant_id
    )
    facts = facts_of(
        actor,
        program_id=participant.program_id,
        person_id=participant.person_id,
        manager_id=await _manager(session, participant),
    )
    if not access.holds("participant.know", facts) and not await _is_fellow(
        session, actor, participant
    ):
        raise NotFoundError
    access.require(permission, facts)
    return participant


def facts_of(
    actor: Actor, *, program_id: UUID, person_id: UUID, manager_id: UUID | None
) -> frozenset[Role]:
    """Return what the actor is towards one participant."""
    facts = actor.facts(program_id=program_id, person_id=person_id)
    if actor.person_id is not None and actor.person_id == manager_id:
        return facts | {Role.PEOPLE_MANAGER}
    return facts


async def _manager(session: AsyncSession, participant: Participant) -> UUID | None:
    """Return the people manager, where the program lets people managers know."""
    program = await programs.find(
        session, organization_id=participant.organization_id, program_id=participant.program_id
    )
    if program is None or not program_rules.tells_managers(
        program.people_manager_visibility, program.manager_acknowledgement
    ):
        return None
    return await queries.manager_of(
        session, organization_id=participant.organization_id, person_id=participant.person_id
    )


async def _is_fellow(session: AsyncSession, actor: Actor, participant: Participant) -> bool:
    if actor.person_id is None or participant.status not in rules.MATCHABLE:
        return False
    own = await queries.find_live(
        session,
        organization_id=actor.organization_id,
        program_id=participant.program_id,
        person_id=actor.person_id,
    )
    return own is not None and own.status in rules.MATCHABLE


async def _program(session: AsyncSession, actor: Actor, program_id: UUID) -> Program:
    program = await programs.find(
        session, organization_id=actor.organization_id, program_id=program_id
    )
    is_draft = program is not None and program.status is program_rules.ProgramStatus.DRAFT
    if program is None or (
        is_draft and not access.holds("program.read_draft", actor.facts(program_id=program_id))
    ):
        raise NotFoundError
    return program


def _require_open(program: Program) -> None:
    if not program_rules.is_accepting(
        program.kind, program.status, is_switched_on=program.accepting_participants
    ):
        raise ConflictError("Registration is not open.", code="registration_closed")


async def _registered_person(
    session: AsyncSession, actor: Actor, program: Program, person_id: UUID | None
) -> UUID:
    whom = person_id or actor.person_id
    if whom is None:
        detail = "A service says whom it registers."
        raise InvalidError(errors=[Violation("#/person_id", "missing", detail)])
    if whom != actor.person_id:
        access.require("participant.register_others", actor.facts(program_id=program.id))
    await _require_active(session, actor.organization_id, whom, "#/person_id")
    return whom


async def _require_active(
    session: AsyncSession, organization_id: UUID, person_id: UUID, pointer: str
) -> None:
    person = await people.find(session, organization_id=organization_id, person_id=person_id)
    if person is None:
        raise unknown_reference(pointer)
    if person.status is PersonStatus.INACTIVE:
        raise ConflictError("This person has left.", code="not_eligible")


async def _take_answers(
    session: AsyncSession, participant: Participant, answers: Mapping[str, Any]
) -> None:
    forms = await programs.published_forms(
        session, organization_id=participant.organization_id, program_id=participant.program_id
    )
    fields = [field for form in forms for field in form.fields]
    broken = rules.broken_answers(fields, answers, is_final=False)
    if broken:
        raise InvalidError(errors=broken)
    participant.answers = dict(answers)


async def _fields(
    session: AsyncSession, participant: Participant, held: set[program_rules.TrackRole]
) -> list[dict[str, Any]]:
    """Return the questions of the newest published form of each role the person wants."""
    forms = await programs.published_forms(
        session, organization_id=participant.organization_id, program_id=participant.program_id
    )
    newest = {form.role: form for form in reversed(forms)}
    asked = [field for role, form in newest.items() if role in held for field in form.fields]
    others = [field for form in forms for field in form.fields]
    optional = [
        {**field, "required": False}
        for field in others
        if field["key"] not in {one["key"] for one in asked}
    ]
    return [*asked, *optional]


async def _set_roles(session: AsyncSession, participant: Participant, wanted: Wanted) -> None:
    """Make a participant's roles per track what was asked for; places in use stay."""
    await _check_roles(session, participant, wanted)
    held = {
        (seat.track_id, seat.role): seat
        for seat in await queries.seats_of(
            session, organization_id=participant.organization_id, participant_id=participant.id
        )
    }
    for index, one in enumerate(wanted):
        seat = held.pop((one["track_id"], one["role"]), None)
        if seat is None:
            session.add(
                ParticipantTrackRole(
                    organization_id=participant.organization_id,
                    participant_id=participant.id,
                    **one,
                )
            )
        elif one["capacity"] < seat.load:
            raise _below_load(f"#/track_roles/{index}/capacity", seat.load)
        else:
            seat.capacity = one["capacity"]
    for seat in held.values():
        if seat.load:
            raise _below_load("#/track_roles", seat.load)
        await session.delete(seat)
    await session.flush()


async def _check_roles(session: AsyncSession, participant: Participant, wanted: Wanted) -> None:
    tracks = await queries.tracks_named(
        session,
        organization_id=participant.organization_id,
        track_ids={one["track_id"] for one in wanted},
    )
    seen = set()
    for index, one in enumerate(wanted):
        pointer = f"#/track_roles/{index}"
        track = tracks.get(one["track_id"])
        if track is None or track.program_id != participant.program_id:
            raise unknown_reference(f"{pointer}/track_id")
        if one["role"] not in FORMATS[track.format].roles:
            allowed = ", ".join(sorted(FORMATS[track.format].roles))
            detail = f"In this track people are: {allowed}."
            raise InvalidError(errors=[Violation(f"{pointer}/role", "not_allowed", detail)])
        if (one["track_id"], one["role"]) in seen:
            raise InvalidError(
                errors=[Violation(pointer, "not_unique", "Each role in a track stands once.")]
            )
        seen.add((one["track_id"], one["role"]))


def _below_load(pointer: str, load: int) -> ConflictError:
    detail = f"{load} places are taken."
    return ConflictError(
        detail,
        code="capacity_below_load",
        errors=[Violation(pointer, "capacity_below_load", detail)],
    )


async def _settle(session: AsyncSession, participant: Participant, *, now: datetime) -> None:
    """Go on as far as nobody needs to decide anything."""
    review = await _review(session, participant)
    while action := rules.automatic_action(participant.status, review):
        await _advance(session, participant, action, actor_id=None, now=now)


async def _review(session: AsyncSession, participant: Participant) -> Review:
    program = await programs.find(
        session,
        organization_id=participant.organization_id,
        program_id=participant.program_id,
    )
    if program is None:
        raise NotFoundError
    manager_id = await queries.manager_of(
        session, organization_id=participant.organization_id, person_id=participant.person_id
    )
    return Review(
        asks_manager=program.manager_acknowledgement is ManagerAcknowledgement.REQUIRED
        and manager_id is not None,
        asks_coordinator=program.coordinator_review is Switch.ON,
    )


async def _follow_places(session: AsyncSession, participant: Participant, *, now: datetime) -> None:
    seats = await queries.seats_of(
        session, organization_id=participant.organization_id, participant_id=participant.id
    )
    action = rules.occupancy(
        participant.status, [Seats(seat.capacity, seat.load) for seat in seats]
    )
    if action is not None:
        await _advance(session, participant, action, actor_id=None, now=now)


LASTING: Mapping[ParticipantStatus, tuple[str, Any]] = {
    ParticipantStatus.INFO_REQUESTED: ("participant.expire", rules.INFO_LASTS),
    ParticipantStatus.MANAGER_REVIEW: ("participant.manager_silent", rules.MANAGER_HAS),
}
"""States that end by themselves: the timer's kind, and after how long."""


async def _advance(
    session: AsyncSession,
    participant: Participant,
    action: ParticipantAction,
    *,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    before = participant.status
    participant.status = rules.next_status(before, action)
    participant.touch(now)
    if participant.status in LASTING:
        kind, lasts = LASTING[participant.status]
        await timers.schedule(
            session,
            organization_id=participant.organization_id,
            kind=kind,
            subject_id=participant.id,
            due_at=now + lasts,
        )
    await _record(session, participant, actor_id=actor_id, before=before, now=now)


async def _record(
    session: AsyncSession,
    participant: Participant,
    *,
    actor_id: UUID | None,
    before: ParticipantStatus | None,
    now: datetime,
) -> None:
    kind = EVENT_OF_STATUS[participant.status]
    events.record(
        session,
        kind,
        participant,
        now=now,
        actor_id=actor_id,
        program_id=participant.program_id,
        from_state=before,
        to_state=participant.status,
        named={"person_id": participant.person_id},
        recipients=await _recipients(session, participant, kind),
    )


async def _recipients(
    session: AsyncSession, participant: Participant, kind: str
) -> dict[str, list[UUID]]:
    told = {"person": [participant.person_id]}
    if kind in TOLD_COORDINATORS:
        told["coordinators"] = await credentials.coordinators_of(
            session,
            organization_id=participant.organization_id,
            program_id=participant.program_id,
        )
    if kind in TOLD_MANAGER:
        manager_id = await queries.manager_of(
            session, organization_id=participant.organization_id, person_id=participant.person_id
        )
        told["people_manager"] = [manager_id] if manager_id else []
    return told
