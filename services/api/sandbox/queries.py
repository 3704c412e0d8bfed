"""The clock of a sandbox, and which of its rows a reset keeps."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Table, bindparam, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access.roles import Role
from services.api.access.tables import AccessSubject, IdempotencyRow, RoleAssignment
from services.api.database import ApiTable
from services.api.organizations.tables import Organization
from services.api.people.tables import Person
from services.api.sandbox import rules
from services.api.timers.tables import OrganizationClock
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, once

CLOCKS = OrganizationClock.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
ORGANIZATIONS = Organization.__table__  # type: ignore[attr-defined]  # as above
KEPT_WHOLE = frozenset({"organization", "organization_clock", "api_key", "oauth_client"})
RESETTING = "reset_sandbox"


@once
def _clock() -> AnySelect:
    return (
        select(
            CLOCKS.c.offset_seconds, CLOCKS.c.advance_to, CLOCKS.c.reset_at, ORGANIZATIONS.c.kind
        )
        .join(ORGANIZATIONS, ORGANIZATIONS.c.organization_id == CLOCKS.c.organization_id)
        .where(CLOCKS.c.organization_id == bindparam("organization_id"))
    )


async def clock(reader: Reader, *, organization_id: UUID) -> Mapping[str, Any]:
    """Return where the sandbox's clock stands and is going; other organizations have none."""
    row = await reader.fetch_one(_clock(), organization_id=organization_id)
    if row is None:
        raise NotFoundError
    rules.require_sandbox(row["kind"])
    return row


async def lock_clock(session: AsyncSession, *, organization_id: UUID) -> OrganizationClock:
    """Load the clock for a change."""
    row = await session.get(OrganizationClock, organization_id, with_for_update=True)
    if row is None:
        raise NotFoundError
    return row


def emptied() -> list[tuple[Table, ColumnElement[bool]]]:
    """Return every table a reset empties, children first, and which of its rows go."""
    tables = [
        table
        for table in reversed(ApiTable.metadata.sorted_tables)
        if "organization_id" in table.c and table.name not in KEPT_WHOLE
    ]
    # Grants name programs by a key that only the database knows.
    tables.sort(key=lambda table: table.name != RoleAssignment.__tablename__)
    return [(table, _goes(table)) for table in tables]


def _goes(table: Table) -> ColumnElement[bool]:
    admins = select(col(RoleAssignment.person_id)).where(
        col(RoleAssignment.organization_id) == table.c.organization_id,
        col(RoleAssignment.role) == Role.ORG_ADMIN,
    )
    match table.name:
        case RoleAssignment.__tablename__:
            return table.c.role != Role.ORG_ADMIN
        case AccessSubject.__tablename__:
            return table.c.person_id.not_in(admins)
        case Person.__tablename__:
            return table.c.id.not_in(admins)
        case IdempotencyRow.__tablename__:
            # The request that asked for the reset is not to be answered by a second one.
            return table.c.operation != RESETTING
        case _:
            return true()
