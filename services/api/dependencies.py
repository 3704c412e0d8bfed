"""The door: from a credential to an actor inside one transaction, the same way for every route.

A request meets, in this order: who is asking (401), what the credential may do at all (403),
whether this intent was already fulfilled (a replay), then its own operation, then COMMIT, and only
then the answer leaves. A route without a declaration stops the start-up.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from fastapi.utils import create_model_field
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import operations as access
from services.api.access import rules
from services.api.access.operations import Knock
from services.api.access.roles import PERMISSIONS
from services.api.access.rules import Actor, Declaration, KeyText, Scope
from services.api.access.tables import ApiKey
from services.api.access.tokens import Claims
from services.api.resources import Resources
from shared.errors import LimitedError, UnauthenticatedError
from shared.persistence.reads import Reader, ReadTransaction, SessionReader, read_transaction
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.web import idempotency, responses
from shared.web.admission import standing_aside
from shared.web.bodies import checked
from shared.web.callers import network_of
from shared.web.idempotency import Intent, Remembered
from shared.web.limits import Buckets, Lane
from shared.web.pagination import Cursors, Page
from shared.web.problems import sqlstate_of

READING = frozenset({"GET", "HEAD"})
# serialization_failure, deadlock_detected and lock_not_available, which a queue before one row
# ends in: the same work may well succeed at once.
QUEUED = "55P03"
RETRIED_STATES = frozenset({"40001", "40P01", QUEUED})
# Each wait is cut after a second (`lock_timeout`). Whoever queues for a last seat on a busy machine
# is told that it is taken, as long as that takes no longer than this.
QUEUE_SECONDS = 4.0

BEARER = HTTPBearer(
    scheme_name="bearerAuth",
    bearerFormat="JWT",
    auto_error=False,
    description="An access token (RFC 9068, following RFC8725) or an API key `mk_...`.",
)

type Handler = Callable[[Request], Coroutine[Any, Any, Response]]
type Credential = Claims | KeyText


class CheckedRoute(APIRoute):
    """A route whose requests are held against every convention before its endpoint runs.

    Endpoints answer with finished responses. The model of an answer is for the document alone, and
    a process that serves the document it was shipped with has no use for it.
    """

    def __init__(
        self, path: str, endpoint: Callable[..., Any], *, response_model: Any = None, **options: Any
    ) -> None:
        """Keep the model of the answer for `describe_answer`."""
        super().__init__(path, endpoint, response_model=None, **options)
        self._answer = None if isinstance(response_model, DefaultPlaceholder) else response_model

    def describe_answer(self) -> None:
        """Let the document say what is answered."""
        if self._answer is not None:
            self.response_field = create_model_field(
                name=f"Response_{self.unique_id}", type_=self._answer, mode="serialization"
            )

    def inner_handler(self) -> Handler:
        """Return the handler FastAPI made; the document still shows all that it depends on."""
        documented, self.dependant = self.dependant, _given_by_door(self.dependant)
        handler = APIRoute.get_route_handler(self)
        self.dependant = documented
        return checked(handler, documented, self.body_field)


class DoorRoute(CheckedRoute):
    """A route behind the door; it knows its declaration and opens the transaction."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Refuse to exist without a declared permission."""
        declared = (options.get("openapi_extra") or {}).get("x-access")
        if declared is None:
            raise RuntimeError(f"{endpoint.__qualname__} declares no permission")
        if declared["permission"] not in PERMISSIONS:
            raise RuntimeError(f"{endpoint.__qualname__} declares an unknown permission")
        scope = declared.get("scope")
        self.declaration = Declaration(declared["permission"], Scope(scope) if scope else None)
        super().__init__(path, endpoint, **options)
        self.takes_id = _takes_id(self.body_field)

    def get_route_handler(self) -> Handler:
        """Wrap the handler FastAPI made in the door."""
        handler = self.inner_handler()
        operation = self.endpoint.__name__

        async def read(request: Request) -> Response:
            return await _read(request, self.declaration, handler)

        async def write(request: Request) -> Response:
            return await _write_or_repeat(request, self.declaration, handler, operation)

        return _noting_use(read if (self.methods or set()) <= READING else write)


def _takes_id(body_field: Any) -> bool:
    """Tell whether clients may choose the id of what they make."""
    model = body_field.field_info.annotation if body_field else None
    return isinstance(model, type) and issubclass(model, BaseModel) and "id" in model.model_fields


def door(tag: str) -> APIRouter:
    """Return the router of one feature: everything on it stands behind the door."""
    return _router(tag, DoorRoute, [Depends(BEARER)])


class CallingRoute(DoorRoute):
    """A route that asks another system: no transaction is open while its handler runs.

    Who is asking is settled first. What the handler reads or changes it does inside
    `ReadingDep` and `WritingDep`, before and after the call.
    """

    def get_route_handler(self) -> Handler:
        """Let the caller in, then run the handler in the open."""
        handler = self.inner_handler()
        operation = self.endpoint.__name__

        async def call(request: Request) -> Response:
            resources: Resources = request.app.state.resources
            credential = await _credential(request, resources)
            async with read_transaction(resources.reads, _tenant(credential)) as reader:
                actor = await _enter(request, resources, credential, reader, self.declaration)
            if self.takes_id:
                # Before another system is asked: the intent may have been fulfilled already.
                answer = await _answered(request, credential, actor, operation)
                if answer is not None:
                    return answer
            request.state.reading = partial(read_transaction, resources.reads, _tenant(credential))
            request.state.writing = _writing(request, self.declaration, operation)
            return await handler(request)

        return _noting_use(call)


type Work = Callable[[AsyncSession], Awaitable[Response]]
type Writing = Callable[[Work], Awaitable[Response]]
type Reading = Callable[[], AbstractAsyncContextManager[ReadTransaction]]


def _writing(request: Request, declaration: Declaration, operation: str) -> Writing:
    async def write(work: Work) -> Response:
        async def within(inner: Request) -> Response:
            return await work(inner.state.session)

        return await _write_or_repeat(request, declaration, within, operation)

    return write


def calling_door(tag: str) -> APIRouter:
    """Return a router behind the door whose routes ask other systems."""
    return _router(tag, CallingRoute, [Depends(BEARER)])


type Opening = Callable[[UUID], AbstractAsyncContextManager[AsyncSession]]


class PublicRoute(CheckedRoute):
    """A route that takes no credential: which organization it is about stands in the request.

    What it changes it does inside `OpeningDep`, so it can answer with a refusal after the COMMIT.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Publish that everybody may ask."""
        declared = {**(options.pop("openapi_extra", None) or {}), **PUBLIC}
        super().__init__(path, endpoint, openapi_extra=declared, **options)

    def get_route_handler(self) -> Handler:
        """Let everybody in, a few times a minute from each network."""
        handler = self.inner_handler()

        async def serve(request: Request) -> Response:
            resources: Resources = request.app.state.resources
            admit_stranger(request, resources.strangers)
            request.state.opening = lambda one: transaction(resources.sessions, Tenant(one))
            async with passage(request, resources.sign_in_lane):
                return await _or_again(handler, request)

        return serve


def public_door(tag: str) -> APIRouter:
    """Return a router whose routes take no credential; the contract tests name each of them."""
    return _router(tag, PublicRoute, [])


def admit_stranger(request: Request, buckets: Buckets) -> None:
    """Refuse for a moment whoever knocks too often where no credential is needed."""
    left = buckets.spend(network_of(request.scope))
    if left < 0:
        raise LimitedError(
            "Too many attempts to sign in came from this network; wait a moment.",
            headers={"Retry-After": str(buckets.seconds_until(left, 0))},
        )


@asynccontextmanager
async def passage(request: Request, lane: Lane) -> AsyncIterator[None]:
    """Wait among strangers for a turn, without the place that somebody who is known could have."""
    with standing_aside(request.scope):
        await lane.enter(network_of(request.scope))
    try:
        yield
    finally:
        lane.leave()


def admit_to_organization(buckets: Buckets, organization_id: UUID) -> None:
    """Refuse for a moment whoever knocks where too many knock for one organization.

    Once it is certain that they mean it: who only names it takes nothing from its people.
    """
    left = buckets.spend(str(organization_id))
    if left < 0:
        raise too_many_sign_ins(buckets.seconds_until(left, 0))


def too_many_sign_ins(seconds: int) -> LimitedError:
    """Return the refusal of a sign-in in an organization where many sign in."""
    return LimitedError(
        "Too many people of this organization sign in just now; wait a moment.",
        headers={"Retry-After": str(seconds)},
    )


async def _or_again(handler: Handler, request: Request) -> Response:
    """Try again what may well succeed at once; how long it waits before one row is bounded."""
    until = time.monotonic() + QUEUE_SECONDS
    is_first = True
    while True:
        try:
            return await handler(request)
        except Exception as error:
            state = sqlstate_of(error)
            may_queue_on = state == QUEUED and time.monotonic() < until
            if state not in RETRIED_STATES or not (is_first or may_queue_on):
                raise
        is_first = False


def _router(tag: str, kind: type[CheckedRoute], dependencies: Sequence[Any]) -> APIRouter:
    return APIRouter(
        route_class=kind,
        tags=[tag],
        dependencies=dependencies,
        generate_unique_id_function=lambda route: route.name,
    )


def allow(permission: str, scope: Scope | None = None) -> dict[str, Any]:
    """Declare what a route demands; it is published in the document as `x-access`."""
    declared: dict[str, str] = {"permission": permission}
    if scope is not None:
        declared["scope"] = scope.value
    return {"x-access": declared}


MAY_CONFLICT: dict[int | str, dict[str, Any]] = {409: {}}
"""The `responses` of a GET that a rule may refuse; the document says it of all other methods."""

PUBLIC: Mapping[str, Any] = MappingProxyType({"x-access": {"permission": "public"}})
"""What a route declares that everybody may use."""


def _noting_use(handle: Handler) -> Handler:
    async def noted(request: Request) -> Response:
        try:
            return await handle(request)
        finally:
            await _note_use(request)

    return noted


async def _note_use(request: Request) -> None:
    # In a transaction of its own: reads are READ ONLY, and a refused write rolls back.
    key: KeyText | None = getattr(request.state, "used_key", None)
    if key is None:
        return
    resources: Resources = request.app.state.resources
    async with transaction(resources.sessions, _tenant(key)) as session:
        await access.note_use(
            session,
            ApiKey,
            organization_id=key.organization_id,
            row_id=key.key_id,
            now=resources.clock(),
        )


async def _read(request: Request, declaration: Declaration, handler: Handler) -> Response:
    resources: Resources = request.app.state.resources
    credential = await _credential(request, resources)
    async with read_transaction(resources.reads, _tenant(credential)) as reader:
        request.state.reader = reader
        await _enter(request, resources, credential, reader, declaration)
        return await handler(request)


async def _write_or_repeat(
    request: Request, declaration: Declaration, handler: Handler, operation: str
) -> Response:
    async def write(again: Request) -> Response:
        return await _write(again, declaration, handler, operation)

    return await _or_again(write, request)


async def _write(
    request: Request, declaration: Declaration, handler: Handler, operation: str
) -> Response:
    resources: Resources = request.app.state.resources
    credential = await _credential(request, resources)
    # Read before the transaction opens: a slow sender must not hold a connection.
    body = await request.body()
    async with transaction(resources.sessions, _tenant(credential)) as session:
        request.state.session = session
        reader = SessionReader(session)
        actor = await _enter(request, resources, credential, reader, declaration)
        intents = _intents(request, credential, body)
        for intent in intents:
            remembered = await _recall(reader, actor, operation, intent)
            if remembered is not None:
                return idempotency.replay(remembered, intent)
        response = await handler(request)
        for intent in intents:
            await _remember(session, actor, operation, intent, response, now=resources.clock())
        return response


async def _enter(
    request: Request,
    resources: Resources,
    credential: Credential,
    reader: Reader,
    declaration: Declaration,
) -> Actor:
    knock = await _knock(reader, credential, now=resources.clock())
    if knock.is_use_due:
        request.state.used_key = credential
    rules.admit(knock.actor, declaration)
    request.state.credential = credential
    request.state.actor = knock.actor
    request.state.clock_offset = knock.clock_offset
    return knock.actor


async def _knock(reader: Reader, credential: Credential, *, now: datetime) -> Knock:
    if isinstance(credential, KeyText):
        return await access.actor_of_key(reader, credential, now=now)
    return await access.actor_of_token(reader, credential, now=now)


async def _credential(request: Request, resources: Resources) -> Credential:
    given = request.headers.getlist("Authorization")
    scheme, _, value = (given[0] if given else "").partition(" ")
    # Two of them could be read in two ways, so neither is.
    if len(given) > 1 or scheme.lower() != "bearer" or not value:
        raise UnauthenticatedError
    if value.startswith("mk_"):
        return rules.parse_key(value)
    return await resources.verify(value)


def _tenant(credential: Credential) -> Tenant:
    if isinstance(credential, Claims) and credential.is_person:
        return Tenant(credential.organization_id, credential.subject)
    return Tenant(credential.organization_id)


def _intents(request: Request, credential: Credential, body: bytes) -> list[Intent]:
    if request.method != "POST":
        return []
    return idempotency.intents_of(
        request.headers.getlist(idempotency.HEADER),
        is_required=isinstance(credential, KeyText),
        takes_id=request.scope["route"].takes_id,
        method=request.method,
        path=request.url.path,
        query=request.url.query,
        media_type=request.headers.get("Content-Type", ""),
        body=body,
    )


async def _answered(
    request: Request, credential: Credential, actor: Actor, operation: str
) -> Response | None:
    """Return what an intent was answered, or None; whoever is to fulfil it looks once more."""
    resources: Resources = request.app.state.resources
    intents = _intents(request, credential, await request.body())
    async with transaction(resources.sessions, _tenant(credential)) as session:
        for intent in intents:
            remembered = await access.recall(
                SessionReader(session), actor, operation=operation, key=intent.key
            )
            if remembered is not None:
                return idempotency.replay(remembered, intent)
    return None


async def _recall(
    reader: Reader, actor: Actor, operation: str, intent: Intent
) -> Remembered | None:
    if not await access.hold_intent(
        reader, actor, operation=operation, key=intent.key, is_awaited=intent.is_by_id
    ):
        raise idempotency.in_progress()
    return await access.recall(reader, actor, operation=operation, key=intent.key)


async def _remember(
    session: AsyncSession,
    actor: Actor,
    operation: str,
    intent: Intent,
    response: Response,
    *,
    now: datetime,
) -> None:
    # One-time secrets are shown once and kept nowhere; the id stays, so that they can be revoked.
    if isinstance(response, responses.SecretResponse):
        body = response.repeated
    else:
        body = bytes(response.body)
    answer = Remembered(
        intent.fingerprint, response.status_code, idempotency.kept_headers(response), body
    )
    await access.remember(session, actor, answer, operation=operation, key=intent.key, now=now)


def _given_by_door(dependant: Dependant) -> Dependant:
    """Let the endpoint take what the door knows straight from the request.

    The framework solves a tree of dependencies for every request, and the tree of a small read
    costs more than everything else the framework does.
    """
    endpoint = dependant.call
    if not iscoroutinefunction(endpoint):
        return dependant
    given = {str(one.name): GIVEN[one.call] for one in dependant.dependencies if one.call in GIVEN}
    own_name = dependant.request_param_name

    async def call(**values: Any) -> Response:
        request = values[own_name] if own_name else values.pop(_REQUEST)
        for name, get in given.items():
            values[name] = await get(request)
        answer: Response = await endpoint(**values)
        return answer

    rest = [one for one in dependant.dependencies if one.call not in {BEARER, *GIVEN}]
    return replace(dependant, call=call, dependencies=rest, request_param_name=own_name or _REQUEST)


# Async though nothing is awaited: FastAPI sends plain functions through a thread each.
async def _session(request: Request) -> AsyncSession:
    session: AsyncSession = request.state.session
    return session


async def _reader(request: Request) -> ReadTransaction:
    reader: ReadTransaction = request.state.reader
    return reader


async def _reading(request: Request) -> Reading:
    reading: Reading = request.state.reading
    return reading


async def _written(request: Request) -> Writing:
    writing: Writing = request.state.writing
    return writing


async def _opening(request: Request) -> Opening:
    opening: Opening = request.state.opening
    return opening


async def _actor(request: Request) -> Actor:
    actor: Actor = request.state.actor
    return actor


async def _shown(request: Request) -> Credential:
    credential: Credential = request.state.credential
    return credential


async def _now(request: Request) -> datetime:
    offset: timedelta = request.state.clock_offset
    resources: Resources = request.app.state.resources
    return resources.clock() + offset


async def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


_REQUEST = "_request"
GIVEN: Mapping[Any, Callable[[Request], Awaitable[object]]] = MappingProxyType(
    {
        get: get
        for get in (
            *(_session, _reader, _reading, _written, _opening),
            *(_actor, _shown, _now, _resources),
        )
    }
)

SessionDep = Annotated[AsyncSession, Depends(_session)]
ReaderDep = Annotated[ReadTransaction, Depends(_reader)]
ReadingDep = Annotated[Reading, Depends(_reading)]
WritingDep = Annotated[Writing, Depends(_written)]
OpeningDep = Annotated[Opening, Depends(_opening)]
ActorDep = Annotated[Actor, Depends(_actor)]
CredentialDep = Annotated[Credential, Depends(_shown)]
NowDep = Annotated[datetime, Depends(_now)]
ResourcesDep = Annotated[Resources, Depends(_resources)]
IfMatchDep = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="The ETag of the version you change, or `*`.",
        max_length=200,
        examples=['"7"'],
    ),
]


def cursors(request: Request, page: Page) -> Cursors:
    """Return the cursors of this list for whoever asks."""
    resources: Resources = request.app.state.resources
    actor: Actor = request.state.actor
    return Cursors(
        secret=resources.cursor_secret,
        operation=request.scope["route"].name,
        organization=str(actor.organization_id),
        page=page,
    )


async def id_page(
    request: Request,
    query: Page,
    read: Callable[[UUID | None, int], Awaitable[Sequence[Mapping[str, Any]]]],
    show: Callable[[Mapping[str, Any]], object],
) -> Response:
    """Answer with one page of a list ordered by id; `read` takes the place and how many rows."""
    place = cursors(request, query)
    after = place.after()
    rows = await read(UUID(after[0]) if after else None, query.limit + 1)
    shown, cursor = place.cut(rows, lambda row: (str(row["id"]),))
    return responses.page([show(row) for row in shown], cursor, link=next_link(request, cursor))


def next_link(request: Request, cursor: str | None) -> str | None:
    """Return where the next page is, relative to this host."""
    if cursor is None:
        return None
    return f"{request.url.path}?{request.url.include_query_params(cursor=cursor).query}"
