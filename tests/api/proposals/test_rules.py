"""States of proposals, who is asked, and what circles share."""

import itertools
from collections.abc import Hashable
from typing import Any
from uuid import UUID

import pytest

from services.api.programs.rules import ConsentSides, TrackRole
from services.api.proposals import rules
from services.api.proposals.rules import ProposalAction, ProposalStatus
from shared.errors import ConflictError
from shared.schemas.matching import SOFT_RULES

MENTOR, MENTEE, PEER = TrackRole.MENTOR, TrackRole.MENTEE, TrackRole.PEER


@pytest.mark.parametrize(
    ("status", "action"), list(itertools.product(ProposalStatus, ProposalAction)), ids=str
)
def test_a_proposal_moves_only_as_its_table_says(
    status: ProposalStatus, action: ProposalAction
) -> None:
    expected = rules.TRANSITIONS.get((status, action))

    if expected is not None:
        assert rules.next_status(status, action) is expected
        return
    with pytest.raises(ConflictError) as refused:
        rules.next_status(status, action)
    assert refused.value.code == "invalid_transition"
    assert list(refused.value.allowed) == rules.allowed_actions(status)


@pytest.mark.parametrize(
    ("too_many", "lost"),
    [
        ({}, set()),
        ({"group": 1}, {3}),
        ({"group": 2}, {2, 3}),
        ({"mentor": 1}, {3}),
        ({"mentor": 1, "group": 1}, {3}),
        ({"mentor": 2, "group": 1}, {1, 3}),
        ({"one": 1}, {1}),
        ({"one": 1, "mentor": 1}, {1, 3}),
        ({"group": 9}, {2, 3}),
    ],
)
def test_the_newest_lose_what_is_held_too_often(
    too_many: dict[Hashable, int], lost: set[int]
) -> None:
    needs = {
        UUID(int=1): ["circle", "mentor", "one"],
        UUID(int=2): ["group", "two"],
        UUID(int=3): ["group", "mentor", "three"],
    }
    nothing: dict[Hashable, int] = dict.fromkeys(itertools.chain.from_iterable(needs.values()), 0)

    assert rules.overbooked(needs, nothing | too_many) == {UUID(int=one) for one in lost}


def part(rule: str, weight: int, value: float, points: float) -> dict[str, Any]:
    return {
        "rule": rule,
        "key": f"because.{rule}",
        "params": {"pairs": 1},
        "points": points,
        "weight": weight,
        "value": value,
    }


def test_without_favorites_a_member_is_shown_what_the_others_alone_would_give() -> None:
    others = [part("path_fit", 30, 1.0, 25.0), part("shared_values", 50, 0.5, 20.83)]
    shared = part("common_ground", 0, 1.0, 0.0)
    favored = part("shortlisted", 20, 0.7, 11.67)

    score, parts = rules.shown(57.5, [*others, favored, shared], decides=False)
    alone = rules.shown(0.0, [favored], decides=False)

    assert [(one["rule"], one["points"]) for one in parts] == [
        *(("path_fit", 37.5), ("shared_values", 31.25), ("common_ground", 0.0)),
    ]
    assert score == 68.75
    assert alone == (0, [])
    assert rules.shown(45.83, others[:1], decides=False) == (45.83, others[:1])
    assert rules.shown(57.5, [favored], decides=True) == (57.5, [{**favored, "params": {}}])


def test_members_do_not_read_what_one_of_them_wants_and_the_other_does_not_offer() -> None:
    wishes = {"covered": ["python"], "missing": ["divorce"]}
    skills = {**part("offers_wants", 50, 0.5, 50.0), "params": wishes}

    [shown] = rules.shown(50.0, [skills], decides=False)[1]

    assert shown["params"] == {"covered": ["python"]}
    assert rules.told(skills)["params"] == {"covered": ["python"]}
    assert rules.shown(50.0, [skills], decides=True) == (50.0, [skills])


def test_of_more_than_two_only_common_ground_is_told() -> None:
    ground = part("common_ground", 0, 1.0, 0.0)

    assert rules.of_all([part("path_fit", 30, 1.0, 25.0), ground]) == [ground]


def test_members_read_particulars_of_what_they_share_only() -> None:
    shared, own = part("offers_wants", 50, 1.0, 50.0), part("location", 50, 0.5, 25.0)
    ground = part("common_ground", 0, 1.0, 0.0)

    member = rules.shown(75.0, [shared, own, ground], decides=False)
    coordinator = rules.shown(75.0, [shared, own, ground], decides=True)

    assert member == (75.0, [shared, {**own, "params": {}}, ground])
    assert coordinator == (75.0, [shared, own, ground])


KNOWN = {
    *("shared_language", "timezone_overlap", "availability_overlap", "offers_wants", "path_fit"),
    *("shared_values", "shared_interests", "expectation_fit", "location"),
}


@pytest.mark.parametrize("rule", sorted(SOFT_RULES))
def test_members_learn_of_no_criterion_that_rests_on_what_they_may_not_read(rule: str) -> None:
    takes_attribute = "attribute" in SOFT_RULES[rule]
    answer = {**part(rule, 50, 1.0, 50.0), "params": {"attribute": "salary_band"}}
    listed = {**part(rule, 50, 1.0, 50.0), "params": {"attribute": "department"}}
    other = part("path_fit", 50, 0.5, 25.0)

    of_answer = rules.shown(75.0, [answer, other], decides=False)
    of_listed = rules.shown(75.0, [listed, other], decides=False)
    hidden = (50.0, [{**other, "points": 50.0}])

    assert (of_answer == hidden) is (rule not in KNOWN)
    assert (of_listed == hidden) is (rule not in KNOWN and not takes_attribute)
    assert ([answer] == rules.because([answer], are_two=False)) is (rule in KNOWN - {"location"})


def test_nobody_publishes_a_single_proposal_or_lets_it_expire() -> None:
    assert rules.allowed_actions(ProposalStatus.APPROVED) == ["reject", "swap", "lock"]
    assert rules.allowed_actions(ProposalStatus.AWAITING_PEOPLE) == ["consent", "decline"]


@pytest.mark.parametrize(
    ("status", "unlocked", "locked"),
    [
        (ProposalStatus.PROPOSED, ["approve", "reject", "swap", "lock"], ["approve", "reject"]),
        (ProposalStatus.ACCEPTED, [], []),
        (ProposalStatus.REJECTED, [], []),
    ],
)
def test_a_lock_is_set_while_one_decides_and_taken_away_at_any_time(
    status: ProposalStatus, unlocked: list[str], locked: list[str]
) -> None:
    assert rules.allowed_actions(status) == unlocked
    assert rules.allowed_actions(status, is_locked=True) == [*locked, "unlock"]


@pytest.mark.parametrize(
    ("role", "sides", "expected"),
    [
        (MENTOR, ConsentSides.BOTH, True),
        (MENTEE, ConsentSides.BOTH, True),
        (MENTOR, ConsentSides.MENTOR_SIDE, True),
        (MENTEE, ConsentSides.MENTOR_SIDE, False),
        (MENTOR, ConsentSides.MENTEE_SIDE, False),
        (MENTEE, ConsentSides.MENTEE_SIDE, True),
        (TrackRole.SPONSOR, ConsentSides.MENTOR_SIDE, True),
        (TrackRole.PROTEGE, ConsentSides.MENTEE_SIDE, True),
        (TrackRole.FACILITATOR, ConsentSides.MENTOR_SIDE, True),
        (PEER, ConsentSides.MENTEE_SIDE, True),
        (MENTOR, ConsentSides.NONE, False),
        (PEER, ConsentSides.NONE, False),
    ],
)
def test_the_sides_of_a_track_decide_who_is_asked(
    role: TrackRole, sides: ConsentSides, *, expected: bool
) -> None:
    assert rules.is_asked(role, sides) is expected


def test_only_what_gave_two_people_something_speaks_for_their_mentorship() -> None:
    parts = [
        part("path_fit", 30, 1.0, 25.0),
        part("offers_wants", 50, 0.0, 0.0),
        part("location", 0, 1.0, 0.0),
        part("style_fit", 20, 1.0, 11.67),
        part("shortlisted", 20, 0.7, 11.67),
        part("common_ground", 0, 1.0, 0.0),
    ]

    of_two, of_more = (
        [one["rule"] for one in rules.because(parts, are_two=are_two)] for are_two in (True, False)
    )

    assert of_two == ["path_fit"]
    assert of_more == ["path_fit", "offers_wants", "location", "common_ground"]


def test_common_ground_is_a_part_without_points_and_becomes_words() -> None:
    part = rules.ground_part("because.common_ground", {"column": "values", "shared": ["a", "b"]})

    assert (part["points"], part["weight"], part["value"]) == (0.0, 0, 1.0)
    assert rules.common_ground([{"rule": "path_fit"}, part], otherwise="The track") == "a, b"
    assert rules.common_ground([{"rule": "path_fit"}], otherwise="The track") == "The track"
    assert len(rules.common_ground([], otherwise="x" * 900)) == rules.LONGEST_GROUND
