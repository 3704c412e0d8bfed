"""What the pages of a sign-in show, and whether its code may be tried again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.integrations.connections import queries as connections
from services.api.issuer import queries as issuer
from services.api.issuer.rules import AppClient
from services.api.organizations import queries as organizations
from services.api.sign_in.email_codes.rules import MAX_ATTEMPTS
from services.api.sign_in.email_codes.tables import EmailCode
from services.api.sign_in.pages.rules import ONE_MAIL_WITHIN
from services.api.sign_in.requests.rules import Notice
from services.api.sign_in.requests.tables import SignIn
from services.api.sign_in.upstream import queries as upstream
from shared.persistence.reads import Reader


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where somebody signs in: the organization with its language and ways in, and the app."""

    organization: str
    default_locale: str
    providers: Sequence[tuple[UUID, str]]
    takes_email_codes: bool
    app: AppClient


async def surroundings(
    reader: Reader, *, organization_id: UUID, client_id: UUID
) -> Surroundings | None:
    """Return where somebody signs in; None where no such app is live."""
    app = await issuer.app_client(reader, organization_id=organization_id, client_id=client_id)
    if app is None:
        return None
    row = await organizations.get(reader, organization_id=organization_id)
    takes_codes = await connections.takes_email_codes(reader, organization_id=organization_id)
    providers = await upstream.providers(reader, organization_id)
    return Surroundings(row["name"], row["default_locale"], providers, takes_codes, app)


async def code_of(session: AsyncSession, sign_in: SignIn) -> EmailCode | None:
    """Return the challenge that was sent last, as it is now; none was if nobody asked."""
    if sign_in.email_code_id is None:
        return None
    key = (sign_in.organization_id, sign_in.email_code_id)
    return await session.get(EmailCode, key, populate_existing=True)


async def is_code_fresh(session: AsyncSession, sign_in: SignIn, *, now: datetime) -> bool:
    """Tell whether a code was sent a moment ago and nobody has tried it yet."""
    challenge = await code_of(session, sign_in)
    if challenge is None or challenge.attempts > 0:
        return False
    return now < challenge.created_at + ONE_MAIL_WITHIN


async def why_code_is_over(
    session: AsyncSession, sign_in: SignIn, *, now: datetime
) -> Notice | None:
    """Return why the code of a sign-in can be tried no longer; None while it can.

    A decoy ends as any other challenge does, so this tells nobody whose address is known.
    """
    challenge = await code_of(session, sign_in)
    if challenge is None or challenge.expires_at <= now or challenge.used_at is not None:
        return Notice.CODE_EXPIRED
    return Notice.TOO_MANY_ATTEMPTS if challenge.attempts >= MAX_ATTEMPTS else None
