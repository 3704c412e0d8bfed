"""Whose word counts for the address of whoever calls: a real server, as an operator starts it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.support.apps import api_settings
from tests.support.database import Databases
from tests.support.processes import API, environment, running

LIMIT = 2
DOOR = "/v1/auth/email-codes"
FIRST, SECOND = "203.0.113.1", "198.51.100.1"


CLAIMED = "192.0.2.{}, 203.0.113.9"


@asynccontextmanager
async def reached(databases: Databases, trusted: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """Start the api and stand before it as its proxy."""
    told = environment(api_settings(databases)) | {"MENTORING_SIGN_IN_RATE_LIMIT": str(LIMIT)}
    if trusted is not None:
        told["MENTORING_TRUSTED_PROXIES"] = trusted
    async with (
        running(API, told) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as proxy,
    ):
        yield proxy


async def answers(proxy: httpx.AsyncClient, *forwarded: str) -> list[int]:
    """Return the statuses of requests that the proxy passes on for others."""
    return [
        (await proxy.post(DOOR, json={}, headers={"X-Forwarded-For": one})).status_code
        for one in forwarded
    ]


@pytest.mark.parametrize(
    ("trusted", "is_believed"),
    [
        ("10.0.0.0/8, 127.0.0.0/8", True),
        ("172.16.0.0/12,192.168.0.0/16", False),
        ("", False),
        (None, True),
    ],
)
async def test_strangers_behind_a_proxy_are_told_apart_if_it_is_trusted(
    databases: Databases, trusted: str | None, *, is_believed: bool
) -> None:
    async with reached(databases, trusted) as proxy:
        assert await answers(proxy, *[FIRST] * (LIMIT + 1)) == [*[400] * LIMIT, 429]

        assert await answers(proxy, SECOND) == [400 if is_believed else 429]

        if is_believed:
            # Only the last address is the proxy's own word; before it stands what was claimed.
            claimed = [CLAIMED.format(number) for number in range(LIMIT + 1)]
            assert await answers(proxy, *claimed) == [*[400] * LIMIT, 429]
