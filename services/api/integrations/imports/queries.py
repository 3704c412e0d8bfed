"""Reads of imports and sync runs, and of the directory as a plan sees it."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Text, and_, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access.roles import Role
from services.api.access.tables import RoleAssignment
from services.api.integrations.imports.rules import (
    WORKED_ON,
    Known,
    RowAction,
    RowOutcome,
    RunStatus,
)
from services.api.integrations.imports.tables import ImportFile, SyncRow, SyncRun
from services.api.integrations.mappings.rules import PERSON_FIELDS
from services.api.mentorships import rules as mentorships
from services.api.mentorships.rules import MemberStatus
from services.api.mentorships.tables import Mentorship, MentorshipMember
from services.api.participants import rules as participants
from services.api.participants.tables import Participant
from services.api.people.rules import PersonStatus
from services.api.people.tables import ExternalId, Person
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

RUN = SyncRun.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
ROW = SyncRow.__table__  # type: ignore[attr-defined]  # as above
FILE = ImportFile.__table__  # type: ignore[attr-defined]  # as above
READ_FIELDS = (*PERSON_FIELDS, "manager_id")

_OF_FILE = (
    FILE.c.ignored_columns.label("ignored_columns"),
    FILE.c.warnings.label("warnings"),
    FILE.c.sha256.label("sha256"),
)


def _counted(*outcomes: RowOutcome) -> Any:
    """Return how many rows that were to write have one of the outcomes."""
    return (
        select(func.count())
        .where(
            ROW.c.organization_id == RUN.c.organization_id,
            ROW.c.run_id == RUN.c.id,
            cast(ROW.c.outcome, Text) == func.any(_texts(outcomes)),
            cast(ROW.c.action, Text) != RowAction.REFUSE.value,
        )
        .correlate(RUN)
        .scalar_subquery()
    )


def _texts(values: Sequence[str]) -> Any:
    return cast([str(value) for value in values], ARRAY(Text))


def _runs() -> AnySelect:
    written = _counted(RowOutcome.APPLIED, RowOutcome.FAILED)
    waiting = _counted(RowOutcome.PLANNED)
    return (
        select(*RUN.c, *_OF_FILE, written.label("written"), waiting.label("waiting"))
        .join(
            FILE,
            and_(FILE.c.organization_id == RUN.c.organization_id, FILE.c.id == RUN.c.import_id),
        )
        .where(RUN.c.organization_id == bindparam("organization_id"))
    )


@once
def _one() -> AnySelect:
    return _runs().where(RUN.c.id == bindparam("run_id"))


_RUN_FILTERS: Mapping[str, Any] = {
    "connection_id": RUN.c.connection_id == bindparam("connection_id"),
    "status": cast(RUN.c.status, Text) == func.any(bindparam("status", type_=ARRAY(Text))),
}
_ROW_FILTERS: Mapping[str, Any] = {
    "outcome": cast(ROW.c.outcome, Text) == func.any(bindparam("outcome", type_=ARRAY(Text))),
}


@once
def _many(filters: tuple[str, ...], *, is_first: bool) -> AnySelect:
    statement = _runs().where(*(_RUN_FILTERS[name] for name in filters))
    return keyset(statement, (RUN.c.id,), is_first=is_first)


@once
def _rows(filters: tuple[str, ...], *, is_first: bool) -> AnySelect:
    statement = select(*ROW.c).where(
        ROW.c.organization_id == bindparam("organization_id"),
        ROW.c.run_id == bindparam("run_id"),
        *(_ROW_FILTERS[name] for name in filters),
    )
    return keyset(statement, (ROW.c.number,), is_first=is_first)


async def get(reader: Reader, *, organization_id: UUID, run_id: UUID) -> Mapping[str, Any]:
    """Return one sync run with what is known of its file."""
    row = await reader.fetch_one(_one(), organization_id=organization_id, run_id=run_id)
    if row is None:
        raise NotFoundError
    return row


async def list_page(
    reader: Reader,
    *,
    organization_id: UUID,
    filters: Mapping[str, Any],
    after: UUID | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Return sync runs, oldest first."""
    return await reader.fetch(
        _many(tuple(sorted(filters)), is_first=after is None),
        organization_id=organization_id,
        limit=limit,
        **filters,
        **place_of([after] if after else None),
    )


async def list_rows(
    reader: Reader,
    *,
    organization_id: UUID,
    run_id: UUID,
    filters: Mapping[str, Any],
    after: int | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Return a run's rows in the order of the file."""
    return await reader.fetch(
        _rows(tuple(sorted(filters)), is_first=after is None),
        organization_id=organization_id,
        run_id=run_id,
        limit=limit,
        **filters,
        **place_of([after] if after is not None else None),
    )


async def lock(session: AsyncSession, *, organization_id: UUID, run_id: UUID) -> SyncRun:
    """Load one sync run for a change."""
    run = await session.get(
        SyncRun, (organization_id, run_id), with_for_update=True, populate_existing=True
    )
    if run is None:
        raise NotFoundError
    return run


async def file_of(session: AsyncSession, *, run: SyncRun) -> ImportFile:
    """Load the file of a run."""
    file = await session.get(ImportFile, (run.organization_id, run.import_id))
    if file is None:
        raise NotFoundError
    return file


async def people_seen(session: AsyncSession, *, organization_id: UUID, source: str) -> list[Known]:
    """Return the whole directory as a plan sees it, with what the source calls each person."""
    statement = (
        select(Person, col(ExternalId.external_id))
        .outerjoin(
            ExternalId,
            and_(
                col(ExternalId.organization_id) == col(Person.organization_id),
                col(ExternalId.person_id) == col(Person.id),
                col(ExternalId.source) == source,
            ),
        )
        .where(col(Person.organization_id) == organization_id)
    )
    return [
        Known(
            person_id=person.id,
            external_id=external_id,
            version=person.version,
            is_active=person.status is not PersonStatus.INACTIVE,
            values={name: getattr(person, name) for name in READ_FIELDS},
            updated_at=person.updated_at,
            ended_on=person.ended_on,
        )
        for person, external_id in (await session.execute(statement)).all()
    ]


async def failed_lines(session: AsyncSession, *, organization_id: UUID, run_id: UUID) -> set[int]:
    """Return the lines of a run that failed."""
    statement = select(col(SyncRow.line)).where(
        col(SyncRow.organization_id) == organization_id,
        col(SyncRow.run_id) == run_id,
        col(SyncRow.outcome) == RowOutcome.FAILED,
        col(SyncRow.line).is_not(None),
    )
    return {line for line in (await session.execute(statement)).scalars() if line is not None}


async def count_rows(
    session: AsyncSession, *, organization_id: UUID, run_id: UUID
) -> list[tuple[RowAction, RowOutcome, bool, int]]:
    """Return how many rows of a run do and did what."""
    is_of_the_file = col(SyncRow.line).is_not(None)
    statement = (
        select(col(SyncRow.action), col(SyncRow.outcome), is_of_the_file, func.count())
        .where(col(SyncRow.organization_id) == organization_id, col(SyncRow.run_id) == run_id)
        .group_by(col(SyncRow.action), col(SyncRow.outcome), is_of_the_file)
    )
    return [
        (action, outcome, of_file, number)
        for action, outcome, of_file, number in (await session.execute(statement)).all()
    ]


async def next_rows(
    session: AsyncSession, *, organization_id: UUID, run_id: UUID, limit: int
) -> Sequence[SyncRow]:
    """Load the next rows to apply for a change, managers before those they lead."""
    statement = (
        select(SyncRow)
        .where(
            col(SyncRow.organization_id) == organization_id,
            col(SyncRow.run_id) == run_id,
            col(SyncRow.outcome) == RowOutcome.PLANNED,
        )
        .order_by(col(SyncRow.rank), col(SyncRow.number))
        .limit(limit)
        .with_for_update()
    )
    return (await session.execute(statement)).scalars().all()


async def count_stale(
    session: AsyncSession, *, organization_id: UUID, run_id: UUID, source: str
) -> int:
    """Count the rows whose person is no longer as the plan saw them."""
    statement = (
        select(func.count())
        .select_from(SyncRow)
        .outerjoin(
            Person,
            and_(
                col(Person.organization_id) == col(SyncRow.organization_id),
                col(Person.id) == col(SyncRow.person_id),
            ),
        )
        .outerjoin(
            ExternalId,
            and_(
                col(ExternalId.organization_id) == col(SyncRow.organization_id),
                col(ExternalId.source) == source,
                col(ExternalId.external_id) == col(SyncRow.external_id),
            ),
        )
        .where(
            col(SyncRow.organization_id) == organization_id,
            col(SyncRow.run_id) == run_id,
            col(SyncRow.outcome) == RowOutcome.PLANNED,
            # A new person must still be unknown, anybody else in the very version seen.
            (col(SyncRow.version_seen).is_(None) & col(ExternalId.person_id).is_not(None))
            | (
                col(SyncRow.version_seen).is_not(None)
                & col(Person.version).is_distinct_from(col(SyncRow.version_seen))
            ),
        )
    )
    return (await session.execute(statement)).scalar_one()


async def is_connection_busy(session: AsyncSession, *, run: SyncRun) -> bool:
    """Tell whether another run of the connection is in work, or waits for it since longer."""
    other = (
        col(SyncRun.organization_id) == run.organization_id,
        col(SyncRun.connection_id) == run.connection_id,
        col(SyncRun.id) != run.id,
    )
    earlier = col(SyncRun.status).in_(WORKED_ON) & (col(SyncRun.id) < run.id)
    statement = select(col(SyncRun.id)).where(
        *other, earlier | (col(SyncRun.status) == RunStatus.APPLYING)
    )
    return (await session.execute(statement.limit(1))).first() is not None


async def consequences(
    session: AsyncSession, *, organization_id: UUID, leavers: Sequence[UUID]
) -> dict[str, int]:
    """Count what leavers leave behind: places, mentorships, programs they coordinate."""
    counted = {
        "participants_removed": select(func.count())
        .select_from(Participant)
        .where(
            col(Participant.organization_id) == organization_id,
            col(Participant.person_id).in_(leavers),
            col(Participant.status).not_in(participants.CLOSED),
        ),
        "mentorships_losing_a_member": select(
            func.count(col(MentorshipMember.mentorship_id).distinct())
        )
        .join(
            Mentorship,
            and_(
                col(Mentorship.organization_id) == col(MentorshipMember.organization_id),
                col(Mentorship.id) == col(MentorshipMember.mentorship_id),
            ),
        )
        .where(
            col(MentorshipMember.organization_id) == organization_id,
            col(MentorshipMember.person_id).in_(leavers),
            col(MentorshipMember.status) == MemberStatus.ACTIVE,
            col(Mentorship.status).in_(mentorships.LIVE),
        ),
        "programs_losing_a_coordinator": select(
            func.count(col(RoleAssignment.program_id).distinct())
        ).where(
            col(RoleAssignment.organization_id) == organization_id,
            col(RoleAssignment.person_id).in_(leavers),
            col(RoleAssignment.role) == Role.COORDINATOR,
        ),
    }
    return {
        name: (await session.execute(statement)).scalar_one() for name, statement in counted.items()
    }
