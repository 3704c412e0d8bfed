"""Calls to a sibling that is silent: a caller learns it soon, and then at once."""

import asyncio
import json
import socket
from collections.abc import Iterator
from uuid import uuid4

import pytest
from joserfc.jwk import ECKey

from shared.clock import system_clock
from shared.errors import UnavailableError
from shared.http import FAILURES_TO_OPEN, OPEN_SECONDS, Breaker, ServiceClient
from shared.security import ServiceSigner


@pytest.fixture
def silent() -> Iterator[str]:
    """Return the address of a peer that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def client_of(url: str) -> ServiceClient:
    """Return a client of the peer at an address."""
    key = ECKey.generate_key("P-256", {"kid": "service:api"}, private=True)
    signer = ServiceSigner(
        service="service:api", key=json.dumps(key.as_dict(private=True)), clock=system_clock
    )
    return ServiceClient(
        audience="service:notifications",
        base_url=url,
        signer=signer,
        unavailable_code="notifications_unavailable",
    )


async def test_a_silent_peer_is_named_and_then_not_asked_again(silent: str) -> None:
    client = client_of(silent)

    async def ask() -> str:
        with pytest.raises(UnavailableError) as caught:
            await client.call(
                "GET", "/", organization_id=uuid4(), subject="system:test", read_seconds=0.2
            )
        return caught.value.code

    try:
        codes = await asyncio.gather(*[ask() for _ in range(FAILURES_TO_OPEN)])
        started = asyncio.get_running_loop().time()
        codes.append(await ask())

        assert set(codes) == {"notifications_unavailable"}
        assert asyncio.get_running_loop().time() - started < 0.2
    finally:
        await client.close()


class Hours:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_breaker_opens_after_five_failures_in_a_row() -> None:
    breaker = Breaker(Hours())
    for _ in range(FAILURES_TO_OPEN):
        assert breaker.lets_through()
        breaker.failed()

    assert not breaker.lets_through()


def test_an_answer_in_between_keeps_it_closed() -> None:
    breaker = Breaker(Hours())
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed()
    breaker.succeeded()
    breaker.failed()

    assert breaker.lets_through()


def test_one_caller_tries_after_a_while_and_an_answer_closes_it() -> None:
    clock = Hours()
    breaker = Breaker(clock)
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed()
    clock.now += OPEN_SECONDS

    assert breaker.lets_through()
    assert not breaker.lets_through()
    breaker.succeeded()
    assert breaker.lets_through()
