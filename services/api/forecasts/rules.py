"""Places against people who seek one: counted exactly, and what would help."""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
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
    """Groups by their places: one of fewer than `fewest` mentees is not held."""

    seats: tuple[int, ...]
    mentees: int
    fewest: int
    most: int

    @property
    def sizes(self) -> range:
        """Return the sizes that such groups could have, a handful at most."""
        least = max(SIZES.start, self.fewest)
        return range(least, min(self.most, max(SIZES.stop - 1, least + 5)) + 1)

    @property
    def unmatched(self) -> int:
        """Return how many mentees no group takes: so many are held as reach their minimum."""
        places, largest = 0, sorted((one for one in self.seats if one >= self.fewest), reverse=True)
        for number, seats in enumerate(largest, start=1):
            if number * self.fewest <= self.mentees:
                places += seats
        return max(0, self.mentees - places)

    def lacking(self, seats_each: int) -> "Lack":
        """Return who would have to come for every mentee to be in a group, both together."""
        usable = [one for one in self.seats if one >= self.fewest]
        for more in range(self.fewest + 1):
            mentees = self.mentees + more
            mentors = math.ceil(max(0, mentees - sum(usable)) / seats_each)
            tried = replace(self, mentees=mentees, seats=(*usable, *[seats_each] * mentors))
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
    is_group = terms["format"] == Format.GROUP
    peers = [one for one in people if one["role"] == TrackRole.PEER]
    if peers:
        count = len(peers)
        return Supply(count, count, count, 1, is_peer=True, unmatched=count % 2)
    seats = [
        min(one["seats"], terms["max_members"]) if is_group else one["seats"]
        for one in people
        if one["role"] in MENTOR_SIDE
    ]
    mentees = sum(one["seats"] for one in people if one["role"] in MENTEE_SIDE)
    usual = max(1, math.floor(statistics.median(seats))) if seats else 1
    if not is_group:
        left = max(0, mentees - sum(seats))
        return Supply(len(seats), sum(seats), mentees, usual, is_peer=False, unmatched=left)
    groups = Groups(tuple(seats), mentees, terms["min_members"], terms["max_members"])
    return Supply(
        mentors=len(seats),
        # Places of somebody who takes fewer than a group must have are none.
        mentor_seats=sum(one for one in seats if one >= groups.fewest),
        mentees=mentees,
        seats_each=max(usual, groups.fewest),
        is_peer=False,
        unmatched=groups.unmatched,
        groups=groups,
    )


def _supply_of_circles(people: Sequence[Mapping[str, Any]], terms: Mapping[str, Any]) -> Supply:
    """Count circles: mentors are members as mentees are, and whoever leads is counted in."""
    leads = [one["seats"] for one in people if one["role"] == TrackRole.FACILITATOR]
    circles = Circles(
        led=sum(leads),
        led_each=max(1, math.floor(statistics.median(leads))) if leads else 1,
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
    """Return the same people with every mentor leading one group of this size."""
    places = problem["places"]
    return {
        **problem,
        "format": Format.GROUP.value,
        "track": {**problem["track"], "min_members": fewest, "max_members": size},
        "places": {
            **places,
            "capacity": [
                size if role in MENTOR_SIDE else seats
                for role, seats in zip(places["role"], places["capacity"], strict=True)
            ],
        },
    }


def groups_by_seats(supply: Supply, size: int) -> tuple[int, int]:
    """Return how many groups there would be, and how many people none of them has a place for."""
    groups = min(supply.mentors, math.ceil(supply.mentees / size))
    if supply.groups is not None:
        groups = min(groups, supply.mentees // supply.groups.fewest)
    return groups, max(0, supply.mentees - groups * size)


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
