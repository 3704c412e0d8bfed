"""The proof of an optimum: prices whose total equals the weight of the choice."""

import numpy as np

from services.matching.kernel.compiling import Flags, Ints, Places, compiled
from services.matching.kernel.problem import NotOptimalError, Problem


def prove(problem: Problem, taken: Flags, first: Ints, second: Ints) -> tuple[int, int]:
    """Return the totals of primal and dual, int64, or raise `NotOptimalError`.

    By weak duality of linear programs no choice weighs more than the dual, which is
    sum(first * u) + sum(second * v) + sum(max(0, w - u - v)) over the pairs taken, as long as
    u, v >= 0 and w <= u + v for every pair not taken.
    """
    used_first = np.zeros_like(problem.first)
    used_second = np.zeros_like(problem.second)
    primal, surplus, wrong = _totals(
        problem.starts,
        problem.columns,
        problem.weights,
        taken,
        first,
        second,
        used_first,
        used_second,
    )
    sides = ((first, used_first, problem.first), (second, used_second, problem.second))
    for price, used, capacity in sides:
        if price.min(initial=0) < 0 or np.any(used > capacity):
            raise NotOptimalError("a price is below 0 or a capacity exceeded")
        if np.any((price > 0) & (used < capacity)):
            raise NotOptimalError("room is left that would cost something")
    # Equal to capacity where a price is above 0, and so never more than the primal.
    dual = int((first * used_first).sum() + (second * used_second).sum()) + surplus
    if wrong or primal != dual:
        raise NotOptimalError(f"{wrong} pairs outweigh their prices; {primal} is not {dual}")
    return primal, dual


@compiled
def _totals(
    starts: Ints,
    columns: Places,
    weights: Ints,
    taken: Flags,
    first: Ints,
    second: Ints,
    used_first: Ints,
    used_second: Ints,
) -> tuple[int, int, int]:
    primal, surplus, wrong = 0, 0, 0
    for row in range(len(first)):
        for edge in range(starts[row], starts[row + 1]):
            column = columns[edge]
            left = weights[edge] - first[row] - second[column]
            if taken[edge]:
                primal += weights[edge]
                surplus += left
                used_first[row] += 1
                used_second[column] += 1
                wrong += left < 0
            else:
                wrong += left > 0
    return primal, surplus, wrong
