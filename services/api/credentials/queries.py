"""Reads of grants, keys and clients."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access.roles import Role
from services.api.access.rules import ClientKind
from services.api.access.tables import AccessSubject, ApiKey, OAuthClient, RoleAssignment
from services.api.credentials.rules import Ended
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

type Machine = type[ApiKey | OAuthClient]
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


@once
def _one(table: Machine) -> AnySelect:
    columns = table.__table__.c  # type: ignore[union-attr]  # SQLModel hides it from the checker
    return select(*columns).where(
        columns.organization_id == bindparam("organization_id"),
        columns.id == bindparam("row_id"),
    )


async def get(
    reader: Reader, table: Machine, *, organization_id: UUID, row_id: UUID
) -> Mapping[str, Any]:
    """Return one key or client."""
    row = await reader.fetch_one(_one(table), organization_id=organization_id, row_id=row_id)
    if row is None:
        raise NotFoundError
    return row


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
    locked = (
        select(col(RoleAssignment.id))
        .where(
            col(RoleAssignment.organization_id) == organization_id,
            col(RoleAssignment.role) == Role.ORG_ADMIN,
        )
        .order_by(col(RoleAssignment.id))
    )
    await session.execute(locked.with_for_update())
    # Asked anew once everybody's rows are held: whoever held them before may have let one leave.
    return bool(
        await other_org_admins(session, organization_id=organization_id, person_id=person_id)
    )


async def other_org_admins(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID
) -> list[UUID]:
    """Return who else runs the organization and may sign in."""
    statement = (
        select(col(RoleAssignment.person_id))
        .join(
            AccessSubject,
            and_(
                col(AccessSubject.organization_id) == col(RoleAssignment.organization_id),
                col(AccessSubject.person_id) == col(RoleAssignment.person_id),
            ),
        )
        .where(
            col(RoleAssignment.organization_id) == organization_id,
            col(RoleAssignment.role) == Role.ORG_ADMIN,
            col(RoleAssignment.person_id) != person_id,
            col(AccessSubject.is_active),
            or_(
                col(RoleAssignment.expires_at).is_(None),
                col(RoleAssignment.expires_at) > func.now(),
            ),
        )
        .order_by(col(RoleAssignment.id))
    )
    return list((await session.execute(statement)).scalars())


async def hold_office(session: AsyncSession, *, organization_id: UUID, person_id: UUID) -> bool:
    """Tell whether the person runs the organization, and keep that so until this commits."""
    # Whoever ends somebody's access writes this row first.
    subject = select(col(AccessSubject.is_active)).where(
        col(AccessSubject.organization_id) == organization_id,
        col(AccessSubject.person_id) == person_id,
    )
    if not await session.scalar(subject.with_for_update(read=True)):
        return False
    return await has_grant(
        session,
        organization_id=organization_id,
        person_id=person_id,
        role=Role.ORG_ADMIN,
        program_id=None,
    )


async def successor(session: AsyncSession, key: ApiKey, *, now: datetime) -> ApiKey | None:
    """Return the live key that has taken over from this one."""
    statement = select(ApiKey).where(
        col(ApiKey.organization_id) == key.organization_id,
        col(ApiKey.rotated_from) == key.id,
        col(ApiKey.revoked_at).is_(None),
        or_(col(ApiKey.expires_at).is_(None), col(ApiKey.expires_at) > now),
    )
    return await session.scalar(statement.limit(1))


async def predecessor(session: AsyncSession, key: ApiKey) -> ApiKey | None:
    """Load the key that this one took over from, for a change."""
    if key.rotated_from is None:
        return None
    return await session.get(ApiKey, (key.organization_id, key.rotated_from), with_for_update=True)


async def find_app(
    session: AsyncSession, *, organization_id: UUID, label: str
) -> OAuthClient | None:
    """Return the oldest app of a label that has not ended."""
    statement = (
        select(OAuthClient)
        .where(
            col(OAuthClient.organization_id) == organization_id,
            col(OAuthClient.kind) == ClientKind.APP,
            col(OAuthClient.label) == label,
            col(OAuthClient.revoked_at).is_(None),
        )
        .order_by(col(OAuthClient.id))
    )
    return await session.scalar(statement.limit(1))


async def end_all_made_by(
    session: AsyncSession, table: Machine, *, organization_id: UUID, person_id: UUID, now: datetime
) -> list[Ended]:
    """End every live key, or every live service client, that a person made; return which."""
    statement = (
        update(table)
        .where(
            col(table.organization_id) == organization_id,
            col(table.created_by) == person_id,
            col(table.revoked_at).is_(None),
            or_(col(table.expires_at).is_(None), col(table.expires_at) > func.now()),
        )
        .values(revoked_at=now, updated_at=now, version=col(table.version) + 1)
        .returning(col(table.id), col(table.version))
        .execution_options(synchronize_session=False)
    )
    if table is OAuthClient:
        statement = statement.where(col(OAuthClient.kind) == ClientKind.SERVICE)
    rows = (await session.execute(statement)).all()
    return [Ended(organization_id, row_id, version) for row_id, version in rows]


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


async def holds_a_role(session: AsyncSession, *, organization_id: UUID, person_id: UUID) -> bool:
    """Tell whether any role was granted to the person that has not ended."""
    statement = select(func.count()).where(
        col(RoleAssignment.organization_id) == organization_id,
        col(RoleAssignment.person_id) == person_id,
        or_(
            col(RoleAssignment.expires_at).is_(None),
            col(RoleAssignment.expires_at) > func.now(),
        ),
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
