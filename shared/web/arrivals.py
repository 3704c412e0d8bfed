"""Bodies on their way in: each is read whole before its request takes anybody's place.

A slow sender costs a socket and what was sent so far, both bounded. Whoever is slow makes room for
whoever comes: an honest body is here within a moment, so it is never the one waited for longest.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass

from starlette.types import Receive

from shared.errors import UnavailableError
from shared.web.callers import Caller

BODY_SECONDS = 10.0
# As many as one process works on at once; those of one sender that are here already do not count.
HALF_SENT_OF_SENDER = 128
BUDGET_BYTES = 64 * 1024 * 1024
# What the server itself reads ahead, whether or not anybody asks for the body.
READ_AHEAD_BYTES = 64 * 1024


@dataclass(eq=False, slots=True)
class _Arrival:
    """One body that is waited for, and how many bytes it holds by now."""

    sender: Caller
    patience: asyncio.Timeout
    size: int = READ_AHEAD_BYTES


class Arrivals:
    """What is half sent, by sender, in the order in which it began.

    Bytes count when they are here and not when they are announced: to announce them costs nothing,
    and whoever did would keep out everybody else's.
    """

    def __init__(
        self,
        *,
        budget: int = BUDGET_BYTES,
        each: int = HALF_SENT_OF_SENDER,
        seconds: float = BODY_SECONDS,
    ) -> None:
        """Wait for as much as fits into the budget, and for so many bodies of each sender."""
        self._budget = budget
        self._each = each
        self._seconds = seconds
        self._held = 0
        self._of_sender: dict[str, dict[_Arrival, None]] = {}

    async def whole(self, receive: Receive, sender: Caller) -> bytes | None:
        """Return a body once it is here, or None if its sender hung up.

        One that takes too long, or has to make room, is an `UnavailableError`.
        """
        arrival = None
        try:
            async with asyncio.timeout(self._seconds) as patience:
                arrival = _Arrival(sender, patience)
                self._begin(arrival)
                return await self._collected(receive, arrival)
        except TimeoutError:
            raise _too_slow() from None
        finally:
            if arrival is not None:
                self._end(arrival)

    async def _collected(self, receive: Receive, arrival: _Arrival) -> bytes | None:
        chunks = []
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(chunks)
            self._grow(arrival, len(chunks[-1]))

    def _begin(self, arrival: _Arrival) -> None:
        siblings = self._of_sender.setdefault(arrival.sender.principal, {})
        siblings[arrival] = None
        if len(siblings) > self._each:
            self._give_up(next(iter(siblings)))
        self._held += arrival.size
        self._make_room()

    def _grow(self, arrival: _Arrival, count: int) -> None:
        if self._is_waited_for(arrival):
            arrival.size += count
            self._held += count
            self._make_room()

    def _make_room(self) -> None:
        while self._held > self._budget:
            self._give_up(self._most_in_the_way())

    def _most_in_the_way(self) -> _Arrival:
        """Return the first of whoever holds most; strangers go before those who are known."""
        held: Counter[str] = Counter()
        under_way = [one for siblings in self._of_sender.values() for one in siblings]
        for one in under_way:
            held[_group(one.sender)] += one.size
        return max(under_way, key=lambda one: (one.sender.is_stranger, held[_group(one.sender)]))

    def _give_up(self, arrival: _Arrival) -> None:
        self._end(arrival)
        arrival.patience.reschedule(asyncio.get_running_loop().time())

    def _is_waited_for(self, arrival: _Arrival) -> bool:
        return arrival in self._of_sender.get(arrival.sender.principal, ())

    def _end(self, arrival: _Arrival) -> None:
        if self._is_waited_for(arrival):
            siblings = self._of_sender[arrival.sender.principal]
            del siblings[arrival]
            self._held -= arrival.size
            if not siblings:
                del self._of_sender[arrival.sender.principal]


def _group(sender: Caller) -> str:
    return sender.organization or sender.principal


def _too_slow() -> UnavailableError:
    return UnavailableError(
        "The body did not arrive in time.",
        code="deadline_exceeded",
        # The rest of it may come at any time, or never.
        headers={"Connection": "close"},
    )
