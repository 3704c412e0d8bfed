"""One PostgreSQL server for a test run, and one migrated copy of each database per worker."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import asyncpg

from services.api.migrations import __main__ as of_the_api
from services.local import postgres, roles
from services.notifications.migrations import __main__ as of_notifications

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Databases:
    """A running server with migrated databases, and the passwords of its roles."""

    port: int
    admin_password: str
    passwords: dict[str, str]

    def url(self, role: str, database: str) -> str:
        """Return the address of a database for one role."""
        password = self.admin_password if role == postgres.SUPERUSER else self.passwords[role]
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{database}"


@asynccontextmanager
async def migrated(state: Path) -> AsyncIterator[Databases]:
    """Run a throw-away server whose databases are migrated as an operator would."""
    passwords = {role: secrets.token_hex(8) for role in roles.ROLES}
    async with postgres.running(state, is_throwaway=True) as server:
        databases = Databases(server.port, server.password, passwords)
        await roles.prepare(databases.url(postgres.SUPERUSER, "postgres"), passwords)
        await asyncio.to_thread(migrate, databases)
        yield databases


def migrate(databases: Databases) -> None:
    """Run the shipped programs; what they import was imported here already."""
    for program, service in ((of_the_api, "api"), (of_notifications, "notifications")):
        with patch.dict(os.environ, {program.URL: databases.url("migrator", service)}):
            program.main([])


async def truncate(databases: Databases, database: str) -> None:
    """Empty every table, as the superuser, whom row-level security does not stop."""
    connection = await asyncpg.connect(databases.url(postgres.SUPERUSER, database))
    tables = await connection.fetchval(
        "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables"
        " WHERE schemaname = 'public' AND tablename NOT IN ('alembic_version', 'feed_epoch',"
        " 'relay_lease', 'signing_key')"
    )
    await connection.execute(f"TRUNCATE {tables}")
    await connection.close()
