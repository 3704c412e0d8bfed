"""The whole product on one machine: which programs, in which order, told what."""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
from rich.console import Console

from services.local import postgres, roles, state, tokens
from services.local.installation import Addresses, Installation, of_this_machine
from services.local.state import State
from services.local.supervisor import Program, Ready, Supervisor, address, listen, mentoring

SERVICES_FOLDER = Path(__file__).parents[1]
MIGRATIONS = ("api", "notifications")
SERVICES = ("matching", "notifications", "api")
WORKERS = ("api", "notifications")


@dataclass(frozen=True, slots=True)
class Sockets:
    """Listening sockets of the services and of captured mail; they outlive restarts."""

    services: Mapping[str, socket.socket]
    mail: socket.socket
    smtp: socket.socket


@dataclass(frozen=True, slots=True)
class Database:
    """The superuser's address of the database, and its server if that is our own."""

    admin_url: str
    server: postgres.Server | None = None

    @property
    def pids(self) -> dict[str, int]:
        """Return the process id of our own server."""
        return {"postgres": self.server.pid} if self.server else {}


@asynccontextmanager
async def database(folder: Path, *, tell: Callable[[str], None]) -> AsyncIterator[Database]:
    """Yield the database: one that is given, or our own, which is kept running."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield Database(given)
        return
    async with postgres.running(folder / "postgres", tell=tell) as server:
        yield Database(server.url(database="postgres"), server)


async def run(root: Path, console: Console, *, plays_demo: bool) -> None:
    """Run everything until interrupted; the state file exists while all of it is healthy."""
    folder = state.folder(root)
    installation = Installation.load(folder)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    supervisor = Supervisor(console, folder=root)
    async with database(folder, tell=partial(supervisor.report, "postgres")) as opened:
        await roles.prepare(opened.admin_url, installation.passwords)
        sockets = Sockets({name: listen() for name in SERVICES}, listen(), listen())
        where = _addresses(sockets, opened.admin_url)
        programs = _programs(folder, installation, where, sockets)
        try:
            await _start(supervisor, programs, migrate(root, installation, where))
            current = await _announce(folder, installation, where, supervisor, opened)
            screen(console, current, folder)
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
    """Bring every database to its newest revision, all of them at once.

    Seconds of every start but the first go into finding that there is nothing to do, so the
    revision is looked up before the program is started that would find it.
    """
    await asyncio.gather(
        *[
            _migrate(root, name, installation.environment(name, where))
            for name in MIGRATIONS
            if not await _is_newest(
                name, installation.database_url("migrator", name, where.database)
            )
        ]
    )


async def _is_newest(service: str, url: str) -> bool:
    revisions = (SERVICES_FOLDER / service / "migrations" / "versions").glob("[0-9]*.py")
    newest = max(file.stem.partition("_")[0] for file in revisions)
    connection = await asyncpg.connect(url)
    try:
        return bool(await connection.fetchval("SELECT version_num FROM alembic_version") == newest)
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()


async def _migrate(root: Path, service: str, environment: Mapping[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *mentoring("migrate", service), cwd=root, env=environment
    )
    if await process.wait():
        raise RuntimeError(f"the migrations of {service} failed")


@dataclass(frozen=True, slots=True)
class Programs:
    """What is started, by what it has to wait for."""

    independent: Sequence[Program]
    services: Sequence[Program]
    workers: Sequence[Program]


async def _start(
    supervisor: Supervisor, programs: Programs, migrations: Coroutine[Any, Any, None]
) -> None:
    """Start everything as early as it can: services once their tables exist, then workers."""

    async def on_database() -> None:
        await migrations
        for group in (programs.services, programs.workers):
            await asyncio.gather(*map(supervisor.start, group))

    await asyncio.gather(on_database(), *map(supervisor.start, programs.independent))


def _programs(
    folder: Path, installation: Installation, where: Addresses, sockets: Sockets
) -> Programs:
    def service(name: str) -> Program:
        listener = sockets.services[name]
        environment = installation.environment(name, where)
        return Program(name, mentoring("serve", name), environment, _answers(listener), listener)

    def worker(name: str) -> Program:
        heartbeat = folder / f"{name}-worker.heartbeat"
        heartbeat.unlink(missing_ok=True)
        environment = installation.environment(name, where) | {
            "MENTORING_HEARTBEAT_FILE": str(heartbeat)
        }
        return Program(f"{name} worker", mentoring("worker", name), environment, _beats(heartbeat))

    with_tables = [name for name in SERVICES if name in MIGRATIONS]
    without = [name for name in SERVICES if name not in MIGRATIONS]
    return Programs(
        independent=[_mail(folder, sockets), *map(service, without)],
        services=[*map(service, with_tables)],
        workers=[*map(worker, WORKERS)],
    )


def _mail(folder: Path, sockets: Sockets) -> Program:
    environment = {
        **of_this_machine(),
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
    opened: Database,
) -> State:
    current = State(
        api_url=f"{where.api}/v1",
        matching_url=where.matching,
        notifications_url=where.notifications,
        mail_url=where.mail,
        database_url=installation.database_url("app_api", "api", where.database),
        organization=tokens.ORGANIZATION,
        tokens=await tokens.prepare(where.api, installation.operator_token),
        supervisor_pid=os.getpid(),
        pids=opened.pids | supervisor.pids,
    )
    state.write(folder, current)
    supervisor.tell(lambda: _refresh(folder, current, opened.pids | supervisor.pids))
    return current


def _refresh(folder: Path, current: State, pids: Mapping[str, int]) -> None:
    state.write(folder, current.model_copy(update={"pids": pids}))


def screen(console: Console, current: State, folder: Path) -> None:
    """Say where everything is and what to try next."""
    root = current.api_url.removesuffix("/v1")
    console.print(f"\n[bold]mentoring is running[/] for the organization {current.organization}")
    console.print(f"  API           {current.api_url}")
    console.print(f"  API reference {root}/v1/docs")
    console.print(f"  captured mail {current.mail_url}")
    kept = f"  credentials   {folder / state.FILE}, or ./dev token org_admin"
    # A path is to be copied whole, and may hold brackets.
    console.print(kept, markup=False, soft_wrap=True)
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
