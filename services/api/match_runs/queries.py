"""Reads of runs and proposals, of the pool, and of who was together before."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Text, Uuid, and_, bindparam, cast, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer
from sqlmodel import col

from services.api.access import roles
from services.api.access.roles import Role
from services.api.access.rules import Actor
from services.api.match_runs.rules import (
    HOLDING,
    OPEN,
    TOLD,
    UNFINISHED,
    ProposalStatus,
    RunMode,
    pairs_across,
)
from services.api.match_runs.tables import MatchRun, PastPair, Proposal, ProposalMember
from services.api.participants.rules import ParticipantStatus
from services.api.participants.tables import Participant, ParticipantTrackRole
from services.api.programs.rules import TrackRole
from services.api.programs.tables import MatchPolicy
from shared.errors import NotFoundError
from shared.persistence.leases import Claim
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

RUN = MatchRun.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
PROPOSAL = Proposal.__table__  # type: ignore[attr-defined]  # as above
POLICY = MatchPolicy.__table__  # type: ignore[attr-defined]  # as above
MEMBER = ProposalMember.__table__  # type: ignore[attr-defined]  # as above

# A snapshot can be megabytes and only matching needs it.
_SHOWN = tuple(column for column in RUN.c if column.name != "snapshot")
_ME = bindparam("me", type_=Uuid)
_TOLD = tuple(sorted(TOLD))
NO_SNAPSHOT = (defer(MatchRun.snapshot, raiseload=True),)  # type: ignore[arg-type]  # a column


def _is_one_of(column: Any, name: str) -> Any:
    return cast(column, Text) == func.any(bindparam(name, type_=ARRAY(Text)))


def runs_visible_to() -> Any:
    """Return the condition that an actor may know of a run: staff and services."""
    return or_(
        bindparam("sees_all", type_=Boolean),
        RUN.c.program_id == func.any(bindparam("own_programs", type_=ARRAY(Uuid))),
    )


def _mine() -> Any:
    """Return the condition that somebody was asked, or has become a member."""
    return (
        select(MEMBER.c.proposal_id)
        .where(
            MEMBER.c.organization_id == PROPOSAL.c.organization_id,
            MEMBER.c.proposal_id == PROPOSAL.c.id,
            MEMBER.c.person_id == _ME,
            or_(
                MEMBER.c.is_asked,
                cast(PROPOSAL.c.status, Text) == ProposalStatus.ACCEPTED.value,
            ),
            _is_one_of(PROPOSAL.c.status, "told"),
        )
        .exists()
    )


def proposals_visible_to() -> Any:
    """Return the condition that an actor may know of a proposal.

    Nobody is told of one before people are asked, so members see theirs only from then on.
    """
    return or_(
        bindparam("sees_all", type_=Boolean),
        PROPOSAL.c.program_id == func.any(bindparam("own_programs", type_=ARRAY(Uuid))),
        _mine(),
    )


def sight_of_runs(actor: Actor) -> dict[str, Any]:
    """Return the values that `runs_visible_to` compares."""
    return {
        "sees_all": roles.grants("match_run.read_all", actor.facts()),
        "own_programs": [*actor.programs_as(Role.COORDINATOR)],
    }


def sight_of_proposals(actor: Actor) -> dict[str, Any]:
    """Return the values that `proposals_visible_to` compares."""
    return {
        "sees_all": roles.grants("proposal.read_all", actor.facts()),
        "own_programs": [*actor.programs_as(Role.COORDINATOR)],
        "me": actor.person_id,
        "told": list(_TOLD),
    }


_COUNTED = (
    select(cast(PROPOSAL.c.status, Text).label("status"), func.count().label("number"))
    .where(PROPOSAL.c.organization_id == RUN.c.organization_id, PROPOSAL.c.run_id == RUN.c.id)
    .group_by(PROPOSAL.c.status)
    .correlate(RUN)
    .lateral("counted")
)
_COUNTS = (
    select(func.jsonb_object_agg(_COUNTED.c.status, _COUNTED.c.number))
    .select_from(_COUNTED)
    .scalar_subquery()
    .label("proposals")
)
_MEMBERS = (
    select(
        func.jsonb_agg(
            func.jsonb_build_object(
                *("participant_id", MEMBER.c.participant_id),
                *("person_id", MEMBER.c.person_id),
                *("role", MEMBER.c.role),
                *("is_asked", MEMBER.c.is_asked),
                *("answer", MEMBER.c.answer),
                *("answered_at", MEMBER.c.answered_at),
            )
        )
    )
    .where(
        MEMBER.c.organization_id == PROPOSAL.c.organization_id,
        MEMBER.c.proposal_id == PROPOSAL.c.id,
    )
    .scalar_subquery()
    .label("members")
)
_RUN_FILTERS: Mapping[str, Any] = {
    "track_id": RUN.c.track_id == bindparam("track_id"),
    "status": _is_one_of(RUN.c.status, "status"),
}
_PROPOSAL_FILTERS: Mapping[str, Any] = {
    "run_id": PROPOSAL.c.run_id == bindparam("run_id"),
    "status": _is_one_of(PROPOSAL.c.status, "status"),
}


def _run_rows() -> AnySelect:
    return select(*_SHOWN, _COUNTS).where(
        RUN.c.organization_id == bindparam("organization_id"), runs_visible_to()
    )


def _proposal_rows() -> AnySelect:
    return select(*PROPOSAL.c, _MEMBERS).where(
        PROPOSAL.c.organization_id == bindparam("organization_id"), proposals_visible_to()
    )


@once
def _runs(filters: tuple[str, ...], *, is_first: bool) -> AnySelect:
    statement = _run_rows().where(
        RUN.c.program_id == bindparam("program_id"), *(_RUN_FILTERS[name] for name in filters)
    )
    return keyset(statement, (RUN.c.id,), is_first=is_first)


@once
def _run() -> AnySelect:
    return _run_rows().where(RUN.c.id == bindparam("run_id"))


@once
def _proposals(filters: tuple[str, ...], *, is_own: bool, is_first: bool) -> AnySelect:
    statement = _proposal_rows().where(*(_PROPOSAL_FILTERS[name] for name in filters))
    if is_own:
        statement = statement.where(_mine())
    return keyset(statement, (PROPOSAL.c.id,), is_first=is_first)


@once
def _proposal() -> AnySelect:
    return _proposal_rows().where(PROPOSAL.c.id == bindparam("proposal_id"))


@once
def _snapshot() -> AnySelect:
    return (
        select(
            RUN.c.snapshot,
            RUN.c.seed.label("run_seed"),
            *(POLICY.c[name] for name in ("hard", "soft", "objective", "seed")),
        )
        .join(
            POLICY,
            and_(POLICY.c.organization_id == RUN.c.organization_id, POLICY.c.id == RUN.c.policy_id),
        )
        .where(
            RUN.c.organization_id == bindparam("organization_id"), RUN.c.id == bindparam("run_id")
        )
    )


@once
def _program_of_run() -> AnySelect:
    return select(RUN.c.program_id).where(
        RUN.c.organization_id == bindparam("organization_id"), RUN.c.id == bindparam("run_id")
    )


@once
def _told_together() -> AnySelect:
    """Return a told proposal of a run that has both of two participants, one being the reader."""
    first, second = MEMBER.alias("first"), MEMBER.alias("second")

    def is_member(member: Any, name: str) -> Any:
        return and_(
            member.c.organization_id == PROPOSAL.c.organization_id,
            member.c.proposal_id == PROPOSAL.c.id,
            member.c.participant_id == bindparam(name, type_=Uuid),
        )

    return (
        select(PROPOSAL.c.id)
        .join(first, is_member(first, "first_id"))
        .join(second, is_member(second, "second_id"))
        .where(
            PROPOSAL.c.organization_id == bindparam("organization_id"),
            PROPOSAL.c.run_id == bindparam("run_id"),
            _mine(),
        )
    )


async def get_run(reader: Reader, *, actor: Actor, run_id: UUID) -> Mapping[str, Any]:
    """Return one visible run."""
    row = await reader.fetch_one(
        _run(), organization_id=actor.organization_id, run_id=run_id, **sight_of_runs(actor)
    )
    if row is None:
        raise NotFoundError
    return row


async def list_runs(
    reader: Reader,
    *,
    actor: Actor,
    program_id: UUID,
    filters: Mapping[str, Any],
    after: UUID | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Return visible runs of a program, oldest first."""
    return await reader.fetch(
        _runs(tuple(sorted(filters)), is_first=after is None),
        organization_id=actor.organization_id,
        program_id=program_id,
        limit=limit,
        **filters,
        **sight_of_runs(actor),
        **place_of([after] if after else None),
    )


async def get_proposal(reader: Reader, *, actor: Actor, proposal_id: UUID) -> Mapping[str, Any]:
    """Return one visible proposal."""
    row = await reader.fetch_one(
        _proposal(),
        organization_id=actor.organization_id,
        proposal_id=proposal_id,
        **sight_of_proposals(actor),
    )
    if row is None:
        raise NotFoundError
    return row


async def find_proposal(
    reader: Reader, *, actor: Actor, proposal_id: UUID
) -> Mapping[str, Any] | None:
    """Return one proposal, or None when the actor cannot see it."""
    return await reader.fetch_one(
        _proposal(),
        organization_id=actor.organization_id,
        proposal_id=proposal_id,
        **sight_of_proposals(actor),
    )


async def list_proposals(
    reader: Reader,
    *,
    actor: Actor,
    filters: Mapping[str, Any],
    is_own: bool,
    after: UUID | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Return visible proposals, oldest first; with `is_own` only those that ask the reader."""
    return await reader.fetch(
        _proposals(tuple(sorted(filters)), is_own=is_own, is_first=after is None),
        organization_id=actor.organization_id,
        limit=limit,
        **filters,
        **sight_of_proposals(actor),
        **place_of([after] if after else None),
    )


async def find_run_program(reader: Reader, *, organization_id: UUID, run_id: UUID) -> UUID | None:
    """Return the program of a run."""
    row = await reader.fetch_one(_program_of_run(), organization_id=organization_id, run_id=run_id)
    return row["program_id"] if row else None


async def snapshot(reader: Reader, *, organization_id: UUID, run_id: UUID) -> Mapping[str, Any]:
    """Return the frozen input of a run with its policy and seed."""
    row = await reader.fetch_one(_snapshot(), organization_id=organization_id, run_id=run_id)
    if row is None:
        raise NotFoundError
    return row


async def was_told_of_pair(
    reader: Reader, *, actor: Actor, run_id: UUID, pair: tuple[UUID, UUID]
) -> bool:
    """Tell whether the run put these two together and the reader was asked about it."""
    sight = sight_of_proposals(actor)
    row = await reader.fetch_one(
        _told_together(),
        organization_id=actor.organization_id,
        run_id=run_id,
        first_id=pair[0],
        second_id=pair[1],
        me=sight["me"],
        told=sight["told"],
    )
    return row is not None


async def lock_run(session: AsyncSession, *, organization_id: UUID, run_id: UUID) -> MatchRun:
    """Load a run for a change, without its snapshot."""
    run = await session.get(
        MatchRun,
        (organization_id, run_id),
        with_for_update=True,
        populate_existing=True,
        options=NO_SNAPSHOT,
    )
    if run is None:
        raise NotFoundError
    return run


async def find_run(session: AsyncSession, *, organization_id: UUID, run_id: UUID) -> MatchRun:
    """Load a run, unlocked and without its snapshot."""
    run = await session.get(MatchRun, (organization_id, run_id), options=NO_SNAPSHOT)
    if run is None:
        raise NotFoundError
    return run


async def lock_proposal(
    session: AsyncSession, *, organization_id: UUID, proposal_id: UUID
) -> Proposal:
    """Load a proposal for a change."""
    proposal = await session.get(
        Proposal, (organization_id, proposal_id), with_for_update=True, populate_existing=True
    )
    if proposal is None:
        raise NotFoundError
    return proposal


async def lock_proposals(
    session: AsyncSession,
    *,
    organization_id: UUID,
    run_id: UUID,
    statuses: Iterable[ProposalStatus],
) -> Sequence[Proposal]:
    """Load a run's proposals in some states for a change, in a fixed order."""
    statement = (
        select(Proposal)
        .where(
            col(Proposal.organization_id) == organization_id,
            col(Proposal.run_id) == run_id,
            col(Proposal.status).in_(list(statuses)),
        )
        .order_by(col(Proposal.id))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).scalars().all()


async def members_of(
    session: AsyncSession, *, organization_id: UUID, proposal_ids: Sequence[UUID]
) -> dict[UUID, list[ProposalMember]]:
    """Return the members of each proposal, in a fixed order."""
    statement = (
        select(ProposalMember)
        .where(
            col(ProposalMember.organization_id) == organization_id,
            col(ProposalMember.proposal_id).in_(list(proposal_ids)),
        )
        .order_by(col(ProposalMember.proposal_id), col(ProposalMember.participant_id))
        .execution_options(populate_existing=True)
    )
    found: dict[UUID, list[ProposalMember]] = {one: [] for one in proposal_ids}
    for member in (await session.execute(statement)).scalars():
        found[member.proposal_id].append(member)
    return found


async def open_ids_of_participant(
    session: AsyncSession, *, organization_id: UUID, participant_id: UUID
) -> list[UUID]:
    """Return the proposals of a participant that somebody may still decide on."""
    return await _open_ids(
        session, organization_id, col(ProposalMember.participant_id) == participant_id
    )


async def open_ids_of_program(
    session: AsyncSession, *, organization_id: UUID, program_id: UUID
) -> list[UUID]:
    """Return the proposals of a program that somebody may still decide on."""
    return await _open_ids(session, organization_id, col(Proposal.program_id) == program_id)


async def _open_ids(session: AsyncSession, organization_id: UUID, where: Any) -> list[UUID]:
    statement = (
        select(col(Proposal.id))
        .join(
            ProposalMember,
            and_(
                col(ProposalMember.organization_id) == col(Proposal.organization_id),
                col(ProposalMember.proposal_id) == col(Proposal.id),
            ),
        )
        .where(
            col(Proposal.organization_id) == organization_id,
            col(Proposal.status).in_([*OPEN, ProposalStatus.AWAITING_PEOPLE]),
            where,
        )
        .distinct()
        .order_by(col(Proposal.id))
    )
    return list((await session.execute(statement)).scalars())


async def unfinished_runs(
    session: AsyncSession, *, organization_id: UUID, track_id: UUID
) -> Sequence[MatchRun]:
    """Return the real runs of a track that are under way."""
    statement = (
        select(MatchRun)
        .options(*NO_SNAPSHOT)
        .where(
            col(MatchRun.organization_id) == organization_id,
            col(MatchRun.track_id) == track_id,
            col(MatchRun.mode) == RunMode.REAL,
            col(MatchRun.status).in_(list(UNFINISHED)),
        )
    )
    return (await session.execute(statement)).scalars().all()


async def run_ids_of_program(
    session: AsyncSession, *, organization_id: UUID, program_id: UUID, statuses: Iterable[str]
) -> list[UUID]:
    """Return a program's runs in some states."""
    statement = (
        select(col(MatchRun.id))
        .where(
            col(MatchRun.organization_id) == organization_id,
            col(MatchRun.program_id) == program_id,
            col(MatchRun.status).in_(list(statuses)),
        )
        .order_by(col(MatchRun.id))
    )
    return list((await session.execute(statement)).scalars())


# One table each, joined in Python: a plan made before the tables were ever counted would pair
# every row with every other.
_SEATS = text(
    "SELECT participant_id, role, capacity - load - held AS seats FROM participant_track_role"
    " WHERE organization_id = :organization_id AND track_id = :track_id"
    " ORDER BY participant_id, role"
)
_TAKING_PART = text(
    "SELECT id, person_id, status, answers FROM participant"
    " WHERE organization_id = :organization_id AND program_id = :program_id"
    " AND status IN ('available', 'at_capacity')"
)
_PEOPLE = text(
    "SELECT id, grade, department, country, city, site, timezone, locale, hired_on FROM person"
    " WHERE organization_id = :organization_id AND id = ANY(:ids)"
    " AND status IN ('pending', 'active')"
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))
_PREFERENCES = text(
    "SELECT participant_id, values, path_now, path_target, wants, offers, wants_skills,"
    " offers_skills, languages FROM match_preference"
    " WHERE organization_id = :organization_id AND participant_id = ANY(:ids)"
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))
_MANAGERS = text(
    "SELECT id, manager_id FROM person"
    " WHERE organization_id = :organization_id AND manager_id IS NOT NULL"
)
_MEMBERSHIPS = text(
    "SELECT mentorship_id, person_id, role FROM mentorship_member"
    " WHERE organization_id = :organization_id AND person_id = ANY(:ids)"
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))
_MENTORSHIPS = text(
    "SELECT id, track_id = :track_id"
    " AND status IN ('pending_start', 'active', 'paused', 'closing') AS is_live FROM mentorship"
    " WHERE organization_id = :organization_id AND id = ANY(:ids) AND status <> 'cancelled'"
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))
_PROPOSALS_OF_TRACK = text(
    "SELECT id, run_id, status, is_locked, decided_by FROM proposal"
    " WHERE organization_id = :organization_id AND track_id = :track_id ORDER BY id"
)
_MEMBERS_OF_PROPOSALS = text(
    "SELECT proposal_id, participant_id, role FROM proposal_member"
    " WHERE organization_id = :organization_id AND proposal_id = ANY(:ids)"
    " ORDER BY proposal_id, participant_id"
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))

_NOTHING_SAID: Mapping[str, Any] = dict.fromkeys(
    ("values", "path_now", "path_target", "wants", "offers", "wants_skills", "offers_skills")
) | {"languages": None}


async def _rows(session: AsyncSession, statement: Any, **values: Any) -> list[Mapping[str, Any]]:
    await session.flush()
    connection = await session.connection()
    return [dict(row) for row in (await connection.execute(statement, values)).mappings()]


async def pool(session: AsyncSession, *, run: MatchRun) -> list[Mapping[str, Any]]:
    """Return who can be matched now, role by role; seats this very run holds count as free."""
    of = {"organization_id": run.organization_id}
    held = await _held_by(session, run)
    freed = {participant_id for participant_id, _role in held}
    taking_part = {
        row["id"]: row
        for row in await _rows(session, _TAKING_PART, **of, program_id=run.program_id)
        if row["status"] == ParticipantStatus.AVAILABLE or row["id"] in freed
    }
    people = {
        row["id"]: row
        for row in await _rows(
            session, _PEOPLE, **of, ids=[row["person_id"] for row in taking_part.values()]
        )
    }
    said = {
        row["participant_id"]: row
        for row in await _rows(session, _PREFERENCES, **of, ids=list(taking_part))
    }
    found: list[Mapping[str, Any]] = []
    for seat in await _rows(session, _SEATS, **of, track_id=run.track_id):
        participant = taking_part.get(seat["participant_id"])
        person = people.get(participant["person_id"]) if participant else None
        seats = seat["seats"] + held.get((seat["participant_id"], seat["role"]), 0)
        if participant and person and seats > 0:
            found.append(
                {
                    **person,
                    **said.get(participant["id"], _NOTHING_SAID),
                    "person_id": person["id"],
                    "participant_id": participant["id"],
                    "answers": participant["answers"],
                    "role": seat["role"],
                    "seats": seats,
                }
            )
    return found


async def _held_by(session: AsyncSession, run: MatchRun) -> Counter[tuple[UUID, str]]:
    """Count the seats that a run's own approved proposals hold."""
    proposals = {
        row["id"]
        for row in await _proposals_of_track(session, run)
        if row["run_id"] == run.id and row["status"] == ProposalStatus.APPROVED
    }
    return Counter(
        (member["participant_id"], member["role"])
        for members in (await _told_members(session, run, proposals)).values()
        for member in members
    )


async def _proposals_of_track(session: AsyncSession, run: MatchRun) -> list[Mapping[str, Any]]:
    return await _rows(
        session,
        _PROPOSALS_OF_TRACK,
        organization_id=run.organization_id,
        track_id=run.track_id,
    )


async def _told_members(
    session: AsyncSession, run: MatchRun, proposals: Iterable[UUID]
) -> dict[UUID, list[Mapping[str, Any]]]:
    found: dict[UUID, list[Mapping[str, Any]]] = {}
    for row in await _rows(
        session,
        _MEMBERS_OF_PROPOSALS,
        organization_id=run.organization_id,
        ids=sorted(proposals),
    ):
        found.setdefault(row["proposal_id"], []).append(row)
    return found


async def managers(session: AsyncSession, *, organization_id: UUID) -> dict[UUID, UUID]:
    """Return who reports to whom in the whole organization."""
    rows = await _rows(session, _MANAGERS, organization_id=organization_id)
    return {row["id"]: row["manager_id"] for row in rows}


async def together(
    session: AsyncSession, *, run: MatchRun, people: Sequence[UUID]
) -> dict[tuple[UUID, UUID], bool]:
    """Return pairs of people who were in a mentorship together, and whether they are now."""
    members: dict[UUID, list[tuple[UUID, TrackRole]]] = {}
    for row in await _rows(
        session, _MEMBERSHIPS, organization_id=run.organization_id, ids=list(people)
    ):
        members.setdefault(row["mentorship_id"], []).append(
            (row["person_id"], TrackRole(row["role"]))
        )
    found: dict[tuple[UUID, UUID], bool] = {}
    for row in await _rows(
        session,
        _MENTORSHIPS,
        organization_id=run.organization_id,
        track_id=run.track_id,
        ids=list(members),
    ):
        for first, second in pairs_across(sorted(members[row["id"]])):
            found[first, second] = row["is_live"] or found.get((first, second), False)
    return found


async def past_hashes(session: AsyncSession, *, organization_id: UUID) -> set[str]:
    """Return the keyed hashes of everybody who was matched once."""
    statement = select(col(PastPair.pair_hash)).where(
        col(PastPair.organization_id) == organization_id
    )
    return set((await session.execute(statement)).scalars())


async def blocked(
    session: AsyncSession, *, run: MatchRun
) -> list[tuple[tuple[UUID, UUID], ProposalStatus]]:
    """Return pairs of participants that are not to be proposed, with the state that says so.

    They are held elsewhere, were declined before, or a coordinator turned them down in the run
    that this one repeats.
    """
    states = {
        row["id"]: ProposalStatus(row["status"])
        for row in await _proposals_of_track(session, run)
        if row["run_id"] != run.id and _keeps_apart(row, run)
    }
    return [
        (pair, states[proposal_id])
        for proposal_id, members in (await _told_members(session, run, states)).items()
        for pair in pairs_across(
            [(one["participant_id"], TrackRole(one["role"])) for one in members]
        )
    ]


def _keeps_apart(row: Mapping[str, Any], run: MatchRun) -> bool:
    if row["status"] == ProposalStatus.REJECTED:
        is_of_previous = run.previous_run_id is not None and row["run_id"] == run.previous_run_id
        return is_of_previous and row["decided_by"] is not None
    return row["status"] in {*HOLDING, ProposalStatus.DECLINED}


async def locked(session: AsyncSession, *, run: MatchRun) -> dict[UUID, list[Mapping[str, Any]]]:
    """Return the members of earlier proposals that a coordinator wants kept, by proposal."""
    kept = [
        row["id"]
        for row in await _proposals_of_track(session, run)
        if row["is_locked"] and row["run_id"] != run.id and _may_be_kept(row)
    ]
    return await _told_members(session, run, kept)


def _may_be_kept(row: Mapping[str, Any]) -> bool:
    was_put_aside = row["status"] == ProposalStatus.REJECTED and row["decided_by"] is None
    return row["status"] == ProposalStatus.PROPOSED or was_put_aside


async def can_anybody_be_matched(
    session: AsyncSession, *, organization_id: UUID, program_id: UUID, track_id: UUID
) -> bool:
    """Tell whether at least two people of a track have a free place."""
    statement = text(
        "SELECT count(DISTINCT p.person_id) FROM participant p JOIN participant_track_role s"
        " ON s.organization_id = p.organization_id AND s.participant_id = p.id"
        " WHERE p.organization_id = :organization_id AND p.program_id = :program_id"
        " AND s.track_id = :track_id AND p.status = :status AND s.load + s.held < s.capacity"
    )
    values = {
        "organization_id": organization_id,
        "program_id": program_id,
        "track_id": track_id,
        "status": ParticipantStatus.AVAILABLE.value,
    }
    return int((await session.execute(statement, values)).scalar_one()) > 1


async def free_seats(
    session: AsyncSession,
    *,
    organization_id: UUID,
    participant_id: UUID,
    track_id: UUID,
    role: str,
) -> int | None:
    """Return how many places somebody has left in a role, unlocked; None without the role."""
    seat = ParticipantTrackRole
    statement = select(col(seat.capacity) - col(seat.load) - col(seat.held)).where(
        col(ParticipantTrackRole.organization_id) == organization_id,
        col(ParticipantTrackRole.participant_id) == participant_id,
        col(ParticipantTrackRole.track_id) == track_id,
        col(ParticipantTrackRole.role) == role,
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def people_of_participants(
    session: AsyncSession, *, organization_id: UUID, participant_ids: Sequence[UUID]
) -> dict[UUID, UUID]:
    """Return the person behind each participant."""
    statement = select(col(Participant.id), col(Participant.person_id)).where(
        col(Participant.organization_id) == organization_id,
        col(Participant.id) == func.any(bindparam("ids", type_=ARRAY(Uuid))),
    )
    rows = await session.execute(statement, {"ids": list(participant_ids)})
    return {row[0]: row[1] for row in rows}


async def note_progress(
    session: AsyncSession, *, claimed: Claim, progress: Mapping[str, Any], leased_until: datetime
) -> bool:
    """Say how far a run is and prolong its lease; False means that it was lost."""
    statement = (
        update(MatchRun)
        .where(
            col(MatchRun.organization_id) == claimed.organization_id,
            col(MatchRun.id) == claimed.id,
            col(MatchRun.lease_token) == claimed.lease_token,
        )
        .values(
            progress=dict(progress),
            leased_until=leased_until,
            version=col(MatchRun.version) + 1,
        )
        .returning(col(MatchRun.id))
        .execution_options(synchronize_session=False)
    )
    return (await session.execute(statement)).first() is not None
