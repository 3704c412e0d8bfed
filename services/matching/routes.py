"""The doors of matching, open to sibling services only."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, suppress
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request, Response
from pydantic_core import from_json
from starlette.types import Receive, Scope, Send

from services.matching.pool import Kind, Message, Operation, Place, Pool, refusal
from services.matching.settings import MatchingSettings
from shared.errors import DomainError
from shared.schemas.matching import FailureLine, Fault, ProgressLine
from shared.security import ServiceCaller
from shared.web.problems import status_of
from shared.web.services import ServiceDoor

# So long the status may wait for what is wrong with a problem; then the stream begins.
HEARTBEATS_TO_DECIDE = 2

FAULT_LINE = (
    FailureLine(status=500, code="internal_error", detail="Something went wrong on our side.")
    .model_dump_json()
    .encode()
)

logger = structlog.get_logger()
router = APIRouter(prefix="/v1", include_in_schema=False)
PATHS = tuple(f"/v1/{operation}" for operation in Operation)


async def _place(request: Request) -> AsyncIterator[Place]:
    # Before the body is read: a refused problem costs no memory.
    pool: Pool = request.app.state.pool
    with pool.admit() as place:
        yield place


PlaceDep = Annotated[Place, Depends(_place)]


async def _caller(request: Request, place: PlaceDep) -> ServiceCaller:
    door: ServiceDoor = request.app.state.door
    caller = await door(request)
    place.belong_to(caller.organization_id)
    return caller


CallerDep = Annotated[ServiceCaller, Depends(_caller)]


@router.post("/solutions")
async def solutions(request: Request, _caller: CallerDep) -> Response:
    """Solve a problem, telling progress line by line."""
    return await _streamed(request, Operation.SOLUTIONS)


@router.post("/circles")
async def circles(request: Request, _caller: CallerDep) -> Response:
    """Form circles, telling progress line by line."""
    return await _streamed(request, Operation.CIRCLES)


@router.post("/schedules")
async def schedules(request: Request, _caller: CallerDep) -> Response:
    """Plan flash meetings, telling progress line by line."""
    return await _streamed(request, Operation.SCHEDULES)


@router.post("/draws")
async def draws(request: Request, _caller: CallerDep) -> Response:
    """Draw pairs, telling progress line by line."""
    return await _streamed(request, Operation.DRAWS)


@router.post("/scores")
async def scores(request: Request, _caller: CallerDep) -> Response:
    """Score pairs."""
    return Answered(request.app.state.pool, Operation.SCORES, await request.body())


@router.post("/explanations")
async def explanations(request: Request, _caller: CallerDep) -> Response:
    """Explain pairs."""
    return Answered(request.app.state.pool, Operation.EXPLANATIONS, await request.body())


@router.post("/policy-checks")
async def policy_checks(request: Request, _caller: CallerDep) -> Response:
    """Judge a policy."""
    return Answered(request.app.state.pool, Operation.POLICY_CHECKS, await request.body())


@router.post("/embeddings")
async def embeddings(request: Request, _caller: CallerDep) -> Response:
    """Turn texts into vectors."""
    return Answered(request.app.state.pool, Operation.EMBEDDINGS, await request.body())


async def _streamed(request: Request, operation: Operation) -> Response:
    state = request.app.state
    return Streamed(state.pool, operation, await request.body(), state.settings)


class Answered(Response):
    """One JSON answer of a worker; the work ends when the caller goes away."""

    def __init__(self, pool: Pool, operation: Operation, body: bytes) -> None:
        """Start nothing yet."""
        super().__init__()
        self._pool, self._operation, self._problem = pool, operation, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Work, then answer."""
        await _unless_gone(receive, self._answer(scope, receive, send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._pool.run(self._operation, self._problem)) as messages:
            async for message in messages:
                last = message
        if last.kind is not Kind.RESULT:
            raise refusal(last)
        await Response(last.content, media_type="application/json")(scope, receive, send)


class Streamed(Response):
    """An answer as lines of JSON; the work ends when the caller goes away."""

    def __init__(
        self, pool: Pool, operation: Operation, body: bytes, settings: MatchingSettings
    ) -> None:
        """Start nothing yet."""
        super().__init__(media_type="application/x-ndjson")
        self._pool, self._operation, self._problem = pool, operation, body
        self._beat = settings.matching_heartbeat_seconds
        self._last = ProgressLine(phase="waiting", done=0, total=1).model_dump_json().encode()
        self._has_started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Work, telling how far it is."""
        del scope
        await _unless_gone(receive, self._answer(send))

    async def _answer(self, send: Send) -> None:
        messages: asyncio.Queue[Message | DomainError] = asyncio.Queue()
        feeding = asyncio.create_task(self._feed(messages))
        try:
            await self._tell(messages, send)
        finally:
            feeding.cancel()
            with suppress(asyncio.CancelledError):
                await feeding

    async def _feed(self, messages: "asyncio.Queue[Message | DomainError]") -> None:
        try:
            async with aclosing(self._pool.run(self._operation, self._problem)) as told:
                async for message in told:
                    messages.put_nowait(message)
        except DomainError as error:
            messages.put_nowait(error)

    async def _tell(self, messages: "asyncio.Queue[Message | DomainError]", send: Send) -> None:
        now = asyncio.get_running_loop().time
        decided_by = now() + HEARTBEATS_TO_DECIDE * self._beat
        while True:
            # What a worker says meanwhile must not put the first line off by a beat more.
            left = self._beat if self._has_started else max(0, decided_by - now())
            try:
                async with asyncio.timeout(min(self._beat, left)):
                    message = await messages.get()
            except TimeoutError:
                message = Message(Kind.PROGRESS, self._last)
            if isinstance(message, DomainError):
                await self._fail(send, message)
                return
            if message.kind is Kind.RESULT:
                await self._send(send, message.content, is_last=True)
                return
            if message.kind is Kind.ACCEPTED:
                await self._send(send, self._last)
            elif message.kind is Kind.PROGRESS:
                self._last = message.content
                if self._has_started or now() >= decided_by:
                    await self._send(send, self._last)
            else:
                await self._refuse(send, message)
                return

    async def _refuse(self, send: Send, message: Message) -> None:
        if self._has_started and message.kind is Kind.FAULT:
            # Too late for a status: the line says it, and the log as for any other fault.
            logger.error("internal_error", error_type=from_json(message.content)["error_type"])
            await self._send(send, FAULT_LINE, is_last=True)
            return
        await self._fail(send, refusal(message))

    async def _fail(self, send: Send, error: DomainError) -> None:
        if not self._has_started:
            raise error
        await self._send(send, _failure(error), is_last=True)

    async def _send(self, send: Send, line: bytes, *, is_last: bool = False) -> None:
        if not self._has_started:
            self._has_started = True
            headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": line + b"\n", "more_body": not is_last})


async def _unless_gone(receive: Receive, answering: Coroutine[Any, Any, None]) -> None:
    """Answer, unless the caller goes away first: then stop at once."""
    work = asyncio.create_task(answering)
    leaving = asyncio.create_task(_left(receive))
    try:
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        for task in (work, leaving):
            task.cancel()
        await asyncio.gather(work, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _failure(error: DomainError) -> bytes:
    after = error.headers.get("Retry-After")
    line = FailureLine(
        status=status_of(error),
        code=error.code,
        detail=error.detail,
        errors=[Fault(pointer=e.pointer, code=e.code, detail=e.detail) for e in error.errors],
        retry_after=int(after) if after else None,
    )
    return line.model_dump_json().encode()
