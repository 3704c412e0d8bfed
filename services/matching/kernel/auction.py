"""The warm start: an auction with ever smaller increments brings prices close to the best ones.

Bertsekas' auction with epsilon-scaling (Annals of Operations Research 14, 1988), extended to
capacities by seats with a price each (Bertsekas, Castañón: similar objects, 1989). In each phase
rows bid for seats of columns until every row has what it wants; then columns whose seats are empty
but not free of charge bid for rows (the forward and reverse auction for unequal sides: Bertsekas,
Castañón: Computational Optimization and Applications 1, 1992). Both are one function.

With increment epsilon holds after each phase, u and p being the lowest seat of each:
u + p >= w - epsilon for a pair not taken, u + p <= w for a pair taken.

A bidder remembers a short list of their best pairs. While a side bids, prices of the other only
rise, so whatever is not on the list stays below what its last entry was worth when it was made;
only when the list sinks below that are all pairs looked at again (as Castañón, 1993, and LAPMOD of
Volgenant, 1996, do). Ties go to the earlier slot.

Weights are rounded to 31 bits above the least one and packed with the other end into one word: it
is the way to memory that takes the time. What is lost is less than the last increment; the repair
that follows is exact. All prices are lower by the least weight, so that a worth is one subtraction.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.matching.kernel.compiling import Flags, Ints, Places, compiled, inner
from services.matching.kernel.graph import SLOTS_PER_STEP, Adjacency, chunks
from services.matching.kernel.terms import FAR, Step

NOBODY = -1
LEVEL, EDGE, HOLDER = 0, 1, 2
BITS, MASK = 32, 2**32 - 1
MOST = 2**31 - 1
# Found by trying: see tests/bench/kernel.py.
FIRST_INCREMENT = 20
FALL = 8
LOWERED = 1
LISTED = 6
MAX_LISTED = 10

type Progress = Callable[[], None]


class Seats(NamedTuple):
    """The seats of one side, those of person i at `starts[i]:starts[i + 1]`, a heap by level.

    A row of `seat` int64[s, 3] is the level, the edge that was bid and by whom (nobody: -1), side
    by side in memory; `price` int64[n] is the level of the first seat, or FAR for whoever has none.
    """

    starts: Ints
    seat: Ints
    price: Ints


class Party(NamedTuple):
    """One side of an auction.

    The pairs of person i are at `starts[i]:ends[i]`, as `words` int64[e] and `edges` int32[e];
    `free` int64[n] are open seats; who waits to bid stands in the ring `line` int64[n], whose
    first place and length are in `state` int64[2]. A row of `lists` int64[n, 1 + 2k] is a short
    list: what a pair that is not on it can be worth at most (FAR if that is not known), then edge
    and word of each (an edge of -1 ends it). `value` and `slot` int64[k] are for making one.
    """

    starts: Ints
    ends: Ints
    words: Ints
    edges: Places
    seats: Seats
    free: Ints
    line: Ints
    state: Ints
    lists: Ints
    value: Ints
    slot: Ints
    holds_several: bool


def warm_start(
    rows: Adjacency,
    columns: Adjacency,
    first: Ints,
    second: Ints,
    *,
    last: int,
    step: Step,
) -> tuple[Flags, Ints]:
    """Return what is taken, uint8[e], and prices of columns, after a phase with increment `last`.

    Weights are at most 2^60; `step` is told how many phases are done, and may raise.
    """
    least, heaviest = int(rows.weights.min()), int(rows.weights.max())
    unit = 1 + (heaviest - least) // MOST
    base = least // unit
    taken = np.zeros(len(rows.others), dtype=np.uint8)
    one, other = _party(rows, first, base, unit, step), _party(columns, second, base, unit, step)
    increments = _increments(heaviest // unit, max(1, last // unit))
    for done, increment in enumerate(increments):
        progress = partial(step, done, len(increments))
        progress()
        if done:
            _lower(other.seats, LOWERED * increments[done - 1], base)
            _loosen(one, other, taken, increment, progress)
        # Coarse increments change prices too much for a list to be of use twice.
        bid = partial(_bid, taken=taken, increment=increment, is_listing=done > 0)
        _sell(one, other, one.free > 0, bid, progress)
        _seat(other, one, one.words, base, taken)
        price = other.seats.price
        _sell(other, one, (other.free > 0) & (price > -base) & (price < FAR), bid, progress)
        _seat(one, other, one.words, base, taken)
    prices = np.where(other.seats.price < FAR, (other.seats.price + base) * unit, 0)
    return taken, prices


def _increments(heaviest: int, last: int) -> list[int]:
    found = [max(last, heaviest // FIRST_INCREMENT)]
    while found[-1] > last:
        found.append(max(last, found[-1] // FALL))
    return found


def _party(edges: Adjacency, capacity: Ints, base: int, unit: int, step: Step) -> Party:
    people = len(capacity)
    # More room than pairs would only be seats that stay empty.
    places = np.minimum(capacity, edges.ends - edges.starts)
    starts = np.zeros(people + 1, dtype=np.int64)
    np.cumsum(places, out=starts[1:])
    seat = np.full((starts[-1], 3), NOBODY, dtype=np.int64)
    seat[:, LEVEL] = -base
    words = np.empty(len(edges.others), dtype=np.int64)
    for low, high in chunks(edges.ends):
        _pack(edges, words, base, unit, low, high)
        step(0, 1)
    most = int(places.max(initial=1))
    listed = min(MAX_LISTED, LISTED - 1 + most)
    return Party(
        starts=edges.starts,
        ends=edges.ends,
        words=words,
        edges=edges.edges,
        seats=Seats(starts, seat, np.where(places > 0, -base, FAR)),
        free=places.copy(),
        line=np.zeros(people, dtype=np.int64),
        state=np.zeros(2, dtype=np.int64),
        lists=np.full((people, 1 + 2 * listed), NOBODY, dtype=np.int64),
        value=np.zeros(listed, dtype=np.int64),
        slot=np.zeros(listed, dtype=np.int64),
        holds_several=most > 1,
    )


def _lower(seats: Seats, amount: int, base: int) -> None:
    """Lower all prices, so that fewer seats stay empty because a coarse bid made them too dear."""
    level = seats.seat[:, LEVEL]
    np.maximum(level - amount, -base, out=level)
    np.maximum(seats.price - amount, -base, out=seats.price, where=seats.price < FAR)


def _loosen(
    bidders: Party, sellers: Party, taken: Flags, increment: int, progress: Progress
) -> None:
    """Give up the pairs that a smaller increment does not allow."""
    best = np.zeros(len(bidders.free), dtype=np.int64)
    for low, high in chunks(bidders.ends):
        _rank(bidders, sellers.seats.price, taken, best, low, high)
        progress()
    _give_up(bidders, sellers, taken, best, increment)


def _sell(
    bidders: Party,
    sellers: Party,
    waits: npt.NDArray[np.bool_],
    bid: Callable[[Party, Party, int], None],
    progress: Progress,
) -> None:
    """Let those who wait bid until nobody does."""
    waiting = np.flatnonzero(waits)
    bidders.line[: len(waiting)] = waiting
    bidders.state[:] = 0, len(waiting)
    while bidders.state[1]:
        bid(bidders, sellers, SLOTS_PER_STEP)
        progress()
    # Prices of bidders fall while the other side bids, so what sellers remember is void.
    sellers.lists[:, 0] = FAR


@compiled
def _pack(edges: Adjacency, words: Ints, base: int, unit: int, low: int, high: int) -> None:
    """Put the weight above the base into the upper half of a word, and who it is with below."""
    for person in range(low, high):
        for slot in range(edges.starts[person], edges.ends[person]):
            words[slot] = (edges.weights[slot] // unit - base) << BITS | edges.others[slot]


@compiled
def _bid(
    bidders: Party, sellers: Party, budget: int, taken: Flags, increment: int, is_listing: bool
) -> None:
    """Let the first in line bid for each of their open seats, and so on; a budget is in slots.

    What is taken is kept up to date only where bidders may hold several; `_seat` does it at last.
    """
    # Taken out of the tuples once: each time counts a reference, which takes longer than the rest.
    line, state, free, places = bidders.line, bidders.state, bidders.free, bidders.seats.starts
    holds_several = bidders.holds_several
    starts, ends, words, edges = bidders.starts, bidders.ends, bidders.words, bidders.edges
    lists, values, slots = bidders.lists, bidders.value, bidders.slot
    seat, seats, price = sellers.seats.seat, sellers.seats.starts, sellers.seats.price
    head, waiting, room = state[0], state[1], len(line)
    while waiting > 0 and budget > 0:
        person = line[head]
        head = head + 1 if head + 1 < room else 0
        waiting -= 1
        low, high = starts[person], ends[person]
        while free[person] > 0:
            # Whoever holds nothing has nothing to skip.
            is_checked = holds_several and free[person] < places[person + 1] - places[person]
            edge, word, second, is_sure = NOBODY, 0, 0, False
            if is_listing:
                if lists[person, 0] < FAR:
                    budget -= len(values)
                    edge, word, second = _best_listed(lists, person, price, taken, is_checked)
                    is_sure = second >= lists[person, 0]
                if not is_sure:
                    budget -= high - low
                    _list(lists, person, values, slots, words, edges, low, high, price)
                    edge, word, second = _best_listed(lists, person, price, taken, is_checked)
                    is_sure = second >= lists[person, 0]
            if not is_sure:
                # Also if most of the list is taken by the bidder already.
                budget -= high - low
                edge, word, second = _best(low, high, words, edges, price, taken, is_checked)
            if edge == NOBODY:
                break
            seller = word & MASK
            place, end = seats[seller], seats[seller + 1]
            lost, outbid = seat[place, EDGE], seat[place, HOLDER]
            # Nobody is left with less than nothing.
            seat[place, LEVEL] = (word >> BITS) - max(0, second - increment)
            seat[place, EDGE], seat[place, HOLDER] = edge, person
            if end - place > 1:
                _sink(seat, place, end, place)
            price[seller] = seat[place, LEVEL]
            free[person] -= 1
            if holds_several:
                taken[edge] = 1
            if outbid != NOBODY:
                if holds_several:
                    taken[lost] = 0
                free[outbid] += 1
                if free[outbid] == 1 and outbid != person:
                    after = head + waiting
                    line[after if after < room else after - room] = outbid
                    waiting += 1
    state[0], state[1] = head, waiting


@inner
def _sink(seat: Ints, low: int, high: int, place: int) -> None:
    """Put the seat at a place of the heap low..high where its level belongs, below."""
    level, edge, holder = seat[place, LEVEL], seat[place, EDGE], seat[place, HOLDER]
    while True:
        below = 2 * place - low + 1
        if below >= high:
            break
        if below + 1 < high and seat[below + 1, LEVEL] < seat[below, LEVEL]:
            below += 1
        if seat[below, LEVEL] >= level:
            break
        for part in range(3):
            seat[place, part] = seat[below, part]
        place = below
    seat[place, LEVEL], seat[place, EDGE], seat[place, HOLDER] = level, edge, holder


@inner
def _best_listed(
    lists: Ints, person: int, price: Ints, taken: Flags, is_checked: bool
) -> tuple[int, int, int]:
    """Return the best of a list that is not taken, and the next best worth."""
    best, value, second, best_word = NOBODY, 0, 0, 0
    for place in range(1, lists.shape[1], 2):
        edge, word = lists[person, place], lists[person, place + 1]
        if edge == NOBODY:
            break
        worth = (word >> BITS) - price[word & MASK]
        if worth > second and not (is_checked and taken[edge]):
            if worth > value:
                best, best_word, value, second = edge, word, worth, value
            else:
                second = worth
    return best, best_word, second


@inner
def _best(
    low: int, high: int, words: Ints, edges: Places, price: Ints, taken: Flags, is_checked: bool
) -> tuple[int, int, int]:
    """Return the best of all pairs that are not taken, and the next best worth.

    Without a branch per slot, as which is best so far cannot be predicted; a tenth of the time.
    What remains is the way to memory.
    """
    best, value, second = NOBODY, 0, 0
    if is_checked:
        for slot in range(low, high):
            worth = (words[slot] >> BITS) - price[words[slot] & MASK]
            worth = 0 if taken[edges[slot]] else worth
            second = max(second, min(worth, value))
            best = slot if worth > value else best
            value = max(worth, value)
    else:
        for slot in range(low, high):
            worth = (words[slot] >> BITS) - price[words[slot] & MASK]
            second = max(second, min(worth, value))
            best = slot if worth > value else best
            value = max(worth, value)
    if best == NOBODY:
        return NOBODY, 0, second
    return edges[best], words[best], second


@inner
def _list(
    lists: Ints,
    person: int,
    values: Ints,
    slots: Ints,
    words: Ints,
    edges: Places,
    low: int,
    high: int,
    price: Ints,
) -> None:
    """List the best pairs at current prices, taken ones too, and what others are worth at most."""
    least = _least_listed(lists, person, price)
    for place in range(len(values)):
        values[place], slots[place] = least, NOBODY
    worst = 0
    for slot in range(low, high):
        worth = (words[slot] >> BITS) - price[words[slot] & MASK]
        if worth > least:
            values[worst], slots[worst] = worth, slot
            worst, least = 0, values[0]
            for place in range(1, len(values)):
                if values[place] < least:
                    worst, least = place, values[place]
    lists[person, 0] = least
    end = 1
    for place in range(len(slots)):
        slot = slots[place]
        if slot != NOBODY:
            lists[person, end], lists[person, end + 1] = edges[slot], words[slot]
            end += 2
    if end < lists.shape[1]:
        lists[person, end] = NOBODY


@inner
def _least_listed(lists: Ints, person: int, price: Ints) -> int:
    """Return a worth that as many pairs exceed as a list has: all of the former one do."""
    least = FAR
    for place in range(1, lists.shape[1], 2):
        if lists[person, place] == NOBODY:
            return -FAR
        word = lists[person, place + 1]
        least = min(least, (word >> BITS) - price[word & MASK])
    return least - 1


@compiled
def _rank(bidders: Party, price: Ints, taken: Flags, best: Ints, low: int, high: int) -> None:
    """Note what the best pair not taken is worth, for a range of people."""
    starts, ends, words, edges = bidders.starts, bidders.ends, bidders.words, bidders.edges
    for person in range(low, high):
        edge, word, _ = _best(starts[person], ends[person], words, edges, price, taken, True)
        best[person] = 0 if edge == NOBODY else (word >> BITS) - price[word & MASK]


@compiled
def _give_up(bidders: Party, sellers: Party, taken: Flags, best: Ints, increment: int) -> None:
    """Empty the seats whose holders would be better off by more than the increment elsewhere."""
    seat, starts = sellers.seats.seat, sellers.seats.starts
    for seller in range(len(sellers.free)):
        price = sellers.seats.price[seller]
        for place in range(starts[seller], starts[seller + 1]):
            edge, holder = seat[place, EDGE], seat[place, HOLDER]
            if holder == NOBODY:
                continue
            level = (bidders.words[edge] >> BITS) - best[holder] + increment
            if level < price:
                taken[edge] = 0
                bidders.free[holder] += 1
                seat[place, LEVEL], seat[place, EDGE], seat[place, HOLDER] = price, NOBODY, NOBODY
            else:
                seat[place, LEVEL] = max(price, min(seat[place, LEVEL], level))
        _heap(seat, starts[seller], starts[seller + 1])


@compiled
def _seat(source: Party, target: Party, words: Ints, base: int, taken: Flags) -> None:
    """Seat the pairs of one side on the other, where they cost what is left of their weight.

    Open seats are counted on both sides; those of the target are free of charge.
    """
    theirs, starts, free = target.seats.seat, target.seats.starts, target.free
    for person in range(len(free)):
        free[person] = starts[person + 1] - starts[person]
    taken[:] = 0
    for person in range(len(source.free)):
        source.free[person] = 0
        for place in range(source.seats.starts[person], source.seats.starts[person + 1]):
            level = source.seats.seat[place, LEVEL]
            edge, holder = source.seats.seat[place, EDGE], source.seats.seat[place, HOLDER]
            if holder == NOBODY:
                source.free[person] += 1
                continue
            taken[edge] = 1
            seat = theirs[starts[holder + 1] - free[holder]]
            seat[LEVEL], seat[EDGE], seat[HOLDER] = (
                (words[edge] >> BITS) - level - base,
                edge,
                person,
            )
            free[holder] -= 1
    for person in range(len(free)):
        low, high = starts[person], starts[person + 1]
        for place in range(high - free[person], high):
            theirs[place, LEVEL], theirs[place, EDGE], theirs[place, HOLDER] = -base, NOBODY, NOBODY
        _heap(theirs, low, high)
        if high > low:
            target.seats.price[person] = theirs[low, LEVEL]


@inner
def _heap(seat: Ints, low: int, high: int) -> None:
    """Make a heap of the seats low..high."""
    half = (high - low) // 2
    for back in range(half):
        _sink(seat, low, high, low + half - 1 - back)
