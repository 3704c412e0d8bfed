"""A running application on a real socket of this process."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

USED: set[int] = set()


def _bound() -> socket.socket:
    """Return a socket on a port that this process has not served on: answers may be remembered."""
    while True:
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        if port not in USED:
            USED.add(port)
            return bound
        bound.close()


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Serve an application that was started already, and return its address."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with _bound() as listening:
        # Callers may connect before the server has begun; the socket lets them wait.
        listening.listen()
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
