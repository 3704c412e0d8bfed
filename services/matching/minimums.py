"""Groups of a smallest size: which of them to have, exactly where few are in question.

While nothing says which groups there are, a group may be too small in the best choice. What is
best then is a bound of what is best once that group is closed, and of what is best once it must
reach its size; each of the two is decided again, and so on, the most promising first (branch and
bound; Land and Doig, 1960). Where that takes too many steps, groups that stay too small are closed
until none does, and others are opened, closed and exchanged for as long as that is better.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from heapq import heappop, heappush
from typing import Protocol, Self

import numpy as np

from services.matching.blocks import APART
from services.matching.candidates import Candidates
from services.matching.decision import Decision, Open
from services.matching.measures import Mask, Places
from services.matching.taken import Taken
from shared.schemas.matching import CertificateKind

METHOD = "choosing groups that reach their minimum"

EFFORT, OVERHEAD = 1_500_000, 1_000
"""So many candidates may be looked at, however often; to decide at all is as much work as some."""
FEW_STEPS, LITTLE = 20, 1_000
"""Where so few steps are possible, less than a thousandth to gain is not worth them."""
AT_ONCE = 16
"""Of so many groups that are too small one is closed at a time."""


class Choice(Protocol):
    """A choice for what was open, its value, and a value that no other choice exceeds."""

    @property
    def open(self) -> Open: ...
    @property
    def found(self) -> Candidates: ...
    @property
    def value(self) -> int: ...
    @property
    def bound(self) -> int: ...
    @property
    def excess(self) -> int: ...
    def taken(self) -> Taken: ...
    def bounded(self, bound: int) -> Self: ...


def able(open_: Open, found: Candidates | None = None) -> Open:
    """Return what is open without the groups that never reach their size, whoever joins.

    That is for want of places, or of people whom no rule keeps from them.
    """
    never = open_.first < open_.needed
    if found is not None and open_.needed.any():
        rows = found.rows[open_.second[found.columns] > 0]
        counts = np.bincount(rows, minlength=len(never))
        never |= (found.rest_first == APART) & (counts < open_.needed)
    never &= ~open_.held & (open_.first > 0)
    return open_.closing(never) if never.any() else open_


def is_any_short(choice: Choice) -> bool:
    """Tell whether a choice has a group that is too small."""
    return bool(choice.open.needed.any() and _short(choice).any())


def settled(choice: Choice) -> Open:
    """Return what is open to whom a choice puts together, when its groups are to stay."""
    open_, there = choice.open, choice.taken().sizes[0] > 0
    has_size = open_.needed > 0
    return replace(open_.closing(has_size & ~there), held=has_size & (there | open_.held))


def search[C: Choice](whole: C, *, relax: Callable[[Open], C], highest: int, wanted: int = 0) -> C:
    """Return the best choice in which no group is too small, with a bound of all others.

    `whole` has some, and `relax` is how it was decided; no pair counts more than `highest`. The
    search ends at a choice of the value `wanted`, and may leave out others if it is not there.
    """
    if (_short(whole) & whole.open.held).any():
        return whole
    steps = EFFORT // (len(whole.found.columns) + OVERHEAD)
    bound = min(whole.bound, highest * _most_people(whole.open))
    best = _closed(whole, relax)
    if steps > FEW_STEPS or best.value < bound - bound // LITTLE:
        best, bound = _branched(whole.bounded(bound), best, relax, steps=steps, wanted=wanted)
        if best.value < bound and not wanted:
            best = _exchanged(best, whole.open, relax, steps=steps)
    return best.bounded(max(best.value, bound))


def _short(choice: Choice) -> Mask:
    return choice.open.short(choice.taken().sizes[0])


def _most_people(open_: Open) -> int:
    """Return how many places of groups can be taken at most, each by none or by enough."""
    most = int(open_.second.sum())
    sums = 1
    for least, places in zip(open_.needed.tolist(), open_.first.tolist(), strict=True):
        reached = sums
        for size in range(max(1, least), places + 1):
            reached |= sums << size
        sums = reached & ((1 << (most + 1)) - 1)
    return sums.bit_length() - 1


def _closed[C: Choice](choice: C, relax: Callable[[Open], C]) -> C:
    """Close groups that are too small, the smallest first, until none is."""
    while True:
        short = np.flatnonzero(_short(choice))
        if not len(short):
            return choice
        order = _smallest_first(choice, short)
        closed = np.zeros(len(choice.open.first), dtype=bool)
        closed[order[: max(1, len(order) // AT_ONCE)]] = True
        choice = relax(choice.open.closing(closed))


def _smallest_first(choice: Choice, groups: Places) -> Places:
    taken = choice.taken()
    sizes, scores = taken.sizes[0], choice.open.board.scores(taken.first, taken.second)
    worth = np.bincount(taken.first, weights=scores, minlength=len(sizes))
    return groups[np.lexsort((groups, worth[groups], sizes[groups]))]


def _branched[C: Choice](
    whole: C, best: C, relax: Callable[[Open], C], *, steps: int, wanted: int
) -> tuple[C, int]:
    """Return the best choice found, and what no choice exceeds."""
    bound, count = 0, 0
    waiting = [(-whole.bound, 0, whole)]
    while waiting and -waiting[0][0] > max(best.value, wanted - 1) and count < steps:
        if 0 < wanted <= best.value:
            break
        highest, _, choice = heappop(waiting)
        group = _smallest_first(choice, np.flatnonzero(_short(choice)))[-1]
        at = np.arange(len(choice.open.first)) == group
        for left in (replace(choice.open, held=choice.open.held | at), choice.open.closing(at)):
            count += 1
            made = relax(left)
            limit, short = min(made.bound, -highest), _short(made)
            if (short & left.held).any():
                # That no choice has the groups that must be is proven, unless pricing gave up.
                bound = max(bound, limit if made.excess else 0)
            elif short.any():
                heappush(waiting, (-limit, -count, made))
            else:
                bound = max(bound, limit if made.excess else 0)
                best = made if made.value > best.value else best
    return best, max(best.value, bound, -waiting[0][0] if waiting else 0)


def _exchanged[C: Choice](best: C, whole: Open, relax: Callable[[Open], C], *, steps: int) -> C:
    """Open, close and exchange groups one by one for as long as one of it is better."""
    is_better = True
    while is_better and steps > 0:
        is_better = False
        for left in _near(settled(best), whole):
            steps -= 1
            made = relax(left)
            if made.value > best.value and not is_any_short(made):
                best, is_better = made, True
                break
            if steps <= 0:
                break
    return best


def _near(now: Open, whole: Open) -> Iterator[Open]:
    """Yield what is open with one group more, one less, or one for another."""
    everybody = np.arange(len(now.first))
    has_size = (whole.needed > 0) & (whole.first > 0)
    out, there = np.flatnonzero(has_size & ~now.held), np.flatnonzero(now.held & ~whole.held)
    for more in out:
        yield _opened(now, whole, everybody == more)
    for less in there:
        yield now.closing(everybody == less)
    for more in out:
        for less in there:
            yield _opened(now, whole, everybody == more).closing(everybody == less)


def _opened(now: Open, whole: Open, group: Mask) -> Open:
    return replace(now, first=np.where(group, whole.first, now.first), held=now.held | group)


# Stable choices.


def keep(open_: Open, decide: Callable[[Open], Decision]) -> Decision:
    """Decide, then close the groups that stayed too small, smallest first, until none is."""
    whole = left = able(open_)
    while True:
        decided = decide(left)
        taken = decided.taken
        sizes = taken.sizes[0] - open_.locked.sizes[0]
        short = np.flatnonzero((sizes > 0) & (sizes < left.needed) & ~left.held)
        if not len(short):
            break
        scores = open_.board.scores(taken.first, taken.second)
        worth = np.bincount(taken.first, weights=scores, minlength=len(sizes))
        smallest = short[np.lexsort((short, worth[short], sizes[short]))[0]]
        left = left.closing(np.arange(len(sizes)) == smallest)
    said = decided.certificate
    if left is not whole:
        said = said.model_copy(update={"kind": CertificateKind.HEURISTIC, "gap": None})
    closed = (left.first == 0) & (open_.first > 0)
    return replace(decided, open=whole, certificate=said, closed=closed)
