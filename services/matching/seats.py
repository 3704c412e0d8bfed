"""Circles that are there already: who is in them and who leads them, as a problem says it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from services.matching.board import Step
from shared.errors import InvalidError, Violation
from shared.schemas.matching import CircleProblem, Pairs, Role, Seats

type Place = tuple[Role, str]
"""Somebody in a role: the role and the id."""
type Node = Place | int
"""A place, or the number of a circle that is there."""

LEADS = Role.FACILITATOR
LOST = frozenset({"lock_without_place", "lock_breaks_rule", "lock_exceeds_capacity", "not_unique"})
"""Faults that a lock has, and not the problem it stands in."""


@dataclass(slots=True)
class Kept:
    """One circle that is there; `pointers` tell where that was said of a place first.

    With openings it takes so many more (`places`), and who was in it is `settled`.
    """

    members: list[Place] = field(default_factory=list)
    leaders: list[str] = field(default_factory=list)
    pointers: dict[Place, str] = field(default_factory=dict)
    settled: frozenset[Place] = frozenset()
    places: int | None = None

    @property
    def most(self) -> int | None:
        """How many mentors and mentees it may have; None where the sizes of the track say it."""
        if self.places is None:
            return None
        return self.places + sum(place in self.settled for place in self.members)


def kept_of(problem: CircleProblem, *, step: Step) -> list[Kept]:
    """Return the circles that are there, in order of ids, at least one member each.

    What contradicts itself is an `InvalidError` that points into the problem as it was asked.
    """
    step("seats", 0, 1)
    roles = _roles_of(problem)
    groups, faults = _Groups(), _Faults()
    for row, place in enumerate(_rows(problem)):
        pointer = f"#/there/id/{row}"
        circle = problem.there.circle[row]
        if place[0] not in roles[place[1]]:
            faults.add(pointer, "lock_without_place", "Nobody has this role.")
        elif place[0] is not LEADS and place in groups.said:
            faults.add(pointer, "not_unique", "This one is in another circle already.")
        else:
            groups.put(place, circle, pointer)
    for row, pair in enumerate(zip(problem.locks.first, problem.locks.second, strict=True)):
        pointer = f"#/locks/first/{row}"
        if any(len(roles[one]) != 1 for one in pair):
            faults.add(pointer, "lock_without_place", "Each of the two must have just one role.")
            continue
        places = [(next(iter(roles[one])), one) for one in pair]
        if any(place[0] is LEADS and groups.count(place) > 1 for place in places):
            faults.add(pointer, "lock_without_place", "A facilitator of several circles has none.")
        elif not groups.join(places[0], places[1], pointer):
            faults.add(pointer, "lock_breaks_rule", "These two are in two circles already.")
    faults.refuse()
    said = problem.openings
    open_ = dict(zip(said.circle, said.places, strict=True)) if said else {}
    return _ordered(groups.kept(open_))


def without(problem: CircleProblem, faults: Iterable[Violation]) -> tuple[CircleProblem, int]:
    """Return a problem without the locks that faults point to, and how many were left out.

    A circle that has not begun is one lock. Of one that has, the last who was to join is left out.
    """
    circles, rows = set[int](), set[int]()
    begun = set(problem.openings.circle) if problem.openings else set[int]()
    for table, row in (_pointed(one.pointer) for one in _first_to_go(faults)):
        if table == "locks":
            rows.add(row)
        elif table == "there" and problem.there.circle[row] not in begun:
            circles.add(problem.there.circle[row])
        elif table == "there":
            rows |= set(_joining(problem, problem.there.circle[row])[-1:])
    there, locks = problem.there, problem.locks
    stays = [row for row, circle in enumerate(there.circle) if circle not in circles]
    held = [row for row in range(len(locks.first)) if row not in rows]
    left = {
        "there": Seats(
            id=[there.id[row] for row in stays],
            role=[there.role[row] for row in stays],
            circle=[there.circle[row] for row in stays],
        ),
        "locks": Pairs(
            first=[locks.first[row] for row in held], second=[locks.second[row] for row in held]
        ),
    }
    return problem.model_copy(update=left), len(circles) + len(rows)


def _first_to_go(faults: Iterable[Violation]) -> list[Violation]:
    """Return faults without those that may be none once the others are gone.

    Everybody of too many is named, and it is enough that one of them goes.
    """
    said = [
        one
        for one in faults
        if one.code in LOST and one.pointer.startswith(("#/locks/", "#/there/"))
    ]
    others = [one for one in said if one.code != "lock_exceeds_capacity"]
    return others or said[-1:]


def _pointed(pointer: str) -> tuple[str, int]:
    _, table, _, row = pointer.split("/")
    return table, int(row)


def _joining(problem: CircleProblem, circle: int) -> list[int]:
    """Return the rows of locks that put somebody into a circle that is there."""
    of_it = {
        one
        for one, number in zip(problem.there.id, problem.there.circle, strict=True)
        if number == circle
    }
    locks = zip(problem.locks.first, problem.locks.second, strict=True)
    return [row for row, pair in enumerate(locks) if not of_it.isdisjoint(pair)]


def _rows(problem: CircleProblem) -> Iterator[Place]:
    return zip(problem.there.role, problem.there.id, strict=True)


def _roles_of(problem: CircleProblem) -> dict[str, set[Role]]:
    found: dict[str, set[Role]] = {one: set() for one in problem.participants.id}
    for row, role in zip(problem.places.participant, problem.places.role, strict=True):
        found[problem.participants.id[row]].add(role)
    return found


def _ordered(several: Iterable[Kept]) -> list[Kept]:
    for one in several:
        one.members.sort(key=lambda place: (place[1], place[0]))
        one.leaders.sort()
    return sorted(
        (one for one in several if one.members), key=lambda one: (one.members[0][1], one.members)
    )


class _Faults:
    """What is wrong, all of it before anything is refused."""

    def __init__(self) -> None:
        self._found: list[Violation] = []

    def add(self, pointer: str, code: str, detail: str) -> None:
        self._found.append(Violation(pointer, code, detail))

    def refuse(self) -> None:
        if self._found:
            raise InvalidError(
                "Circles that are there are impossible; each place of it is listed.",
                errors=self._found[:100],
            )


class _Groups:
    """Who belongs together so far; a circle that is there belongs to one group."""

    def __init__(self) -> None:
        self.said: dict[Place, str] = {}
        self._of: dict[Node, list[Node]] = {}
        self._leads: dict[int, list[Place]] = {}
        self._there: dict[int, list[Place]] = {}

    def put(self, place: Place, circle: int, pointer: str) -> None:
        """Put somebody into a circle; whoever leads is of no group, as they may lead several."""
        self.said.setdefault(place, pointer)
        self._there.setdefault(circle, []).append(place)
        self._group(circle)
        if place[0] is LEADS:
            self._leads.setdefault(circle, []).append(place)
        else:
            self._merge(self._group(place), self._group(circle))

    def count(self, place: Place) -> int:
        """Count the circles that somebody leads."""
        return sum(place in leads for leads in self._leads.values())

    def join(self, one: Place, other: Place, pointer: str) -> bool:
        """Put two together, unless each is in another circle that is there."""
        for place in (one, other):
            self.said.setdefault(place, pointer)
        mine, theirs = self._group(self._node(one)), self._group(self._node(other))
        if mine is theirs:
            return True
        if any(isinstance(node, int) for node in mine) and any(
            isinstance(node, int) for node in theirs
        ):
            return False
        self._merge(mine, theirs)
        return True

    def kept(self, places: Mapping[int, int]) -> list[Kept]:
        """Return the groups as circles; `places` are those that circles with openings have."""
        found = []
        for group in {id(group): group for group in self._of.values()}.values():
            numbers = [node for node in group if isinstance(node, int)]
            members = [node for node in group if not isinstance(node, int)]
            leads = [place for number in numbers for place in self._of_led(number)]
            everybody = sorted({*members, *leads})
            opened = [number for number in numbers if number in places]
            found.append(
                Kept(
                    members=[place for place in everybody if place[0] is not LEADS],
                    leaders=[place[1] for place in everybody if place[0] is LEADS],
                    pointers={place: self.said[place] for place in everybody},
                    settled=frozenset(place for one in opened for place in self._there[one]),
                    places=sum(places[one] for one in opened) if opened else None,
                )
            )
        return found

    def _of_led(self, circle: int) -> list[Place]:
        return self._leads.get(circle, [])

    def _node(self, place: Place) -> Node:
        """Return the circle that somebody leads, or themselves."""
        led = [circle for circle, leads in self._leads.items() if place in leads]
        return led[0] if led else place

    def _group(self, node: Node) -> list[Node]:
        return self._of.setdefault(node, [node])

    def _merge(self, one: list[Node], other: list[Node]) -> None:
        one.extend(other)
        for node in other:
            self._of[node] = one
