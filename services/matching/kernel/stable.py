"""Stable pairs: deferred acceptance with capacities on both sides, and the count that proves it.

The algorithm is that of Gale and Shapley, "College Admissions and the Stability of Marriage"
(1962), where both sides may hold several (Roth 1984). Each of the proposing side asks down its
list; whoever is asked holds the best so far. Whichever side proposes gets the best stable choice
for all of its people at once, and that choice does not depend on the order of the proposals.

Lists are CSR: the candidates of `i`, best first, are `indices[indptr[i] : indptr[i + 1]]`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from services.matching.kernel.compiling import Ints, Mask, Places, compiled, inner
from services.matching.kernel.terms import ImpossibleLockError, Step, Why, no_pairs, quiet

REFUSED = np.int64(np.iinfo(np.int64).min)
_QUESTIONS_PER_STEP = 1_000_000
_CELLS_PER_STEP = 4_000_000

# Plain integers, which compiled code takes as constants.
PLACED, NO_CAPACITY = int(Why.PLACED), int(Why.NO_CAPACITY)
NOBODY_ALLOWED, OTHERS_CAME_FIRST = int(Why.NOBODY_ALLOWED), int(Why.OTHERS_CAME_FIRST)


class Lists(NamedTuple):
    """Whom each of one side would take, best first; who is not listed is not acceptable."""

    indptr: Ints
    indices: Places


class Market(NamedTuple):
    """Whom each proposer asks, best first, and what the proposer is `worth` to who is asked.

    `indptr` has a row per proposer, `indices` and `worth` an entry per question. `REFUSED` as a
    worth marks a question that is never answered with yes. `reviewers` counts the asked side.
    """

    indptr: Ints
    indices: Places
    worth: Ints
    reviewers: int


@dataclass(frozen=True, slots=True)
class Stable:
    """Pairs `(proposer, reviewer)`, locks included, in order; and why the others have none.

    `blocking` counts the pairs who would both rather have each other: 0, or the result is wrong.
    """

    pairs: Ints
    why_proposers: Ints
    why_reviewers: Ints
    blocking: int


class State(NamedTuple):
    """How far deferred acceptance is.

    `following` is the next question of each proposer and `places` how many they still want.
    `waiting` is a stack of who has to ask, whose height is its last entry; `waits` tells who is
    on it. Those whom a reviewer holds are a heap in `held` from `offsets` on, the worst first;
    `values` is what they are worth, `sizes` how many they are.
    """

    following: Ints
    places: Ints
    waiting: Ints
    waits: Mask
    offsets: Ints
    sizes: Ints
    held: Ints
    values: Ints


# Markets: from lists, from matrices, from scored pairs.


def from_lists(proposers: Lists, reviewers: Lists) -> Market:
    """Return the market of two sides' lists; a pair needs both of them to list each other."""
    worth = _worth_of_lists(proposers, reviewers)
    return Market(proposers.indptr, proposers.indices, worth, len(reviewers.indptr) - 1)


def from_matrices(
    allowed: Mask, wish_proposers: Ints, wish_reviewers: Ints, *, step: Step = quiet
) -> Market:
    """Return the market of wishes, larger for whom one would rather have.

    All have a row per proposer and a column per reviewer. Ties go to whoever stands first.
    """
    proposers, reviewers = allowed.shape
    asked, worth = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int64)]
    rows = max(1, _CELLS_PER_STEP // max(1, reviewers))
    for first in range(0, proposers, rows):
        lot = slice(first, first + rows)
        order = _best_first(wish_proposers[lot])
        kept = np.take_along_axis(allowed[lot], order, axis=1)
        asked.append(order[kept].astype(np.int32))
        worth.append(np.take_along_axis(wish_reviewers[lot], order, axis=1)[kept])
        step(min(first + rows, proposers), proposers)
    indptr = np.concatenate(([0], np.cumsum(allowed.sum(axis=1)))).astype(np.int64)
    return Market(indptr, np.concatenate(asked), np.concatenate(worth), reviewers)


def _best_first(wishes: Ints) -> Ints:
    """Return the columns of each row, best first, the first of equals first."""
    columns = max(1, wishes.shape[1])
    if np.abs(wishes).max(initial=0) >= np.iinfo(np.int64).max // (2 * columns):
        order: Ints = np.argsort(-wishes, axis=1, kind="stable")
        return order
    # Sorting the numbers themselves, each with its column in it, is several times faster.
    keys: Ints = wishes * -columns + np.arange(columns)
    keys.sort(axis=1)
    keys %= columns
    return keys


def from_edges(
    sizes: tuple[int, int], pairs: Ints, wish_proposers: Ints, wish_reviewers: Ints
) -> Market:
    """Return the market of scored pairs `(proposer, reviewer)`; no other pair is acceptable.

    `sizes` are the people of both sides. Ties go to whoever stands first.
    """
    order = np.lexsort((pairs[:, 1], -wish_proposers, pairs[:, 0]))
    counts = np.bincount(pairs[:, 0], minlength=sizes[0])
    indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return Market(indptr, pairs[order, 1].astype(np.int32), wish_reviewers[order], sizes[1])


# Deciding.


def defer(
    market: Market,
    places: Ints,
    seats: Ints,
    *,
    locks: Ints | None = None,
    blocks: Ints | None = None,
    step: Step = quiet,
) -> Stable:
    """Return the stable choice that is best for the proposers, with its blocking pairs counted.

    `places` and `seats` are the capacities of proposers and reviewers. `locks` and `blocks` are
    pairs, a row each: locked ones take a place and a seat before anybody asks, and need not be
    listed; blocked ones are never made. Raises `ImpossibleLockError` for a lock that is blocked,
    named twice, or has no capacity left.
    """
    if locks is None and blocks is None:
        return _described(market, places, seats, _decided(market, places, seats, step), no_pairs())
    fixed = no_pairs() if locks is None else locks
    barred = no_pairs() if blocks is None else blocks
    open_market = _without(market, np.concatenate((fixed, barred)))
    left = places - np.bincount(fixed[:, 0], minlength=len(places))
    right = seats - np.bincount(fixed[:, 1], minlength=len(seats))
    _check(fixed, barred, left, right)
    return _described(open_market, left, right, _decided(open_market, left, right, step), fixed)


def count_blocking(market: Market, pairs: Ints, places: Ints, seats: Ints) -> int:
    """Return how many pairs would both rather have each other than what they hold.

    Reads only the lists and the pairs (sorted by proposer), so it proves whatever made them.
    """
    return int(_count_blocking(market, pairs, places, seats))


def warm() -> None:
    """Compile everything, or load what was compiled before."""
    lists = Lists(np.array([0, 1]), np.zeros(1, dtype=np.int32))
    one = np.ones(1, dtype=np.int64)
    market = from_lists(lists, lists)
    defer(market, one, one, blocks=np.array([[0, 0]]))
    # What large markets call step by step is compiled apart from what small ones do at once.
    state = _begin(market, one, one)
    _advance(market, state, _QUESTIONS_PER_STEP)
    _collected(state)


def _check(locks: Ints, blocks: Ints, left: Ints, right: Ints) -> None:
    barred = {(int(one), int(other)) for one, other in blocks}
    seen: set[tuple[int, int]] = set()
    for row, (one, other) in enumerate(locks.tolist()):
        if (one, other) in barred:
            raise ImpossibleLockError("not_blocked", row)
        if left[one] < 0 or right[other] < 0 or (one, other) in seen:
            raise ImpossibleLockError("capacity", row)
        seen.add((one, other))


def _without(market: Market, pairs: Ints) -> Market:
    """Return the market in which some pairs are refused, whatever they wish."""
    rows = np.repeat(np.arange(len(market.indptr) - 1), np.diff(market.indptr))
    asked = rows * market.reviewers + market.indices
    closed = np.isin(asked, pairs[:, 0] * market.reviewers + pairs[:, 1])
    worth = np.where(closed, REFUSED, market.worth)
    return Market(market.indptr, market.indices, worth, market.reviewers)


def _decided(market: Market, places: Ints, seats: Ints, step: Step) -> Ints:
    """Return the pairs, telling between bounded lots of questions how far it is."""
    if len(market.indices) <= _QUESTIONS_PER_STEP:
        return _at_once(market, places, seats)
    state = _begin(market, places, seats)
    asked = 0
    while state.waiting[-1]:
        asked += _advance(market, state, _QUESTIONS_PER_STEP)
        step(asked, len(market.indices))
    return _collected(state)


def _described(market: Market, places: Ints, seats: Ints, pairs: Ints, locks: Ints) -> Stable:
    everyone = np.concatenate((locks, pairs)) if len(locks) else pairs
    if len(locks):
        everyone = everyone[np.lexsort((everyone[:, 1], everyone[:, 0]))]
    why_proposers, why_reviewers = _why(market, everyone, places, seats)
    return Stable(
        everyone, why_proposers, why_reviewers, count_blocking(market, pairs, places, seats)
    )


# Compiled.


@compiled
def _worth_of_lists(proposers: Lists, reviewers: Lists) -> Ints:
    """Return what each proposer is worth to whom they list: more for better ranks."""
    sizes = len(proposers.indptr) - 1, len(reviewers.indptr) - 1
    if sizes[0] * sizes[1] <= 2 * len(reviewers.indices):
        return _worth_by_table(proposers, reviewers)
    start, by, value = _listed_by(reviewers, sizes[0])
    worth = np.empty(len(proposers.indices), dtype=np.int64)
    known = np.zeros(sizes[1], dtype=np.int32)
    for one in range(sizes[0]):
        for at in range(start[one], start[one + 1]):
            known[by[at]] = value[at]
        for at in range(proposers.indptr[one], proposers.indptr[one + 1]):
            other = proposers.indices[at]
            worth[at] = known[other] if known[other] else REFUSED  # noqa: FURB110 - as Numba types it
            # Somebody who is listed twice is asked once.
            known[other] = 0
        for at in range(start[one], start[one + 1]):
            known[by[at]] = 0
    return worth


@inner
def _worth_by_table(proposers: Lists, reviewers: Lists) -> Ints:
    """Return the same where most list most: a table of all is then the shorter way."""
    others = len(reviewers.indptr) - 1
    known = np.zeros((len(proposers.indptr) - 1, others), dtype=np.int32)
    for other in range(others):
        end = reviewers.indptr[other + 1]
        for at in range(reviewers.indptr[other], end):
            known[reviewers.indices[at], other] = end - at
    worth = np.empty(len(proposers.indices), dtype=np.int64)
    for one in range(len(known)):
        mine = known[one]
        for at in range(proposers.indptr[one], proposers.indptr[one + 1]):
            value = mine[proposers.indices[at]]
            worth[at] = value or REFUSED
            mine[proposers.indices[at]] = 0
    return worth


@inner
def _listed_by(lists: Lists, others: int) -> tuple[Ints, Places, Places]:
    """Return as CSR who lists each of the other side, and how much they are worth there."""
    start = np.zeros(others + 1, dtype=np.int64)
    for one in lists.indices:
        start[one + 1] += 1
    for one in range(others):
        start[one + 1] += start[one]
    by = np.empty(len(lists.indices), dtype=np.int32)
    value = np.empty(len(lists.indices), dtype=np.int32)
    for one in range(len(lists.indptr) - 1):
        for at in range(lists.indptr[one], lists.indptr[one + 1]):
            other = lists.indices[at]
            by[start[other]] = one
            value[start[other]] = lists.indptr[one + 1] - at
            start[other] += 1
    # Filling moved each start to the next one's.
    for one in range(others, 0, -1):
        start[one] = start[one - 1]
    start[0] = 0
    return start, by, value


@compiled
def _begin(market: Market, places: Ints, seats: Ints) -> State:
    """Return the state before anybody asked; the first of a side asks first."""
    count = len(places)
    room = np.empty(len(seats), dtype=np.int64)
    for other in range(len(seats)):
        room[other] = max(0, min(seats[other], count))
    if room.sum() > len(market.indices):
        # Nobody holds more than ask.
        asked = np.zeros(len(seats), dtype=np.int64)
        for other in market.indices:
            asked[other] += 1
        room = np.minimum(room, asked)
    offsets = np.zeros(len(seats) + 1, dtype=np.int64)
    for other in range(len(seats)):
        offsets[other + 1] = offsets[other] + room[other]
    waiting = np.empty(count + 1, dtype=np.int64)
    for one in range(count):
        waiting[one] = count - 1 - one
    waiting[count] = count
    return State(
        market.indptr[:-1].copy(),
        places.copy(),
        waiting,
        np.ones(count, dtype=np.bool_),
        offsets,
        np.zeros(len(seats), dtype=np.int64),
        np.empty(offsets[-1], dtype=np.int64),
        np.empty(offsets[-1], dtype=np.int64),
    )


@compiled
def _at_once(market: Market, places: Ints, seats: Ints) -> Ints:
    """Return the pairs; saves small markets the way of the state out of compiled code and back."""
    state = _begin(market, places, seats)
    _advance(market, state, _QUESTIONS_PER_STEP)
    return _collected(state)


@compiled
def _advance(market: Market, state: State, limit: int) -> int:
    """Let those who wait ask, up to a number of questions; return how many were asked."""
    # Taken out of the tuples once: each time counts a reference, which takes longer than the rest.
    following, places, waiting, waits, offsets, sizes, held, values = state
    indptr, indices, worth, _ = market
    asked = 0
    while waiting[-1] and asked < limit:
        one = waiting[waiting[-1] - 1]
        if places[one] <= 0 or following[one] == indptr[one + 1]:
            waits[one] = False
            waiting[-1] -= 1
            continue
        at = following[one]
        following[one] += 1
        asked += 1
        if worth[at] == REFUSED:
            continue
        other, left = indices[at], one
        base, end = offsets[other], offsets[other + 1]
        if sizes[other] < end - base:
            _push(held[base:end], values[base:end], sizes[other], one, worth[at])
            sizes[other] += 1
        elif end > base and _is_worse(values[base], held[base], worth[at], one):
            left = held[base]
            _replace(held[base:end], values[base:end], one, worth[at])
        else:
            continue
        places[one] -= 1
        if left != one:
            places[left] += 1
            if not waits[left]:
                waits[left] = True
                waiting[waiting[-1]] = left
                waiting[-1] += 1
    return asked


@inner
def _is_worse(value: int, by: int, than: int, than_by: int) -> bool:
    return value < than or (value == than and by > than_by)


@inner
def _push(held: Ints, values: Ints, size: int, one: int, value: int) -> None:
    """Add somebody to those who are held."""
    at = size
    while at:
        above = (at - 1) >> 1
        if not _is_worse(value, one, values[above], held[above]):
            break
        held[at], values[at] = held[above], values[above]
        at = above
    held[at], values[at] = one, value


@inner
def _replace(held: Ints, values: Ints, one: int, value: int) -> None:
    """Put somebody in the place of the worst of a full house."""
    at, size = 0, len(held)
    while 2 * at + 1 < size:
        below = 2 * at + 1
        if below + 1 < size and _is_worse(
            values[below + 1], held[below + 1], values[below], held[below]
        ):
            below += 1
        if not _is_worse(values[below], held[below], value, one):
            break
        held[at], values[at] = held[below], values[below]
        at = below
    held[at], values[at] = one, value


@compiled
def _collected(state: State) -> Ints:
    """Return who is held, as pairs in order."""
    start = np.zeros(len(state.places) + 1, dtype=np.int64)
    for other in range(len(state.sizes)):
        base = state.offsets[other]
        for one in state.held[base : base + state.sizes[other]]:
            start[one + 1] += 1
    for one in range(len(state.places)):
        start[one + 1] += start[one]
    pairs = np.empty((start[-1], 2), dtype=np.int64)
    for other in range(len(state.sizes)):
        base = state.offsets[other]
        for one in state.held[base : base + state.sizes[other]]:
            pairs[start[one], 0] = one
            pairs[start[one], 1] = other
            start[one] += 1
    return pairs


@compiled
def _count_blocking(market: Market, pairs: Ints, places: Ints, seats: Ints) -> int:
    """Count the pairs that both would rather have than what they hold; pairs in order."""
    holds, end, worst, worst_by = _least_held(market, pairs, places)
    taken = np.zeros(len(seats), dtype=np.int64)
    for at in range(len(pairs)):
        taken[pairs[at, 1]] += 1
    found = 0
    for one in range(len(places)):
        for at in range(market.indptr[one], end[one]):
            other, value = market.indices[at], market.worth[at]
            if holds[at] or value == REFUSED or seats[other] <= 0:
                continue
            has_room = taken[other] < seats[other]
            if has_room or _is_worse(worst[other], worst_by[other], value, one):
                found += 1
    return found


@inner
def _least_held(market: Market, pairs: Ints, places: Ints) -> tuple[Mask, Ints, Ints, Ints]:
    """Return which questions made pairs, where each proposer's better choices end, and the worst.

    The worst is whom each reviewer holds: what they are worth, and who it is. Lists are read no
    further than the last pair.
    """
    holds = np.zeros(len(market.indices), dtype=np.bool_)
    end = market.indptr[:-1].copy()
    worst = np.full(market.reviewers, np.int64(2**63 - 1))
    worst_by = np.zeros(market.reviewers, dtype=np.int64)
    partner = np.full(market.reviewers, -1, dtype=np.int64)
    at_pair = 0
    for one in range(len(places)):
        mine = 0
        while at_pair < len(pairs) and pairs[at_pair, 0] == one:
            partner[pairs[at_pair, 1]] = one
            at_pair += 1
            mine += 1
        has_room = mine < places[one]
        for at in range(market.indptr[one], market.indptr[one + 1]):
            if not mine:
                break
            other, value = market.indices[at], market.worth[at]
            if partner[other] == one and value != REFUSED:
                holds[at] = True
                end[one] = at
                mine -= 1
                if _is_worse(value, one, worst[other], worst_by[other]):
                    worst[other], worst_by[other] = value, one
        if has_room:
            end[one] = market.indptr[one + 1]
    return holds, end, worst, worst_by


@compiled
def _why(market: Market, pairs: Ints, places: Ints, seats: Ints) -> tuple[Ints, Ints]:
    """Return why each of both sides was left out; the first cause that holds."""
    proposers = np.full(len(places), NOBODY_ALLOWED, dtype=np.int64)
    reviewers = np.full(len(seats), NOBODY_ALLOWED, dtype=np.int64)
    left = len(places) + len(seats)
    for at in range(len(pairs)):
        one, other = pairs[at]
        left -= (proposers[one] != PLACED) + (reviewers[other] != PLACED)
        proposers[one] = reviewers[other] = PLACED
    if left:
        _blame(market, proposers, reviewers, left)
    for one in range(len(places)):
        if places[one] <= 0 and proposers[one] != PLACED:
            proposers[one] = NO_CAPACITY
    for other in range(len(seats)):
        if seats[other] <= 0 and reviewers[other] != PLACED:
            reviewers[other] = NO_CAPACITY
    return proposers, reviewers


@inner
def _blame(market: Market, proposers: Ints, reviewers: Ints, left: int) -> None:
    """Note of those left out, so many, whom some of the other side could have had."""
    indptr, indices, worth, _ = market
    for one in range(len(proposers)):
        for at in range(indptr[one], indptr[one + 1]):
            if not left:
                return
            if worth[at] != REFUSED:
                left -= proposers[one] == NOBODY_ALLOWED
                proposers[one] = OTHERS_CAME_FIRST if proposers[one] != PLACED else PLACED
                other = indices[at]
                left -= reviewers[other] == NOBODY_ALLOWED
                reviewers[other] = OTHERS_CAME_FIRST if reviewers[other] != PLACED else PLACED
