"""Reads of the organization's own row."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.organizations.tables import Organization, OrganizationSlug
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, once


@once
def _one() -> AnySelect:
    return select(*Organization.__table__.c).where(  # type: ignore[attr-defined]  # SQLModel hides it
        col(Organization.organization_id) == bindparam("organization_id")
    )


async def get(reader: Reader, *, organization_id: UUID) -> Mapping[str, Any]:
    """Return the organization's row."""
    row = await reader.fetch_one(_one(), organization_id=organization_id)
    if row is None:
        raise NotFoundError
    return row


async def find(session: AsyncSession, *, slug: str) -> UUID | None:
    """Return which organization a slug names; no tenant is needed, and none is known yet."""
    row = await session.get(OrganizationSlug, slug)
    return row.tenant_id if row else None


async def lock(session: AsyncSession, *, organization_id: UUID) -> Organization:
    """Load the organization for a change."""
    organization = await session.get(Organization, organization_id, with_for_update=True)
    if organization is None:
        raise NotFoundError
    return organization
