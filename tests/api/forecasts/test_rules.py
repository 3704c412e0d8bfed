"""Places and people, counted by hand."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from services.api.forecasts import rules
from services.api.forecasts.rules import Circles, Groups, Lack, Supply, Topic

ONE_TO_ONE = {"format": "one_to_one", "max_members": 2}


def person(role: str, seats: int = 1, **skills: Any) -> dict[str, Any]:
    return {"role": role, "seats": seats, "wants_skills": [], "offers_skills": [], **skills}


def test_places_are_those_of_mentors_and_as_many_as_a_group_lets_in() -> None:
    people = [person("mentor", 5), person("mentor", 1), person("mentee"), person("mentee", 2)]

    alone = rules.supply_of(people, ONE_TO_ONE)
    grouped = rules.supply_of(people, {"format": "group", "min_members": 1, "max_members": 4})

    assert alone == Supply(
        mentors=2, mentor_seats=6, mentees=3, seats_each=3, is_peer=False, unmatched=0
    )
    assert grouped.mentor_seats == 5


@pytest.mark.parametrize(("peers", "left"), [(4, 0), (5, 1)])
def test_among_peers_one_is_left_of_an_odd_number(peers: int, left: int) -> None:
    assert rules.supply_of([person("peer")] * peers, {"format": "peer"}).unmatched == left


@pytest.mark.parametrize(("size", "expected"), [(2, (12, 0)), (3, (8, 0)), (8, (3, 0))])
def test_groups_need_no_more_mentors_than_there_are(size: int, expected: tuple[int, int]) -> None:
    supply = Supply(
        mentors=12, mentor_seats=12, mentees=24, seats_each=1, is_peer=False, unmatched=12
    )

    assert rules.groups_by_seats(supply, size) == expected


def test_recruits_bring_the_usual_number_of_places() -> None:
    supply = Supply(
        mentors=12, mentor_seats=12, mentees=24, seats_each=2, is_peer=False, unmatched=12
    )

    assert rules.lacking(supply, 12) == Lack(mentors=6)
    assert rules.lacking(supply, 11) == Lack(mentors=6)


def of_groups(seats: tuple[int, ...], mentees: int, fewest: int = 5, most: int = 8) -> Supply:
    people = [*(person("mentor", one) for one in seats), *[person("mentee")] * mentees]
    terms = {"format": "group", "min_members": fewest, "max_members": most}
    return rules.supply_of(people, terms)


@pytest.mark.parametrize(
    ("seats", "mentees", "left", "lack"),
    [
        ((3,), 3, 3, Lack(mentors=1, mentees=2)),
        ((6,), 3, 3, Lack(mentees=2)),
        ((6,), 6, 0, Lack()),
        ((6, 6), 8, 2, Lack(mentees=2)),
        ((6,), 7, 1, Lack(mentors=1, mentees=3)),
        ((6,), 16, 10, Lack(mentors=2)),
    ],
)
def test_a_group_below_its_minimum_takes_nobody(
    seats: tuple[int, ...], mentees: int, left: int, lack: Lack
) -> None:
    supply = of_groups(seats, mentees)

    assert supply.unmatched == left
    assert rules.lacking(supply, left) == lack


def test_groups_are_thought_of_in_sizes_that_their_track_has() -> None:
    assert [*rules.sizes_of(of_groups((3,), 3))] == [5, 6, 7, 8]
    assert [*rules.sizes_of(of_groups((3,), 3, fewest=20, most=100))] == [20, 21, 22, 23, 24, 25]
    assert rules.groups_by_seats(of_groups((3,), 3), 5) == (0, 3)
    assert rules.groups_by_seats(of_groups((3, 3), 7), 6) == (0, 7)


SIZES_OF_TRACKS = [(2, 2), (2, 4), (3, 3), (3, 4), (4, 5)]


def most_held(groups: int, sizes: range, mentees: int) -> int:
    """Return how many people so many groups hold at most, none of them of another size."""
    held = {0}
    for _ in range(groups):
        held |= {before + size for before in held for size in sizes}
    return max(one for one in held if one <= mentees)


@pytest.mark.parametrize(("fewest", "most"), SIZES_OF_TRACKS)
def test_groups_hold_nobody_for_whom_their_mentors_have_no_time(fewest: int, most: int) -> None:
    for free in itertools.product(range(8), repeat=2):
        for mentees in range(14):
            supply = of_groups(free, mentees, fewest, most)
            for size in rules.sizes_of(supply):
                led = sum(one // size for one in free)
                groups, left = rules.groups_by_seats(supply, size)
                held = mentees - left
                assert held == most_held(led, range(fewest, size + 1), mentees)
                assert groups <= led
                assert groups * fewest <= held <= groups * size


@pytest.mark.parametrize(("fewest", "most"), SIZES_OF_TRACKS)
def test_groups_are_offered_only_where_they_leave_fewer(fewest: int, most: int) -> None:
    for free in itertools.product(range(10), repeat=2):
        for mentees in range(14):
            supply = of_groups(free, mentees, fewest, most)
            found = rules.groupings(supply, supply.unmatched, solved={})
            assert all(one.unmatched < supply.unmatched for one in found)
            # One group each is what a run makes: more help only who has time for more than one.
            assert not found or max(free) > most


@pytest.mark.parametrize(
    ("free", "mentees", "expected"),
    [
        ((2, 2), 10, []),
        ((4, 1), 10, []),
        ((4, 4), 10, []),
        ((8, 8), 10, [(2, 5, 0)]),
        ((8, 1), 20, [(2, 4, 12), (3, 2, 14), (4, 2, 12)]),
        ((6, 3), 20, [(2, 4, 12), (3, 3, 11)]),
    ],
)
def test_mentors_with_time_for_more_than_a_group_may_lead_several(
    free: tuple[int, ...], mentees: int, expected: list[tuple[int, int, int]]
) -> None:
    supply = of_groups(free, mentees, fewest=2, most=4)

    found = rules.groupings(supply, supply.unmatched, solved={})

    assert [(one.size, one.mentorships, one.unmatched) for one in found] == expected


def test_in_place_of_pairs_every_mentor_leads_one_group() -> None:
    supply = Supply(3, 6, 12, 2, is_peer=False, unmatched=6)

    found = rules.groupings(supply, 6, solved={3: (3, 4)})

    assert [(one.size, one.mentorships, one.unmatched, one.method) for one in found] == [
        (3, 3, 4, "flow"),
        (4, 3, 0, "seats"),
    ]


@pytest.mark.parametrize(("fewest", "size"), [(2, 2), (2, 4), (3, 4), (4, 5)])
def test_the_mentees_of_a_mentor_are_split_into_groups_of_the_sizes_there_are(
    fewest: int, size: int
) -> None:
    for mentees in range(40):
        groups, held = rules.split([mentees], size, fewest=fewest)
        assert held == most_held(mentees // fewest, range(fewest, size + 1), mentees)
        assert groups * fewest <= held <= groups * size
    assert rules.split([4, 1, 0], 4, fewest=None) == (2, 5)


def of_circles(facilitators: int, mentors: int, mentees: int, *bounds: int) -> Supply:
    roles = {"facilitator": facilitators, "mentor": mentors, "mentee": mentees}
    people = [person(role) for role, count in roles.items() for _ in range(count)]
    fewest, most = bounds
    return rules.supply_of(people, {"format": "circle", "min_members": fewest, "max_members": most})


@pytest.mark.parametrize(
    ("counts", "bounds", "left", "lack"),
    [
        ((4, 8, 24), (4, 6), 12, Lack(facilitators=3)),
        ((1, 0, 3), (4, 6), 3, Lack(mentors=1)),
        ((7, 8, 24), (4, 6), 0, Lack()),
        ((2, 1, 1), (4, 6), 2, Lack(mentees=1)),
        ((0, 2, 4), (4, 8), 6, Lack(facilitators=1)),
        ((2, 2, 3), (4, 4), 2, Lack(mentees=1)),
        ((5, 1, 14), (4, 6), 10, Lack(mentors=3)),
    ],
)
def test_circles_need_somebody_of_each_role_and_enough_of_them(
    counts: tuple[int, int, int], bounds: tuple[int, int], left: int, lack: Lack
) -> None:
    supply = of_circles(*counts, *bounds)

    assert supply.unmatched == left
    assert not left or rules.lacking(supply, left) == lack


@pytest.mark.parametrize("bounds", [(2, 3), (3, 3), (3, 5), (4, 4), (1, 6)])
def test_with_whoever_lacks_everybody_has_a_circle_or_a_group(bounds: tuple[int, int]) -> None:
    fewest, most = bounds
    for led, mentors, mentees in itertools.product(range(4), range(5), range(9)):
        circles = Circles(led, 1, mentors, mentees, max(2, fewest), most)
        lack = circles.lacking()
        there = replace(
            circles,
            led=led + lack.facilitators,
            mentors=mentors + lack.mentors,
            mentees=mentees + lack.mentees,
        )
        assert there.unmatched == 0
        groups = Groups((most,) * mentors, mentees * 2, fewest, most)
        more = groups.lacking(most)
        free = (*groups.free, *[most] * more.mentors)
        assert replace(groups, mentees=groups.mentees + more.mentees, free=free).unmatched == 0


def test_a_topic_is_short_by_the_places_that_do_not_offer_it() -> None:
    people = [
        person("mentor", 2, offers_skills=["law"]),
        *[person("mentee", wants_skills=["Law", "Sales"]) for _ in range(3)],
    ]

    topics = rules.topics_of(people)

    assert topics == [Topic("Sales", 3, 0), Topic("law", 3, 2)]
    assert [one.short for one in topics] == [3, 1]
    assert rules.told(topics, is_small_told=False) == []
