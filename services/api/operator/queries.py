"""What the operator may look up before any tenant is known."""

from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access.roles import Role
from services.api.access.tables import RoleAssignment


async def lock_slug(session: AsyncSession, *, slug: str) -> None:
    """Let one founding of a slug, or one registration in it, happen at a time."""
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:slug, 2))"), {"slug": slug}
    )


async def find_holder(session: AsyncSession, *, organization_id: UUID, role: Role) -> UUID | None:
    """Return who first was granted a role."""
    statement = (
        select(col(RoleAssignment.person_id))
        .where(
            col(RoleAssignment.organization_id) == organization_id,
            col(RoleAssignment.role) == role,
        )
        .order_by(col(RoleAssignment.id))
        .limit(1)
    )
    return (await session.execute(statement)).scalar_one_or_none()
