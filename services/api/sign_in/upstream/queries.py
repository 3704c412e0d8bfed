"""Reads behind sign-in at an identity provider."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.integrations.connections import queries as connections
from services.api.integrations.connections.rules import ConnectionKind, ConnectionStatus
from services.api.integrations.connections.tables import OidcConnection
from services.api.people import queries as directory
from services.api.sign_in.upstream.tables import IdentityLink
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

TABLE = IdentityLink.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker


@dataclass(frozen=True, slots=True)
class Account:
    """An account at a provider: the issuer's name for it, which never changes."""

    organization_id: UUID
    issuer: str
    subject: str


async def providers(reader: Reader, organization_id: UUID) -> Sequence[tuple[UUID, str]]:
    """Return the identity providers to sign in at, each with its label."""
    return await connections.list_providers(reader, organization_id=organization_id)


async def active_provider(
    session: AsyncSession, *, organization_id: UUID, connection_id: UUID
) -> OidcConnection | None:
    """Load the identity provider of a connection that lets people in now."""
    connection = await connections.find(
        session, organization_id=organization_id, connection_id=connection_id
    )
    if connection is None or connection.kind != ConnectionKind.OIDC:
        return None
    if connection.status != ConnectionStatus.ACTIVE:
        return None
    return await connections.find_oidc(
        session, organization_id=organization_id, connection_id=connection_id
    )


async def hold_account(session: AsyncSession, account: Account) -> None:
    """Let sign-ins of one account go in turn, so that it is linked once."""
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:account, 6))"),
        {"account": f"{account.organization_id}\x1f{account.issuer}\x1f{account.subject}"},
    )


async def find_link(session: AsyncSession, account: Account) -> IdentityLink | None:
    """Return whose account it is, if that is known."""
    return await session.scalar(
        select(IdentityLink).where(
            col(IdentityLink.organization_id) == account.organization_id,
            col(IdentityLink.issuer) == account.issuer,
            col(IdentityLink.subject) == account.subject,
        )
    )


async def is_linked(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID, issuer: str
) -> bool:
    """Tell whether a person has an account at the issuer already."""
    statement = select(col(IdentityLink.id)).where(
        col(IdentityLink.organization_id) == organization_id,
        col(IdentityLink.person_id) == person_id,
        col(IdentityLink.issuer) == issuer,
    )
    return (await session.execute(statement.limit(1))).first() is not None


@once
def _links(*, is_first: bool) -> AnySelect:
    statement = select(*TABLE.c).where(
        TABLE.c.organization_id == bindparam("organization_id"),
        TABLE.c.person_id == bindparam("person_id"),
    )
    return keyset(statement, (TABLE.c.id,), is_first=is_first)


async def list_links(
    reader: Reader, *, organization_id: UUID, person_id: UUID, after: UUID | None, limit: int
) -> list[Mapping[str, Any]]:
    """Return the accounts of somebody in the directory, oldest first."""
    await directory.get(reader, organization_id=organization_id, person_id=person_id)
    return await reader.fetch(
        _links(is_first=after is None),
        organization_id=organization_id,
        person_id=person_id,
        limit=limit,
        **place_of([after] if after else None),
    )


async def lock_link(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID, link_id: UUID
) -> IdentityLink:
    """Load one link of a person for a change, with no sign-in of its account under way."""
    statement = select(IdentityLink).where(
        col(IdentityLink.organization_id) == organization_id,
        col(IdentityLink.person_id) == person_id,
        col(IdentityLink.id) == link_id,
    )
    link = await session.scalar(statement)
    if link is None:
        raise NotFoundError
    # A sign-in holds the account first and writes the row after; the other way round would lock up.
    await hold_account(session, Account(organization_id, link.issuer, link.subject))
    link = await session.scalar(
        statement.with_for_update().execution_options(populate_existing=True)
    )
    if link is None:
        raise NotFoundError
    return link
