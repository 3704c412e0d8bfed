"""Whole pools against dense solvers, from scores to pairs: a part of `./dev bench matching`.

Everybody works in a process of its own, `python -m tests.bench.matching_pools WHO SIZE`, which
loads only what such work needs, as its peak of memory is one of the figures.
"""

import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from services.matching import board, decision, two_sided
from services.matching.board import Board
from services.matching.decision import Levels
from services.matching.kernel import sparse
from services.matching.kernel.problem import Problem
from services.matching.pool import WORKER_ENVIRONMENT
from shared.schemas.matching import Objective
from tests.bench.matching_scores import Dense, pool, quiet
from tests.bench.report import Figure

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


def fast(ready: Board) -> int:
    """Solve everybody's best, and price nothing."""
    open_ = decision.open_of(ready)
    found = two_sided.find(open_, step=quiet)
    levels = Levels.of(open_, Objective.BEST_TOTAL)
    problem = Problem(
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
    lapjv: Any = importlib.import_module("lapjv")
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
    command = [sys.executable, "-m", "tests.bench.matching_pools", who, str(size)]
    environment = {**os.environ, **WORKER_ENVIRONMENT}
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own words
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def rows(skip: Callable[[str], None]) -> Iterator[Figure]:
    """Hold whole pools against peers, totals included; peers that are missing are skipped."""
    skipped = [peer for peer in PEERS if importlib.util.find_spec(peer) is None]
    for peer in skipped:
        skip(peer)
    sizes = sorted({size for size, _ in BARS})
    for size in sizes:
        named = sorted({peer for (of, _), bars in BARS.items() if of == size for peer in bars})
        peers = {peer: measured(peer, size) for peer in named if peer not in skipped}
        for how in OURS:
            own = measured(how, size)
            for peer, bar in BARS[size, how].items():
                if peer in peers:
                    yield _row(size, how, own, (peer, peers[peer]), bar)
    peak = measured("certified", MEMORY_SIZE)["megabytes"]
    work = f"certified, {MEMORY_SIZE:,} x {MEMORY_SIZE:,}: peak megabytes"
    limit = f"<= {MEMORY_BAR:g}"
    yield Figure(work, round(peak), None, None, limit, peak <= MEMORY_BAR)


def _row(
    size: int,
    how: str,
    own: Mapping[str, float],
    other: tuple[str, Mapping[str, float]],
    bar: float,
) -> Figure:
    peer, theirs = other
    gap = 1 - own["total"] / theirs["total"]
    # Of float32 sums a few scores are rounded by a hundredth of a point.
    if gap > (1e-3 if how == "fast" else 1e-6):
        raise ArithmeticError(f"found {own['total']} and {theirs['total']}")
    ratio = theirs["seconds"] / own["seconds"]
    return Figure(
        work=f"score, rules, assign, {size:,} x {size:,}, {how}; peer {peer} (s, gap {gap:.4%})",
        ours=round(own["seconds"], 2),
        peer=round(theirs["seconds"], 2),
        ratio=round(ratio, 1),
        bar=f">= {bar:g}x",
        met=ratio >= bar,
    )


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]))
