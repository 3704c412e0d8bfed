"""Two sides, exactly: candidates are solved, and all other pairs are priced until none pays.

What is solved are everybody's best pairs only. Prices that prove the solution among them are held
against every pair that was left out (column generation); those that pay are added, and so on, until
the same prices prove the solution among all pairs. Where that takes too long, what they lack is the
gap of the certificate.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from services.matching import candidates, minimums, pricing
from services.matching.board import Step
from services.matching.candidates import Candidates, Columns, Ints
from services.matching.decision import Decision, Levels, Open, Prices, certificate
from services.matching.kernel import sparse
from services.matching.kernel.problem import Problem, TooLargeError
from services.matching.kernel.sparse import Assignment, Start
from services.matching.kernel.terms import Step as Told
from services.matching.measures import Mask
from services.matching.pricing import Solved
from services.matching.taken import Taken
from shared.errors import InvalidError, Violation
from shared.schemas.matching import CertificateKind, Objective

ROUNDS = 20
ADDED, MARGIN = 8, 300
"""So many pairs that pay are added to each row; also those that lack three points of a score."""

METHOD = "exact assignment of candidates, dual prices over all pairs"
FAIR = "highest floor by bisection, then the same"


@dataclass(frozen=True, slots=True)
class Best:
    """The best choice of the candidates; the value of no other exceeds `dual + excess`.

    `open` tells which groups were closed for it, and which had to reach their smallest size.
    """

    open: Open
    found: Candidates
    kept: Mask
    solved: Assignment
    excess: int

    @property
    def is_proven(self) -> bool:
        """Whether no pair that was left out would make it better."""
        return not self.excess

    @property
    def value(self) -> int:
        """What the choice counts."""
        return self.solved.primal

    @property
    def bound(self) -> int:
        """What no other choice exceeds."""
        return self.solved.dual + self.excess

    def bounded(self, bound: int) -> "Best":
        """Return the same choice with another bound."""
        return replace(self, excess=bound - self.solved.dual)

    def taken(self) -> Taken:
        """Return the pairs chosen."""
        is_chosen = self.kept.copy()
        is_chosen[self.kept] = self.solved.taken
        chosen = np.flatnonzero(is_chosen)
        rows = np.searchsorted(self.found.starts, chosen, side="right") - 1
        columns = self.found.columns[chosen].astype(np.int64)
        return Taken.of(rows, columns, self.open.board.shape)


def find(open_: Open, *, step: Step) -> Candidates:
    """Return the pairs to begin with: everybody's best, and those that are together already."""
    most = candidates.how_many(open_.board)
    return candidates.find(open_.blocks, most, open_.staying(), step=step)


def decide(open_: Open, objective: Objective, found: Candidates, *, step: Step) -> Decision:
    """Return the best choice; `fair_floor` first finds the highest score that all can reach."""
    whole = left = minimums.able(open_, found)
    least, is_sure, method = 0, True, METHOD
    if objective is Objective.FAIR_FLOOR:
        left, found, least, is_sure = _best_floor(whole, found, step)
        method = FAIR
    levels = Levels.of(whole, objective, least=least)
    best = _best(left, levels, found, step)
    is_whole = best.open is whole
    said = certificate(
        objective,
        primal=best.value,
        dual=best.bound,
        method=method if is_whole else minimums.METHOD,
    )
    if not is_sure:
        said = said.model_copy(update={"kind": CertificateKind.HEURISTIC, "gap": None})
    # Where groups had to be chosen, no prices prove the choice.
    prices = Prices(best.solved.first_prices, best.solved.second_prices, levels)
    made = Decision.of(whole, best.taken(), said, best.found, prices if is_whole else None)
    return replace(made, closed=(best.open.first == 0) & (open_.first > 0))


def _best(open_: Open, levels: Levels, found: Candidates, step: Step, *, wanted: int = 0) -> Best:
    """Return the best choice in which no group is too small; the search ends at one of `wanted`."""
    whole = _priced(open_, levels, found, step)
    if not minimums.is_any_short(whole):
        return whole
    return minimums.search(
        whole,
        relax=lambda left: _priced(left, levels, whole.found, step),
        highest=int(levels.worth.max()) + levels.unit * open_.bonus,
        wanted=wanted,
    )


def _priced(open_: Open, levels: Levels, found: Candidates, step: Step) -> Best:
    """Solve and price until no pair that was left out pays."""
    best = _solved(open_, levels, found, None, partial(step, "solve"))
    # No price makes a pair that counts nothing pay, though who must have somebody pays for it.
    worth = np.where(levels.worth > 0, levels.worth, -pricing.FAR) if open_.held.any() else None
    for round_ in range(ROUNDS):
        solved = Solved(
            worth=levels.worth if worth is None else worth,
            price_first=best.solved.first_prices,
            price_second=best.solved.second_prices,
            capacity_first=open_.first,
            capacity_second=open_.second,
        )
        paying = pricing.paying(
            open_.blocks, best.found, solved, most=ADDED, margin=MARGIN * levels.unit, step=step
        )
        if not paying.count:
            return best
        if round_ == ROUNDS - 1:
            break
        more = best.found.with_pairs(paying.first, paying.second, paying.scores)
        best = _solved(open_, levels, more, best, partial(step, "solve"))
    return replace(best, excess=paying.excess)


def _solved(
    open_: Open, levels: Levels, found: Candidates, before: Best | None, step: Told
) -> Best:
    """Solve the candidates; what was best before some were added is a start."""
    kept, problem = _problem(open_, levels, found)
    raised, bonus = _with_least(open_, levels, problem)
    start = None
    if before is not None:
        taken = before.taken()
        is_taken = np.zeros(len(found.columns), dtype=np.uint8)
        is_taken[found.places(taken.first, taken.second)] = 1
        start = Start(is_taken[kept], before.solved.second_prices)
    if not bonus:
        return Best(open_, found, kept, sparse.solve(problem, start=start, step=step), 0)
    solved = sparse.solve(raised, step=step)
    return Best(open_, found, kept, _lowered(open_, problem, solved, bonus), 0)


def _with_least(open_: Open, levels: Levels, problem: Problem) -> tuple[Problem, int]:
    """Return a problem in which whoever must have somebody has them, and the bonus for it.

    Each of their pairs counts more by a bonus that outweighs what any exchange could cost: along
    it, nobody of either side gives up and gets more than one. They have as many columns of their
    own, worth a bonus each, as they may have beyond the least, which keeps the bonus for those.
    """
    least = np.minimum(open_.least, open_.first)
    rows = np.flatnonzero(least)
    if not len(rows):
        return problem, 0
    heaviest = int(problem.weights.max(initial=0))
    apart = max(heaviest, int(levels.worth.max()) + levels.unit * open_.bonus)
    apart -= int(levels.worth[levels.worth > 0].min(initial=apart))
    bonus = (min(open_.board.shape) + 1) * apart + 1
    more = np.zeros(len(open_.first), dtype=np.int64)
    more[rows] = open_.first[rows] - least[rows]
    width, count = len(problem.second), int(more.sum())
    # Columns of their own stand behind all others.
    at = np.repeat(problem.starts[1:], more)
    own = np.arange(width, width + count, dtype=np.int32)
    is_raised = np.repeat(least > 0, problem.degrees)
    weights = problem.weights + np.where(is_raised, bonus, 0)
    return (
        _checked(
            problem.starts + np.concatenate([[0], np.cumsum(more)]),
            np.insert(problem.columns, at, own),
            np.insert(weights, at, bonus),
            problem.first,
            np.concatenate([problem.second, np.ones(count, dtype=np.int64)]),
        ),
        bonus,
    )


def _lowered(open_: Open, problem: Problem, solved: Assignment, bonus: int) -> Assignment:
    """Return a solution without the bonus and the columns that were added for it."""
    raised = np.minimum(open_.least, open_.first) > 0
    width, starts = len(problem.second), problem.starts
    counts = np.where(raised, open_.first - np.minimum(open_.least, open_.first), 0)
    is_own = np.zeros(len(solved.taken), dtype=bool)
    ends = starts[1:] + np.cumsum(counts)
    own = np.repeat(ends - np.cumsum(counts), counts) + np.arange(int(counts.sum()))
    is_own[own] = True
    given = bonus * int(open_.first[raised].sum())
    return Assignment(
        taken=solved.taken[~is_own],
        first_prices=solved.first_prices - np.where(raised, bonus, 0),
        second_prices=solved.second_prices[:width],
        primal=solved.primal - given,
        dual=solved.dual - given,
    )


def _problem(open_: Open, levels: Levels, found: Candidates) -> tuple[Mask, Problem]:
    """Return which candidates count something, and the problem of those."""
    weights = levels.worth[found.scores]
    kept = weights > 0
    together = found.places(open_.current.first, open_.current.second)
    together = together[together >= 0]
    weights[together] += np.where(kept[together], levels.unit * open_.bonus, 0)
    starts, columns = found.starts, found.columns
    if not kept.all():
        starts, columns = np.concatenate([[0], np.cumsum(kept)])[starts], columns[kept]
        weights = weights[kept]
    return kept, _checked(starts, columns, weights, open_.first, open_.second)


def _checked(starts: Ints, columns: Columns, weights: Ints, first: Ints, second: Ints) -> Problem:
    try:
        return Problem(starts, columns, weights, first, second)
    except TooLargeError:
        detail = "So many places and pairs are more than this objective can be added up over."
        raise InvalidError(errors=[Violation("#/places", "too_many_pairs", detail)]) from None


def _best_floor(open_: Open, found: Candidates, step: Step) -> tuple[Open, Candidates, int, bool]:
    """Return the highest score that every pair can reach while as many are matched.

    Also what is open for it, the candidates, grown, and whether no higher score can be: each one
    tried either is reached by as many pairs as there can be, or is proven not to be.
    """
    whole = _best(open_, Levels.of(open_, Objective.MOST_MATCHED), found, step)
    found, is_sure = whole.found, whole.is_proven
    if whole.open is not open_ and not is_sure:
        # To choose groups anew for every score would take too long.
        open_ = minimums.settled(whole)
    taken = whole.taken()
    wanted = len(taken)
    if not wanted:
        return open_, found, 0, is_sure
    levels = _levels_above(found, int(open_.board.scores(taken.first, taken.second).min()))
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high + 1) // 2
        found, reached, is_proven = _reached(open_, found, int(levels[middle]), wanted, step)
        if reached >= wanted:
            low = middle
        else:
            high, is_sure = middle - 1, is_sure and is_proven
    return open_, found, int(levels[low]), is_sure


def _levels_above(found: Candidates, least: int) -> Ints:
    """Return the scores that the worst pair could have, from one that it has on."""
    highest = int(found.scores.max(initial=0))
    return np.arange(least, max(least, highest) + 1)


def _reached(
    open_: Open, found: Candidates, least: int, wanted: int, step: Step
) -> tuple[Candidates, int, bool]:
    """Count how many pairs there can be if all score at least so much."""
    levels = Levels.counting(least)
    quick = _solved(open_, levels, found, None, partial(step, "floor"))
    if quick.value == wanted and not minimums.is_any_short(quick):
        return found, wanted, True
    best = _best(open_, levels, found, step, wanted=wanted)
    if minimums.is_any_short(best):
        # A group that must be cannot.
        return best.found, 0, not best.excess
    return best.found, best.value, best.bound < wanted
