"""Every change to a connection."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access.rules import Actor
from services.api.integrations.connections import queries
from services.api.integrations.connections.tables import Connection
from shared import ids
from shared.errors import ConflictError
from shared.web.preconditions import require_match


async def create(
    session: AsyncSession,
    *,
    actor: Actor,
    connection_id: UUID | None,
    values: Mapping[str, Any],
    now: datetime,
) -> Connection:
    """Add a source of people data."""
    connection = Connection(
        organization_id=actor.organization_id,
        id=connection_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        **values,
    )
    if await queries.find(
        session, organization_id=actor.organization_id, connection_id=connection.id
    ):
        raise ConflictError("A connection with this id is known already.", code="already_exists")
    await _refuse_taken_label(session, connection, label=connection.label)
    session.add(connection)
    await session.flush()
    return connection


async def change(
    session: AsyncSession,
    *,
    actor: Actor,
    connection_id: UUID,
    changes: Mapping[str, Any],
    if_match: str | None,
    now: datetime,
) -> Connection:
    """Change a connection's label, guard or what a missing row means."""
    connection = await queries.lock(
        session, organization_id=actor.organization_id, connection_id=connection_id
    )
    require_match(if_match, version=connection.version)
    if "label" in changes:
        await _refuse_taken_label(session, connection, label=changes["label"])
    for name, value in changes.items():
        setattr(connection, name, value)
    connection.touch(now)
    return connection


async def note_success(
    session: AsyncSession, *, organization_id: UUID, connection_id: UUID, now: datetime
) -> None:
    """Remember when the connection last brought its data in whole."""
    connection = await queries.lock(
        session, organization_id=organization_id, connection_id=connection_id
    )
    connection.last_success_at = now


def source_of(connection_id: UUID) -> str:
    """Return the source under which people carry this connection's ids."""
    return ids.format_id("connection", connection_id)


async def _refuse_taken_label(session: AsyncSession, connection: Connection, *, label: str) -> None:
    if await queries.is_label_taken(
        session,
        organization_id=connection.organization_id,
        label=label,
        except_id=connection.id,
    ):
        raise ConflictError("Another connection bears this label.", code="already_exists")
