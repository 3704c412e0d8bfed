"""What the migrations made, against what the code believes of it."""

import importlib
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, pool
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from services.local import postgres
from shared.persistence.columns import Confidentiality
from tests.support.database import Databases


def metadata(service: str) -> MetaData:
    """Return the tables that a service's code knows."""
    tables: Any = importlib.import_module(f"services.{service}.migrations.tables")
    found: MetaData = tables.METADATA
    return found


async def asked(databases: Databases, service: str, question: Any) -> Any:
    """Ask the database as its superuser, with a synchronous function of a connection."""
    url = make_url(databases.url(postgres.SUPERUSER, service)).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        answer = await connection.run_sync(question)
    await engine.dispose()
    return answer


@pytest.mark.filterwarnings("ignore:Did not recognize type 'xid8'")
@pytest.mark.parametrize("service", ["api", "notifications"])
async def test_the_migrations_make_the_tables_that_the_code_knows(
    databases: Databases, service: str
) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata(service)))

    found = await asked(databases, service, differences)

    # One foreign key points up the stack, so only the migration knows of it.
    assert [one for one in found if "fk_role_assignment_program_id" not in str(one)] == []


async def test_jobs_read_no_confidential_column(databases: Databases) -> None:
    """Timers, relay and retention act for nobody, so nobody's words are shown to them."""
    hidden = [
        (table.name, column.name)
        for table in metadata("api").tables.values()
        for column in table.columns
        if column.info.get("confidentiality") == Confidentiality.CONFIDENTIAL
    ]

    def readable(connection: Connection) -> list[tuple[str, str]]:
        ask = "SELECT has_column_privilege('app_jobs', %(table)s, %(column)s, 'SELECT')"
        return [
            (table, column)
            for table, column in hidden
            if connection.exec_driver_sql(
                ask.replace("%(table)s", f"'{table}'").replace("%(column)s", f"'{column}'")
            ).scalar_one()
        ]

    assert len(hidden) >= 6
    assert await asked(databases, "api", readable) == []
