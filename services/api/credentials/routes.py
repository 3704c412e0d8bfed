"""Role grants, API keys, OAuth clients, and what the present credential is."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, Path, Query, Request, Response

from services.api.access.rules import KeyText, Scope, client_name
from services.api.access.tables import ApiKey, OAuthClient, RoleAssignment
from services.api.credentials import operations, queries, rules
from services.api.credentials.schemas import (
    ApiKeyCreate,
    ApiKeyPage,
    ApiKeyPatch,
    ApiKeyRotation,
    ApiKeyView,
    CredentialKind,
    Jwks,
    NewApiKey,
    NewOAuthClient,
    OAuthClientCreate,
    OAuthClientPage,
    OAuthClientPatch,
    OAuthClientRotation,
    OAuthClientView,
    RoleAssignmentCreate,
    RoleAssignmentPage,
    RoleAssignmentQuery,
    RoleAssignmentView,
    TokenFacts,
    TokenLimits,
    TokenView,
)
from services.api.dependencies import (
    ActorDep,
    Credential,
    CredentialDep,
    IfMatchDep,
    NowDep,
    ReaderDep,
    ResourcesDep,
    SessionDep,
    allow,
    cursors,
    door,
    next_link,
)
from services.api.organizations import queries as organizations
from shared import ids
from shared.persistence.reads import Reader
from shared.schemas.base import Id
from shared.settings import Mode
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
        rotated_from=ids.format_optional("api_key", row["rotated_from"]),
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
    )


def present_client(row: Mapping[str, Any]) -> OAuthClientView:
    """Show a client without its secrets."""
    return OAuthClientView(
        id=ids.format_id("oauth_client", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        label=row["label"],
        kind=row["kind"],
        client_id=client_name(row["organization_id"], row["id"]),
        last_four=row["last_four"],
        previous_secret_expires_at=row["previous_secret_expires_at"],
        jwks=row["jwks"],
        redirect_uris=row["redirect_uris"],
        scopes=row["scopes"],
        created_by=ids.format_optional("person", row["created_by"]),
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
    )


def _new_key(key: ApiKey, text: str) -> Response:
    view = present_key(key.model_dump())
    return responses.secret(
        NewApiKey(**view, key=text),
        field="key",
        version=key.version,
        location=f"/v1/api-keys/{view['id']}",
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
    *, actor: ActorDep, session: SessionDep, resources: ResourcesDep, body: ApiKeyCreate
) -> Response:
    """Make a key for a machine. Its secret is in this answer and nowhere else.

    A request that is repeated with its Idempotency-Key is answered with `key` null. If the first
    answer was lost, revoke the key by its id and make another one.

    The key ends when you leave or run the organization no more; the other org admins are told.
    """
    key, text = await operations.create_key(
        session,
        actor=actor,
        label=body.label,
        scopes=body.scopes,
        expires_at=body.expires_at,
        key_id=body.id,
        now=resources.clock(),
    )
    return _new_key(key, text)


@router.get(
    "/api-keys/{api_key_id}",
    summary="Read an API key",
    response_model=ApiKeyView,
    openapi_extra=allow("api_key.manage", Scope.ADMIN),
)
async def get_api_key(*, api_key_id: ApiKeyId, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return a key without its secret, and when it was last used."""
    row = await queries.get(
        reader, ApiKey, organization_id=actor.organization_id, row_id=api_key_id
    )
    return responses.one(present_key(row), version=row["version"])


@router.patch(
    "/api-keys/{api_key_id}",
    summary="Rename an API key",
    response_model=ApiKeyView,
    openapi_extra=allow("api_key.manage", Scope.ADMIN),
)
async def change_api_key(
    *,
    api_key_id: ApiKeyId,
    actor: ActorDep,
    session: SessionDep,
    resources: ResourcesDep,
    body: Annotated[ApiKeyPatch, Body(media_type="application/merge-patch+json")],
    if_match: IfMatchDep = None,
) -> Response:
    """Change what a key is called. What it may do never changes: make another key for that."""
    key = await operations.change(
        session,
        ApiKey,
        actor=actor,
        row_id=api_key_id,
        changes=body.sent(),
        if_match=if_match,
        now=resources.clock(),
    )
    return responses.one(present_key(key.model_dump()), version=key.version)


@router.post(
    "/api-keys/{api_key_id}/rotate",
    summary="Rotate an API key",
    status_code=201,
    response_model=NewApiKey,
    openapi_extra=allow("api_key.manage", Scope.ADMIN),
)
async def rotate_api_key(
    *,
    api_key_id: ApiKeyId,
    actor: ActorDep,
    session: SessionDep,
    resources: ResourcesDep,
    body: ApiKeyRotation,
    if_match: IfMatchDep = None,
) -> Response:
    """Make a second key that takes over: same label and scopes, and as long to live.

    Both work until the grace is over, so that the new one can be brought everywhere first. Two
    are live at most: where the key itself had taken over from another, that one ends now. The
    secret is shown once; if this answer was lost, revoke the new key and rotate again.
    """
    key, text = await operations.rotate_key(
        session,
        actor=actor,
        key_id=api_key_id,
        grace_hours=body.grace_hours,
        new_id=body.id,
        if_match=if_match,
        now=resources.clock(),
    )
    return _new_key(key, text)


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
    resources: ResourcesDep,
    if_match: IfMatchDep = None,
) -> Response:
    """End a key; its next request is refused."""
    key = await operations.revoke(
        session,
        ApiKey,
        actor=actor,
        row_id=api_key_id,
        if_match=if_match,
        now=resources.clock(),
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
    """Return services and apps, oldest first, without their secrets."""
    return await _page(request, actor, reader, query, OAuthClient, present_client)


@router.post(
    "/oauth-clients",
    summary="Make an OAuth client",
    status_code=201,
    response_model=NewOAuthClient,
    openapi_extra=allow("oauth_client.manage", Scope.ADMIN),
)
async def create_oauth_client(
    *, actor: ActorDep, session: SessionDep, resources: ResourcesDep, body: OAuthClientCreate
) -> Response:
    """Make a service, which acts for itself, or an app, which people sign in at.

    A service trades its secret, or what it signs, for tokens of ten minutes at `/oauth/token`. Its
    secret is shown only here; a request that is repeated with its Idempotency-Key is answered with
    `client_secret` null. If the first answer was lost, rotate the client. An app has no secret.

    A service ends when you leave or run the organization no more; the other org admins are told.
    """
    values = body.model_dump(exclude={"id", "jwks"}, mode="python")
    values |= {"scopes": rules.texts(body.scopes), "jwks": _stored(body.jwks)}
    client, secret = await operations.create_client(
        session, actor=actor, values=values, client_id=body.id, now=resources.clock()
    )
    view = present_client(client.model_dump())
    return responses.secret(
        NewOAuthClient(**view, client_secret=secret),
        field="client_secret",
        version=client.version,
        location=f"/v1/oauth-clients/{view['id']}",
    )


@router.get(
    "/oauth-clients/{oauth_client_id}",
    summary="Read an OAuth client",
    response_model=OAuthClientView,
    openapi_extra=allow("oauth_client.manage", Scope.ADMIN),
)
async def get_oauth_client(
    *, oauth_client_id: OAuthClientId, actor: ActorDep, reader: ReaderDep
) -> Response:
    """Return a client without its secrets."""
    row = await queries.get(
        reader, OAuthClient, organization_id=actor.organization_id, row_id=oauth_client_id
    )
    return responses.one(present_client(row), version=row["version"])


@router.patch(
    "/oauth-clients/{oauth_client_id}",
    summary="Change an OAuth client",
    response_model=OAuthClientView,
    openapi_extra=allow("oauth_client.manage", Scope.ADMIN),
)
async def change_oauth_client(
    *,
    oauth_client_id: OAuthClientId,
    actor: ActorDep,
    session: SessionDep,
    resources: ResourcesDep,
    body: Annotated[OAuthClientPatch, Body(media_type="application/merge-patch+json")],
    if_match: IfMatchDep = None,
) -> Response:
    """Change what a client is called, may do, and how it shows who it is.

    A scope that is taken away is gone from every token of the client, and from people's tokens at
    the app, on their next request. A scope that is added comes with the next token.
    """
    changes = body.sent()
    if "scopes" in changes:
        changes["scopes"] = rules.texts(body.scopes)
    if "jwks" in changes:
        changes["jwks"] = _stored(body.jwks)
    client = await operations.change(
        session,
        OAuthClient,
        actor=actor,
        row_id=oauth_client_id,
        changes=changes,
        if_match=if_match,
        now=resources.clock(),
    )
    return responses.one(present_client(client.model_dump()), version=client.version)


@router.post(
    "/oauth-clients/{oauth_client_id}/rotate",
    summary="Give an OAuth client a new secret",
    response_model=NewOAuthClient,
    openapi_extra=allow("oauth_client.manage", Scope.ADMIN),
)
async def rotate_oauth_client(
    *,
    oauth_client_id: OAuthClientId,
    actor: ActorDep,
    session: SessionDep,
    resources: ResourcesDep,
    body: OAuthClientRotation,
    if_match: IfMatchDep = None,
) -> Response:
    """Give a service a new secret, shown only here; the one before works until the grace is over.

    Two are live at most: rotating again within the grace ends the oldest. If this answer was lost,
    rotate again. A service that signs gets a secret besides.

    The service is yours from then on: it ends when you leave or run the organization no more.
    """
    client, secret = await operations.rotate_client(
        session,
        actor=actor,
        client_id=oauth_client_id,
        grace_hours=body.grace_hours,
        if_match=if_match,
        now=resources.clock(),
    )
    return responses.secret(
        NewOAuthClient(**present_client(client.model_dump()), client_secret=secret),
        field="client_secret",
        version=client.version,
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
    resources: ResourcesDep,
    if_match: IfMatchDep = None,
) -> Response:
    """End a client with every secret and key; all its tokens are refused from now on.

    For an app these are the tokens of everybody who signed in at it.
    """
    client = await operations.revoke(
        session,
        OAuthClient,
        actor=actor,
        row_id=oauth_client_id,
        if_match=if_match,
        now=resources.clock(),
    )
    return responses.one(present_client(client.model_dump()), version=client.version)


@router.get(
    "/me/token",
    summary="Read what this credential is",
    response_model=TokenView,
    openapi_extra=allow("me.read"),
)
async def get_my_token(
    *, actor: ActorDep, credential: CredentialDep, reader: ReaderDep, resources: ResourcesDep
) -> Response:
    """Return who asks, for which organization, what the credential may do, and how long.

    Any credential may ask, whatever its scopes: start here when a request is refused.
    """
    organization = await organizations.get(reader, organization_id=actor.organization_id)
    settings = resources.settings
    return responses.one(
        TokenView(
            **await _facts(reader, credential),
            organization_id=ids.format_id("organization", actor.organization_id),
            organization_name=organization["name"],
            organization_slug=organization["slug"],
            environment=organization["kind"],
            is_demo=settings.mode is Mode.DEMO,
            connection_id=None,
            scopes=sorted(actor.scopes),
            limits=TokenLimits(
                requests_per_minute=settings.rate_limit,
                organization_requests_per_minute=settings.organization_rate_limit,
            ),
        )
    )


async def _facts(reader: Reader, credential: Credential) -> TokenFacts:
    if isinstance(credential, KeyText):
        return await _facts_of_key(reader, credential)
    client_id, is_person = credential.client_id, credential.is_person
    name = label = None
    if client_id is not None:
        name = client_name(credential.organization_id, client_id)
        client = await queries.get(
            reader, OAuthClient, organization_id=credential.organization_id, row_id=client_id
        )
        label = client["label"]
    return TokenFacts(
        kind=CredentialKind.PERSON_TOKEN if is_person else CredentialKind.CLIENT_TOKEN,
        person_id=ids.format_id("person", credential.subject) if is_person else None,
        client_id=name,
        api_key_id=None,
        label=label,
        issued_at=datetime.fromtimestamp(credential.issued_at, UTC),
        expires_at=datetime.fromtimestamp(credential.expires_at, UTC),
        authenticated_at=datetime.fromtimestamp(credential.auth_time, UTC) if is_person else None,
    )


async def _facts_of_key(reader: Reader, key: KeyText) -> TokenFacts:
    row = await queries.get(reader, ApiKey, organization_id=key.organization_id, row_id=key.key_id)
    return TokenFacts(
        kind=CredentialKind.API_KEY,
        person_id=None,
        client_id=None,
        api_key_id=ids.format_id("api_key", key.key_id),
        label=row["label"],
        issued_at=row["created_at"],
        expires_at=row["expires_at"],
        authenticated_at=None,
    )


def _stored(jwks: Jwks | None) -> dict[str, Any] | None:
    return None if jwks is None else jwks.stored()
