"""The issuer at the root of the api: metadata, keys, and how tokens are given and ended."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urljoin

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import ClientDisconnect

from services.api.access.assertions import ALGORITHMS
from services.api.access.rules import EVERY_SCOPE
from services.api.access.tokens import LIFETIME_SECONDS
from services.api.dependencies import passage
from services.api.issuer import operations, rules
from services.api.issuer.rules import (
    CHALLENGE_METHOD,
    Client,
    ClientRequest,
    Granted,
    GrantType,
    TokenRefusal,
)
from services.api.issuer.schemas import KeySet, Metadata, TokenAnswer
from services.api.resources import Resources
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.web import responses

CACHE_SECONDS = 600
# Apps keep no secret: they name themselves, and PKCE ties a sign-in to who began it.
AUTH_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")
UNCACHED = {"Cache-Control": "no-store", "Pragma": "no-cache"}
# For the log alone: nobody is there to be answered.
HUNG_UP = 499

router = APIRouter(include_in_schema=False)


@router.get("/.well-known/oauth-authorization-server", response_model=Metadata)
async def get_issuer_metadata(request: Request) -> Response:
    """Return what a client library has to know (RFC 8414)."""
    issuer = _resources(request).settings.issuer
    return _cached(
        Metadata(
            issuer=issuer,
            authorization_endpoint=_address(issuer, "oauth/authorize"),
            token_endpoint=_address(issuer, "oauth/token"),
            revocation_endpoint=_address(issuer, "oauth/revoke"),
            jwks_uri=_address(issuer, ".well-known/jwks.json"),
            scopes_supported=sorted(EVERY_SCOPE),
            response_types_supported=["code"],
            response_modes_supported=["query"],
            grant_types_supported=[*GrantType],
            token_endpoint_auth_methods_supported=[*AUTH_METHODS],
            token_endpoint_auth_signing_alg_values_supported=[*ALGORITHMS],
            revocation_endpoint_auth_methods_supported=[*AUTH_METHODS],
            revocation_endpoint_auth_signing_alg_values_supported=[*ALGORITHMS],
            code_challenge_methods_supported=[CHALLENGE_METHOD],
            authorization_response_iss_parameter_supported=True,
        )
    )


@router.get("/.well-known/jwks.json", response_model=KeySet)
async def get_issuer_keys(request: Request) -> Response:
    """Return the public keys (RFC 7517)."""
    return _cached(KeySet(keys=_resources(request).issuer.jwks()["keys"]))


@router.post("/oauth/token", response_model=TokenAnswer)
async def create_token(request: Request) -> Response:
    """Trade a secret, a code or a refresh token for a token of ten minutes (RFC 6749)."""
    resources = _resources(request)
    try:
        wanted = await _form(request)
    except TokenRefusal as refusal:
        return _refused(refusal)
    # Asked before anything changes: without its keys no answer can be given.
    _ = resources.issuer
    now = resources.clock()
    try:
        async with _working(request, wanted) as session:
            outcome = await operations.answer(
                session, wanted, audiences=_audiences(resources), now=now
            )
            await _require_listener(request, wanted)
    except ClientDisconnect:
        return Response(status_code=HUNG_UP)
    if isinstance(outcome, TokenRefusal):
        return _refused(outcome)
    await _note_use(resources, outcome.client)
    return _issued(resources, outcome)


@router.post("/oauth/revoke")
async def revoke_token(request: Request) -> Response:
    """End the sign-in a refresh token belongs to (RFC 7009)."""
    resources = _resources(request)
    try:
        wanted = await _form(request)
    except TokenRefusal as refusal:
        return _refused(refusal)
    async with _working(request, wanted) as session:
        refusal_or_none = await operations.end_sign_in(
            session, wanted, audiences=_audiences(resources), now=resources.clock()
        )
    if refusal_or_none is not None:
        return _refused(refusal_or_none)
    return Response(status_code=200, headers=UNCACHED)


@asynccontextmanager
async def _working(request: Request, wanted: ClientRequest) -> AsyncIterator[AsyncSession]:
    """Open a transaction of the organization, in turn: until it is over, anybody may have asked."""
    resources = _resources(request)
    async with (
        passage(request, resources.token_lane),
        transaction(resources.sessions, Tenant(wanted.organization_id)) as session,
    ):
        yield session


async def _form(request: Request) -> ClientRequest:
    return rules.parse_form(
        media_type=request.headers.get("Content-Type", ""),
        body=await request.body(),
        authorization=request.headers.get("Authorization"),
    )


async def _require_listener(request: Request, wanted: ClientRequest) -> None:
    """Take back a refresh whose phone has hung up: it asks again, and hears that answer alone.

    Requests wait in one queue while the service starts anew. Of two with one token, the one that
    nobody listens to may come last, and would end the token that the phone was given.
    """
    is_refresh = wanted.fields.get("grant_type") == GrantType.REFRESH_TOKEN
    if is_refresh and await request.is_disconnected():
        raise ClientDisconnect


async def _note_use(resources: Resources, client: Client) -> None:
    # In a transaction of its own: everybody signed in at an app would wait for its row otherwise.
    if client.is_use_due or client.first_used is not None:
        async with transaction(resources.sessions, Tenant(client.organization_id)) as session:
            await operations.note_use(session, client, now=resources.clock())


def _issued(resources: Resources, granted: Granted) -> Response:
    client = granted.client
    token = resources.issuer.issue(
        organization_id=client.organization_id,
        subject=granted.subject,
        is_person=granted.is_person,
        access_version=granted.access_version,
        scopes=granted.scopes,
        client_id=client.id if granted.is_person else None,
        auth_time=granted.auth_time,
        now=resources.clock(),
    )
    answer = TokenAnswer(
        access_token=token,
        token_type="Bearer",  # noqa: S106 - the kind of token, not one
        expires_in=LIFETIME_SECONDS,
        scope=" ".join(sorted(granted.scopes)),
    )
    if granted.refresh_token is not None:
        answer["refresh_token"] = granted.refresh_token
    response = responses.one(answer)
    response.headers.update(UNCACHED)
    return response


def _audiences(resources: Resources) -> tuple[str, str]:
    issuer = resources.settings.issuer
    return issuer, _address(issuer, "oauth/token")


def _address(issuer: str, path: str) -> str:
    return urljoin(issuer.rstrip("/") + "/", path)


def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


def _cached(content: object) -> Response:
    response = responses.one(content)
    response.headers["Cache-Control"] = f"public, max-age={CACHE_SECONDS}"
    return response


def _refused(refusal: TokenRefusal) -> Response:
    """Answer as RFC 6749 section 5.2 wants it, which is no problem document."""
    headers = dict(UNCACHED)
    is_unknown = refusal.error == "invalid_client"
    if is_unknown:
        headers["WWW-Authenticate"] = 'Basic realm="mentoring", charset="UTF-8"'
    return Response(
        to_json({"error": refusal.error, "error_description": refusal.description}),
        status_code=401 if is_unknown else 400,
        media_type=responses.JSON,
        headers=headers,
    )
