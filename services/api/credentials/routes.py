"""Role grants, API keys, OAuth clients, and what the present credential is."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query, Request, Response

from services.api.access.rules import Scope, client_name
from services.api.access.tables import ApiKey, OAuthClient, RoleAssignment
from services.api.credentials import operations, queries
from services.api.credentials.schemas import (
    ApiKeyCreate,
    ApiKeyPage,
    ApiKeyView,
    NewApiKey,
    NewOAuthClient,
    OAuthClientCreate,
    OAuthClientPage,
    OAuthClientView,
    RoleAssignmentCreate,
    RoleAssignmentPage,
    RoleAssignmentQuery,
    RoleAssignmentView,
    TokenView,
)
from services.api.dependencies import (
    ActorDep,
    IfMatchDep,
    NowDep,
    ReaderDep,
    SessionDep,
    allow,
    cursors,
    door,
    next_link,
)
from shared import ids
from shared.schemas.base import Id
from shared.web import responses
from shared.web.pagination import Page

router = door("credentials")

RoleAssignmentId = Annotated[UUID, Id("role_assignment"), Path()]
ApiKeyId = Annotated[UUID, Id("api_key"), Path()]
OAuthClientId = Annotated[UUID, Id("oauth_client"), Path()]


def present_grant(row: Mapping[str, Any]) -> RoleAssignmentView:
    """Show a granted role."""
    return RoleAssignmentView(
        id=ids.format_id("role_assignment", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        person_id=ids.format_id("person", row["person_id"]),
        role=row["role"],
        program_id=ids.format_optional("program", row["program_id"]),
        granted_by=ids.format_optional("person", row["granted_by"]),
        expires_at=row["expires_at"],
    )


def present_key(row: Mapping[str, Any]) -> ApiKeyView:
    """Show a key without its secret."""
    return ApiKeyView(
        id=ids.format_id("api_key", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        label=row["label"],
        last_four=row["last_four"],
        scopes=row["scopes"],
        created_by=ids.format_optional("person", row["created_by"]),
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
    )


def present_client(row: Mapping[str, Any]) -> OAuthClientView:
    """Show a client without its secret."""
    return OAuthClientView(
        id=ids.format_id("oauth_client", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        label=row["label"],
        client_id=client_name(row["organization_id"], row["id"]),
        last_four=row["last_four"],
        scopes=row["scopes"],
        created_by=ids.format_optional("person", row["created_by"]),
        revoked_at=row["revoked_at"],
    )


async def _page(  # noqa: PLR0917 - one list, whatever its rows
    request: Request,
    actor: ActorDep,
    reader: ReaderDep,
    query: Page,
    table: queries.Listed,
    present: Any,
) -> Response:
    place = cursors(request, query)
    rows = await queries.list_page(
        reader,
        table,
        organization_id=actor.organization_id,
        after=place.after(),
        limit=query.limit,
        filters=query.model_dump(exclude={"limit", "cursor"}, exclude_none=True),
    )
    shown, cursor = place.cut(rows, lambda row: (str(row["id"]),))
    return responses.page([present(row) for row in shown], cursor, link=next_link(request, cursor))


@router.get(
    "/role-assignments",
    summary="List role assignments",
    response_model=RoleAssignmentPage,
    openapi_extra=allow("role_assignment.manage", Scope.ADMIN),
)
async def list_role_assignments(
    *,
    request: Request,
    actor: ActorDep,
    reader: ReaderDep,
    query: Annotated[RoleAssignmentQuery, Query()],
) -> Response:
    """Return granted roles, oldest first."""
    return await _page(request, actor, reader, query, RoleAssignment, present_grant)


@router.post(
    "/role-assignments",
    summary="Grant a role",
    status_code=201,
    response_model=RoleAssignmentView,
    openapi_extra=allow("role_assignment.manage", Scope.ADMIN),
)
async def create_role_assignment(
    *, actor: ActorDep, session: SessionDep, now: NowDep, body: RoleAssignmentCreate
) -> Response:
    """Grant a role. Coordinators and analysts are granted for one program."""
    assignment = await operations.grant(
        session,
        organization_id=actor.organization_id,
        granted_by=actor.person_id,
        person_id=body.person_id,
        role=body.role,
        program_id=body.program_id,
        expires_at=body.expires_at,
        assignment_id=body.id,
        now=now,
    )
    view = present_grant(assignment.model_dump())
    return responses.created(
        view, version=assignment.version, location=f"/v1/role-assignments/{view['id']}"
    )


@router.delete(
    "/role-assignments/{role_assignment_id}",
    summary="Take a role back",
    status_code=204,
    response_class=Response,
    openapi_extra=allow("role_assignment.manage", Scope.ADMIN),
)
async def delete_role_assignment(
    *,
    role_assignment_id: RoleAssignmentId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Take a role back. All tokens of the person end; they sign in again without the role."""
    await operations.take_back(
        session, actor=actor, assignment_id=role_assignment_id, if_match=if_match, now=now
    )
    return responses.no_content()


@router.get(
    "/api-keys",
    summary="List API keys",
    response_model=ApiKeyPage,
    openapi_extra=allow("api_key.manage", Scope.ADMIN),
)
async def list_api_keys(
    *, request: Request, actor: ActorDep, reader: ReaderDep, query: Annotated[Page, Query()]
) -> Response:
    """Return keys of machines, oldest first, without their secrets."""
    return await _page(request, actor, reader, query, ApiKey, present_key)


@router.post(
    "/api-keys",
    summary="Make an API key",
    status_code=201,
    response_model=NewApiKey,
    openapi_extra=allow("api_key.manage", Scope.ADMIN),
)
async def create_api_key(
    *, actor: ActorDep, session: SessionDep, now: NowDep, body: ApiKeyCreate
) -> Response:
    """Make a key for a machine. Its secret is in this answer and nowhere else.

    A request that is repeated with its Idempotency-Key is answered with `key` null. If the first
    answer was lost, revoke the key by its id and make another one.
    """
    key, text = await operations.create_key(
        session,
        organization_id=actor.organization_id,
        created_by=actor.person_id,
        label=body.label,
        scopes=body.scopes,
        expires_at=body.expires_at,
        key_id=body.id,
        now=now,
    )
    view = present_key(key.model_dump())
    return responses.secret(
        NewApiKey(**view, key=text), field="key", location=f"/v1/api-keys/{view['id']}"
    )


@router.post(
    "/api-keys/{api_key_id}/revoke",
    summary="Revoke an API key",
    response_model=ApiKeyView,
    openapi_extra=allow("api_key.manage", Scope.ADMIN),
)
async def revoke_api_key(
    *,
    api_key_id: ApiKeyId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    if_match: IfMatchDep = None,
) -> Response:
    """End a key; its next request is refused."""
    key = await operations.revoke(
        session, ApiKey, actor=actor, row_id=api_key_id, if_match=if_match, now=now
    )
    return responses.one(present_key(key.model_dump()), version=key.version)


@router.get(
    "/oauth-clients",
    summary="List OAuth clients",
    response_model=OAuthClientPage,
    openapi_extra=allow("oauth_client.manage", Scope.ADMIN),
)
async def list_oauth_clients(
    *, request: Request, actor: ActorDep, reader: ReaderDep, query: Annotated[Page, Query()]
) -> Response:
    """Return machine clients, oldest first, without their secrets."""
    return await _page(request, actor, reader, query, OAuthClient, present_client)


@router.post(
    "/oauth-clients",
    summary="Make an OAuth client",
    status_code=201,
    response_model=NewOAuthClient,
    openapi_extra=allow("oauth_client.manage", Scope.ADMIN),
)
async def create_oauth_client(
    *, actor: ActorDep, session: SessionDep, now: NowDep, body: OAuthClientCreate
) -> Response:
    """Make a client for the client credentials grant. Its secret is shown only here.

    A request that is repeated with its Idempotency-Key is answered with `client_secret` null. If
    the first answer was lost, revoke the client by its id and make another one.
    """
    client, secret = await operations.create_client(
        session,
        actor=actor,
        label=body.label,
        scopes=body.scopes,
        client_id=body.id,
        now=now,
    )
    view = present_client(client.model_dump())
    return responses.secret(
        NewOAuthClient(**view, client_secret=secret),
        field="client_secret",
        location=f"/v1/oauth-clients/{view['id']}",
    )


@router.post(
    "/oauth-clients/{oauth_client_id}/revoke",
    summary="Revoke an OAuth client",
    response_model=OAuthClientView,
    openapi_extra=allow("oauth_client.manage", Scope.ADMIN),
)
async def revoke_oauth_client(
    *,
    oauth_client_id: OAuthClientId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    if_match: IfMatchDep = None,
) -> Response:
    """End a client; its tokens are refused from the next request on."""
    client = await operations.revoke(
        session, OAuthClient, actor=actor, row_id=oauth_client_id, if_match=if_match, now=now
    )
    return responses.one(present_client(client.model_dump()), version=client.version)


@router.get(
    "/me/token",
    summary="Read what this credential is",
    response_model=TokenView,
    openapi_extra=allow("me.read"),
)
async def get_my_token(*, actor: ActorDep) -> Response:
    """Return the organization, the holder and the scopes of the credential that asks."""
    return responses.one(
        TokenView(
            organization_id=ids.format_id("organization", actor.organization_id),
            person_id=ids.format_optional("person", actor.person_id),
            client_id=None if actor.client_id is None else ids.encode(actor.client_id),
            scopes=sorted(actor.scopes),
        )
    )
