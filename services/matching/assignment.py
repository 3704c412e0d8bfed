"""Assignment as arithmetic: exact algorithms over integer weights, with their dual prices.

A weight below zero marks a pair that must not be. Both sides have capacities, a pair is taken at
most once. Everything is deterministic: equal weights and order give equal choices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

type Weights = npt.NDArray[np.int64]
type Capacities = npt.NDArray[np.int64]
type Chosen = npt.NDArray[np.bool_]

FORBIDDEN = np.int64(-1)
_FAR = np.int64(-(2**61))
EXACT_IN_FLOAT = 2**53
PEERS_EXACT = 300
PEER_CANDIDATES = 20


class NotOptimalError(ArithmeticError):
    """The dual prices do not prove what a library returned; it must not be used."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What one more place of each person would add, and the bound that all of them prove."""

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    dual: int


def assign(weights: Weights, first: Capacities, second: Capacities) -> Chosen:
    """Return the pairs of the highest total weight; all allowed weights are positive."""
    chosen = np.zeros(weights.shape, dtype=bool)
    if not weights.size or weights.max() <= 0:
        return chosen
    if second.max(initial=0) <= 1:
        return _by_seats(weights, first, second)
    if first.max(initial=0) <= 1:
        return _by_seats(np.ascontiguousarray(weights.T), second, first).T
    return _by_flow(weights, first, second)


def _by_seats(weights: Weights, first: Capacities, second: Capacities) -> Chosen:
    """Return the best choice where only the first side has room for several."""
    bounded = np.minimum(first, len(second))
    owners = np.repeat(np.arange(len(first)), bounded)
    takers = np.flatnonzero(second > 0)
    chosen = np.zeros(weights.shape, dtype=bool)
    if not len(owners) or not len(takers):
        return chosen
    if weights.max() >= EXACT_IN_FLOAT // 4:
        raise NotOptimalError("the weights are too large for exact arithmetic")
    # A forbidden pair counts as staying alone, so it is never worth more than an allowed one.
    gains = np.maximum(weights[np.ix_(owners, takers)], 0).astype(np.float64)
    seats, people = linear_sum_assignment(gains, maximize=True)
    kept = gains[seats, people] > 0
    chosen[owners[seats[kept]], takers[people[kept]]] = True
    return chosen


def _by_flow(weights: Weights, first: Capacities, second: Capacities) -> Chosen:
    """Return the best choice where both sides have room for several."""
    # Loaded only for problems that need it: most do not.
    from ortools.graph.python.min_cost_flow import SimpleMinCostFlow  # noqa: PLC0415

    rows, columns = np.nonzero(weights > 0)
    count_first, count_second = weights.shape
    source, sink = count_first + count_second, count_first + count_second + 1
    flow = SimpleMinCostFlow()
    edges = flow.add_arcs_with_capacity_and_unit_cost(
        rows, count_first + columns, np.ones(len(rows), dtype=np.int64), -weights[rows, columns]
    )
    for nodes, ends, sizes in (
        (np.full(count_first, source), np.arange(count_first), first),
        (count_first + np.arange(count_second), np.full(count_second, sink), second),
        (np.array([source]), np.array([sink]), np.array([first.sum()])),
    ):
        flow.add_arcs_with_capacity_and_unit_cost(nodes, ends, sizes, np.zeros_like(sizes))
    flow.set_nodes_supplies(np.array([source, sink]), np.array([first.sum(), -first.sum()]))
    if flow.solve() != flow.OPTIMAL:
        raise NotOptimalError("the flow has no solution")
    chosen = np.zeros(weights.shape, dtype=bool)
    taken = flow.flows(edges) > 0
    chosen[rows[taken], columns[taken]] = True
    return chosen


def prices(weights: Weights, chosen: Chosen, first: Capacities, second: Capacities) -> Prices:
    """Return the least dual prices that prove a choice optimal, or raise.

    Prices of the first side rise from zero until nobody of the second side would rather have
    somebody else; where a choice is not optimal they would rise for ever.
    """
    allowed = np.where(weights > 0, weights, _FAR)
    free = chosen.sum(axis=0) < second
    price = np.zeros(len(first), dtype=np.int64)
    worth = np.where(free, 0, _FAR)
    changed = np.arange(len(second))
    for _ in range(len(first) + len(second) + 2):
        worth, changed = _raised_worth(
            weights=weights, chosen=chosen, price=price, worth=worth, free=free, changed=changed
        )
        if not len(changed):
            break
        offers = np.where(chosen[:, changed], _FAR, allowed[:, changed] + worth[changed])
        raised = np.maximum(price, offers.max(axis=1, initial=0))
        moved = raised > price
        price = raised
        changed = np.flatnonzero(chosen[moved].any(axis=0)) if moved.any() else changed[:0]
    else:
        raise NotOptimalError("the choice could be improved")
    # For whoever has no place at all: what a first one would bring.
    first_place = np.maximum(0, (allowed - price[:, None]).max(axis=0, initial=0))
    worth_second = np.where(second > 0, np.maximum(0, -worth), first_place)
    return _checked(
        weights=weights,
        chosen=chosen,
        first=first,
        second=second,
        price_first=price,
        price_second=worth_second,
    )


def _raised_worth(
    *,
    weights: Weights,
    chosen: Chosen,
    price: npt.NDArray[np.int64],
    worth: npt.NDArray[np.int64],
    free: npt.NDArray[np.bool_],
    changed: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return what each of the second side gives up for a place, and for whom it rose."""
    held = np.where(chosen[:, changed], price[:, None] - weights[:, changed], _FAR)
    found = held.max(axis=0, initial=_FAR)
    found = np.where(free[changed], np.maximum(0, found), found)
    rising = (found > worth[changed]) | (worth[changed] == 0) & free[changed]
    updated = worth.copy()
    updated[changed] = np.maximum(worth[changed], found)
    return updated, changed[rising]


def _checked(
    *,
    weights: Weights,
    chosen: Chosen,
    first: Capacities,
    second: Capacities,
    price_first: npt.NDArray[np.int64],
    price_second: npt.NDArray[np.int64],
) -> Prices:
    """Return the prices after proving that primal and dual are equal."""
    primal = int(weights[chosen].sum())
    rows, columns = np.nonzero(chosen)
    surplus = weights[rows, columns] - price_first[rows] - price_second[columns]
    slack = np.where(weights > 0, price_first[:, None] + price_second[None, :] - weights, 0)
    slack[chosen] = 0
    dual = int(
        (price_first * first).sum() + (price_second * second).sum() + np.maximum(0, surplus).sum()
    )
    if dual != primal or slack.min(initial=0) < 0 or surplus.min(initial=0) < 0:
        raise NotOptimalError("primal and dual differ")
    return Prices(price_first, price_second, dual)


def most_pairs(allowed: Chosen, first: Capacities, second: Capacities) -> int:
    """Return how many pairs are possible at once."""
    if first.max(initial=0) > 1 and second.max(initial=0) > 1:
        weights = np.where(allowed, np.int64(1), FORBIDDEN)
        return int(assign(weights, first, second).sum())
    left = np.repeat(np.arange(len(first)), np.minimum(first, len(second)))
    right = np.repeat(np.arange(len(second)), np.minimum(second, len(first)))
    if not len(left) or not len(right):
        return 0
    graph = csr_matrix(allowed[np.ix_(left, right)])
    return int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())


def best_floor(scores: Weights, allowed: Chosen, first: Capacities, second: Capacities) -> int:
    """Return the highest score that every pair can reach with as many pairs as possible."""
    wanted = most_pairs(allowed, first, second)
    levels = np.unique(scores[allowed]) if wanted else np.zeros(1, dtype=np.int64)
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high + 1) // 2
        reached = most_pairs(allowed & (scores >= levels[middle]), first, second)
        low, high = (middle, high) if reached == wanted else (low, middle - 1)
    return int(levels[low])


def defer(
    allowed: Chosen,
    wish_first: Weights,
    wish_second: Weights,
    first: Capacities,
    second: Capacities,
) -> Chosen:
    """Return the stable choice that is best for the second side, which proposes (Gale, Shapley).

    Wishes are larger for whom one would rather have; the order of rows breaks ties.
    """
    orders = [_order(wish_second[:, place], allowed[:, place]) for place in range(len(second))]
    following = [0] * len(second)
    held: list[list[tuple[int, int]]] = [[] for _ in range(len(first))]
    open_places = [place for place in range(len(second)) for _ in range(second[place])][::-1]
    while open_places:
        place = open_places.pop()
        if following[place] == len(orders[place]):
            continue
        asked = orders[place][following[place]]
        following[place] += 1
        held[asked].append((-int(wish_first[asked, place]), place))
        if len(held[asked]) > first[asked]:
            held[asked].sort()
            open_places.append(held[asked].pop()[1])
    chosen = np.zeros(allowed.shape, dtype=bool)
    for row, ones in enumerate(held):
        chosen[row, [place for _, place in ones]] = True
    return chosen


def _order(wish: npt.NDArray[np.int64], allowed: npt.NDArray[np.bool_]) -> list[int]:
    order = np.argsort(-wish, kind="stable")
    return [int(row) for row in order if allowed[row]]


def blocking(
    *,
    allowed: Chosen,
    chosen: Chosen,
    wish_first: Weights,
    wish_second: Weights,
    first: Capacities,
    second: Capacities,
) -> Chosen:
    """Return the pairs that would both rather have each other than what they have."""
    worst_first = _worst(chosen, wish_first, first, axis=1)
    worst_second = _worst(chosen, wish_second, second, axis=0)
    prefers = (wish_first > worst_first[:, None]) & (wish_second > worst_second[None, :])
    result: Chosen = allowed & ~chosen & prefers
    return result


def _worst(
    chosen: Chosen, wish: Weights, capacities: Capacities, *, axis: int
) -> npt.NDArray[np.int64]:
    """Return what each would have to be offered more than: the worst they hold, or nothing."""
    held = np.where(chosen, wish, np.iinfo(np.int64).max).min(
        axis=axis, initial=np.iinfo(np.int64).max
    )
    has_room = chosen.sum(axis=axis) < capacities
    return np.where(has_room & (capacities > 0), np.int64(-1), held)


# Peers: one side only.


def pair_peers(weights: Weights) -> tuple[Chosen, int]:
    """Return the best pairs among equals, and a bound of their total weight."""
    chosen = _pair(_candidates(weights), weights)
    total = int(weights[np.triu(chosen)].sum())
    if len(weights) <= PEERS_EXACT:
        return chosen, total
    return chosen, int(np.maximum(weights, 0).max(axis=1, initial=0).sum() // 2)


def _pair(candidates: Chosen, weights: Weights) -> Chosen:
    # Loaded only for problems that need it.
    import rustworkx  # noqa: PLC0415

    rows, columns = np.nonzero(np.triu(candidates, 1))
    graph = rustworkx.PyGraph(multigraph=False)
    graph.add_nodes_from(range(len(weights)))
    edges = zip(rows.tolist(), columns.tolist(), weights[rows, columns].tolist(), strict=True)
    graph.add_edges_from(list(edges))
    found = rustworkx.max_weight_matching(graph, weight_fn=int, verify_optimum=True)
    chosen = np.zeros(weights.shape, dtype=bool)
    for one, other in found:
        chosen[one, other] = chosen[other, one] = True
    return chosen


def best_peer_floor(scores: Weights, allowed: Chosen) -> int:
    """Return the highest score that every pair of peers can reach with as many as possible."""
    ones = np.ones_like(scores)
    wanted = _pair(allowed, ones).sum()
    levels = np.unique(scores[allowed]) if wanted else np.zeros(1, dtype=np.int64)
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high + 1) // 2
        reached = _pair(allowed & (scores >= levels[middle]), ones).sum()
        low, high = (middle, high) if reached == wanted else (low, middle - 1)
    return int(levels[low])


def _candidates(weights: Weights) -> Chosen:
    """Return the pairs that are looked at: all of a small pool, everybody's best of a large one."""
    allowed: Chosen = weights > 0
    if len(weights) <= PEERS_EXACT:
        return allowed
    best = np.argsort(-weights, axis=1, kind="stable")[:, :PEER_CANDIDATES]
    near = np.zeros_like(allowed)
    np.put_along_axis(near, best, values=True, axis=1)
    return allowed & (near | near.T)


def greedy_peers(allowed: Chosen, wish: Weights) -> Chosen:
    """Return pairs made from the most wanted down: stable where wishes agree."""
    rows, columns = np.nonzero(np.triu(allowed, 1))
    mutual = wish[rows, columns] + wish[columns, rows]
    chosen = np.zeros(allowed.shape, dtype=bool)
    taken: set[int] = set()
    for place in np.argsort(-mutual, kind="stable").tolist():
        one, other = int(rows[place]), int(columns[place])
        if one not in taken and other not in taken:
            taken |= {one, other}
            chosen[one, other] = chosen[other, one] = True
    return chosen


def gini(scores: Sequence[float]) -> float | None:
    """Return how unevenly scores fall, from 0 (all alike) towards 1."""
    total = sum(scores)
    if not scores or not total:
        return None if not scores else 0.0
    count = len(scores)
    ranked = sum((place + 1) * score for place, score in enumerate(sorted(scores)))
    return 2 * ranked / (count * total) - (count + 1) / count
