"""What strangers may ask: they count by their network, whatever they show."""

import asyncio
import secrets
from http import HTTPStatus

import httpx
import pytest
from fastapi import FastAPI

from services.api.resources import Resources
from shared.web.admission import PER_CONNECTION
from shared.web.limits import Lane
from tests.support.apps import api_settings, client, found_world, running_api
from tests.support.database import Databases
from tests.support.issuer import add_app

LIMIT = 5
KEYS = "/.well-known/jwks.json"


def junk(kind: str) -> str:
    """Return a credential that nobody holds, another one each time."""
    return f"{kind} {secrets.token_hex(8)}"


def from_elsewhere(api: FastAPI) -> httpx.AsyncClient:
    """Return a client of another network."""
    transport = httpx.ASGITransport(app=api, client=("192.0.2.1", 1))
    return httpx.AsyncClient(transport=transport, base_url="http://api.test")


async def standing_in(lane: Lane, count: int) -> None:
    """Return once so many wait in a lane."""
    for _ in range(1000):
        if sum(map(len, lane._waiting.values())) == count:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{count} never waited")


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


@pytest.mark.parametrize("door", ["/oauth/token", "/oauth/revoke"])
async def test_a_crowd_at_the_doors_of_tokens_waits_beside_everybody_else(
    databases: Databases, door: str
) -> None:
    settings = api_settings(databases, api_connections=1)
    async with running_api(settings) as api:
        world = await found_world(api)
        app = await add_app(world)
        resources: Resources = api.state.resources
        places = 2 * PER_CONNECTION * settings.api_connections
        resources.token_lane = lane = Lane(width=1, room=2 * places)

        async with lane.passage("somebody"):
            # More than there are places: whoever waits has none.
            crowd = [
                asyncio.create_task(app.post(door, token="rt_x", refresh_token="rt_x"))
                for _ in range(2 * places)
            ]
            await standing_in(lane, len(crowd))
            assert (await world.org_admin.get("/v1/me")).status_code == 200
            # Whoever comes from another network has room and the next turn.
            honest = asyncio.create_task(
                from_elsewhere(api).post(door, data={"client_id": app.name})
            )
            turned_away = await asyncio.gather(*crowd[-1:])
            assert turned_away[0].status_code == HTTPStatus.SERVICE_UNAVAILABLE
            assert turned_away[0].json()["code"] == "overloaded"
            assert turned_away[0].headers["Retry-After"] == "1"

        await honest
        assert sum(not one.done() for one in crowd) >= len(crowd) - 4
        answers = await asyncio.gather(*crowd[:-1])
        assert {one.status_code for one in answers} <= {200, 400}


async def test_what_names_nobody_waits_for_nobody(databases: Databases) -> None:
    async with running_api(api_settings(databases)) as api:
        api.state.resources.token_lane = Lane(width=0, room=0)
        answer = await client(api).post("/oauth/token", data={"client_id": "nobody"})
    assert answer.status_code == HTTPStatus.UNAUTHORIZED


async def test_a_crowd_at_one_door_holds_up_nobody_at_another(databases: Databases) -> None:
    async with running_api(api_settings(databases)) as api:
        world = await found_world(api)
        app = await add_app(world)
        tokens = await app.sign_in(world.org_admin_id)
        api.state.resources.sign_in_lane = Lane(width=0, room=0)
        shut = await client(api).get("/oauth/authorize")
        assert shut.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert (await app.refresh(tokens["refresh_token"])).status_code == 200
