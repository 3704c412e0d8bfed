"""Two sides, exactly: candidates are solved, and all other pairs are priced until none pays.

What is solved are everybody's best pairs only. Prices that prove the solution among them are held
against every pair that was left out (column generation); those that pay are added, and so on, until
the same prices prove the solution among all pairs. Where that takes too long, what they lack is the
gap of the certificate.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from services.matching import candidates, pricing
from services.matching.board import Step
from services.matching.candidates import Candidates, Ints
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
    """The best choice of the candidates; the value of no other exceeds `dual + excess`."""

    found: Candidates
    kept: Mask
    solved: Assignment
    excess: int

    @property
    def is_proven(self) -> bool:
        """Whether no pair that was left out would make it better."""
        return not self.excess

    def taken(self, shape: tuple[int, int]) -> Taken:
        """Return the pairs chosen."""
        is_chosen = self.kept.copy()
        is_chosen[self.kept] = self.solved.taken
        chosen = np.flatnonzero(is_chosen)
        rows = np.searchsorted(self.found.starts, chosen, side="right") - 1
        return Taken.of(rows, self.found.columns[chosen].astype(np.int64), shape)


def find(open_: Open, *, step: Step) -> Candidates:
    """Return the pairs to begin with: everybody's best, and those that are together already."""
    most = candidates.how_many(open_.board)
    return candidates.find(open_.blocks, most, open_.staying(), step=step)


def decide(open_: Open, objective: Objective, found: Candidates, *, step: Step) -> Decision:
    """Return the best choice; `fair_floor` first finds the highest score that all can reach."""
    least, is_sure, method = 0, True, METHOD
    if objective is Objective.FAIR_FLOOR:
        found, least, is_sure = _best_floor(open_, found, step)
        method = FAIR
    levels = Levels.of(open_, objective, least=least)
    best = _best(open_, levels, found, step)
    primal, dual = best.solved.primal, best.solved.dual + best.excess
    said = certificate(objective, primal=primal, dual=dual, method=method)
    if not is_sure:
        said = said.model_copy(update={"kind": CertificateKind.HEURISTIC, "gap": None})
    prices = Prices(best.solved.first_prices, best.solved.second_prices, levels)
    return Decision.of(open_, best.taken(open_.board.shape), said, best.found, prices)


def _best(open_: Open, levels: Levels, found: Candidates, step: Step) -> Best:
    """Solve and price until no pair that was left out pays."""
    best = _solved(open_, levels, found, None, partial(step, "solve"))
    for round_ in range(ROUNDS):
        solved = Solved(
            worth=levels.worth,
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
    start = None
    if before is not None:
        taken = before.taken(open_.board.shape)
        is_taken = np.zeros(len(found.columns), dtype=np.uint8)
        is_taken[found.places(taken.first, taken.second)] = 1
        start = Start(is_taken[kept], before.solved.second_prices)
    return Best(found, kept, sparse.solve(problem, start=start, step=step), 0)


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
    try:
        return kept, Problem(starts, columns, weights, open_.first, open_.second)
    except TooLargeError:
        detail = "So many places and pairs are more than this objective can be added up over."
        raise InvalidError(errors=[Violation("#/places", "too_many_pairs", detail)]) from None


def _best_floor(open_: Open, found: Candidates, step: Step) -> tuple[Candidates, int, bool]:
    """Return the highest score that every pair can reach while as many are matched.

    Also the candidates, grown, and whether no higher score can be: each one tried either is
    reached by as many pairs as there can be, or is proven not to be.
    """
    whole = _best(open_, Levels.of(open_, Objective.MOST_MATCHED), found, step)
    found, is_sure = whole.found, whole.is_proven
    taken = whole.taken(open_.board.shape)
    wanted = len(taken)
    if not wanted:
        return found, 0, is_sure
    levels = _levels_above(found, int(open_.board.scores(taken.first, taken.second).min()))
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high + 1) // 2
        found, reached, is_proven = _reached(open_, found, int(levels[middle]), wanted, step)
        if reached == wanted:
            low = middle
        else:
            high, is_sure = middle - 1, is_sure and is_proven
    return found, int(levels[low]), is_sure


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
    if quick.solved.primal == wanted:
        return found, wanted, True
    best = _best(open_, levels, found, step)
    return best.found, best.solved.primal, best.is_proven
