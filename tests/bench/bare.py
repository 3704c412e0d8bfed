"""The least an API in Python could do: Starlette, asyncpg, the same token and the same statements.

It validates nothing and shapes nothing; it is the floor that the product is measured against.
"""

import os
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.api.access import queries as access
from services.api.people import queries as people
from services.api.resources import open_resources
from services.api.settings import ApiSettings
from shared import ids
from shared.persistence.reads import Statement
from shared.persistence.tenancy import SET_TENANT

RECORDED = "BENCH_RECORDED"
MARKER = "recorded"


def bound(statement: Statement, **values: object) -> list[object]:
    """Return the arguments of a compiled statement, in order."""
    return [
        values[name] if name in values else statement.constants[name] for name in statement.names
    ]


class Renewed:
    """Replaces what must be unique each time: ids made by the request, and marked texts."""

    def __init__(self, kept: frozenset[UUID], name: str) -> None:
        self._kept = kept
        self._name = name
        self._fresh: dict[UUID, UUID] = {}

    def value(self, recorded: Any) -> Any:
        if isinstance(recorded, UUID) and recorded not in self._kept:
            return self._fresh.setdefault(recorded, ids.new_id())
        if isinstance(recorded, str):
            return recorded.replace(MARKER, self._name)
        return recorded


def create_app() -> Starlette:
    """Return the bare application."""
    settings = ApiSettings()
    kept, statements = pickle.loads(Path(os.environ[RECORDED]).read_bytes())  # noqa: S301 - our own file

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_resources(settings) as resources:
            app.state.resources = resources
            yield

    async def read(request: Request, statement: Statement, **values: object) -> list[Any]:
        resources = request.app.state.resources
        token = request.headers["Authorization"].removeprefix("Bearer ")
        claims = resources.issuer.verify(token, now=datetime.now(UTC))
        organization_id = claims.organization_id
        async with resources.reads.acquire() as connection, connection.transaction(readonly=True):
            await connection.fetch(SET_TENANT, str(organization_id), str(claims.subject))
            facts = access.person_facts()
            own = bound(facts, organization_id=organization_id, person_id=claims.subject)
            await connection.fetchrow(facts.text, *own)
            arguments = bound(statement, organization_id=organization_id, **values)
            rows: list[Any] = await connection.fetch(statement.text, *arguments)
            return rows

    async def get_one(request: Request) -> Response:
        person_id = ids.parse_id("person", request.path_params["person_id"])
        rows = await read(request, people._one(), person_id=person_id)
        return Response(to_json(dict(rows[0])), media_type="application/json")

    async def get_many(request: Request) -> Response:
        limit = int(request.query_params["limit"]) + 1
        rows = await read(request, people._many((), is_first=True), limit=limit)
        return Response(to_json([dict(row) for row in rows]), media_type="application/json")

    async def post(request: Request) -> Response:
        resources = request.app.state.resources
        token = request.headers["Authorization"].removeprefix("Bearer ")
        resources.issuer.verify(token, now=datetime.now(UTC))
        await request.json()
        renewed = Renewed(kept, request.headers["Idempotency-Key"])
        async with resources.bare.acquire() as connection, connection.transaction():
            for text, parameters in statements:
                await connection.fetch(text, *[renewed.value(one) for one in parameters])
        return Response(b"{}", status_code=201, media_type="application/json")

    @asynccontextmanager
    async def with_bare_pool(app: Starlette) -> AsyncIterator[None]:
        import asyncpg  # noqa: PLC0415 - one more pool, without the codecs of the product's

        async with lifespan(app):
            url = settings.api_database_url.get_secret_value()
            app.state.resources = _Extended(app.state.resources, await asyncpg.create_pool(url))
            yield

    return Starlette(
        routes=[
            Route("/v1/people/{person_id}", get_one),
            Route("/v1/people", get_many, methods=["GET"]),
            Route("/v1/people", post, methods=["POST"]),
        ],
        lifespan=with_bare_pool,
    )


class _Extended:
    """The product's resources and one pool more."""

    def __init__(self, resources: Any, pool: Any) -> None:
        self._resources = resources
        self.bare = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._resources, name)
