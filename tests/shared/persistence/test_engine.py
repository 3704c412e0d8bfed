"""Connections that ended behind our back are replaced before anybody notices."""

import asyncio
import os
import signal
from pathlib import Path

import asyncpg
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.local import postgres
from shared.persistence.engine import create_engine
from shared.web.problems import is_database_away, sqlstate_of
from tests.support.apps import World
from tests.support.database import Databases

TURNS, WRITERS, ENOUGH = 6, 12, 600

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


async def test_whatever_becomes_of_changes_when_the_server_is_killed_it_is_away(
    tmp_path: Path,
) -> None:
    refused: list[Exception] = []
    for turn in range(TURNS):
        async with postgres.running(tmp_path / str(turn), is_throwaway=True) as server:
            engine = create_engine(server.url(database="postgres"), size=WRITERS, service="test")
            async with engine.begin() as connection:
                await connection.execute(text("CREATE TABLE line (word text)"))
            writers = [asyncio.create_task(write(engine)) for _ in range(WRITERS)]
            await wait_for_lines(engine)
            os.kill(server.pid, signal.SIGKILL)
            refused += await asyncio.gather(*writers)
            await engine.dispose()

    assert len(refused) == TURNS * WRITERS
    assert [one for one in refused if not is_database_away(one, sqlstate_of(one))] == []


async def write(engine: AsyncEngine) -> Exception:
    """Write until that is refused, and return how."""
    while True:
        try:
            async with engine.begin() as connection:
                await connection.execute(text("INSERT INTO line VALUES ('so')"))
        except Exception as refused:  # noqa: BLE001 - what it can be is the question
            return refused


async def wait_for_lines(engine: AsyncEngine) -> None:
    """Wait until every writer must have written."""
    count, lines = text("SELECT count(*) FROM line"), 0
    while lines < ENOUGH:
        async with engine.connect() as connection:
            lines = (await connection.execute(count)).scalar_one()
