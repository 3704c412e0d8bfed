"""Forget codes, tokens and sign-ins that can open nothing and end nothing any more."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Delete, delete, or_
from sqlmodel import col

from services.api.access.tables import RefreshFamily
from services.api.issuer.rules import IDLE_LIFETIME
from services.api.issuer.tables import AuthorizationCode, ClientAssertion, RefreshToken
from services.api.timers.jobs import organizations
from shared.persistence.leases import JobDatabase
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant

# An ended sign-in can be looked at for a while: why did it end?
KEPT = timedelta(days=7)


async def forget_dead(database: JobDatabase) -> None:
    """Delete what is over, in every organization; real time, in a sandbox too."""
    now = database.clock()
    for organization_id in await organizations(database):
        async with transaction(database.sessions, Tenant(organization_id)) as session:
            for table, statement in _dead(now):
                await session.execute(
                    statement.where(col(table.organization_id) == organization_id),
                    execution_options={"synchronize_session": False},
                )


type Table = type[ClientAssertion | AuthorizationCode | RefreshToken | RefreshFamily]


def _dead(now: datetime) -> Iterator[tuple[Table, Delete]]:
    yield ClientAssertion, delete(ClientAssertion).where(col(ClientAssertion.expires_at) <= now)
    # A used code goes with its sign-in: until then a second use ends that.
    yield (
        AuthorizationCode,
        delete(AuthorizationCode).where(
            col(AuthorizationCode.family_id).is_(None), col(AuthorizationCode.expires_at) <= now
        ),
    )
    # Older than a token can be: whoever shows one now is told that it is unknown, no more.
    yield (
        RefreshToken,
        delete(RefreshToken).where(col(RefreshToken.created_at) <= now - IDLE_LIFETIME),
    )
    yield (
        RefreshFamily,
        delete(RefreshFamily).where(
            or_(
                col(RefreshFamily.expires_at) <= now - KEPT,
                col(RefreshFamily.idle_expires_at) <= now - KEPT,
                col(RefreshFamily.revoked_at) <= now - KEPT,
            )
        ),
    )
