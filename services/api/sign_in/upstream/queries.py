"""Reads behind sign-in at an identity provider."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.integrations.connections import queries as connections
from services.api.integrations.connections.rules import ConnectionKind, ConnectionStatus
from services.api.integrations.connections.tables import OidcConnection
from services.api.sign_in.upstream.tables import IdentityLink


@dataclass(frozen=True, slots=True)
class Account:
    """An account at a provider: the issuer's name for it, which never changes."""

    organization_id: UUID
    issuer: str
    subject: str


async def providers(session: AsyncSession, organization_id: UUID) -> Sequence[tuple[UUID, str]]:
    """Return the identity providers to sign in at, each with its label."""
    return await connections.list_providers(session, organization_id=organization_id)


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
