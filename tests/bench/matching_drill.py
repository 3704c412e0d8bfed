"""One request of 20,000 people over HTTP: a part of `./dev bench matching`.

The service runs as a process of its own, started as in production, and its workers as it starts
them. Memory is the sum of their peaks, which is more than they ever hold together. Silence is
counted from the first byte that is sent to the last that is heard. The caller hangs up in one phase
of the work after another; the work has ended when no process of it is left.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
from pydantic_core import from_json, to_json

from services.matching.pool import HANDED_ON
from services.matching.pool import environment as environment_of_workers
from tests.bench.matching_scores import pool
from tests.bench.report import Figure
from tests.support.pools import KEY, token, until
from tests.support.processes import Server, running, spawn

SIDE = 10_000
SOLUTIONS = "/v1/solutions"
SERVICE = ("-m", "services.cli", "serve", "matching")
MIB = 1024
MEMORY_BAR, SILENCE_BAR, CANCEL_BAR = 1.5 * MIB, 2.0, 2.0
BEFORE_ANY_LINE = "parsing"
PHASES = (BEFORE_ANY_LINE, "criteria", "candidates", "solve", "prices", "explain")
PARSING_SECONDS = 0.5
AS_SENT = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Heard:
    """When each line came, in seconds after the request began, and what it said."""

    at: list[float]
    lines: list[Any]

    @property
    def longest_silence(self) -> float:
        """The longest time between two lines, the beginning taken for one."""
        return max(later - earlier for earlier, later in pairwise([0.0, *self.at]))


@asynccontextmanager
async def _service() -> AsyncIterator[Server]:
    told = {name: value for name, value in environment_of_workers().items() if name in HANDED_ON}
    told |= {
        "MENTORING_ENV": "development",
        "MENTORING_LOG_LEVEL": "critical",
        "MENTORING_SERVICE_PUBLIC_KEYS": json.dumps({"keys": [KEY.as_dict(private=False)]}),
    }
    async with running(SERVICE, told, start=spawn, probe="/livez") as server:
        yield server


@asynccontextmanager
async def _asking(server: Server, body: bytes) -> AsyncIterator[AsyncIterator[str]]:
    """Ask for a solution; leaving the block hangs up."""
    headers = {"Authorization": f"Bearer {token(SOLUTIONS, body)}", **AS_SENT}
    async with (
        httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=120) as caller,
        caller.stream("POST", SOLUTIONS, content=body, headers=headers) as answer,
    ):
        answer.raise_for_status()
        yield answer.aiter_lines()


async def _heard(server: Server, body: bytes) -> Heard:
    """Listen to the last line."""
    began = time.perf_counter()
    at, lines = [], []
    async with _asking(server, body) as told:
        async for line in told:
            at.append(time.perf_counter() - began)
            lines.append(from_json(line))
    if lines[-1]["type"] != "solution":
        raise RuntimeError(lines[-1])
    return Heard(at, lines)


async def _hang_up(server: Server, body: bytes, phase: str) -> float:
    """Hang up in a phase; return for how many seconds a worker was left."""
    if phase == BEFORE_ANY_LINE:
        asking = asyncio.create_task(_heard(server, body))
        await until(lambda: bool(_workers(server)), seconds=60)
        await asyncio.sleep(PARSING_SECONDS)
        asking.cancel()
        left_at = time.perf_counter()
        await asyncio.gather(asking, return_exceptions=True)
    else:
        async with _asking(server, body) as told:
            async for line in told:
                if from_json(line).get("phase") == phase:
                    break
            else:
                raise RuntimeError(f"nothing was heard of {phase}")
            left_at = time.perf_counter()
    await until(lambda: not _workers(server), seconds=60)
    return time.perf_counter() - left_at


def _workers(server: Server) -> list[psutil.Process]:
    return [one for one in server.process.children() if one.status() != psutil.STATUS_ZOMBIE]


def _peak(process: psutil.Process) -> float:
    """Return the most memory that a process ever held, MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / MIB


async def _measured(body: bytes) -> list[Figure]:
    async with _service() as server:
        heard = await _heard(server, body)
        service, workers = _peak(server.process), sum(map(_peak, _workers(server)))
        # One that rests would be taken again, and one that has to start is the harder case.
        for worker in _workers(server):
            worker.kill()
        ended = {phase: await _hang_up(server, body, phase) for phase in PHASES}
    return _figures(heard, (service, workers), ended)


def _figures(heard: Heard, memory: tuple[float, float], ended: dict[str, float]) -> list[Figure]:
    service, workers = memory
    worst = max(ended, key=lambda phase: ended[phase])
    people = f"{2 * SIDE:,} people in one request"
    return [
        _figure(
            f"{people}: peak memory, service {service:.0f} and worker {workers:.0f} (MiB)",
            service + workers,
            MEMORY_BAR,
        ),
        _figure(
            f"{people}, {heard.at[-1]:.1f} s: longest silence, {len(heard.lines)} lines (s)",
            heard.longest_silence,
            SILENCE_BAR,
        ),
        _figure(
            f"{people}: from hanging up to no worker left, worst in {worst} (s)",
            ended[worst],
            CANCEL_BAR,
        ),
    ]


def _figure(work: str, ours: float, most: float) -> Figure:
    return Figure(work, round(ours, 2), None, None, f"<= {most:g}", ours <= most)


def rows() -> Sequence[Figure]:
    """Return what one very large request costs."""
    problem = pool(SIDE)
    body = to_json(problem.model_dump(mode="json", exclude_none=True))
    return asyncio.run(_measured(body))
