"""The operator's doors, outside the public API: organizations, ways in, developer sign-in."""

import hmac
from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.api.access import tokens
from services.api.access.roles import Role
from services.api.access.rules import EVERY_SCOPE, ClientKind, Scope, client_name
from services.api.access.tables import OAuthClient
from services.api.credentials import queries as credentials
from services.api.credentials import rules as credential_rules
from services.api.operator import operations, queries
from services.api.operator.schemas import (
    AppRegistered,
    AppRegistration,
    EmailCodesOpened,
    EmailCodesOpening,
    Founded,
    SignedIn,
    SignIn,
)
from services.api.organizations import queries as organizations
from services.api.organizations.schemas import OrganizationCreate
from services.api.resources import Resources
from shared import ids
from shared.errors import ForbiddenError, NotFoundError, UnauthenticatedError
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.settings import Mode
from shared.web import responses

router = APIRouter(prefix="/operator", include_in_schema=False)


def _resources(request: Request) -> Resources:
    """Return what is open, to whoever knows the operator's token."""
    resources: Resources = request.app.state.resources
    expected = resources.settings.operator_token
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if expected is None or scheme.lower() != "bearer":
        raise UnauthenticatedError
    if not hmac.compare_digest(given.encode(), expected.get_secret_value().encode()):
        raise UnauthenticatedError
    return resources


async def _find(resources: Resources, slug: str) -> UUID | None:
    # The list of slugs belongs to no organization; the nil tenant sees nothing else.
    async with transaction(resources.sessions, Tenant(UUID(int=0))) as session:
        return await organizations.find(session, slug=slug)


@router.post("/organizations", response_model=Founded)
async def found_organization(request: Request, body: OrganizationCreate) -> Response:
    """Set up an organization and its first org admin; the same slug again finds it."""
    resources = _resources(request)
    organization_id = body.id or ids.new_id()
    async with transaction(resources.sessions, Tenant(organization_id)) as session:
        admin = await operations.found(
            session,
            organization_id=organization_id,
            wanted=body,
            is_demo=resources.settings.mode is Mode.DEMO,
            now=resources.clock(),
        )
    if admin is None:
        return responses.one(await _founded(resources, body.slug))
    view = _present(organization_id, body.slug, admin)
    return responses.created(view, location="/v1/organization")


async def _founded(resources: Resources, slug: str) -> Founded:
    organization_id = await _find(resources, slug)
    if organization_id is None:
        raise NotFoundError
    async with transaction(resources.sessions, Tenant(organization_id)) as session:
        admin = await queries.find_holder(
            session, organization_id=organization_id, role=Role.ORG_ADMIN
        )
    if admin is None:
        raise NotFoundError
    return _present(organization_id, slug, admin)


def _present(organization_id: UUID, slug: str, admin: UUID) -> Founded:
    return Founded(
        id=ids.format_id("organization", organization_id),
        slug=slug,
        org_admin_person_id=ids.format_id("person", admin),
    )


@router.post("/oauth-clients", response_model=AppRegistered)
async def register_app(request: Request, body: AppRegistration) -> Response:
    """Register an app to sign in at, before anybody can; the same label again finds it."""
    resources = _resources(request)
    organization_id = await _find(resources, body.organization_slug)
    if organization_id is None:
        raise NotFoundError
    values = body.model_dump(exclude={"organization_slug"}, mode="python")
    values |= {"kind": ClientKind.APP, "scopes": credential_rules.texts(body.scopes)}
    async with transaction(resources.sessions, Tenant(organization_id)) as session:
        app, is_new = await operations.register_app(
            session,
            organization_id=organization_id,
            slug=body.organization_slug,
            values=values,
            now=resources.clock(),
        )
        view = _present_app(app)
    if not is_new:
        return responses.one(view)
    return responses.created(view, location=f"/v1/oauth-clients/{view['id']}")


def _present_app(app: OAuthClient) -> AppRegistered:
    return AppRegistered(
        id=ids.format_id("oauth_client", app.id),
        client_id=client_name(app.organization_id, app.id),
        organization_id=ids.format_id("organization", app.organization_id),
        label=app.label,
        scopes=[Scope(scope) for scope in app.scopes],
        redirect_uris=app.redirect_uris,
    )


@router.post("/email-codes", response_model=EmailCodesOpened)
async def open_email_codes(request: Request, body: EmailCodesOpening) -> Response:
    """Let an organization in again that its identity provider keeps out; repeating it is safe."""
    resources = _resources(request)
    organization_id = await _find(resources, body.organization_slug)
    if organization_id is None:
        raise NotFoundError
    async with transaction(resources.sessions, Tenant(organization_id)) as session:
        organization = await operations.open_email_codes(
            session, organization_id=organization_id, now=resources.clock()
        )
        view = EmailCodesOpened(
            id=ids.format_id("organization", organization_id),
            slug=organization.slug,
            email_codes=organization.email_codes,
        )
    return responses.one(view)


@router.post("/sign-ins", response_model=SignedIn)
async def sign_in(request: Request, body: SignIn) -> Response:
    """Return a token of one person, for development; closed unless developer sign-in is on."""
    resources = _resources(request)
    if not resources.settings.dev_login:
        raise ForbiddenError("Developer sign-in is switched off here.")
    organization_id = await _find(resources, body.organization_slug)
    if organization_id is None:
        raise NotFoundError
    return responses.one(await _signed_in(resources, organization_id, body, resources.clock()))


async def _signed_in(
    resources: Resources, organization_id: UUID, body: SignIn, now: datetime
) -> SignedIn:
    async with transaction(resources.sessions, Tenant(organization_id)) as session:
        person_id = body.person_id or await queries.find_holder(
            session, organization_id=organization_id, role=body.role or Role.ORG_ADMIN
        )
        version = person_id and await credentials.subject_version(
            session, organization_id=organization_id, person_id=person_id
        )
    if not person_id or not version:
        raise NotFoundError
    lifetime = tokens.longest_life(resources.settings.mode)
    token = resources.issuer.issue(
        organization_id=organization_id,
        subject=person_id,
        is_person=True,
        access_version=version,
        scopes=EVERY_SCOPE,
        now=now,
        lifetime_seconds=lifetime,
    )
    return SignedIn(
        access_token=token,
        token_type="Bearer",  # noqa: S106 - the kind of token, not one
        expires_in=lifetime,
        organization_id=ids.format_id("organization", organization_id),
        person_id=ids.format_id("person", person_id),
    )
