"""Reads of connections."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.integrations.connections.rules import (
    MOST_PROVIDERS,
    ConnectionKind,
    ConnectionStatus,
)
from services.api.integrations.connections.tables import Connection, OidcConnection
from services.api.organizations.rules import EmailCodes
from services.api.organizations.tables import Organization
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

TABLE = Connection.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
OIDC = OidcConnection.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
# The sealed secret stays behind: nothing that shows a connection needs it.
SHOWN = (
    "issuer",
    "client_id",
    "scopes",
    "external_id_claim",
    "people_connection_id",
    "provisioning",
)


def _shown() -> AnySelect:
    joined = TABLE.outerjoin(
        OIDC,
        and_(OIDC.c.organization_id == TABLE.c.organization_id, OIDC.c.connection_id == TABLE.c.id),
    )
    return (
        select(*TABLE.c, *(OIDC.c[name] for name in SHOWN))
        .select_from(joined)
        .where(TABLE.c.organization_id == bindparam("organization_id"))
    )


@once
def _one() -> AnySelect:
    return _shown().where(TABLE.c.id == bindparam("connection_id"))


@once
def _many(*, is_first: bool) -> AnySelect:
    return keyset(_shown(), (TABLE.c.id,), is_first=is_first)


async def get(reader: Reader, *, organization_id: UUID, connection_id: UUID) -> Mapping[str, Any]:
    """Return one connection."""
    row = await reader.fetch_one(
        _one(), organization_id=organization_id, connection_id=connection_id
    )
    if row is None:
        raise NotFoundError
    return row


async def list_page(
    reader: Reader, *, organization_id: UUID, after: UUID | None, limit: int
) -> list[Mapping[str, Any]]:
    """Return connections, oldest first."""
    return await reader.fetch(
        _many(is_first=after is None),
        organization_id=organization_id,
        limit=limit,
        **place_of([after] if after else None),
    )


async def find(
    session: AsyncSession, *, organization_id: UUID, connection_id: UUID
) -> Connection | None:
    """Load one connection, unlocked."""
    return await session.get(Connection, (organization_id, connection_id))


async def lock(session: AsyncSession, *, organization_id: UUID, connection_id: UUID) -> Connection:
    """Load one connection for a change."""
    connection = await session.get(
        Connection, (organization_id, connection_id), with_for_update=True, populate_existing=True
    )
    if connection is None:
        raise NotFoundError
    return connection


async def find_oidc(
    session: AsyncSession, *, organization_id: UUID, connection_id: UUID
) -> OidcConnection | None:
    """Load the identity provider of a connection, with its sealed secret."""
    return await session.get(OidcConnection, (organization_id, connection_id))


@once
def _providers() -> AnySelect:
    return (
        select(col(Connection.id), col(Connection.label))
        .where(
            col(Connection.organization_id) == bindparam("organization_id"),
            col(Connection.kind) == ConnectionKind.OIDC,
            col(Connection.status) == ConnectionStatus.ACTIVE,
        )
        .order_by(col(Connection.label))
        .limit(MOST_PROVIDERS)
    )


async def list_providers(reader: Reader, *, organization_id: UUID) -> list[tuple[UUID, str]]:
    """Return which identity providers people may sign in at now, with their labels."""
    rows = await reader.fetch(_providers(), organization_id=organization_id)
    return [(row["id"], row["label"]) for row in rows]


@once
def _openness() -> AnySelect:
    is_wanted = exists().where(
        col(Organization.organization_id) == bindparam("organization_id"),
        col(Organization.email_codes) == EmailCodes.ON,
    )
    has_provider = exists().where(
        col(Connection.organization_id) == bindparam("organization_id"),
        col(Connection.kind) == ConnectionKind.OIDC,
        col(Connection.status) == ConnectionStatus.ACTIVE,
    )
    return select(or_(is_wanted, ~has_provider).label("is_open"))


async def takes_email_codes(reader: Reader, *, organization_id: UUID) -> bool:
    """Tell whether people sign in with codes by mail: not past the organization's own provider.

    An organization that is not there has no provider either, so nobody learns that it is not.
    """
    row = await reader.fetch_one(_openness(), organization_id=organization_id)
    return row is not None and row["is_open"]


async def is_label_taken(
    session: AsyncSession, *, organization_id: UUID, label: str, except_id: UUID
) -> bool:
    """Tell whether another connection bears the label."""
    statement = select(col(Connection.id)).where(
        col(Connection.organization_id) == organization_id,
        col(Connection.label) == label,
        col(Connection.id) != except_id,
    )
    return (await session.execute(statement.limit(1))).first() is not None
