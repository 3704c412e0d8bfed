"""Reads of proposals."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Text,
    Uuid,
    and_,
    bindparam,
    cast,
    column,
    exists,
    func,
    or_,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access import roles
from services.api.access.roles import Role
from services.api.access.rules import Actor
from services.api.mentorships.queries import MEMBER as PRESENT
from services.api.mentorships.rules import MemberStatus
from services.api.participants.rules import Places
from services.api.participants.tables import Participant, ParticipantTrackRole
from services.api.programs.rules import TrackRole
from services.api.proposals.rules import HOLDING, OPEN, TOLD, ProposalStatus
from services.api.proposals.tables import Proposal, ProposalMember
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

PROPOSAL = Proposal.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
MEMBER = ProposalMember.__table__  # type: ignore[attr-defined]  # as above
# Runs lie above proposals in the stack, so their table is only named here.
_RUN = table("match_run", *(column(name) for name in ("organization_id", "id", "mode")))

_ME = bindparam("me", type_=Uuid)
_TOLD = tuple(sorted(TOLD))


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
            cast(PROPOSAL.c.status, Text) == func.any(bindparam("told", type_=ARRAY(Text))),
        )
        .exists()
    )


def visible_to() -> Any:
    """Return the condition that an actor may know of a proposal.

    Nobody is told of one before people are asked, so members see theirs only from then on.
    """
    return or_(
        bindparam("sees_all", type_=Boolean),
        PROPOSAL.c.program_id == func.any(bindparam("own_programs", type_=ARRAY(Uuid))),
        _mine(),
    )


def sight_of(actor: Actor) -> dict[str, Any]:
    """Return the values that `visible_to` compares."""
    return {
        "sees_all": roles.grants("proposal.read_all", actor.facts()),
        "own_programs": [*actor.programs_as(Role.COORDINATOR)],
        "me": actor.person_id,
        "told": list(_TOLD),
    }


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
_PRESENT = (
    select(
        func.jsonb_agg(
            func.jsonb_build_object(
                *("participant_id", PRESENT.c.participant_id),
                *("person_id", PRESENT.c.person_id),
                *("role", PRESENT.c.role),
            )
        )
    )
    .where(
        PRESENT.c.organization_id == PROPOSAL.c.organization_id,
        PRESENT.c.mentorship_id == PROPOSAL.c.mentorship_id,
        cast(PRESENT.c.status, Text) == MemberStatus.ACTIVE.value,
        cast(PROPOSAL.c.status, Text) != ProposalStatus.ACCEPTED.value,
    )
    .scalar_subquery()
    .label("present")
)
_IS_SIMULATED = (
    exists()
    .where(
        _RUN.c.organization_id == PROPOSAL.c.organization_id,
        _RUN.c.id == PROPOSAL.c.run_id,
        cast(_RUN.c.mode, Text) == "dry_run",
    )
    .label("is_simulated")
)
_FILTERS: Mapping[str, Any] = {
    "run_id": PROPOSAL.c.run_id == bindparam("run_id"),
    "status": cast(PROPOSAL.c.status, Text) == func.any(bindparam("status", type_=ARRAY(Text))),
}


def _rows() -> AnySelect:
    return select(*PROPOSAL.c, _MEMBERS, _PRESENT, _IS_SIMULATED).where(
        PROPOSAL.c.organization_id == bindparam("organization_id"), visible_to()
    )


@once
def _proposals(filters: tuple[str, ...], *, is_own: bool, is_first: bool) -> AnySelect:
    statement = _rows().where(*(_FILTERS[name] for name in filters))
    if is_own:
        statement = statement.where(_mine())
    return keyset(statement, (PROPOSAL.c.id,), is_first=is_first)


@once
def _proposal() -> AnySelect:
    return _rows().where(PROPOSAL.c.id == bindparam("proposal_id"))


@once
def _told_together() -> AnySelect:
    """Return a told proposal of a run that puts two participants together, one of them the reader.

    Who joins a group is put together with its mentor.
    """

    def is_of(name: str) -> Any:
        wanted = bindparam(name, type_=Uuid)
        proposed = exists().where(
            MEMBER.c.organization_id == PROPOSAL.c.organization_id,
            MEMBER.c.proposal_id == PROPOSAL.c.id,
            MEMBER.c.participant_id == wanted,
        )
        leads = exists().where(
            PRESENT.c.organization_id == PROPOSAL.c.organization_id,
            PRESENT.c.mentorship_id == PROPOSAL.c.mentorship_id,
            PRESENT.c.participant_id == wanted,
            cast(PRESENT.c.role, Text) == TrackRole.MENTOR.value,
            cast(PRESENT.c.status, Text) == MemberStatus.ACTIVE.value,
        )
        return or_(proposed, leads)

    return select(PROPOSAL.c.id).where(
        PROPOSAL.c.organization_id == bindparam("organization_id"),
        PROPOSAL.c.run_id == bindparam("run_id"),
        is_of("first_id"),
        is_of("second_id"),
        # Everybody of a group is told of it, and nobody what two others of it share.
        exists().where(
            MEMBER.c.organization_id == PROPOSAL.c.organization_id,
            MEMBER.c.proposal_id == PROPOSAL.c.id,
            MEMBER.c.person_id == _ME,
            MEMBER.c.participant_id.in_([bindparam("first_id"), bindparam("second_id")]),
        ),
        _mine(),
    )


async def get(reader: Reader, *, actor: Actor, proposal_id: UUID) -> Mapping[str, Any]:
    """Return one visible proposal."""
    row = await reader.fetch_one(
        _proposal(),
        organization_id=actor.organization_id,
        proposal_id=proposal_id,
        **sight_of(actor),
    )
    if row is None:
        raise NotFoundError
    return row


async def find(reader: Reader, *, actor: Actor, proposal_id: UUID) -> Mapping[str, Any] | None:
    """Return one proposal, or None when the actor cannot see it."""
    return await reader.fetch_one(
        _proposal(),
        organization_id=actor.organization_id,
        proposal_id=proposal_id,
        **sight_of(actor),
    )


async def list_visible(
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
        **sight_of(actor),
        **place_of([after] if after else None),
    )


async def was_told_of_pair(
    reader: Reader, *, actor: Actor, run_id: UUID, pair: tuple[UUID, UUID]
) -> bool:
    """Tell whether the run put these two together and the reader, one of them, was asked."""
    sight = sight_of(actor)
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


async def lock(session: AsyncSession, *, organization_id: UUID, proposal_id: UUID) -> Proposal:
    """Load a proposal for a change."""
    proposal = await session.get(
        Proposal, (organization_id, proposal_id), with_for_update=True, populate_existing=True
    )
    if proposal is None:
        raise NotFoundError
    return proposal


async def lock_of_run(
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


async def open_ids_of_mentorship(
    session: AsyncSession, *, organization_id: UUID, mentorship_id: UUID
) -> list[UUID]:
    """Return the proposals to join a mentorship that somebody may still decide on."""
    return await _open_ids(session, organization_id, col(Proposal.mentorship_id) == mentorship_id)


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


async def count_filling(
    session: AsyncSession, *, organization_id: UUID, track_id: UUID, mentorship_id: UUID
) -> int:
    """Return how many places of a mentorship are held for who may yet join it."""
    statement = (
        select(func.count())
        .select_from(Proposal)
        .where(
            col(Proposal.organization_id) == organization_id,
            col(Proposal.track_id) == track_id,
            col(Proposal.mentorship_id) == mentorship_id,
            col(Proposal.status).in_(list(HOLDING)),
        )
    )
    return int((await session.execute(statement)).scalar_one())


async def free_places(session: AsyncSession, wanted: Places) -> int | None:
    """Return how many places somebody has left in a role, unlocked; None without the role."""
    seat = ParticipantTrackRole
    statement = select(col(seat.capacity) - col(seat.load) - col(seat.held)).where(
        col(ParticipantTrackRole.organization_id) == wanted.organization_id,
        col(ParticipantTrackRole.participant_id) == wanted.participant_id,
        col(ParticipantTrackRole.track_id) == wanted.track_id,
        col(ParticipantTrackRole.role) == wanted.role,
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
