"""The matching service as a program: stateless, private, and small while it has nothing to do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.matching import routes
from services.matching.compiled import brought_along
from services.matching.pool import Pool
from services.matching.settings import MatchingSettings
from shared import logs
from shared.clock import system_clock
from shared.security import ServiceVerifier
from shared.web.bodies import BodyMiddleware
from shared.web.callers import Callers
from shared.web.health import Health, health_router
from shared.web.problems import install_problem_handlers
from shared.web.requests import RequestMiddleware
from shared.web.services import ServiceDoor

NAME = "service:matching"
ALLOWED = frozenset({"service:api"})


def create_app(settings: MatchingSettings | None = None) -> FastAPI:
    """Return the application; only the api may call it."""
    settings = settings or MatchingSettings()
    logs.configure(service="matching", level=settings.log_level)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.pool = Pool(settings)
        async with brought_along(settings.matching_compiled):
            try:
                yield
            finally:
                await app.state.pool.close()

    app = FastAPI(
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry=logs.NO_TELEMETRY,
    )
    app.state.settings = settings
    app.state.door = _door(settings)
    install_problem_handlers(app)
    app.include_router(health_router(Health(checks={}, clock=system_clock)))
    app.include_router(routes.router)
    limit = settings.matching_max_bytes
    app.add_middleware(
        BodyMiddleware, callers=Callers.none_yet(), larger=dict.fromkeys(routes.PATHS, limit)
    )
    app.add_middleware(RequestMiddleware)
    return app


def _door(settings: MatchingSettings) -> ServiceDoor:
    verifier = ServiceVerifier(
        service=NAME, public_keys=settings.service_public_keys, clock=system_clock
    )
    return ServiceDoor(
        verifier, clock=system_clock, max_bytes=settings.matching_max_bytes, allowed=ALLOWED
    )
