"""Ports of this machine for programs that must be told one."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


def free_port() -> int:
    """Return a port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def forwarded(port: int, to: int) -> AsyncIterator[None]:
    """Let the database be reached through another port, until the block ends."""
    open_ends: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", to)
        open_ends.extend((writer, forth))
        async with asyncio.TaskGroup() as pumps:
            pumps.create_task(pump(reader, forth))
            pumps.create_task(pump(back, writer))

    async with await asyncio.start_server(accept, "127.0.0.1", port):
        yield
        for end in open_ends:
            end.close()
