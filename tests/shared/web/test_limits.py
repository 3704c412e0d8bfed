"""Buckets: how a quota is spent and comes back."""

import asyncio
from typing import Any

import pytest

from shared.errors import UnavailableError
from shared.web.callers import Caller, Callers
from shared.web.limits import Buckets, Lane, Quotas


class Watch:
    """A stopwatch that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_refills_evenly_over_a_minute() -> None:
    watch = Watch()
    bucket = Buckets(60, watch)
    assert [bucket.spend("ada") for _ in range(60)][-1] == 0
    assert bucket.spend("ada") == -1
    watch.now = 1.0
    assert bucket.spend("ada") == 0
    assert bucket.spend("ada") == -1
    watch.now = 3600.0
    assert bucket.spend("ada") == 59


def test_a_refused_request_costs_nothing() -> None:
    watch = Watch()
    bucket = Buckets(1, watch)
    bucket.spend("ada")
    for _ in range(100):
        assert bucket.spend("ada") < 0
    watch.now = 60.0
    assert bucket.spend("ada") == 0


def test_what_is_tracked_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.web.limits.TRACKED", 10)
    watch = Watch()
    bucket = Buckets(5, watch)
    for number in range(100):
        watch.now = number * 0.001
        bucket.spend(f"caller-{number}")
    assert len(bucket._filled) <= 11


def test_an_organization_is_bounded_whoever_asks_in_it() -> None:
    quotas = Quotas(Buckets(10), Buckets(3), Buckets(10))
    callers = [Caller(f"person-{number}", "one") for number in range(4)]
    left = [quotas.spend(caller)[0] for caller in callers]
    assert [one >= 0 for one in left] == [True, True, True, False]
    assert quotas.spend(Caller("somebody", "other"))[0] >= 0


class Actor:
    """Whom the door let in."""

    principal = "ada"
    organization_id = "example"


def scope_of(credential: bytes, address: str = "192.0.2.1", **state: object) -> dict[str, Any]:
    """Return a request as the layers see it."""
    headers = [(b"authorization", credential)]
    return {"headers": headers, "client": (address, 1), "state": state}


def test_all_credentials_of_one_holder_share_a_quota_once_they_are_known() -> None:
    callers = Callers.none_yet()
    scopes = [scope_of(token, actor=Actor()) for token in (b"Bearer one", b"Bearer two")]
    for scope in scopes:
        assert callers.of(scope) == Caller("network:192.0.2.1")
        assert callers.learn(scope, 200) == Caller("ada", "example")
    assert callers.of(scopes[0]) == callers.of(scopes[1]) == Caller("ada", "example")


def test_whatever_strangers_show_they_count_by_their_network() -> None:
    callers = Callers.none_yet()
    for number in range(3):
        scope = scope_of(b"Bearer forged-%d" % number, f"2001:db8:0:{number}::{number}")
        assert callers.learn(scope, 401) is None
        assert callers.of(scope) == Caller("network:2001:db8::/56")


def test_a_credential_that_ended_makes_nobody_known() -> None:
    callers = Callers.none_yet()
    callers.learn(scope_of(b"Bearer one", actor=Actor()), 200)
    # Refused for another reason, it is theirs as before.
    callers.learn(scope_of(b"Bearer one"), 400)
    assert not callers.of(scope_of(b"Bearer one")).is_stranger
    callers.learn(scope_of(b"Bearer one"), 401)
    assert callers.of(scope_of(b"Bearer one")).is_stranger


def test_a_token_that_is_given_back_can_be_taken_again() -> None:
    bucket = Buckets(1, Watch())
    bucket.spend("ada")
    bucket.give_back("ada")
    bucket.give_back("ada")
    assert [bucket.spend("ada") for _ in range(2)] == [0, -1]


class Walk:
    """Somebody on their way through a lane, who stays in it until they are told to leave."""

    def __init__(self, lane: Lane, passed: list[str], name: str, network: str = "one") -> None:
        self.leave = asyncio.Event()
        self._task = asyncio.create_task(self._pass(lane, passed, name, network))

    async def _pass(self, lane: Lane, passed: list[str], name: str, network: str) -> None:
        async with lane.passage(network):
            passed.append(name)
            await self.leave.wait()

    async def end(self) -> None:
        self.leave.set()
        await self._task

    async def give_up(self) -> None:
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task

    async def is_turned_away(self) -> bool:
        """Tell whether somebody who waited had to make room."""
        await settled()
        return self._task.done() and isinstance(self._task.exception(), UnavailableError)


async def settled() -> None:
    """Let everybody go as far as they get."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_lane_lets_a_few_pass_and_a_few_wait_in_order() -> None:
    lane, passed = Lane(width=1, room=2), list[str]()
    first, second, third = [Walk(lane, passed, name) for name in ("first", "second", "third")]
    await settled()
    assert passed == ["first"]

    with pytest.raises(UnavailableError):
        async with lane.passage("one"):
            passed.append("nobody")

    await first.end()
    await settled()
    assert passed == ["first", "second"]
    await second.end()
    await third.end()
    assert passed == ["first", "second", "third"]


async def test_networks_take_turns_in_a_lane() -> None:
    lane, passed = Lane(width=1, room=10), list[str]()
    comers = ["a0", "a1", "a2", "a3", "b0", "c0", "b1"]
    walks = [Walk(lane, passed, name, network=name[0]) for name in comers]
    await settled()
    for one in walks:
        one.leave.set()
    await asyncio.gather(*(one.end() for one in walks))
    assert passed == ["a0", "a1", "b0", "c0", "a2", "b1", "a3"]


async def test_in_a_full_lane_the_most_crowded_network_makes_room() -> None:
    lane, passed = Lane(width=1, room=4), list[str]()
    ahead, *crowd = [Walk(lane, passed, f"a{number}", "a") for number in range(5)]
    await settled()
    first, second = [Walk(lane, passed, f"b{number}", "b") for number in range(2)]
    assert await crowd[3].is_turned_away()
    assert await crowd[2].is_turned_away()
    # Now both have as many; neither goes for more of the other.
    assert await Walk(lane, passed, "b2", "b").is_turned_away()
    assert await Walk(lane, passed, "a5", "a").is_turned_away()
    third, fourth = [Walk(lane, passed, f"{name}0", name) for name in "cd"]
    assert await crowd[1].is_turned_away()
    assert await second.is_turned_away()
    assert await Walk(lane, passed, "e0", "e").is_turned_away()
    for one in (ahead, crowd[0], first, third, fourth):
        await one.end()
    assert passed == ["a0", "a1", "b0", "c0", "d0"]


async def test_whoever_gives_up_or_fails_leaves_no_place_taken() -> None:
    lane, passed = Lane(width=1, room=1), list[str]()
    for _ in range(5):
        ahead, waiting = Walk(lane, passed, "ahead"), Walk(lane, passed, "waiting")
        await settled()
        await waiting.give_up()
        await ahead.end()
        with pytest.raises(ValueError, match="fails"):
            async with lane.passage("one"):
                raise ValueError("fails")
    async with lane.passage("one"):
        passed.append("last")
    assert passed == [*["ahead"] * 5, "last"]


async def test_a_place_that_comes_too_late_goes_on_to_the_next() -> None:
    lane, passed = Lane(width=1, room=2), list[str]()
    ahead, late, last = [Walk(lane, passed, name) for name in ("ahead", "late", "last")]
    await settled()
    # Handed the place and gone in the same moment.
    lane.leave()
    await late.give_up()
    await last.end()
    assert passed == ["ahead", "last"]
    lane._free = 0
    await ahead.end()
    assert lane._free == 1
