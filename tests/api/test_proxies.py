"""Whose word counts for the address of whoever calls: the api as the command serves it."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from unittest.mock import patch

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from services import cli
from tests.support.apps import api_settings
from tests.support.database import Databases
from tests.support.processes import API, environment, running

LIMIT = 2
DOOR = "/v1/auth/email-codes"
FIRST, SECOND = "203.0.113.1", "198.51.100.1"
CLAIMED = "192.0.2.{}, 203.0.113.9"

type Reached = Callable[[Mapping[str, str]], AbstractAsyncContextManager[httpx.AsyncClient]]


@asynccontextmanager
async def on_a_socket(told: Mapping[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """Start the api as an operator does, and stand before it as its proxy."""
    async with (
        running(API, told) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as proxy,
    ):
        yield proxy


@asynccontextmanager
async def in_process(told: Mapping[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """Take what the command hands to its server, and stand before that as its proxy."""
    with (
        patch.dict(os.environ, told, clear=True),
        patch.object(uvicorn.Server, "run", autospec=True) as run,
    ):
        cli.serve("api")
    config: uvicorn.Config = run.call_args.args[0].config
    config.load()
    api = config.app
    assert isinstance(api, FastAPI)
    transport = httpx.ASGITransport(config.loaded_app, client=("127.0.0.1", 1))
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=transport, base_url="http://api.test") as proxy,
    ):
        yield proxy


async def answers(proxy: httpx.AsyncClient, *forwarded: str) -> list[int]:
    """Return the statuses of requests that the proxy passes on for others."""
    return [
        (await proxy.post(DOOR, json={}, headers={"X-Forwarded-For": one})).status_code
        for one in forwarded
    ]


@pytest.mark.parametrize(
    ("reached", "trusted", "is_believed"),
    [
        (on_a_socket, "10.0.0.0/8, 127.0.0.0/8", True),
        (in_process, "10.0.0.0/8, 127.0.0.0/8", True),
        (in_process, "172.16.0.0/12,192.168.0.0/16", False),
        (in_process, "", False),
        (in_process, None, True),
    ],
)
async def test_strangers_behind_a_proxy_are_told_apart_if_it_is_trusted(
    databases: Databases, reached: Reached, trusted: str | None, *, is_believed: bool
) -> None:
    told = environment(api_settings(databases)) | {
        "MENTORING_LOG_LEVEL": "error",
        "MENTORING_SIGN_IN_RATE_LIMIT": str(LIMIT),
    }
    if trusted is not None:
        told["MENTORING_TRUSTED_PROXIES"] = trusted
    async with reached(told) as proxy:
        assert await answers(proxy, *[FIRST] * (LIMIT + 1)) == [*[400] * LIMIT, 429]

        assert await answers(proxy, SECOND) == [400 if is_believed else 429]

        if is_believed:
            # Only the last address is the proxy's own word; before it stands what was claimed.
            claimed = [CLAIMED.format(number) for number in range(LIMIT + 1)]
            assert await answers(proxy, *claimed) == [*[400] * LIMIT, 429]
