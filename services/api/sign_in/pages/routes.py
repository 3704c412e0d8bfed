"""The authorize step and the pages behind it: HTML at the root, for people in a browser."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access.rules import CredentialText
from services.api.dependencies import admit_stranger, admit_to_organization, passage
from services.api.resources import Resources
from services.api.sign_in.pages import operations, queries, rules, schemas
from services.api.sign_in.pages.operations import Answered, Begun
from services.api.sign_in.pages.queries import Surroundings
from services.api.sign_in.pages.rules import Problem
from services.api.sign_in.pages.schemas import Provider, Scene
from services.api.sign_in.requests import operations as requests
from services.api.sign_in.requests import rules as cookies
from services.api.sign_in.requests.operations import Wanted
from services.api.sign_in.requests.rules import (
    CODE_PAGE,
    FIRST_PAGE,
    REPEATED_WITHIN,
    Held,
    Notice,
)
from services.api.sign_in.requests.tables import SignIn
from shared import ids, words
from shared.errors import LimitedError, UnavailableError
from shared.persistence.reads import SessionReader, read_transaction
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.schemas.base import Email
from shared.web.problems import is_database_away, sqlstate_of

HTML = "text/html"
AUTHORIZE = "/oauth/authorize"
ALWAYS: Mapping[str, str] = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
)
_ADDRESS: TypeAdapter[str] = TypeAdapter(Email)

type Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route for people: what hinders everybody for a moment is a page too."""

    def get_route_handler(self) -> Handler:
        """Wrap the handler FastAPI made."""
        handler = super().get_route_handler()

        async def serve(request: Request) -> Response:
            try:
                resources = _resources(request)
                if request.method == "POST":
                    admit_stranger(request, resources.strangers)
                elif request.url.path == AUTHORIZE:
                    admit_stranger(request, resources.begun_sign_ins)
                async with passage(request, resources.sign_in_lane):
                    return await handler(request)
            except LimitedError as error:
                return _problem(request, Problem.LIMITED, 429, error.headers)
            except UnavailableError:
                return _unavailable(request)
            except Exception as error:
                if not is_database_away(error, sqlstate_of(error)):
                    raise
                return _unavailable(request)

        return serve


router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(AUTHORIZE)
async def show_sign_in(request: Request) -> Response:
    """Begin a sign-in for an app (RFC 6749, section 4.1.1) and ask who somebody is."""
    asked = rules.asked(request.query_params.multi_items())
    if asked is None:
        return _problem(request, Problem.UNKNOWN_APP)
    resources = _resources(request)
    async with read_transaction(resources.reads, Tenant(asked.organization_id)) as reader:
        outcome = await operations.begin(
            reader,
            asked,
            languages=_languages(request),
            issuer_name=resources.settings.issuer,
        )
    if isinstance(outcome, Answered):
        return _sent_on(outcome.location)
    if not isinstance(outcome, Begun):
        return _problem(request, Problem.UNKNOWN_APP)
    held = requests.begin(outcome.wanted, seal=resources.sign_in_seal, now=resources.clock())
    shown = _Shown(request, held, outcome.wanted, outcome.where)
    response = shown.page(schemas.first_page(shown.scene()))
    _hold(response, cookies.with_entry(_cookie(request), held.entry))
    return response


@router.get(FIRST_PAGE)
async def show_first_page(request: Request) -> Response:
    """Ask again who somebody is, perhaps with a word on what happened."""
    notice = _notice(request.query_params.get("notice"))

    async def show(_session: AsyncSession, sign_in: SignIn, shown: "_Shown") -> Response:
        typed = sign_in.address or ""
        return shown.page(schemas.first_page(shown.scene(), notice=notice, address=typed))

    return await _at(request, _of_address(request), show)


@router.get(CODE_PAGE)
async def show_code_page(request: Request) -> Response:
    """Ask for the code that was sent."""

    async def show(_session: AsyncSession, sign_in: SignIn, shown: "_Shown") -> Response:
        if not shown.where.takes_email_codes:
            return shown.without_codes()
        if sign_in.address is None:
            return shown.sent_to(FIRST_PAGE)
        return shown.page(schemas.code_page(shown.scene(), address=sign_in.address))

    return await _at(request, _of_address(request), show)


@router.post("/oauth/sign-in/email")
async def send_sign_in_code(request: Request) -> Response:
    """Send a code to the address that was typed; whether it is somebody's is not told."""
    form = await _form(request)
    resources = _resources(request)

    async def send(session: AsyncSession, sign_in: SignIn, shown: "_Shown") -> Response:
        if not shown.where.takes_email_codes:
            return shown.without_codes()
        typed = form.get("email", "")
        address = _address(typed)
        if address is None:
            page = schemas.first_page(shown.scene(), address=typed, is_wrong=True)
            return shown.page(page, HTTPStatus.BAD_REQUEST)
        # Only now: a form of no sign-in uses up its own network's share, and not everybody's.
        admit_to_organization(resources.code_requests, sign_in.organization_id)
        hindrance = await operations.send_code(
            session,
            sign_in,
            address=address,
            pepper=resources.pepper,
            limit=resources.settings.sign_in_organization_rate_limit,
            now=resources.clock(),
        )
        if hindrance is Notice.CODES_OFF:
            return shown.without_codes()
        if hindrance is not None:
            page = schemas.first_page(shown.scene(), notice=hindrance, address=address)
            return shown.page(page, HTTPStatus.TOO_MANY_REQUESTS)
        # Behind a redirect, so that loading the page again sends no second mail.
        return shown.sent_to(CODE_PAGE)

    return await _at(request, _of_form(request, form), send)


@router.post("/oauth/sign-in/code")
async def check_sign_in_code(request: Request) -> Response:
    """Sign in with the code that was typed and lead back to the app."""
    form = await _form(request)
    resources = _resources(request)

    async def check(session: AsyncSession, sign_in: SignIn, shown: "_Shown") -> Response:
        if not shown.where.takes_email_codes:
            return shown.without_codes()
        address = sign_in.address or ""
        outcome = await operations.try_code(
            session,
            sign_in,
            typed=form.get("code", ""),
            admit=partial(admit_to_organization, resources.code_answers, sign_in.organization_id),
            pepper=resources.pepper,
            issuer_name=resources.settings.issuer,
            now=resources.clock(),
        )
        if isinstance(outcome, Answered):
            return shown.over(outcome.location)
        if isinstance(outcome, Notice):
            return shown.sent_to(FIRST_PAGE, outcome)
        page = schemas.code_page(shown.scene(), address=address, mistake=outcome)
        return shown.page(page, HTTPStatus.BAD_REQUEST)

    async def again(session: AsyncSession, sign_in: SignIn) -> str | None:
        outcome = await operations.answer_again(
            session,
            sign_in,
            typed=form.get("code", ""),
            pepper=resources.pepper,
            issuer_name=resources.settings.issuer,
            now=resources.clock(),
        )
        return outcome.location if outcome else None

    return await _at(request, _of_form(request, form), check, again)


@router.post("/oauth/sign-in/cancel")
async def cancel_sign_in(request: Request) -> Response:
    """Lead back to the app without signing in."""
    form = await _form(request)
    resources = _resources(request)

    async def leave(_session: AsyncSession, sign_in: SignIn) -> str:
        return await requests.cancel(
            sign_in, issuer_name=resources.settings.issuer, now=resources.clock()
        )

    async def cancel(session: AsyncSession, sign_in: SignIn, shown: "_Shown") -> Response:
        return shown.over(await leave(session, sign_in))

    return await _at(request, _of_form(request, form), cancel, leave)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A sign-in in its own browser, ready to be shown."""

    request: Request
    held: Held
    wanted: Wanted | SignIn
    where: Surroundings

    def scene(self) -> Scene:
        return Scene(
            locale=self.wanted.locale,
            organization=self.where.organization,
            app=self.where.app.label,
            form_token=cookies.form_token(self.held),
            first_page=cookies.page(FIRST_PAGE, self.held),
            providers=[Provider(label, _way_to(one)) for one, label in self.where.providers],
            takes_email_codes=self.where.takes_email_codes,
        )

    def page(self, html: str, status: int = HTTPStatus.OK) -> Response:
        targets = rules.form_targets(
            self.wanted.redirect_uri,
            issuer=_resources(self.request).settings.issuer,
            has_providers=bool(self.where.providers),
        )
        return _html(html, status, self.wanted.locale, targets)

    def sent_to(self, path: str, notice: Notice | None = None) -> Response:
        """Lead to a page of this sign-in."""
        return _sent_on(cookies.page(path, self.held, notice))

    def without_codes(self) -> Response:
        """Say that people sign in another way here; pages of before may still be open."""
        page = schemas.first_page(self.scene(), notice=Notice.CODES_OFF)
        return self.page(page, HTTPStatus.FORBIDDEN)

    def over(self, location: str) -> Response:
        """Lead away; the cookie stays for a moment, as the same form may come again."""
        response, cookie = _sent_on(location), _cookie(self.request) or ""
        is_last = not cookies.without_entry(cookie, self.held.entry.id)
        _hold(response, cookie, REPEATED_WITHIN if is_last else cookies.LIFETIME)
        return response


type Show = Callable[[AsyncSession, SignIn, _Shown], Awaitable[Response]]
type Again = Callable[[AsyncSession, SignIn], Awaitable[str | None]]


async def _at(
    request: Request, held: Held | None, show: Show, again: Again | None = None
) -> Response:
    """Answer within the sign-in of this browser; what it changed is committed before.

    `again` is where the browser goes when a form comes again that has just finished its sign-in.
    """
    if held is None:
        return _problem(request, Problem.OVER)
    resources, entry = _resources(request), held.entry
    async with transaction(resources.sessions, Tenant(entry.organization_id)) as session:
        if held.sealed:
            await requests.keep(session, held, seal=resources.sign_in_seal, now=resources.clock())
        sign_in = await requests.load(session, cookie=str(entry), now=resources.clock())
        shown = None if sign_in is None else await _shown(request, session, sign_in, entry)
        if sign_in is not None and shown is not None:
            return await show(session, sign_in, shown)
        if again is not None and (finished := await _just_finished(request, session, entry)):
            location = await again(session, finished)
            if location is not None:
                return _sent_on(location)
    return _problem(request, Problem.OVER)


async def _shown(
    request: Request, session: AsyncSession, sign_in: SignIn, entry: CredentialText
) -> _Shown | None:
    where = await queries.surroundings(
        SessionReader(session),
        organization_id=sign_in.organization_id,
        client_id=sign_in.client_id,
    )
    return None if where is None else _Shown(request, Held(entry), sign_in, where)


async def _just_finished(
    request: Request, session: AsyncSession, entry: CredentialText
) -> SignIn | None:
    now = _resources(request).clock()
    return await requests.load_finished(session, cookie=str(entry), now=now, sign_in_id=entry.id)


def _way_to(connection_id: UUID) -> str:
    return f"/oauth/upstream/{ids.format_id('connection', connection_id)}"


def _of_address(request: Request) -> Held | None:
    named = request.query_params
    sign_in_id = cookies.sign_in_named(named.get(cookies.SIGN_IN_PARAMETER, ""))
    entry = None if sign_in_id is None else cookies.entry_of(_cookie(request), sign_in_id)
    return None if entry is None else Held(entry, named.get(cookies.SEALED_PARAMETER, ""))


def _of_form(request: Request, form: Mapping[str, str]) -> Held | None:
    return cookies.held_by_form(_cookie(request), form.get("form_token", ""))


async def _form(request: Request) -> Mapping[str, str]:
    return rules.parse_form(request.headers.get("Content-Type", ""), await request.body())


def _address(typed: str) -> str | None:
    try:
        return _ADDRESS.validate_python(typed)
    except ValidationError:
        return None


def _notice(text: str | None) -> Notice | None:
    return Notice(text) if text in set(Notice) else None


def _languages(request: Request) -> tuple[str, ...]:
    return rules.languages(
        request.query_params.get("ui_locales"), request.headers.get("Accept-Language")
    )


def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


def _cookie(request: Request) -> str | None:
    return request.cookies.get(cookies.COOKIE)


def _hold(response: Response, cookie: str, lifetime: timedelta = cookies.LIFETIME) -> None:
    response.set_cookie(
        cookies.COOKIE,
        cookie,
        max_age=int(lifetime.total_seconds()),
        path="/",
        secure=True,
        httponly=True,
        samesite="lax",
    )


def _sent_on(location: str) -> Response:
    return Response(status_code=HTTPStatus.SEE_OTHER, headers={**ALWAYS, "Location": location})


def _problem(
    request: Request,
    problem: Problem,
    status: int = HTTPStatus.BAD_REQUEST,
    headers: Mapping[str, str] | None = None,
) -> Response:
    locale = words.choose(*_languages(request))
    response = _html(schemas.problem_page(locale, problem), status, locale)
    response.headers.update(headers or {})
    return response


def _unavailable(request: Request) -> Response:
    return _problem(
        request, Problem.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"}
    )


def _html(html: str, status: int, locale: str, targets: tuple[str, ...] = ("'none'",)) -> Response:
    policy = rules.policy(style_digest=schemas.style_digest(), targets=targets)
    return Response(
        html,
        status_code=status,
        media_type=HTML,
        headers={**ALWAYS, "Content-Security-Policy": policy, "Content-Language": locale},
    )
