"""Notifications as a program that only its siblings call: every router in one visible list."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.notifications.database import INSTALLATION_TABLES
from services.notifications.deliveries import routes as deliveries
from services.notifications.inbox import routes as inbox
from services.notifications.intake import routes as intake
from services.notifications.resources import Resources, open_resources
from services.notifications.settings import NotificationsSettings
from shared import logs
from shared.clock import system_clock
from shared.persistence import catalogue
from shared.web.application import equip_internal
from shared.web.health import Health, health_router
from shared.web.services import ServiceDoor

ROUTERS = (intake.router, inbox.router, deliveries.router)
CALLERS = frozenset({"service:api"})
# A full batch of facts, each with the cards of a large group.
MAX_BYTES = 16 * 1024 * 1024
ADMITTED_PER_CONNECTION = 2


def create_app(settings: NotificationsSettings | None = None) -> FastAPI:
    """Return the application."""
    settings = settings or NotificationsSettings()
    logs.configure(service="notifications", level=settings.log_level)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_resources(settings) as resources:
            app.state.resources = resources
            app.state.door = ServiceDoor(
                resources.verifier, clock=resources.clock, max_bytes=MAX_BYTES, allowed=CALLERS
            )
            yield

    app = FastAPI(
        title="Mentoring notifications",
        version="0.1.0",
        lifespan=lifespan,
        openapi_url=None,
        telemetry=logs.NO_TELEMETRY,
    )
    equip_internal(
        app,
        connections=settings.notifications_connections * ADMITTED_PER_CONNECTION,
        larger={"/internal/events": MAX_BYTES},
    )
    app.include_router(health_router(_health(app)))
    for router in ROUTERS:
        app.include_router(router)
    return app


def _health(app: FastAPI) -> Health:
    is_checked = False

    async def database() -> None:
        nonlocal is_checked
        resources: Resources = app.state.resources
        async with resources.reads.acquire(timeout=1) as connection:
            if not is_checked:
                await catalogue.refuse_unsafe_database(connection, reviewed=INSTALLATION_TABLES)
                is_checked = True
            await connection.fetchval("SELECT 1")

    return Health(checks={"database": database}, clock=system_clock)
