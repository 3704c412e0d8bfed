"""The scores of a pool block by block: all of its pairs that are ever in memory at once.

Where people fall into few kinds, a measure becomes a table of kinds that is worked out once. Only
what is left is worked out anew for every block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from services.matching.kernel.compiling import compiled
from services.matching.measures import Keys, Measure, Named, Places, Values
from shared.schemas.matching import POINTS

type Scores = npt.NDArray[np.int16]
type Kinds = npt.NDArray[np.int32]

APART = -1
"""Stands for the score of a pair that must not be."""
HIGHEST = POINTS + 25
"""No score is above: each of at most 50 criteria is rounded up by half a point at most."""

ROWS, COLUMNS = 128, 2048
"""The size of a block: it fits into the cache of a processor."""

TABLE_CELLS = 24_000_000
"""A table of more would not be worth its memory, two bytes each."""


@dataclass(frozen=True, slots=True)
class Amount:
    """What a measure does to scores: it adds its points, or forbids where it is true."""

    weight: int = 0
    total: int = 1
    forbids: bool = False

    def of(self, values: Values) -> Scores:
        """Return what is added, or the highest score that is let stand."""
        if self.forbids:
            return np.where(values, APART, np.iinfo(np.int16).max).astype(np.int16)
        return points(whole(values), self.weight, self.total).astype(np.int16)


def whole(values: Values) -> npt.NDArray[np.int16]:
    """Return values from 0 to 1 in whole numbers up to `POINTS`."""
    return np.rint(values * POINTS).astype(np.int16)


def points(values: npt.NDArray[Any], weight: int, total: int) -> npt.NDArray[np.int64]:
    """Return what a criterion adds to the score, rounded so that parts sum up to it exactly."""
    return np.rint(values.astype(np.int64) * weight / max(1, total)).astype(np.int64)


class Layer(Protocol):
    """One criterion or rule, on its way into the scores of blocks."""

    def enter(self, scores: Scores, rows: slice, columns: slice) -> None:
        """Change the scores of a block."""

    def take(self, first: Places, second: Places) -> Self:
        """Return the same on some of the people, in the order given."""


@dataclass(frozen=True, slots=True)
class Tabled:
    """Amounts of each kind of the first side with everybody of the second [kinds, people].

    Whole rows are entered side by side, ten times as fast as pairs are looked up by both kinds.
    """

    amounts: Scores
    first: Kinds
    forbids: bool

    def enter(self, scores: Scores, rows: slice, columns: slice) -> None:
        """Enter the row of everybody's kind."""
        enter = _limit_rows if self.forbids else _add_rows
        enter(scores, self.amounts, self.first[rows], columns.start)

    def take(self, first: Places, second: Places) -> "Tabled":
        """Return the same on some of the people."""
        return Tabled(
            np.ascontiguousarray(self.amounts[:, second]), self.first[first], self.forbids
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """Amounts of pairs that were named; others are left as they are."""

    amounts: Named
    forbids: bool

    def enter(self, scores: Scores, rows: slice, columns: slice) -> None:
        """Change the named pairs of a block."""
        inside, first, second = self.amounts.within(rows, columns)
        if self.forbids:
            scores[first, second] = APART
        else:
            scores[first, second] += self.amounts.values[inside]

    def take(self, first: Places, second: Places) -> "Listed":
        """Return the same on some of the people."""
        return Listed(self.amounts.take(first, second), self.forbids)


@dataclass(frozen=True, slots=True)
class Streamed:
    """A measure that is worked out for every block."""

    measure: Measure
    amount: Amount

    def enter(self, scores: Scores, rows: slice, columns: slice) -> None:
        """Work a block out."""
        values = self.measure.block(rows, columns)
        if self.amount.forbids:
            scores[values] = APART
        else:
            _add_values(scores, values, self.amount.weight, self.amount.total)

    def take(self, first: Places, second: Places) -> "Streamed":
        """Return the same on some of the people."""
        return Streamed(self.measure.take(first, second), self.amount)


def layer_of(measure: Measure, amount: Amount, shape: tuple[int, int]) -> Layer:
    """Return the fastest way to enter a measure of two sides of this shape."""
    if isinstance(measure, Named):
        return Listed(measure.revalued(amount.of(measure.values)), amount.forbids)
    keys = measure.keys()
    if keys is None:
        return Streamed(measure, amount)
    (first, like_first), (second, like_second) = map(_kinds, keys)
    if len(like_first) * shape[1] > min(TABLE_CELLS, shape[0] * shape[1]):
        return Streamed(measure, amount)
    alike = measure.take(like_first, like_second)
    amounts = amount.of(alike.block(slice(0, len(like_first)), slice(0, len(like_second))))
    return Tabled(np.ascontiguousarray(amounts[:, second]), first, amount.forbids)


def _kinds(keys: Keys) -> tuple[Kinds, Places]:
    """Return of which kind everybody is, and one person of each kind."""
    rows = np.ascontiguousarray(keys).view(np.dtype((np.void, keys.itemsize * keys.shape[1])))
    _, like, of = np.unique(rows.ravel(), return_index=True, return_inverse=True)
    return of.astype(np.int32), like


@dataclass(frozen=True, slots=True)
class Blocks:
    """The scores of two sides: whole numbers, `APART` where a rule forbids the pair."""

    shape: tuple[int, int]
    layers: Sequence[Layer]

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        criteria: Sequence[tuple[Measure, int]],
        rules: Sequence[Measure],
    ) -> "Blocks":
        """Return the blocks of weighted criteria and of rules."""
        total = max(1, sum(weight for _, weight in criteria))
        amounts = [(measure, Amount(weight, total)) for measure, weight in criteria if weight]
        # Rules come last: nothing is added to a pair that is kept apart.
        amounts += [(measure, Amount(forbids=True)) for measure in rules]
        return cls(shape, [layer_of(measure, amount, shape) for measure, amount in amounts])

    def block(self, rows: slice, columns: slice) -> Scores:
        """Return the scores of everybody in `rows` with everybody in `columns`."""
        scores = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.int16)
        for layer in self.layers:
            layer.enter(scores, rows, columns)
        return scores

    def take(self, first: Places, second: Places) -> "Blocks":
        """Return the blocks of some of the people, in the order given."""
        layers = [layer.take(first, second) for layer in self.layers]
        return Blocks((len(first), len(second)), layers)


def slices(count: int, size: int) -> Iterator[slice]:
    """Yield consecutive slices of a size, the last as long as is left."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


# Compiled.


def warm() -> None:
    """Compile everything."""
    scores, kinds = np.zeros((1, 1), dtype=np.int16), np.zeros(1, dtype=np.int32)
    _add_rows(scores, scores, kinds, 0)
    _limit_rows(scores, scores, kinds, 0)
    _add_values(scores, np.zeros((1, 1)), 1, 1)


@compiled
def _add_rows(scores: Scores, amounts: Scores, first: Kinds, start: int) -> None:
    for row in range(scores.shape[0]):
        known = amounts[first[row], start : start + scores.shape[1]]
        for column in range(scores.shape[1]):
            scores[row, column] += known[column]


@compiled
def _limit_rows(scores: Scores, amounts: Scores, first: Kinds, start: int) -> None:
    for row in range(scores.shape[0]):
        known = amounts[first[row], start : start + scores.shape[1]]
        for column in range(scores.shape[1]):
            scores[row, column] = min(scores[row, column], known[column])


@compiled
def _add_values(scores: Scores, values: Values, weight: int, total: int) -> None:
    for row in range(scores.shape[0]):
        for column in range(scores.shape[1]):
            value = np.rint(values[row, column] * POINTS)
            scores[row, column] += np.int16(np.rint(value * weight / total))
