"""Trade a client's secret for the scopes of a short token."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import operations as access
from services.api.access import queries
from services.api.access import rules as access_rules
from services.api.access.rules import Scope
from services.api.access.tables import OAuthClient
from services.api.issuer import rules
from services.api.issuer.rules import TokenRequest
from shared.persistence.reads import SessionReader


async def authorise(
    session: AsyncSession, request: TokenRequest, *, now: datetime
) -> frozenset[Scope]:
    """Return what the token may be used for; an unknown client is refused in equal time."""
    row = await SessionReader(session).fetch_one(
        queries.client_facts(),
        organization_id=request.organization_id,
        client_id=request.client_id,
    )
    digest = row["secret_digest"] if row else access_rules.NO_DIGEST
    is_same = access_rules.is_same_secret(request.secret, digest)
    if row is None or not is_same or row["revoked_at"] is not None:
        raise rules.unknown_client()
    scopes = rules.narrowed(request.scope, row["scopes"])
    if access_rules.is_use_due(row["last_used_at"], now):
        await access.note_use(
            session,
            OAuthClient,
            organization_id=request.organization_id,
            row_id=request.client_id,
            now=now,
        )
    return scopes
