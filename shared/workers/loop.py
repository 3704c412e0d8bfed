"""The loop every background job shares: work while there is work, else wait a moment.

A loop stops gracefully: on the stop signal it claims nothing more and finishes what it holds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

IDLE_SECONDS = 0.08
# A job that found nothing a few times in a row looks less often: polling must not keep a core warm.
LONGEST_IDLE = 3
FAILURE_SECONDS = 1.0

logger = structlog.get_logger()

type Turn = Callable[[], Awaitable[int]]


@dataclass(slots=True)
class Job:
    """A named turn of work; a turn returns how many rows it worked on."""

    name: str
    turn: Turn
    idle_seconds: float = IDLE_SECONDS


async def run(job: Job, stop: asyncio.Event) -> None:
    """Take turns until told to stop; a failing turn is logged and tried again."""
    empty_turns = 0
    while not stop.is_set():
        try:
            worked = await job.turn()
        except Exception as error:  # noqa: BLE001 - a job outlives every fault of one turn
            logger.warning("turn_failed", operation=job.name, error_type=type(error).__name__)
            await _pause(stop, FAILURE_SECONDS)
            continue
        empty_turns = 0 if worked else empty_turns + 1
        if not worked:
            await _pause(stop, job.idle_seconds * min(empty_turns, LONGEST_IDLE))


async def run_all(jobs: list[Job], stop: asyncio.Event) -> None:
    """Run all jobs side by side until told to stop."""
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(run(job, stop), name=job.name)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
