"""Forget challenges once nothing counts them any more."""

from sqlalchemy import delete
from sqlmodel import col

from services.api.sign_in.email_codes.rules import KEPT_FOR
from services.api.sign_in.email_codes.tables import EmailCode
from services.api.timers.jobs import organizations
from shared.persistence.leases import JobDatabase
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant


async def forget_old(database: JobDatabase) -> None:
    """Delete challenges of yesterday and before; real time, in a sandbox too."""
    oldest = database.clock() - KEPT_FOR
    for organization_id in await organizations(database):
        async with transaction(database.sessions, Tenant(organization_id)) as session:
            await session.execute(
                delete(EmailCode)
                .where(
                    col(EmailCode.organization_id) == organization_id,
                    col(EmailCode.created_at) < oldest,
                )
                .execution_options(synchronize_session=False)
            )
