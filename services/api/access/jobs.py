"""Forget what the door no longer needs to remember."""

from datetime import timedelta

from sqlalchemy import delete
from sqlmodel import col

from services.api.access.tables import IdempotencyRow
from services.api.timers.jobs import organizations
from shared.persistence.leases import JobDatabase
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant

KEPT = timedelta(hours=48)


async def forget_intents(database: JobDatabase) -> None:
    """Delete remembered replies that nobody can be waiting for any more."""
    oldest = database.clock() - KEPT
    for organization_id in await organizations(database):
        async with transaction(database.sessions, Tenant(organization_id)) as session:
            await session.execute(
                delete(IdempotencyRow).where(
                    col(IdempotencyRow.organization_id) == organization_id,
                    col(IdempotencyRow.created_at) < oldest,
                )
            )
