"""Flash schedules: who meets whom in which round, so that nobody is in two places.

Which pairs meet is a degree-bounded subgraph of the highest weight, found as a min-cost flow, which
is exact. If everybody is there all the time its edges are coloured, a round being a colour: König
("Über Graphen und ihre Anwendung", 1916) proved that as many colours are enough as anybody has
meetings, and alternating paths find them. The schedule is then as good as the flow, optimal.

Who is absent in some rounds makes that a hard problem (a list colouring). Then the rounds are
assignments of their own, each the best there is beside the others (Kuhn 1955), taken in turns
until none of them can be better. The flow stays a bound, and the gap to it is reported.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from services.matching.kernel.compiling import Ints, Mask, compiled, inner
from services.matching.kernel.terms import ImpossibleLockError, Kind, Step, Why, gap_of, quiet

_PASSES = 12
_SCARCE = 2
ANY_ROUND = -1


@dataclass(frozen=True, slots=True)
class Side:
    """Mentors or mentees: how many meetings each wants, and in which rounds they are there.

    `meetings` has an entry, `present` a row per person and a column per round.
    """

    meetings: Ints
    present: Mask


@dataclass(frozen=True, slots=True)
class Flash:
    """Meetings `(mentor, mentee, round)` in order of rounds, locks included.

    `total` counts the weights of all but the locks; no schedule exceeds `bound`. `rounds` is how
    many are used. The last two tell why somebody has no meeting.
    """

    meetings: Ints
    rounds: int
    total: int
    bound: int
    kind: Kind
    gap: float
    why_mentors: Ints
    why_mentees: Ints


class NoFlowError(ArithmeticError):
    """The flow has no solution, which cannot be: to meet nobody is one."""


def plan(
    weights: Ints,
    mentors: Side,
    mentees: Side,
    *,
    locks: Ints | None = None,
    step: Step = quiet,
) -> Flash:
    """Return who meets whom in which round, for the highest total weight.

    `weights` has a row per mentor and a column per mentee; one of zero or less marks a pair that
    must not meet, as those are who met before. Nobody meets the same person twice. `locks` are
    meetings `(mentor, mentee, round)` that are decided already, the round may be `ANY_ROUND`;
    their pairs need no weight. One that cannot be raises `ImpossibleLockError`.
    """
    fixed = np.zeros((0, 3), dtype=np.int64) if locks is None else locks
    _check(fixed, mentors, mentees)
    if _is_always_there(mentors, mentees) and (fixed[:, 2] == ANY_ROUND).all():
        return _coloured(weights, mentors, mentees, fixed, step)
    placed = _placed(fixed, mentors, mentees)
    return _in_turns(weights, mentors, mentees, placed, step)


def warm() -> None:
    """Compile everything, or load what was compiled before."""
    _colours(np.zeros((1, 2), dtype=np.int64), 1, 1, 1)


def colours(edges: Ints, first: int, second: int) -> Ints:
    """Return a colour for each edge, no two alike at one end; as few as anybody has edges."""
    most = [np.bincount(edges[:, end], minlength=1).max(initial=0) for end in (0, 1)]
    return _colours(edges, first, second, int(max(most)))


# Locks.


def _check(locks: Ints, mentors: Side, mentees: Side) -> None:
    """Refuse locks that alone or together cannot be, but for the rounds that are still open."""
    met: set[tuple[int, int]] = set()
    busy: set[tuple[str, int, int]] = set()
    count = {"mentor": mentors.meetings.copy(), "mentee": mentees.meetings.copy()}
    for row, (mentor, mentee, when) in enumerate(locks.tolist()):
        if (mentor, mentee) in met:
            raise ImpossibleLockError("already_met", row)
        met.add((mentor, mentee))
        for name, side, one in (("mentor", mentors, mentor), ("mentee", mentees, mentee)):
            count[name][one] -= 1
            if count[name][one] < 0:
                raise ImpossibleLockError("capacity", row)
            if when != ANY_ROUND and (not side.present[one, when] or (name, one, when) in busy):
                raise ImpossibleLockError("availability", row)
            busy.add((name, one, when))


def _placed(locks: Ints, mentors: Side, mentees: Side) -> Ints:
    """Return the locks with a round for each, or name the first that finds none."""
    placed = locks.copy()
    free = [mentors.present.copy(), mentees.present.copy()]
    for mentor, mentee, when in locks[locks[:, 2] != ANY_ROUND].tolist():
        free[0][mentor, when] = free[1][mentee, when] = False
    open_rows = np.flatnonzero(locks[:, 2] == ANY_ROUND).tolist()
    common = [(free[0][locks[row, 0]] & free[1][locks[row, 1]]).sum() for row in open_rows]
    rows = [open_rows[place] for place in np.argsort(common, kind="stable").tolist()]
    if not _find_rounds(placed, rows, *free):
        raise ImpossibleLockError("availability", rows[0])
    return placed


def _find_rounds(placed: Ints, rows: list[int], mentors: Mask, mentees: Mask) -> bool:
    """Give each of some locks a round that both have free, trying all ways."""
    if not rows:
        return True
    mentor, mentee = placed[rows[0], :2].tolist()
    for when in np.flatnonzero(mentors[mentor] & mentees[mentee]).tolist():
        mentors[mentor, when] = mentees[mentee, when] = False
        placed[rows[0], 2] = when
        if _find_rounds(placed, rows[1:], mentors, mentees):
            return True
        mentors[mentor, when] = mentees[mentee, when] = True
    return False


# Everybody is always there.


def _is_always_there(mentors: Side, mentees: Side) -> bool:
    rounds = mentors.present.any(axis=0) | mentees.present.any(axis=0)
    return all(
        bool(side.present[side.meetings > 0][:, rounds].all()) for side in (mentors, mentees)
    )


def _coloured(weights: Ints, mentors: Side, mentees: Side, locks: Ints, step: Step) -> Flash:
    rounds = np.flatnonzero(mentors.present.any(axis=0) & mentees.present.any(axis=0))
    left = _left(mentors, locks[:, 0]), _left(mentees, locks[:, 1])
    for side, taken in zip(left, (locks[:, 0], locks[:, 1]), strict=True):
        if (side < 0).any():
            over = np.isin(taken, np.flatnonzero(side < 0))
            raise ImpossibleLockError("availability", int(np.flatnonzero(over)[-1]))
    chosen = _best_pairs(_open_weights(weights, locks), *left)
    step(1, 2)
    edges = np.concatenate((locks[:, :2], chosen))
    when = rounds[colours(edges, *weights.shape)]
    step(2, 2)
    total = int(weights[chosen[:, 0], chosen[:, 1]].sum())
    meetings = np.concatenate((edges, when[:, None]), axis=1)
    return _described(weights, mentors, mentees, meetings, (total, total))


def _left(side: Side, taken: Ints) -> Ints:
    """Return how many meetings each can still have beside those that are taken."""
    most = np.minimum(side.meetings, side.present.sum(axis=1))
    return most - np.bincount(taken, minlength=len(most))


def _open_weights(weights: Ints, locks: Ints) -> Ints:
    opened = weights.copy()
    opened[locks[:, 0], locks[:, 1]] = 0
    return opened


def _best_pairs(weights: Ints, first: Ints, second: Ints) -> Ints:
    """Return the pairs of the highest total weight within what each can have, by min-cost flow."""
    # Loaded only for problems that need it.
    from ortools.graph.python.min_cost_flow import SimpleMinCostFlow  # noqa: PLC0415

    rows, columns = np.nonzero((weights > 0) & np.logical_and.outer(first > 0, second > 0))
    if not len(rows):
        return np.zeros((0, 2), dtype=np.int64)
    count, others = weights.shape
    source, sink = count + others, count + others + 1
    flow = SimpleMinCostFlow()
    edges = flow.add_arcs_with_capacity_and_unit_cost(
        rows, count + columns, np.ones(len(rows), dtype=np.int64), -weights[rows, columns]
    )
    supply = int(min(first.sum(), second.sum()))
    for starts, ends, sizes in (
        (np.full(count, source), np.arange(count), first),
        (count + np.arange(others), np.full(others, sink), second),
        # Whoever need not meet anybody.
        (np.array([source]), np.array([sink]), np.array([supply])),
    ):
        flow.add_arcs_with_capacity_and_unit_cost(starts, ends, sizes, np.zeros_like(sizes))
    flow.set_nodes_supplies(np.array([source, sink]), np.array([supply, -supply]))
    if flow.solve() != flow.OPTIMAL:
        raise NoFlowError
    taken = flow.flows(edges) > 0
    return np.stack((rows[taken], columns[taken]), axis=1)


# Some are absent in some rounds.


def _in_turns(weights: Ints, mentors: Side, mentees: Side, locks: Ints, step: Step) -> Flash:
    """Return the best of a few schedules, which differ in the order in which rounds are filled."""
    best = _Rounds(weights, mentors, mentees, locks)
    wanted = best.bound_pairs()
    bound = int(weights[wanted[:, 0], wanted[:, 1]].sum())
    fewest = np.argsort(mentors.present.sum(axis=0) + mentees.present.sum(axis=0), kind="stable")
    natural = np.arange(len(fewest))
    for order in (fewest, natural, fewest[::-1], natural[::-1]):
        table = _Rounds(weights, mentors, mentees, locks)
        table.follow(wanted, order, step)
        for _ in range(_PASSES):
            if table.total() == bound or not table.improve(step):
                break
        best = max(best, table, key=_Rounds.total)
        if best.total() == bound:
            break
    meetings = np.concatenate((locks, best.meetings()))
    return _described(weights, mentors, mentees, meetings, (best.total(), bound))


class _Rounds:
    """Who meets whom in each round, and who can still meet."""

    def __init__(self, weights: Ints, mentors: Side, mentees: Side, locks: Ints) -> None:
        self.weights = _open_weights(np.maximum(weights, 0), locks)
        self.sides = (mentors.present.copy(), mentees.present.copy())
        self.left = (
            mentors.meetings - np.bincount(locks[:, 0], minlength=len(mentors.meetings)),
            mentees.meetings - np.bincount(locks[:, 1], minlength=len(mentees.meetings)),
        )
        for place, present in enumerate(self.sides):
            present[locks[:, place], locks[:, 2]] = False
        # The mentee of each mentor in each round, or -1.
        self.mentee = np.full(mentors.present.shape, -1)

    def bound_pairs(self) -> Ints:
        """Return the best pairs if rounds did not clash: no schedule is better."""
        mentors, mentees = self.sides
        together = mentors.astype(np.int64) @ mentees.T.astype(np.int64) > 0
        most = [
            np.minimum(left, present.sum(axis=1))
            for left, present in zip(self.left, self.sides, strict=True)
        ]
        return _best_pairs(np.where(together, self.weights, 0), *most)

    def follow(self, wanted: Ints, order: Ints, step: Step) -> None:
        """Put pairs into rounds, those first who have the fewest rounds to spare."""
        waits = np.zeros(self.weights.shape, dtype=bool)
        waits[wanted[:, 0], wanted[:, 1]] = True
        for done, when in enumerate(order.tolist()):
            urgency = self.urgency(waits, order[done:], order[done + 1 :])
            mentor, mentee = _assigned(np.where(waits & self.there(when), urgency, 0))
            self.mentee[mentor, when] = mentee
            waits[mentor, mentee] = False
            step(done, len(order))
        for one, other in np.argwhere(waits).tolist():
            self.make_room(one, other)
            step(len(order), len(order))

    def urgency(self, waits: Mask, now: Ints, later: Ints) -> npt.NDArray[np.float64]:
        """Return how much each pair that waits needs the present round: of those from it on."""
        press = [
            (waits.sum(axis=1 - place) / np.maximum(1, side[:, now].sum(axis=1))) ** 4
            for place, side in enumerate(self.sides)
        ]
        mentors, mentees = (side[:, later].astype(np.float64) for side in self.sides)
        again = mentors @ mentees.T
        return np.add.outer(*press) + _SCARCE / (1 + again) + 1

    def make_room(self, mentor: int, mentee: int) -> None:
        """Let two meet whom no round has free together, by moving others between two rounds."""
        met = self.mentee, self.mentor()
        mine = np.flatnonzero(self.sides[0][mentor] & (met[0][mentor] < 0)).tolist()
        theirs = np.flatnonzero(self.sides[1][mentee] & (met[1][mentee] < 0)).tolist()
        for here, there in itertools.product(mine, theirs):
            # Either whom the mentee meets here goes there, or whom the mentor meets there here.
            for place, one, of, to in ((1, mentee, here, there), (0, mentor, there, here)):
                moved = _chain(met, self.sides, place, one, of, to)
                if moved is not None:
                    self.move([*moved, (mentor, mentee, of, of)])
                    return

    def move(self, meetings: list[tuple[int, int, int, int]]) -> None:
        """Move meetings `(mentor, mentee, of, to)` to other rounds, all at once."""
        for mentor, _, of, _ in meetings:
            self.mentee[mentor, of] = -1
        for mentor, mentee, _, to in meetings:
            self.mentee[mentor, to] = mentee

    def mentor(self) -> Ints:
        """Return the mentor of each mentee in each round, or -1."""
        mentor = np.full(self.sides[1].shape, -1)
        pairs = self.meetings()
        mentor[pairs[:, 1], pairs[:, 2]] = pairs[:, 0]
        return mentor

    def improve(self, step: Step) -> bool:
        """Make each round the best beside the others; tell whether any became better."""
        before = self.total()
        rounds = self.mentee.shape[1]
        for when in range(rounds):
            self.mentee[:, when] = -1
            gains = np.where(self.there(when) & self.may_meet(), self.weights, 0)
            mentor, mentee = _assigned(gains)
            self.mentee[mentor, when] = mentee
            step(when, rounds)
        return self.total() > before

    def there(self, when: int) -> Mask:
        both: Mask = self.sides[0][:, when, None] & self.sides[1][None, :, when]
        return both

    def may_meet(self) -> Mask:
        """Return who has not met and has a meeting left."""
        pairs = self.meetings()
        fresh = np.ones(self.weights.shape, dtype=bool)
        fresh[pairs[:, 0], pairs[:, 1]] = False
        for place, axis in ((0, 1), (1, 0)):
            had = np.bincount(pairs[:, place], minlength=len(self.left[place]))
            fresh &= np.expand_dims(had < self.left[place], axis)
        return fresh

    def meetings(self) -> Ints:
        mentor, when = np.nonzero(self.mentee >= 0)
        return np.stack((mentor, self.mentee[mentor, when], when), axis=1)

    def total(self) -> int:
        pairs = self.meetings()
        return int(self.weights[pairs[:, 0], pairs[:, 1]].sum())


def _chain(
    met: tuple[Ints, Ints], present: tuple[Mask, Mask], place: int, one: int, of: int, to: int
) -> list[tuple[int, int, int, int]] | None:
    """Return the meetings that change rounds when somebody's is moved, or None if one cannot.

    Each meeting that moves may be in the way of one that then moves back; the chain ends where
    nobody is in the way.
    """
    if not present[place][one, of]:
        return None
    moved = []
    while (other := int(met[place][one, of])) >= 0:
        if not (present[place][one, to] and present[1 - place][other, to]):
            return None
        moved.append((other, one, of, to) if place else (one, other, of, to))
        place, one, of, to = 1 - place, other, to, of
    return moved


def _assigned(gains: Ints | npt.NDArray[np.float64]) -> tuple[Ints, Ints]:
    rows, columns = linear_sum_assignment(gains, maximize=True)
    kept = gains[rows, columns] > 0
    return rows[kept], columns[kept]


# Describing.


def _described(
    weights: Ints, mentors: Side, mentees: Side, meetings: Ints, reached: tuple[int, int]
) -> Flash:
    """Return the schedule with what it reached: its total and the bound."""
    total, bound = reached
    ordered = meetings[np.lexsort((meetings[:, 1], meetings[:, 0], meetings[:, 2]))]
    return Flash(
        meetings=ordered,
        rounds=len(np.unique(ordered[:, 2])),
        total=total,
        bound=bound,
        kind=Kind.OPTIMAL if total == bound else Kind.HEURISTIC,
        gap=gap_of(total, bound),
        why_mentors=_why(weights, mentors, mentees, ordered[:, 0]),
        why_mentees=_why(weights.T, mentees, mentors, ordered[:, 1]),
    )


def _why(weights: Ints, side: Side, others: Side, placed: Ints) -> Ints:
    """Return why each of one side has no meeting."""
    together = side.present.astype(np.int64) @ others.present.T.astype(np.int64) > 0
    why = np.full(len(weights), Why.OTHERS_CAME_FIRST, dtype=np.int64)
    why[~(together & (weights > 0) & (others.meetings > 0)).any(axis=1)] = Why.NEVER_PRESENT
    why[~((weights > 0) & (others.meetings > 0)).any(axis=1)] = Why.NOBODY_ALLOWED
    why[~side.present.any(axis=1)] = Why.NEVER_PRESENT
    why[side.meetings <= 0] = Why.NO_CAPACITY
    why[placed] = Why.PLACED
    return why


# Compiled.


@compiled
def _colours(edges: Ints, first: int, second: int, most: int) -> Ints:
    """Colour edges one by one; where no colour is free at both ends, a path swaps two (König)."""
    # The edge of each colour at each person, the second side after the first.
    at = np.full((first + second, max(1, most)), -1, dtype=np.int64)
    colour = np.empty(len(edges), dtype=np.int64)
    for edge in range(len(edges)):
        one, other = edges[edge, 0], first + edges[edge, 1]
        mine, theirs = 0, 0
        while at[one, mine] >= 0:
            mine += 1
        while at[other, theirs] >= 0:
            theirs += 1
        if mine != theirs and at[other, mine] >= 0:
            _swap(at, colour, edges, first, other, mine, theirs)
        elif mine != theirs:
            theirs = mine
        colour[edge] = mine
        at[one, mine] = at[other, mine] = edge
    return colour


@inner
def _swap(
    at: Ints, colour: Ints, edges: Ints, first: int, start: int, taken: int, free: int
) -> None:
    """Swap two colours along the path from somebody who lacks one of them.

    The path comes back to the first side by the other colour only, so it never ends at who lacks
    the colour there.
    """
    person, was, becomes = start, taken, free
    edge = at[person, was]
    at[person, was] = -1
    while edge >= 0:
        one, other = edges[edge, 0], first + edges[edge, 1]
        person = one if person == other else other
        following = at[person, becomes]
        colour[edge] = becomes
        at[one, becomes] = at[other, becomes] = edge
        if following < 0:
            if at[person, was] == edge:
                at[person, was] = -1
            return
        edge = following
        was, becomes = becomes, was
