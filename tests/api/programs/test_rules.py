"""Lifecycle of a program and the rules of every format."""

from datetime import date
from itertools import product

import pytest

from services.api.programs.rules import (
    BEFORE_MATCHING,
    FORMATS,
    MATCHING,
    TRANSITIONS,
    Format,
    MatchMode,
    ProgramAction,
    ProgramKind,
    ProgramStatus,
    Seniority,
    Setup,
    TrackRole,
    TrackShape,
    allowed_actions,
    broken_dates,
    broken_rules,
    check_matching,
    is_accepting,
    missing_for_publication,
    next_status,
)
from shared.errors import ConflictError


def usual(kind: Format, **changes: object) -> TrackShape:
    """Return a track of a format with its usual values, some of them changed."""
    rules = FORMATS[kind]
    values: dict[str, object] = {
        "format": kind,
        "match_modes": frozenset(rules.modes),
        "meeting_minutes": rules.usual_minutes,
        "min_members": rules.usual_members[0],
        "max_members": rules.usual_members[1],
        "seniority": min(rules.seniority),
        "grade_gap_min": rules.usual_gap_min,
        "grade_gap_max": rules.usual_gap_max,
    }
    return TrackShape(**(values | changes))  # type: ignore[arg-type]  # a table of changes


@pytest.mark.parametrize(("status", "action"), list(product(ProgramStatus, ProgramAction)))
def test_every_state_and_action_is_decided_by_the_table(
    status: ProgramStatus, action: ProgramAction
) -> None:
    expected = TRANSITIONS.get((status, action))

    if expected is not None:
        assert next_status(status, action) is expected
        return
    with pytest.raises(ConflictError) as refused:
        next_status(status, action)
    assert list(refused.value.allowed) == allowed_actions(status)


@pytest.mark.parametrize("kind", Format)
def test_the_usual_track_of_each_format_obeys_it(kind: Format) -> None:
    assert broken_rules(usual(kind)) == []


@pytest.mark.parametrize(("kind", "mode"), list(product(Format, MatchMode)))
def test_each_format_names_its_match_modes(kind: Format, mode: MatchMode) -> None:
    found = broken_rules(usual(kind, match_modes=frozenset({mode})))

    assert [one.code for one in found] == ([] if mode in FORMATS[kind].modes else ["match_modes"])


@pytest.mark.parametrize(("kind", "seniority"), list(product(Format, Seniority)))
def test_each_format_names_its_seniority(kind: Format, seniority: Seniority) -> None:
    found = broken_rules(usual(kind, seniority=seniority))

    expected = [] if seniority in FORMATS[kind].seniority else ["seniority"]
    assert [one.code for one in found] == expected


@pytest.mark.parametrize(
    ("kind", "changes", "code"),
    [
        (Format.ONE_TO_ONE, {"max_members": 3}, "members_1_1"),
        (Format.PEER, {"max_members": 3}, "two_peers"),
        (Format.GROUP, {"max_members": 101}, "size"),
        (Format.GROUP, {"min_members": 9, "max_members": 8}, "size"),
        (Format.CIRCLE, {"min_members": 2}, "size"),
        (Format.FLASH, {"meeting_minutes": 45}, "flash_too_long"),
        (Format.ONE_TO_ONE, {"meeting_minutes": 50}, "meeting_minutes"),
        (Format.OFFICE_HOURS, {"max_members": 52}, "seats"),
        (Format.REVERSE, {"grade_gap_min": 0}, "grade_gap"),
        (Format.SPONSORSHIP, {"grade_gap_min": None}, "grade_gap"),
        (Format.PEER, {"grade_gap_min": 3, "grade_gap_max": 2}, "grade_gap"),
    ],
)
def test_each_broken_rule_has_its_code(kind: Format, changes: dict[str, object], code: str) -> None:
    assert [one.code for one in broken_rules(usual(kind, **changes))] == [code]


@pytest.mark.parametrize(
    ("changes", "pointer", "told"),
    [
        ({"min_members": 6, "max_members": 3}, "#/min_members", "exceeds the maximum, 3"),
        ({"min_members": 1}, "#/min_members", "2 to 100"),
        ({"max_members": 101}, "#/max_members", "2 to 100"),
        ({"min_members": 1, "max_members": 101}, "#/max_members", "2 to 100"),
    ],
)
def test_a_wrong_size_is_pointed_at_where_it_is_wrong(
    changes: dict[str, object], pointer: str, told: str
) -> None:
    [broken] = broken_rules(usual(Format.GROUP, **changes))

    assert broken.pointer == pointer
    assert told in broken.detail


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Format.GROUP, "2 to 100 mentees."),
        (Format.CIRCLE, "3 to 20 members, who facilitates included."),
        (Format.OFFICE_HOURS, "2 to 51 members."),
    ],
)
def test_a_refused_size_says_who_is_counted(kind: Format, told: str) -> None:
    [broken] = broken_rules(usual(kind, max_members=101))

    assert broken.detail == f"The format {kind} has {told}"


def test_a_cohort_has_all_its_days_in_order() -> None:
    days = {
        "opens_on": date(2026, 1, 1),
        "closes_on": date(2026, 1, 31),
        "starts_on": date(2026, 2, 1),
        "ends_on": date(2026, 8, 1),
    }

    assert broken_dates(ProgramKind.COHORT, **days) == []
    late = days | {"closes_on": date(2026, 3, 1)}
    assert [one.code for one in broken_dates(ProgramKind.COHORT, **late)] == ["out_of_order"]
    endless = broken_dates(
        ProgramKind.COHORT, opens_on=None, closes_on=None, starts_on=days["starts_on"], ends_on=None
    )
    assert [one.pointer for one in endless] == [
        "#/registration_opens_on",
        "#/registration_closes_on",
        "#/ends_on",
    ]


def test_an_empty_program_lacks_everything() -> None:
    setup = Setup((), frozenset({TrackRole.MENTOR}), 1, 1, has_support_contact=False)

    assert [one.code for one in missing_for_publication(setup)] == [
        "no_track",
        "no_form",
        "no_policy",
        "no_agreement_template",
        "no_support_contact",
    ]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (ProgramStatus.DRAFT, "not_ready"),
        (ProgramStatus.PUBLISHED, "not_ready"),
        (ProgramStatus.REGISTRATION_OPEN, "not_ready"),
        (ProgramStatus.REGISTRATION_CLOSED, "not_ready"),
        (ProgramStatus.WINDING_DOWN, "program_closed"),
        (ProgramStatus.COMPLETED, "program_closed"),
        (ProgramStatus.CANCELLED, "program_closed"),
        (ProgramStatus.ARCHIVED, "program_closed"),
    ],
)
def test_who_puts_people_together_is_told_to_wait_before_matching_and_to_stop_after_it(
    status: ProgramStatus, code: str
) -> None:
    with pytest.raises(ConflictError) as refused:
        check_matching(status)

    assert refused.value.code == code


def test_people_are_put_together_in_every_other_state() -> None:
    for status in MATCHING:
        check_matching(status)
    assert {*ProgramStatus} - MATCHING - BEFORE_MATCHING == {
        *(ProgramStatus.WINDING_DOWN, ProgramStatus.COMPLETED),
        *(ProgramStatus.CANCELLED, ProgramStatus.ARCHIVED),
    }


@pytest.mark.parametrize("status", ProgramStatus)
def test_a_cohort_accepts_people_exactly_while_registration_is_open(
    status: ProgramStatus,
) -> None:
    accepting = is_accepting(ProgramKind.COHORT, status, is_switched_on=True)

    assert accepting == (status is ProgramStatus.REGISTRATION_OPEN)
