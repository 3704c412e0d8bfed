"""An api that may call providers on this machine, one of them real, and people who sign in."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI

from tests.support.apps import World, api_settings, found_world, running_api
from tests.support.database import Databases
from tests.support.email_codes import App, add_app
from tests.support.identity_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    IdentityProvider,
    providing,
)
from tests.support.pages import Browser, Page, authorize

CANCEL = "/oauth/sign-in/cancel"


@pytest.fixture(scope="session")
async def lenient_api(databases: Databases) -> AsyncIterator[FastAPI]:
    """Run an api whose operator lists this machine."""
    async with running_api(api_settings(databases, egress_allow=["localhost"])) as app:
        yield app


@pytest.fixture
async def world(lenient_api: FastAPI) -> World:
    """Return a fresh organization of that api."""
    return await found_world(lenient_api)


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    """Return a provider that does as it is told."""
    async with providing() as running:
        yield running


@dataclass(slots=True)
class Desk:
    """An organization with an app and a connection to a provider."""

    world: World
    app: App
    connection: dict[str, Any]

    @property
    def action(self) -> str:
        """Return where the button of the sign-in page leads."""
        return f"/oauth/upstream/{self.connection['id']}"

    async def employ(self, external_id: str, **values: Any) -> dict[str, Any]:
        """Add somebody whose id this connection knows."""
        known = {"source": self.connection["source"], "external_id": external_id}
        return await self.world.add_person(external_ids=[known], **values)

    async def leave(self, browser: Browser) -> str:
        """Go to the provider, and return its address with what is asked of it."""
        first = await browser.open(authorize(self.app))
        page = await browser.send(self.action, first.form(CANCEL).fields)
        assert page.answer.status_code == 303, page.text
        location: str = page.answer.headers["Location"]
        return location

    async def sign_in(
        self, provider: IdentityProvider, browser: Browser | None = None, **changes: str | None
    ) -> Page:
        """Go to the provider and back; what it answers may be changed on the way."""
        browser = browser or Browser(self.world.app)
        location = await self.leave(browser)
        return await browser.open(local(provider.answer_to(location, **changes)))


def local(url: str) -> str:
    """Return an address of the api as the in-process browser knows it."""
    return "/oauth/callback" + url.partition("/oauth/callback")[2]


async def connect(world: World, issuer: str, **settings: Any) -> Desk:
    """Connect an organization to a provider."""
    oidc = {
        "issuer": issuer,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "external_id_claim": "employee_id",
    }
    body = {"label": "Works login", "kind": "oidc", "oidc": oidc | settings}
    answer = await world.org_admin.post("/v1/connections", json=body)
    assert answer.status_code == 201, answer.text
    active = await world.org_admin.patch(
        f"/v1/connections/{answer.json()['id']}",
        json={"status": "active"},
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )
    assert active.status_code == 200, active.text
    return Desk(world, await add_app(world), active.json())


@pytest.fixture
async def desk(world: World, provider: IdentityProvider) -> Desk:
    """Return an organization that is connected to the provider."""
    return await connect(world, provider.issuer)
