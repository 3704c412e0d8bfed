"""The catalogue lint sees each gap that a migration could leave between organizations."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services.api.database import INSTALLATION_TABLES, ApiTable
from services.api.migrations import tables as _tables  # noqa: F401 - fills the metadata
from services.local import postgres
from shared.persistence import catalogue, policies
from shared.persistence.engine import create_engine
from tests.support.database import Databases

SOUND = (
    "CREATE TABLE parent (organization_id uuid, id uuid, PRIMARY KEY (organization_id, id))",
    *policies.tenant("parent", roles=["app_api"]),
    *policies.grant("parent", roles=["app_api"]),
)
CITUS = Path(__file__).parents[3] / "deploy" / "citus.sql"


@pytest.fixture(scope="module")
async def scratch(databases: Databases) -> AsyncIterator[Any]:
    """Connect to an empty database of its own as the owner of whatever is made there."""
    admin = await asyncpg.connect(databases.url(postgres.SUPERUSER, "postgres"))
    await admin.execute("CREATE DATABASE scratch OWNER migrator TEMPLATE template0")
    connection = await asyncpg.connect(databases.url("migrator", "scratch"))
    for statement in policies.FUNCTIONS:
        await connection.execute(statement)
    yield connection
    await connection.close()
    await admin.execute("DROP DATABASE scratch")
    await admin.close()


async def found(scratch: Any, *statements: str) -> list[str]:
    """Return the gaps after some DDL, which is undone again."""
    transaction = scratch.transaction()
    await transaction.start()
    for statement in statements:
        await scratch.execute(statement)
    findings = await catalogue.schema_findings(scratch, reviewed=["known"])
    await transaction.rollback()
    return [str(finding) for finding in findings]


async def test_a_sound_table_has_no_finding(scratch: Any) -> None:
    assert await found(scratch, *SOUND) == []


async def test_a_reviewed_table_without_organization_has_no_finding(scratch: Any) -> None:
    assert await found(scratch, "CREATE TABLE known (id uuid PRIMARY KEY)") == []


@pytest.mark.parametrize(
    ("gap", "finding"),
    [
        (
            "ALTER TABLE parent DISABLE ROW LEVEL SECURITY",
            "parent: row-level security is off",
        ),
        (
            "ALTER TABLE parent NO FORCE ROW LEVEL SECURITY",
            "parent: row-level security is not forced on its owner",
        ),
        (
            "DROP POLICY within ON parent",
            "parent: no permissive policy grants anything",
        ),
        (
            "DROP POLICY tenant ON parent",
            "parent: no restrictive policy compares organization_id for every command",
        ),
        (
            "ALTER POLICY tenant ON parent USING (true)",
            "parent: no restrictive policy compares organization_id for every command",
        ),
        (
            "ALTER POLICY tenant ON parent WITH CHECK (true)",
            "parent: no restrictive policy compares organization_id for every command",
        ),
        (
            "GRANT SELECT ON parent TO worker_system",
            "parent: no restrictive policy holds for worker_system",
        ),
        (
            "GRANT TRUNCATE ON parent TO app_api",
            "parent: may be truncated by app_api",
        ),
        (
            "GRANT SELECT ON parent TO PUBLIC",
            "parent: is granted to everybody",
        ),
        (
            "CREATE UNIQUE INDEX loose ON parent (id)",
            "loose: does not begin with organization_id",
        ),
        (
            "CREATE INDEX slow ON parent (id, organization_id)",
            "slow: does not begin with organization_id",
        ),
        (
            "CREATE TABLE bare (id uuid PRIMARY KEY)",
            "bare: has no organization_id and was not reviewed",
        ),
        (
            "CREATE VIEW peephole AS SELECT id FROM parent",
            "peephole: is a view that reads as its owner",
        ),
        (
            "CREATE MATERIALIZED VIEW copy AS SELECT id FROM parent",
            "copy: is a materialized view: its rows have no policy",
        ),
        (
            "CREATE SEQUENCE counter",
            "counter: is a sequence",
        ),
        (
            (
                "CREATE FUNCTION sly() RETURNS bigint LANGUAGE sql SECURITY DEFINER"
                " RETURN (SELECT count(*) FROM parent)"
            ),
            "sly: is a function that runs as its owner",
        ),
        (
            "ALTER TABLE parent ADD CONSTRAINT later UNIQUE (organization_id, id) DEFERRABLE",
            "later: is deferrable",
        ),
        (
            "ALTER TABLE parent ADD CONSTRAINT alone EXCLUDE (organization_id WITH =)",
            "alone: is an exclusion constraint",
        ),
        (
            (
                "ALTER TABLE parent ADD COLUMN above uuid, ADD CONSTRAINT upward"
                " FOREIGN KEY (above, id) REFERENCES parent (organization_id, id)"
            ),
            "upward: leaves organization_id out",
        ),
        (
            (
                "CREATE TABLE known (o uuid, i uuid, CONSTRAINT inward"
                " FOREIGN KEY (o, i) REFERENCES parent (organization_id, id))"
            ),
            "inward: points from a table of the installation into an organization",
        ),
        (
            "CREATE TABLE loosely (organization_id text)",
            "loosely: organization_id may be null or is no uuid",
        ),
        (
            "CREATE TABLE keyless (organization_id uuid NOT NULL)",
            "keyless: has no primary key",
        ),
    ],
)
async def test_a_planted_gap_is_found(scratch: Any, gap: str, finding: str) -> None:
    assert finding in await found(scratch, *SOUND, gap)


async def test_the_schema_of_the_api_has_no_gap(databases: Databases) -> None:
    connection = await asyncpg.connect(databases.url("app_api", "api"))
    await catalogue.refuse_unsafe_database(connection, reviewed=INSTALLATION_TABLES)
    await connection.close()


@pytest.mark.parametrize("role", ["app_api", "app_jobs", "worker_system"])
async def test_the_roles_of_the_running_product_are_bound(databases: Databases, role: str) -> None:
    engine = create_engine(databases.url(role, "api"), size=1, service="test")
    await catalogue.refuse_unsafe_engine(engine)
    await engine.dispose()


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        ("migrator", "owns tables"),
        ("backup", "bypasses row-level security"),
        (postgres.SUPERUSER, "is a superuser"),
    ],
)
async def test_a_role_that_sees_too_much_is_refused(
    databases: Databases, role: str, reason: str
) -> None:
    engine = create_engine(databases.url(role, "api"), size=1, service="test")
    with pytest.raises(catalogue.UnsafeDatabaseError, match=reason):
        await catalogue.refuse_unsafe_engine(engine)
    await engine.dispose()


async def test_a_role_that_may_become_the_owner_is_refused(databases: Databases) -> None:
    admin = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    await admin.execute("CREATE ROLE climber LOGIN PASSWORD 'climbs' NOINHERIT IN ROLE migrator")
    await admin.execute("GRANT CONNECT ON DATABASE api TO climber")
    climber = await asyncpg.connect(f"postgresql://climber:climbs@127.0.0.1:{databases.port}/api")
    with pytest.raises(catalogue.UnsafeDatabaseError, match="may become who does"):
        await catalogue.refuse_unsafe_role(climber)
    await climber.close()
    await admin.execute("REVOKE CONNECT ON DATABASE api FROM climber")
    await admin.execute("DROP ROLE climber")
    await admin.close()


def test_every_table_has_its_place_on_more_machines_than_one() -> None:
    """Citus wants to know of each table how it is spread; a forgotten one would stay behind."""
    tables = ApiTable.metadata.tables.values()
    expected = [
        f"SELECT create_distributed_table('{table.name}', 'organization_id'"
        + (");" if table.name == "organization" else ", colocate_with => 'organization');")
        for table in sorted(tables, key=lambda table: (table.name != "organization", table.name))
        if "organization_id" in table.columns
    ]
    expected += [
        f"SELECT create_reference_table('{name}');" for name in sorted(INSTALLATION_TABLES)
    ]
    written = [line for line in CITUS.read_text().splitlines() if line.startswith("SELECT ")]
    assert written == expected
