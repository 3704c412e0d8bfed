"""Fixtures of notifications: the application, its mail server, a fresh organization each."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from tests.support.database import Databases
from tests.support.notifications import (
    Place,
    Postbox,
    notifications_settings,
    running_notifications,
    running_postbox,
)


@pytest.fixture
async def postbox() -> AsyncIterator[Postbox]:
    """Run a mail server of this test's own."""
    async with running_postbox() as running:
        yield running


@pytest.fixture
async def notifications(databases: Databases, postbox: Postbox) -> AsyncIterator[FastAPI]:
    """Run notifications on the databases of this run."""
    settings = notifications_settings(databases, smtp_port=postbox.port)
    async with running_notifications(settings) as app:
        yield app


@pytest.fixture
def place(notifications: FastAPI, postbox: Postbox) -> Place:
    """Return a fresh organization that nobody else uses."""
    return Place(notifications, postbox)
