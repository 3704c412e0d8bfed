"""Lifecycle of a mentorship, who may be in one, and whose move it is."""

from datetime import date, timedelta
from itertools import product
from uuid import UUID

import pytest

from services.api.mentorships.rules import (
    AUTOMATIC,
    LIVE,
    PEOPLE,
    TRANSITIONS,
    TWO_MEMBERS,
    Gaps,
    MentorshipAction,
    MentorshipStatus,
    agreeing,
    allowed_actions,
    check_extension,
    check_pause,
    contact_lasts_until,
    gaps,
    last_day,
    next_driver,
    next_status,
    side,
    sides,
)
from services.api.programs.rules import FORMATS, Format, TrackRole
from shared.errors import ConflictError

R = TrackRole
TODAY = date(2026, 11, 24)
ENDED = set(MentorshipStatus) - LIVE


def person(number: int) -> UUID:
    return UUID(int=number)


@pytest.mark.parametrize(("status", "action"), list(product(MentorshipStatus, MentorshipAction)))
def test_every_state_and_action_is_decided_by_the_table(
    status: MentorshipStatus, action: MentorshipAction
) -> None:
    expected = TRANSITIONS.get((status, action))

    if expected is not None:
        assert next_status(status, action) is expected
        return
    with pytest.raises(ConflictError) as refused:
        next_status(status, action)
    assert refused.value.code == "invalid_transition"
    assert list(refused.value.allowed) == allowed_actions(status)
    assert AUTOMATIC.isdisjoint(allowed_actions(status))


@pytest.mark.parametrize("status", sorted(ENDED))
def test_what_has_ended_stays_so(status: MentorshipStatus) -> None:
    assert allowed_actions(status) == []


@pytest.mark.parametrize("status", sorted(LIVE))
def test_a_live_mentorship_can_always_end(status: MentorshipStatus) -> None:
    assert next_status(status, MentorshipAction.END_EARLY) in ENDED


@pytest.mark.parametrize("kind", Format)
def test_every_format_knows_exactly_the_roles_of_its_tracks(kind: Format) -> None:
    assert set(PEOPLE[kind]) == FORMATS[kind].roles


def test_the_next_of_the_driving_role_takes_over() -> None:
    mentor, mentee = (R.MENTOR, person(1)), (R.MENTEE, person(2))

    assert next_driver(Format.GROUP, [mentor, mentee]) == person(2)
    assert next_driver(Format.CIRCLE, [mentor, (R.FACILITATOR, person(3))]) == person(3)
    assert next_driver(Format.CIRCLE, [mentor, mentee]) == person(1)
    assert next_driver(Format.GROUP, []) is None


@pytest.mark.parametrize("kind", sorted(TWO_MEMBERS))
def test_a_mentorship_of_two_never_lacks_somebody(kind: Format) -> None:
    assert gaps(kind, [], min_members=2) == Gaps(below_minimum=False, needs_mentor=False)


def test_groups_say_what_they_lack() -> None:
    mentor, mentees = (R.MENTOR, person(1)), [(R.MENTEE, person(n)) for n in (2, 3)]

    assert gaps(Format.GROUP, [mentor, *mentees], min_members=2) == Gaps(
        below_minimum=False, needs_mentor=False
    )
    assert gaps(Format.GROUP, [mentor, mentees[0]], min_members=2).below_minimum
    assert gaps(Format.GROUP, mentees, min_members=2).needs_mentor
    assert not gaps(Format.OFFICE_HOURS, [mentor], min_members=2).below_minimum


def test_each_peer_is_a_side_and_facilitators_stand_with_mentors() -> None:
    assert side(R.SPONSOR, person(1)) == side(R.FACILITATOR, person(2)) == "mentor_side"
    assert side(R.PROTEGE, person(1)) == side(R.MENTEE, person(2)) == "mentee_side"
    assert len(sides([(R.PEER, person(1)), (R.PEER, person(2))])) == 2


def test_both_sides_have_to_agree() -> None:
    members = [(R.MENTOR, person(1)), (R.MENTEE, person(2)), (R.MENTEE, person(3))]

    first, is_agreed = agreeing(members, [], person(2))
    assert (first, is_agreed) == ([str(person(2))], False)
    with pytest.raises(ConflictError) as refused:
        agreeing(members, first, person(3))
    assert refused.value.code == "other_side_needed"
    assert agreeing(members, first, person(1))[1]


def test_a_mentorship_ends_with_its_program_at_the_latest() -> None:
    assert last_day(TODAY, length_days=10, program_ends_on=None) == TODAY + timedelta(days=10)
    assert last_day(TODAY, length_days=10, program_ends_on=TODAY) == TODAY


@pytest.mark.parametrize(("days", "is_fine"), [(0, False), (1, True), (90, True), (91, False)])
def test_a_pause_lasts_ninety_days_at_most(days: int, *, is_fine: bool) -> None:
    if is_fine:
        check_pause(TODAY, TODAY + timedelta(days=days))
        return
    with pytest.raises(ConflictError) as refused:
        check_pause(TODAY, TODAY + timedelta(days=days))
    assert refused.value.code == "pause_too_long"


@pytest.mark.parametrize(
    ("days", "program_days", "is_fine"),
    [(0, None, False), (365, None, True), (366, None, False), (30, 30, True), (31, 30, False)],
)
def test_an_extension_stays_within_the_program_or_a_year(
    days: int, program_days: int | None, *, is_fine: bool
) -> None:
    program_end = TODAY + timedelta(days=program_days) if program_days else None
    wanted = TODAY + timedelta(days=days)
    if is_fine:
        check_extension(TODAY, wanted, program_ends_on=program_end)
        return
    with pytest.raises(ConflictError) as refused:
        check_extension(TODAY, wanted, program_ends_on=program_end)
    assert refused.value.code == "beyond_program"


def test_contact_lasts_ninety_days_after_the_first_end() -> None:
    assert contact_lasts_until(None, None) is None
    assert contact_lasts_until(None, TODAY) == TODAY + timedelta(days=90)
    assert contact_lasts_until(TODAY + timedelta(days=5), TODAY) == TODAY + timedelta(days=90)
