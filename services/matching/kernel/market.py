"""A market that stays optimal: one change or a batch is one repair, proved by the prices again."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial

import numpy as np
import numpy.typing as npt

from services.matching.kernel import edits, graph, repair, sparse
from services.matching.kernel.compiling import Ints
from services.matching.kernel.edits import Half
from services.matching.kernel.graph import Adjacency
from services.matching.kernel.problem import (
    MAX_TOTAL,
    MAX_WEIGHT,
    InvalidProblemError,
    NotOptimalError,
    Problem,
    check_bounds,
)
from services.matching.kernel.proof import prove
from services.matching.kernel.terms import Step, quiet

# How many edges that changed are proved anew; `check` proves all.
LOGGED = 10_000


class Side(IntEnum):
    """Whose place is meant."""

    ROWS = 0
    COLUMNS = 1

    @property
    def other(self) -> "Side":
        """Return the side across."""
        return Side(1 - self)


@dataclass(frozen=True, slots=True)
class Join:
    """Somebody comes to a side, with room and with edges; the places of `others` ascend."""

    side: Side
    capacity: int
    others: Sequence[int]
    weights: Sequence[int]


@dataclass(frozen=True, slots=True)
class Leave:
    """Somebody goes with all edges; their place is not used again."""

    side: Side
    place: int


@dataclass(frozen=True, slots=True)
class Weigh:
    """A pair weighs something else; with the weight 0 it is not allowed."""

    row: int
    column: int
    weight: int


@dataclass(frozen=True, slots=True)
class Resize:
    """Somebody has room for more or fewer."""

    side: Side
    place: int
    capacity: int


type Change = Join | Leave | Weigh | Resize


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What forcing a pair would do: to the total, and whom it would bring together and part."""

    change: int
    gained: list[tuple[int, int]]
    lost: list[tuple[int, int]]


class Market:
    """Who has whom at the highest total weight, and the prices that prove it, change after change.

    The answer depends on the problem and on the changes since, in their order, and on nothing else.
    """

    def __init__(self, problem: Problem, *, step: Step = quiet) -> None:
        solved = sparse.solve(problem, step=step)
        rows = graph.by_rows(problem, problem.weights)
        columns = graph.by_columns(rows, len(problem.second), quiet)
        owners = graph.owners(rows), problem.columns.copy()
        prices = solved.first_prices, solved.second_prices
        capacities = problem.first.copy(), problem.second.copy()
        books = [repair.new_book(*parts) for parts in zip(capacities, prices, owners, strict=True)]
        one, other = books
        self._halves = [_half(_own(rows), one), _half(_own(columns), other)]
        taken = np.zeros(len(problem.weights), dtype=np.uint8)
        self._edges = repair.new_edges(taken, problem.weights.copy())._replace(
            log=np.zeros(LOGGED, dtype=np.int64)
        )
        repair.take_all(np.flatnonzero(solved.taken), one, other, self._edges)
        self._edges.logged[0] = 0
        self._sizes = [len(problem.first), len(problem.second)]
        self._gone: list[set[int]] = [set(), set()]
        self._numbers = len(problem.weights)
        self._unused: list[int] = []
        self._heaviest = int(problem.weights.max(initial=1))
        self._most_pairs = len(problem.weights)
        self._scratch = repair.new_scratch(sum(self._sizes))

    @property
    def total(self) -> int:
        """Return the weight of all that is taken."""
        return int(self._edges.total[0])

    def size(self, side: Side) -> int:
        """Return how many places a side has, of those who left too."""
        return self._sizes[side]

    def prices(self, side: Side) -> Ints:
        """Return what one more place of each person is worth at most, int64[n]."""
        return self._halves[side].book.price[: self._sizes[side]].copy()

    def pairs(self) -> list[tuple[int, int]]:
        """Return who has whom, by row and column."""
        taken = np.flatnonzero(self._edges.taken[: self._numbers])
        return sorted(map(self._ends, taken.tolist()))

    def apply(self, *changes: Change, step: Step = quiet) -> list[int]:
        """Make changes, repair once, and return the places of those who joined.

        A change that is not possible is an `InvalidProblemError` or a `TooLargeError`; it is not
        made, those before it are. Where `step` ends the work, calling this again goes on.
        """
        joined = []
        try:
            for change in changes:
                match change:
                    case Join():
                        joined.append(self._join(change))
                    case Leave():
                        self._leave(change)
                    case Weigh():
                        self._weigh(change)
                    case Resize():
                        self._resize(change)
        finally:
            self._repair(step)
        return joined

    def problem(self) -> Problem:
        """Return what is solved as it is now; whoever left has neither room nor edges."""
        slots, starts = self._slots()
        rows, columns = (half.book for half in self._halves)
        edges = self._halves[Side.ROWS].edges
        return Problem(
            starts=starts,
            columns=edges.others[slots],
            weights=edges.weights[slots],
            first=rows.capacity[: self._sizes[0]].copy(),
            second=columns.capacity[: self._sizes[1]].copy(),
        )

    def check(self) -> None:
        """Prove the whole market, all pairs that are not taken included, or raise."""
        slots, _ = self._slots()
        taken = self._edges.taken[self._halves[Side.ROWS].edges.edges[slots]]
        primal, _ = prove(self.problem(), taken, self.prices(Side.ROWS), self.prices(Side.COLUMNS))
        if primal != self.total:
            raise NotOptimalError(f"the total is {primal} and not {self.total}")

    def alternatives(self, side: Side, place: int, *, limit: int) -> list[tuple[int, int]]:
        """Return whom somebody could have instead, cheapest first, and what each costs at least.

        The cost of a pair is its slack: both prices less its weight.
        """
        self._check_place(side, place)
        mine, theirs = self._halves[side], self._halves[side.other]
        slots = slice(mine.edges.starts[place], mine.edges.ends[place])
        others = mine.edges.others[slots]
        slack = mine.book.price[place] + theirs.book.price[others] - mine.edges.weights[slots]
        is_open = self._edges.taken[mine.edges.edges[slots]] == 0
        order = np.lexsort((others[is_open], slack[is_open]))[:limit]
        found = zip(others[is_open][order], slack[is_open][order], strict=True)
        return [(int(other), int(cost)) for other, cost in found]

    def what_if(self, row: int, column: int) -> WhatIf | None:
        """Return what forcing an allowed pair would do, or None where one of them has no room.

        The market is as it was afterwards.
        """
        self._repair(quiet)
        edge = self._find(row, column)
        if edge is None:
            raise InvalidProblemError(f"row {row} and column {column} are no allowed pair")
        if self._edges.taken[edge]:
            return WhatIf(0, [], [])
        capacities = [
            int(half.book.capacity[place])
            for half, place in zip(self._halves, (row, column), strict=True)
        ]
        if not all(capacities):
            return None
        return self._force(edge, (row, column), capacities)

    def _force(self, edge: int, ends: tuple[int, int], capacities: list[int]) -> WhatIf:
        """Solve with the pair set and a place less on each side, note what moved, and undo it."""
        prices = [half.book.price.copy() for half in self._halves]
        weight, total = int(self._edges.weight[edge]), self.total
        # One path a side for the place that went, and one each for who was there.
        logging = self._edges._replace(
            log=np.zeros(4 * len(self._scratch.distance) + 2, dtype=np.int64),
            logged=np.zeros(1, dtype=np.int64),
        )
        self._reweigh(edge, ends, -MAX_WEIGHT)
        for side in Side:
            half, across = self._halves[side], self._halves[side.other]
            edits.resize(half, across, logging, ends[side], capacities[side] - 1)
        for side in Side:
            self._place(side, logging, quiet)
        change = self.total + weight - total
        moved = logging.log[: logging.logged[0]].tolist()
        gained, lost = self._moves(moved)
        self._undo(moved)
        self._reweigh(edge, ends, weight)
        for side, half in zip(Side, self._halves, strict=True):
            half.book.price[:] = prices[side]
            half.book.capacity[ends[side]] = capacities[side]
        return WhatIf(change, sorted([*gained, ends]), lost)

    def _reweigh(self, edge: int, ends: tuple[int, int], weight: int) -> None:
        """Set a weight without asking what follows; one far below zero is never taken."""
        self._edges.weight[edge] = weight
        for half, place, other in zip(self._halves, ends, reversed(ends), strict=True):
            half.edges.weights[edits.find(half.edges, place, other)] = weight

    def _moves(self, moved: list[int]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Return the pairs that are new and those that are no more, of edges that changed."""
        numbers, times = np.unique(np.array(moved, dtype=np.int64), return_counts=True)
        changed = numbers[times % 2 == 1]
        is_new = self._edges.taken[changed] == 1
        gained, lost = changed[is_new].tolist(), changed[~is_new].tolist()
        return sorted(map(self._ends, gained)), sorted(map(self._ends, lost))

    def _undo(self, moved: list[int]) -> None:
        one, other = (half.book for half in self._halves)
        for edge in reversed(moved):
            if self._edges.taken[edge]:
                repair.drop(edge, one, other, self._edges)
            else:
                repair.take(edge, one, other, self._edges)

    def _ends(self, edge: int) -> tuple[int, int]:
        rows, columns = (half.book.owner for half in self._halves)
        return int(rows[edge]), int(columns[edge])

    def _find(self, row: int, column: int) -> int | None:
        """Return the number of an edge, if the pair is allowed."""
        self._check_place(Side.ROWS, row)
        self._check_place(Side.COLUMNS, column)
        edges = self._halves[Side.ROWS].edges
        slot = edits.find(edges, row, column)
        is_there = slot < edges.ends[row] and edges.others[slot] == column
        return int(edges.edges[slot]) if is_there else None

    def _slots(self) -> tuple[Ints, Ints]:
        """Return the slots of all edges by row, and where in them each row begins."""
        edges, rows = self._halves[Side.ROWS].edges, self._sizes[Side.ROWS]
        lengths = edges.ends[:rows] - edges.starts[:rows]
        starts = np.zeros(rows + 1, dtype=np.int64)
        np.cumsum(lengths, out=starts[1:])
        slots = np.repeat(edges.starts[:rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return slots, starts

    # Repairing.

    def _repair(self, step: Step) -> None:
        for side in Side:
            self._place(side, self._edges, step)
        rows, columns = (half.book for half in self._halves)
        is_proved = edits.is_proved(rows, columns, self._edges)
        self._edges.logged[0] = 0
        if not is_proved:
            raise NotOptimalError("the prices do not prove what a change led to")

    def _place(self, side: Side, edges: repair.Edges, step: Step) -> None:
        """Repair everybody of a side who is marked."""
        mine, theirs = self._halves[side], self._halves[side.other]
        queue = mine.queue[: mine.waiting[0]]
        position = 0
        while position < len(queue):
            step(position, len(queue))
            position = repair.repair(
                queue,
                position,
                graph.SLOTS_PER_STEP,
                mine.edges,
                mine.book,
                theirs.book,
                edges,
                self._scratch,
            )
        edits.unmark(mine)

    # Changing.

    def _join(self, change: Join) -> int:
        side, place = change.side, self._sizes[change.side]
        others = np.asarray(change.others, dtype=np.int64)
        weights = np.asarray(change.weights, dtype=np.int64)
        self._check_edges(side.other, others, weights)
        if change.capacity < 0:
            raise InvalidProblemError("a capacity is below 0")
        self._check_bounds(int(weights.max(initial=1)), min(change.capacity, len(others)))
        self._make_room(side, place)
        self._make_slots(side, len(others))
        self._make_slots(side.other, self._moving(side.other, others))
        numbers = np.array([self._number() for _ in others], dtype=np.int64)
        mine, theirs = self._halves[side], self._halves[side.other]
        edits.join(mine, theirs, self._edges, place, change.capacity, numbers, others, weights)
        self._sizes[side] += 1
        return place

    def _leave(self, change: Leave) -> None:
        self._check_place(change.side, change.place)
        mine, theirs = self._halves[change.side], self._halves[change.side.other]
        degree = mine.edges.ends[change.place] - mine.edges.starts[change.place]
        gone = np.zeros(degree, dtype=np.int64)
        edits.leave(mine, theirs, self._edges, change.place, gone)
        self._unused += gone.tolist()
        self._gone[change.side].add(change.place)

    def _weigh(self, change: Weigh) -> None:
        edge = self._find(change.row, change.column)
        if change.weight < 0:
            raise InvalidProblemError("a weight is below 0")
        if edge is None and not change.weight:
            return
        self._check_bounds(change.weight, int(edge is None))
        if edge is None:
            self._connect(change)
            return
        rows, columns = self._halves
        if change.weight:
            edits.weigh(rows, columns, self._edges, edge, change.weight)
        else:
            edits.disconnect(rows, columns, self._edges, edge)
            self._unused.append(edge)

    def _connect(self, change: Weigh) -> None:
        ends = change.row, change.column
        for side, place in zip(Side, ends, strict=True):
            self._make_slots(side, self._moving(side, np.array([place])))
        number = self._number()
        # Only now: making room puts longer arrays in place.
        rows, columns = self._halves
        edits.connect(rows, columns, self._edges, number, *ends, change.weight)

    def _resize(self, change: Resize) -> None:
        self._check_place(change.side, change.place)
        if change.capacity < 0:
            raise InvalidProblemError("a capacity is below 0")
        mine, theirs = self._halves[change.side], self._halves[change.side.other]
        more = change.capacity - int(mine.book.capacity[change.place])
        self._check_bounds(1, max(0, more))
        edits.resize(mine, theirs, self._edges, change.place, change.capacity)

    def _check_place(self, side: Side, place: int) -> None:
        if not 0 <= place < self._sizes[side] or place in self._gone[side]:
            raise InvalidProblemError(f"there is nobody at place {place}")

    def _check_edges(self, side: Side, others: Ints, weights: Ints) -> None:
        for other in others.tolist():
            self._check_place(side, other)
        if len(others) != len(weights) or np.any(others[1:] <= others[:-1]):
            raise InvalidProblemError("edges are as many as weights, and their ends ascend")
        if weights.min(initial=1) <= 0:
            raise InvalidProblemError("a weight is not above 0")

    def _check_bounds(self, weight: int, more: int) -> None:
        """Refuse what could overflow with a weight and so many pairs more."""
        self._heaviest = max(self._heaviest, weight)
        self._most_pairs += more
        if self._heaviest <= MAX_WEIGHT and self._heaviest * self._most_pairs <= MAX_TOTAL:
            return
        # Only what came was counted so far; some may have gone.
        places = [
            int(np.minimum(half.book.capacity, half.edges.ends - half.edges.starts).sum())
            for half in self._halves
        ]
        self._heaviest = max(weight, int(self._edges.weight[: self._numbers].max(initial=1)))
        self._most_pairs = min(places) + more
        check_bounds(heaviest=self._heaviest, pairs=self._most_pairs)

    # Room for more; arrays grow by half, so that it is rare.

    def _number(self) -> int:
        """Return the number for a new edge."""
        if self._unused:
            return self._unused.pop()
        number = self._numbers
        if number == len(self._edges.weight):
            more = number // 2 + 64
            edges = self._edges
            self._edges = edges._replace(
                taken=_longer(edges.taken, more, 0), weight=_longer(edges.weight, more, 0)
            )
            for side, half in zip(Side, self._halves, strict=True):
                book = half.book._replace(
                    following=_longer(half.book.following, more, repair.NOBODY),
                    owner=_longer(half.book.owner, more, repair.NOBODY),
                )
                self._halves[side] = half._replace(book=book)
        self._numbers += 1
        return number

    def _make_room(self, side: Side, place: int) -> None:
        half = self._halves[side]
        if place < len(half.waits):
            return
        more = place // 2 + 64
        longer = partial(_longer, more=more)
        edges, book = half.edges, half.book
        self._halves[side] = Half(
            edges._replace(
                starts=longer(edges.starts, fill=0),
                ends=longer(edges.ends, fill=0),
                limits=longer(edges.limits, fill=0),
            ),
            book._replace(
                price=longer(book.price, fill=0),
                capacity=longer(book.capacity, fill=0),
                used=longer(book.used, fill=0),
                first=longer(book.first, fill=repair.NOBODY),
            ),
            longer(half.waits, fill=0),
            longer(half.queue, fill=0),
            half.waiting,
        )
        self._scratch = repair.new_scratch(sum(len(half.waits) for half in self._halves))

    def _moving(self, side: Side, places: Ints) -> int:
        """Return how many slots it takes at most to enter an edge for each of these people."""
        edges = self._halves[side].edges
        return int((2 * (edges.ends[places] - edges.starts[places]) + 4).sum())

    def _make_slots(self, side: Side, count: int) -> None:
        half = self._halves[side]
        edges = half.edges
        missing = int(edges.tail[0]) + count - len(edges.others)
        if missing <= 0:
            return
        more = max(missing, len(edges.others) // 2)
        self._halves[side] = half._replace(
            edges=edges._replace(
                others=_longer(edges.others, more, 0),
                edges=_longer(edges.edges, more, 0),
                weights=_longer(edges.weights, more, 0),
            )
        )


def _longer[Kind: np.generic](array: npt.NDArray[Kind], more: int, fill: int) -> npt.NDArray[Kind]:
    return np.concatenate([array, np.full(more, fill, dtype=array.dtype)])


def _half(edges: Adjacency, book: repair.Book) -> Half:
    people = len(book.price)
    waits, queue = np.zeros(people, dtype=np.uint8), np.zeros(people, dtype=np.int64)
    return Half(edges, book, waits, queue, np.zeros(1, dtype=np.int64))


def _own(edges: Adjacency) -> Adjacency:
    """Return edges that may change: a solver's graph shares arrays with its problem."""
    return Adjacency._make(array.copy() for array in edges)


def warm() -> None:
    """Compile everything, or load what was compiled before."""
    problem = Problem(
        starts=np.array([0, 2, 4, 5], dtype=np.int64),
        columns=np.array([0, 1, 0, 1, 1], dtype=np.int32),
        weights=np.array([5, 3, 4, 3, 2], dtype=np.int64),
        first=np.array([2, 1, 1], dtype=np.int64),
        second=np.array([1, 1], dtype=np.int64),
    )
    made = Market(problem)
    made.apply(Join(Side.ROWS, 1, [0, 1], [6, 1]), Weigh(2, 0, 3), Weigh(2, 0, 9))
    made.apply(Weigh(2, 0, 0), Resize(Side.COLUMNS, 1, 2), Leave(Side.ROWS, 1))
    # A pair that moves others, so that undoing it is compiled too.
    made.what_if(3, 1)
    made.check()
