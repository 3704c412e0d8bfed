"""What the running api and its worker hold open: pools, the issuer, callers of siblings."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api.access import tokens
from services.api.access.tokens import Issuer, IssuerKey
from services.api.database import INSTALLATION_TABLES
from services.api.settings import ApiSettings
from shared.clock import Clock, system_clock
from shared.errors import UnavailableError
from shared.http import ServiceClient
from shared.persistence import catalogue
from shared.persistence.engine import create_engine, create_read_pool
from shared.persistence.leases import JobDatabase
from shared.persistence.sessions import Sessions, create_sessions
from shared.security import ServiceSigner
from shared.settings import Mode, SettingError
from shared.web.problems import is_database_away, sqlstate_of

DEMO_LIFETIME_SECONDS = 30 * 24 * 3600
RETRY_SECONDS = 1
# Older than every UUIDv7, so that any later key is a newer one.
FIRST_KEYS: Mapping[Mode, UUID] = MappingProxyType(
    {Mode.NORMAL: UUID(int=1), Mode.DEMO: UUID(int=2)}
)
THESE_KEYS = "SELECT id, encrypted_jwk FROM signing_key WHERE mode = $1 ORDER BY id"
HOLDS_REAL_DATA = "SELECT EXISTS (SELECT FROM organization_slug WHERE NOT is_demo)"

logger = structlog.get_logger()


@dataclass(slots=True)
class Resources:
    """Everything a request may need that outlives it."""

    settings: ApiSettings
    clock: Clock
    engine: AsyncEngine
    sessions: Sessions
    reads: Any
    matching: ServiceClient | None
    notifications: ServiceClient | None
    _issuer: Issuer | None = None

    @property
    def issuer(self) -> Issuer:
        """Return the issuer; until the database was met there is none."""
        if self._issuer is None:
            raise UnavailableError(
                "The database does not answer right now; try again.", code="database_unavailable"
            )
        return self._issuer

    async def meet_database(self) -> None:
        """Check role and schema, then load the issuer's keys: nothing is served before."""
        async with self.reads.acquire(timeout=2) as connection:
            await catalogue.refuse_unsafe_database(connection, reviewed=INSTALLATION_TABLES)
            await _refuse_real_data(connection, self.settings.mode)
            keys = await _signing_keys(connection, self.settings, self.clock)
        is_demo = self.settings.mode is Mode.DEMO
        self._issuer = Issuer(
            name=self.settings.issuer,
            audience=self.settings.api_url,
            keys=keys,
            ceiling=DEMO_LIFETIME_SECONDS if is_demo else tokens.LIFETIME_SECONDS,
        )

    @property
    def cursor_secret(self) -> bytes:
        """Return the secret cursors are signed with."""
        return self.settings.key_encryption_key.get_secret_value().encode()


@asynccontextmanager
async def open_resources(
    settings: ApiSettings, *, clock: Clock = system_clock
) -> AsyncIterator[Resources]:
    """Open what the api needs and close it afterwards; a database that is down does not stop it."""
    url = settings.api_database_url.get_secret_value()
    size, pooler = settings.api_connections, settings.database_pooler
    engine = create_engine(url, size=size, service="api", pooler=pooler)
    reads = await create_read_pool(url, size=size, service="api", pooler=pooler)
    signer = _signer(settings, clock)
    resources = Resources(
        settings=settings,
        clock=clock,
        engine=engine,
        sessions=create_sessions(engine),
        reads=reads,
        matching=_client(signer, "service:matching", settings.matching_url, "matching_unavailable"),
        notifications=_client(
            signer,
            "service:notifications",
            settings.notifications_url,
            "notifications_unavailable",
        ),
    )
    waiting = await _meet_or_wait(resources)
    try:
        yield resources
    finally:
        if waiting is not None:
            waiting.cancel()
        for client in (resources.matching, resources.notifications):
            if client is not None:
                await client.close()
        await reads.close()
        await engine.dispose()


@dataclass(slots=True)
class WorkerResources:
    """Everything background work stands on; a peer is None where no service key is set."""

    settings: ApiSettings
    database: JobDatabase
    matching: ServiceClient | None
    notifications: ServiceClient | None


@asynccontextmanager
async def open_worker_resources(
    settings: ApiSettings, *, clock: Clock = system_clock
) -> AsyncIterator[WorkerResources]:
    """Open what the worker needs and close it afterwards; unsafe roles are refused."""
    claims = _worker_engine(settings.api_worker_database_url, settings)
    works = _worker_engine(settings.api_jobs_database_url, settings)
    signer = _signer(settings, clock)
    resources = WorkerResources(
        settings=settings,
        database=JobDatabase(claims, create_sessions(works), clock),
        matching=_client(signer, "service:matching", settings.matching_url, "matching_unavailable"),
        notifications=_client(
            signer,
            "service:notifications",
            settings.notifications_url,
            "notifications_unavailable",
        ),
    )
    try:
        for engine in (claims, works):
            await catalogue.refuse_unsafe_engine(engine)
        yield resources
    finally:
        for client in (resources.matching, resources.notifications):
            if client is not None:
                await client.close()
        await claims.dispose()
        await works.dispose()


def _worker_engine(url: SecretStr | None, settings: ApiSettings) -> AsyncEngine:
    if url is None:
        raise SettingError(
            "MENTORING_API_JOBS_DATABASE_URL, MENTORING_API_WORKER_DATABASE_URL:"
            " a worker needs both"
        )
    return create_engine(
        url.get_secret_value(),
        size=settings.api_connections,
        service="api-work",
        pooler=settings.database_pooler,
    )


def _signer(settings: ApiSettings, clock: Clock) -> ServiceSigner | None:
    if settings.service_key is None:
        return None
    return ServiceSigner(
        service="service:api", key=settings.service_key.get_secret_value(), clock=clock
    )


def _client(
    signer: ServiceSigner | None, audience: str, url: str, code: str
) -> ServiceClient | None:
    if signer is None:
        return None
    return ServiceClient(audience=audience, base_url=url, signer=signer, unavailable_code=code)


async def _meet_or_wait(resources: Resources) -> asyncio.Task[None] | None:
    """Meet the database now, or go on trying; a gap in its walls stops the start-up."""
    try:
        await resources.meet_database()
    except Exception as error:
        if not is_database_away(error, sqlstate_of(error)):
            raise
        logger.warning("database_away", error_type=type(error).__name__)
        return asyncio.create_task(_meet_later(resources), name="database")
    return None


async def _meet_later(resources: Resources) -> None:
    is_away = True
    while is_away:
        await asyncio.sleep(RETRY_SECONDS)
        try:
            await resources.meet_database()
        except Exception as error:  # noqa: BLE001 - judged at once: away, or never to be served
            is_away = is_database_away(error, sqlstate_of(error))
            logger.log(
                logging.WARNING if is_away else logging.CRITICAL,
                "database_away" if is_away else "database_refused",
                error_type=type(error).__name__,
            )
        else:
            return


async def _refuse_real_data(connection: asyncpg.Connection, mode: Mode) -> None:
    if mode is Mode.DEMO and await connection.fetchval(HOLDS_REAL_DATA):
        raise SettingError(
            "MENTORING_MODE: this database holds organizations that are no demo;"
            " a demo needs a database of its own"
        )


async def _signing_keys(
    connection: asyncpg.Connection, settings: ApiSettings, clock: Clock
) -> list[IssuerKey]:
    secret = settings.key_encryption_key.get_secret_value()
    rows = await connection.fetch(THESE_KEYS, settings.mode)
    if not rows:
        await _store_first_key(connection, secret, settings.mode, clock)
        rows = await connection.fetch(THESE_KEYS, settings.mode)
    return [tokens.decrypt_key(row["id"], row["encrypted_jwk"], secret) for row in rows]


async def _store_first_key(
    connection: asyncpg.Connection, secret: str, mode: Mode, clock: Clock
) -> None:
    key = tokens.generate_key(FIRST_KEYS[mode])
    # Of several processes that start at once, one stores its key and all use that one.
    await connection.execute(
        "INSERT INTO signing_key (id, mode, public_jwk, encrypted_jwk, created_at)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        *(key.id, mode, tokens.public_text(key), tokens.encrypt_key(key, secret), clock()),
    )
