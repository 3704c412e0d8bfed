"""A worker as a process: it beats while it is alive, and stops when told to.

SIGTERM and SIGINT stop the claiming; what is in flight is finished within `DRAIN_SECONDS`, then
let go, and its leases run out by themselves.
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import structlog

from shared.workers.loop import Job, run_all

BEAT_SECONDS = 5.0
DRAIN_SECONDS = 8.0
HEARTBEAT_VARIABLE = "MENTORING_HEARTBEAT_FILE"

logger = structlog.get_logger()


def stop_on_signals() -> asyncio.Event:
    """Return an event that the usual signals set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def heartbeat() -> Job | None:
    """Return the job that touches the heartbeat file, where one is asked for."""
    named = os.environ.get(HEARTBEAT_VARIABLE)
    if not named:
        return None

    async def beat() -> int:
        await asyncio.to_thread(Path(named).touch)
        return 0

    return Job("heartbeat", beat, idle_seconds=BEAT_SECONDS)


async def work(jobs: Sequence[Job], stop: asyncio.Event) -> None:
    """Run all jobs and the heartbeat until told to stop, then wait for what is in flight."""
    beat = heartbeat()
    running = asyncio.create_task(run_all([*jobs, *([beat] if beat else [])], stop))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    _finished, unfinished = await asyncio.wait({running}, timeout=DRAIN_SECONDS)
    if unfinished:
        logger.warning("work_let_go", count=len(jobs))
        running.cancel()
        await asyncio.wait({running})
    else:
        await running
