"""Who swaps, who is judged by matching, and in which order members stand."""

from uuid import uuid4

import pytest

from services.api.decisions import rules
from services.api.programs.rules import TrackRole
from shared.errors import ConflictError

MENTOR, MENTEE, PEER = TrackRole.MENTOR, TrackRole.MENTEE, TrackRole.PEER


def test_a_swap_exchanges_the_mentees_unless_said_otherwise() -> None:
    ann, ben, cem, dee = (uuid4() for _ in range(4))
    first, second = [(ann, MENTOR), (ben, MENTEE)], [(cem, MENTOR), (dee, MENTEE)]

    usual = rules.exchanged(first, second, role=rules.usual_swap_role(first))
    mentors = rules.exchanged(first, second, role=MENTOR)

    assert usual == ([(ann, MENTOR), (dee, MENTEE)], [(cem, MENTOR), (ben, MENTEE)])
    assert mentors == ([(cem, MENTOR), (ben, MENTEE)], [(ann, MENTOR), (dee, MENTEE)])


def test_peers_swap_one_of_each_pair() -> None:
    ann, ben, cem, dee = (uuid4() for _ in range(4))
    first, second = [(ann, PEER), (ben, PEER)], [(cem, PEER), (dee, PEER)]

    made = rules.exchanged(first, second, role=rules.usual_swap_role(first))

    assert made == ([(ann, PEER), (dee, PEER)], [(cem, PEER), (ben, PEER)])


def test_a_swap_needs_somebody_else_in_the_role() -> None:
    ann, ben, cem = (uuid4() for _ in range(3))

    with pytest.raises(ConflictError) as refused:
        rules.exchanged([(ann, MENTOR), (ben, MENTEE)], [(cem, MENTOR), (ben, MENTEE)], role=MENTEE)
    assert refused.value.code == "hard_rule_failed"
    with pytest.raises(ConflictError):
        rules.exchanged([(ann, MENTOR)], [(cem, MENTOR)], role=MENTEE)


def test_only_pairs_of_both_sides_are_judged() -> None:
    facilitator = ("f", TrackRole.FACILITATOR)

    assert rules.pairs_to_judge([("b", MENTEE), ("a", MENTOR), facilitator]) == [("a", "b")]
    assert rules.pairs_to_judge([("y", PEER), ("x", PEER)]) == [("x", "y")]
    assert rules.pairs_to_judge([("a", MENTOR), ("b", MENTOR)]) == []


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
