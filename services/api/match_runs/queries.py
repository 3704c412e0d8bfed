"""Reads of runs."""

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
from services.api.match_runs.rules import UNFINISHED, RunMode
from services.api.match_runs.tables import MatchRun
from services.api.participants.rules import ParticipantStatus
from services.api.pools import rules as pool_rules
from services.api.programs.rules import TrackRole
from services.api.programs.tables import MatchPolicy
from services.api.proposals.queries import PROPOSAL
from shared.errors import NotFoundError
from shared.persistence.leases import Claim
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

RUN = MatchRun.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
POLICY = MatchPolicy.__table__  # type: ignore[attr-defined]  # as above

# A snapshot can be megabytes and only matching needs it.
_SHOWN = tuple(column for column in RUN.c if column.name != "snapshot")
NO_SNAPSHOT = (defer(MatchRun.snapshot, raiseload=True),)  # type: ignore[arg-type]  # a column


def visible_to() -> Any:
    """Return the condition that an actor may know of a run: staff and services."""
    return or_(
        bindparam("sees_all", type_=Boolean),
        RUN.c.program_id == func.any(bindparam("own_programs", type_=ARRAY(Uuid))),
    )


def sight_of(actor: Actor) -> dict[str, Any]:
    """Return the values that `visible_to` compares."""
    return {
        "sees_all": roles.grants("match_run.read_all", actor.facts()),
        "own_programs": [*actor.programs_as(Role.COORDINATOR)],
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
_FILTERS: Mapping[str, Any] = {
    "track_id": RUN.c.track_id == bindparam("track_id"),
    "status": cast(RUN.c.status, Text) == func.any(bindparam("status", type_=ARRAY(Text))),
}


def _rows() -> AnySelect:
    return select(*_SHOWN, _COUNTS).where(
        RUN.c.organization_id == bindparam("organization_id"), visible_to()
    )


@once
def _runs(filters: tuple[str, ...], *, is_first: bool) -> AnySelect:
    statement = _rows().where(
        RUN.c.program_id == bindparam("program_id"), *(_FILTERS[name] for name in filters)
    )
    return keyset(statement, (RUN.c.id,), is_first=is_first)


@once
def _run() -> AnySelect:
    return _rows().where(RUN.c.id == bindparam("run_id"))


@once
def _snapshot() -> AnySelect:
    return (
        select(
            RUN.c.snapshot,
            RUN.c.seed.label("run_seed"),
            cast(RUN.c.kind, Text).label("kind"),
            *(POLICY.c[name] for name in pool_rules.OF_A_POLICY),
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


async def get_run(reader: Reader, *, actor: Actor, run_id: UUID) -> Mapping[str, Any]:
    """Return one visible run."""
    row = await reader.fetch_one(
        _run(), organization_id=actor.organization_id, run_id=run_id, **sight_of(actor)
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
        **sight_of(actor),
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


async def count_waiting(
    session: AsyncSession,
    *,
    organization_id: UUID,
    program_id: UUID,
    track_id: UUID,
    roles: Iterable[TrackRole],
) -> int:
    """Return how many people of a track have a free place in one of these roles."""
    statement = text(
        "SELECT count(DISTINCT p.person_id) FROM participant p JOIN participant_track_role s"
        " ON s.organization_id = p.organization_id AND s.participant_id = p.id"
        " WHERE p.organization_id = :organization_id AND p.program_id = :program_id"
        " AND s.track_id = :track_id AND p.status = :status AND s.load + s.held < s.capacity"
        " AND s.role = ANY(:roles)"
    )
    values = {
        "organization_id": organization_id,
        "program_id": program_id,
        "track_id": track_id,
        "status": ParticipantStatus.AVAILABLE.value,
        "roles": [role.value for role in roles],
    }
    return int((await session.execute(statement, values)).scalar_one())


async def is_claimed(session: AsyncSession, *, claimed: Claim) -> bool:
    """Tell whether a run is still worked on under this lease."""
    statement = select(col(MatchRun.id)).where(
        col(MatchRun.organization_id) == claimed.organization_id,
        col(MatchRun.id) == claimed.id,
        col(MatchRun.lease_token) == claimed.lease_token,
    )
    return (await session.execute(statement)).first() is not None


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
