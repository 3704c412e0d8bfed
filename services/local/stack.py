"""The whole product on one machine: which programs, in which order, told what."""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from rich.console import Console

from services.local import postgres, roles, state, tokens
from services.local.installation import Addresses, Installation
from services.local.state import State
from services.local.supervisor import Program, Ready, Supervisor, address, listen, mentoring

MIGRATIONS = ("api", "notifications")
SERVICES = ("matching", "notifications", "api")
WORKERS = ("api", "notifications")


@dataclass(frozen=True, slots=True)
class Sockets:
    """Listening sockets of the services and of captured mail; they outlive restarts."""

    services: Mapping[str, socket.socket]
    mail: socket.socket
    smtp: socket.socket


@asynccontextmanager
async def database(folder: Path) -> AsyncIterator[str]:
    """Yield the superuser's address of the database: one that is given, or our own."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield given
        return
    async with postgres.running(folder / "postgres") as server:
        yield server.url(database="postgres")


async def run(root: Path, console: Console, *, plays_demo: bool) -> None:
    """Run everything until interrupted; the state file exists while all of it is healthy."""
    folder = state.folder(root)
    installation = Installation.load(folder)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with database(folder) as admin_url:
        await roles.prepare(admin_url, installation.passwords)
        sockets = Sockets({name: listen() for name in SERVICES}, listen(), listen())
        where = _addresses(sockets, admin_url)
        await migrate(root, installation, where)
        supervisor = Supervisor(console, folder=root)
        try:
            await _start(supervisor, folder, installation, where, sockets)
            await _announce(folder, installation, where, supervisor, console)
            if plays_demo:
                await supervisor.play(_demo())
            await stop.wait()
        finally:
            state.forget(folder)
            await supervisor.stop()


def _addresses(sockets: Sockets, admin_url: str) -> Addresses:
    host, port = sockets.smtp.getsockname()
    return Addresses(
        api=address(sockets.services["api"]),
        matching=address(sockets.services["matching"]),
        notifications=address(sockets.services["notifications"]),
        mail_host=host,
        mail_port=port,
        mail=address(sockets.mail),
        database=urlsplit(admin_url).netloc.rpartition("@")[2],
    )


async def migrate(root: Path, installation: Installation, where: Addresses) -> None:
    """Bring every database to its newest revision."""
    for service in MIGRATIONS:
        process = await asyncio.create_subprocess_exec(
            *mentoring("migrate", service), cwd=root, env=installation.environment(service, where)
        )
        if await process.wait():
            raise RuntimeError(f"the migrations of {service} failed")


async def _start(
    supervisor: Supervisor,
    folder: Path,
    installation: Installation,
    where: Addresses,
    sockets: Sockets,
) -> None:
    await supervisor.start(_mail(folder, sockets))
    for name in SERVICES:
        listener = sockets.services[name]
        environment = installation.environment(name, where)
        await supervisor.start(
            Program(name, mentoring("serve", name), environment, _answers(listener), listener)
        )
    for name in WORKERS:
        heartbeat = folder / f"{name}-worker.heartbeat"
        heartbeat.unlink(missing_ok=True)
        environment = installation.environment(name, where) | {
            "MENTORING_HEARTBEAT_FILE": str(heartbeat)
        }
        await supervisor.start(
            Program(f"{name} worker", mentoring("worker", name), environment, _beats(heartbeat))
        )


def _mail(folder: Path, sockets: Sockets) -> Program:
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "MENTORING_SMTP_FD": str(sockets.smtp.fileno()),
    }
    return Program(
        "captured mail",
        mentoring("mail-sink", str(folder / "mail")),
        environment,
        _answers(sockets.mail),
        sockets.mail,
        shared=(sockets.smtp,),
    )


def _demo() -> Program:
    return Program("demo", mentoring("demo"), os.environ, _at_once, lasts=False)


async def _at_once() -> bool:
    return True


def _answers(listener: socket.socket) -> Ready:
    url = f"{address(listener)}/readyz"

    async def ready() -> bool:
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            try:
                return (await client.get(url)).is_success
            except httpx.TransportError:
                return False

    return ready


def _beats(heartbeat: Path) -> Ready:
    async def ready() -> bool:
        return await asyncio.to_thread(heartbeat.exists)

    return ready


async def _announce(
    folder: Path,
    installation: Installation,
    where: Addresses,
    supervisor: Supervisor,
    console: Console,
) -> None:
    current = State(
        api_url=f"{where.api}/v1",
        matching_url=where.matching,
        notifications_url=where.notifications,
        mail_url=where.mail,
        database_url=installation.database_url("app_api", "api", where.database),
        organization=tokens.ORGANIZATION,
        tokens=await tokens.prepare(where.api, installation.operator_token),
        supervisor_pid=os.getpid(),
        pids=supervisor.pids,
    )
    state.write(folder, current)
    supervisor.tell(lambda: _refresh(folder, current, supervisor))
    screen(console, current)


def _refresh(folder: Path, current: State, supervisor: Supervisor) -> None:
    state.write(folder, current.model_copy(update={"pids": supervisor.pids}))


def screen(console: Console, current: State) -> None:
    """Say where everything is and what to try next."""
    root = current.api_url.removesuffix("/v1")
    console.print(f"\n[bold]mentoring is running[/] for the organization {current.organization}")
    console.print(f"  API           {current.api_url}")
    console.print(f"  API reference {root}/v1/docs")
    console.print(f"  captured mail {current.mail_url}")
    console.print("  credentials   .mentoring/state.json, or ./dev token org_admin")
    console.print('\nTry: curl -s -H "Authorization: Bearer $(./dev token org_admin)" \\')
    console.print(f"       {current.api_url}/people?limit=3\n", highlight=False)


def start_over(folder: Path) -> None:
    """Throw the whole state of a checkout away, database included; the lock file stays."""
    postgres.discard(folder / "postgres")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in {"up.lock", "up.log"}:
            path.unlink()
