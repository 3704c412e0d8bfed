"""Buckets: how a quota is spent and comes back."""

import asyncio

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
    quotas = Quotas(Buckets(10), Buckets(3))
    callers = [Caller(f"person-{number}", "one") for number in range(4)]
    left = [quotas.spend(caller)[0] for caller in callers]
    assert [one >= 0 for one in left] == [True, True, True, False]
    assert quotas.spend(Caller("somebody", "other"))[0] >= 0


class Actor:
    """Whom the door let in."""

    principal = "ada"
    organization_id = "example"


def test_all_credentials_of_one_holder_share_a_quota_once_they_are_known() -> None:
    callers = Callers.none_yet()
    scopes = [
        {"headers": [(b"authorization", token)], "state": {"actor": Actor()}}
        for token in (b"Bearer one", b"Bearer two")
    ]
    assert callers.of(scopes[0]).principal != callers.of(scopes[1]).principal
    for scope in scopes:
        callers.learn(scope)
    assert callers.of(scopes[0]) == callers.of(scopes[1]) == Caller("ada", "example")


def test_nobody_is_learned_of_a_forged_credential() -> None:
    callers = Callers.none_yet()
    scope = {"headers": [(b"authorization", b"Bearer forged")], "state": {}}
    callers.learn(scope)
    assert callers.of(scope).organization is None


class Walk:
    """Somebody on their way through a lane, who stays in it until they are told to leave."""

    def __init__(self, lane: Lane, passed: list[str], name: str) -> None:
        self.leave = asyncio.Event()
        self._task = asyncio.create_task(self._pass(lane, passed, name))

    async def _pass(self, lane: Lane, passed: list[str], name: str) -> None:
        async with lane.passage():
            passed.append(name)
            await self.leave.wait()

    async def end(self) -> None:
        self.leave.set()
        await self._task

    async def give_up(self) -> None:
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task


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
        async with lane.passage():
            passed.append("nobody")

    await first.end()
    await settled()
    assert passed == ["first", "second"]
    await second.end()
    await third.end()
    assert passed == ["first", "second", "third"]


async def test_whoever_gives_up_or_fails_leaves_no_place_taken() -> None:
    lane, passed = Lane(width=1, room=1), list[str]()
    for _ in range(5):
        ahead, waiting = Walk(lane, passed, "ahead"), Walk(lane, passed, "waiting")
        await settled()
        await waiting.give_up()
        await ahead.end()
        with pytest.raises(ValueError, match="fails"):
            async with lane.passage():
                raise ValueError("fails")
    async with lane.passage():
        passed.append("last")
    assert passed == [*["ahead"] * 5, "last"]
