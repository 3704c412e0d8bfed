"""Reads of participants; who may see which is one condition."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access import roles
from services.api.access.roles import Role
from services.api.access.rules import Actor
from services.api.organizations.tables import Organization
from services.api.participants.rules import CLOSED, MATCHABLE, ParticipantStatus, Places
from services.api.participants.tables import MatchPreference, Participant, ParticipantTrackRole
from services.api.people.queries import TABLE as PERSON
from services.api.programs.queries import PROGRAM
from services.api.programs.rules import (
    MENTOR_SIDE,
    STRICT_GRADES,
    Format,
    ManagerAcknowledgement,
    Seniority,
    Visibility,
)
from services.api.programs.tables import Form, Track
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

PARTICIPANT = Participant.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
SEAT = ParticipantTrackRole.__table__  # type: ignore[attr-defined]  # as above
PREFERENCE = MatchPreference.__table__  # type: ignore[attr-defined]  # as above

_FELLOW = PARTICIPANT.alias("fellow")
_ME = bindparam("me", type_=Uuid)
_OTHERS_SEE = tuple(sorted(MATCHABLE))
_IN_MATCHING = (ParticipantStatus.AVAILABLE, ParticipantStatus.AT_CAPACITY)


def _stands_in(column: Any, states: Sequence[str]) -> Any:
    """Compare a state with a fixed list; an IN would be compiled for each length."""
    listed = ", ".join(f"'{state}'" for state in states)
    return cast(column, Text) == func.any(literal_column(f"ARRAY[{listed}]::text[]"))


def visible_to() -> Any:
    """Return the condition that an actor may know of a participant.

    Staff of the program see all, everybody sees themselves and who takes part beside them, a
    people manager sees reports as far as the program lets them.
    """
    takes_part = select(_FELLOW.c.id).where(
        _FELLOW.c.organization_id == PARTICIPANT.c.organization_id,
        _FELLOW.c.program_id == PARTICIPANT.c.program_id,
        _FELLOW.c.person_id == _ME,
        _stands_in(_FELLOW.c.status, _OTHERS_SEE),
    )
    manages = select(PERSON.c.id).where(
        PERSON.c.organization_id == PARTICIPANT.c.organization_id,
        PERSON.c.id == PARTICIPANT.c.person_id,
        PERSON.c.manager_id == _ME,
        PROGRAM.c.organization_id == PARTICIPANT.c.organization_id,
        PROGRAM.c.id == PARTICIPANT.c.program_id,
        or_(
            cast(PROGRAM.c.people_manager_visibility, Text) != Visibility.NONE.value,
            cast(PROGRAM.c.manager_acknowledgement, Text) == ManagerAcknowledgement.REQUIRED.value,
        ),
    )
    return or_(
        bindparam("sees_all", type_=Boolean),
        PARTICIPANT.c.program_id == func.any(bindparam("own_programs", type_=ARRAY(Uuid))),
        PARTICIPANT.c.person_id == _ME,
        and_(_stands_in(PARTICIPANT.c.status, _OTHERS_SEE), takes_part.exists()),
        manages.exists(),
    )


def sight(actor: Actor) -> dict[str, Any]:
    """Return the values that `visible_to` compares."""
    return {
        "sees_all": roles.grants("participant.read_all", actor.facts()),
        "own_programs": [*actor.programs_as(Role.COORDINATOR)],
        "me": actor.person_id,
    }


_SEATS = (
    select(
        func.jsonb_agg(
            func.jsonb_build_object(
                *("track_id", SEAT.c.track_id),
                *("role", SEAT.c.role),
                *("capacity", SEAT.c.capacity),
                *("load", SEAT.c.load),
            )
        )
    )
    .where(
        SEAT.c.organization_id == PARTICIPANT.c.organization_id,
        SEAT.c.participant_id == PARTICIPANT.c.id,
    )
    .scalar_subquery()
    .label("track_roles")
)
_MANAGER = (
    select(PERSON.c.manager_id)
    .where(
        PERSON.c.organization_id == PARTICIPANT.c.organization_id,
        PERSON.c.id == PARTICIPANT.c.person_id,
    )
    .scalar_subquery()
    .label("manager_id")
)
_OPEN_KEYS = (
    select(
        func.jsonb_path_query_array(
            func.jsonb_agg(Form.fields),
            literal_column("""'$[*][*] ? (@.audience == "program").key'::jsonpath"""),
        )
    )
    .where(
        col(Form.organization_id) == PARTICIPANT.c.organization_id,
        col(Form.program_id) == PARTICIPANT.c.program_id,
        cast(col(Form.status), Text) == "published",
    )
    .scalar_subquery()
    .label("open_keys")
)


def _shown() -> AnySelect:
    return select(*PARTICIPANT.c, _SEATS, _MANAGER, _OPEN_KEYS).where(
        PARTICIPANT.c.organization_id == bindparam("organization_id"), visible_to()
    )


_HAS_SEAT = and_(
    SEAT.c.organization_id == PARTICIPANT.c.organization_id,
    SEAT.c.participant_id == PARTICIPANT.c.id,
)
_FILTERS: Mapping[str, Any] = {
    "program_id": PARTICIPANT.c.program_id == bindparam("program_id"),
    "person_id": PARTICIPANT.c.person_id == bindparam("person_id"),
    "status": cast(PARTICIPANT.c.status, Text) == func.any(bindparam("status", type_=ARRAY(Text))),
    "track_id": select(SEAT.c.track_id)
    .where(_HAS_SEAT, SEAT.c.track_id == bindparam("track_id"))
    .exists(),
    "role": select(SEAT.c.track_id)
    .where(_HAS_SEAT, cast(SEAT.c.role, Text) == bindparam("role"))
    .exists(),
}


@once
def _many(filters: tuple[str, ...], *, is_first: bool) -> AnySelect:
    statement = _shown().where(*(_FILTERS[name] for name in filters))
    return keyset(statement, (PARTICIPANT.c.id,), is_first=is_first)


@once
def _one() -> AnySelect:
    return _shown().where(PARTICIPANT.c.id == bindparam("participant_id"))


@once
def _preferences() -> AnySelect:
    return select(*PREFERENCE.c).where(
        PREFERENCE.c.organization_id == bindparam("organization_id"),
        PREFERENCE.c.participant_id == bindparam("participant_id"),
    )


async def get(reader: Reader, *, actor: Actor, participant_id: UUID) -> Mapping[str, Any]:
    """Return one visible participant."""
    row = await reader.fetch_one(
        _one(),
        organization_id=actor.organization_id,
        participant_id=participant_id,
        **sight(actor),
    )
    if row is None:
        raise NotFoundError
    return row


async def list_page(
    reader: Reader,
    *,
    actor: Actor,
    filters: Mapping[str, Any],
    after: UUID | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Return visible participants, oldest first."""
    return await reader.fetch(
        _many(tuple(sorted(filters)), is_first=after is None),
        organization_id=actor.organization_id,
        limit=limit,
        **filters,
        **sight(actor),
        **place_of([after] if after else None),
    )


async def find_preferences(
    reader: Reader, *, organization_id: UUID, participant_id: UUID
) -> Mapping[str, Any] | None:
    """Return what a participant looks for, or None before they said so."""
    return await reader.fetch_one(
        _preferences(), organization_id=organization_id, participant_id=participant_id
    )


async def lock(
    session: AsyncSession, *, organization_id: UUID, participant_id: UUID
) -> Participant:
    """Load a participant for a change."""
    participant = await session.get(
        Participant,
        (organization_id, participant_id),
        with_for_update=True,
        populate_existing=True,
    )
    if participant is None:
        raise NotFoundError
    return participant


async def lock_all(
    session: AsyncSession, *, organization_id: UUID, participant_ids: Iterable[UUID]
) -> dict[UUID, Participant]:
    """Load participants for a change, locked in the order of their ids; unknown ones are absent."""
    statement = (
        select(Participant)
        .where(
            col(Participant.organization_id) == organization_id,
            col(Participant.id).in_(list(participant_ids)),
        )
        .order_by(col(Participant.id))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {one.id: one for one in (await session.execute(statement)).scalars()}


async def find_live(
    session: AsyncSession, *, organization_id: UUID, program_id: UUID, person_id: UUID
) -> Participant | None:
    """Return a person's live participation in a program, locked."""
    statement = (
        select(Participant)
        .where(
            col(Participant.organization_id) == organization_id,
            col(Participant.program_id) == program_id,
            col(Participant.person_id) == person_id,
            col(Participant.status).not_in(CLOSED),
        )
        .with_for_update()
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def live_ids_of_person(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID
) -> list[UUID]:
    """Return the live participations of a person."""
    return await _live_ids(
        session, organization_id=organization_id, where=col(Participant.person_id) == person_id
    )


async def live_ids_of_program(
    session: AsyncSession, *, organization_id: UUID, program_id: UUID
) -> list[UUID]:
    """Return the live participants of a program."""
    return await _live_ids(
        session, organization_id=organization_id, where=col(Participant.program_id) == program_id
    )


async def _live_ids(session: AsyncSession, *, organization_id: UUID, where: Any) -> list[UUID]:
    statement = (
        select(col(Participant.id))
        .where(
            col(Participant.organization_id) == organization_id,
            where,
            col(Participant.status).not_in(CLOSED),
        )
        .order_by(col(Participant.id))
    )
    return list((await session.execute(statement)).scalars())


async def seats_of(
    session: AsyncSession, *, organization_id: UUID, participant_id: UUID
) -> Sequence[ParticipantTrackRole]:
    """Return a participant's roles per track, locked in a fixed order."""
    statement = (
        select(ParticipantTrackRole)
        .where(
            col(ParticipantTrackRole.organization_id) == organization_id,
            col(ParticipantTrackRole.participant_id) == participant_id,
        )
        .order_by(col(ParticipantTrackRole.track_id), col(ParticipantTrackRole.role))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).scalars().all()


async def lock_seats(
    session: AsyncSession,
    *,
    organization_id: UUID,
    track_id: UUID,
    participant_ids: Iterable[UUID],
) -> Sequence[ParticipantTrackRole]:
    """Return what participants offer in a track, locked in the order of their ids and roles."""
    statement = (
        select(ParticipantTrackRole)
        .where(
            col(ParticipantTrackRole.organization_id) == organization_id,
            col(ParticipantTrackRole.participant_id).in_(list(participant_ids)),
            col(ParticipantTrackRole.track_id) == track_id,
        )
        .order_by(col(ParticipantTrackRole.participant_id), col(ParticipantTrackRole.role))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).scalars().all()


LOAD, HELD = col(ParticipantTrackRole.load), col(ParticipantTrackRole.held)
_CAPACITY = col(ParticipantTrackRole.capacity)


async def take_places(session: AsyncSession, places: Places) -> bool:
    """Count so many more in the statement that checks for room; False when there is none."""
    has_room = LOAD + HELD + places.count <= _CAPACITY
    return await _count(session, places, where=has_room, load=LOAD + places.count)


async def hold_places(session: AsyncSession, places: Places) -> bool:
    """Count so many more that nobody is told of yet; False when there is no room."""
    has_room = LOAD + HELD + places.count <= _CAPACITY
    return await _count(session, places, where=has_room, held=HELD + places.count)


async def reveal_places(session: AsyncSession, places: Places) -> bool:
    """Turn held places into ones that people know of; False when fewer were held or are there."""
    fits = and_(places.count <= HELD, LOAD + places.count <= _CAPACITY)
    changes = {"held": HELD - places.count, "load": LOAD + places.count}
    return await _count(session, places, where=fits, **changes)


async def drop_places(session: AsyncSession, places: Places) -> bool:
    """Count so many less that nobody was told of; False when fewer were held."""
    return await _count(session, places, where=places.count <= HELD, held=HELD - places.count)


async def release_places(session: AsyncSession, places: Places) -> bool:
    """Count so many less; False when fewer were taken."""
    return await _count(session, places, where=places.count <= LOAD, load=LOAD - places.count)


async def _count(session: AsyncSession, places: Places, *, where: Any, **counts: Any) -> bool:
    statement = (
        update(ParticipantTrackRole)
        .where(
            col(ParticipantTrackRole.organization_id) == places.organization_id,
            col(ParticipantTrackRole.participant_id) == places.participant_id,
            col(ParticipantTrackRole.track_id) == places.track_id,
            col(ParticipantTrackRole.role) == places.role,
            where,
        )
        .values(**counts)
        .returning(col(ParticipantTrackRole.load))
        .execution_options(synchronize_session=False)
    )
    return (await session.execute(statement)).first() is not None


async def tracks_named(
    session: AsyncSession, *, organization_id: UUID, track_ids: Iterable[UUID]
) -> dict[UUID, Track]:
    """Return the tracks with these ids."""
    statement = select(Track).where(
        col(Track.organization_id) == organization_id, col(Track.id).in_(list(track_ids))
    )
    return {track.id: track for track in (await session.execute(statement)).scalars()}


async def manager_of(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID
) -> UUID | None:
    """Return whom a person reports to."""
    statement = select(PERSON.c.manager_id).where(
        PERSON.c.organization_id == organization_id, PERSON.c.id == person_id
    )
    found: UUID | None = (await session.execute(statement)).scalar_one_or_none()
    return found


_SEATED = and_(
    SEAT.c.organization_id == PARTICIPANT.c.organization_id,
    SEAT.c.participant_id == PARTICIPANT.c.id,
)
_TRACK_OF_SEAT = and_(
    col(Track.organization_id) == SEAT.c.organization_id,
    col(Track.id) == SEAT.c.track_id,
)
_IN_PROGRAM = and_(
    PARTICIPANT.c.organization_id == bindparam("organization_id"),
    PARTICIPANT.c.program_id == bindparam("program_id"),
)


@once
def _seat_counts() -> AnySelect:
    """Count places as the forecast does: a new group has no more, and none below its minimum."""
    free = func.greatest(SEAT.c.capacity - SEAT.c.load - SEAT.c.held, 0)
    leads_group = and_(
        cast(col(Track.format), Text) == Format.GROUP.value,
        _stands_in(SEAT.c.role, sorted(MENTOR_SIDE)),
    )
    seats = case(
        (and_(leads_group, free < col(Track.min_members)), 0),
        (leads_group, func.least(free, col(Track.max_members))),
        else_=free,
    )
    return (
        select(
            SEAT.c.track_id,
            SEAT.c.role,
            func.count().label("participants"),
            func.sum(seats).label("free_seats"),
        )
        .join(PARTICIPANT, _SEATED)
        .join(Track, _TRACK_OF_SEAT)
        .where(_IN_PROGRAM, _stands_in(PARTICIPANT.c.status, _IN_MATCHING))
        .group_by(SEAT.c.track_id, SEAT.c.role)
        .order_by(SEAT.c.track_id, SEAT.c.role)
    )


@once
def _status_counts() -> AnySelect:
    return (
        select(PARTICIPANT.c.status, func.count().label("number"))
        .where(_IN_PROGRAM)
        .group_by(PARTICIPANT.c.status)
    )


@once
def _blocked() -> AnySelect:
    """Everybody who would be matched but for one reason: paused, or nothing said of themselves."""
    paused = cast(PARTICIPANT.c.status, Text) == ParticipantStatus.PAUSED.value
    silent = PREFERENCE.c.participant_id.is_(None)
    joined = PARTICIPANT.outerjoin(
        PREFERENCE,
        and_(
            PREFERENCE.c.organization_id == PARTICIPANT.c.organization_id,
            PREFERENCE.c.participant_id == PARTICIPANT.c.id,
        ),
    )
    return (
        select(
            PARTICIPANT.c.id,
            case(
                (paused, literal_column("'paused'")), else_=literal_column("'no_preferences'")
            ).label("reason"),
        )
        .select_from(joined)
        .where(
            _IN_PROGRAM,
            or_(paused, and_(silent, _stands_in(PARTICIPANT.c.status, _IN_MATCHING))),
        )
        .order_by(PARTICIPANT.c.id)
    )


@once
def _unanswered() -> AnySelect:
    """Everybody in matching who owes an answer to a form that was published after they sent theirs.

    Empty answers count as none, as they do when a registration is handed in.
    """
    question = func.jsonb_array_elements(col(Form.fields), type_=JSONB).column_valued("question")
    answer = PARTICIPANT.c.answers.op("->>")(question.op("->>")("key"))
    owed: AnySelect = (
        select(literal_column("1"))
        .select_from(SEAT, Form, question.scalar_alias)
        .where(
            SEAT.c.organization_id == PARTICIPANT.c.organization_id,
            SEAT.c.participant_id == PARTICIPANT.c.id,
            col(Form.organization_id) == PARTICIPANT.c.organization_id,
            col(Form.program_id) == PARTICIPANT.c.program_id,
            cast(col(Form.role), Text) == cast(SEAT.c.role, Text),
            cast(col(Form.status), Text) == "published",
            question.op("->>")("required") == "true",
            or_(answer.is_(None), answer == "", answer == "[]"),
        )
        .correlate(PARTICIPANT)
    )
    return (
        select(PARTICIPANT.c.id, literal_column("'missing_answers'").label("reason"))
        .where(_IN_PROGRAM, _stands_in(PARTICIPANT.c.status, _IN_MATCHING), owed.exists())
        .order_by(PARTICIPANT.c.id)
    )


@once
def _placeless() -> AnySelect:
    """Everybody in matching who came without a place, in whatever role."""
    offered: AnySelect = (
        select(literal_column("1"))
        .select_from(SEAT)
        .where(
            SEAT.c.organization_id == PARTICIPANT.c.organization_id,
            SEAT.c.participant_id == PARTICIPANT.c.id,
            SEAT.c.capacity > 0,
        )
        .correlate(PARTICIPANT)
    )
    return (
        select(PARTICIPANT.c.id, literal_column("'no_places'").label("reason"))
        .where(_IN_PROGRAM, _stands_in(PARTICIPANT.c.status, _IN_MATCHING), ~offered.exists())
        .order_by(PARTICIPANT.c.id)
    )


@once
def _gradeless() -> AnySelect:
    """Everybody in matching in a track that keeps those apart whose grade is not known."""
    strict: AnySelect = (
        select(literal_column("1"))
        .select_from(SEAT)
        .join(Track, _TRACK_OF_SEAT)
        .where(
            SEAT.c.organization_id == PARTICIPANT.c.organization_id,
            SEAT.c.participant_id == PARTICIPANT.c.id,
            _stands_in(col(Track.format), sorted(STRICT_GRADES)),
            cast(col(Track.seniority), Text) != Seniority.NONE.value,
        )
        .correlate(PARTICIPANT)
    )
    graded: AnySelect = (
        select(literal_column("1"))
        .select_from(PERSON)
        .join(Organization, col(Organization.organization_id) == PERSON.c.organization_id)
        .where(
            PERSON.c.organization_id == PARTICIPANT.c.organization_id,
            PERSON.c.id == PARTICIPANT.c.person_id,
            PERSON.c.grade == func.any(col(Organization.grade_order)),
        )
        .correlate(PARTICIPANT)
    )
    return (
        select(PARTICIPANT.c.id, literal_column("'no_grade'").label("reason"))
        .where(
            _IN_PROGRAM,
            _stands_in(PARTICIPANT.c.status, _IN_MATCHING),
            strict.exists(),
            ~graded.exists(),
        )
        .order_by(PARTICIPANT.c.id)
    )


async def seat_counts(
    reader: Reader, *, organization_id: UUID, program_id: UUID
) -> list[Mapping[str, Any]]:
    """Return participants and free seats per track and role."""
    return await reader.fetch(
        _seat_counts(), organization_id=organization_id, program_id=program_id
    )


async def blocked(
    reader: Reader, *, organization_id: UUID, program_id: UUID
) -> list[Mapping[str, Any]]:
    """Return who cannot be matched yet, and why; once for each reason."""
    named = {"organization_id": organization_id, "program_id": program_id}
    return [
        row
        for statement in (_blocked(), _unanswered(), _placeless(), _gradeless())
        for row in await reader.fetch(statement, **named)
    ]


async def count_by_status(
    reader: Reader, *, organization_id: UUID, program_id: UUID
) -> dict[ParticipantStatus, int]:
    """Count a program's participants in each state."""
    rows = await reader.fetch(
        _status_counts(), organization_id=organization_id, program_id=program_id
    )
    return {ParticipantStatus(row["status"]): row["number"] for row in rows}
