"""The api as a test sees it: the real application on a real database, called in process."""

import base64
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
from fastapi import FastAPI
from joserfc.jwk import ECKey

from services.api.main import create_app, create_public
from services.api.settings import ApiSettings
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


def client(app: FastAPI, token: str | None = None) -> httpx.AsyncClient:
    """Return an HTTP client of the application."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://api.test", headers=headers)


def operator(app: FastAPI) -> httpx.AsyncClient:
    """Return a client that holds the operator's token."""
    return client(app, OPERATOR_TOKEN)


@cache
def document() -> dict[str, Any]:
    """Return the public document, which settings do not change; making it takes a second."""
    return create_public().openapi()


@asynccontextmanager
async def running_api(settings: ApiSettings) -> AsyncIterator[FastAPI]:
    """Start the application in this process and stop it afterwards."""
    app = create_app(settings)
    app.state.public.openapi_schema = document()
    async with app.router.lifespan_context(app):
        yield app


async def found_world(app: FastAPI, *, kind: str = "production") -> World:
    """Found a fresh organization through the operator's door."""
    slug = f"org-{secrets.token_hex(6)}"
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
