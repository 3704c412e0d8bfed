"""The embedded server: every state folder has its own data, whatever others left behind."""

import asyncio
import os
import shutil
import signal
from pathlib import Path

import asyncpg

from services.local import postgres


async def _tables(server: postgres.Server) -> list[str]:
    connection = await asyncpg.connect(server.url(database="postgres"))
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    return [row[0] for row in rows]


async def _start_with_a_table(state: Path) -> Path:
    async with postgres.running(state) as server:
        connection = await asyncpg.connect(server.url(database="postgres"))
        await connection.execute("CREATE TABLE kept (one int)")
        data: str = await connection.fetchval("SHOW data_directory")
        await connection.close()
    return Path(data).parent


async def test_data_outlives_the_server_and_moves_with_its_folder(tmp_path: Path) -> None:
    await _start_with_a_table(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")

    async with postgres.running(tmp_path / "new", is_throwaway=True) as server:
        assert await _tables(server) == ["kept"]


async def test_a_folder_deleted_by_hand_hands_nothing_to_the_next(tmp_path: Path) -> None:
    left = await _start_with_a_table(tmp_path / "first")
    shutil.rmtree(tmp_path / "first")

    async with postgres.running(tmp_path / "second", is_throwaway=True) as server:
        assert await _tables(server) == []
    shutil.rmtree(left, ignore_errors=True)


async def test_a_killed_server_comes_back_with_every_row(tmp_path: Path) -> None:
    told: list[str] = []
    is_told = asyncio.Event()

    def tell(line: str) -> None:
        told.append(line)
        is_told.set()

    async with postgres.running(tmp_path / "state", tell=tell) as server:
        connection = await asyncpg.connect(server.url(database="postgres"))
        await connection.execute("CREATE TABLE kept (one int)")
        first = server.pid
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(30):
            await is_told.wait()
            while not await _answers(server):  # noqa: ASYNC110 - another process, no event
                await asyncio.sleep(0.05)

        assert await _tables(server) == ["kept"]
        assert server.pid != first
        assert told[0] == "ended with -9; started again"
    postgres.discard(tmp_path / "state")


async def _answers(server: postgres.Server) -> bool:
    try:
        await _tables(server)
    except (OSError, asyncpg.PostgresError):
        return False
    return True


async def test_what_is_discarded_is_gone_everywhere(tmp_path: Path) -> None:
    home = await _start_with_a_table(tmp_path / "state")

    postgres.discard(tmp_path / "state")

    assert not home.exists()
    assert not (tmp_path / "state").exists()
