"""Bodies on their way in: who is waited for, for how long, and who makes room for whom."""

import asyncio

import pytest
from starlette.types import Message

from shared.errors import UnavailableError
from shared.web.arrivals import READ_AHEAD_BYTES, Arrivals
from shared.web.callers import Caller

STRANGER, OTHER = Caller("network:192.0.2.1"), Caller("network:192.0.2.2")
KNOWN = Caller("ada", "works")


class Sender:
    """Somebody who sends a body piece by piece, as a test tells them."""

    def __init__(self, arrivals: Arrivals, caller: Caller) -> None:
        self._sent: asyncio.Queue[Message] = asyncio.Queue()
        self.body = asyncio.create_task(arrivals.whole(self._sent.get, caller))

    async def send(self, part: bytes, *, is_last: bool = False) -> None:
        self._sent.put_nowait({"type": "http.request", "body": part, "more_body": not is_last})
        await settled()

    async def hang_up(self) -> None:
        self._sent.put_nowait({"type": "http.disconnect"})
        await settled()

    @property
    def is_waited_for(self) -> bool:
        return not self.body.done()


async def settled() -> None:
    """Let everybody go as far as they get."""
    for _ in range(10):
        await asyncio.sleep(0)


async def begin(arrivals: Arrivals, *callers: Caller) -> list[Sender]:
    """Let bodies begin, one after the other."""
    senders = []
    for one in callers:
        senders.append(Sender(arrivals, one))
        await settled()
    return senders


async def refused(sender: Sender) -> str:
    """Return why a body was not waited for any longer."""
    with pytest.raises(UnavailableError) as caught:
        await sender.body
    assert caught.value.headers == {"Connection": "close"}
    return caught.value.code


async def test_a_body_is_handed_on_whole() -> None:
    [sender] = await begin(Arrivals(), STRANGER)
    await sender.send(b"one ")
    await sender.send(b"and two", is_last=True)
    assert await sender.body == b"one and two"


async def test_what_does_not_arrive_is_not_waited_for() -> None:
    [sender] = await begin(Arrivals(seconds=0.01), STRANGER)
    assert await refused(sender) == "deadline_exceeded"


async def test_half_a_body_is_none() -> None:
    [sender] = await begin(Arrivals(), STRANGER)
    await sender.send(b"half")
    await sender.hang_up()
    assert await sender.body is None


async def test_who_sends_slowly_makes_room_for_who_comes_from_the_same_network() -> None:
    arrivals = Arrivals(each=2)
    first, second, other, third = await begin(arrivals, STRANGER, STRANGER, OTHER, STRANGER)
    assert await refused(first) == "deadline_exceeded"
    assert second.is_waited_for
    assert other.is_waited_for
    await third.send(b"at once", is_last=True)
    assert await third.body == b"at once"
    # The place is free again: nobody else has to make room.
    await begin(arrivals, STRANGER)
    assert second.is_waited_for


async def test_more_bytes_than_fit_are_not_kept_and_strangers_go_first() -> None:
    arrivals = Arrivals(budget=4 * READ_AHEAD_BYTES + 1000)
    known, light, heavy = await begin(arrivals, KNOWN, OTHER, STRANGER)
    await known.send(b"k" * 500)
    await heavy.send(b"h" * 400)
    [late] = await begin(arrivals, OTHER)
    assert all(one.is_waited_for for one in (known, light, heavy, late))

    # Two bodies of one network hold more than the one of another; the first of them goes.
    await known.send(b"k" * 200)
    assert await refused(light) == "deadline_exceeded"
    await known.send(b"k" * READ_AHEAD_BYTES)
    await known.send(b"k" * READ_AHEAD_BYTES)
    assert await refused(heavy) == "deadline_exceeded"
    assert late.is_waited_for
    await known.send(b"", is_last=True)
    assert len(await known.body or b"") == 700 + 2 * READ_AHEAD_BYTES


async def test_announcing_much_keeps_nobody_out() -> None:
    arrivals = Arrivals(budget=3 * READ_AHEAD_BYTES)
    for number in range(10):
        await begin(arrivals, Caller(f"network:{number}"))
    [last] = await begin(arrivals, STRANGER)
    await last.send(b"here", is_last=True)
    assert await last.body == b"here"


async def test_nothing_is_held_for_whoever_is_through() -> None:
    arrivals = Arrivals()
    done, gone, ended = await begin(arrivals, STRANGER, KNOWN, OTHER)
    await done.send(b"x", is_last=True)
    await gone.hang_up()
    ended.body.cancel()
    await settled()
    assert (arrivals._held, arrivals._of_sender) == (0, {})
