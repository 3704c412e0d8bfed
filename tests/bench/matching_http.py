"""10,000 people over HTTP, and the same in one process: a part of `./dev bench matching`.

`python -m tests.bench.matching_http` is that process: it reads the problem, and has one thread as a
worker has.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack

import httpx
from pydantic_core import from_json, to_json

from services.matching import solver
from services.matching.pool import WORKER_ENVIRONMENT
from shared.schemas.matching import Problem
from tests.bench.matching_scores import pool
from tests.bench.report import Figure
from tests.support.pools import quiet, served, settings, token

ROUNDS = 3
SIDE, BAR = 5_000, 1.5


async def over_http(body: bytes) -> float:
    """Return by the clock how long a problem takes, first byte sent to last byte heard."""
    async with AsyncExitStack() as stack:
        _, address = await stack.enter_async_context(served(settings(matching_idle_seconds=600)))
        caller = await stack.enter_async_context(httpx.AsyncClient(base_url=address, timeout=600))
        taken = []
        for _ in range(ROUNDS + 1):
            headers = {
                "Authorization": f"Bearer {token('/v1/solutions', body)}",
                "Content-Type": "application/json",
            }
            before = time.perf_counter()
            answer = await caller.post("/v1/solutions", content=body, headers=headers)
            taken.append(time.perf_counter() - before)
            last = from_json(answer.content.splitlines()[-1])
            if last["type"] != "solution":
                raise RuntimeError(last)
    # The first started a worker, which embedded the texts.
    return statistics.median(taken[1:])


def in_process(body: bytes) -> float:
    """Return by the clock how long the same takes as calls in one process."""
    taken = []
    for _ in range(ROUNDS + 1):
        before = time.perf_counter()
        asked = Problem.model_validate_json(body)
        board = solver.lay_out(asked, max_cells=settings().matching_max_cells, step=quiet)
        decided = solver.solve(board, step=quiet)
        solution = solver.describe(decided, step=quiet)
        solver.digest_of(solution)
        solution.model_dump_json()
        taken.append(time.perf_counter() - before)
    return statistics.median(taken[1:])


def measured(body: bytes) -> float:
    """Return the same, of a process of its own."""
    command = [sys.executable, "-m", "tests.bench.matching_http"]
    environment = {**os.environ, **WORKER_ENVIRONMENT}
    answer = subprocess.run(  # noqa: S603 - our own words
        command, env=environment, input=body, stdout=subprocess.PIPE, check=True
    )
    found: float = json.loads(answer.stdout)
    return found


def rows() -> list[Figure]:
    """Compare the two."""
    body = to_json(pool(SIDE).model_dump(mode="json", exclude_none=True))
    own, plain = asyncio.run(over_http(body)), measured(body)
    ratio = own / plain
    return [
        Figure(
            work=f"{2 * SIDE:,} people over HTTP, first byte to last (s); peer in process",
            ours=round(own, 2),
            peer=round(plain, 2),
            ratio=round(ratio, 2),
            bar=f"<= {BAR:g}",
            met=ratio <= BAR,
        )
    ]


if __name__ == "__main__":
    print(in_process(sys.stdin.buffer.read()))  # noqa: T201 - for the process that asked
