"""The api starts without its database, and does not start on one whose walls have gaps."""

import asyncio

import asyncpg
import pytest

from services.api import resources as api_resources
from services.api.dependencies import DoorRoute, PublicRoute, door
from services.api.main import ROUTERS
from services.api.resources import open_resources
from services.local import postgres
from shared.errors import UnavailableError
from shared.persistence.catalogue import UnsafeDatabaseError
from shared.settings import Mode, SettingError
from tests.support.apps import World, api_settings, client, running_api
from tests.support.database import Databases
from tests.support.ports import forwarded, free_port


async def test_the_api_serves_as_soon_as_its_database_returns(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_resources, "RETRY_SECONDS", 0.01)
    port = free_port()
    away = Databases(port, databases.admin_password, databases.passwords)
    async with running_api(api_settings(away)) as app:
        caller = client(app, "whatever")
        assert (await caller.get("/livez")).status_code == 200
        assert (await caller.get("/readyz")).status_code == 503
        refused = await caller.get("/v1/me/token")
        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
        assert refused.headers["Retry-After"] == "1"
        waiting = next(task for task in asyncio.all_tasks() if task.get_name() == "database")

        async with forwarded(port, databases.port):
            await asyncio.wait_for(waiting, 5)
            assert (await caller.get("/v1/me/token")).status_code == 401


@pytest.mark.parametrize("role", ["migrator", postgres.SUPERUSER])
async def test_a_role_that_sees_everything_stops_the_start(databases: Databases, role: str) -> None:
    settings = api_settings(databases, api_database_url=databases.url(role, "api"))
    with pytest.raises(UnsafeDatabaseError):
        async with open_resources(settings):
            raise AssertionError("it started")


async def test_a_gap_in_the_schema_stops_the_start(databases: Databases) -> None:
    owner = await asyncpg.connect(databases.url("migrator", "api"))
    await owner.execute("CREATE TABLE left_open (organization_id uuid PRIMARY KEY)")
    try:
        with pytest.raises(UnsafeDatabaseError, match="left_open: row-level security is off"):
            async with open_resources(api_settings(databases)):
                raise AssertionError("it started")
    finally:
        await owner.execute("DROP TABLE left_open")
        await owner.close()


async def test_a_demo_does_not_start_beside_real_organizations(
    databases: Databases, world: World
) -> None:
    assert world.organization_id
    with pytest.raises(SettingError, match="a demo needs a database of its own"):
        async with open_resources(api_settings(databases, mode=Mode.DEMO)):
            raise AssertionError("it started")


async def test_nothing_real_starts_beside_a_demo(databases: Databases, world: World) -> None:
    """A demo's credentials lie in its state file; on one database they would open both."""
    mark = "UPDATE organization_slug SET is_demo = $2 WHERE slug = $1"
    owner = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    await owner.execute(mark, world.slug, True)
    try:
        with pytest.raises(SettingError, match="organizations of a demo"):
            async with open_resources(api_settings(databases)):
                raise AssertionError("it started")
    finally:
        await owner.execute(mark, world.slug, False)
        await owner.close()


async def test_a_gap_found_late_is_never_served(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_resources, "RETRY_SECONDS", 0.01)
    port = free_port()
    away = Databases(port, databases.admin_password, databases.passwords)
    settings = api_settings(away, api_database_url=away.url("migrator", "api"))
    async with open_resources(settings) as resources, forwarded(port, databases.port):
        waiting = next(task for task in asyncio.all_tasks() if task.get_name() == "database")
        await asyncio.wait_for(waiting, 5)

        with pytest.raises(UnavailableError):
            _ = resources.issuer


@pytest.mark.parametrize("declared", [None, {}, {"x-audience": "everybody"}])
def test_a_route_that_declares_no_permission_stops_the_start(
    declared: dict[str, str] | None,
) -> None:
    router = door("test")

    async def anybody() -> None:
        """Ask for nothing."""

    with pytest.raises(RuntimeError, match="declares no permission"):
        router.get("/anything", openapi_extra=declared)(anybody)


def test_a_permission_that_nobody_defined_stops_the_start() -> None:
    router = door("test")

    async def misspelt() -> None:
        """Ask for what does not exist."""

    with pytest.raises(RuntimeError, match="unknown permission"):
        router.get("/anything", openapi_extra={"x-access": {"permission": "person.reed"}})(misspelt)


def test_every_router_of_the_public_api_stands_behind_the_door() -> None:
    routes = [route for router in ROUTERS for route in router.routes]

    assert routes
    assert [route for route in routes if not isinstance(route, DoorRoute | PublicRoute)] == []
