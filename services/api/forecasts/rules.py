"""Places against people who seek one: counted exactly, and what would help."""

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from services.api.participants.rules import ParticipantStatus
from services.api.pools import rules as pools
from services.api.programs.rules import MENTEE_SIDE, MENTOR_SIDE, Format, TrackRole

_S = ParticipantStatus
APPROVED = (_S.APPROVED, _S.AVAILABLE, _S.AT_CAPACITY)
IN_REVIEW = (
    *(_S.SUBMITTED, _S.MANAGER_REVIEW, _S.COORDINATOR_REVIEW, _S.INFO_REQUESTED, _S.WAITLISTED),
)
EXPECTED = (*APPROVED, *IN_REVIEW)
"""Who is counted: everybody who handed a registration in and was not turned down."""

SECONDS = 7.0
"""How long matching may be asked in all; a request's own deadline is ten."""
SIZES = range(2, 9)
MOST_TOPICS = 50
TOLD_TOPICS = 5
# What a few people asked for tells of them; coordinators know them anyway.
MIN_CELL = 10
GROUPED = frozenset({Format.ONE_TO_ONE, Format.GROUP})
"""Formats whose people could meet in groups instead."""


class Method(StrEnum):
    """How unmatched people were counted."""

    FLOW = "flow"
    SEATS = "seats"


@dataclass(frozen=True, slots=True)
class Supply:
    """Places of one track against places sought; among peers everybody is both.

    `unmatched` is how many find nobody, were there no rules.
    """

    mentors: int
    mentor_seats: int
    mentees: int
    seats_each: int
    is_peer: bool
    unmatched: int
    facilitators: int = 0
    groups: "Groups | None" = None
    circles: "Circles | None" = None


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups by the free places of each mentor: one of fewer than `fewest` mentees is not held.

    A run gives every mentor one group; who has time for more than `most` may lead another beside.
    """

    free: tuple[int, ...]
    mentees: int
    fewest: int
    most: int

    @property
    def seats(self) -> list[int]:
        """Return the places of the groups that a run could make, the largest first."""
        usable = (min(one, self.most) for one in self.free if one >= self.fewest)
        return sorted(usable, reverse=True)

    @property
    def sizes(self) -> range:
        """Return the sizes that such groups could have, a handful at most."""
        least = max(SIZES.start, self.fewest)
        return range(least, min(self.most, max(SIZES.stop - 1, least + 5)) + 1)

    @property
    def unmatched(self) -> int:
        """Return how many mentees no group takes: so many are held as reach their minimum."""
        places = 0
        for number, seats in enumerate(self.seats, start=1):
            if number * self.fewest <= self.mentees:
                places += seats
        return max(0, self.mentees - places)

    def of_size(self, size: int) -> tuple[int, int]:
        """Return how many groups of a size all mentors have time for, and how many none takes."""
        led = sum(one // size for one in self.free)
        groups = min(led, math.ceil(self.mentees / size), self.mentees // self.fewest)
        return groups, max(0, self.mentees - groups * size)

    def lacking(self, seats_each: int) -> "Lack":
        """Return who would have to come for every mentee to be in a group, both together."""
        usable = self.seats
        for more in range(self.fewest + 1):
            mentees = self.mentees + more
            mentors = math.ceil(max(0, mentees - sum(usable)) / seats_each)
            tried = replace(self, mentees=mentees, free=(*usable, *[seats_each] * mentors))
            if not tried.unmatched:
                return Lack(mentors=mentors, mentees=more)
        return Lack(mentors=math.ceil(self.unmatched / seats_each))


@dataclass(frozen=True, slots=True)
class Circles:
    """Circles by who could be in them: one facilitator each, a mentor and a mentee at least.

    `led` is how many circles facilitators would lead; `fewest` and `most` count members of a
    circle without whoever facilitates.
    """

    led: int
    led_each: int
    mentors: int
    mentees: int
    fewest: int
    most: int

    @property
    def people(self) -> int:
        """Return how many seek a circle."""
        return self.mentors + self.mentees

    @property
    def held(self) -> int:
        """Return how many circles there would be at most, and are as long as people are left."""
        return min(self.led, self.mentors, self.mentees, self.people // self.fewest)

    @property
    def places(self) -> int:
        """Return how many those circles take."""
        return self.held * self.most

    @property
    def unmatched(self) -> int:
        """Return how many no circle takes, mentors among them."""
        return max(0, self.people - self.places)

    def lacking(self) -> "Lack":
        """Return who would have to come for everybody to be in a circle, all of them together."""
        found = Lack()
        while True:
            whole = replace(
                self,
                mentors=self.mentors + found.mentors,
                mentees=self.mentees + found.mentees,
            )
            number = math.ceil(whole.people / self.most)
            short = max(0, number * self.fewest - whole.people)
            mentors, mentees = max(0, number - whole.mentors), max(0, number - whole.mentees)
            if not (short or mentors or mentees):
                leads = max(0, number - self.led)
                return replace(found, facilitators=math.ceil(leads / self.led_each))
            # Whoever is missing as a mentor or a mentee fills a circle as well.
            found = replace(
                found,
                mentors=found.mentors + mentors,
                mentees=found.mentees + max(mentees, short - mentors),
            )


@dataclass(frozen=True, slots=True)
class Lack:
    """How many of each role are missing."""

    facilitators: int = 0
    mentors: int = 0
    mentees: int = 0


def supply_of(people: Sequence[Mapping[str, Any]], terms: Mapping[str, Any]) -> Supply:
    """Count places as matching does: a group has no more of them than the track lets in."""
    if terms["format"] == Format.CIRCLE:
        return _supply_of_circles(people, terms)
    peers = [one for one in people if one["role"] == TrackRole.PEER]
    if peers:
        count = len(peers)
        return Supply(count, count, count, 1, is_peer=True, unmatched=count % 2)
    free = [one["seats"] for one in people if one["role"] in MENTOR_SIDE]
    mentees = sum(one["seats"] for one in people if one["role"] in MENTEE_SIDE)
    if terms["format"] != Format.GROUP:
        left = max(0, mentees - sum(free))
        return Supply(len(free), sum(free), mentees, _usual(free), is_peer=False, unmatched=left)
    groups = Groups(tuple(free), mentees, terms["min_members"], terms["max_members"])
    return Supply(
        mentors=len(free),
        # Places of somebody who takes fewer than a group must have are none.
        mentor_seats=sum(groups.seats),
        mentees=mentees,
        seats_each=max(_usual([min(one, groups.most) for one in free]), groups.fewest),
        is_peer=False,
        unmatched=groups.unmatched,
        groups=groups,
    )


def _usual(places: Sequence[int]) -> int:
    """Return how many places one more of these people would likely bring."""
    return max(1, math.floor(statistics.median(places))) if places else 1


def _supply_of_circles(people: Sequence[Mapping[str, Any]], terms: Mapping[str, Any]) -> Supply:
    """Count circles: mentors are members as mentees are, and whoever leads is counted in."""
    leads = [one["seats"] for one in people if one["role"] == TrackRole.FACILITATOR]
    circles = Circles(
        led=sum(leads),
        led_each=_usual(leads),
        mentors=sum(one["role"] in MENTOR_SIDE for one in people),
        mentees=sum(one["role"] in MENTEE_SIDE for one in people),
        fewest=max(2, terms["min_members"] - 1),
        most=max(2, terms["max_members"] - 1),
    )
    return Supply(
        mentors=circles.mentors,
        mentor_seats=max(0, circles.places - circles.mentors),
        mentees=circles.mentees,
        seats_each=1,
        is_peer=False,
        unmatched=circles.unmatched,
        facilitators=len(leads),
        circles=circles,
    )


def is_bounded(supply: Supply) -> bool:
    """Tell whether matching can be asked within a request; above this only places are counted."""
    return supply.mentors * supply.mentees <= pools.MOST_PAIRS


def counting(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Return a problem whose solution is a maximum flow: hard rules only, as many pairs as can be.

    Locks are left out: a pair that is decided takes a place like any other.
    """
    policy = {**problem["policy"], "soft": [], "objective": "most_matched"}
    return {**problem, "policy": policy, "locks": {"first": [], "second": []}}


def sizes_of(supply: Supply) -> range:
    """Return the sizes of groups that are worth a thought; a track of groups bounds its own."""
    return SIZES if supply.groups is None else supply.groups.sizes


def in_groups(problem: Mapping[str, Any], size: int, *, fewest: int | None) -> dict[str, Any]:
    """Return the same people, every mentor leading groups of this size.

    In a track of groups those are as many as they have time for, solved as one and split by
    `split`. In pairs, a place is the time for a mentorship of any size: each mentor leads one.
    """
    places = problem["places"]

    def led(seats: int) -> int:
        return size if fewest is None else seats // size * size

    return {
        **problem,
        "format": Format.GROUP.value,
        "track": {**problem["track"], "min_members": fewest, "max_members": None},
        "places": {
            **places,
            "capacity": [
                led(seats) if role in MENTOR_SIDE else seats
                for role, seats in zip(places["role"], places["capacity"], strict=True)
            ],
        },
    }


def split(taken: Iterable[int], size: int, *, fewest: int | None) -> tuple[int, int]:
    """Return how many groups hold the mentees that each mentor takes, and how many those hold.

    Whom a mentor's groups leave over is counted as left, though another might have a place.
    """
    groups = held = 0
    for mentees in taken:
        number = min(math.ceil(mentees / size), mentees // (fewest or 1))
        groups += number
        held += min(mentees, number * size)
    return groups, held


def groups_by_seats(supply: Supply, size: int) -> tuple[int, int]:
    """Return how many groups there would be, and how many people none of them has a place for."""
    if supply.groups is not None:
        return supply.groups.of_size(size)
    groups = min(supply.mentors, math.ceil(supply.mentees / size))
    return groups, max(0, supply.mentees - groups * size)


@dataclass(frozen=True, slots=True)
class Grouping:
    """Groups of one size that would leave fewer people than now."""

    size: int
    mentorships: int
    unmatched: int
    method: Method


def groupings(
    supply: Supply, unmatched: int, *, solved: Mapping[int, tuple[int, int]]
) -> list[Grouping]:
    """Return the sizes of groups that would help, up to one that leaves nobody.

    `solved` are those that matching was asked about: how many groups, how many people left.
    """
    found = []
    for size in sizes_of(supply):
        groups, left = solved.get(size) or groups_by_seats(supply, size)
        if left >= unmatched:
            continue
        method = Method.FLOW if size in solved else Method.SEATS
        found.append(Grouping(size, groups, left, method))
        if not left:
            break
    return found


def lacking(supply: Supply, unmatched: int) -> Lack:
    """Return who would have to come for everybody to be placed; more may be alone by rules."""
    if supply.circles is not None:
        return supply.circles.lacking()
    if supply.groups is not None and unmatched <= supply.unmatched:
        return supply.groups.lacking(supply.seats_each)
    return Lack(mentors=math.ceil(unmatched / supply.seats_each))


@dataclass(frozen=True, slots=True)
class Topic:
    """A skill that is wanted and offered: people against places."""

    name: str
    wanted: int
    offered_seats: int

    @property
    def short(self) -> int:
        """Return how many more places would have to offer it."""
        return max(0, self.wanted - self.offered_seats)


def topics_of(people: Sequence[Mapping[str, Any]]) -> list[Topic]:
    """Return every skill that somebody wants, the scarcest first."""
    names: dict[str, str] = {}
    wanted: dict[str, int] = {}
    offered: dict[str, int] = {}
    for one in people:
        if one["role"] not in MENTOR_SIDE:
            _count(one["wants_skills"], 1, wanted, names)
        if one["role"] not in MENTEE_SIDE:
            _count(one["offers_skills"], one["seats"], offered, names)
    topics = [Topic(names[key], count, offered.get(key, 0)) for key, count in wanted.items()]
    return sorted(topics, key=lambda one: (-one.short, -one.wanted, one.name))


def _count(
    skills: Collection[str], number: int, counts: dict[str, int], names: dict[str, str]
) -> None:
    for skill in skills:
        key = skill.casefold()
        names.setdefault(key, skill)
        counts[key] = counts.get(key, 0) + number


def told(topics: Sequence[Topic], *, is_small_told: bool) -> list[Topic]:
    """Return the topics to show; what fewer than ten people want only to who knows them."""
    return [one for one in topics if is_small_told or one.wanted >= MIN_CELL][:MOST_TOPICS]


def is_solved(format_: str) -> bool:
    """Tell whether matching solves the format as one problem."""
    return format_ in pools.SOLVED
