"""How much one principal, organization or network may ask, so that none can slow the others.

Fields `RateLimit-Policy` and `RateLimit` after draft-ietf-httpapi-ratelimit-headers. Token buckets
live in the process: with several processes a principal gets its quota in each.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import UnavailableError
from shared.web import problems
from shared.web.callers import Caller, Callers

WINDOW_SECONDS = 60
TRACKED = 20_000


@dataclass(slots=True)
class Buckets:
    """One bucket per name: `quota` tokens, refilled evenly over a minute."""

    quota: int
    monotonic: Callable[[], float] = time.monotonic
    _filled: dict[str, tuple[float, float]] = field(default_factory=dict)

    def spend(self, name: str) -> float:
        """Take one token and return how many are left; below zero, none was there to take."""
        now = self.monotonic()
        left = self._refilled(name, now) - 1
        if left >= 0:
            self._filled[name] = (left, now)
            self._bound(now)
        return left

    def give_back(self, name: str) -> None:
        """Put a token back that was taken from the wrong bucket."""
        now = self.monotonic()
        self._filled[name] = (min(float(self.quota), self._refilled(name, now) + 1), now)

    def seconds_until(self, left: float, wanted: float) -> int:
        """Return how long a bucket needs to refill from one level to another, at least a second."""
        return max(1, math.ceil((wanted - left) * WINDOW_SECONDS / self.quota))

    def _refilled(self, name: str, now: float) -> float:
        left, since = self._filled.get(name, (float(self.quota), now))
        return min(float(self.quota), left + (now - since) * self.quota / WINDOW_SECONDS)

    def _bound(self, now: float) -> None:
        if len(self._filled) <= TRACKED:
            return
        full = [name for name in self._filled if self._refilled(name, now) >= self.quota]
        for name in full or [next(iter(self._filled))]:
            del self._filled[name]


class Lane:
    """A narrow way in: `width` pass at once, `room` more wait for them, networks in turns.

    Work of many at once that share one processor makes everybody else late; through a lane it comes
    one after the other, and whatever stands beside the lane goes on as before. However many come
    from one network, somebody of another waits for one of them and not for all.
    """

    def __init__(self, *, width: int, room: int) -> None:
        """Open a lane; whoever comes when it is full hears `overloaded`."""
        self._free = width
        self._room = room
        # By network, those first whose turn is next.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def passage(self, network: str) -> AsyncIterator[None]:
        """Wait for a place, and hold it; a full lane is an `UnavailableError` at once."""
        await self.enter(network)
        try:
            yield
        finally:
            self.leave()

    async def enter(self, network: str) -> None:
        """Wait for a place among others of the same network, or hear that there is no room."""
        if self._free:
            # Nobody waits: whoever leaves hands a place on.
            self._free -= 1
            return
        self._make_room(network)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(network, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(network, turn)
            elif turn.exception() is None:
                # It was their turn, just as they gave up.
                self.leave()
            raise

    def leave(self) -> None:
        """Hand the place on to whoever waits, one network after the other."""
        while self._waiting:
            network = next(iter(self._waiting))
            turns = self._waiting.pop(network)
            turn = turns.popleft()
            if turns:
                self._waiting[network] = turns
            # Whoever has given up meanwhile is passed over.
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _make_room(self, network: str) -> None:
        """In a full lane, whoever came last of the network that most came from has to go."""
        if sum(map(len, self._waiting.values())) < self._room:
            return
        crowd = max(self._waiting, key=lambda one: len(self._waiting[one]), default=network)
        if len(self._waiting.get(network, ())) + 1 >= len(self._waiting.get(crowd, ())):
            raise UnavailableError
        last = self._waiting[crowd].pop()
        if not last.done():
            last.set_exception(UnavailableError())

    def _forget(self, network: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(network)
        if turns and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[network]


@dataclass(slots=True)
class Quotas:
    """The quota of principals, the larger one of organizations, and that of strangers' networks."""

    principals: Buckets
    organizations: Buckets
    networks: Buckets

    def spend(self, caller: Caller) -> tuple[float, int]:
        """Return what is left of the caller's quota, and in how many seconds it is whole again.

        Below zero the request is refused, and the seconds say when the next one is welcome.
        """
        own = self.of(caller)
        left = own.spend(caller.principal)
        if left < 0:
            return left, own.seconds_until(left, 0)
        if caller.organization is not None:
            shared = self.organizations.spend(caller.organization)
            if shared < 0:
                return shared, self.organizations.seconds_until(shared, 0)
        return left, own.seconds_until(left, own.quota)

    def of(self, caller: Caller) -> Buckets:
        """Return the buckets in which the caller has one."""
        return self.networks if caller.is_stranger else self.principals


class QuotaMiddleware:
    """Refuses with 429 whoever has used up a quota, and tells everybody what is left of it."""

    def __init__(self, app: ASGIApp, *, quotas: Quotas, callers: Callers) -> None:
        """Count for the application inside."""
        self.app = app
        self._quotas = quotas
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http" or scope["path"] in problems.HEALTH_PATHS:
            await self.app(scope, receive, send)
            return
        caller = self._callers.of(scope)
        left, seconds = self._quotas.spend(caller)

        async def answer(message: Message) -> None:
            nonlocal caller, left, seconds
            if message["type"] == "http.response.start":
                holder = self._callers.learn(scope, message["status"])
                if holder is not None and caller.is_stranger:
                    # Believed just now: the request was theirs and not their network's.
                    self._quotas.networks.give_back(caller.principal)
                    caller = holder
                    left, seconds = self._quotas.spend(caller)
                quota = self._quotas.of(caller).quota
                message["headers"] += (
                    (b"ratelimit-policy", f'"default";q={quota};w={WINDOW_SECONDS}'.encode()),
                    (b"ratelimit", f'"default";r={max(0, math.floor(left))};t={seconds}'.encode()),
                )
            await send(message)

        if left < 0:
            await problems.refuse(
                scope, receive, answer, code="rate_limited", headers={"Retry-After": str(seconds)}
            )
            return
        await self.app(scope, receive, answer)
