"""Each grant once over a real socket, with what ends it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from services.api.access import rules as access
from services.api.issuer.rules import ASSERTION_TYPE
from tests.support.apps import World
from tests.support.issuer import REDIRECT, App, add_app, add_client, add_signer, organization_id
from tests.support.served import served


@pytest.fixture
async def outside(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client that reaches the api over HTTP."""
    async with (
        served(world.app) as root,
        httpx.AsyncClient(base_url=root, trust_env=False) as caller,
    ):
        yield caller


async def sign_in(outside: httpx.AsyncClient, app: App, person_id: str) -> dict[str, str]:
    """Trade a code for the first pair of tokens."""
    form = {
        "grant_type": "authorization_code",
        "client_id": app.name,
        "code": await app.code(person_id),
        "redirect_uri": REDIRECT,
        "code_verifier": app.verifier,
    }
    answer = await outside.post("/oauth/token", data=form)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, str] = answer.json()
    return tokens


async def refresh(outside: httpx.AsyncClient, app: App, token: str) -> httpx.Response:
    """Trade a refresh token for the next pair."""
    form = {"grant_type": "refresh_token", "client_id": app.name, "refresh_token": token}
    return await outside.post("/oauth/token", data=form)


async def opens(outside: httpx.AsyncClient, token: str, path: str = "/v1/me/token") -> int:
    """Show a token and return the status."""
    shown = {"Authorization": f"Bearer {token}"}
    return (await outside.get(path, headers=shown)).status_code


async def test_a_phone_stays_signed_in_and_a_stolen_token_ends_it(
    world: World, outside: httpx.AsyncClient
) -> None:
    app = await add_app(world)
    first = await sign_in(outside, app, world.org_admin_id)
    lost = (await refresh(outside, app, first["refresh_token"])).json()
    second = (await refresh(outside, app, first["refresh_token"])).json()
    third = (await refresh(outside, app, second["refresh_token"])).json()

    assert await opens(outside, third["access_token"], "/v1/me") == 200
    for stolen in (lost, first, second, third):
        answer = await refresh(outside, app, stolen["refresh_token"])
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_whoever_signs_out_everywhere_is_out_with_the_next_request(
    world: World, outside: httpx.AsyncClient
) -> None:
    app = await add_app(world)
    here, there = [await sign_in(outside, app, world.org_admin_id) for _ in range(2)]

    shown = {"Authorization": f"Bearer {here['access_token']}"}
    assert (await outside.post("/v1/me/sign-out-everywhere", headers=shown)).status_code == 204

    for one in (here, there):
        assert await opens(outside, one["access_token"]) == 401
        assert (await refresh(outside, app, one["refresh_token"])).status_code == 400


async def test_a_machine_shows_its_secret_or_signs(
    world: World, outside: httpx.AsyncClient
) -> None:
    row = await add_client(world, secret_digest=access.secret_digest("secret"))
    name = access.client_name(organization_id(world), row.id)
    signer = await add_signer(world)
    grant = {"grant_type": "client_credentials"}
    signed = grant | {
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": signer.sign(),
    }

    answers = [
        await outside.post("/oauth/token", data=grant, auth=(name, "secret")),
        await outside.post("/oauth/token", data=signed),
        await outside.post("/oauth/token", data=signed),
        await outside.post("/oauth/token", data=grant, auth=(name, "guess")),
    ]

    assert [one.status_code for one in answers] == [200, 200, 401, 401]
    for one in answers[:2]:
        assert await opens(outside, one.json()["access_token"]) == 200
