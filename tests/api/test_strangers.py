"""What strangers may ask: they count by their network, whatever they show."""

import secrets
from http import HTTPStatus

import httpx
import pytest
from fastapi import FastAPI

from tests.support.apps import api_settings, client, found_world, running_api
from tests.support.database import Databases

LIMIT = 5
KEYS = "/.well-known/jwks.json"


def junk(kind: str) -> str:
    """Return a credential that nobody holds, another one each time."""
    return f"{kind} {secrets.token_hex(8)}"


def from_elsewhere(api: FastAPI) -> httpx.AsyncClient:
    """Return a client of another network."""
    transport = httpx.ASGITransport(app=api, client=("192.0.2.1", 1))
    return httpx.AsyncClient(transport=transport, base_url="http://api.test")


@pytest.mark.parametrize("kind", ["Bearer", "Bearer mk_a_b_", "Basic", "Nothing"])
async def test_junk_credentials_count_by_network(databases: Databases, kind: str) -> None:
    async with running_api(api_settings(databases, network_rate_limit=LIMIT)) as api:
        world = await found_world(api)
        await world.org_admin.get("/v1/me")

        statuses = []
        for _ in range(LIMIT + 1):
            for path in (KEYS, "/v1/me"):
                answer = await client(api).get(path, headers={"Authorization": junk(kind)})
                statuses.append(answer.status_code)

        assert statuses[-1] == HTTPStatus.TOO_MANY_REQUESTS
        assert statuses.count(HTTPStatus.TOO_MANY_REQUESTS) >= len(statuses) - LIMIT
        assert (await world.org_admin.get("/v1/me")).status_code == 200
        assert (await from_elsewhere(api).get(KEYS)).status_code == 200


async def test_good_credentials_leave_their_network_what_it_has(databases: Databases) -> None:
    async with running_api(api_settings(databases, network_rate_limit=LIMIT + 1)) as api:
        world = await found_world(api)
        # Founding took one of them, by the operator's token; the rest is for people's.
        for _ in range(2 * LIMIT):
            assert (await world.org_admin.get("/v1/me")).status_code == 200
        answer = await client(api).get(KEYS)
        assert answer.headers["RateLimit-Policy"] == f'"default";q={LIMIT + 1};w=60'
        assert answer.status_code == 200
