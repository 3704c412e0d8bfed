"""Forget sign-ins that nobody can go on with."""

from sqlalchemy import delete
from sqlmodel import col

from services.api.sign_in.requests.rules import KEPT
from services.api.sign_in.requests.tables import SignIn
from services.api.timers.jobs import organizations
from shared.persistence.leases import JobDatabase
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant


async def forget_sign_ins(database: JobDatabase) -> None:
    """Delete what was asked long ago, with the addresses typed on the way."""
    oldest = database.clock() - KEPT
    for organization_id in await organizations(database):
        async with transaction(database.sessions, Tenant(organization_id)) as session:
            await session.execute(
                delete(SignIn).where(
                    col(SignIn.organization_id) == organization_id,
                    col(SignIn.created_at) < oldest,
                )
            )
