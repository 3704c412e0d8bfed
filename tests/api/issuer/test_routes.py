"""The issuer's doors at the root of the api."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import KeySet

from services.api import resources as api_resources
from services.api.resources import Resources, open_resources
from services.api.settings import ApiSettings
from shared import ids
from shared.errors import UnauthenticatedError
from shared.settings import Mode
from tests.support.apps import World, api_settings, client, found_world, running_api
from tests.support.database import Databases
from tests.support.issuer import REDIRECT, add_app

PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type",
}


async def new_client(world: World, *scopes: str) -> dict[str, Any]:
    """Make an OAuth client and return it with its secret."""
    answer = await world.org_admin.post(
        "/v1/oauth-clients", json={"label": "a machine", "scopes": list(scopes)}
    )
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def ask(app: FastAPI, made: dict[str, Any], **fields: str) -> httpx.Response:
    """Ask for a token with the secret in the form."""
    form = {
        "grant_type": "client_credentials",
        "client_id": made["client_id"],
        "client_secret": made["client_secret"],
    }
    return await client(app).post("/oauth/token", data=form | fields)


async def test_the_metadata_names_the_other_doors(api: FastAPI) -> None:
    answer = await client(api).get("/.well-known/oauth-authorization-server")

    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "public, max-age=600"
    metadata = answer.json()
    assert metadata["issuer"] == "http://127.0.0.1:8000"
    assert metadata["token_endpoint"] == "http://127.0.0.1:8000/oauth/token"
    assert metadata["jwks_uri"] == "http://127.0.0.1:8000/.well-known/jwks.json"
    assert metadata["authorization_endpoint"] == "http://127.0.0.1:8000/oauth/authorize"
    assert metadata["revocation_endpoint"] == "http://127.0.0.1:8000/oauth/revoke"
    assert metadata["response_types_supported"] == ["code"]
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["authorization_response_iss_parameter_supported"] is True
    assert set(metadata["grant_types_supported"]) == {
        "client_credentials",
        "authorization_code",
        "refresh_token",
    }
    assert "ES256" in metadata["token_endpoint_auth_signing_alg_values_supported"]


async def test_the_key_set_verifies_a_token_and_holds_no_secret(world: World) -> None:
    made = await new_client(world, "people:read")
    token = (await ask(world.app, made)).json()["access_token"]
    answer = await client(world.app).get("/.well-known/jwks.json")

    assert answer.headers["Cache-Control"] == "public, max-age=600"
    assert all("d" not in key for key in answer.json()["keys"])
    claims = jwt.decode(token, KeySet.import_key_set(answer.json()), algorithms=["ES256"]).claims
    assert claims["sub"] == made["id"]
    assert claims["org"] == world.organization_id
    assert claims["exp"] - claims["iat"] == 600


@pytest.mark.parametrize("is_basic", [True, False])
async def test_a_secret_is_traded_for_a_short_token(world: World, *, is_basic: bool) -> None:
    made = await new_client(world, "people:read", "people:write")
    if is_basic:
        answer = await client(world.app).post(
            "/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(made["client_id"], made["client_secret"]),
        )
    else:
        answer = await ask(world.app, made)

    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    token = answer.json()
    assert token["token_type"] == "Bearer"
    assert token["expires_in"] == 600
    assert token["scope"] == "people:read people:write"
    people = await client(world.app, token["access_token"]).get("/v1/people")
    assert people.status_code == 200


async def test_a_narrower_token_opens_less(world: World) -> None:
    made = await new_client(world, "people:read", "people:write")
    token = (await ask(world.app, made, scope="people:read")).json()

    assert token["scope"] == "people:read"
    answer = await client(world.app, token["access_token"]).post("/v1/people", json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")


async def test_a_client_gets_no_scope_it_was_not_given(world: World) -> None:
    answer = await ask(world.app, await new_client(world, "people:read"), scope="admin")

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    assert answer.headers["Cache-Control"] == "no-store"


async def test_unknown_revoked_and_wrong_clients_get_the_same_answer(
    world: World, api: FastAPI
) -> None:
    revoked, other = [await new_client(world, "people:read") for _ in range(2)]
    ended = await world.org_admin.post(f"/v1/oauth-clients/{revoked['id']}/revoke")
    assert ended.status_code == 200
    organization = other["client_id"].partition("-")[0]
    wrong = [
        revoked,
        other | {"client_secret": revoked["client_secret"]},
        other | {"client_secret": "ü" * 40},
        other | {"client_secret": "\x00"},
        other | {"client_id": f"{organization}-{ids.encode(ids.new_id())}"},
        other | {"client_id": f"{ids.encode(ids.new_id())}-{ids.encode(ids.new_id())}"},
        other | {"client_id": "nobody"},
    ]

    answers = [await ask(api, one) for one in wrong]

    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    names = {name for answer in answers for name in answer.headers} - {"request-id"}
    told = {tuple(answer.headers.get(name) for name in sorted(names)) for answer in answers}
    assert len(told) == 1
    assert answers[0].json()["error"] == "invalid_client"
    assert answers[0].headers["WWW-Authenticate"].startswith("Basic ")


async def test_a_revoked_client_loses_its_tokens_with_the_next_request(world: World) -> None:
    made = await new_client(world, "people:read")
    machine = client(world.app, (await ask(world.app, made)).json()["access_token"])
    assert (await machine.get("/v1/people")).status_code == 200

    await world.org_admin.post(f"/v1/oauth-clients/{made['id']}/revoke")

    refused = await machine.get("/v1/people")
    assert (refused.status_code, refused.json()["code"]) == (401, "key_revoked")


async def test_the_use_of_a_client_is_remembered(world: World) -> None:
    made = await new_client(world, "people:read")
    assert (await ask(world.app, made)).status_code == 200
    listed = (await world.org_admin.get("/v1/oauth-clients")).json()["items"]
    assert [one["id"] for one in listed] == [made["id"]]

    resources: Resources = world.app.state.resources
    async with resources.reads.acquire() as connection, connection.transaction(readonly=True):
        await connection.execute(
            "SELECT set_config('app.organization_id', $1, true)",
            str(world.id),
        )
        used = await connection.fetchval("SELECT last_used_at FROM oauth_client")
    assert used is not None


async def test_a_wrong_form_is_refused_in_the_words_of_the_protocol(api: FastAPI) -> None:
    answer = await client(api).post("/oauth/token", json={"grant_type": "client_credentials"})

    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"
    assert answer.headers["Content-Type"] == "application/json"


async def test_tokens_of_a_demo_open_nothing_elsewhere_even_on_one_database(
    databases: Databases, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sign with keys of their own; whoever has one token is a stranger to the other."""
    normal: Resources = world.app.state.resources
    settings: ApiSettings = api_settings(databases, mode=Mode.DEMO)
    # As if the demo had not looked whose database it is.
    monkeypatch.setattr(api_resources, "HOLDS_OTHERS", "SELECT $1 AND false")
    now = normal.clock()

    def token_of(resources: Resources) -> str:
        return resources.issuer.issue(
            organization_id=world.id,
            subject=ids.parse_id("person", world.org_admin_id),
            is_person=True,
            access_version=1,
            scopes=[],
            now=now,
        )

    async with open_resources(settings) as demo:
        assert demo.issuer.verify(token_of(demo), now=now).is_person
        with pytest.raises(UnauthenticatedError):
            normal.issuer.verify(token_of(demo), now=now)
        with pytest.raises(UnauthenticatedError):
            demo.issuer.verify(token_of(normal), now=now)


async def test_pages_of_listed_origins_sign_in_and_others_read_nothing(
    databases: Databases,
) -> None:
    listed, other = "https://app.example.org", "https://evil.example"
    settings = api_settings(databases, cors_origins=[listed])
    async with running_api(settings) as app:
        page = await add_app(await found_world(app))
        for origin, is_listed in ((listed, True), (other, False)):
            answers = [
                await client(app).options(path, headers=PREFLIGHT | {"Origin": origin})
                for path in ("/oauth/token", "/oauth/revoke")
            ]
            code = await page.code(page.world.org_admin_id)
            form = {"client_id": page.name, "code": code, "code_verifier": page.verifier}
            form |= {"grant_type": "authorization_code", "redirect_uri": REDIRECT}
            headers = {"Origin": origin}
            answers += [
                await client(app).post("/oauth/token", data=form, headers=headers),
                await client(app).post("/oauth/token", data={}, headers=headers),
                await client(app).get("/.well-known/oauth-authorization-server", headers=headers),
                await client(app).get("/.well-known/jwks.json", headers=headers),
            ]

            allowed = {one.headers.get("Access-Control-Allow-Origin") for one in answers}
            assert allowed == ({listed} if is_listed else {None})
            assert all("Access-Control-Allow-Credentials" not in one.headers for one in answers)
