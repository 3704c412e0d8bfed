"""Matching against what others offer for the same work: `./dev bench matching`.

Names of parts (`pools`, `kernel`, `forms`, `http`) leave the others out; all of them take about
half an hour. Both sides of a row use one thread and do identical work, and their totals are held
against each other. Seconds are of the processor, but for those over HTTP, which are by the clock.
A peer that is not installed is named as skipped; the dependency group `bench` holds them.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import MappingProxyType
from typing import Any

import httpx
import numpy as np
from pydantic_core import from_json, to_json

from services.matching import solver
from shared.schemas.matching import Problem
from tests.bench import forms, kernel, matching_pools, report
from tests.bench.matching_pools import Row
from tests.bench.matching_scores import pool
from tests.support.pools import quiet, served, settings, token

ROUNDS = 3
OVER_HTTP, HTTP_BAR = 5_000, 1.5


# Over HTTP.


async def over_http(body: bytes) -> float:
    """Return by the clock how long a problem takes, first byte sent to last byte heard."""
    async with AsyncExitStack() as stack:
        _, address = await stack.enter_async_context(served(settings(matching_idle_seconds=600)))
        caller = await stack.enter_async_context(httpx.AsyncClient(base_url=address, timeout=600))
        taken = []
        for _ in range(ROUNDS + 1):
            headers = {"Authorization": f"Bearer {token('/v1/solutions', body)}"}
            before = time.perf_counter()
            answer = await caller.post("/v1/solutions", content=body, headers=headers)
            taken.append(time.perf_counter() - before)
            last = from_json(answer.content.splitlines()[-1])
            if last["type"] != "solution":
                raise RuntimeError(last)
    # The first started a worker, which embedded the texts.
    return statistics.median(taken[1:])


def in_process(body: bytes, max_cells: int) -> float:
    """Return by the clock how long the same takes as calls in one process."""
    taken = []
    for _ in range(ROUNDS + 1):
        before = time.perf_counter()
        problem = solver.ready(Problem.model_validate_json(body), max_cells=max_cells)
        decided = solver.solve(solver.lay_out(problem, step=quiet), step=quiet)
        solution = solver.describe(decided, step=quiet)
        solver.digest_of(solution)
        solution.model_dump_json()
        taken.append(time.perf_counter() - before)
    return statistics.median(taken[1:])


def http_rows() -> list[Row]:
    """Compare a problem of 10,000 people over HTTP with the same in one process."""
    body = problem_of(OVER_HTTP)
    own = asyncio.run(over_http(body))
    plain = in_process(body, settings().matching_max_cells)
    ratio = own / plain
    return [
        Row(
            work=f"{2 * OVER_HTTP:,} people over HTTP, first byte to last (s); peer in process",
            ours=round(own, 2),
            peer=round(plain, 2),
            ratio=round(ratio, 2),
            bar=f"<= {HTTP_BAR:g}",
            met=ratio <= HTTP_BAR,
        )
    ]


def problem_of(size: int) -> bytes:
    """Return a pool as it is sent."""
    return to_json(pool(size).model_dump(mode="json", exclude_none=True))


def pool_rows() -> Sequence[Any]:
    """Return the rows of whole pools."""
    found, skipped = matching_pools.rows()
    _tell(skipped)
    return found


def kernel_rows() -> Sequence[Any]:
    """Return the exact solver's own rows."""
    return [_as_row(one) for one in kernel.rows()]


def form_rows() -> Sequence[Any]:
    """Return the rows of all other forms."""
    found, skipped = forms.measure()
    _tell(skipped)
    return found


def _tell(skipped: Sequence[str]) -> None:
    for peer in skipped:
        print(f"skipped: {peer} is not installed", file=sys.stderr)  # noqa: T201 - for people


def _as_row(one: kernel.Row) -> Row:
    spread = "-".join(map(str, one.spread))
    return Row(f"{one.work} [{spread}]", one.ours, one.peer, one.ratio, one.bar, one.met)


PARTS: Mapping[str, Callable[[], Sequence[Any]]] = MappingProxyType(
    {"pools": pool_rows, "http": http_rows, "forms": form_rows, "kernel": kernel_rows}
)


def main() -> int:
    """Print the figures; the exit code says whether every bar was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    rows = [row for name in options.parts or PARTS for row in PARTS[name]()]
    report.show(rows, as_json=options.as_json, rounds=ROUNDS, numpy=np.__version__)
    return 0 if report.all_met(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
