"""Places against people who seek one: counted exactly, and what would help."""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
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
    """Places of one track against places sought; among peers everybody is both."""

    mentors: int
    mentor_seats: int
    mentees: int
    seats_each: int
    is_peer: bool

    @property
    def unmatched(self) -> int:
        """Return how many find nobody, were there no rules."""
        if self.is_peer:
            return self.mentees % 2
        return max(0, self.mentees - self.mentor_seats)


def supply_of(people: Sequence[Mapping[str, Any]], terms: Mapping[str, Any]) -> Supply:
    """Count places as matching does: a group has no more of them than the track lets in."""
    most = terms["max_members"] if terms["format"] == Format.GROUP else None
    peers = [one for one in people if one["role"] == TrackRole.PEER]
    if peers:
        return Supply(len(peers), len(peers), len(peers), 1, is_peer=True)
    seats = [
        one["seats"] if most is None else min(one["seats"], most)
        for one in people
        if one["role"] in MENTOR_SIDE
    ]
    return Supply(
        mentors=len(seats),
        mentor_seats=sum(seats),
        mentees=sum(one["seats"] for one in people if one["role"] in MENTEE_SIDE),
        seats_each=max(1, math.floor(statistics.median(seats))) if seats else 1,
        is_peer=False,
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


def in_groups(problem: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Return the same people with every mentor leading one group of this size."""
    places = problem["places"]
    return {
        **problem,
        "format": Format.GROUP.value,
        "track": {**problem["track"], "min_members": None, "max_members": size},
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
    return groups, max(0, supply.mentees - supply.mentors * size)


def recruits_needed(supply: Supply, unmatched: int) -> int:
    """Return how many more mentors with the usual number of places would do."""
    return math.ceil(unmatched / supply.seats_each)


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
