"""Row-level security alone, with no query filter in play: the second wall holds by itself."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from services.api.database import ApiTable
from services.local import postgres
from shared import ids
from tests.support.access import Organization
from tests.support.database import Databases

TABLES = sorted(
    table.name for table in ApiTable.metadata.tables.values() if "organization_id" in table.columns
)


@pytest.fixture(scope="module")
async def superuser(databases: Databases) -> AsyncIterator[Any]:
    """Connect as the superuser, whom no policy stops."""
    connection = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    yield connection
    await connection.close()


@pytest.fixture(scope="module", params=["app_api", "app_jobs"])
async def runtime(databases: Databases, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Connect as a role of the running product."""
    connection = await asyncpg.connect(databases.url(request.param, "api"))
    yield connection
    await connection.close()


@asynccontextmanager
async def inside(connection: Any, organization: Organization | None) -> AsyncIterator[None]:
    """Open a transaction of one organization, or of none, and take it back."""
    transaction = connection.transaction()
    await transaction.start()
    if organization is not None:
        person = ids.parse_id("person", organization.ids["person"])
        await connection.execute(
            "SELECT set_config('app.organization_id', $1, true),"
            " set_config('app.person_id', $2, true)",
            *(str(organization.world.id), str(person)),
        )
    try:
        yield
    finally:
        await transaction.rollback()


async def outcome(connection: Any, statement: str, *values: object) -> str:
    """Return how many rows a statement reached, or PostgreSQL's code for its refusal."""
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        status: str = await connection.execute(statement, *values)
    except asyncpg.PostgresError as error:
        await savepoint.rollback()
        return str(error.sqlstate)
    await savepoint.rollback()
    return status.rpartition(" ")[2]


def statements(table: str) -> Iterator[str]:
    """Yield what might reach rows of organization $1."""
    yield f"SELECT 1 FROM {table} WHERE organization_id = $1"  # noqa: S608 - a name from the metadata
    yield f"UPDATE {table} SET organization_id = organization_id WHERE organization_id = $1"  # noqa: S608 - as above
    yield f"DELETE FROM {table} WHERE organization_id = $1"  # noqa: S608 - as above


@pytest.mark.parametrize("table", TABLES)
async def test_rows_of_another_organization_are_out_of_reach(
    runtime: Any, superuser: Any, ours: Organization, theirs: Organization, table: str
) -> None:
    row = await superuser.fetchval(
        f"SELECT to_jsonb(t)::text FROM {table} t WHERE organization_id = $1 LIMIT 1",  # noqa: S608 - as above
        theirs.world.id,
    )
    async with inside(runtime, ours):
        reached = [await outcome(runtime, one, theirs.world.id) for one in statements(table)]
        assert set(reached) <= {"0", "42501"}
        moved = await outcome(
            runtime,
            f"UPDATE {table} SET organization_id = $2 WHERE organization_id = $1",  # noqa: S608 - as above
            *(ours.world.id, theirs.world.id),
        )
        assert moved in {"0", "42501"}
        if row is not None:
            copied = await outcome(
                runtime,
                f"INSERT INTO {table} SELECT *"  # noqa: S608 - as above
                f" FROM jsonb_populate_record(NULL::{table}, $1::jsonb)",
                row,
            )
            assert copied == "42501"


@pytest.mark.parametrize("table", TABLES)
async def test_without_an_organization_there_is_nothing_to_see(runtime: Any, table: str) -> None:
    statement = f"SELECT count(*) FROM {table}"  # noqa: S608 - as above
    async with inside(runtime, None):
        assert await runtime.fetchval(statement) == 0


async def test_most_tables_hold_rows_that_could_have_been_reached(
    superuser: Any, theirs: Organization
) -> None:
    empty = [
        table
        for table in TABLES
        if not await superuser.fetchval(
            f"SELECT count(*) FROM {table} WHERE organization_id = $1",  # noqa: S608 - as above
            theirs.world.id,
        )
    ]

    assert len(empty) < len(TABLES) / 3, empty


async def test_the_claiming_role_sees_no_column_that_holds_content(superuser: Any) -> None:
    granted = await superuser.fetch(
        "SELECT table_name, column_name, privilege_type FROM information_schema.column_privileges"
        " WHERE grantee = 'worker_system' AND table_schema = 'public'"
    )
    marked = {
        (table.name, column.name)
        for table in ApiTable.metadata.tables.values()
        for column in table.columns
        if column.info.get("confidentiality") in {"personal", "confidential"}
    }
    assert granted
    assert {(row["table_name"], row["column_name"]) for row in granted} & marked == set()
    assert {row["privilege_type"] for row in granted} <= {"SELECT", "UPDATE"}
