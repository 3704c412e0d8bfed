"""The product's programs as processes of their own, each on a socket that the test made."""

import asyncio
import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

import httpx
import psutil

from services.api.settings import ApiSettings

ROOT = Path(__file__).parents[2]
READY_SECONDS = 60
END_SECONDS = 20
API = ("-m", "services.cli", "serve", "api")
FORKS = multiprocessing.get_context("forkserver")
# Most of what a start takes are these imports.
FORKS.set_forkserver_preload(["services.api.main", "services.api.settings", "typer", "uvicorn"])


@dataclass(slots=True)
class Server:
    """A running application process, and how to start it again on its socket."""

    url: str
    process: psutil.Process
    _start: Callable[[], psutil.Process]
    _probe: str
    is_killed: bool = False

    async def kill(self) -> None:
        """End the process as `kill -9` does: it does nothing more, and says nothing."""
        self.is_killed = True
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    async def start_again(self) -> None:
        """Start the program anew, as the supervisor does; whoever knocked meanwhile has waited."""
        self.process, self.is_killed = self._start(), False
        await self.ready()

    async def ready(self) -> None:
        """Wait until the application answers."""
        await _ready(self.url + self._probe, self.process)


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


type Command = tuple[str, ...]
type Start = Callable[[Command, Mapping[str, str], socket.socket, IO[bytes] | None], psutil.Process]


def spawn(
    command: Command, told: Mapping[str, str], listener: socket.socket, log: IO[bytes] | None
) -> psutil.Process:
    """Start a Python program in an interpreter of its own; `{fd}` is the number of its socket."""
    number = listener.fileno()
    return psutil.Popen(
        [sys.executable, *(part.format(fd=number) for part in command)],
        cwd=ROOT,
        env=_with_socket(told, number),
        pass_fds=[number],
        stdout=log,
        stderr=log,
    )


def fork(
    command: Command, told: Mapping[str, str], listener: socket.socket, log: IO[bytes] | None
) -> psutil.Process:
    """Start a Python module in a fork of a process that has imported the api and done no more."""
    output = None if log is None else DupFd(log.fileno())
    child = FORKS.Process(target=_run, args=(command, {**told}, listener, output), daemon=True)
    child.start()
    assert child.pid is not None
    return psutil.Process(child.pid)


def _run(command: Command, told: Mapping[str, str], listener: socket.socket, output: Any) -> None:
    os.environ.clear()
    os.environ.update(_with_socket(told, listener.detach()))
    if output is not None:
        number = output.detach()
        os.dup2(number, sys.stdout.fileno())
        os.dup2(number, sys.stderr.fileno())
    sys.argv = [*command[1:]]
    runpy.run_module(command[1], run_name="__main__", alter_sys=True)


def _with_socket(told: Mapping[str, str], number: int) -> dict[str, str]:
    return {**told, "MENTORING_LISTEN_FD": str(number)}


@asynccontextmanager
async def running(
    command: Command,
    told: Mapping[str, str],
    *,
    start: Start = fork,
    probe: str = "/readyz",
    log: IO[bytes] | None = None,
) -> AsyncIterator[Server]:
    """Run an application on a socket of our own until the block ends; `log` takes its lines."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)

    def begin() -> psutil.Process:
        return start(command, told, listener, log)

    server = Server(f"http://127.0.0.1:{listener.getsockname()[1]}", begin(), begin, probe)
    try:
        await server.ready()
        yield server
    finally:
        has_ended = _has_ended(server.process)
        if not has_ended:
            server.process.terminate()
            await asyncio.to_thread(server.process.wait, END_SECONDS)
        listener.close()
        if has_ended and not server.is_killed:
            raise RuntimeError("the server ended by itself")


def _has_ended(process: psutil.Process) -> bool:
    try:
        process.wait(0)
    except psutil.TimeoutExpired:
        return False
    return True


async def _ready(url: str, process: psutil.Process) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(READY_SECONDS):
        while not _has_ended(process):
            try:
                if (await client.get(url)).status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    raise RuntimeError("the server did not start")
