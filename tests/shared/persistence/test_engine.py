"""Connections that ended behind our back are replaced before anybody notices."""

import asyncpg
from fastapi import FastAPI

from services.local import postgres
from tests.support.apps import World
from tests.support.database import Databases

END_ALL = (
    "SELECT count(pg_terminate_backend(pid, 2000)) FROM pg_stat_activity"
    " WHERE usename = 'app_api' AND datname = current_database()"
)


async def test_after_the_server_ended_every_connection_the_next_change_succeeds(
    world: World, databases: Databases, api: FastAPI
) -> None:
    await world.add_person()
    assert api.state.resources.engine.pool.checkedin() > 0
    connection = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    try:
        assert await connection.fetchval(END_ALL) > 0
    finally:
        await connection.close()

    person = await world.add_person()
    answer = await world.org_admin.get(f"/v1/people/{person['id']}")

    assert answer.status_code == 200
