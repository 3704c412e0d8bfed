"""Sources of people data over HTTP."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Body, Query, Request, Response

from services.api.access.rules import Scope
from services.api.dependencies import (
    ActorDep,
    IfMatchDep,
    NowDep,
    ReaderDep,
    SessionDep,
    allow,
    door,
    id_page,
)
from services.api.integrations.connections import operations, queries
from services.api.integrations.connections.schemas import (
    ConnectionCreate,
    ConnectionId,
    ConnectionPage,
    ConnectionPatch,
    ConnectionView,
)
from shared import ids
from shared.web import responses
from shared.web.pagination import Page

router = door("connections")


def present(row: Mapping[str, Any]) -> ConnectionView:
    """Show a connection."""
    return ConnectionView(
        id=ids.format_id("connection", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        label=row["label"],
        kind=row["kind"],
        status=row["status"],
        on_missing=row["on_missing"],
        guard_people=row["guard_people"],
        guard_percent=row["guard_percent"],
        source=operations.source_of(row["id"]),
        last_success_at=row["last_success_at"],
    )


@router.get(
    "/connections",
    summary="List connections",
    response_model=ConnectionPage,
    openapi_extra=allow("connection.read", Scope.IMPORTS_WRITE),
)
async def list_connections(
    *, request: Request, actor: ActorDep, reader: ReaderDep, query: Annotated[Page, Query()]
) -> Response:
    """Return the sources of people data, oldest first."""
    return await id_page(
        request,
        query,
        lambda after, limit: queries.list_page(
            reader, organization_id=actor.organization_id, after=after, limit=limit
        ),
        present,
    )


@router.post(
    "/connections",
    summary="Add a connection",
    status_code=201,
    response_model=ConnectionView,
    openapi_extra=allow("connection.manage", Scope.IMPORTS_WRITE),
)
async def create_connection(
    *, actor: ActorDep, session: SessionDep, now: NowDep, body: ConnectionCreate
) -> Response:
    """Add a source of people data. A person's id in it is known per connection."""
    connection = await operations.create(
        session,
        actor=actor,
        connection_id=body.id,
        values=body.model_dump(exclude={"id"}, mode="python"),
        now=now,
    )
    return responses.created(
        present(connection.model_dump()),
        version=connection.version,
        location=f"/v1/connections/{ids.format_id('connection', connection.id)}",
    )


@router.get(
    "/connections/{connection_id}",
    summary="Read a connection",
    response_model=ConnectionView,
    openapi_extra=allow("connection.read", Scope.IMPORTS_WRITE),
)
async def get_connection(
    *, connection_id: ConnectionId, actor: ActorDep, reader: ReaderDep
) -> Response:
    """Return one source of people data and when it last brought everything in."""
    row = await queries.get(
        reader, organization_id=actor.organization_id, connection_id=connection_id
    )
    return responses.one(present(row), version=row["version"])


@router.patch(
    "/connections/{connection_id}",
    summary="Change a connection",
    response_model=ConnectionView,
    openapi_extra=allow("connection.manage", Scope.IMPORTS_WRITE),
)
async def change_connection(
    *,
    connection_id: ConnectionId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Annotated[ConnectionPatch, Body(media_type="application/merge-patch+json")],
    if_match: IfMatchDep = None,
) -> Response:
    """Change the label, the guard, or what it means that a full file leaves somebody out."""
    connection = await operations.change(
        session,
        actor=actor,
        connection_id=connection_id,
        changes=body.sent(),
        if_match=if_match,
        now=now,
    )
    return responses.one(present(connection.model_dump()), version=connection.version)
