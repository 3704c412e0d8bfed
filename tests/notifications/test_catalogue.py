"""The walls of this database, read from its own catalogue."""

import asyncpg

from services.notifications.database import INSTALLATION_TABLES
from services.notifications.migrations.tables import METADATA
from shared.persistence import catalogue
from tests.support.database import Databases


async def test_no_table_lets_organizations_see_each_other(databases: Databases) -> None:
    connection = await asyncpg.connect(databases.url("app_notifications", "notifications"))

    await catalogue.refuse_unsafe_database(connection, reviewed=INSTALLATION_TABLES)
    await connection.close()


async def test_the_database_has_the_tables_that_the_code_knows(databases: Databases) -> None:
    connection = await asyncpg.connect(databases.url("migrator", "notifications"))
    rows = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
    )
    await connection.close()

    known = {(table.name, one.name) for table in METADATA.tables.values() for one in table.columns}
    assert {tuple(row) for row in rows} == known
