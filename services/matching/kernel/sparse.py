"""The exact solver of sparse assignment with capacities: `solve` from scratch, with its proof."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from services.matching.kernel import auction, graph, repair
from services.matching.kernel.compiling import Flags, Ints
from services.matching.kernel.graph import Adjacency
from services.matching.kernel.problem import MAX_WEIGHT, Problem
from services.matching.kernel.proof import prove
from services.matching.kernel.terms import Step, quiet

# The last increment of the auction, as a share of how far weights lie apart.
FINENESS = 100_000


@dataclass(frozen=True, slots=True)
class Assignment:
    """The pairs taken, bool[e] in the order of the problem, and the prices that prove them best.

    A price, int64, is what one more place of that person is worth at most; both totals are equal.
    """

    taken: npt.NDArray[np.bool_]
    first_prices: Ints
    second_prices: Ints
    primal: int
    dual: int


@dataclass(frozen=True, slots=True)
class Start:
    """What to begin with: pairs taken, uint8[e], that no capacity forbids, and prices of columns.

    The answer to nearly the same problem, such as the same with a few pairs more, leaves little
    to repair; any start leads to the best.
    """

    taken: Flags
    second_prices: Ints


def solve(problem: Problem, *, start: Start | None = None, step: Step = quiet) -> Assignment:
    """Return a choice of the highest total weight; nobody has to have anybody.

    `step` is called at least every second with what is done and what there is to do, and may raise
    to end the work. An equal problem has an equal answer, bit by bit: everything is integer
    arithmetic in one order, where equal offers go to the earlier slot. Where several choices are
    best, which one is found depends on the order of rows and columns, their total does not.
    `NotOptimalError` would be a defect of this module.
    """
    taken, first, second = _solve(problem, start, step)
    primal, dual = prove(problem, taken, first, second)
    return Assignment(taken.astype(bool), first, second, primal, dual)


def _solve(problem: Problem, start: Start | None, step: Step) -> tuple[Flags, Ints, Ints]:
    if not len(problem.weights):
        return np.zeros(0, np.uint8), np.zeros_like(problem.first), np.zeros_like(problem.second)
    scale, last = _scale(problem.weights)
    rows = graph.by_rows(problem, problem.weights if scale == 1 else problem.weights * scale)
    columns = graph.by_columns(rows, len(problem.second), partial(_part, step, 0))
    if start is None:
        taken, prices = auction.warm_start(
            rows, columns, problem.first, problem.second, last=last, step=partial(_part, step, 1)
        )
    else:
        taken, prices = start.taken.copy(), start.second_prices * scale
    owners = graph.owners(rows)
    one = repair.new_book(problem.first, np.zeros_like(problem.first), owners)
    other = repair.new_book(problem.second, prices, problem.columns)
    edges = repair.new_edges(taken, rows.weights)
    for low, high in graph.chunks(rows.ends):
        repair.settle(low, high, rows, one, other, edges)
        step(200, 400)
    scratch = repair.new_scratch(len(one.price) + len(other.price))
    _repair(rows, one, other, edges, scratch, partial(_part, step, 2))
    _repair(columns, other, one, edges, scratch, partial(_part, step, 3))
    # Optimal prices stay optimal when one side is rounded down and the other up.
    return taken, one.price // scale, -(-other.price // scale)


def _part(step: Step, part: int, done: int, total: int) -> None:
    """Tell progress inside one of four parts: turning, auction, rows, columns."""
    step(100 * part + 100 * done // max(1, total), 400)


def _scale(weights: Ints) -> tuple[int, int]:
    """Return what to multiply weights by, and the last increment of the auction.

    Increments below 1 make the auction's prices better where weights lie close together.
    """
    heaviest = int(weights.max())
    apart = max(1, heaviest - int(weights.min()))
    scale = max(1, min(MAX_WEIGHT // heaviest, -(-FINENESS // apart)))
    return scale, max(1, apart * scale // FINENESS)


def _repair(
    own: Adjacency,
    mine: repair.Book,
    theirs: repair.Book,
    edges: repair.Edges,
    scratch: repair.Scratch,
    step: Step,
) -> None:
    """Repair everybody of a side who has room left and a price."""
    queue = _waiting(mine)
    position = 0
    while position < len(queue):
        step(position, len(queue))
        position = repair.repair(
            queue, position, graph.SLOTS_PER_STEP, own, mine, theirs, edges, scratch
        )


def _waiting(book: repair.Book) -> Ints:
    waits = (book.price > 0) & (book.used < book.capacity)
    return np.flatnonzero(waits)
