"""Machine code that an image brings: put where Numba may write, and tried as the service starts.

Numba takes what is compiled from a place it may write to only, and a container has one that is
empty at every start. What was compiled for another processor is compiled again, beside the
service and not while somebody waits.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from services.matching.pool import environment

logger = structlog.get_logger()

ALL = ("market", "scores", "forms")
"""The parts of `services.matching.warming`, which is not imported: the service loads no kernels."""


@asynccontextmanager
async def brought_along(
    folder: Path | None, *, parts: Sequence[str] = ALL
) -> AsyncGenerator[asyncio.Task[None] | None]:
    """Have what an image compiled into `folder` used while the service runs; None is none.

    Yields what tries it, which is not waited for.
    """
    if folder is None:
        yield None
        return
    place = Path(os.environ["NUMBA_CACHE_DIR"])
    await asyncio.to_thread(shutil.copytree, folder, place, dirs_exist_ok=True)
    trying = asyncio.create_task(_try(parts))
    try:
        yield trying
    finally:
        trying.cancel()
        await asyncio.gather(trying, return_exceptions=True)


async def _try(parts: Sequence[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.matching.warming", *parts), env=environment()
    )
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if code:
        logger.warning("kernels_not_tried", returncode=code)
