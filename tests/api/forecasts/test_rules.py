"""Places and people, counted by hand."""

from typing import Any

import pytest

from services.api.forecasts import rules
from services.api.forecasts.rules import Supply, Topic

ONE_TO_ONE = {"format": "one_to_one", "max_members": 2}


def person(role: str, seats: int = 1, **skills: Any) -> dict[str, Any]:
    return {"role": role, "seats": seats, "wants_skills": [], "offers_skills": [], **skills}


def test_places_are_those_of_mentors_and_as_many_as_a_group_lets_in() -> None:
    people = [person("mentor", 5), person("mentor", 1), person("mentee"), person("mentee", 2)]

    alone = rules.supply_of(people, ONE_TO_ONE)
    grouped = rules.supply_of(people, {"format": "group", "max_members": 4})

    assert alone == Supply(mentors=2, mentor_seats=6, mentees=3, seats_each=3, is_peer=False)
    assert grouped.mentor_seats == 5


@pytest.mark.parametrize(("peers", "left"), [(4, 0), (5, 1)])
def test_among_peers_one_is_left_of_an_odd_number(peers: int, left: int) -> None:
    assert rules.supply_of([person("peer")] * peers, {"format": "peer"}).unmatched == left


@pytest.mark.parametrize(("size", "expected"), [(2, (12, 0)), (3, (8, 0)), (8, (3, 0))])
def test_groups_need_no_more_mentors_than_there_are(size: int, expected: tuple[int, int]) -> None:
    supply = Supply(mentors=12, mentor_seats=12, mentees=24, seats_each=1, is_peer=False)

    assert rules.groups_by_seats(supply, size) == expected


def test_recruits_bring_the_usual_number_of_places() -> None:
    supply = Supply(mentors=12, mentor_seats=12, mentees=24, seats_each=2, is_peer=False)

    assert rules.recruits_needed(supply, 12) == 6
    assert rules.recruits_needed(supply, 11) == 6


def test_a_topic_is_short_by_the_places_that_do_not_offer_it() -> None:
    people = [
        person("mentor", 2, offers_skills=["law"]),
        *[person("mentee", wants_skills=["Law", "Sales"]) for _ in range(3)],
    ]

    topics = rules.topics_of(people)

    assert topics == [Topic("Sales", 3, 0), Topic("law", 3, 2)]
    assert [one.short for one in topics] == [3, 1]
    assert rules.told(topics, is_small_told=False) == []
