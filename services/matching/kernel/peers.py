"""Pairs among equals: maximum-weight matching in a general graph, with a proof over all pairs.

Edmonds' blossom algorithm (1965, here the one of rustworkx) is exact but slow on dense graphs, so
it only sees pairs that can matter. Which those are is told by the dual of the fractional problem:
the best half-integral matching is half of the best assignment of the symmetric matrix to itself
(Balinski 1965), solved by shortest augmenting paths on a few pairs per person and priced over all
of them. In a connected component of odd size somebody stays alone, so one place is taken out of
the assignment again, along the cheapest path. What a pair falls short of its two prices is its
slack; a pair whose slack exceeds the distance between bound and total is in no better solution.
When all others were looked at, the total is proven to be the best of all pairs.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from services.matching.kernel.compiling import Ints, Mask, Places, compiled, inner
from services.matching.kernel.terms import (
    FAR,
    ImpossibleLockError,
    Kind,
    Step,
    Why,
    gap_of,
    no_pairs,
    quiet,
)

CANDIDATES = 10
"""Best pairs of each person from which the prices are first made."""
_PRICED = 8
_PRICINGS = 20
_NEAREST = (6, 20)
_ALL_PAIRS = 300
_AT_MOST = 40
_ROWS_PER_STEP = 200


class Graph(NamedTuple):
    """Pairs as a symmetric CSR: each stands in both rows, `mirror` is where it stands again."""

    indptr: Ints
    indices: Places
    weights: Ints
    mirror: Ints


class Assignment(NamedTuple):
    """Everybody assigned to somebody, or nobody (-1): profits of rows, prices of columns."""

    profit: Ints
    price: Ints
    column: Ints
    row: Ints


class Search(NamedTuple):
    """What searches for shortest paths write on: distances, ways back, and a heap with its size."""

    distance: Ints
    by: Ints
    reached: Ints
    heap: Ints
    heap_at: Ints
    sizes: Ints


@dataclass(frozen=True, slots=True)
class Peers:
    """Pairs in order, locks left out of `total`; no choice of pairs exceeds `bound`.

    `gap` is their relative distance. `why` tells of each person why they are alone.
    """

    pairs: Ints
    total: int
    bound: int
    kind: Kind
    gap: float
    why: Ints


@dataclass(frozen=True, slots=True)
class Prices:
    """Twice the bound that they prove, and twice what each pair falls short of its prices."""

    bound: int
    slack: Ints


# Weights that say what is best.


def weights_for_most_pairs(scores: Ints, allowed: Mask) -> Ints:
    """Return weights by which one pair more is worth any total; forbidden pairs are negative."""
    best = int(scores.max(initial=0))
    return np.where(allowed, scores + (len(scores) // 2 * best + 1), np.int64(-1))


def weights_for_best_total(scores: Ints, allowed: Mask) -> Ints:
    """Return weights by which the total counts, and of equal ones the number of pairs."""
    return np.where(allowed, scores * (len(scores) // 2 + 1) + 1, np.int64(-1))


# Deciding.


def pair(
    weights: Ints, *, is_open: Mask | None = None, locks: Ints | None = None, step: Step = quiet
) -> Peers:
    """Return the pairs of the highest total weight of a symmetric matrix.

    A weight of zero or less marks a pair that must not be, as the diagonal is. Whoever is not
    open stays alone. `locks` are pairs, a row each, that are decided already; one whose pair
    must not be, or of somebody taken, raises `ImpossibleLockError`.
    """
    fixed = no_pairs() if locks is None else locks
    places = np.ones(len(weights), dtype=bool) if is_open is None else is_open
    left = open_after(places, fixed, weights[fixed[:, 0], fixed[:, 1]] > 0)
    return _paired(_graph_of(weights, left), places, fixed, step)


def pair_edges(
    edges: Ints,
    weights: Ints,
    is_open: Mask,
    *,
    locks: Ints | None = None,
    step: Step = quiet,
) -> Peers:
    """Return the same where only some pairs can be: `edges` are those, each once, a row each.

    Locks need not be among them.
    """
    fixed = no_pairs() if locks is None else locks
    left = open_after(is_open, fixed, np.ones(len(fixed), dtype=bool))
    kept = (weights > 0) & left[edges[:, 0]] & left[edges[:, 1]]
    return _paired(_graph_of_edges(edges[kept], weights[kept], len(left)), is_open, fixed, step)


def warm() -> None:
    """Compile everything, or load what was compiled before."""
    weights = np.ones((3, 3), dtype=np.int64) - 2 * np.eye(3, dtype=np.int64)
    pair(weights)
    pair_edges(np.array([[0, 1]]), np.ones(1, dtype=np.int64), np.ones(2, dtype=bool))
    # So small a pool needs no price raised.
    graph = _graph_of(weights, np.ones(3, dtype=bool))
    _missing(graph, np.zeros(len(graph.indices), dtype=np.int64))


def open_after(places: Mask, locks: Ints, allowed: Mask) -> Mask:
    """Return who is still open after the locks, each allowed or not; or name one that cannot be."""
    left = places.copy()
    for row, (one, other) in enumerate(locks.tolist()):
        if not allowed[row] or one == other:
            raise ImpossibleLockError("not_blocked", row)
        if not (left[one] and left[other]):
            raise ImpossibleLockError("capacity", row)
        left[[one, other]] = False
    return left


def _graph_of_edges(edges: Ints, weights: Ints, count: int) -> Graph:
    rows = np.concatenate((edges[:, 0], edges[:, 1]))
    columns = np.concatenate((edges[:, 1], edges[:, 0]))
    order = np.lexsort((columns, rows))
    sizes = np.bincount(rows, minlength=count)
    indptr = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    indices = columns[order].astype(np.int32)
    both = np.concatenate((weights, weights))[order]
    return Graph(indptr, indices, both, _mirror(indptr, indices))


def _paired(graph: Graph, places: Mask, locks: Ints, step: Step) -> Peers:
    parts = _components(graph)
    prices = _prices(graph, parts, step)
    pairs, is_proven = _best(graph, prices, step)
    total = _total(graph, pairs)
    bound = total if is_proven else max(total, prices.bound // 2)
    everyone = np.concatenate((locks.reshape(-1, 2), pairs))
    everyone = everyone[np.argsort(everyone[:, 0], kind="stable")]
    return Peers(
        pairs=everyone,
        total=total,
        bound=bound,
        kind=Kind.OPTIMAL if bound == total else Kind.BOUND,
        gap=gap_of(total, bound),
        why=_why(graph, parts, places, everyone),
    )


def _best(graph: Graph, prices: Prices, step: Step) -> tuple[Ints, bool]:
    """Return the best pairs that were found, and whether no others are better."""
    people = len(graph.indptr) - 1
    looked = np.zeros(len(graph.indices), dtype=bool)
    pairs = no_pairs()
    for width in _NEAREST:
        looked |= _nearest(graph, prices.slack, width)
        pairs = _blossom(graph, looked, step)
        matter = looked | (prices.slack < prices.bound - 2 * _total(graph, pairs))
        if np.array_equal(matter, looked):
            return pairs, True
        if matter.sum() <= _AT_MOST * people or people <= _ALL_PAIRS:
            return _blossom(graph, matter, step), True
    return pairs, False


def _blossom(graph: Graph, kept: Mask, step: Step) -> Ints:
    """Return the best pairs among those kept, one connected component at a time."""
    near = _part(graph, kept)
    part = _components(near)
    one = np.repeat(np.arange(len(part)), np.diff(near.indptr))
    half = np.flatnonzero(one < near.indices)
    one, other, weights = one[half], near.indices[half].astype(np.int64), near.weights[half]
    order = np.argsort(part[one], kind="stable")
    found = [no_pairs()]
    done = 0
    for lot in np.split(order, np.flatnonzero(np.diff(part[one][order])) + 1):
        found.append(_matched(one[lot], other[lot], weights[lot]))
        done += len(lot)
        step(done, len(order))
    pairs = np.sort(np.concatenate(found), axis=1)
    return pairs[np.argsort(pairs[:, 0])]


def _matched(one: Ints, other: Ints, weights: Ints) -> Ints:
    # Loaded only for problems that need it.
    import rustworkx  # noqa: PLC0415

    names, ends = np.unique(np.concatenate((one, other)), return_inverse=True)
    ends = ends.reshape(2, -1)
    graph = rustworkx.PyGraph(multigraph=False)
    graph.add_nodes_from(range(len(names)))
    graph.add_edges_from(list(zip(*ends.tolist(), weights.tolist(), strict=True)))
    found = rustworkx.max_weight_matching(graph, weight_fn=int)
    return names[np.array(sorted(found), dtype=np.int64).reshape(-1, 2)]


def _total(graph: Graph, pairs: Ints) -> int:
    return int(_weights_of(graph, pairs).sum())


def _why(graph: Graph, parts: Ints, places: Mask, pairs: Ints) -> Ints:
    why = np.full(len(places), Why.OTHERS_CAME_FIRST, dtype=np.int64)
    alone = np.ones(len(places), dtype=bool)
    alone[pairs.ravel()] = False
    # Of a component that pairs up but for one, that one is no worse than the others.
    why[(np.bincount(parts[alone], minlength=len(places)) == 1)[parts]] = Why.ODD_ONE_OUT
    why[np.diff(graph.indptr) == 0] = Why.NOBODY_ALLOWED
    why[~places] = Why.NO_CAPACITY
    why[~alone] = Why.PLACED
    return why


# Prices.


def _prices(graph: Graph, parts: Ints, step: Step) -> Prices:
    """Return prices that no pair exceeds, as low as pairs that were looked at let them be.

    Some are asked by everybody, so looked at first are the best pairs of each person, and those
    that are better than is usual with the other.
    """
    usual = _usual(graph, CANDIDATES)
    looked = _nearest(graph, -graph.weights, CANDIDATES // 2)
    looked |= _nearest(graph, usual[graph.indices] - graph.weights, CANDIDATES // 2)
    assigned = _start(usual)
    sizes = np.bincount(parts, minlength=1)
    for done in range(_PRICINGS):
        part = _part(graph, looked)
        _assign_all(part, assigned, step)
        twice, spare = _priced(part, assigned, parts, sizes)
        slack = _slack(graph, twice, spare[parts])
        step(done, _PRICINGS)
        if not (slack < 0).any():
            break
        looked |= _nearest(graph, slack, _PRICED) & (slack < 0)
    else:
        twice = twice + _missing(graph, slack)
        slack = _slack(graph, twice, spare[parts])
    return Prices(int(twice.sum() + 2 * (spare * (sizes // 2)).sum()), slack)


def _assign_all(graph: Graph, assigned: Assignment, step: Step) -> None:
    """Assign whoever gains by it, then lower the prices of whoever nobody takes."""
    _reopen(graph, assigned)
    search = _search(graph)
    people = len(assigned.price)
    # The graph is symmetric, so columns look for rows in it as rows do for columns.
    others = Assignment(assigned.price, assigned.profit, assigned.row, assigned.column)
    for side in (assigned, others):
        for first in range(0, people, _ROWS_PER_STEP):
            _assign(graph, side, search, first, min(first + _ROWS_PER_STEP, people))
            step(first, people)


def _priced(graph: Graph, assigned: Assignment, parts: Ints, sizes: Ints) -> tuple[Ints, Ints]:
    """Return twice the price of each person, and what a component pays for each of its pairs.

    The latter is above zero where a component is odd, and everybody were else assigned.
    """
    taken = np.bincount(parts[assigned.column >= 0], minlength=len(sizes))
    spare = np.zeros(len(sizes), dtype=np.int64)
    search = _search(graph)
    lowered = Assignment(*(field.copy() for field in assigned))
    for part in np.flatnonzero((sizes % 2 == 1) & (taken == sizes) & (sizes > 1)):
        spare[part] = _release(graph, lowered, search, np.flatnonzero(parts == part))
    return lowered.profit + lowered.price, spare


# Compiled.


@compiled
def _graph_of(weights: Ints, left: Mask) -> Graph:
    """Return the graph of a matrix, without those who are not left."""
    people = len(weights)
    indptr = np.zeros(people + 1, dtype=np.int64)
    for one in range(people):
        indptr[one + 1] = indptr[one]
        if left[one]:
            for other in range(people):
                indptr[one + 1] += weights[one, other] > 0 and left[other] and one != other
    indices = np.empty(indptr[-1], dtype=np.int32)
    kept = np.empty(indptr[-1], dtype=np.int64)
    for one in range(people):
        at = indptr[one]
        if left[one]:
            for other in range(people):
                if weights[one, other] > 0 and left[other] and one != other:
                    indices[at] = other
                    kept[at] = weights[one, other]
                    at += 1
    return Graph(indptr, indices, kept, _mirror(indptr, indices))


@compiled
def _mirror(indptr: Ints, indices: Places) -> Ints:
    """Return where each pair stands again; rows are in order, so each is filled from the front."""
    following = indptr[:-1].copy()
    mirror = np.empty(len(indices), dtype=np.int64)
    for one in range(len(indptr) - 1):
        for at in range(indptr[one], indptr[one + 1]):
            mirror[at] = following[indices[at]]
            following[indices[at]] += 1
    return mirror


@compiled
def _nearest(graph: Graph, keys: Ints, count: int) -> Mask:
    """Return the pairs that are among the least of either person, in both directions."""
    kept = np.zeros(len(keys), dtype=np.bool_)
    best = np.empty(count, dtype=np.int64)
    for one in range(len(graph.indptr) - 1):
        size = _least(graph, keys, one, best)
        for at in best[:size]:
            kept[at] = True
            kept[graph.mirror[at]] = True
    return kept


@inner
def _least(graph: Graph, keys: Ints, one: int, best: Ints) -> int:
    """Write down one person's least pairs, in order; return how many they are."""
    size, count = 0, len(best)
    for at in range(graph.indptr[one], graph.indptr[one + 1]):
        if size == count and keys[at] >= keys[best[size - 1]]:
            continue
        place = size if size < count else count - 1
        size = min(size + 1, count)
        while place and keys[best[place - 1]] > keys[at]:
            best[place] = best[place - 1]
            place -= 1
        best[place] = at
    return size


@compiled
def _components(graph: Graph) -> Ints:
    """Return the number of each person's connected component."""
    part = np.full(len(graph.indptr) - 1, -1, dtype=np.int64)
    waiting = np.empty(len(part), dtype=np.int64)
    count = 0
    for start in range(len(part)):
        if part[start] >= 0:
            continue
        part[start], waiting[0], size = count, start, 1
        while size:
            size -= 1
            one = waiting[size]
            for other in graph.indices[graph.indptr[one] : graph.indptr[one + 1]]:
                if part[other] < 0:
                    part[other], waiting[size] = count, other
                    size += 1
        count += 1
    return part


@compiled
def _part(graph: Graph, kept: Mask) -> Graph:
    """Return the graph of the pairs that are kept."""
    indptr = np.zeros(len(graph.indptr), dtype=np.int64)
    size = 0
    for at in range(len(kept)):
        size += kept[at]
    indices = np.empty(size, dtype=np.int32)
    weights = np.empty(size, dtype=np.int64)
    size = 0
    for one in range(len(graph.indptr) - 1):
        for at in range(graph.indptr[one], graph.indptr[one + 1]):
            if kept[at]:
                indices[size] = graph.indices[at]
                weights[size] = graph.weights[at]
                size += 1
        indptr[one + 1] = size
    return Graph(indptr, indices, weights, _mirror(indptr, indices))


@compiled
def _weights_of(graph: Graph, pairs: Ints) -> Ints:
    found = np.zeros(len(pairs), dtype=np.int64)
    for row in range(len(pairs)):
        for at in range(graph.indptr[pairs[row, 0]], graph.indptr[pairs[row, 0] + 1]):
            if graph.indices[at] == pairs[row, 1]:
                found[row] = graph.weights[at]
    return found


@compiled
def _slack(graph: Graph, twice: Ints, spare: Ints) -> Ints:
    """Return, doubled, what each pair falls short of its prices; below zero, they are too low."""
    slack = np.empty(len(graph.indices), dtype=np.int64)
    for one in range(len(graph.indptr) - 1):
        paid = twice[one] + 2 * spare[one]
        for at in range(graph.indptr[one], graph.indptr[one + 1]):
            slack[at] = paid + twice[graph.indices[at]] - 2 * graph.weights[at]
    return slack


@compiled
def _missing(graph: Graph, slack: Ints) -> Ints:
    """Return by how much each must be dearer so that no pair exceeds its prices."""
    missing = np.zeros(len(graph.indptr) - 1, dtype=np.int64)
    for one in range(len(missing)):
        for at in range(graph.indptr[one], graph.indptr[one + 1]):
            missing[one] = max(missing[one], -slack[at])
    return missing


@compiled
def _usual(graph: Graph, count: int) -> Ints:
    """Return the mean weight of each person's best pairs."""
    usual = np.zeros(len(graph.indptr) - 1, dtype=np.int64)
    best = np.empty(count, dtype=np.int64)
    keys = -graph.weights
    for one in range(len(usual)):
        size = _least(graph, keys, one, best)
        for at in best[:size]:
            usual[one] += graph.weights[at]
        usual[one] //= max(1, size)
    return usual


def _start(usual: Ints) -> Assignment:
    """Return nobody assigned, at a guess of the prices."""
    alone = np.full(len(usual), -1, dtype=np.int64)
    price = usual - usual.min(initial=np.iinfo(np.int64).max)
    return Assignment(np.zeros(len(usual), dtype=np.int64), price, alone, alone.copy())


@compiled
def _reopen(graph: Graph, assigned: Assignment) -> None:
    """Raise profits to what the prices allow; whoever could do better chooses anew."""
    for one in range(len(assigned.profit)):
        best = 0
        for at in range(graph.indptr[one], graph.indptr[one + 1]):
            best = max(best, graph.weights[at] - assigned.price[graph.indices[at]])
        if best > assigned.profit[one]:
            assigned.profit[one] = best
            if assigned.column[one] >= 0:
                assigned.row[assigned.column[one]] = -1
                assigned.column[one] = -1


@compiled
def _search(graph: Graph) -> Search:
    people = len(graph.indptr) - 1
    return Search(
        np.full(people, FAR),
        np.empty(people, dtype=np.int64),
        np.empty(people, dtype=np.int64),
        np.empty(people + len(graph.indices), dtype=np.int64),
        np.empty(people + len(graph.indices), dtype=np.int64),
        np.zeros(2, dtype=np.int64),
    )


@inner
def _reach(search: Search, column: int, distance: int, by: int) -> None:
    """Note a shorter way to a column."""
    if distance >= search.distance[column]:
        return
    if search.distance[column] == FAR:
        search.reached[search.sizes[0]] = column
        search.sizes[0] += 1
    search.distance[column] = distance
    search.by[column] = by
    heap, heap_at = search.heap, search.heap_at
    at = search.sizes[1]
    search.sizes[1] += 1
    while at and heap[(at - 1) >> 1] > distance:
        heap[at], heap_at[at] = heap[(at - 1) >> 1], heap_at[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at], heap_at[at] = distance, column


@inner
def _nearest_column(search: Search) -> int:
    """Take the nearest column out of the heap, or -1; longer ways to the same are left behind."""
    heap, heap_at = search.heap, search.heap_at
    while search.sizes[1]:
        distance, column = heap[0], int(heap_at[0])
        search.sizes[1] -= 1
        size = search.sizes[1]
        last, last_at, at = heap[size], heap_at[size], 0
        while 2 * at + 1 < size:
            below = 2 * at + 1
            if below + 1 < size and heap[below + 1] < heap[below]:
                below += 1
            if heap[below] >= last:
                break
            heap[at], heap_at[at] = heap[below], heap_at[below]
            at = below
        heap[at], heap_at[at] = last, last_at
        if distance == search.distance[column]:
            return column
    return -1


@inner
def _forget(search: Search) -> None:
    for at in range(search.sizes[0]):
        search.distance[search.reached[at]] = FAR
    search.sizes[:] = 0


@compiled
def _assign(graph: Graph, assigned: Assignment, search: Search, first: int, end: int) -> None:
    """Assign some rows, each along the shortest augmenting path."""
    for one in range(first, end):
        if assigned.column[one] < 0 and assigned.profit[one]:
            _augment(graph, assigned, search, one)


@inner
def _augment(graph: Graph, assigned: Assignment, search: Search, start: int) -> None:
    """Give a row a free column, or let whoever loses least by it be alone."""
    profit, price = assigned.profit, assigned.price
    row, base, last = start, 0, -1
    alone, length = start, profit[start]
    while True:
        for at in range(graph.indptr[row], graph.indptr[row + 1]):
            column = graph.indices[at]
            distance = base + profit[row] + price[column] - graph.weights[at]
            if distance < length:
                _reach(search, column, distance, row)
        last = _nearest_column(search)
        if last < 0 or search.distance[last] >= length:
            last = -1
            break
        base, row = search.distance[last], assigned.row[last]
        if row < 0:
            length = base
            break
        if base + profit[row] < length:
            alone, length = row, base + profit[row]
    _settle(assigned, search, start, length)
    if last < 0:
        last = assigned.column[alone]
        assigned.column[alone] = -1
    while last >= 0:
        row = search.by[last]
        following = assigned.column[row]
        assigned.column[row] = last
        assigned.row[last] = row
        last = -1 if row == start else following
    _forget(search)


@inner
def _settle(assigned: Assignment, search: Search, start: int, length: int) -> None:
    """Make the path tight: who is nearer than its end pays the difference."""
    assigned.profit[start] -= length
    for at in range(search.sizes[0]):
        column = search.reached[at]
        if search.distance[column] < length:
            assigned.price[column] += length - search.distance[column]
            assigned.profit[assigned.row[column]] -= length - search.distance[column]


@compiled
def _release(graph: Graph, assigned: Assignment, search: Search, people: Ints) -> int:
    """Take one place out of an assignment of everybody; return what that costs at least.

    The path starts with a row that goes, and ends with a column that stays free; each row between
    takes the column that was left before it. All prices fall by as much as the path allows.
    """
    profit, price = assigned.profit, assigned.price
    for one in people:
        _reach(search, assigned.column[one], profit[one], one)
    length = int(FAR)
    while True:
        column = _nearest_column(search)
        if column < 0 or search.distance[column] >= length:
            break
        base = search.distance[column]
        length = min(length, int(base + price[column]))
        for at in range(graph.indptr[column], graph.indptr[column + 1]):
            row = graph.indices[at]
            distance = base + profit[row] + price[column] - graph.weights[at]
            if row != assigned.row[column] and distance < length:
                _reach(search, assigned.column[row], distance, row)
    for one in people:
        column = assigned.column[one]
        near = min(search.distance[column], length)
        profit[one] -= near
        price[column] += near - length
    _forget(search)
    return length
