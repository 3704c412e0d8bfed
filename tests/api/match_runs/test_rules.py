"""States of runs and proposals, who is asked and who swaps."""

import itertools
from uuid import uuid4

import pytest

from services.api.match_runs import rules
from services.api.match_runs.rules import (
    ProposalAction,
    ProposalStatus,
    RunAction,
    RunKind,
    RunStatus,
)
from services.api.programs.rules import ConsentSides, ProgramStatus, TrackRole
from shared.errors import ConflictError

MENTOR, MENTEE, PEER = TrackRole.MENTOR, TrackRole.MENTEE, TrackRole.PEER


@pytest.mark.parametrize(
    ("status", "action"), list(itertools.product(RunStatus, RunAction)), ids=str
)
def test_a_run_moves_only_as_its_table_says(status: RunStatus, action: RunAction) -> None:
    expected = rules.RUN_TRANSITIONS.get((status, action))

    if expected is not None:
        assert rules.next_run_status(status, action) is expected
        return
    with pytest.raises(ConflictError) as refused:
        rules.next_run_status(status, action)
    assert refused.value.code == "invalid_transition"
    assert list(refused.value.allowed) == rules.allowed_run_actions(status)


@pytest.mark.parametrize(
    ("status", "action"), list(itertools.product(ProposalStatus, ProposalAction)), ids=str
)
def test_a_proposal_moves_only_as_its_table_says(
    status: ProposalStatus, action: ProposalAction
) -> None:
    expected = rules.PROPOSAL_TRANSITIONS.get((status, action))

    if expected is not None:
        assert rules.next_proposal_status(status, action) is expected
        return
    with pytest.raises(ConflictError) as refused:
        rules.next_proposal_status(status, action)
    assert refused.value.code == "invalid_transition"
    assert list(refused.value.allowed) == rules.allowed_proposal_actions(status)


def test_nobody_publishes_a_single_proposal_or_lets_it_expire() -> None:
    assert rules.allowed_proposal_actions(ProposalStatus.APPROVED) == ["reject", "swap"]
    assert rules.allowed_proposal_actions(ProposalStatus.AWAITING_PEOPLE) == ["consent", "decline"]
    assert rules.allowed_run_actions(RunStatus.RUNNING) == ["discard"]


@pytest.mark.parametrize("status", ProgramStatus)
def test_matching_needs_a_program_in_matching_or_running(status: ProgramStatus) -> None:
    if status in {ProgramStatus.MATCHING, ProgramStatus.RUNNING}:
        rules.require_matching(status)
        return
    with pytest.raises(ConflictError) as refused:
        rules.require_matching(status)
    assert refused.value.code == "not_ready"


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


def test_every_kind_of_run_has_a_mode_and_needs_somebody() -> None:
    assert {kind.value for kind in RunKind} == {mode.value for mode in rules.MODE_OF_KIND.values()}
    assert rules.FEWEST == {RunKind.POOL: 2, RunKind.FILL: 1, RunKind.ROULETTE: 2}


def test_common_ground_is_a_part_without_points_and_becomes_words() -> None:
    part = rules.ground_part("because.common_ground", {"column": "values", "shared": ["a", "b"]})

    assert (part["points"], part["weight"], part["value"]) == (0.0, 0, 1.0)
    assert rules.common_ground([{"rule": "path_fit"}, part], otherwise="The track") == "a, b"
    assert rules.common_ground([{"rule": "path_fit"}], otherwise="The track") == "The track"
    assert len(rules.common_ground([], otherwise="x" * 900)) == rules.LONGEST_GROUND


def test_who_leads_stands_first_and_who_seeks_last() -> None:
    assert sorted(["mentee", "mentor", "facilitator"], key=rules.rank_in) == [
        "facilitator",
        "mentor",
        "mentee",
    ]
    assert sorted(["protege", "sponsor"], key=rules.rank_in) == ["sponsor", "protege"]
