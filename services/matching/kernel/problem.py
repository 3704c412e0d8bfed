"""What the kernel is asked: allowed pairs with their weights, capacities, and what it refuses.

ArithmeticError
├── TooLargeError       sums would not fit 64 bits
└── NotOptimalError     the prices do not prove the choice
ValueError
└── InvalidProblemError arrays that contradict each other
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.matching.kernel.compiling import Ints, Places

# Distances are sums of at most three weights, and a fourth must still be comparable.
MAX_WEIGHT = 2**60
MAX_TOTAL = 2**63 - 1
MAX_EDGES = 2**31 - 1


class InvalidProblemError(ValueError):
    """The arrays of a problem contradict each other."""


class TooLargeError(ArithmeticError):
    """Weights or their sum would not fit 64-bit integers."""


class NotOptimalError(ArithmeticError):
    """The prices do not prove that a choice is optimal; it must not be used."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Who may have whom, and for how much.

    Row i may have `columns[starts[i]:starts[i + 1]]`, ascending, each at most once, for the
    positive weight beside it; it has room for `first[i]`, column j for `second[j]`. No weight is
    above 2^60, and no choice may weigh more than 2^63 - 1.
    """

    starts: Ints
    columns: Places
    weights: Ints
    first: Ints
    second: Ints

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_edges(self)
        _check_size(self)

    @property
    def degrees(self) -> Ints:
        """Return how many pairs each row has, int64[n]."""
        return np.diff(self.starts)


def _check_shapes(problem: Problem) -> None:
    kinds = (
        ("starts", problem.starts, np.int64),
        ("columns", problem.columns, np.int32),
        ("weights", problem.weights, np.int64),
        ("first", problem.first, np.int64),
        ("second", problem.second, np.int64),
    )
    for name, array, kind in kinds:
        if array.dtype != kind or array.ndim != 1:
            raise InvalidProblemError(f"{name} is a vector of {np.dtype(kind)}")
    starts, edges = problem.starts, len(problem.columns)
    if len(starts) != len(problem.first) + 1 or len(problem.weights) != edges:
        raise InvalidProblemError("the arrays differ in length")
    if starts[0] != 0 or starts[-1] != edges or np.any(starts[1:] < starts[:-1]):
        raise InvalidProblemError("starts do not rise from 0 to the number of pairs")
    if edges > MAX_EDGES:
        raise TooLargeError("there are more than 2^31 - 1 pairs")


def _check_edges(problem: Problem) -> None:
    columns = problem.columns
    if not len(columns):
        return
    if columns.min() < 0 or columns.max() >= len(problem.second):
        raise InvalidProblemError("a pair names a column that is not there")
    rising = columns[1:] > columns[:-1]
    opening = problem.starts[1:-1]
    rising[opening[(opening > 0) & (opening < len(columns))] - 1] = True
    if not rising.all():
        raise InvalidProblemError("the columns of a row are not ascending")


def _check_size(problem: Problem) -> None:
    for capacities in (problem.first, problem.second):
        if capacities.min(initial=0) < 0:
            raise InvalidProblemError("a capacity is below 0")
    if problem.weights.min(initial=1) <= 0:
        raise InvalidProblemError("a weight is not above 0")
    check_bounds(
        heaviest=int(problem.weights.max(initial=0)),
        pairs=min(
            _places(problem.first, problem.degrees),
            _places(problem.second, np.bincount(problem.columns, minlength=len(problem.second))),
        ),
    )


def check_bounds(*, heaviest: int, pairs: int) -> None:
    """Refuse what could overflow: a weight above 2^60, or pairs that together reach 2^63."""
    if heaviest > MAX_WEIGHT:
        raise TooLargeError("a weight is above 2^60")
    if heaviest * pairs > MAX_TOTAL:
        raise TooLargeError(f"{pairs} pairs of weight {heaviest} would exceed 2^63 - 1")


def _places(capacities: Ints, degrees: npt.NDArray[np.integer]) -> int:
    return int(np.minimum(capacities, degrees).sum())
