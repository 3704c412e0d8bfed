"""Reads of sign-ins in progress."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import rules as access
from services.api.access.rules import CredentialText
from services.api.sign_in.requests.rules import REPEATED_WITHIN
from services.api.sign_in.requests.tables import SignIn


async def lock_live(
    session: AsyncSession, entry: CredentialText, *, now: datetime
) -> SignIn | None:
    """Load a sign-in for its own browser; one that is over, expired or foreign is none."""
    sign_in = await _lock_own(session, entry)
    is_live = sign_in is not None and sign_in.finished_at is None and now < sign_in.expires_at
    return sign_in if is_live else None


async def lock_just_finished(
    session: AsyncSession, entry: CredentialText, *, now: datetime
) -> SignIn | None:
    """Load a sign-in for its own browser that was finished a moment ago."""
    sign_in = await _lock_own(session, entry)
    if sign_in is None or sign_in.finished_at is None:
        return None
    return sign_in if now < sign_in.finished_at + REPEATED_WITHIN else None


async def _lock_own(session: AsyncSession, entry: CredentialText) -> SignIn | None:
    key = (entry.organization_id, entry.id)
    sign_in = await session.get(SignIn, key, with_for_update=True)
    digest = sign_in.secret_digest if sign_in else access.NO_DIGEST
    is_same = access.is_same_secret(entry.secret, digest)
    return sign_in if is_same else None
