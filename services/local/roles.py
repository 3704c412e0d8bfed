"""Databases and login roles of an installation, made once and harmless to repeat."""

from pathlib import Path
from types import MappingProxyType

import asyncpg

ROLES_SQL = Path(__file__).parents[2] / "deploy" / "postgres" / "roles.sql"

# Which runtime roles may enter which database.
DATABASES = MappingProxyType(
    {
        "api": ("app_api", "app_jobs", "worker_system", "backup"),
        "notifications": ("app_notifications", "worker_system", "backup"),
    }
)
ROLES = ("migrator", "app_api", "app_jobs", "app_notifications", "worker_system", "backup")


async def prepare(admin_url: str, passwords: dict[str, str]) -> None:
    """Make roles with these passwords and both databases, owned by `migrator`."""
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(ROLES_SQL.read_text())
        for role in ROLES:
            literal = await connection.fetchval("SELECT quote_literal($1::text)", passwords[role])
            await connection.execute(f"ALTER ROLE {role} PASSWORD {literal}")
        for database, runtime in DATABASES.items():
            await _database(connection, database, runtime)
    finally:
        await connection.close()


async def _database(
    connection: asyncpg.Connection, database: str, runtime: tuple[str, ...]
) -> None:
    if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
        await connection.execute(f"CREATE DATABASE {database} OWNER migrator TEMPLATE template0")
    await connection.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    await connection.execute(f"GRANT CONNECT ON DATABASE {database} TO {', '.join(runtime)}")
