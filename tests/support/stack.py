"""The whole product as processes, in a state folder of its own."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil

from services.local import postgres

ROOT = Path(__file__).parents[2]
MENTORING = Path(sys.executable).parent / "mentoring"
# Rows that count attempts and leases: a killed worker may leave more of them behind.
TRACES = frozenset({"alembic_version", "attempt", "seen_token", "relay_lease"})
UNSENT = "SELECT EXISTS (SELECT FROM outbox_message WHERE sent_at IS NULL)"


@dataclass(frozen=True, slots=True)
class Stack:
    """A state folder, and what its commands say."""

    folder: Path

    def run(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run one command of the product and return what it printed."""
        return subprocess.run(  # noqa: S603 - our own command
            [MENTORING, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one command and return it running."""
        return subprocess.Popen(  # noqa: S603 - our own command
            [MENTORING, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """Return what a command is told."""
        told = {**os.environ, "MENTORING_STATE": str(self.folder)}
        told.pop("DATABASE_URL", None)
        return told

    @property
    def state(self) -> dict[str, Any]:
        """Return the state file."""
        content: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return content

    def processes(self) -> list[psutil.Process]:
        """Return the supervisor and everything it started."""
        supervisor = psutil.Process(self.state["supervisor_pid"])
        return [supervisor, *supervisor.children(recursive=True)]

    def database_url(self, database: str) -> str:
        """Return a database's address for the superuser."""
        password = (self.folder / "postgres" / "postgres.password").read_text()
        where = urlsplit(self.state["database_url"])
        return f"postgresql://postgres:{password}@{where.hostname}:{where.port}/{database}"

    async def row_counts(self) -> dict[str, int]:
        """Return how many rows every table of both databases holds once all events are there."""
        counts = {}
        for database in ("api", "notifications"):
            connection = await asyncpg.connect(self.database_url(database))
            if database == "api":
                await _all_sent(connection)
            tables = await connection.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            )
            for (table,) in tables:
                if table not in TRACES:
                    counts[f"{database}.{table}"] = await connection.fetchval(
                        f"SELECT count(*) FROM {table}"  # noqa: S608 - a name from the catalogue
                    )
            await connection.close()
        return counts


async def _all_sent(connection: asyncpg.Connection) -> None:
    """Wait until notifications has every event."""
    async with asyncio.timeout(60):
        while await connection.fetchval(UNSENT):  # noqa: ASYNC110 - another process, no event
            await asyncio.sleep(0.05)


def wait_until(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    """Look again and again until the condition holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        time.sleep(0.05)


@contextmanager
def running(folder: Path) -> Iterator[Stack]:
    """Run the product until the block ends."""
    stack = Stack(folder)
    started = stack.run("up", "--detach", "--no-demo")
    try:
        assert started.returncode == 0, started.stderr
        yield stack
    finally:
        stack.run("down")
        postgres.discard(folder / "postgres")
