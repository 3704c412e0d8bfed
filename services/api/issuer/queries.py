"""Reads of the issuer: clients, codes and sign-ins."""

from uuid import UUID

from sqlalchemy import Text, bindparam, cast, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access.queries import office_ends_at
from services.api.access.rules import ClientKind, Scope
from services.api.access.tables import AccessSubject, OAuthClient, RefreshFamily
from services.api.issuer.rules import AppClient
from services.api.issuer.tables import AuthorizationCode, RefreshToken
from shared.persistence.reads import AnySelect, Reader, once


@once
def client_row() -> AnySelect:
    """What a client is compared with when it shows who it is."""
    return select(
        col(OAuthClient.kind),
        col(OAuthClient.scopes),
        col(OAuthClient.secret_digest),
        col(OAuthClient.is_secret_used),
        col(OAuthClient.previous_secret_digest),
        col(OAuthClient.previous_secret_expires_at),
        # As text: what a driver makes of jsonb differs.
        cast(col(OAuthClient.jwks), Text).label("jwks"),
        col(OAuthClient.expires_at),
        col(OAuthClient.revoked_at),
        col(OAuthClient.last_used_at),
        office_ends_at(OAuthClient).label("office_ends_at"),
    ).where(
        col(OAuthClient.organization_id) == bindparam("organization_id"),
        col(OAuthClient.id) == bindparam("client_id"),
    )


@once
def _live_app() -> AnySelect:
    return select(
        col(OAuthClient.label), col(OAuthClient.redirect_uris), col(OAuthClient.scopes)
    ).where(
        col(OAuthClient.organization_id) == bindparam("organization_id"),
        col(OAuthClient.id) == bindparam("client_id"),
        col(OAuthClient.kind) == ClientKind.APP,
        col(OAuthClient.revoked_at).is_(None),
    )


async def app_client(reader: Reader, *, organization_id: UUID, client_id: UUID) -> AppClient | None:
    """Return an app that people may sign in to now."""
    row = await reader.fetch_one(_live_app(), organization_id=organization_id, client_id=client_id)
    if row is None:
        return None
    return AppClient(
        organization_id=organization_id,
        client_id=client_id,
        label=row["label"],
        redirect_uris=tuple(row["redirect_uris"]),
        scopes=frozenset(map(Scope, row["scopes"])),
    )


async def lock_code(
    session: AsyncSession, *, organization_id: UUID, code_id: UUID
) -> AuthorizationCode | None:
    """Load a code; of several that use it at once, one goes first."""
    return await session.get(AuthorizationCode, (organization_id, code_id), with_for_update=True)


async def find_token(
    session: AsyncSession, *, organization_id: UUID, token_id: UUID
) -> RefreshToken | None:
    """Load a token as it is before its family is locked: only what never changes counts."""
    return await session.get(RefreshToken, (organization_id, token_id))


async def lock_family(
    session: AsyncSession, *, organization_id: UUID, family_id: UUID
) -> RefreshFamily:
    """Load a sign-in; whoever uses one of its tokens meanwhile waits."""
    return await session.get_one(RefreshFamily, (organization_id, family_id), with_for_update=True)


async def unused_successor(session: AsyncSession, token: RefreshToken) -> RefreshToken | None:
    """Return the token that answered this one, unless it was used or replaced."""
    statement = select(RefreshToken).where(
        col(RefreshToken.organization_id) == token.organization_id,
        col(RefreshToken.family_id) == token.family_id,
        col(RefreshToken.predecessor_id) == token.id,
        col(RefreshToken.used_at).is_(None),
        col(RefreshToken.dead_at).is_(None),
    )
    return await session.scalar(statement)


async def may_sign_in(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID, access_version: int
) -> bool:
    """Tell whether the person is active, and has lost nothing since they showed who they are."""
    subject = await session.get_one(AccessSubject, (organization_id, person_id))
    return subject.is_active and subject.version == access_version
