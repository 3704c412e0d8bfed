"""Who swaps, who is judged by matching, and in which order members stand."""

from dataclasses import replace
from uuid import uuid4

import pytest

from services.api.decisions import rules
from services.api.pools.rules import FrozenTask, There
from services.api.programs.rules import TrackRole
from shared.errors import ConflictError

MENTOR, MENTEE, PEER = TrackRole.MENTOR, TrackRole.MENTEE, TrackRole.PEER
FACILITATOR = TrackRole.FACILITATOR


def test_a_swap_exchanges_the_mentees_unless_said_otherwise() -> None:
    ann, ben, cem, dee = (uuid4() for _ in range(4))
    first, second = [(ann, MENTOR), (ben, MENTEE)], [(cem, MENTOR), (dee, MENTEE)]

    usual = rules.exchanged(first, second, role=None)
    mentors = rules.exchanged(first, second, role=MENTOR)

    assert usual == ([(ann, MENTOR), (dee, MENTEE)], [(cem, MENTOR), (ben, MENTEE)])
    assert mentors == ([(cem, MENTOR), (ben, MENTEE)], [(ann, MENTOR), (dee, MENTEE)])


def test_peers_swap_one_of_each_pair() -> None:
    ann, ben, cem, dee = (uuid4() for _ in range(4))
    first, second = [(ann, PEER), (ben, PEER)], [(cem, PEER), (dee, PEER)]

    made = rules.exchanged(first, second, role=None)

    assert made == ([(ann, PEER), (dee, PEER)], [(cem, PEER), (ben, PEER)])


def test_a_swap_needs_somebody_else_in_the_role() -> None:
    ann, ben, cem = (uuid4() for _ in range(3))

    with pytest.raises(ConflictError) as refused:
        rules.exchanged([(ann, MENTOR), (ben, MENTEE)], [(cem, MENTOR), (ben, MENTEE)], role=MENTEE)
    assert refused.value.code == "hard_rule_failed"
    with pytest.raises(ConflictError):
        rules.exchanged([(ann, MENTOR)], [(cem, MENTOR)], role=MENTEE)


def task_of(format_: str, **roles: TrackRole) -> FrozenTask:
    """Return a pool of people who each wait in one role."""
    names = list(roles)
    return FrozenTask(
        problem={
            "format": format_,
            "participants": {"id": names},
            "places": {
                "participant": list(range(len(names))),
                "role": [one.value for one in roles.values()],
                "capacity": [1] * len(names),
            },
        },
        participants={name: uuid4() for name in names},
    )


def composed(task: FrozenTask, **roles: TrackRole) -> rules.Composition:
    return rules.Composition([(task.participants[one], role) for one, role in roles.items()])


def test_whoever_leads_a_group_is_no_part_of_what_is_judged() -> None:
    task = task_of("group", a=MENTOR, b=MENTEE, c=MENTOR)

    led = rules.Composition([*composed(task, b=MENTEE, a=MENTOR).members, (uuid4(), FACILITATOR)])

    assert rules.rows_to_judge(task, led) == [("b", MENTEE), ("a", MENTOR)]
    assert rules.rows_to_judge(task, composed(task, a=MENTOR, c=MENTOR)) == []
    assert rules.rows_to_judge(task, composed(task, a=MENTOR, c=MENTEE)) == []


def test_two_peers_are_judged() -> None:
    task = task_of("peer", x=PEER, y=PEER)

    assert rules.rows_to_judge(task, composed(task, y=PEER, x=PEER)) == [("y", PEER), ("x", PEER)]


def test_a_circle_is_judged_with_whoever_leads_it() -> None:
    task = task_of("circle", a=MENTOR, b=MENTEE, f=FACILITATOR)

    whole = rules.rows_to_judge(task, composed(task, f=FACILITATOR, a=MENTOR, b=MENTEE))
    question = rules.circles_question(task, [whole])

    assert rules.rows_to_judge(task, composed(task, a=MENTOR, b=MENTEE)) == []
    assert question["there"] == {
        "id": ["f", "a", "b"],
        "role": ["facilitator", "mentor", "mentee"],
        "circle": [0, 0, 0],
    }
    assert question["openings"] == {"circle": [], "places": []}


def test_of_a_circle_that_has_begun_only_who_joins_is_judged() -> None:
    circle, facilitator, mentor = (uuid4() for _ in range(3))
    task = replace(
        task_of("circle", b=MENTEE, m=MENTOR, f=FACILITATOR, other=FACILITATOR),
        there={
            "m": There(circle, mentor, leads=False),
            "f": There(circle, facilitator, leads=True),
            "other": There(uuid4(), facilitator, leads=True),
        },
    )
    joining = replace(composed(task, b=MENTEE), mentorship_id=circle)

    question = rules.circles_question(task, [rules.rows_to_judge(task, joining)])

    assert question["there"]["id"] == ["m", "f"]
    assert question["locks"] == {"first": ["f"], "second": ["b"]}
    assert question["openings"] == {"circle": [0], "places": [1]}
    assert len(question["places"]["role"]) == 3


def test_a_broken_rule_is_said_once_and_only_where_matching_judges_it() -> None:
    hard = [{"rule": "shared_language", "params": {}}, {"rule": "not_blocked", "params": {}}]
    task = FrozenTask(problem={"policy": {"hard": hard}}, participants={})
    language = {"rule": "shared_language", "key": "apart.shared_language", "params": {}}

    said = rules.judged_broken(task, [language, {"rule": "not_blocked"}, dict(language)])

    assert said == [language]


def test_rules_that_always_hold_are_checked_here() -> None:
    hard = [
        {"rule": "reporting_line_distance", "params": {}},
        {"rule": "not_blocked", "params": {}},
        {"rule": "reporting_line_distance", "params": {"levels": 1}},
        {"rule": "shared_language", "params": {}},
    ]

    assert rules.only_matching_judges(hard[:2]) == frozenset()
    assert rules.only_matching_judges(hard) == {"reporting_line_distance", "shared_language"}


def test_who_leads_stands_first_and_who_seeks_last() -> None:
    assert sorted(["mentee", "mentor", "facilitator"], key=rules.rank_in) == [
        "facilitator",
        "mentor",
        "mentee",
    ]
    assert sorted(["protege", "sponsor"], key=rules.rank_in) == ["sponsor", "protege"]
