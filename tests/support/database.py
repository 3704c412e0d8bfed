"""One PostgreSQL server for a test run, and one migrated copy of each database per worker."""

import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from services.local import postgres, roles

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
        migrate(databases)
        yield databases


def migrate(databases: Databases) -> None:
    """Run the shipped migration commands."""
    for service in ("api", "notifications"):
        variable = f"MENTORING_{service.upper()}_MIGRATOR_DATABASE_URL"
        subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", f"services.{service}.migrations"],
            check=True,
            cwd=ROOT,
            env={**os.environ, variable: databases.url("migrator", service)},
        )


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
