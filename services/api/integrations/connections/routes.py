"""Sources of people data and identity providers over HTTP."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import Body, Query, Request, Response

from services.api.access.rules import Scope
from services.api.clients.identity_providers import ProviderError
from services.api.dependencies import (
    ActorDep,
    IfMatchDep,
    NowDep,
    ReaderDep,
    ReadingDep,
    ResourcesDep,
    SessionDep,
    allow,
    calling_door,
    door,
    id_page,
)
from services.api.integrations.connections import operations, queries, rules
from services.api.integrations.connections.rules import ConnectionKind
from services.api.integrations.connections.schemas import (
    ConnectionCreate,
    ConnectionId,
    ConnectionPage,
    ConnectionPatch,
    ConnectionTestView,
    ConnectionView,
    OidcView,
)
from services.api.integrations.connections.tables import Connection, OidcConnection
from services.api.resources import Resources
from shared import ids
from shared.egress import EgressError
from shared.errors import ConflictError, InvalidError, Violation
from shared.web import responses
from shared.web.pagination import Page

router = door("connections")
calling_router = calling_door("connections")


def present(row: Mapping[str, Any], issuer: str) -> ConnectionView:
    """Show a connection; what means nothing for its kind is null."""
    is_file = row["kind"] == ConnectionKind.FILE
    return ConnectionView(
        id=ids.format_id("connection", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        label=row["label"],
        kind=row["kind"],
        status=row["status"],
        on_missing=row["on_missing"] if is_file else None,
        guard_people=row["guard_people"] if is_file else None,
        guard_percent=row["guard_percent"] if is_file else None,
        source=operations.source_of(row["id"]),
        oidc=None if is_file else _present_oidc(row, issuer),
        last_success_at=row["last_success_at"],
    )


def _present_oidc(row: Mapping[str, Any], issuer: str) -> OidcView:
    return OidcView(
        issuer=row["issuer"],
        client_id=row["client_id"],
        scopes=row["scopes"],
        external_id_claim=row["external_id_claim"],
        people_connection_id=ids.format_optional("connection", row["people_connection_id"]),
        provisioning=row["provisioning"],
        redirect_uri=rules.redirect_uri(issuer),
    )


def _row(connection: Connection, provider: OidcConnection | None) -> Mapping[str, Any]:
    return (provider.model_dump() if provider else {}) | connection.model_dump()


@router.get(
    "/connections",
    summary="List connections",
    response_model=ConnectionPage,
    openapi_extra=allow("connection.read", Scope.IMPORTS_WRITE),
)
async def list_connections(
    *,
    request: Request,
    actor: ActorDep,
    reader: ReaderDep,
    resources: ResourcesDep,
    query: Annotated[Page, Query()],
) -> Response:
    """Return the sources of people data and the identity providers, oldest first."""
    return await id_page(
        request,
        query,
        lambda after, limit: queries.list_page(
            reader, organization_id=actor.organization_id, after=after, limit=limit
        ),
        lambda row: present(row, resources.settings.issuer),
    )


@router.post(
    "/connections",
    summary="Add a connection",
    status_code=201,
    response_model=ConnectionView,
    openapi_extra=allow("connection.manage", Scope.IMPORTS_WRITE),
)
async def create_connection(
    *,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    resources: ResourcesDep,
    body: ConnectionCreate,
) -> Response:
    """Add a source of people data, or the identity provider that people sign in at.

    A person's id in a source is known per connection. An identity provider needs `oidc`; register
    the `redirect_uri` of the answer there, and see with `/test` whether all is well. It begins
    `paused`, since codes by mail may end once it is `active`. It takes a credential that also
    holds `admin`, as whoever it vouches for is let in.
    """
    values = body.model_dump(exclude={"id", "oidc"}, exclude_none=True)
    rules.check_fields(body.kind, {**values, "oidc": body.oidc}, needs_settings=True)
    oidc = body.oidc.model_dump() if body.oidc else None
    _refuse_address(resources, oidc)
    connection, provider = await operations.create(
        session,
        actor=actor,
        connection_id=body.id,
        values=values,
        oidc=oidc,
        sealing_key=_sealing_key(resources),
        now=now,
    )
    return responses.created(
        present(_row(connection, provider), resources.settings.issuer),
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
    *, connection_id: ConnectionId, actor: ActorDep, reader: ReaderDep, resources: ResourcesDep
) -> Response:
    """Return one connection and when it last worked; a client secret is never shown."""
    row = await queries.get(
        reader, organization_id=actor.organization_id, connection_id=connection_id
    )
    return responses.one(present(row, resources.settings.issuer), version=row["version"])


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
    resources: ResourcesDep,
    body: Annotated[ConnectionPatch, Body(media_type="application/merge-patch+json")],
    if_match: IfMatchDep = None,
) -> Response:
    """Change the label, the guard, what a missing row means, or the identity provider.

    A connection that is `paused` lets no data and nobody in. An identity provider is changed with
    a credential that also holds `admin`.
    """
    changes = body.sent()
    oidc = body.oidc.sent() if changes.pop("oidc", None) is not None else None
    _refuse_address(resources, oidc)
    connection, provider = await operations.change(
        session,
        actor=actor,
        connection_id=connection_id,
        changes=changes,
        oidc=oidc,
        if_match=if_match,
        sealing_key=_sealing_key(resources),
        now=now,
    )
    return responses.one(
        present(_row(connection, provider), resources.settings.issuer),
        version=connection.version,
    )


@calling_router.post(
    "/connections/{connection_id}/test",
    summary="Test an identity provider",
    response_model=ConnectionTestView,
    openapi_extra=allow("connection.manage", Scope.IMPORTS_WRITE),
)
async def test_connection(
    *,
    connection_id: ConnectionId,
    actor: ActorDep,
    reading: ReadingDep,
    resources: ResourcesDep,
    now: NowDep,
) -> Response:
    """Ask the identity provider for its metadata and its keys now, and say what is wrong.

    Client id and secret show only when somebody signs in. At most ten tests a minute.
    """
    async with reading() as reader:
        row = await queries.get(
            reader, organization_id=actor.organization_id, connection_id=connection_id
        )
    if row["kind"] != ConnectionKind.OIDC:
        raise ConflictError("Only identity providers can be tested.", code="conflict")
    return responses.one(await _tested(resources, row, now))


async def _tested(
    resources: Resources, row: Mapping[str, Any], now: datetime
) -> ConnectionTestView:
    fault: ProviderError | None = None
    try:
        await resources.identity_providers.inspect(row["issuer"], asker=str(row["id"]))
    except ProviderError as error:
        fault = error
    return ConnectionTestView(
        is_working=fault is None,
        problem=fault.code if fault else None,
        detail=fault.detail if fault else None,
        checked_at=now,
    )


def _refuse_address(resources: Resources, oidc: Mapping[str, Any] | None) -> None:
    if oidc is None or "issuer" not in oidc:
        return
    try:
        resources.identity_providers.check(oidc["issuer"])
    except EgressError as error:
        raise InvalidError(
            errors=[Violation("#/oidc/issuer", "address_refused", error.detail)]
        ) from None


def _sealing_key(resources: Resources) -> str:
    return resources.settings.key_encryption_key.get_secret_value()
