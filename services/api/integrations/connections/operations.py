"""Every change to a connection."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access import rules as access
from services.api.access import sealing
from services.api.access.rules import Actor, Scope
from services.api.integrations.connections import queries, rules
from services.api.integrations.connections.rules import ConnectionKind, ConnectionStatus
from services.api.integrations.connections.tables import Connection, OidcConnection
from shared import ids
from shared.errors import ConflictError, unknown_reference
from shared.web.preconditions import require_match


async def create(
    session: AsyncSession,
    *,
    actor: Actor,
    connection_id: UUID | None,
    values: Mapping[str, Any],
    oidc: Mapping[str, Any] | None,
    sealing_key: str,
    now: datetime,
) -> tuple[Connection, OidcConnection | None]:
    """Add a source of people data, or an identity provider, whose secret is sealed at once.

    A provider begins paused: an active one may be the only way in, and this one was never tried.
    """
    _require_office(actor, ConnectionKind(values["kind"]))
    connection = Connection(
        organization_id=actor.organization_id,
        id=connection_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        status=ConnectionStatus.ACTIVE if oidc is None else ConnectionStatus.PAUSED,
        **values,
    )
    if await queries.find(
        session, organization_id=actor.organization_id, connection_id=connection.id
    ):
        raise ConflictError("A connection with this id is known already.", code="already_exists")
    await _refuse_taken_label(session, connection, label=connection.label)
    session.add(connection)
    await session.flush()
    if oidc is None:
        return connection, None
    provider = OidcConnection(
        organization_id=connection.organization_id,
        connection_id=connection.id,
        **await _oidc_columns(session, connection, oidc, sealing_key=sealing_key),
    )
    session.add(provider)
    await session.flush()
    return connection, provider


async def change(
    session: AsyncSession,
    *,
    actor: Actor,
    connection_id: UUID,
    changes: Mapping[str, Any],
    oidc: Mapping[str, Any] | None,
    if_match: str | None,
    sealing_key: str,
    now: datetime,
) -> tuple[Connection, OidcConnection | None]:
    """Change a connection's label, status, guard, what a missing row means, or its provider."""
    connection = await queries.lock(
        session, organization_id=actor.organization_id, connection_id=connection_id
    )
    _require_office(actor, connection.kind)
    require_match(if_match, version=connection.version)
    rules.check_fields(connection.kind, {**changes, "oidc": oidc})
    if "label" in changes:
        await _refuse_taken_label(session, connection, label=changes["label"])
    provider = await queries.find_oidc(
        session, organization_id=actor.organization_id, connection_id=connection_id
    )
    for name, value in changes.items():
        setattr(connection, name, value)
    if provider is not None and oidc:
        rules.check_secret_goes_along(provider.issuer, oidc)
        columns = await _oidc_columns(session, connection, oidc, sealing_key=sealing_key)
        for name, value in columns.items():
            setattr(provider, name, value)
    connection.touch(now)
    await session.flush()
    return connection, provider


def _require_office(actor: Actor, kind: ConnectionKind) -> None:
    """Refuse a narrow credential that decides who vouches for people, org_admins among them."""
    if kind is ConnectionKind.OIDC:
        access.require_scope(actor, Scope.ADMIN)


async def _oidc_columns(
    session: AsyncSession, connection: Connection, given: Mapping[str, Any], *, sealing_key: str
) -> dict[str, Any]:
    columns = dict(given)
    secret = columns.pop("client_secret", None)
    if secret is not None:
        columns["sealed_secret"] = sealing.seal(secret.encode(), sealing_key)
    if "scopes" in columns:
        columns["scopes"] = rules.with_openid(columns["scopes"])
    people = columns.get("people_connection_id")
    if people is not None and not await queries.find(
        session, organization_id=connection.organization_id, connection_id=people
    ):
        raise unknown_reference("#/oidc/people_connection_id")
    return columns


async def note_success(
    session: AsyncSession, *, organization_id: UUID, connection_id: UUID, now: datetime
) -> None:
    """Remember when the connection last brought its data in whole."""
    connection = await queries.lock(
        session, organization_id=organization_id, connection_id=connection_id
    )
    connection.last_success_at = now


async def note_use(
    session: AsyncSession, *, organization_id: UUID, connection_id: UUID, now: datetime
) -> None:
    """Remember roughly when somebody last signed in: many do at once, so nobody waits for it."""
    await session.execute(
        update(Connection)
        .where(
            col(Connection.organization_id) == organization_id,
            col(Connection.id) == connection_id,
            (col(Connection.last_success_at).is_(None))
            | (col(Connection.last_success_at) < now - rules.USE_INTERVAL),
        )
        .values(last_success_at=now)
    )


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
