"""Trade a client's secret for the scopes of a short token; give people's codes to their apps."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import operations as access
from services.api.access import queries
from services.api.access import rules as access_rules
from services.api.access.rules import CredentialKind, Scope
from services.api.access.tables import AccessSubject, OAuthClient
from services.api.issuer import rules
from services.api.issuer.rules import CODE_LIFETIME, TokenRequest
from services.api.issuer.tables import AuthorizationCode
from shared import ids
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


async def give_code(
    session: AsyncSession,
    *,
    organization_id: UUID,
    person_id: UUID,
    client_id: UUID,
    redirect_uri: str | None,
    scopes: frozenset[Scope],
    code_challenge: str,
    auth_time: datetime,
    now: datetime,
) -> str:
    """Return the code an app trades for a person's first tokens; who they are is settled.

    `redirect_uri` is where the code is sent, None where it is not sent by redirect. Whether the
    person may sign in is asked when the code is used.
    """
    subject = await session.get_one(AccessSubject, (organization_id, person_id))
    text = access_rules.new_credential(
        CredentialKind.AUTHORIZATION_CODE, organization_id, ids.new_id()
    )
    code = AuthorizationCode(
        organization_id=organization_id,
        id=text.id,
        digest=access_rules.secret_digest(text.secret),
        person_id=person_id,
        client_id=client_id,
        redirect_uri=redirect_uri,
        scopes=sorted(scopes),
        code_challenge=code_challenge,
        auth_time=auth_time,
        access_version=subject.version,
        created_at=now,
        expires_at=now + CODE_LIFETIME,
    )
    session.add(code)
    return str(text)
