"""What the running api holds open: pools, the issuer, and callers of its siblings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api.access import tokens
from services.api.access.tokens import Issuer, IssuerKey
from services.api.settings import ApiSettings
from shared.clock import Clock, system_clock
from shared.http import ServiceClient
from shared.persistence.engine import create_engine, create_read_pool
from shared.persistence.sessions import Sessions, create_sessions
from shared.security import ServiceSigner
from shared.settings import Mode

DEMO_LIFETIME_SECONDS = 30 * 24 * 3600


@dataclass(slots=True)
class Resources:
    """Everything a request may need that outlives it."""

    settings: ApiSettings
    clock: Clock
    engine: AsyncEngine
    sessions: Sessions
    reads: Any
    issuer: Issuer
    matching: ServiceClient | None
    notifications: ServiceClient | None

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
    engine = create_engine(url, size=settings.api_connections, service="api")
    reads = await create_read_pool(url, size=settings.api_connections, service="api")
    signer = _signer(settings, clock)
    resources = Resources(
        settings=settings,
        clock=clock,
        engine=engine,
        sessions=create_sessions(engine),
        reads=reads,
        issuer=await _open_issuer(settings, reads, clock),
        matching=_client(signer, "service:matching", settings.matching_url, "matching_unavailable"),
        notifications=_client(
            signer,
            "service:notifications",
            settings.notifications_url,
            "notifications_unavailable",
        ),
    )
    try:
        yield resources
    finally:
        for client in (resources.matching, resources.notifications):
            if client is not None:
                await client.close()
        await reads.close()
        await engine.dispose()


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


async def _open_issuer(settings: ApiSettings, reads: Any, clock: Clock) -> Issuer:
    is_demo = settings.mode is Mode.DEMO
    return Issuer(
        name=settings.issuer,
        audience=settings.api_url,
        keys=await _signing_keys(settings, reads, clock),
        ceiling=DEMO_LIFETIME_SECONDS if is_demo else tokens.LIFETIME_SECONDS,
    )


async def _signing_keys(settings: ApiSettings, reads: Any, clock: Clock) -> list[IssuerKey]:
    secret = settings.key_encryption_key.get_secret_value()
    async with reads.acquire() as connection:
        rows = await connection.fetch("SELECT id, encrypted_jwk FROM signing_key ORDER BY id")
        if not rows:
            rows = await _first_key(connection, secret, clock)
    return [tokens.decrypt_key(row["id"], row["encrypted_jwk"], secret) for row in rows]


async def _first_key(
    connection: asyncpg.Connection, secret: str, clock: Clock
) -> list[dict[str, Any]]:
    key = tokens.generate_key()
    encrypted = tokens.encrypt_key(key, secret)
    await connection.execute(
        "INSERT INTO signing_key (id, public_jwk, encrypted_jwk, created_at)"
        " VALUES ($1, $2, $3, $4)",
        *(key.id, tokens.public_text(key), encrypted, clock()),
    )
    return [{"id": key.id, "encrypted_jwk": encrypted}]
