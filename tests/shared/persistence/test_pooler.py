"""The api behind PgBouncer in transaction mode: every transaction may have another connection."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.apps import api_settings, found_world, running_api
from tests.support.database import Databases
from tests.support.ports import free_port

PGBOUNCER = shutil.which("pgbouncer") or ""
NOBODY = 65534

pytestmark = pytest.mark.skipif(not PGBOUNCER, reason="pgbouncer is not installed")


@pytest.fixture
async def pooled(databases: Databases, tmp_path: Path) -> AsyncIterator[Databases]:
    """Put a pooler with one server connection per role before the database."""
    port = free_port()
    users = tmp_path / "users.txt"
    users.write_text("".join(f'"{role}" "{word}"\n' for role, word in databases.passwords.items()))
    configuration = tmp_path / "pgbouncer.ini"
    configuration.write_text(
        "[databases]\n"
        f"api = host=127.0.0.1 port={databases.port} dbname=api\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = plain\nauth_file = {users}\n"
        "pool_mode = transaction\ndefault_pool_size = 2\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    for file in (users, configuration, *tmp_path.parents[:3], tmp_path):
        file.chmod(0o755)
    account = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
    process = subprocess.Popen(  # noqa: S603, ASYNC220 - a fixed command
        [PGBOUNCER, "--quiet", configuration],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **account,  # type: ignore[call-overload]  # an account or none
    )
    behind = Databases(port, databases.admin_password, databases.passwords)
    try:
        await _answering(behind)
        yield behind
    finally:
        process.terminate()
        process.wait(timeout=10)


async def _answering(databases: Databases) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                connection = await asyncpg.connect(
                    databases.url("app_api", "api"), statement_cache_size=0
                )
            except OSError:
                await asyncio.sleep(0.05)
            else:
                await connection.close()
                return


async def test_reads_and_changes_by_many_at_once(pooled: Databases) -> None:
    async with running_api(api_settings(pooled, database_pooler="transaction")) as app:
        world = await found_world(app)

        added = await asyncio.gather(*[world.add_person() for _ in range(20)])
        read = await asyncio.gather(
            *[world.org_admin.get(f"/v1/people/{one['id']}") for one in added * 3]
        )

        assert {answer.status_code for answer in read} == {200}


async def test_the_limits_are_those_of_the_role(databases: Databases) -> None:
    connection = await asyncpg.connect(databases.url("app_api", "api"))
    try:
        assert await connection.fetchval("SHOW statement_timeout") == "5s"
        assert await connection.fetchval("SHOW lock_timeout") == "1s"
    finally:
        await connection.close()
