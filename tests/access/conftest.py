"""Two populated organizations in one application that counts nobody's requests."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from tests.support.access import Operation, Organization, operations_of, populate
from tests.support.apps import api_settings, running_api
from tests.support.database import Databases
from tests.support.notifications import beside


@pytest.fixture(scope="package")
async def app(databases: Databases) -> AsyncIterator[FastAPI]:
    """Run the api without quotas: the matrix asks more often than anybody should."""
    settings = api_settings(databases, rate_limit=10**6, organization_rate_limit=10**6)
    async with running_api(settings) as app, beside(app, databases):
        yield app


@pytest.fixture(scope="package")
async def ours(app: FastAPI, theirs: Organization) -> Organization:
    """Return the organization whose people ask."""
    organization = await populate(app, "ours")
    organization.callers["foreign_admin"] = theirs.world.org_admin
    return organization


@pytest.fixture(scope="package")
async def theirs(app: FastAPI) -> Organization:
    """Return the organization nobody of ours may know of."""
    return await populate(app, "theirs")


@pytest.fixture(scope="package")
def operations(app: FastAPI) -> list[Operation]:
    """Return every operation of the document."""
    return operations_of(app)
