"""Signing keys over HTTP: they take turns under load, and a demo's open nothing elsewhere."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jws, jwt
from joserfc.jwk import KeySet

from services.api import worker
from services.api.resources import open_worker_resources
from shared.settings import Mode
from shared.workers import loop
from tests.support.apps import OPERATOR_TOKEN, api_settings, running_api
from tests.support.database import Databases, migrated
from tests.support.email_codes import challenge_of, code_in_the_mail
from tests.support.hurried import CACHE_SECONDS, LIFETIME_SECONDS, hurry
from tests.support.processes import environment, running
from tests.support.served import served

pytestmark = pytest.mark.stack

HURRIED = ("-m", "tests.support.hurried")
PROCESSES = 2
CLIENTS = 4
KEYS_SEEN = 4
PATIENCE_SECONDS = 120
LOOK_SECONDS = 0.1
# Some requests at any instant of a turn; as many as two cores can answer would show no more.
PAUSE_SECONDS = 0.05


@pytest.fixture
async def own_databases(tmp_path: Path) -> AsyncIterator[Databases]:
    """Run a server with signing keys and organizations of one test: a demo shares with nobody."""
    async with migrated(tmp_path / "postgres") as databases:
        yield databases


@asynccontextmanager
async def calling(url: str, token: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client of one process."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, trust_env=False, timeout=30
    ) as client:
        yield client


async def answered(response: httpx.Response) -> dict[str, Any]:
    """Return what a request was answered; a refusal fails the test."""
    assert response.is_success, response.text
    content: dict[str, Any] = response.json()
    return content


async def found(url: str) -> tuple[str, str]:
    """Found an organization; return its slug and a developer's token of its org admin."""
    slug = f"org-{secrets.token_hex(6)}"
    person = {"given_name": "Olive", "family_name": "Admin", "email": f"olive@{slug}.example.org"}
    async with calling(url, OPERATOR_TOKEN) as operator:
        body = {"slug": slug, "name": "Example Works", "org_admin": person}
        await answered(await operator.post("/operator/organizations", json=body))
        wanted = {"organization_slug": slug, "role": "org_admin"}
        signed_in = await operator.post("/operator/sign-ins", json=wanted)
        return slug, (await answered(signed_in))["access_token"]


async def new_client(url: str, admin_token: str) -> dict[str, str]:
    """Make an OAuth client; return the form it asks for tokens with."""
    async with calling(url, admin_token) as admin:
        made = await answered(
            await admin.post(
                "/v1/oauth-clients", json={"label": "a machine", "scopes": ["people:read"]}
            )
        )
    return {
        "grant_type": "client_credentials",
        "client_id": made["client_id"],
        "client_secret": made["client_secret"],
    }


async def signed_in(url: str, slug: str) -> str:
    """Let the org admin sign in where only the operator opens the way; return their token."""
    verifier = secrets.token_urlsafe(32)
    async with calling(url, OPERATOR_TOKEN) as operator, calling(url) as caller:
        body = {"organization_slug": slug, "label": "Set-up", "scopes": ["people:read"]}
        app = await answered(await operator.post("/operator/oauth-clients", json=body))
        asking = {
            "organization": slug,
            "email": f"olive@{slug}.example.org",
            "client_id": app["client_id"],
            "code_challenge": challenge_of(verifier),
        }
        asked = await answered(await caller.post("/v1/auth/email-codes", json=asking))
        place = f"/v1/auth/email-codes/{asked['challenge_id']}/verify"
        code = {"code": code_in_the_mail(asked["challenge_id"])}
        form = {
            "grant_type": "authorization_code",
            "client_id": app["client_id"],
            "code": (await answered(await caller.post(place, json=code)))["code"],
            "code_verifier": verifier,
        }
        return await fresh_token(caller, form)


async def fresh_token(client: httpx.AsyncClient, form: dict[str, str]) -> str:
    """Trade the secret for a token."""
    token: str = (await answered(await client.post("/oauth/token", data=form)))["access_token"]
    return token


def kid_of(token: str) -> str:
    """Return the key a token names."""
    kid: str = jws.extract_compact(token.encode()).headers()["kid"]
    return kid


@dataclass(slots=True)
class Watch:
    """What clients and a verifier of another company met while keys took turns."""

    requests: int = 0
    refused: list[str] = field(default_factory=list)
    kids: list[str] = field(default_factory=list)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


async def use_tokens(watch: Watch, urls: list[str], form: dict[str, str]) -> None:
    """Get token after token, and use each everywhere until it ends."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(calling(url)) for url in urls]
        turn = 0
        while not watch.is_over.is_set():
            turn += 1
            token = await fresh_token(clients[turn % len(clients)], form)
            ends_at = time.time() + LIFETIME_SECONDS
            if kid_of(token) not in watch.kids:
                watch.kids.append(kid_of(token))
            while time.time() < ends_at:
                for client in clients:
                    answer = await client.get(
                        "/v1/people",
                        params={"limit": 1},
                        headers={"Authorization": f"Bearer {token}"},
                    )
                    watch.requests += 1
                    if answer.status_code != 200:
                        watch.refused.append(answer.text)
                await asyncio.sleep(PAUSE_SECONDS)


async def verify_elsewhere(watch: Watch, urls: list[str], form: dict[str, str]) -> None:
    """Verify every fresh token with a key set that is kept as long as it may be kept."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(calling(url)) for url in urls]
        key_set, stale_at, turn = KeySet([]), 0.0, 0
        while not watch.is_over.is_set():
            turn += 1
            await asyncio.sleep(PAUSE_SECONDS)
            if time.monotonic() >= stale_at:
                # From the other process than the token, so that neither may lag behind.
                answer = await clients[(turn + 1) % len(clients)].get("/.well-known/jwks.json")
                assert answer.headers["Cache-Control"] == f"public, max-age={CACHE_SECONDS}"
                key_set = KeySet.import_key_set(answer.json())
                stale_at = time.monotonic() + CACHE_SECONDS
            token = await fresh_token(clients[turn % len(clients)], form)
            if kid_of(token) not in {key.kid for key in key_set.keys}:
                watch.refused.append(f"{kid_of(token)} signed before it was known")
                continue
            jwt.decode(token, key_set, algorithms=["ES256"])


async def watch_turns(watch: Watch, urls: list[str]) -> None:
    """Wait until several keys had their turn and the first one is gone everywhere."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(calling(url)) for url in urls]
        while not watch.is_over.is_set():
            await asyncio.sleep(LOOK_SECONDS)
            sets = [
                {key["kid"] for key in (await client.get("/.well-known/jwks.json")).json()["keys"]}
                for client in clients
            ]
            if len(watch.kids) >= KEYS_SEEN and not any(watch.kids[0] in kids for kids in sets):
                watch.is_over.set()


async def test_keys_take_turns_under_load_and_no_honest_request_is_refused(
    own_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch.setattr)
    monkeypatch.setattr(worker, "KEY_SECONDS", 0.1)
    settings = api_settings(own_databases, mode=Mode.DEMO)
    told = environment(settings) | {"MENTORING_MODE": "demo"}
    watch = Watch()
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(running(HURRIED, told)) for _ in range(PROCESSES)
        ]
        urls = [server.url for server in servers]
        form = await new_client(urls[0], (await found(urls[0]))[1])
        # Two workers, as where the api runs on two machines.
        turning = [
            job
            for _ in range(PROCESSES)
            for job in worker.jobs(await stack.enter_async_context(open_worker_resources(settings)))
            if job.name == "signing_keys"
        ]
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
            for job in turning:
                tasks.create_task(loop.run(job, watch.is_over))
            for _ in range(CLIENTS):
                tasks.create_task(use_tokens(watch, urls, form))
            tasks.create_task(verify_elsewhere(watch, urls, form))
            tasks.create_task(watch_turns(watch, urls))

    assert watch.refused == []
    assert len(watch.kids) >= KEYS_SEEN
    assert watch.requests > 100


async def test_tokens_of_a_demo_and_of_production_open_nothing_at_the_other(
    own_databases: Databases,
) -> None:
    """Both look at one database and one organization: only the keys are not the same."""
    in_demo = api_settings(own_databases, mode=Mode.DEMO)
    in_production = api_settings(own_databases, env="production", dev_login=False)
    # Nothing of the two is shared but the database, so one process may hold both.
    async with (
        running_api(in_demo) as one,
        running_api(in_production) as other,
        served(one) as demo,
        served(other) as production,
    ):
        slug, demo_token = await found(demo)
        form = await new_client(demo, demo_token)
        async with calling(demo) as at_demo, calling(production) as at_production:
            tokens = {
                "developer": demo_token,
                "demo": await fresh_token(at_demo, form),
                "production": await signed_in(production, slug),
            }
            answers = {
                (name, place): await client.get(
                    "/v1/people", headers={"Authorization": f"Bearer {token}"}
                )
                for name, token in tokens.items()
                for place, client in (("demo", at_demo), ("production", at_production))
            }

    said = {key: answer.status_code for key, answer in answers.items()}
    assert said == {
        ("developer", "demo"): 200,
        ("developer", "production"): 401,
        ("demo", "demo"): 200,
        ("demo", "production"): 401,
        ("production", "demo"): 401,
        ("production", "production"): 200,
    }
    refused = [answer for answer in answers.values() if answer.status_code == 401]
    assert {answer.json()["code"] for answer in refused} == {"token_invalid"}
    assert {answer.headers["WWW-Authenticate"] for answer in refused} == {
        'Bearer error="invalid_token"'
    }
