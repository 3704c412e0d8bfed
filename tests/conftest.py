"""Fixtures of every test: one PostgreSQL server, one application, a fresh organization each."""

import gc
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from services.api.resources import WorkerResources, open_worker_resources
from tests.support.apps import World, api_settings, found_world, running_api
from tests.support.database import Databases, migrated
from tests.support.notifications import beside

# What thousands of tests are made of lives to the end: looking through it again and again for what
# could be freed took an eighth of the time.
gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with what takes longest, so that no worker is left with it in the end."""
    items.sort(key=lambda item: item.get_closest_marker("stack") is None)


def pytest_collection_finish() -> None:
    """Leave alone what was collected, and look at what tests make."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


@pytest.fixture(scope="session")
async def databases(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Databases]:
    """Run a migrated throw-away server for this worker."""
    async with migrated(tmp_path_factory.mktemp("postgres") / "state") as running:
        yield running


@pytest.fixture(scope="session")
async def api(databases: Databases) -> AsyncIterator[FastAPI]:
    """Run the api on that server, with notifications beside it."""
    async with running_api(api_settings(databases)) as app, beside(app, databases):
        yield app


@pytest.fixture(scope="session")
async def worker(databases: Databases) -> AsyncIterator[WorkerResources]:
    """Open what background work stands on, beside the application."""
    async with open_worker_resources(api_settings(databases)) as opened:
        yield opened


@pytest.fixture
async def world(api: FastAPI) -> World:
    """Return a fresh organization that nobody else uses."""
    return await found_world(api)
