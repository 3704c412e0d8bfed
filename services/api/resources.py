"""What the running api and its worker hold open: pools, the issuer, callers of siblings."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api.access import codes, keys, sealing, tokens
from services.api.access.keys import IssuerKey
from services.api.access.tokens import Claims, Issuer, UnknownKeyError
from services.api.clients.identity_providers import IdentityProviders
from services.api.database import INSTALLATION_TABLES
from services.api.settings import ApiSettings
from shared.clock import Clock, system_clock
from shared.egress import Egress
from shared.errors import UnavailableError
from shared.http import ServiceClient
from shared.persistence import catalogue
from shared.persistence.engine import create_engine, create_read_pool
from shared.persistence.leases import JobDatabase
from shared.persistence.sessions import Sessions, create_sessions
from shared.security import ServiceSigner
from shared.settings import Environment, Mode, SettingError
from shared.web.limits import Buckets, Lane
from shared.web.problems import is_database_away, sqlstate_of

RETRY_SECONDS = 1
LOOK_SECONDS = 5
# Strangers hold up strangers, not those who are signed in. Whoever waits takes no place of others,
# so there may be as many of them as an office has phones that come back at once.
STRANGERS_AT_ONCE = 2
STRANGERS_WAITING = 256
# Whoever loads a page of an app anew begins a sign-in, and fills in a form for few of them.
BEGUN_FOR_A_FORM = 5
HOLDS_OTHERS = "SELECT EXISTS (SELECT FROM organization_slug WHERE is_demo <> $1)"

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
    identity_providers: IdentityProviders
    strangers: Buckets
    begun_sign_ins: Buckets
    sign_in_lane: Lane
    token_lane: Lane
    code_requests: Buckets
    code_answers: Buckets
    _issuer: Issuer | None = None
    _look: asyncio.Task[bool] | None = None
    _looked_at: float = 0.0

    @property
    def issuer(self) -> Issuer:
        """Return the issuer; until the database was met there is none."""
        if self._issuer is None:
            raise _database_away()
        return self._issuer

    async def meet_database(self) -> None:
        """Check role and schema, then load the issuer's keys: nothing is served before."""
        async with self.reads.acquire(timeout=2) as connection:
            await catalogue.refuse_unsafe_database(connection, reviewed=INSTALLATION_TABLES)
            await _refuse_mixture(connection, self.settings.mode)
            found = await self._read_keys(connection)
        self._issuer = Issuer(
            name=self.settings.issuer,
            audience=self.settings.api_url,
            keys=found,
            ceiling=tokens.longest_life(self.settings.mode),
        )

    async def verify(self, token: str) -> Claims:
        """Return what an access token says; an unknown key is looked for before it is refused."""
        try:
            return self.issuer.verify(token, now=self.clock())
        except UnknownKeyError:
            await self._look_for_keys()
        return self.issuer.verify(token, now=self.clock())

    async def refresh_keys(self) -> bool:
        """Read the key set anew, and tell whether that worked; otherwise the last one serves on."""
        if self._issuer is None:
            # Whoever meets the database reads them.
            return True
        try:
            async with asyncio.timeout(LOOK_SECONDS), self.reads.acquire() as connection:
                self._issuer.know(await self._read_keys(connection))
        except Exception as error:  # noqa: BLE001 - no fault of a look may end what is served
            logger.warning("signing_keys_not_read", error_type=type(error).__name__)
            return False
        return True

    async def _look_for_keys(self) -> None:
        """Look once a minute at most, whoever asks; all who ask meanwhile share what was found."""
        now = asyncio.get_running_loop().time()
        is_due = now - self._looked_at >= keys.REFRESH_SECONDS
        if self._look is None or (self._look.done() and is_due):
            self._looked_at = now
            self._look = asyncio.create_task(self.refresh_keys())
        if not await asyncio.shield(self._look):
            raise _database_away()

    async def _read_keys(self, connection: asyncpg.Connection) -> list[IssuerKey]:
        return await keys.load(
            connection,
            mode=self.settings.mode,
            secret=self.settings.key_encryption_key.get_secret_value(),
            now=self.clock(),
            known=self._issuer.keys if self._issuer else (),
        )

    @property
    def cursor_secret(self) -> bytes:
        """Return the secret cursors are signed with."""
        return self.settings.key_encryption_key.get_secret_value().encode()

    @property
    def pepper(self) -> bytes:
        """Return the secret that codes in sign-in mails are made with."""
        return codes.pepper(self.settings.key_encryption_key.get_secret_value())

    @property
    def sign_in_seal(self) -> bytes:
        """Return the secret that seals what browsers hold of sign-ins."""
        return sealing.seal_of_browsers(self.settings.key_encryption_key.get_secret_value())


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
        identity_providers=_identity_providers(settings),
        strangers=Buckets(settings.sign_in_rate_limit),
        begun_sign_ins=Buckets(settings.sign_in_rate_limit * BEGUN_FOR_A_FORM),
        # Two of them: people sign in less often than their apps refresh, and with more work.
        sign_in_lane=_lane(),
        token_lane=_lane(),
        code_requests=Buckets(settings.sign_in_organization_rate_limit),
        code_answers=Buckets(settings.sign_in_organization_rate_limit * codes.MAX_ATTEMPTS),
    )
    waiting = await _meet_or_wait(resources)
    watching = asyncio.create_task(_watch_keys(resources), name="signing keys")
    try:
        yield resources
    finally:
        watching.cancel()
        if waiting is not None:
            waiting.cancel()
        for client in (resources.matching, resources.notifications):
            if client is not None:
                await client.close()
        await resources.identity_providers.close()
        await reads.close()
        await engine.dispose()


def _lane() -> Lane:
    return Lane(width=STRANGERS_AT_ONCE, room=STRANGERS_WAITING)


@dataclass(slots=True)
class WorkerResources:
    """Everything background work stands on; a peer is None where no service key is set."""

    settings: ApiSettings
    database: JobDatabase
    matching: ServiceClient | None
    notifications: ServiceClient | None

    @property
    def pepper(self) -> bytes:
        """Return the secret that codes in sign-in mails are made with."""
        return codes.pepper(self.settings.key_encryption_key.get_secret_value())


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


def _identity_providers(settings: ApiSettings) -> IdentityProviders:
    egress = Egress(
        settings.egress_allow,
        may_be_plain=settings.env is not Environment.PRODUCTION,
        is_shut=settings.mode is Mode.DEMO and settings.demo_public,
    )
    return IdentityProviders(egress)


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


async def _watch_keys(resources: Resources) -> None:
    is_fresh = True
    while True:
        # After a fault sooner: a process that was cut off must not sign with yesterday's key.
        await asyncio.sleep(keys.REFRESH_SECONDS if is_fresh else RETRY_SECONDS)
        is_fresh = await resources.refresh_keys()


def _database_away() -> UnavailableError:
    return UnavailableError(
        "The database does not answer right now; try again.", code="database_unavailable"
    )


async def _refuse_mixture(connection: asyncpg.Connection, mode: Mode) -> None:
    # Credentials of a demo lie about in files and mails; none of them may open anything real.
    is_demo = mode is Mode.DEMO
    if await connection.fetchval(HOLDS_OTHERS, is_demo):
        held = "organizations that are no demo" if is_demo else "organizations of a demo"
        raise SettingError(
            f"MENTORING_MODE: this database holds {held}; a demo needs a database of its own"
        )
