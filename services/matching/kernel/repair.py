"""Exact repair: whoever has room and a price above zero is placed along a shortest path.

The successive shortest path method of minimum-cost flow with prices as potentials (Ahuja,
Magnanti, Orlin: Network Flows, 1993, section 9.7; for one-to-one it is the Hungarian method),
with Dijkstra's search on reduced costs and a binary heap. Capacities are native: a person is one
node whatever room they have.

Before and after each repair holds, with u and p the prices of both sides and w the weight:
a taken edge has w >= u + p, any other w <= u + p, and nobody holds more than they have room for.
What is repaired is the last condition of an optimum: whoever has room left has the price 0.
Everything is symmetric, so columns are repaired by the same code with the sides exchanged.

Equal distances are resolved by the order of slots and heap, which depend on nothing but the input.
"""

from typing import NamedTuple

import numpy as np

from services.matching.kernel.compiling import Flags, Ints, Places, compiled, inlined, inner
from services.matching.kernel.graph import Adjacency
from services.matching.kernel.terms import FAR

HEAP, STACK, TOUCHED = 0, 1, 2
NOBODY = -1


class Book(NamedTuple):
    """What one side has: `price`, `capacity` and `used` int64[n], and lists of its taken edges.

    `first` int64[n] is somebody's first taken edge, `following` int32[e] the next one; a list
    ascends, so that it says nothing about the past. `owner` int32[e] is whose an edge is.
    """

    price: Ints
    capacity: Ints
    used: Ints
    first: Ints
    following: Places
    owner: Places


class Edges(NamedTuple):
    """What is taken: `taken` uint8[e], `weight` int64[e], the `total` int64[1] of the taken ones.

    `log` int64[k] notes the edges that were taken or dropped as long as there is room in it;
    `logged` int64[1] is how many it holds.
    """

    taken: Flags
    weight: Ints
    total: Ints
    log: Ints
    logged: Ints


class Scratch(NamedTuple):
    """What a search needs, clean between searches; nodes are own people, then the others."""

    distance: Ints
    parent: Ints
    key: Ints
    node: Ints
    place: Ints
    stack: Ints
    touched: Ints
    sizes: Ints


def new_book(capacity: Ints, price: Ints, owner: Places) -> Book:
    """Return the book of a side that holds nothing."""
    people = len(capacity)
    used = np.zeros(people, dtype=np.int64)
    first = np.full(people, NOBODY, dtype=np.int64)
    return Book(price, capacity, used, first, np.full_like(owner, NOBODY), owner)


def new_edges(taken: Flags, weight: Ints) -> Edges:
    """Return edges whose taking is not yet in any book; nothing is logged."""
    nothing = np.zeros(1, dtype=np.int64)
    return Edges(taken, weight, nothing, np.empty(0, dtype=np.int64), nothing.copy())


def new_scratch(nodes: int) -> Scratch:
    """Return room for searches among so many people."""

    def filled(value: int) -> Ints:
        return np.full(nodes, value, dtype=np.int64)

    return Scratch(
        distance=filled(FAR),
        parent=filled(NOBODY),
        key=filled(0),
        node=filled(NOBODY),
        place=filled(NOBODY),
        stack=filled(NOBODY),
        touched=filled(NOBODY),
        sizes=np.zeros(3, dtype=np.int64),
    )


@compiled
def repair(
    queue: Ints,
    position: int,
    budget: int,
    own: Adjacency,
    mine: Book,
    theirs: Book,
    edges: Edges,
    scratch: Scratch,
) -> int:
    """Place whoever is in the queue from a position on; return where the budget of slots ended."""
    work = 0
    while position < len(queue) and work < budget:
        person = queue[position]
        if mine.used[person] >= mine.capacity[person] or mine.price[person] <= 0:
            position += 1
            continue
        end, distance, looked = _search(person, own, mine, theirs, edges, scratch)
        _move_prices(distance, mine, theirs, scratch)
        _augment(person, end, mine, theirs, edges, scratch)
        _clean(scratch)
        work += looked
    return position


@inner
def _search(
    source: int, own: Adjacency, mine: Book, theirs: Book, edges: Edges, scratch: Scratch
) -> tuple[int, int, int]:
    """Return the nearest end of a path, its distance and how many slots were looked at.

    A path ends with somebody of the other side who has room, or with somebody of the own side who
    gives up a place for their price; the source may, by staying as they are.
    """
    # Taken out of the tuples once: each time counts a reference, which takes longer than the rest.
    starts, ends, others, numbers, weights = (
        own.starts,
        own.ends,
        own.others,
        own.edges,
        own.weights,
    )
    price, across, owner = mine.price, theirs.price, mine.owner
    used, capacity, first, following = theirs.used, theirs.capacity, theirs.first, theirs.following
    taken, weight = edges.taken, edges.weight
    length, key, stack, sizes = scratch.distance, scratch.key, scratch.stack, scratch.sizes
    people = len(price)
    best, end, now, looked = price[source], source, 0, 0
    length[source], scratch.touched[0], stack[0] = 0, source, source
    sizes[STACK], sizes[TOUCHED] = 1, 1
    while best > now:
        if sizes[STACK] > 0:
            sizes[STACK] -= 1
            node = stack[sizes[STACK]]
        elif sizes[HEAP] > 0 and key[0] < best:
            now = key[0]
            node = scratch.node[0]
            _remove(scratch, 0)
        else:
            break
        if node < people:
            base = now + price[node]
            looked += ends[node] - starts[node]
            for slot in range(starts[node], ends[node]):
                other = people + others[slot]
                distance = base + across[others[slot]] - weights[slot]
                # The cheap questions first: nearly all edges end here.
                if distance >= best or distance >= length[other]:
                    continue
                edge = int(numbers[slot])
                if taken[edge]:
                    continue
                _reach(scratch, other, distance, edge, now)
                if used[others[slot]] < capacity[others[slot]]:
                    best, end = distance, other
                    if best == now:
                        break
        else:
            edge = int(first[node - people])
            base = now - across[node - people]
            while edge != NOBODY:
                looked += 1
                person = int(owner[edge])
                distance = base + weight[edge] - price[person]
                if distance < best and distance < length[person]:
                    _reach(scratch, person, distance, edge, now)
                    if distance + price[person] < best:
                        best, end = distance + price[person], person
                edge = int(following[edge])
    return end, best, looked


@inner
def _reach(scratch: Scratch, node: int, distance: int, edge: int, now: int) -> None:
    """Note a shorter way to a node; one that takes nothing more is followed before the heap."""
    sizes = scratch.sizes
    if scratch.distance[node] == FAR:
        scratch.touched[sizes[TOUCHED]] = node
        sizes[TOUCHED] += 1
    scratch.distance[node] = distance
    scratch.parent[node] = edge
    place = scratch.place[node]
    if distance == now:
        if place != NOBODY:
            _remove(scratch, place)
        scratch.stack[sizes[STACK]] = node
        sizes[STACK] += 1
        return
    if place == NOBODY:
        place = sizes[HEAP]
        sizes[HEAP] += 1
    _rise(scratch.key, scratch.node, scratch.place, place, distance, node)


@inner
def _rise(keys: Ints, nodes: Ints, places: Ints, place: int, key: int, node: int) -> None:
    """Put a node at a place of the heap or above it."""
    while place > 0:
        above = (place - 1) >> 1
        if keys[above] <= key:
            break
        _put(keys, nodes, places, place, keys[above], nodes[above])
        place = above
    _put(keys, nodes, places, place, key, node)


@inner
def _remove(scratch: Scratch, place: int) -> None:
    """Take the node at a place out of the heap."""
    keys, nodes, places, sizes = scratch.key, scratch.node, scratch.place, scratch.sizes
    places[nodes[place]] = NOBODY
    sizes[HEAP] -= 1
    size = sizes[HEAP]
    if place == size:
        return
    key, node = keys[size], nodes[size]
    if place > 0 and key < keys[(place - 1) >> 1]:
        _rise(keys, nodes, places, place, key, node)
        return
    below = 2 * place + 1
    while below < size:
        if below + 1 < size and keys[below + 1] < keys[below]:
            below += 1
        if keys[below] >= key:
            break
        _put(keys, nodes, places, place, keys[below], nodes[below])
        place = below
        below = 2 * place + 1
    _put(keys, nodes, places, place, key, node)


@inlined
def _put(keys: Ints, nodes: Ints, places: Ints, place: int, key: int, node: int) -> None:
    keys[place] = key
    nodes[place] = node
    places[node] = place


@inner
def _move_prices(distance: int, mine: Book, theirs: Book, scratch: Scratch) -> None:
    """Lower own prices and raise the others' by how much nearer than the end they are."""
    price, across = mine.price, theirs.price
    touched, length = scratch.touched, scratch.distance
    people = len(price)
    for at in range(scratch.sizes[TOUCHED]):
        node = touched[at]
        nearer = distance - length[node]
        if nearer > 0:
            if node < people:
                price[node] -= nearer
            else:
                across[node - people] += nearer


@inner
def _augment(
    source: int, end: int, mine: Book, theirs: Book, edges: Edges, scratch: Scratch
) -> None:
    """Take and drop the edges of a path from its end to its source."""
    people = len(mine.price)
    while end != source:
        if end < people:
            edge = scratch.parent[end]
            drop(edge, mine, theirs, edges)
            end = people + theirs.owner[edge]
        else:
            edge = scratch.parent[end]
            take(edge, mine, theirs, edges)
            end = mine.owner[edge]


@inner
def _clean(scratch: Scratch) -> None:
    """Forget a search."""
    nodes, places, touched, length = scratch.node, scratch.place, scratch.touched, scratch.distance
    for at in range(scratch.sizes[HEAP]):
        places[nodes[at]] = NOBODY
    for at in range(scratch.sizes[TOUCHED]):
        length[touched[at]] = FAR
    scratch.sizes[:] = 0


@compiled
def take(edge: int, mine: Book, theirs: Book, edges: Edges) -> None:
    """Enter an edge into the books of both sides."""
    edges.taken[edge] = 1
    edges.total[0] += edges.weight[edge]
    _enter(edge, mine)
    _enter(edge, theirs)
    _note(edge, edges)


@compiled
def take_all(numbers: Ints, mine: Book, theirs: Book, edges: Edges) -> None:
    """Enter many edges into the books of both sides."""
    for edge in numbers:
        take(edge, mine, theirs, edges)


@compiled
def drop(edge: int, mine: Book, theirs: Book, edges: Edges) -> None:
    """Strike an edge from the books of both sides."""
    edges.taken[edge] = 0
    edges.total[0] -= edges.weight[edge]
    _strike(edge, mine)
    _strike(edge, theirs)
    _note(edge, edges)


@inlined
def _note(edge: int, edges: Edges) -> None:
    if edges.logged[0] < len(edges.log):
        edges.log[edges.logged[0]] = edge
        edges.logged[0] += 1


@inner
def _enter(edge: int, book: Book) -> None:
    person = book.owner[edge]
    book.used[person] += 1
    after = book.first[person]
    if after == NOBODY or after > edge:
        book.first[person] = edge
        book.following[edge] = after
        return
    before = after
    after = book.following[before]
    while after != NOBODY and after < edge:
        before = after
        after = book.following[before]
    book.following[before] = edge
    book.following[edge] = after


@inner
def _strike(edge: int, book: Book) -> None:
    person = book.owner[edge]
    book.used[person] -= 1
    before = book.first[person]
    if before == edge:
        book.first[person] = book.following[edge]
        return
    while book.following[before] != edge:
        before = book.following[before]
    book.following[before] = book.following[edge]


@compiled
def settle(low: int, high: int, own: Adjacency, mine: Book, theirs: Book, edges: Edges) -> None:
    """Give each person in a range the least price at which they want no edge they do not hold.

    What was taken and is worth less than that is given up; what stays is entered into the books.
    """
    starts, ends, others, numbers, weights = (
        own.starts,
        own.ends,
        own.others,
        own.edges,
        own.weights,
    )
    taken, across = edges.taken, theirs.price
    for person in range(low, high):
        price = 0
        for slot in range(starts[person], ends[person]):
            worth = weights[slot] - across[others[slot]]
            if worth > price and not taken[numbers[slot]]:
                price = worth
        mine.price[person] = price
        for slot in range(starts[person], ends[person]):
            edge = int(numbers[slot])
            if taken[edge]:
                if weights[slot] - across[others[slot]] < price:
                    taken[edge] = 0
                else:
                    take(edge, mine, theirs, edges)
