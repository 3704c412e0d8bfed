"""Start, stop and look at the stack of a folder."""

import asyncio
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from rich.console import Console

from services.local import postgres, stack, state, tokens
from services.local.installation import Installation
from services.local.state import State
from services.local.supervisor import StartError, mentoring

START_SECONDS = 120.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.1


class BusyError(Exception):
    """Another `up` holds this folder."""


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    with (folder / "up.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError from None
        yield


def up(root: Path, *, is_detached: bool, is_fresh: bool, plays_demo: bool) -> int:
    """Run the stack; with `is_detached`, in the background, and return once it is healthy."""
    console = Console(stderr=True)
    folder = state.folder(root)
    if is_detached:
        options = [*(["--fresh"] if is_fresh else []), *([] if plays_demo else ["--no-demo"])]
        return _detached(root, folder, console, options)
    try:
        with _only_one(folder):
            if is_fresh:
                stack.start_over(folder)
            state.forget(folder)
            asyncio.run(stack.run(root, console, plays_demo=plays_demo))
    except BusyError:
        console.print("mentoring is already running in this folder: ./dev status")
    except (StartError, postgres.NoPostgresError, postgres.AlreadyRunningError) as error:
        console.print(f"[red]{error}[/]")
        return 1
    return 0


def _detached(root: Path, folder: Path, console: Console, options: list[str]) -> int:
    if state.read(folder) is not None:
        console.print("mentoring is already running in this folder: ./dev status")
        return 0
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - this very program
            mentoring("up", *options),
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if (current := state.read(folder)) is not None:
            stack.screen(console, current, folder)
            return 0
        if process.poll() is not None:
            return _ended(process.returncode, folder, console)
        time.sleep(POLL_SECONDS)
    process.terminate()
    return _ended(1, folder, console)


def _ended(code: int, folder: Path, console: Console) -> int:
    # The other `up` of a race may still be starting; it answers for this one too.
    if code == 0 and _wait_for_other(folder):
        console.print("mentoring is already running in this folder: ./dev status")
        return 0
    log = folder / "up.log"
    console.print(log.read_text()[-4000:], markup=False)
    said = f"mentoring did not start; see {log}"
    console.print(said, style="red", markup=False, soft_wrap=True)
    return 1


def _wait_for_other(folder: Path) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if state.read(folder) is not None:
            return True
        try:
            with _only_one(folder):
                return False
        except BusyError:
            time.sleep(POLL_SECONDS)
    return False


def down(root: Path) -> int:
    """Stop the stack of a folder and wait until it is gone."""
    console = Console(stderr=True)
    current = state.read(state.folder(root))
    if current is None:
        console.print("mentoring is not running in this folder")
        return 0
    os.kill(current.supervisor_pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while state.is_alive(current.supervisor_pid):
        if time.monotonic() > deadline:
            console.print(f"[red]process {current.supervisor_pid} does not stop[/]")
            return 1
        time.sleep(POLL_SECONDS)
    console.print("mentoring has stopped")
    return 0


def status(root: Path, *, as_json: bool) -> int:
    """Say what runs; the exit code tells scripts whether anything does."""
    folder = state.folder(root)
    current = state.read(folder)
    if as_json:
        print(current.model_dump_json(indent=2) if current else "{}")  # noqa: T201 - for scripts
    elif current is None:
        Console().print("mentoring is not running in this folder: ./dev up")
    else:
        stack.screen(Console(), current, folder)
    return 0 if current else 3


def token(root: Path, who: str, *, organization: str | None) -> int:
    """Print a credential for a role or a person, of this organization or of another one."""
    folder = state.folder(root)
    current = state.read(folder)
    console = Console(stderr=True)
    if current is None:
        console.print("mentoring is not running in this folder: ./dev up")
        return 3
    kept = current.tokens if organization in {None, current.organization} else {}
    found = kept.get(who) or asyncio.run(
        _token_of(folder, current, who, organization or current.organization)
    )
    if found is None:
        known = ", ".join(kept or ("org_admin", "coordinator"))
        console.print(f"No credential for {who}; roles are {known}, or give a person's id.")
        return 1
    print(found)  # noqa: T201 - for scripts
    return 0


async def _token_of(folder: Path, current: State, who: str, organization: str) -> str | None:
    installation = Installation.load(folder)
    root = current.api_url.removesuffix("/v1")
    async with httpx.AsyncClient(base_url=root, trust_env=False, timeout=10) as http:
        http.headers["Authorization"] = f"Bearer {installation.operator_token}"
        try:
            return await tokens.sign_in(http, who, organization=organization)
        except httpx.HTTPStatusError:
            return None
