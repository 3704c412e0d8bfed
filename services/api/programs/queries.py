"""Reads of programs and their parts."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Text, Uuid, bindparam, cast, func, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access import roles
from services.api.access.roles import Role
from services.api.access.rules import Actor
from services.api.programs.rules import FormStatus, ProgramStatus
from services.api.programs.tables import AgreementTemplate, Form, MatchPolicy, Program, Track
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

PROGRAM = Program.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker

type Part = type[Track | Form | MatchPolicy | AgreementTemplate]


def visible_to() -> Any:
    """Return the condition that an actor may know of a program.

    Drafts are known to whoever works on them; everything else to the whole organization.
    """
    return or_(
        bindparam("sees_drafts", type_=Boolean),
        cast(PROGRAM.c.status, Text) != ProgramStatus.DRAFT.value,
        PROGRAM.c.id == func.any(bindparam("own_programs", type_=ARRAY(Uuid))),
    )


def sight(actor: Actor) -> dict[str, Any]:
    """Return the values that `visible_to` compares."""
    everywhere = actor.facts()
    return {
        "sees_drafts": roles.grants("program.read_draft", everywhere),
        "own_programs": [
            *actor.programs_as(Role.COORDINATOR),
            *actor.programs_as(Role.ANALYST),
        ],
    }


_FILTERS: Mapping[str, Any] = {
    "status": cast(PROGRAM.c.status, Text) == func.any(bindparam("status", type_=ARRAY(Text))),
}


@once
def _many(filters: tuple[str, ...], *, is_first: bool) -> AnySelect:
    statement = select(*PROGRAM.c).where(
        PROGRAM.c.organization_id == bindparam("organization_id"),
        visible_to(),
        *(_FILTERS[name] for name in filters),
    )
    return keyset(statement, (PROGRAM.c.id,), is_first=is_first)


@once
def _one() -> AnySelect:
    return select(*PROGRAM.c).where(
        PROGRAM.c.organization_id == bindparam("organization_id"),
        PROGRAM.c.id == bindparam("program_id"),
        visible_to(),
    )


@once
def _parts(table: Part, *, is_first: bool) -> AnySelect:
    columns = table.__table__.c  # type: ignore[union-attr]  # SQLModel hides it from the checker
    statement = select(*columns).where(
        columns.organization_id == bindparam("organization_id"),
        or_(columns.program_id == bindparam("program_id"), columns.program_id.is_(None)),
    )
    return keyset(statement, (columns.id,), is_first=is_first)


@once
def _part(table: Part) -> AnySelect:
    """Return one part with its program, which must be visible too."""
    columns = table.__table__.c  # type: ignore[union-attr]  # SQLModel hides it from the checker
    seen = select(PROGRAM.c.id).where(
        PROGRAM.c.organization_id == bindparam("organization_id"),
        PROGRAM.c.id == columns.program_id,
        visible_to(),
    )
    return select(*columns).where(
        columns.organization_id == bindparam("organization_id"),
        columns.id == bindparam("part_id"),
        or_(columns.program_id.is_(None), seen.exists()),
    )


async def list_page(
    reader: Reader,
    *,
    actor: Actor,
    filters: Mapping[str, Any],
    after: list[Any] | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Return visible programs, oldest first, one more than `limit` if there are."""
    return await reader.fetch(
        _many(tuple(sorted(filters)), is_first=after is None),
        organization_id=actor.organization_id,
        limit=limit + 1,
        **filters,
        **sight(actor),
        **place_of(after and [UUID(after[0])]),
    )


async def get(reader: Reader, *, actor: Actor, program_id: UUID) -> Mapping[str, Any]:
    """Return one visible program."""
    row = await reader.fetch_one(
        _one(), organization_id=actor.organization_id, program_id=program_id, **sight(actor)
    )
    if row is None:
        raise NotFoundError
    return row


async def list_parts(
    reader: Reader,
    table: Part,
    *,
    organization_id: UUID,
    program_id: UUID,
    after: list[Any] | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Return parts of one kind of a program, oldest first."""
    return await reader.fetch(
        _parts(table, is_first=after is None),
        organization_id=organization_id,
        program_id=program_id,
        limit=limit + 1,
        **place_of(after and [UUID(after[0])]),
    )


async def get_part(
    reader: Reader, table: Part, *, actor: Actor, part_id: UUID
) -> Mapping[str, Any]:
    """Return one part of a visible program."""
    row = await reader.fetch_one(
        _part(table), organization_id=actor.organization_id, part_id=part_id, **sight(actor)
    )
    if row is None:
        raise NotFoundError
    return row


async def find(session: AsyncSession, *, organization_id: UUID, program_id: UUID) -> Program | None:
    """Load a program, unlocked."""
    return await session.get(Program, (organization_id, program_id))


async def lock(session: AsyncSession, *, organization_id: UUID, program_id: UUID) -> Program:
    """Load a program for a change."""
    program = await session.get(
        Program, (organization_id, program_id), with_for_update=True, populate_existing=True
    )
    if program is None:
        raise NotFoundError
    return program


async def lock_part[Row: (Track, Form, MatchPolicy, AgreementTemplate)](
    session: AsyncSession, table: type[Row], *, organization_id: UUID, part_id: UUID
) -> Row:
    """Load a part of a program for a change."""
    row = await session.get(
        table, (organization_id, part_id), with_for_update=True, populate_existing=True
    )
    if row is None:
        raise NotFoundError
    return row


async def find_part[Row: (Track, Form, MatchPolicy, AgreementTemplate)](
    session: AsyncSession, table: type[Row], *, organization_id: UUID, part_id: UUID
) -> Row | None:
    """Load a part of a program, unlocked."""
    return await session.get(table, (organization_id, part_id))


async def is_code_taken(session: AsyncSession, *, organization_id: UUID, code: str) -> bool:
    """Tell whether another program has the code."""
    statement = select(col(Program.id)).where(
        col(Program.organization_id) == organization_id, col(Program.code) == code
    )
    return (await session.execute(statement)).first() is not None


async def tracks_of(
    session: AsyncSession, *, organization_id: UUID, program_id: UUID
) -> Sequence[Track]:
    """Return the tracks of a program."""
    statement = (
        select(Track)
        .where(col(Track.organization_id) == organization_id, col(Track.program_id) == program_id)
        .order_by(col(Track.id))
    )
    return (await session.execute(statement)).scalars().all()


async def published_forms(
    session: AsyncSession, *, organization_id: UUID, program_id: UUID
) -> Sequence[Form]:
    """Return the published forms of a program, newest version first."""
    statement = (
        select(Form)
        .where(
            col(Form.organization_id) == organization_id,
            col(Form.program_id) == program_id,
            col(Form.status) == FormStatus.PUBLISHED,
        )
        .order_by(col(Form.form_version).desc())
    )
    return (await session.execute(statement)).scalars().all()


async def newest_form_version(
    session: AsyncSession, *, organization_id: UUID, program_id: UUID, role: str
) -> int:
    """Return the highest version of a role's forms, 0 without any."""
    statement = select(func.coalesce(func.max(Form.form_version), 0)).where(
        col(Form.organization_id) == organization_id,
        col(Form.program_id) == program_id,
        col(Form.role) == role,
    )
    return int((await session.execute(statement)).scalar_one())


async def count_live_mentorships(
    session: AsyncSession, *, organization_id: UUID, program_id: UUID
) -> int:
    """Count the mentorships of a program that have not ended.

    Mentorships lie above programs in the stack, so their table is named as text here.
    """
    statement = text(
        "SELECT count(*) FROM mentorship WHERE organization_id = :organization_id"
        " AND program_id = :program_id"
        " AND status IN ('pending_start', 'active', 'paused', 'closing')"
    )
    values = {"organization_id": organization_id, "program_id": program_id}
    return int((await session.execute(statement, values)).scalar_one())


async def built_in_template(
    session: AsyncSession, *, organization_id: UUID
) -> AgreementTemplate | None:
    """Return the organization's own agreement template."""
    statement = (
        select(AgreementTemplate)
        .where(
            col(AgreementTemplate.organization_id) == organization_id,
            col(AgreementTemplate.program_id).is_(None),
        )
        .order_by(col(AgreementTemplate.id))
        .limit(1)
    )
    return (await session.execute(statement)).scalar_one_or_none()
