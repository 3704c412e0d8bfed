"""Who may be in one mentorship, and who may still join it."""

from uuid import UUID

import pytest

from services.api.compositions.rules import (
    Candidate,
    Terms,
    broken_composition,
    broken_flash,
    broken_joining,
    check_joinable,
    check_room,
    first_driver,
)
from services.api.mentorships.rules import (
    FIRST_DRIVER,
    JOINABLE,
    LIVE,
    PEOPLE,
    SIZED,
    MentorshipStatus,
)
from services.api.programs.rules import FORMATS, STRICT_GRADES, Format, Seniority, TrackRole
from shared.errors import ConflictError

R = TrackRole


def person(number: int) -> UUID:
    return UUID(int=number)


USUAL = {
    Format.ONE_TO_ONE: [R.MENTOR, R.MENTEE],
    Format.REVERSE: [R.MENTOR, R.MENTEE],
    Format.FLASH: [R.MENTOR, R.MENTEE],
    Format.SPONSORSHIP: [R.SPONSOR, R.PROTEGE],
    Format.PEER: [R.PEER, R.PEER],
    Format.GROUP: [R.MENTOR, R.MENTEE, R.MENTEE],
    Format.CIRCLE: [R.FACILITATOR, R.MENTOR, R.MENTEE, R.MENTEE],
    Format.OFFICE_HOURS: [R.MENTOR, R.MENTEE],
}


RANK = {R.MENTOR: 2, R.SPONSOR: 5, R.MENTEE: 1, R.PROTEGE: 1, R.PEER: 1, R.FACILITATOR: 0}


def people(*roles: TrackRole, **ranks: int | None) -> list[Candidate]:
    return [
        Candidate(person(index), person(100 + index), role, ranks.get(role.value, RANK[role]))
        for index, role in enumerate(roles)
    ]


def terms(kind: Format, **changes: object) -> Terms:
    usual = FORMATS[kind]
    values: dict[str, object] = {
        "format": kind,
        "min_members": usual.usual_members[0],
        "max_members": usual.usual_members[1],
        "seniority": min(usual.seniority) if len(usual.seniority) == 1 else Seniority.NONE,
        "grade_gap_min": usual.usual_gap_min,
        "grade_gap_max": usual.usual_gap_max,
    }
    return Terms(**(values | changes))  # type: ignore[arg-type]  # a table of changes


def fitting(kind: Format) -> list[Candidate]:
    if kind is Format.REVERSE:
        return people(*USUAL[kind], mentor=0)
    return people(*USUAL[kind])


def codes(candidates: list[Candidate], wanted: Terms) -> set[str]:
    return {one.code for one in broken_composition(candidates, wanted)}


@pytest.mark.parametrize("kind", Format)
def test_every_format_takes_its_usual_people(kind: Format) -> None:
    assert broken_composition(fitting(kind), terms(kind)) == []


@pytest.mark.parametrize(
    ("kind", "role"),
    [(kind, role) for kind in Format for role in R if role not in PEOPLE[kind]],
)
def test_no_format_takes_a_role_it_does_not_have(kind: Format, role: TrackRole) -> None:
    assert "role" in codes([*fitting(kind), *people(*[R.MENTOR] * 9, role)[9:]], terms(kind))


@pytest.mark.parametrize(
    ("kind", "role"), [(kind, role) for kind in Format for role in PEOPLE[kind]]
)
def test_too_few_of_a_role_break_the_rule_of_the_format(kind: Format, role: TrackRole) -> None:
    fewest, _most, code = PEOPLE[kind][role]
    without = [one for one in fitting(kind) if one.role is not role]

    found = codes(without, terms(kind, min_members=0))

    assert (code in found) == (fewest > 0)


@pytest.mark.parametrize(
    ("kind", "role"), [(kind, role) for kind in Format for role in PEOPLE[kind]]
)
def test_too_many_of_a_role_break_the_rule_of_the_format(kind: Format, role: TrackRole) -> None:
    _fewest, most, code = PEOPLE[kind][role]
    crowd = [*fitting(kind), *people(*[role] * 12)[5:]]

    found = codes(crowd, terms(kind, max_members=100))

    assert (code in found) == (most < 3)


@pytest.mark.parametrize("kind", sorted(SIZED))
def test_a_track_bounds_the_size_of_groups_and_circles(kind: Format) -> None:
    usual = fitting(kind)

    assert "size" in codes(usual, terms(kind, min_members=len(usual) + 1))
    assert "size" in codes(usual, terms(kind, min_members=1, max_members=1))


@pytest.mark.parametrize("kind", Format)
def test_nobody_is_a_member_twice(kind: Format) -> None:
    usual = fitting(kind)
    last = usual[-1]
    doubled = [*usual[:-1], Candidate(usual[-2].person_id, last.participant_id, last.role, 1)]

    assert "not_unique" in codes(doubled, terms(kind, min_members=1))


def test_who_facilitates_a_circle_may_also_be_its_mentor() -> None:
    facilitator, mentor, *mentees = people(R.FACILITATOR, R.MENTOR, R.MENTEE, R.MENTEE)
    both = Candidate(facilitator.person_id, mentor.participant_id, R.MENTOR, 2)

    assert (
        broken_composition([facilitator, both, *mentees], terms(Format.CIRCLE, min_members=3)) == []
    )


def test_a_mentor_is_higher_where_the_track_says_so() -> None:
    wanted = terms(Format.ONE_TO_ONE, seniority=Seniority.MENTOR_HIGHER, grade_gap_max=2)

    assert codes(people(R.MENTOR, R.MENTEE, mentor=2, mentee=1), wanted) == set()
    assert codes(people(R.MENTOR, R.MENTEE, mentor=1, mentee=1), wanted) == {"seniority"}
    assert codes(people(R.MENTOR, R.MENTEE, mentor=4, mentee=1), wanted) == {"seniority"}
    assert codes(people(R.MENTOR, R.MENTEE, mentor=None, mentee=1), wanted) == set()


@pytest.mark.parametrize("kind", sorted(STRICT_GRADES))
def test_an_unknown_grade_fails_where_grades_are_the_point(kind: Format) -> None:
    upper, lower = USUAL[kind]

    assert codes(people(upper, lower, **{lower.value: None}), terms(kind)) == {"seniority"}


def test_in_reverse_the_mentor_is_lower() -> None:
    assert codes(people(R.MENTOR, R.MENTEE, mentor=2, mentee=1), terms(Format.REVERSE)) == {
        "seniority"
    }


def test_a_sponsor_stands_two_grades_higher() -> None:
    near = people(R.SPONSOR, R.PROTEGE, sponsor=2, protege=1)

    assert codes(near, terms(Format.SPONSORSHIP)) == {"seniority"}


def test_peers_stand_near_each_other() -> None:
    first, second = people(R.PEER, R.PEER)
    far = Candidate(second.person_id, second.participant_id, R.PEER, 4)
    unknown = Candidate(second.person_id, second.participant_id, R.PEER, None)

    assert codes([first, far], terms(Format.PEER)) == {"grade_gap"}
    assert codes([first, unknown], terms(Format.PEER)) == set()
    assert codes([first, far], terms(Format.PEER, grade_gap_max=None)) == set()


def test_a_flash_meeting_is_with_somebody_new_and_within_the_quota() -> None:
    assert broken_flash(have_met=False, mentee_meetings=3) == []
    assert [one.code for one in broken_flash(have_met=True, mentee_meetings=4)] == [
        "already_met",
        "mentee_quota",
    ]


@pytest.mark.parametrize("kind", Format)
def test_the_first_of_the_driving_role_drives(kind: Format) -> None:
    usual = fitting(kind)
    expected = next(one for one in usual if one.role is FIRST_DRIVER[kind])

    assert first_driver(kind, usual) == expected.person_id


JOINED = (Format.GROUP, Format.CIRCLE)


def joining(
    kind: Format, *roles: TrackRole, present: list[Candidate] | None = None, **changes: object
) -> set[str]:
    """Return the rules that newcomers break; they are nobody who is there."""
    new = [
        Candidate(person(50 + index), person(150 + index), role, RANK[role])
        for index, role in enumerate(roles)
    ]
    there = fitting(kind) if present is None else present
    return {one.code for one in broken_joining(new, there, terms(kind, **changes))}


@pytest.mark.parametrize(
    ("kind", "role", "code"),
    [
        (Format.GROUP, R.MENTEE, None),
        (Format.GROUP, R.FACILITATOR, None),
        (Format.GROUP, R.MENTOR, "one_mentor"),
        (Format.GROUP, R.PEER, "role"),
        (Format.CIRCLE, R.MENTEE, None),
        (Format.CIRCLE, R.MENTOR, None),
        (Format.CIRCLE, R.FACILITATOR, None),
        (Format.CIRCLE, R.SPONSOR, "role"),
    ],
)
def test_who_joins_has_a_role_that_is_free(kind: Format, role: TrackRole, code: str | None) -> None:
    assert joining(kind, role) == ({code} if code else set())


def test_a_third_facilitator_does_not_join_a_circle() -> None:
    assert joining(Format.CIRCLE, R.FACILITATOR, R.FACILITATOR) == {"facilitators"}


@pytest.mark.parametrize("kind", JOINED)
def test_what_is_missing_already_is_not_held_against_whoever_joins(kind: Format) -> None:
    lead = people(FIRST_DRIVER[kind]) if kind is Format.CIRCLE else people(R.MENTOR)

    assert joining(kind, R.MENTEE, present=lead, min_members=4) == set()


def test_nobody_joins_where_they_are() -> None:
    there = fitting(Format.GROUP)

    assert {one.code for one in broken_joining([there[1]], there, terms(Format.GROUP))} == {
        "not_unique"
    }


def test_grades_are_judged_of_pairs_with_whoever_joins() -> None:
    wanted = terms(Format.GROUP, seniority=Seniority.MENTOR_HIGHER)
    equals = people(R.MENTOR, R.MENTEE, mentee=2)
    junior, senior = (Candidate(person(50), person(150), R.MENTEE, rank) for rank in (1, 2))

    assert broken_joining([junior], equals, wanted) == []
    assert [one.code for one in broken_joining([senior], equals, wanted)] == ["seniority"]


@pytest.mark.parametrize("kind", JOINED)
def test_room_is_counted_in_people_as_the_format_counts(kind: Format) -> None:
    members = [(one.role, one.person_id) for one in fitting(kind)]
    size = sum(role in SIZED[kind] for role, _person in members)

    check_room(kind, members, max_members=size)
    with pytest.raises(ConflictError) as refused:
        check_room(kind, members, max_members=size - 1)
    assert refused.value.code == "full"
    counted = {Format.GROUP: "mentees", Format.CIRCLE: "members, who facilitates included"}
    assert refused.value.detail == f"It has {size - 1} {counted[kind]} at most."


def test_a_format_without_a_size_has_no_room() -> None:
    with pytest.raises(ConflictError):
        check_room(Format.ONE_TO_ONE, [], max_members=9)


@pytest.mark.parametrize("status", MentorshipStatus)
def test_what_has_not_ended_and_does_not_rest_can_be_joined(status: MentorshipStatus) -> None:
    if status in JOINABLE:
        check_joinable(status)
        return
    with pytest.raises(ConflictError) as refused:
        check_joinable(status)
    assert refused.value.code == ("not_available" if status in LIVE else "already_ended")
