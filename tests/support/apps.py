"""The api as a test sees it: the real application on a real database, called in process."""

import base64
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import httpx
from fastapi import FastAPI
from joserfc.jwk import ECKey

from services.api.access.rules import Scope
from services.api.main import create_app
from services.api.settings import ApiSettings
from shared import ids
from shared.clock import system_clock
from tests.support.copies import Renaming, Rows, built_in_template, rows_of, since, write
from tests.support.database import Databases

OPERATOR_TOKEN = "operator-of-the-tests"


def api_settings(databases: Databases, **changes: Any) -> ApiSettings:
    """Return settings that point to the databases of this run."""
    key = ECKey.generate_key("P-256", {"kid": "service:api"}, private=True)
    values: dict[str, Any] = {
        "env": "development",
        "api_database_url": databases.url("app_api", "api"),
        "api_jobs_database_url": databases.url("app_jobs", "api"),
        "api_worker_database_url": databases.url("worker_system", "api"),
        "key_encryption_key": KEY_ENCRYPTION_KEY,
        "operator_token": OPERATOR_TOKEN,
        "dev_login": True,
        "service_key": json.dumps(key.as_dict(private=True)),
        "log_level": "error",
        "rate_limit": 1_000_000,
        "organization_rate_limit": 1_000_000,
        "network_rate_limit": 1_000_000,
        "sign_in_rate_limit": 1_000_000,
        "sign_in_organization_rate_limit": 1_000_000,
    }
    return ApiSettings(**(values | changes))


# One key for the whole run: issuers of one database must be able to read each other's keys.
KEY_ENCRYPTION_KEY = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


@dataclass(slots=True)
class World:
    """An application, and one organization in it with somebody to run it."""

    app: FastAPI
    slug: str
    organization_id: str
    org_admin_id: str
    org_admin: httpx.AsyncClient
    has_begun: bool = False

    @property
    def id(self) -> UUID:
        """Return the organization's id as the inside knows it."""
        return ids.parse_id("organization", self.organization_id)

    async def as_person(self, person_id: str) -> httpx.AsyncClient:
        """Return a client with the person's own token."""
        answer = await operator(self.app).post(
            "/operator/sign-ins",
            json={"organization_slug": self.slug, "person_id": person_id},
        )
        assert answer.status_code == 200, answer.text
        return client(self.app, answer.json()["access_token"])

    async def add_person(self, **values: Any) -> dict[str, Any]:
        """Add a person to the directory and return them."""
        name = f"p{secrets.token_hex(4)}"
        body = {
            "email": f"{name}@example.org",
            "given_name": "Given",
            "family_name": f"Family {name}",
        }
        answer = await self.org_admin.post("/v1/people", json=body | values)
        assert answer.status_code == 201, answer.text
        person: dict[str, Any] = answer.json()
        return person

    async def add_key(self, *scopes: str) -> httpx.AsyncClient:
        """Return a client with a new API key."""
        answer = await self.org_admin.post(
            "/v1/api-keys", json={"label": "a machine", "scopes": list(scopes)}
        )
        assert answer.status_code == 201, answer.text
        return client(self.app, answer.json()["key"])


@dataclass(frozen=True, slots=True)
class Founded:
    """The first organization of a kind, and the rows it began with."""

    world: World
    rows: Rows


_FOUNDED: dict[str, Founded] = {}


def client(app: FastAPI, token: str | None = None) -> httpx.AsyncClient:
    """Return an HTTP client of the application."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://api.test", headers=headers)


def operator(app: FastAPI) -> httpx.AsyncClient:
    """Return a client that holds the operator's token."""
    return client(app, OPERATOR_TOKEN)


@asynccontextmanager
async def running_api(settings: ApiSettings) -> AsyncIterator[FastAPI]:
    """Start the application in this process and stop it afterwards."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


async def found_world(app: FastAPI, *, kind: str = "production") -> World:
    """Return a fresh organization; the first of its kind comes through the operator's door."""
    slug = f"org-{secrets.token_hex(6)}"
    known = _FOUNDED.get(kind)
    if known is None:
        world = await _found(app, slug, kind)
        rows = since(frozenset(), await rows_of(app, world.id))
        _FOUNDED[kind] = Founded(replace(world), rows)
        return world
    first = known.world
    organization_id = ids.new_id()
    renaming = Renaming(
        {
            first.id: organization_id,
            built_in_template(first.id): built_in_template(organization_id),
        },
        {first.slug: slug},
    )
    await write(app, organization_id, known.rows, renaming)
    return World(
        app,
        slug,
        ids.format_id("organization", organization_id),
        renaming.of_text(first.org_admin_id),
        same_person(app, first.org_admin, renaming),
    )


async def _found(app: FastAPI, slug: str, kind: str) -> World:
    answer = await operator(app).post(
        "/operator/organizations",
        json={
            "slug": slug,
            "name": "Example Works",
            "kind": kind,
            "default_timezone": "Europe/Berlin",
            "grade_order": ["Junior", "Senior", "Lead"],
            "org_admin": {
                "given_name": "Olive",
                "family_name": "Admin",
                "email": f"admin@{slug}.example.org",
            },
        },
    )
    assert answer.status_code == 201, answer.text
    founded = answer.json()
    world = World(app, slug, founded["id"], founded["org_admin_person_id"], client(app))
    world.org_admin = await world.as_person(world.org_admin_id)
    return world


def same_person(app: FastAPI, theirs: httpx.AsyncClient, renaming: Renaming) -> httpx.AsyncClient:
    """Return a client whose token says the same of a person under another id."""
    payload = theirs.headers["Authorization"].split(".")[1]
    padded = payload + "=" * (-len(payload) % 4)
    claims = json.loads(renaming.of_text(base64.urlsafe_b64decode(padded).decode()))
    token = app.state.resources.issuer.issue(
        organization_id=ids.parse_id("organization", claims["org"]),
        subject=ids.parse_id("person", claims["sub"]),
        is_person=True,
        access_version=claims["ver"],
        scopes=map(Scope, claims["scope"].split()),
        now=system_clock(),
        lifetime_seconds=claims["exp"] - claims["iat"],
    )
    return client(app, token)
