"""Changes of a market, one side or edge at a time, each leaving only room to be repaired.

After each function all prices are right but for whoever has room left and a price above zero; they
stand in a queue, and `repair` places them. Capacities are native here too: where a
price rises, everybody who holds the same person is asked whether they still want to.
"""

from typing import NamedTuple

from services.matching.kernel.compiling import Flags, Ints, compiled, inner
from services.matching.kernel.graph import Adjacency
from services.matching.kernel.repair import NOBODY, Book, Edges, drop


class Half(NamedTuple):
    """One side of a market: its edges, its book, and who has to be looked at again.

    They are the first `waiting[0]` of `queue` int64[n], and have a 1 in `waits` uint8[n].
    """

    edges: Adjacency
    book: Book
    waits: Flags
    queue: Ints
    waiting: Ints


@inner
def mark(half: Half, person: int) -> None:
    """Have a person looked at again."""
    if not half.waits[person]:
        half.waits[person] = 1
        half.queue[half.waiting[0]] = person
        half.waiting[0] += 1


@compiled
def unmark(half: Half) -> None:
    """Have nobody looked at again."""
    for at in range(half.waiting[0]):
        half.waits[half.queue[at]] = 0
    half.waiting[0] = 0


@compiled
def find(side: Adjacency, person: int, other: int) -> int:
    """Return the slot of a person's edge with another, or where it would stand."""
    low, high = int(side.starts[person]), int(side.ends[person])
    while low < high:
        middle = (low + high) // 2
        if side.others[middle] < other:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def insert(side: Adjacency, person: int, other: int, edge: int, weight: int) -> None:
    """Enter an edge among a person's; whoever has no slot left moves to the tail, with twice."""
    if side.ends[person] == side.limits[person]:
        start, end, tail = side.starts[person], side.ends[person], side.tail[0]
        for slot in range(start, end):
            _copy(side, slot, tail + slot - start)
        side.starts[person], side.ends[person] = tail, tail + end - start
        side.tail[0] = tail + room_after(end - start)
        side.limits[person] = side.tail[0]
    place = find(side, person, other)
    for slot in range(side.ends[person], place, -1):
        _copy(side, slot - 1, slot)
    side.others[place], side.edges[place], side.weights[place] = other, edge, weight
    side.ends[person] += 1


@inner
def reserve(side: Adjacency, person: int, slots: int) -> None:
    """Give somebody without edges so many slots at the tail."""
    side.starts[person] = side.ends[person] = side.tail[0]
    side.tail[0] += slots
    side.limits[person] = side.tail[0]


@inner
def room_after(degree: int) -> int:
    """Return how many slots somebody with so many edges gets at the tail."""
    return 2 * degree + 4


@inner
def remove(side: Adjacency, person: int, other: int) -> None:
    """Strike an edge from a person's."""
    for slot in range(find(side, person, other), side.ends[person] - 1):
        _copy(side, slot + 1, slot)
    side.ends[person] -= 1


@inner
def _copy(side: Adjacency, source: int, target: int) -> None:
    side.others[target] = side.others[source]
    side.edges[target] = side.edges[source]
    side.weights[target] = side.weights[source]


@compiled
def connect(
    mine: Half, theirs: Half, edges: Edges, edge: int, person: int, other: int, weight: int
) -> None:
    """Let a pair that was not allowed be one."""
    mine.book.owner[edge], theirs.book.owner[edge] = person, other
    edges.weight[edge] = weight
    edges.taken[edge] = 0
    insert(mine.edges, person, other, edge, weight)
    insert(theirs.edges, other, person, edge, weight)
    allow(mine, theirs, edges, edge)


@compiled
def disconnect(mine: Half, theirs: Half, edges: Edges, edge: int) -> None:
    """Let a pair be allowed no more."""
    give_up(mine, theirs, edges, edge)
    person, other = mine.book.owner[edge], theirs.book.owner[edge]
    remove(mine.edges, person, other)
    remove(theirs.edges, other, person)
    edges.weight[edge] = 0


@inner
def give_up(mine: Half, theirs: Half, edges: Edges, edge: int) -> None:
    """Drop an edge if it is taken, which leaves room on both sides."""
    if edges.taken[edge]:
        drop(edge, mine.book, theirs.book, edges)
        mark(mine, mine.book.owner[edge])
        mark(theirs, theirs.book.owner[edge])


@compiled
def weigh(mine: Half, theirs: Half, edges: Edges, edge: int, weight: int) -> None:
    """Change what an allowed pair weighs."""
    person, other = mine.book.owner[edge], theirs.book.owner[edge]
    mine.edges.weights[find(mine.edges, person, other)] = weight
    theirs.edges.weights[find(theirs.edges, other, person)] = weight
    if edges.taken[edge]:
        edges.total[0] += weight - edges.weight[edge]
    edges.weight[edge] = weight
    if not edges.taken[edge]:
        allow(mine, theirs, edges, edge)
    elif weight < mine.book.price[person] + theirs.book.price[other]:
        give_up(mine, theirs, edges, edge)


@inner
def allow(mine: Half, theirs: Half, edges: Edges, edge: int) -> None:
    """Raise a price, if need be, until an edge that is not taken is not worth more than both."""
    person, other = mine.book.owner[edge], theirs.book.owner[edge]
    missing = edges.weight[edge] - mine.book.price[person] - theirs.book.price[other]
    if missing <= 0:
        return
    # On the side where fewer hold the person whose price it is.
    if mine.book.used[person] <= theirs.book.used[other]:
        lift(mine, theirs, edges, person, mine.book.price[person] + missing)
    else:
        lift(theirs, mine, edges, other, theirs.book.price[other] + missing)


@inner
def lift(mine: Half, theirs: Half, edges: Edges, person: int, price: int) -> None:
    """Raise a person's price; co-holders for whom that is too much give up."""
    book = mine.book
    book.price[person] = price
    mark(mine, person)
    edge = book.first[person]
    while edge != NOBODY:
        following = book.following[edge]
        if edges.weight[edge] < price + theirs.book.price[theirs.book.owner[edge]]:
            give_up(mine, theirs, edges, edge)
        edge = following


@compiled
def resize(mine: Half, theirs: Half, edges: Edges, person: int, capacity: int) -> None:
    """Change how many a person has room for; those worth least to them go first."""
    book = mine.book
    book.capacity[person] = capacity
    mark(mine, person)
    while book.used[person] > capacity:
        worst, least = book.first[person], worth(book.first[person], theirs.book, edges)
        edge = book.following[worst]
        while edge != NOBODY:
            value = worth(edge, theirs.book, edges)
            if value < least:
                worst, least = edge, value
            edge = book.following[edge]
        give_up(mine, theirs, edges, worst)
        book.price[person] = max(book.price[person], least)


@inner
def worth(edge: int, theirs: Book, edges: Edges) -> int:
    """Return what is left of an edge's weight after the other side's price."""
    return int(edges.weight[edge] - theirs.price[theirs.owner[edge]])


@compiled
def leave(mine: Half, theirs: Half, edges: Edges, person: int, gone: Ints) -> None:
    """Take a person out with all edges, whose numbers are noted."""
    low, count = mine.edges.starts[person], mine.edges.ends[person] - mine.edges.starts[person]
    for at in range(count):
        gone[at] = mine.edges.edges[low + at]
    # From the end, so that nothing has to move.
    for at in range(count - 1, -1, -1):
        disconnect(mine, theirs, edges, gone[at])
    mine.book.capacity[person] = 0
    mine.book.price[person] = 0


@compiled
def join(
    mine: Half,
    theirs: Half,
    edges: Edges,
    person: int,
    capacity: int,
    numbers: Ints,
    others: Ints,
    weights: Ints,
) -> None:
    """Let a person without edges have some, with these numbers; others ascend."""
    reserve(mine.edges, person, len(others))
    price = 0
    for at in range(len(others)):
        edge, other = numbers[at], others[at]
        mine.book.owner[edge], theirs.book.owner[edge] = person, other
        edges.weight[edge] = weights[at]
        edges.taken[edge] = 0
        insert(mine.edges, person, other, edge, weights[at])
        insert(theirs.edges, other, person, edge, weights[at])
        price = max(price, weights[at] - theirs.book.price[other])
    mine.book.capacity[person] = capacity
    mine.book.price[person] = price
    mark(mine, person)


@compiled
def is_proved(mine: Book, theirs: Book, edges: Edges) -> bool:
    """Tell whether the prices prove what was changed last, as far as it is logged.

    Whoever has room has the price 0, no logged edge that is taken weighs less than its prices and
    none that is not weighs more: then primal and dual have changed by the same.
    """
    for at in range(edges.logged[0]):
        edge = edges.log[at]
        left = worth(edge, theirs, edges) - mine.price[mine.owner[edge]]
        if left < 0 if edges.taken[edge] else left > 0:
            return False
    return _is_balanced(mine) and _is_balanced(theirs)


@inner
def _is_balanced(book: Book) -> bool:
    for person in range(len(book.price)):
        room = book.capacity[person] - book.used[person]
        if room < 0 or book.price[person] < 0 or (room > 0 and book.price[person] > 0):
            return False
    return True
