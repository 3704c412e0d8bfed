"""Reads of grants, keys and clients."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access.roles import Role
from services.api.access.tables import AccessSubject, ApiKey, OAuthClient, RoleAssignment
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

type Listed = type[RoleAssignment | ApiKey | OAuthClient]


@once
def _many(table: Listed, filters: tuple[str, ...], *, is_first: bool) -> AnySelect:
    columns = table.__table__.c  # type: ignore[union-attr]  # SQLModel hides it from the checker
    statement = select(*columns).where(columns.organization_id == bindparam("organization_id"))
    for name in filters:
        statement = statement.where(columns[name] == bindparam(name))
    return keyset(statement, (columns.id,), is_first=is_first)


async def list_page(
    reader: Reader,
    table: Listed,
    *,
    organization_id: UUID,
    after: list[Any] | None,
    limit: int,
    filters: Mapping[str, Any],
) -> list[Mapping[str, Any]]:
    """Return rows of one kind, oldest first, one more than `limit` if there are."""
    return await reader.fetch(
        _many(table, tuple(sorted(filters)), is_first=after is None),
        organization_id=organization_id,
        limit=limit + 1,
        **filters,
        **place_of(after and [UUID(after[0])]),
    )


async def lock[Row: (RoleAssignment, ApiKey, OAuthClient)](
    session: AsyncSession, table: type[Row], *, organization_id: UUID, row_id: UUID
) -> Row:
    """Load one row for a change."""
    row = await session.get(table, (organization_id, row_id), with_for_update=True)
    if row is None:
        raise NotFoundError
    return row


async def is_known(session: AsyncSession, *, organization_id: UUID, person_id: UUID) -> bool:
    """Tell whether the door knows the person."""
    return await session.get(AccessSubject, (organization_id, person_id)) is not None


async def subject_version(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID
) -> int | None:
    """Return the access version of somebody who may sign in."""
    subject = await session.get(AccessSubject, (organization_id, person_id))
    return subject.version if subject and subject.is_active else None


async def has_other_org_admin(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID
) -> bool:
    """Tell whether somebody else runs the organization, and keep that so until this commits."""
    held = (
        col(RoleAssignment.organization_id) == organization_id,
        col(RoleAssignment.role) == Role.ORG_ADMIN,
    )
    locked = select(col(RoleAssignment.id)).where(*held).order_by(col(RoleAssignment.id))
    await session.execute(locked.with_for_update())
    # Asked anew once everybody's rows are held: whoever held them before may have let one leave.
    others = (
        select(col(RoleAssignment.id))
        .join(
            AccessSubject,
            and_(
                col(AccessSubject.organization_id) == col(RoleAssignment.organization_id),
                col(AccessSubject.person_id) == col(RoleAssignment.person_id),
            ),
        )
        .where(
            *held,
            col(RoleAssignment.person_id) != person_id,
            col(AccessSubject.is_active),
            or_(
                col(RoleAssignment.expires_at).is_(None),
                col(RoleAssignment.expires_at) > func.now(),
            ),
        )
    )
    return await session.scalar(others.limit(1)) is not None


async def has_grant(
    session: AsyncSession,
    *,
    organization_id: UUID,
    person_id: UUID,
    role: Role,
    program_id: UUID | None,
) -> bool:
    """Tell whether the person holds exactly this grant."""
    statement = select(func.count()).where(
        col(RoleAssignment.organization_id) == organization_id,
        col(RoleAssignment.person_id) == person_id,
        col(RoleAssignment.role) == role,
        col(RoleAssignment.program_id).is_not_distinct_from(program_id),
    )
    return bool((await session.execute(statement)).scalar_one())


async def coordinators_of(
    session: AsyncSession, *, organization_id: UUID, program_id: UUID
) -> list[UUID]:
    """Return who runs a program."""
    statement = (
        select(col(RoleAssignment.person_id))
        .where(
            col(RoleAssignment.organization_id) == organization_id,
            col(RoleAssignment.role) == Role.COORDINATOR,
            col(RoleAssignment.program_id) == program_id,
        )
        .order_by(col(RoleAssignment.id))
    )
    return list((await session.execute(statement)).scalars())
