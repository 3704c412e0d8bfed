"""Which pairs outside the candidates would pay, and how far from the best that may be at most.

Candidates alone are solved exactly: dual prices u and p prove it, and their value is `dual`. A pair
that was left out pays if its worth exceeds u_i + p_j, by v_ij > 0. If none pays, the same prices
prove the solution best among all pairs. If some do: of the n_i pairs of row i that pay, at most as
many can be taken as its capacity a_i, each of which adds v_ij at most; in other words, a price of
v_ij for each of them, or raising u_i, makes the prices fit all pairs again. Therefore

    best <= dual + sum over rows of min(a_i, n_i) * (the largest v_ij of the row),

and the same holds with columns in the place of rows; the lesser of the two sums is the `excess`.

Hardly any pair has to be looked at. None that was left out scores above `rest` of its row or its
column. So a row can pay only with columns whose price is below its reach, worth(rest) - u_i: with
columns in the order of prices and rows in that of reach, what is left is a staircase.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from services.matching.blocks import APART, COLUMNS, ROWS, Blocks, Scores, slices
from services.matching.board import Step
from services.matching.candidates import Candidates, Ints, Pairs
from services.matching.kernel.compiling import compiled
from services.matching.measures import Places

FAR = 2**62
CHUNK = 32


@dataclass(frozen=True, slots=True)
class Solved:
    """The prices that prove a solution of the candidates, and the capacities it is for.

    `worth`, int64[HIGHEST + 1], is what a pair counts in the objective by its score; it never
    falls. Prices and capacities are int64[n] and [m]; prices are in the unit of `worth`, not
    negative, and for each candidate that is not taken at least its worth together.
    """

    worth: Ints
    price_first: Ints
    price_second: Ints
    capacity_first: Ints
    capacity_second: Ints


@dataclass(frozen=True, slots=True)
class Paying:
    """Pairs outside the candidates that pay or nearly do, the best few of each row, in order.

    `first`, `second` and `scores` are int64[k]. `count` counts all that pay, not only those listed;
    `excess`, in the unit of `worth`, is what they can add to the dual value at most.
    """

    first: Places
    second: Places
    scores: Ints
    count: int
    excess: int


def paying(
    blocks: Blocks, candidates: Candidates, solved: Solved, *, most: int, margin: int, step: Step
) -> Paying:
    """Return the pairs that pay, at most so many of each row; a count of 0 certifies the solution.

    Also those that lack less than `margin`: added early, they spare later rounds, in which prices
    move a little although the solution is the best already.
    """
    worth = solved.worth + margin
    stairs = _Stairs.of(candidates, solved, worth)
    found = _Found.of(stairs, most)
    staircase = blocks.take(stairs.rows, stairs.columns)
    for rows in slices(len(stairs.rows), ROWS):
        step("prices", rows.start, len(stairs.rows))
        for columns in slices(int(stairs.widths[rows.start]), COLUMNS):
            scores = staircase.block(rows, columns)
            _hide(scores, stairs.rows[rows], stairs.moved, columns.start, candidates.lists)
            prices = stairs.price_first[rows], stairs.price_second[columns]
            _find(scores, (worth, margin), prices, columns.start, found.of_block(rows, columns))
    return found.paying(stairs, solved)


@dataclass(frozen=True, slots=True)
class _Stairs:
    """The rows by falling reach, the columns by rising price, and how far each row reaches."""

    rows: Places
    columns: Places
    widths: Places
    price_first: Ints
    price_second: Ints
    moved: Places

    @classmethod
    def of(cls, candidates: Candidates, solved: Solved, worth: Ints) -> "_Stairs":
        reach = _reach(worth, candidates.rest_first, solved.price_first, solved.capacity_first)
        reach_second = _reach(
            worth, candidates.rest_second, solved.price_second, solved.capacity_second
        )
        columns = np.flatnonzero(reach_second > solved.price_first.min(initial=FAR))
        columns = columns[np.argsort(solved.price_second[columns], kind="stable")]
        prices = solved.price_second[columns]
        rows = np.flatnonzero(reach > prices.min(initial=FAR))
        rows = rows[np.argsort(-reach[rows], kind="stable")]
        moved = np.full(len(solved.price_second), -1, dtype=np.int64)
        moved[columns] = np.arange(len(columns))
        return cls(
            rows=rows,
            columns=columns,
            widths=np.searchsorted(prices, reach[rows]),
            price_first=solved.price_first[rows],
            price_second=prices,
            moved=moved,
        )


def _reach(worth: Ints, rest: Ints, price: Ints, capacity: Ints) -> Ints:
    """Return below which price others must be for a pair that was left out to pay."""
    can_pay = (rest != APART) & (capacity > 0)
    return np.where(can_pay, worth[np.maximum(rest, 0)] - price, -FAR)


class _Found(NamedTuple):
    """What pays so far: how many, by how much at most, and the best few of each row as a heap.

    In the heap `excesses` are counted from the margin on, so that all are positive.
    """

    count_first: Ints
    count_second: Ints
    largest_first: Ints
    largest_second: Ints
    excesses: Ints
    columns: Places
    scores: Scores

    @classmethod
    def of(cls, stairs: _Stairs, most: int) -> "_Found":
        height, width = len(stairs.rows), len(stairs.columns)
        shape = height, max(1, min(most, width))
        return cls(
            count_first=np.zeros(height, dtype=np.int64),
            count_second=np.zeros(width, dtype=np.int64),
            largest_first=np.zeros(height, dtype=np.int64),
            largest_second=np.zeros(width, dtype=np.int64),
            excesses=np.zeros(shape, dtype=np.int64),
            columns=np.zeros(shape, dtype=np.int64),
            scores=np.zeros(shape, dtype=np.int16),
        )

    def of_block(self, rows: slice, columns: slice) -> "_Found":
        """Return the part that a block changes."""
        return _Found(
            count_first=self.count_first[rows],
            count_second=self.count_second[columns],
            largest_first=self.largest_first[rows],
            largest_second=self.largest_second[columns],
            excesses=self.excesses[rows],
            columns=self.columns[rows],
            scores=self.scores[rows],
        )

    def paying(self, stairs: _Stairs, solved: Solved) -> Paying:
        """Return it in terms of the two sides."""
        rows, places = np.nonzero(self.excesses)
        first, second = stairs.rows[rows], stairs.columns[self.columns[rows, places]]
        order = np.lexsort((second, first))
        excess = min(
            int((np.minimum(capacity[who], count) * largest).sum())
            for capacity, who, count, largest in (
                (solved.capacity_first, stairs.rows, self.count_first, self.largest_first),
                (solved.capacity_second, stairs.columns, self.count_second, self.largest_second),
            )
        )
        return Paying(
            first=first[order],
            second=second[order],
            scores=self.scores[rows, places][order].astype(np.int64),
            count=int(self.count_first.sum()),
            excess=excess,
        )


# Compiled.


def warm() -> None:
    """Compile everything."""
    nobody, one = np.zeros(0, dtype=np.int64), np.ones(1, dtype=np.int64)
    # As if the only pair there is had been left out.
    made = Candidates(
        starts=np.zeros(2, dtype=np.int64),
        columns=nobody.astype(np.int32),
        scores=nobody.astype(np.int16),
        rest_first=one,
        rest_second=one,
    )
    solved = Solved(np.arange(1, 3), 0 * one, 0 * one, one, one)
    paying(
        Blocks((1, 1), []), made, solved, most=1, margin=0, step=lambda _phase, _done, _total: None
    )


@compiled
def _hide(scores: Scores, rows: Places, moved: Places, start: int, candidates: Pairs) -> None:
    """Take the candidates out of a block."""
    starts, columns = candidates
    for row in range(scores.shape[0]):
        for entry in range(starts[rows[row]], starts[rows[row] + 1]):
            place = moved[columns[entry]] - start
            if 0 <= place < scores.shape[1]:
                scores[row, place] = APART


@compiled
def _least_above(worth: Ints, limit: int) -> int:
    """Return the lowest score whose worth exceeds a limit, or one that nobody has."""
    low, high = 0, len(worth)
    while low < high:
        middle = (low + high) // 2
        if worth[middle] > limit:
            high = middle
        else:
            low = middle + 1
    return low


@compiled
def _note(found: _Found, row: int, column: int, excess: int) -> None:
    """Count a pair that pays."""
    found.count_first[row] += 1
    found.count_second[column] += 1
    found.largest_first[row] = max(found.largest_first[row], excess)
    found.largest_second[column] = max(found.largest_second[column], excess)


@compiled
def _replace_least(found: _Found, row: int, excess: int, column: int, score: int) -> None:
    """Put a pair in the place of the first of a heap, and move it to where it belongs."""
    excesses, columns, scores = found.excesses[row], found.columns[row], found.scores[row]
    at, child = 0, 1
    while child < len(excesses):
        if child + 1 < len(excesses) and excesses[child + 1] < excesses[child]:
            child += 1
        if excesses[child] >= excess:
            break
        excesses[at], columns[at], scores[at] = excesses[child], columns[child], scores[child]
        at, child = child, 2 * child + 1
    excesses[at], columns[at], scores[at] = excess, column, score


@compiled
def _find(
    scores: Scores,
    worths: tuple[Ints, int],
    prices: tuple[Ints, Ints],
    start: int,
    found: _Found,
) -> None:
    (worth, margin), (first, second) = worths, prices
    for row in range(scores.shape[0]):
        own = scores[row]
        for low in range(0, len(own), CHUNK):
            high, is_any = min(low + CHUNK, len(own)), False
            # Prices rise: the first of the chunk asks least.
            enough = _least_above(worth, first[row] + second[low])
            if enough == len(worth):
                break
            for column in range(low, high):
                is_any |= own[column] >= enough
            if not is_any:
                continue
            for column in range(low, high):
                if own[column] >= enough:
                    excess = worth[own[column]] - first[row] - second[column]
                    if excess > margin:
                        _note(found, row, column, excess - margin)
                    if excess > found.excesses[row, 0]:
                        _replace_least(found, row, excess, start + column, own[column])
