"""What there is to decide about a problem once locks are honored, and what was decided."""

from dataclasses import dataclass, field, replace

import numpy as np

from services.matching.blocks import APART, HIGHEST, Blocks, Listed
from services.matching.board import Board
from services.matching.candidates import Candidates, Ints
from services.matching.measures import Mask, Places
from services.matching.taken import Taken
from shared.schemas.matching import Certificate, CertificateKind, Objective, Pairs


@dataclass(frozen=True, slots=True)
class Open:
    """What is left to decide: places that are left, and the scores of pairs that are not locked.

    `bonus` is what a pair that is together already counts more, in the integers of scores.
    `needed` are how many more a group of the first side takes to be one, 0 where any number will
    do; `held` are those that must be one.
    """

    board: Board
    blocks: Blocks = field(repr=False)
    first: Ints
    second: Ints
    locked: Taken
    current: Taken
    bonus: int
    needed: Ints
    held: Mask

    @property
    def least(self) -> Ints:
        """How many everybody of the first side must get."""
        found: Ints = np.where(self.held, self.needed, 0)
        return found

    def short(self, sizes: Places) -> Mask:
        """Return which groups of these sizes are too small, of those that are or must be."""
        found: Mask = (sizes < self.needed) & ((sizes > 0) | self.held)
        return found

    def closing(self, groups: Mask) -> "Open":
        """Return what is left without some groups."""
        return replace(self, first=np.where(groups, 0, self.first), held=self.held & ~groups)

    @property
    def most_pairs(self) -> int:
        """No more pairs than these can be made."""
        height, width = self.board.shape
        first = int(np.minimum(self.first, width).sum())
        second = int(np.minimum(self.second, height).sum())
        return min(first, second) // (2 if self.board.is_peer else 1)

    @property
    def floor(self) -> int:
        """The score that the policy wants of every pair, in the integers of scores."""
        return self.board.problem.policy.floor * 100

    def has_room(self, first: Places, second: Places) -> Mask:
        """Return of which pairs both have a place that no lock has taken."""
        found: Mask = (self.first[first] > 0) & (self.second[second] > 0)
        return found

    def staying(self) -> tuple[Places, Places, Ints]:
        """Return the pairs that are together and may stay so, with their scores."""
        able = self.current.without(self.locked)
        able = able.among(self.board.allowed(able.first, able.second))
        return able.first, able.second, self.board.scores(able.first, able.second)


@dataclass(frozen=True, slots=True)
class Levels:
    """What a pair counts in the objective by its score: levels that are nested.

    A unit of a higher level outweighs all that the lower ones can add up to. `worth[score]` never
    falls; `unit` is what one more point of a score counts.
    """

    worth: Ints
    unit: int

    @classmethod
    def of(cls, open_: Open, objective: Objective, *, least: int = 0) -> "Levels":
        """Return the levels of an objective; pairs that score below `least` count nothing."""
        most, highest = open_.most_pairs, HIGHEST + open_.bonus
        scores = np.arange(HIGHEST + 1, dtype=np.int64)
        if objective is Objective.BEST_TOTAL:
            # Of equal totals, the one with more pairs.
            worth, unit = scores * (most + 1) + 1, most + 1
        else:
            values, unit = scores, 1
            if objective is Objective.MOST_MATCHED and open_.floor:
                step = most * highest + 1
                values, highest = values + (scores >= open_.floor) * step, highest + step
            worth = values + most * highest + 1
        return cls(np.where(scores >= least, worth, 0), unit)

    def of_pairs(self, open_: Open, first: Places, second: Places) -> Ints:
        """Return what pairs count, the bonus of those that are together included."""
        worth = self.worth[open_.board.scores(first, second)]
        return worth + open_.current.holds(first, second) * (self.unit * open_.bonus)

    @classmethod
    def counting(cls, least: int) -> "Levels":
        """Return what counts pairs that score at least so much, and nothing else."""
        return cls((np.arange(HIGHEST + 1) >= least).astype(np.int64), 0)


@dataclass(frozen=True, slots=True)
class Prices:
    """What one more place of each person would add, and the levels in whose integers that is."""

    first: Ints
    second: Ints
    levels: Levels


@dataclass(frozen=True, slots=True)
class Decision:
    """Who is together, locks included, how good that is, and the prices that say so.

    `found` are the pairs that were looked at, None if that were all. `closed` are those of the
    first side whose group stayed too small.
    """

    taken: Taken
    open: Open
    certificate: Certificate
    found: Candidates | None = field(repr=False)
    prices: Prices | None
    closed: Mask

    @classmethod
    def of(
        cls,
        open_: Open,
        taken: Taken,
        certificate: Certificate,
        found: Candidates | None,
        prices: Prices | None = None,
    ) -> "Decision":
        """Return a decision on what was left open, in which no group was closed."""
        closed = np.zeros(open_.board.shape[0], dtype=bool)
        return cls(taken.both(open_.locked), open_, certificate, found, prices, closed)

    @property
    def board(self) -> Board:
        """The problem that was decided."""
        return self.open.board

    def costs(self, first: Places, second: Places) -> Ints | None:
        """Return what pairs that were not taken would cost the objective at least.

        That is their slack: both prices less what they count, in the solver's integers. None
        without prices.
        """
        if self.prices is None:
            return None
        worth = self.prices.levels.of_pairs(self.open, first, second)
        return self.prices.first[first] + self.prices.second[second] - worth

    def in_points(self, cost: int) -> float | None:
        """Return a cost in points of scores; None where it is more than scores can add up to.

        Such a cost is of a higher level: a pair less, or one below what the policy wants of all.
        """
        if self.prices is None:
            return None
        unit = self.prices.levels.unit
        is_of_scores = cost <= unit * self.open.most_pairs * (HIGHEST + self.open.bonus)
        # Rounded down: what says how much it is at least may not say more.
        return cost // unit / 100 if is_of_scores else None


def open_of(board: Board, *, held: int | None = None) -> Open:
    """Return what is left to decide about a problem whose locks are possible.

    A group with locks is as a coordinator wants it, however small, but `held` must reach its size.
    """
    problem = board.problem
    locked = named(board, problem.locks, is_ordered=not board.is_peer)
    first, second = locked.sizes
    blocks = board.blocks()
    closed = Listed(locked.named(np.int16).revalued(np.full(len(locked), APART, np.int16)), True)
    is_held = np.arange(len(first)) == (-1 if held is None else held)
    return Open(
        board=board,
        blocks=Blocks(blocks.shape, [*blocks.layers, closed]) if len(locked) else blocks,
        first=board.first.capacity - first,
        second=board.second.capacity - second,
        locked=locked,
        current=named(board, problem.current_pairs, is_ordered=False),
        bonus=problem.policy.stay_bonus * 100,
        needed=np.where((first == 0) | is_held, np.maximum(board.first.minimum - first, 0), 0),
        held=is_held,
    )


def named(board: Board, pairs: Pairs, *, is_ordered: bool) -> Taken:
    """Return where people were named together; in one direction where sides matter."""
    first, second = board.first.place, board.second.place
    found = [
        (first[left], second[right])
        for one, other in zip(pairs.first, pairs.second, strict=True)
        for left, right in (((one, other),) if is_ordered else ((one, other), (other, one)))
        if left in first and right in second
    ]
    places = np.array(found, dtype=np.int64).reshape(-1, 2)
    return Taken.of(places[:, 0], places[:, 1], board.shape)


def certificate(objective: Objective, *, primal: int, dual: int, method: str) -> Certificate:
    """Return what a bound says about a value."""
    is_optimal = primal == dual
    return Certificate(
        kind=CertificateKind.OPTIMAL if is_optimal else CertificateKind.BOUND,
        objective=objective,
        primal=primal,
        dual=dual,
        gap=0.0 if is_optimal else round((dual - primal) / dual, 9),
        method=method,
    )
