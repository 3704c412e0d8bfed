"""What the running service or worker holds open: pools, and the way to the mail server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from services.notifications.channels.mail import MailChannel, Mailer
from services.notifications.channels.pool import MailPool
from services.notifications.settings import NotificationsSettings
from shared.clock import Clock, system_clock
from shared.persistence.engine import create_engine, create_read_pool
from shared.persistence.sessions import Sessions, create_sessions
from shared.security import ServiceVerifier

SERVICE = "service:notifications"
CLAIMING_CONNECTIONS = 2


@dataclass(slots=True)
class Resources:
    """Everything a request or a turn of work may need that outlives it."""

    settings: NotificationsSettings
    clock: Clock
    engine: AsyncEngine
    claiming: AsyncEngine
    sessions: Sessions
    reads: Any
    mail: MailChannel
    verifier: ServiceVerifier


@asynccontextmanager
async def open_resources(
    settings: NotificationsSettings, *, clock: Clock = system_clock
) -> AsyncIterator[Resources]:
    """Open what is needed and close it afterwards; nothing connects before it is used."""
    url = settings.notifications_database_url.get_secret_value()
    size, pooler = settings.notifications_connections, settings.database_pooler
    engine = create_engine(url, size=size, service="notifications", pooler=pooler)
    claiming = create_engine(
        settings.notifications_worker_database_url.get_secret_value(),
        size=CLAIMING_CONNECTIONS,
        service="notifications-claims",
        pooler=pooler,
    )
    reads = await create_read_pool(url, size=size, service="notifications", pooler=pooler)
    pool = MailPool(settings)
    try:
        yield Resources(
            settings=settings,
            clock=clock,
            engine=engine,
            claiming=claiming,
            sessions=create_sessions(engine),
            reads=reads,
            mail=MailChannel(pool, Mailer(settings.mail_from_name, settings.mail_from)),
            verifier=ServiceVerifier(
                service=SERVICE, public_keys=settings.service_public_keys, clock=clock
            ),
        )
    finally:
        await pool.close()
        await reads.close()
        await claiming.dispose()
        await engine.dispose()
