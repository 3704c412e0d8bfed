"""Keeps child processes running: in order, behind readiness gates, restarted with back-off.

A child that dies is started again after 0.5 s, doubling to 10 s; one that stayed up for a minute
begins anew. Children share the listening sockets their parent opened, so a restarted service has
the same address and callers wait instead of failing.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from services.local.processes import die_with_parent

FIRST_WAIT = 0.5
LONGEST_WAIT = 10.0
STEADY_SECONDS = 60.0
STOP_SECONDS = 10.0
READY_SECONDS = 60.0
POLL_SECONDS = 0.05
COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_black")

type Ready = Callable[[], Awaitable[bool]]


class StartError(Exception):
    """A program did not become ready."""


@dataclass(slots=True)
class Program:
    """One child: its command, its environment, its socket, and how to tell that it is ready."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready: Ready
    listener: socket.socket | None = None
    shared: tuple[socket.socket, ...] = ()
    lasts: bool = True
    process: asyncio.subprocess.Process | None = field(default=None, init=False)
    restarts: int = field(default=0, init=False)

    @property
    def pid(self) -> int | None:
        """Return the process id while it runs."""
        if self.process is None or self.process.returncode is not None:
            return None
        return self.process.pid


class Supervisor:
    """Starts programs in order and keeps each of them running until it is stopped."""

    def __init__(self, console: Console, *, folder: Path) -> None:
        """Take where to print and where the programs run."""
        self._console = console
        self._folder = folder
        self._changed: Callable[[], None] | None = None
        self._programs: list[Program] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._is_stopping = False

    @property
    def pids(self) -> dict[str, int]:
        """Return the process ids of the lasting programs that run now."""
        return {one.name: one.pid for one in self._programs if one.lasts and one.pid is not None}

    def tell(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever a program has a new process id."""
        self._changed = changed

    def report(self, name: str, line: str) -> None:
        """Print what became of a program that somebody else keeps running."""
        self._console.print(f"[bold]{name:>22}[/] ", end="")
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        if self._changed is not None:
            self._changed()

    async def start(self, program: Program) -> None:
        """Start one program and wait until it is ready."""
        self._programs.append(program)
        await self._spawn(program)
        self._keepers.append(asyncio.create_task(self._keep(program)))
        await self._until_ready(program)

    async def play(self, program: Program) -> None:
        """Start a program that ends by itself and is not started again."""
        self._programs.append(program)
        await self._spawn(program)
        self._keepers.append(asyncio.create_task(self._print_lines(program)))

    async def stop(self) -> None:
        """Stop everything, newest first; whoever does not go in time is killed."""
        self._is_stopping = True
        for keeper in self._keepers:
            keeper.cancel()
        running = [one for one in reversed(self._programs) if one.pid is not None]
        for program in running:
            _signal(program, signal.SIGTERM)
        await asyncio.gather(*[_gone(program) for program in running])

    async def _spawn(self, program: Program) -> None:
        passed = [*program.shared, *([program.listener] if program.listener else [])]
        environment = dict(program.environment)
        if program.listener is not None:
            environment["MENTORING_LISTEN_FD"] = str(program.listener.fileno())
        program.process = await asyncio.create_subprocess_exec(
            *program.command,
            cwd=self._folder,
            env=environment,
            pass_fds=[one.fileno() for one in passed],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
        if self._changed is not None:
            self._changed()

    async def _keep(self, program: Program) -> None:
        wait = FIRST_WAIT
        while True:
            started = asyncio.get_running_loop().time()
            await self._print_lines(program)
            code = program.process and await program.process.wait()
            if self._is_stopping:
                return
            if asyncio.get_running_loop().time() - started > STEADY_SECONDS:
                wait = FIRST_WAIT
            self._say(program, f"ended with {code}; starting again in {wait:g} s")
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)
            program.restarts += 1
            await self._spawn(program)

    async def _print_lines(self, program: Program) -> None:
        stream = program.process and program.process.stdout
        while stream and (line := await stream.readline()):
            self._say(program, line.decode(errors="replace").rstrip())

    def _say(self, program: Program, line: str) -> None:
        colour = COLOURS[self._programs.index(program) % len(COLOURS)]
        prefix = f"[{colour}]{program.name:>22}[/] "
        self._console.print(prefix, end="")
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    async def _until_ready(self, program: Program) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not await program.ready():  # noqa: ASYNC110 - another process, no event
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise StartError(f"{program.name} did not become ready") from None


async def _gone(program: Program) -> None:
    if program.process is None:
        return
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await program.process.wait()
    except TimeoutError:
        _signal(program, signal.SIGKILL)
        await program.process.wait()


def _signal(program: Program, number: signal.Signals) -> None:
    if program.pid is not None:
        os.kill(program.pid, number)


def listen() -> socket.socket:
    """Return a listening socket on a free port of this machine alone."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    listener.set_inheritable(True)
    return listener


def address(listener: socket.socket) -> str:
    """Return the HTTP address of a listening socket."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def mentoring(*arguments: str) -> tuple[str, ...]:
    """Return the command line of this very program with other arguments."""
    return (sys.executable, "-m", "services.cli", *arguments)
