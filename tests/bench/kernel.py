"""The exact solver against OR-Tools' minimum-cost flow: `python -m tests.bench.kernel`.

Both solve the same problem in one process and one thread and take turns; that their totals are
equal is asserted. What is compared is CPU time, from arrays to the total. The last rows are single
changes of a market of 10,000 by 10,000 against solving it anew.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from services.matching.kernel import market
from services.matching.kernel.market import Change, Join, Leave, Market, Resize, Side, Weigh
from services.matching.kernel.problem import Problem
from services.matching.kernel.sparse import Assignment, solve
from tests.bench import report
from tests.support import markets

ROUNDS = 3
CHANGES = 100
CAPACITIES, ONE_TO_ONE = 4.0, 3.0
ONE_CHANGE_MS = 1.0
WORK = (
    *((shape, 10_000, CAPACITIES) for shape in markets.SHAPES if "room" in shape),
    *((shape, 50_000, CAPACITIES) for shape in markets.SHAPES if "room" in shape),
    *((shape, 50_000, ONE_TO_ONE) for shape in markets.SHAPES if "one to one" in shape),
    ("alike, one to one, tight", 100_000, ONE_TO_ONE),
    ("random, one to one", 100_000, ONE_TO_ONE),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What one kind of work costs, in seconds or milliseconds of CPU, and the ratio to the peer."""

    work: str
    ours: float
    peer: float
    ratio: float
    spread: list[float]
    bar: str
    met: bool


def spent[Result](work: Callable[[], Result]) -> tuple[float, Result]:
    """Return the CPU seconds that some work takes, and what it finds."""
    before = time.process_time()
    result = work()
    return time.process_time() - before, result


def compare(shape: str, size: int, bar: float) -> Row:
    """Let both solve a problem in turns, and compare round by round."""
    problem = markets.SHAPES[shape](size)
    rounds = []
    for _ in range(ROUNDS):
        ours, found = spent(partial(solve_anew, problem))
        peer, total = spent(partial(markets.by_flow, problem))
        assert found.primal == total, (shape, found.primal, total)
        rounds.append((ours, peer))
    ratios = sorted(peer / ours for ours, peer in rounds)
    ratio = statistics.median(ratios)
    return Row(
        work=f"{shape}, {size:,} (s)",
        ours=round(statistics.median(ours for ours, _ in rounds), 2),
        peer=round(statistics.median(peer for _, peer in rounds), 2),
        ratio=round(ratio, 1),
        spread=[round(ratios[0], 1), round(ratios[-1], 1)],
        bar=f">= {bar:g}x",
        met=ratio >= bar,
    )


def solve_anew(problem: Problem) -> Assignment:
    """Solve an equal problem, so that checking it is part of the work."""
    return solve(
        Problem(problem.starts, problem.columns, problem.weights, problem.first, problem.second)
    )


def change_rows() -> Iterator[Row]:
    """Yield what single changes cost, by kind, with room for all and with too little."""
    for name, most_first, most_second in (("slack", 1, 5), ("tight", 3, 3)):
        size = 10_000
        problem = markets.problem_of(
            markets.alike(size, size, degree=64, seed=21),
            markets.rooms(size, 1, most_first, seed=22),
            markets.rooms(size, 1, most_second, seed=23),
        )
        cold, _ = spent(partial(solve_anew, problem))
        market = Market(problem)
        for kind, times in timed_changes(market, problem).items():
            yield _change_row(f"one change, {name}: {kind} (ms)", times, cold)
        market.check()


def _change_row(work: str, times: list[float], cold: float) -> Row:
    ordered = sorted(1000 * one for one in times)
    middle = statistics.median(ordered)
    return Row(
        work=work,
        ours=round(middle, 3),
        peer=round(1000 * cold, 1),
        ratio=round(1000 * cold / middle, 1),
        spread=[round(ordered[0], 3), round(ordered[len(ordered) * 9 // 10], 3)],
        bar=f"<= {ONE_CHANGE_MS:g} ms",
        met=middle <= ONE_CHANGE_MS,
    )


def timed_changes(market: Market, problem: Problem) -> dict[str, list[float]]:
    """Return CPU seconds of single changes of each kind."""
    times: dict[str, list[float]] = {}
    for kind, change in changes(problem):
        seconds, _ = spent(partial(market.apply, change))
        times.setdefault(kind, []).append(seconds)
    return times


def changes(problem: Problem) -> Iterator[tuple[str, Change]]:
    """Return changes of every kind, each about other people than the one before."""
    chance = random.Random(0)  # noqa: S311 - no secret
    rows = chance.sample(range(len(problem.first)), 2 * CHANGES)
    columns = chance.sample(range(len(problem.second)), CHANGES)
    gone: set[int] = set()
    for at in range(CHANGES):
        slots = slice(problem.starts[rows[at]], problem.starts[rows[at] + 1])
        others = [int(one) for one in problem.columns[slots] if int(one) not in gone]
        weights = [
            int(one) for one in chance.choices(problem.weights[slots].tolist(), k=len(others))
        ]
        yield "weight", Weigh(rows[at], chance.choice(others), chance.choice(weights) + 500)
        yield "more room", Resize(Side.ROWS, rows[at], int(problem.first[rows[at]]) + 1)
        yield "less room", Resize(Side.ROWS, rows[at], int(problem.first[rows[at]]) - 1)
        yield "join", Join(Side.ROWS, 1, others, weights)
        yield "leave", Leave(Side.ROWS, rows[CHANGES + at])
        yield "leave, column", Leave(Side.COLUMNS, columns[at])
        gone.add(columns[at])


def rows() -> Iterator[Row]:
    """Yield all figures of the kernel; it takes about twenty minutes."""
    market.warm()
    for work in WORK:
        yield compare(*work)
    yield from change_rows()


def main() -> int:
    """Print the figures, and fail if a bar is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    told = report.tell(rows(), as_json=options.as_json, rounds=ROUNDS, numpy=np.__version__)
    return 0 if report.all_met(told) else 1


if __name__ == "__main__":
    sys.exit(main())
