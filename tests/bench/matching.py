"""Matching against what others offer for the same work: `./dev bench matching`.

Names of parts (`pools`, `kernel`, `forms`, `http`) leave the others out; all of them take about
half an hour. Both sides of a row use one thread and do identical work, and their totals are held
against each other. Seconds are of the processor, but for those over HTTP, which are by the clock.
A peer that is not installed is named as skipped; the dependency group `bench` holds them.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import httpx
import numpy as np
from pydantic_core import from_json, to_json

from services.matching import board, decision, solver, two_sided
from services.matching.board import Board
from services.matching.decision import Levels
from services.matching.kernel import sparse
from services.matching.kernel.problem import Problem as Assigned
from services.matching.pool import WORKER_ENVIRONMENT
from shared.schemas.matching import Objective, Problem
from tests.bench import forms, kernel, report
from tests.bench.matching_scores import Dense, pool
from tests.support.pools import quiet, served, settings, token

ROUNDS = 3
BARS: Mapping[tuple[int, str], Mapping[str, float]] = MappingProxyType(
    {
        (5_000, "fast"): {"scipy": 20, "lapjv": 4},
        (5_000, "certified"): {"scipy": 8, "lapjv": 2},
        (20_000, "fast"): {"lapjv": 10},
        (20_000, "certified"): {"lapjv": 5},
    }
)
MEMORY_SIZE, MEMORY_BAR = 10_000, 400.0
WARM = 400
OVER_HTTP, HTTP_BAR = 5_000, 1.5


@dataclass(frozen=True, slots=True)
class Row:
    """What one piece of work took us and a peer, and how that compares with its bar."""

    work: str
    ours: float
    peer: float | None
    ratio: float | None
    bar: str
    met: bool


# Scores, rules and the best pairs of a whole pool.


def fast(ready: Board) -> int:
    """Solve everybody's best, and price nothing."""
    open_ = decision.open_of(ready)
    found = two_sided.find(open_, step=quiet)
    levels = Levels.of(open_, Objective.BEST_TOTAL)
    problem = Assigned(
        starts=found.starts,
        columns=found.columns,
        weights=levels.worth[found.scores],
        first=open_.first,
        second=open_.second,
    )
    taken = sparse.solve(problem).taken
    return int(found.scores[taken].sum())


def certified(ready: Board) -> int:
    """Solve until it is proven over all pairs."""
    open_ = decision.open_of(ready)
    found = two_sided.find(open_, step=quiet)
    decided = two_sided.decide(open_, Objective.BEST_TOTAL, found, step=quiet)
    if decided.certificate.gap:
        raise ArithmeticError("the solution was not proven")
    return int(ready.scores(decided.taken.first, decided.taken.second).sum())


def by_scipy(made: Dense) -> int:
    """Score every pair and let scipy assign."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - of this peer alone

    gains = np.maximum(made.scores(slice(0, made.height)), 0)
    return int(gains[linear_sum_assignment(gains, maximize=True)].sum())


def by_lapjv(made: Dense) -> int:
    """Score every pair and let lapjv assign."""
    lapjv = forms.peer_of("lapjv")
    gains = np.maximum(made.scores(slice(0, made.height)), 0)
    columns, _, _ = lapjv.lapjv(gains.max() - gains)
    return int(gains[np.arange(made.height), columns].sum())


OURS: Mapping[str, Callable[[Board], int]] = MappingProxyType(
    {"fast": fast, "certified": certified}
)
PEERS: Mapping[str, Callable[[Dense], int]] = MappingProxyType(
    {"scipy": by_scipy, "lapjv": by_lapjv}
)


def child(who: str, size: int) -> None:
    """Work as one of them, and print what it took."""
    # Texts are embedded before; the first to be asked for are the pool's.
    ready = board.set_up(pool(size), step=quiet)
    if who in OURS:
        # Large enough for everything to be called that this kind of work calls.
        OURS[who](board.set_up(pool(WARM), step=quiet))
    else:
        made = Dense(ready)
    spent = []
    for _ in range(1 if size > 10_000 else ROUNDS):
        before = time.process_time()
        total = OURS[who](ready) if who in OURS else PEERS[who](made)
        spent.append(time.process_time() - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"seconds": statistics.median(spent), "megabytes": peak, "total": total}
    print(json.dumps(found))  # noqa: T201 - for the process that asked


def measured(who: str, size: int) -> dict[str, float]:
    """Return what one of them took, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.matching", "--as", who, str(size)]
    environment = {**os.environ, **WORKER_ENVIRONMENT}
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own words
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def pool_rows() -> list[Row]:
    """Compare score, rules and assignment of whole pools, and hold totals against each other."""
    rows = []
    sizes = sorted({size for size, _ in BARS})
    for size in sizes:
        named = sorted({peer for (of, _), bars in BARS.items() if of == size for peer in bars})
        peers = {peer: measured(peer, size) for peer in named if _is_there(peer)}
        for how in OURS:
            own = measured(how, size)
            for peer, bar in BARS[size, how].items():
                if peer in peers:
                    rows.append(_pool_row(size, how, own, (peer, peers[peer]), bar))
    peak = measured("certified", MEMORY_SIZE)["megabytes"]
    work = f"certified, {MEMORY_SIZE:,} x {MEMORY_SIZE:,}: peak megabytes"
    limit = f"<= {MEMORY_BAR:g}"
    return [*rows, Row(work, round(peak), None, None, limit, peak <= MEMORY_BAR)]


def _pool_row(
    size: int,
    how: str,
    own: Mapping[str, float],
    other: tuple[str, Mapping[str, float]],
    bar: float,
) -> Row:
    peer, theirs = other
    gap = 1 - own["total"] / theirs["total"]
    # Of float32 sums a few scores are rounded by a hundredth of a point.
    if gap > (1e-3 if how == "fast" else 1e-6):
        raise ArithmeticError(f"found {own['total']} and {theirs['total']}")
    ratio = theirs["seconds"] / own["seconds"]
    return Row(
        work=f"score, rules, assign, {size:,} x {size:,}, {how}; peer {peer} (s, gap {gap:.4%})",
        ours=round(own["seconds"], 2),
        peer=round(theirs["seconds"], 2),
        ratio=round(ratio, 1),
        bar=f">= {bar:g}x",
        met=ratio >= bar,
    )


def _is_there(peer: str) -> bool:
    if peer == "scipy":
        return True
    try:
        forms.peer_of(peer)
    except forms.SkippedError:
        return False
    return True


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


def kernel_rows() -> Sequence[Any]:
    """Return the exact solver's own rows."""
    return [_as_row(one) for one in kernel.rows()]


def form_rows() -> Sequence[Any]:
    """Return the rows of all other forms."""
    rows, skipped = forms.measure()
    for peer in skipped:
        print(f"skipped: {peer} is not installed", file=sys.stderr)  # noqa: T201 - for people
    return rows


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
    parser.add_argument("--as", nargs=2, dest="child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], int(options.child[1]))
        return 0
    rows = [row for name in options.parts or PARTS for row in PARTS[name]()]
    report.show(rows, as_json=options.as_json, rounds=ROUNDS, numpy=np.__version__)
    return 0 if report.all_met(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
