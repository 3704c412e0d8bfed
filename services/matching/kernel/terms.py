"""What the kernels share: progress, locks, and why somebody was left out."""

from collections.abc import Callable
from enum import IntEnum, StrEnum

import numpy as np

from services.matching.kernel.compiling import Ints

# More than any sum that kernels make: distances of at most three weights of 2^60 each.
FAR = 2**62

type Step = Callable[[int, int], None]
"""Is told how much of how much is done, at least every second; raises to cancel the work."""


class Kind(StrEnum):
    """How much a result promises: proven best, a known distance to it, or neither."""

    OPTIMAL = "optimal"
    BOUND = "bound"
    HEURISTIC = "heuristic"


class Why(IntEnum):
    """Why somebody was left out; `PLACED` is who was not."""

    PLACED = 0
    NO_CAPACITY = 1
    NOBODY_ALLOWED = 2
    OTHERS_CAME_FIRST = 3
    NEVER_PRESENT = 4
    TOO_FEW_FACILITATORS = 5
    CIRCLE_TOO_SMALL = 6
    KEPT_APART = 7
    TEAM_IS_FULL = 8
    NO_FACILITATOR_ALLOWED = 9
    ODD_ONE_OUT = 10
    ROLE_IS_MISSING = 11


class ImpossibleLockError(ValueError):
    """A lock breaks the rule that is named; `row` is its place among the locks."""

    def __init__(self, rule: str, row: int) -> None:
        super().__init__(f"The rule {rule} forbids lock {row}.")
        self.rule = rule
        self.row = row


def quiet(_done: int, _total: int) -> None:
    """Take no note of progress."""


def no_pairs() -> Ints:
    """Return an empty array of pairs, one pair a row."""
    return np.zeros((0, 2), dtype=np.int64)


def gap_of(reached: int, bound: int) -> float:
    """Return the relative distance between a total and the bound that none can exceed."""
    return 0.0 if bound <= reached else round((bound - reached) / bound, 9)
