"""The way to the organization's own identity provider and back, and which accounts came of it.

The way lies at the root; what came of it is read and removed behind the door, like all of `/v1`.
No transaction is open while the provider is asked: what the answer is held against is taken out
and committed before, so an answer counts once, and whom it means is settled after.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated, Any
from urllib.parse import parse_qsl
from uuid import UUID

import structlog
from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access.rules import CredentialText, Scope
from services.api.clients.identity_providers import (
    Login,
    Provider,
    ProviderError,
    Redeemed,
    authorization_url,
)
from services.api.dependencies import (
    ActorDep,
    IfMatchDep,
    NowDep,
    ReaderDep,
    ResourcesDep,
    SessionDep,
    admit_stranger,
    allow,
    door,
    id_page,
    passage,
)
from services.api.integrations.connections.rules import redirect_uri
from services.api.issuer.rules import FORM, MAX_FIELDS, TokenRefusal, single
from services.api.people.schemas import PersonId
from services.api.resources import Resources
from services.api.sign_in.requests import operations as requests
from services.api.sign_in.requests import rules as cookies
from services.api.sign_in.requests.rules import FIRST_PAGE, Held, Notice
from services.api.sign_in.upstream import operations, queries, rules
from services.api.sign_in.upstream.operations import Visit
from services.api.sign_in.upstream.rules import Claims, Expected, IdTokenError, Linked
from services.api.sign_in.upstream.schemas import IdentityLinkPage, IdentityLinkView
from shared import ids
from shared.errors import LimitedError, UnavailableError
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.schemas.base import Id
from shared.web import responses
from shared.web.pagination import Page

FORM_TOKEN = "form_token"  # noqa: S105 - the name of a field
ALWAYS: Mapping[str, str] = MappingProxyType(
    {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
)

router = APIRouter(include_in_schema=False)
links_router = door("people")
logger = structlog.get_logger()

IdentityLinkId = Annotated[UUID, Id("identity_link"), Path()]


def present_link(row: Mapping[str, Any]) -> IdentityLinkView:
    """Show an account that signs a person in."""
    return IdentityLinkView(
        id=ids.format_id("identity_link", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        person_id=ids.format_id("person", row["person_id"]),
        connection_id=ids.format_id("connection", row["connection_id"]),
        issuer=row["issuer"],
        subject=row["subject"],
        last_used_at=row["last_used_at"],
    )


@links_router.get(
    "/people/{person_id}/identity-links",
    summary="List a person's accounts at identity providers",
    response_model=IdentityLinkPage,
    openapi_extra=allow("identity_link.manage", Scope.ADMIN),
)
async def list_identity_links(
    *,
    request: Request,
    person_id: PersonId,
    actor: ActorDep,
    reader: ReaderDep,
    query: Annotated[Page, Query()],
) -> Response:
    """Return which accounts sign the person in, oldest first, each as its provider names it."""
    return await id_page(
        request,
        query,
        lambda after, limit: queries.list_links(
            reader,
            organization_id=actor.organization_id,
            person_id=person_id,
            after=after,
            limit=limit,
        ),
        present_link,
    )


@links_router.delete(
    "/people/{person_id}/identity-links/{identity_link_id}",
    summary="Remove an account at an identity provider",
    status_code=204,
    response_class=Response,
    openapi_extra=allow("identity_link.manage", Scope.ADMIN),
)
async def remove_identity_link(
    *,
    person_id: PersonId,
    identity_link_id: IdentityLinkId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    resources: ResourcesDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Take an account away from a person, such as one that was linked to the wrong one.

    Every token and sign-in of the person ends. The account is not barred: its next sign-in is
    matched anew, and links it to whom the provider's claims then mean. Correct those first; to
    keep the account out for good, block it at the provider or deactivate the person.
    """
    await operations.remove_link(
        session,
        actor=actor,
        person_id=person_id,
        link_id=identity_link_id,
        if_match=if_match,
        now=now,
        real_now=resources.clock(),
    )
    return responses.no_content()


@router.post("/oauth/upstream/{connection_id}")
async def leave_for_provider(request: Request, connection_id: str) -> Response:
    """Send the browser to the provider, from a form of the sign-in page only."""
    form = _single(request.headers.get("Content-Type", ""), await request.body())
    held = cookies.held_by_form(_cookie(request), form.get(FORM_TOKEN, ""))
    if held is None:
        return _sent_on(FIRST_PAGE)
    try:
        admit_stranger(request, _resources(request).strangers)
        visit = await _sent_off(request, held, connection_id)
    except (LimitedError, UnavailableError):
        return _back(held, Notice.BUSY)
    held = Held(held.entry)
    if visit is None:
        return _back(held, Notice.PROVIDER_FAILED)
    resources = _resources(request)
    try:
        provider = await resources.identity_providers.discover(visit.issuer)
    except ProviderError as error:
        return _failed(held, visit, error.code)
    return _sent_on(authorization_url(provider, _login(resources, visit)))


@asynccontextmanager
async def _working(request: Request, entry: CredentialText) -> AsyncIterator[AsyncSession]:
    """Open a transaction of the organization, in turn: whose browser it is is still to be asked."""
    resources = _resources(request)
    async with (
        passage(request, resources.sign_in_lane),
        transaction(resources.sessions, Tenant(entry.organization_id)) as session,
    ):
        yield session


async def _sent_off(request: Request, held: Held, named: str) -> Visit | None:
    resources, now = _resources(request), _resources(request).clock()
    async with _working(request, held.entry) as session:
        if held.sealed:
            await requests.keep(session, held, seal=resources.sign_in_seal, now=now)
        sign_in = await requests.load(session, cookie=str(held.entry), now=now)
        connection_id = _connection(named)
        if sign_in is None or connection_id is None:
            return None
        return await operations.send_off(
            session, sign_in, connection_id=connection_id, sealing_key=_sealing_key(resources)
        )


def _connection(named: str) -> UUID | None:
    try:
        return ids.parse_id("connection", named)
    except ValueError:
        return None


@router.get("/oauth/callback")
async def return_from_provider(request: Request) -> Response:
    """Take the provider's answer, and send the browser on to the app with a code of our own."""
    answer = _answer(request)
    state = answer.get("state", "")
    sign_in_id = rules.sign_in_of(state)
    entry = None if sign_in_id is None else cookies.entry_of(_cookie(request), sign_in_id)
    if entry is None:
        return _sent_on(FIRST_PAGE)
    held = Held(entry)
    try:
        visit = await _taken_back(request, entry, state)
    except UnavailableError:
        return _back(held, Notice.BUSY)
    if visit is None:
        return _back(held, Notice.PROVIDER_FAILED)
    try:
        claims = await _claims(_resources(request), visit, answer)
    except (ProviderError, IdTokenError) as error:
        return _failed(held, visit, error.code)
    if claims is None:
        return _back(held, Notice.PROVIDER_REFUSED)
    return await _signed_in(request, held, visit, claims)


async def _taken_back(request: Request, entry: CredentialText, state: str) -> Visit | None:
    resources = _resources(request)
    async with _working(request, entry) as session:
        sign_in = await requests.load(session, cookie=str(entry), now=resources.clock())
        if sign_in is None:
            return None
        return await operations.take_back(
            session, sign_in, state=state, sealing_key=_sealing_key(resources)
        )


async def _claims(resources: Resources, visit: Visit, answer: Mapping[str, str]) -> Claims | None:
    """Return what the provider says of somebody; None if it, or they, said no."""
    providers = resources.identity_providers
    provider = await providers.discover(visit.issuer)
    named = answer.get("iss")
    if not rules.is_of_issuer(named, visit.issuer, names_itself=provider.names_itself):
        raise IdTokenError("mixed_up")
    if "error" in answer:
        return None
    if not answer.get("code"):
        raise IdTokenError("no_code")
    redeemed = await providers.redeem(
        provider, _login(resources, visit), code=answer["code"], secret=visit.secret
    )
    return await _believed(resources, provider, visit, redeemed)


async def _believed(
    resources: Resources, provider: Provider, visit: Visit, redeemed: Redeemed
) -> Claims:
    kid = rules.key_name(redeemed.id_token)
    key = await resources.identity_providers.key(provider, kid=kid)
    return rules.verify(
        redeemed.id_token,
        key=key.key,
        algorithm=key.algorithm,
        expected=Expected(visit.issuer, visit.client_id, visit.nonce, redeemed.access_token),
        now=resources.clock(),
    )


async def _signed_in(request: Request, held: Held, visit: Visit, claims: Claims) -> Response:
    resources, entry = _resources(request), held.entry
    now = resources.clock()
    async with transaction(resources.sessions, Tenant(entry.organization_id)) as session:
        sign_in = await requests.load(session, cookie=str(entry), now=now)
        # Asked again: while the provider was busy, an org_admin may have shut this way in.
        connection = await queries.active_provider(
            session, organization_id=entry.organization_id, connection_id=visit.connection_id
        )
        if sign_in is None or connection is None or connection.issuer != visit.issuer:
            return _back(held, Notice.PROVIDER_FAILED)
        found = await operations.person_of(session, connection=connection, claims=claims, now=now)
        if not isinstance(found, Linked):
            logger.info("not_provisioned", obstacle=found.obstacle)
            return _back(held, Notice.NOT_PROVISIONED)
        location = await requests.finish(
            session,
            sign_in,
            person_id=found.person_id,
            issuer_name=resources.settings.issuer,
            auth_time=claims.authenticated_at(now),
            now=now,
        )
    return _over(request, entry.id, location)


def _login(resources: Resources, visit: Visit) -> Login:
    return Login(
        client_id=visit.client_id,
        redirect_uri=redirect_uri(resources.settings.issuer),
        scopes=visit.scopes,
        state=visit.state,
        nonce=visit.nonce,
        verifier=visit.verifier,
    )


def _failed(held: Held, visit: Visit, code: str) -> Response:
    logger.warning(
        "upstream_sign_in_failed",
        code=code,
        connection_id=ids.format_id("connection", visit.connection_id),
    )
    return _back(held, Notice.PROVIDER_FAILED)


def _back(held: Held, notice: Notice) -> Response:
    return _sent_on(cookies.page(FIRST_PAGE, held, notice))


def _over(request: Request, sign_in_id: UUID, location: str) -> Response:
    response = _sent_on(location)
    rest = cookies.without_entry(_cookie(request), sign_in_id)
    response.set_cookie(
        cookies.COOKIE,
        rest,
        max_age=int(cookies.LIFETIME.total_seconds()) if rest else 0,
        path="/",
        secure=True,
        httponly=True,
        samesite="lax",
    )
    return response


def _sent_on(location: str) -> Response:
    return Response(status_code=HTTPStatus.SEE_OTHER, headers={**ALWAYS, "Location": location})


def _answer(request: Request) -> Mapping[str, str]:
    return _fields(request.url.query)


def _single(media_type: str, body: bytes) -> Mapping[str, str]:
    if media_type.partition(";")[0].strip().lower() != FORM:
        return {}
    try:
        return _fields(body.decode())
    except ValueError:
        return {}


def _fields(text: str) -> Mapping[str, str]:
    """Return the parameters, each of which comes once; otherwise there are none."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
        return single(pairs)
    except (ValueError, TokenRefusal):
        return {}


def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


def _sealing_key(resources: Resources) -> str:
    return resources.settings.key_encryption_key.get_secret_value()


def _cookie(request: Request) -> str | None:
    return request.cookies.get(cookies.COOKIE)
