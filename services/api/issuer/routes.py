"""The issuer at the root of the api: metadata, keys and the token endpoint."""

from urllib.parse import urljoin

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from services.api.access.rules import SERVICE_SCOPES
from services.api.access.tokens import LIFETIME_SECONDS
from services.api.issuer import operations, rules
from services.api.issuer.rules import TokenRefusal, TokenRequest
from services.api.issuer.schemas import KeySet, Metadata, TokenAnswer
from services.api.resources import Resources
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.web import responses

CACHE_SECONDS = 600
AUTH_METHODS = ("client_secret_basic", "client_secret_post")
UNCACHED = {"Cache-Control": "no-store", "Pragma": "no-cache"}

router = APIRouter(include_in_schema=False)


@router.get("/.well-known/oauth-authorization-server", response_model=Metadata)
async def get_issuer_metadata(request: Request) -> Response:
    """Return what a client library has to know (RFC 8414)."""
    issuer = _resources(request).settings.issuer
    root = issuer.rstrip("/") + "/"
    return _cached(
        Metadata(
            issuer=issuer,
            token_endpoint=urljoin(root, "oauth/token"),
            jwks_uri=urljoin(root, ".well-known/jwks.json"),
            grant_types_supported=[rules.GRANT_TYPE],
            response_types_supported=[],
            token_endpoint_auth_methods_supported=[*AUTH_METHODS],
            scopes_supported=sorted(SERVICE_SCOPES),
        )
    )


@router.get("/.well-known/jwks.json", response_model=KeySet)
async def get_issuer_keys(request: Request) -> Response:
    """Return the public keys (RFC 7517)."""
    return _cached(KeySet(keys=_resources(request).issuer.jwks()["keys"]))


@router.post("/oauth/token", response_model=TokenAnswer)
async def create_token(request: Request) -> Response:
    """Trade a client's secret for a token of ten minutes (RFC 6749, section 4.4)."""
    resources = _resources(request)
    authorization = request.headers.get("Authorization")
    try:
        wanted = rules.parse_request(
            media_type=request.headers.get("Content-Type", ""),
            body=await request.body(),
            authorization=authorization,
        )
        return await _issued(resources, wanted)
    except TokenRefusal as refusal:
        return _refused(refusal)


async def _issued(resources: Resources, wanted: TokenRequest) -> Response:
    issuer, now = resources.issuer, resources.clock()
    async with transaction(resources.sessions, Tenant(wanted.organization_id)) as session:
        scopes = await operations.authorise(session, wanted, now=now)
    token = issuer.issue(
        organization_id=wanted.organization_id,
        subject=wanted.client_id,
        is_person=False,
        access_version=1,
        scopes=scopes,
        now=now,
    )
    answer = TokenAnswer(
        access_token=token,
        token_type="Bearer",  # noqa: S106 - the kind of token, not one
        expires_in=LIFETIME_SECONDS,
        scope=" ".join(sorted(scopes)),
    )
    response = responses.one(answer)
    response.headers.update(UNCACHED)
    return response


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
