"""An api that can call matching, and a worker that runs runs: fixtures to import."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from services.api.match_runs.jobs import QUEUE, RETRYING, Desk, turn
from services.api.resources import WorkerResources
from tests.support.apps import World, api_settings, running_api
from tests.support.database import Databases
from tests.support.matching_server import Matching, running_matching
from tests.support.work import Bench, bench


@pytest.fixture(scope="session")
async def matching() -> AsyncIterator[Matching]:
    """Run matching for this worker."""
    async with running_matching() as running:
        yield running


@pytest.fixture(scope="session")
async def api(databases: Databases, matching: Matching) -> AsyncIterator[FastAPI]:
    """Run an api that knows where matching is."""
    settings = api_settings(databases, matching_url=matching.url, service_key=matching.api_key)
    async with running_api(settings) as app:
        yield app


@pytest.fixture
def work(worker: WorkerResources, world: World) -> Bench:
    """Return a worker beside the api."""
    return bench(worker, world)


@pytest.fixture
async def desk(world: World, work: Bench, matching: Matching) -> AsyncIterator[Desk]:
    """Return what runs are worked on with; nothing is left to do before and after."""
    client = matching.client()
    made = Desk(work.resources.database, client, world.app.state.resources.cursor_secret)
    while await turn(made):
        continue
    yield made
    work.clock.pass_time(QUEUE.lease_seconds + RETRYING.ceiling * 2)
    while await turn(made):
        continue
    await client.close()
