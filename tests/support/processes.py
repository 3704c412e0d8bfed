"""The product's programs as processes of their own, each on a socket that the test made."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import psutil

from services.api.settings import ApiSettings

ROOT = Path(__file__).parents[2]
READY_SECONDS = 60
API = ("-m", "services.cli", "serve", "api")


@dataclass(slots=True)
class Server:
    """A running application process, and how to start it again on its socket."""

    url: str
    child: subprocess.Popen[bytes]
    _start: Callable[[], subprocess.Popen[bytes]]
    _probe: str
    is_killed: bool = False

    @property
    def process(self) -> psutil.Process:
        """Return the process that runs now."""
        return psutil.Process(self.child.pid)

    async def kill(self) -> None:
        """End the process as `kill -9` does: it does nothing more, and says nothing."""
        self.is_killed = True
        self.child.kill()
        await asyncio.to_thread(self.child.wait)

    async def start_again(self) -> None:
        """Start the program anew, as the supervisor does; whoever knocked meanwhile has waited."""
        self.child, self.is_killed = self._start(), False
        await self.ready()

    async def ready(self) -> None:
        """Wait until the application answers."""
        await _ready(self.url + self._probe, self.child)


def environment(settings: ApiSettings) -> dict[str, str]:
    """Return settings as a process is told them; no request is one too many."""
    told = {"PATH": os.environ.get("PATH", ""), "MENTORING_ENV": "development"}
    for name in ("api_database_url", "key_encryption_key", "operator_token", "service_key"):
        value = getattr(settings, name)
        told[f"MENTORING_{name.upper()}"] = value.get_secret_value()
    return told | {
        "MENTORING_DEV_LOGIN": "1",
        "MENTORING_LOG_LEVEL": "critical",
        "MENTORING_RATE_LIMIT": "100000000",
        "MENTORING_ORGANIZATION_RATE_LIMIT": "100000000",
        "MENTORING_NETWORK_RATE_LIMIT": "100000000",
    }


@asynccontextmanager
async def running(
    command: tuple[str, ...],
    told: Mapping[str, str],
    *,
    probe: str = "/readyz",
    log: IO[bytes] | None = None,
) -> AsyncIterator[Server]:
    """Run an application on a socket of our own until the block ends; `log` takes its lines."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    number = listener.fileno()

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own programs
            [sys.executable, *(part.format(fd=number) for part in command)],
            cwd=ROOT,
            env={**told, "MENTORING_LISTEN_FD": str(number)},
            pass_fds=[number],
            stdout=log,
            stderr=log,
        )

    server = Server(f"http://127.0.0.1:{listener.getsockname()[1]}", start(), start, probe)
    try:
        await server.ready()
        yield server
    finally:
        ended_with = server.child.poll()
        server.child.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.child.wait, 20)
        listener.close()
        if ended_with is not None and not server.is_killed:
            raise RuntimeError(f"the server ended by itself with {ended_with}")


async def _ready(url: str, process: subprocess.Popen[bytes]) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(READY_SECONDS):
        while process.poll() is None:
            try:
                if (await client.get(url)).status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    raise RuntimeError("the server did not start")
