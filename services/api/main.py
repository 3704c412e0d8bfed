"""The api as a program: every router in one visible list."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.api.credentials import routes as credentials
from services.api.operator import routes as operator
from services.api.organizations import routes as organizations
from services.api.participants import routes as participants
from services.api.people import routes as people
from services.api.programs import routes as programs
from services.api.resources import Resources, open_resources
from services.api.settings import ApiSettings
from shared import logs
from shared.clock import system_clock
from shared.web.health import Health, health_router
from shared.web.problems import install_problem_handlers

ROUTERS = (
    organizations.router,
    people.router,
    credentials.router,
    programs.router,
    participants.router,
)


def create_app(settings: ApiSettings | None = None) -> FastAPI:
    """Return the application: the public API under /v1, everything else beside it."""
    settings = settings or ApiSettings()
    logs.configure(service="api", level=settings.log_level)
    public = FastAPI(
        title="Mentoring API",
        version="0.1.0",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    for router in ROUTERS:
        public.include_router(router)

    @asynccontextmanager
    async def lifespan(root: FastAPI) -> AsyncIterator[None]:
        async with open_resources(settings) as resources:
            root.state.resources = public.state.resources = resources
            yield

    root = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    for app in (root, public):
        install_problem_handlers(app)
    root.include_router(health_router(_health(root)))
    root.include_router(operator.router)
    root.mount("/v1", public)
    return root


def _health(root: FastAPI) -> Health:
    async def database() -> None:
        resources: Resources = root.state.resources
        async with resources.reads.acquire(timeout=1) as connection:
            await connection.fetchval("SELECT 1")

    return Health(checks={"database": database}, clock=system_clock)
