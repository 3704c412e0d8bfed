"""How many requests are worked on at once, and for how long.

Beyond a small multiple of the database connections, more requests in flight only make all of them
late: those above the limit hear so at once. A request that takes too long is ended.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.web import problems
from shared.web.callers import Callers

PER_CONNECTION = 4
DEADLINE_SECONDS = 10.0
PLACE = "admission_place"


class AdmissionMiddleware:
    """Lets in as many requests as the database can serve in time; one organization, half of them.

    A stream holds no connection between its events: it gives its place back once it has started,
    and has no deadline.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        connections: int,
        callers: Callers,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """Admit for the application inside."""
        self.app = app
        self._limit = PER_CONNECTION * connections
        self._share = max(1, self._limit // 2)
        self._callers = callers
        self._deadline_seconds = deadline_seconds
        self._in_flight = 0
        self._of_organization: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or say at once that it has to wait."""
        if scope["type"] != "http" or scope["path"] in problems.HEALTH_PATHS:
            await self.app(scope, receive, send)
            return
        organization = self._callers.of(scope).organization
        if not self._has_room(organization):
            await problems.refuse(scope, receive, send, code="overloaded")
            return
        scope[PLACE] = place = _Place(self, organization)
        try:
            await self._serve(scope, receive, send, place)
        finally:
            place.leave()

    def _has_room(self, organization: str | None) -> bool:
        if self._in_flight >= self._limit:
            return False
        return organization is None or self._of_organization[organization] < self._share

    def count(self, organization: str | None, change: int) -> None:
        """Note that a request came in or left."""
        self._in_flight += change
        if organization is not None:
            self._of_organization[organization] += change
            if not self._of_organization[organization]:
                del self._of_organization[organization]

    async def _serve(self, scope: Scope, receive: Receive, send: Send, place: "_Place") -> None:
        has_started = False

        async def answer(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                deadline.reschedule(None)
                if _is_stream(message):
                    place.leave()
            await send(message)

        try:
            async with asyncio.timeout(self._deadline_seconds) as deadline:
                await self.app(scope, receive, answer)
        except TimeoutError:
            if has_started or not deadline.expired():
                raise
            await problems.refuse(
                scope, receive, send, code="deadline_exceeded", headers={"Connection": "close"}
            )


class _Place:
    """One request's place among those in flight."""

    def __init__(self, admission: AdmissionMiddleware, organization: str | None) -> None:
        self._admission = admission
        self._organization = organization
        self._is_held = False
        self.take()

    def take(self) -> None:
        if not self._is_held:
            self._is_held = True
            self._admission.count(self._organization, 1)

    def leave(self) -> None:
        if self._is_held:
            self._is_held = False
            self._admission.count(self._organization, -1)


@contextmanager
def standing_aside(scope: Scope) -> Iterator[None]:
    """Let others have the place of a request while that stands in a queue of its own.

    Afterwards it takes one unasked: the queue lets only a few pass.
    """
    place: _Place = scope[PLACE]
    place.leave()
    try:
        yield
    finally:
        place.take()


def _is_stream(message: Message) -> bool:
    return message["status"] == HTTPStatus.OK and any(
        name == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in message["headers"]
    )
