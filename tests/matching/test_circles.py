"""Circles: no rule is broken, what is said of them is true, small pools are as good as can be."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching import circles, rooms
from services.matching.blocks import APART
from services.matching.kernel.circles import SHARES
from services.matching.rooms import Room
from shared.errors import InvalidError
from shared.schemas.matching import Circle, CircleProblem, Circles
from tests.support.pools import MAX_CELLS, quiet, shuffled
from tests.support.pools import circles as problem

JUDGED = {"only_judged": True}

small = settings(max_examples=25, deadline=None, derandomize=True)


def room_of(values: dict[str, Any]) -> Room:
    return rooms.lay_out(CircleProblem.model_validate(values), max_cells=MAX_CELLS, step=quiet)


def form(values: dict[str, Any]) -> Circles:
    room = room_of(values)
    return circles.describe(room, circles.form(room, step=quiet), step=quiet)


def members(circle: Circle) -> list[str]:
    return [member.id for member in circle.members]


def reasons(found: Circles) -> dict[str, str]:
    return {one.id: one.reason.key.removeprefix("unmatched.") for one in found.unmatched}


def faults(values: dict[str, Any]) -> set[tuple[str, str]]:
    with pytest.raises(InvalidError) as refused:
        form(values)
    return {(one.pointer, one.code) for one in refused.value.errors}


def seats(*rows: tuple[str, str, int]) -> dict[str, list[Any]]:
    """Return who is in which circle: id, role, circle."""
    return {
        name: [row[place] for row in rows] for place, name in enumerate(("id", "role", "circle"))
    }


# What a circle is.


def test_everybody_is_in_one_circle_with_a_facilitator_a_mentor_and_mentees() -> None:
    found = form(problem())

    assert [len(circle.members) for circle in found.circles] == [5, 5, 5]
    for circle in found.circles:
        roles = [member.role.value for member in circle.members]
        assert roles[:2] == ["facilitator", "mentor"]
        assert set(roles[2:]) == {"mentee"}
    assert found.unmatched == []
    assert (found.totals.people, found.totals.matched, found.totals.matches) == (15, 15, 3)


def test_points_add_up_to_the_score_and_common_ground_is_named() -> None:
    values = problem()
    found = form(values)

    people = values["participants"]
    for circle in found.circles:
        assert sum(part.points for part in circle.parts) == pytest.approx(circle.score, abs=0.03)
        assert {part.key for part in circle.parts} >= {"because.shared_values.group"}
        rows = [people["id"].index(one) for one in members(circle)[1:]]
        for reason in circle.common_ground:
            chosen = [set(people[reason.params["column"]][row]) for row in rows]
            assert set(reason.params["shared"]) == set.intersection(*chosen)


def test_without_a_track_a_circle_has_four_to_eight_members() -> None:
    found = form(problem(4, 20, 5, track={}))

    assert all(4 <= len(circle.members) <= 8 for circle in found.circles)


def test_a_team_has_no_more_than_two_in_a_circle() -> None:
    values = problem(3, 9)
    values["participants"]["team"] = ["red"] * 15

    found = form(values)

    assert all(len(circle.members) == 3 for circle in found.circles)
    assert sum(reason == "team_is_full" for reason in reasons(found).values()) == 6


def test_a_second_facilitator_joins_where_one_is_left() -> None:
    found = form(problem(2, 4, 4, facilitators=2))

    leading = [
        [member.id for member in circle.members if member.role == "facilitator"]
        for circle in found.circles
    ]
    assert [len(some) for some in leading] == [2, 2]
    assert len({one for some in leading for one in some}) == 4


def test_a_facilitator_leads_as_many_circles_as_they_have_capacity() -> None:
    values = problem(3, 9, 1)
    values["places"]["capacity"][-1] = 3

    found = form(values)

    assert [members(circle)[0] for circle in found.circles] == ["facilitator-0"] * 3


def test_required_common_ground_is_had_by_every_circle() -> None:
    values = problem(4, 16, 5, common_ground={"is_required": True})
    values["participants"]["interests"][5] = []
    values["participants"]["values"][5] = []

    found = form(values)

    assert found.circles
    assert all(circle.common_ground for circle in found.circles)
    assert reasons(found)["mentee-1"] == "no_common_ground"


def test_nobody_shares_anything_and_nobody_is_in_a_circle() -> None:
    values = problem(common_ground={"is_required": True, "columns": ["interests"]})
    values["participants"]["interests"] = [[f"only-{row}"] for row in range(15)]

    found = form(values)

    assert found.circles == []
    mentees = {one: why for one, why in reasons(found).items() if one.startswith("ment")}
    assert set(mentees.values()) == {"no_common_ground"}
    assert len(mentees) == 12


# Against trying everything.


def worth(room: Room, groups: list[list[int]], leads: tuple[int, ...]) -> int | None:
    """Return what circles are worth by the definition; None where a rule is broken."""
    total = 0
    for group, lead in zip(groups, leads, strict=True):
        roles, teams = room.role[group], room.team[group]
        likes = [int(room.likes[two]) for two in itertools.combinations(group, 2)]
        fits = [int(room.fit[lead, one]) for one in group]
        if APART in likes or APART in fits or not {0, 1} <= set(roles.tolist()):
            return None
        if np.bincount(teams[teams >= 0], minlength=1).max() > 2:
            return None
        ground = 1000 * len(group) * bool(room.topics[group].all(axis=0).any())
        total += SHARES * (sum(fits) + ground) + (2 * SHARES // (len(group) - 1)) * sum(likes)
    return total


def best(room: Room) -> tuple[int, int]:
    """Return the most people that can be in two circles of two or three, and the highest worth."""
    count, found = len(room.ids), (0, 0)
    for chosen in itertools.product((-1, 0, 1), repeat=count):
        groups = [[one for one in range(count) if chosen[one] == number] for number in (0, 1)]
        used = [group for group in groups if group]
        if any(not 2 <= len(group) <= 3 for group in used):
            continue
        for leads in itertools.permutations(range(len(room.leaders.ids)), len(used)):
            value = worth(room, used, leads)
            if value is not None:
                found = max(found, (sum(map(len, used)), value))
    return found


@small
@given(seed=st.integers(0, 10_000), mentors=st.integers(1, 3), is_strict=st.booleans())
def test_a_small_pool_is_as_good_as_any_choice(*, seed: int, mentors: int, is_strict: bool) -> None:
    blocks = {"first": ["mentor-0", "mentee-1"], "second": ["mentee-0", "mentee-2"]}
    values = problem(
        mentors,
        6 - mentors,
        2,
        seed=seed,
        track={"min_members": 3, "max_members": 4},
        blocks=blocks if is_strict else {},
    )
    room = room_of(values)
    formed = circles.form(room, step=quiet)

    placed, value = best(room)

    assert sum(map(len, formed.members)) == placed
    assert formed.primal == value


@small
@given(
    seed=st.integers(0, 10_000),
    sizes=st.tuples(st.integers(0, 5), st.integers(0, 14), st.integers(0, 4)),
    is_required=st.booleans(),
    both=st.integers(1, 2),
)
def test_no_rule_is_broken_and_everybody_is_told(
    *, seed: int, sizes: tuple[int, int, int], is_required: bool, both: int
) -> None:
    mentors, mentees, leaders = sizes
    names = [f"mentor-{n}" for n in range(mentors)] + [f"mentee-{n}" for n in range(mentees)]
    kept = list(zip(names[::2], names[1::2], strict=False))
    values = problem(
        mentors,
        mentees,
        leaders,
        seed=seed,
        blocks={"first": [one for one, _ in kept], "second": [other for _, other in kept]},
        common_ground={"is_required": is_required},
        facilitators=both,
    )

    found = form(values)

    placed = [one for circle in found.circles for one in members(circle)]
    assert len(placed) == len(set(placed))
    assert sorted([*placed, *reasons(found)]) == sorted(values["participants"]["id"])
    teams = dict(zip(values["participants"]["id"], values["participants"]["team"], strict=True))
    for circle in found.circles:
        assert 3 <= len(circle.members) <= 5
        assert {"facilitator", "mentor", "mentee"} == {member.role for member in circle.members}
        assert not any({one, other} <= set(members(circle)) for one, other in kept)
        counted = [
            teams[member.id] for member in circle.members if member.role.value != "facilitator"
        ]
        assert all(counted.count(team) <= 2 for team in counted if team)
        assert circle.common_ground or not is_required
    assert found.certificate.dual is not None
    assert found.certificate.primal <= found.certificate.dual


@pytest.mark.parametrize(
    ("blocked", "kind"), [([], "optimal"), (["mentor-1", "mentee-0", "mentee-1"], "heuristic")]
)
def test_what_reaches_its_bound_is_proven_once_nobody_is_left(
    blocked: list[str], kind: str
) -> None:
    blocks = {"first": ["mentor-0"] * len(blocked), "second": blocked}
    values = problem(2, 2, 1, blocks=blocks, common_ground={"columns": []})
    for rule in values["policy"]["soft"]:
        rule["weight"] = 0

    said = form(values).certificate

    assert (said.kind, said.primal, said.dual, said.gap) == (kind, 0, 0, 0.0)


# Rules.


def test_rules_of_the_policy_judge_a_mentor_and_a_mentee() -> None:
    values = problem(2, 4, 2)
    values["policy"]["hard"] = [
        {"rule": "attribute_different", "params": {"attribute": "department"}}
    ]
    values["participants"]["department"] = ["law", "it", "law", "law", "it", "it", "law", "it"]

    found = form(values)

    assert sorted(sorted(members(circle)[1:]) for circle in found.circles) == [
        ["mentee-0", "mentee-1", "mentor-1"],
        ["mentee-2", "mentee-3", "mentor-0"],
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [("mentee-0", "mentee-1"), ("mentor-0", "mentee-0"), ("facilitator-0", "mentee-0")],
)
def test_a_block_holds_between_all_of_a_circle(one: str, other: str) -> None:
    found = form(problem(1, 3, 1, blocks={"first": [one], "second": [other]}))

    assert not any({one, other} <= set(members(circle)) for circle in found.circles)


def test_everybody_is_kept_apart_by_a_rule_that_is_named() -> None:
    names = [f"mentee-{n}" for n in range(3)]
    blocks = {"first": ["mentor-0"] * 3, "second": names}

    found = form(problem(1, 3, 1, blocks=blocks))

    assert found.circles == []
    assert reasons(found) == {
        **dict.fromkeys(["mentor-0", *names], "circle_too_small"),
        "facilitator-0": "no_circle_to_lead",
    }


def test_a_facilitator_who_may_have_nobody_is_named_with_the_rule() -> None:
    blocks = {"first": ["facilitator-0"], "second": ["mentee-0"]}

    found = form(problem(1, 3, 1, blocks=blocks))

    (left,) = found.unmatched
    assert (left.id, left.reason.key) == ("mentee-0", "unmatched.no_facilitator_allowed")
    assert left.reason.params == {"pairs": {"not_blocked": 1}}


# Who is there already.


def test_circles_that_are_there_stay_and_are_filled() -> None:
    there = seats(
        ("facilitator-1", "facilitator", 7), ("mentor-2", "mentor", 7), ("mentee-8", "mentee", 7)
    )

    found = form(problem(there=there))

    (kept,) = [circle for circle in found.circles if "mentor-2" in members(circle)]
    assert {"facilitator-1", "mentor-2", "mentee-8"} <= set(members(kept))
    assert kept.there == ["facilitator-1", "mentee-8", "mentor-2"]
    assert (len(kept.members), kept.is_locked) == (5, False)
    assert found.unmatched == []


def test_a_circle_that_is_full_already_is_locked() -> None:
    there = seats(
        ("facilitator-1", "facilitator", 7), ("mentor-2", "mentor", 7), ("mentee-8", "mentee", 7)
    )

    found = form(problem(there=there, track={"min_members": 3, "max_members": 3}))

    (kept,) = [circle for circle in found.circles if "mentor-2" in members(circle)]
    assert (len(kept.members), kept.is_locked) == (3, True)


def test_a_circle_that_is_there_and_stays_too_small_says_so() -> None:
    there = seats(("facilitator-0", "facilitator", 0), ("mentor-0", "mentor", 0))

    found = form(problem(1, 0, 1, there=there))

    (kept,) = found.circles
    assert [note.key for note in kept.notes] == ["note.circle_too_small"]
    assert (kept.score, kept.parts) == (0.0, [])


def test_locked_people_are_in_one_circle() -> None:
    locks = {"first": ["mentee-0", "mentee-4"], "second": ["mentee-4", "facilitator-2"]}

    found = form(problem(locks=locks))

    (kept,) = [circle for circle in found.circles if "mentee-0" in members(circle)]
    assert {"facilitator-2", "mentee-0", "mentee-4"} <= set(members(kept))


def test_two_facilitators_who_are_there_stay() -> None:
    there = seats(
        ("facilitator-0", "facilitator", 0),
        ("facilitator-2", "facilitator", 0),
        ("mentor-0", "mentor", 0),
    )

    found = form(problem(1, 2, 3, facilitators=2, there=there))

    (kept,) = found.circles
    assert members(kept)[:2] == ["facilitator-0", "facilitator-2"]


def test_locks_of_one_circle_add_up() -> None:
    locks = {
        "first": ["mentee-0", "mentee-0", "mentee-1", "facilitator-0"],
        "second": ["mentee-1", "facilitator-0", "mentee-0", "mentee-1"],
    }
    there = seats(("facilitator-0", "facilitator", 4), ("mentor-1", "mentor", 4))

    found = form(problem(locks=locks, there=there))

    (kept,) = [circle for circle in found.circles if "mentor-1" in members(circle)]
    assert kept.there == ["facilitator-0", "mentee-0", "mentee-1", "mentor-1"]


def test_a_lock_of_somebody_in_two_roles_is_refused() -> None:
    values = problem(locks={"first": ["mentor-0"], "second": ["mentee-0"]})
    values["places"]["participant"].append(0)
    values["places"]["role"].append("facilitator")
    values["places"]["capacity"].append(1)

    assert ("#/locks/first/0", "lock_without_place") in faults(values)


def test_a_facilitator_who_is_a_mentor_too_is_in_another_circle_than_they_lead() -> None:
    values = problem(2, 4, 1)
    values["places"]["participant"].append(0)
    values["places"]["role"].append("facilitator")
    values["places"]["capacity"].append(1)

    found = form(values)

    leads = {members(circle)[0]: members(circle)[1:] for circle in found.circles}
    assert set(leads) == {"mentor-0", "facilitator-0"}
    assert "mentor-0" in leads["facilitator-0"]


def test_a_facilitator_of_two_circles_is_locked_to_neither() -> None:
    values = problem(
        there=seats(
            ("facilitator-0", "facilitator", 0),
            ("mentee-0", "mentee", 0),
            ("facilitator-0", "facilitator", 1),
            ("mentee-1", "mentee", 1),
        ),
        locks={"first": ["mentee-2"], "second": ["facilitator-0"]},
    )
    values["places"]["capacity"][-3] = 2

    assert ("#/locks/first/0", "lock_without_place") in faults(values)


def test_a_facilitator_may_lead_several_circles_that_are_there() -> None:
    values = problem(2, 2, 1)
    values["places"]["capacity"][-1] = 2
    values["there"] = seats(
        ("facilitator-0", "facilitator", 1),
        ("mentor-0", "mentor", 1),
        ("facilitator-0", "facilitator", 2),
        ("mentor-1", "mentor", 2),
    )

    found = form(values)

    assert [members(circle)[0] for circle in found.circles] == ["facilitator-0"] * 2
    assert found.unmatched == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {
                "blocks": {"first": ["mentee-1"], "second": ["mentee-0"]},
                "locks": {"first": ["mentee-0"], "second": ["mentee-1"]},
            },
            ("#/locks/first/0", "lock_breaks_rule"),
        ),
        (
            {"there": seats(*((f"mentee-{n}", "mentee", 0) for n in range(5)))},
            ("#/there/id/0", "lock_breaks_rule"),
        ),
        (
            {"there": seats(("mentee-0", "mentee", 0), ("mentee-0", "mentee", 1))},
            ("#/there/id/1", "not_unique"),
        ),
        ({"there": seats(("mentee-0", "mentor", 0))}, ("#/there/id/0", "lock_without_place")),
        ({"there": seats(("stranger", "mentor", 0))}, ("#/there/id/0", "unknown_reference")),
        (
            {
                "there": seats(
                    ("facilitator-0", "facilitator", 0),
                    ("facilitator-1", "facilitator", 0),
                    ("mentee-0", "mentee", 0),
                )
            },
            ("#/there/id/1", "lock_breaks_rule"),
        ),
        (
            {
                "there": seats(
                    ("facilitator-0", "facilitator", 0),
                    ("facilitator-1", "facilitator", 0),
                    ("mentee-0", "mentee", 0),
                ),
                "facilitators": 2,
                "blocks": {"first": ["facilitator-1"], "second": ["facilitator-0"]},
            },
            ("#/there/id/1", "lock_breaks_rule"),
        ),
        (
            {
                "there": seats(
                    ("facilitator-0", "facilitator", 0),
                    ("mentee-0", "mentee", 0),
                    ("facilitator-0", "facilitator", 1),
                    ("mentee-1", "mentee", 1),
                )
            },
            ("#/there/id/0", "lock_exceeds_capacity"),
        ),
        (
            {
                "there": seats(("mentee-0", "mentee", 0), ("mentee-1", "mentee", 1)),
                "locks": {"first": ["mentee-0"], "second": ["mentee-1"]},
            },
            ("#/locks/first/0", "lock_breaks_rule"),
        ),
        ({"there": {"id": ["mentee-0"]}}, ("#/there/role", "wrong_length")),
    ],
    ids=[
        "blocked",
        "too many",
        "in two",
        "no such role",
        "unknown",
        "two leaders",
        "leaders apart",
        "leads two",
        "two circles",
        "lengths",
    ],
)
def test_what_is_decided_and_cannot_be_is_refused(
    changes: dict[str, Any], fault: tuple[str, str]
) -> None:
    values = problem(**changes)
    values["participants"]["team"] = [None] * 15

    assert fault in faults(values)


# Circles that have begun: they are filled, and nobody in them is judged anew.


def begun(places: int, *members: str, number: int = 7) -> dict[str, Any]:
    """Return a circle that `facilitator-0` leads and that takes so many more."""
    rows = [(one, one.partition("-")[0], number) for one in ("facilitator-0", *members)]
    return {
        "there": seats(*rows),
        "openings": {"circle": [number], "places": [places]},
    }


@pytest.mark.parametrize("places", [0, 1, 3, 6])
def test_openings_decide_how_many_join(places: int) -> None:
    found = form(problem(2, 9, 1, **begun(places, "mentor-0", "mentee-0")))

    (filled,) = found.circles
    assert len(filled.members) == 3 + places
    assert {"facilitator-0", "mentor-0", "mentee-0"} <= set(members(filled))
    assert {one.id for one in filled.joining} == set(members(filled)) - set(filled.there)
    assert filled.is_locked is (places == 0)
    assert len(found.unmatched) == 9 - places
    assert set(reasons(found).values()) == {"too_few_facilitators"}


def test_who_is_settled_stays_whatever_rules_say_today() -> None:
    values = problem(2, 3, 1, **begun(2, "mentor-0", "mentor-1", "mentee-0"))
    values["participants"]["team"] = [None] * 6
    values["participants"]["grade_rank"] = [1, 1, 5, 1, 1, 1]
    values["policy"]["hard"] = [{"rule": "seniority", "params": {"gap_max": 1}}]
    values["blocks"] = {
        "first": ["mentor-0", "facilitator-0", "facilitator-0"],
        "second": ["mentor-1", "mentor-0", "mentee-0"],
    }

    found = form(values)

    (filled,) = found.circles
    assert len(filled.members) == 6
    assert {one.id for one in filled.joining} == {"mentee-1", "mentee-2"}
    assert found.unmatched == []


@pytest.mark.parametrize("settled", ["facilitator-0", "mentor-0", "mentee-0"])
def test_who_joins_is_kept_from_nobody_there(settled: str) -> None:
    values = problem(1, 3, 1, **begun(5, "mentor-0", "mentee-0"))
    values["blocks"] = {"first": ["mentee-1"], "second": [settled]}

    found = form(values)

    assert [one.id for one in found.circles[0].joining] == ["mentee-2"]
    assert [(one.id, one.reason.params) for one in found.unmatched] == [
        ("mentee-1", {"pairs": {"not_blocked": 1}})
    ]


def test_who_joins_is_told_what_they_bring_and_others_do_not_count() -> None:
    values = problem(2, 3, 1, **begun(2, "mentor-0", "mentor-1", "mentee-0"))
    values["participants"]["team"] = [None] * 6
    room = room_of(values)

    found = form(values)

    (filled,) = found.circles
    here = [room.ids.index(member.id) for member in filled.members[1:]]
    for one in filled.joining:
        row = room.ids.index(one.id)
        scores = [int(room.likes[row, other]) for other in here if other != row]
        assert one.score == round(sum(scores) / len(scores) / 100, 2)
        assert {part.params["pairs"] for part in one.parts} == {4}
        assert abs(sum(part.points for part in one.parts) - one.score) < 0.1
    # Two who join, each with three who are there, and with each other.
    assert found.totals.pairs == 7
    assert found.totals.matched == 6


# Judged as they are.


def judged(values: dict[str, Any], found: Circles) -> Circles:
    """Return circles that were found, judged as if somebody had composed them."""
    there = seats(
        *(
            (member.id, member.role.value, number)
            for number, circle in enumerate(found.circles)
            for member in circle.members
        )
    )
    return form({**values, "there": there, "only_judged": True})


@pytest.mark.parametrize("seed", range(4))
def test_a_circle_is_judged_as_it_would_have_been_told_of(seed: int) -> None:
    values = problem(seed=seed)
    found = form(values)

    again = judged(values, found)

    kept = {"score", "parts", "notes", "fit", "common_ground", "members"}
    assert [one.model_dump(include=kept) for one in again.circles] == [
        one.model_dump(include=kept) for one in found.circles
    ]
    assert (again.unmatched, {one.is_locked for one in again.circles}) == ([], {True})
    assert again.totals.total == found.totals.total


def test_what_a_judged_circle_breaks_is_told_and_not_refused() -> None:
    values = problem(1, 2, 1)
    values["participants"]["grade_rank"] = [1, 5, 1, 1]
    values["policy"]["hard"] = [{"rule": "seniority", "params": {"gap_max": 1}}]
    values["blocks"] = {"first": ["facilitator-0"], "second": ["mentee-1"]}
    everybody = [("facilitator-0", "facilitator", 0), ("mentor-0", "mentor", 0)]
    values["there"] = seats(*everybody, ("mentee-0", "mentee", 0), ("mentee-1", "mentee", 0))
    unbound = {**values, "policy": values["policy"] | {"hard": []}, "blocks": {}}

    found, free = (form(one | JUDGED).circles[0] for one in (values, unbound))

    assert sorted(one.rule for one in found.broken) == ["not_blocked", "seniority"]
    assert free.broken == []
    assert (found.score, found.parts) == (free.score, free.parts)
    assert found.fit >= 0


def test_of_a_circle_that_has_begun_only_who_joins_is_judged() -> None:
    values = problem(1, 2, 1, **begun(1, "mentor-0", "mentee-0"))
    values["blocks"] = {
        "first": ["mentor-0", "mentor-0"],
        "second": ["mentee-0", "mentee-1"],
    }
    values["locks"] = {"first": ["facilitator-0"], "second": ["mentee-1"]}

    (found,) = form(values | JUDGED).circles

    assert [one.rule for one in found.broken] == ["not_blocked"]
    assert [one.id for one in found.joining] == ["mentee-1"]


def test_sizes_and_who_leads_are_not_what_a_circle_is_judged_by() -> None:
    values = problem(1, 1, 2, track={"min_members": 4, "max_members": 4})
    people = [("mentor-0", "mentor", 0), ("mentee-0", "mentee", 0)]
    leading = [(f"facilitator-{one}", "facilitator", 0) for one in range(2)]

    found = form(values | JUDGED | {"there": seats(*leading, *people)})

    assert found.circles[0].broken == []
    assert faults(values | JUDGED | {"there": seats(*people)}) == {("#/there/id/1", "missing")}


@pytest.mark.parametrize("seed", range(4))
def test_a_circle_below_its_smallest_size_is_filled_first(seed: int) -> None:
    values = problem(2, 4, 2, seed=seed, track={"min_members": 4, "max_members": 6})
    values["participants"]["team"] = [None] * 8
    large = [("facilitator-0", "facilitator"), ("mentor-0", "mentor")]
    large += [("mentee-0", "mentee"), ("mentee-1", "mentee")]
    short = [("facilitator-1", "facilitator"), ("mentor-1", "mentor"), ("mentee-2", "mentee")]
    values["there"] = seats(*((*one, 0) for one in large), *((*one, 1) for one in short))
    values["openings"] = {"circle": [0, 1], "places": [3, 3]}

    found = form(values)

    assert [[one.id for one in circle.joining] for circle in found.circles] == [[], ["mentee-3"]]


def test_a_lock_on_a_circle_that_has_begun_takes_one_of_its_places() -> None:
    values = problem(1, 4, 1, **begun(2, "mentor-0", "mentee-0"))
    values["participants"]["team"] = [None] * 6
    values["locks"] = {"first": ["facilitator-0"], "second": ["mentee-3"]}

    found = form(values)

    assert len(found.circles[0].members) == 5
    assert "mentee-3" in {one.id for one in found.circles[0].joining}
    values["blocks"] = {"first": ["mentee-3"], "second": ["mentee-0"]}
    assert ("#/locks/first/0", "lock_breaks_rule") in faults(values)


@pytest.mark.parametrize(
    ("openings", "fault"),
    [
        ({"circle": [8], "places": [1]}, ("#/openings/circle/0", "unknown_reference")),
        ({"circle": [7, 7], "places": [1, 1]}, ("#/openings/circle/1", "not_unique")),
        ({"circle": [7], "places": []}, ("#/openings/places", "wrong_length")),
    ],
    ids=["unknown", "twice", "lengths"],
)
def test_openings_that_say_nothing_are_refused(
    openings: dict[str, list[int]], fault: tuple[str, str]
) -> None:
    values = problem(2, 4, 1, **begun(1, "mentor-0")) | {"openings": openings}

    assert fault in faults(values)


# Odd pools.


@pytest.mark.parametrize(
    ("track", "changes", "fault"),
    [
        (
            {"min_members": 6, "max_members": 5},
            {},
            ("#/track/min_members", "minimum_above_maximum"),
        ),
        ({"min_members": 2}, {}, ("#/track/min_members", "out_of_range")),
        (
            {"min_members": 3, "max_members": 3},
            {"facilitators": 2},
            ("#/facilitators", "out_of_range"),
        ),
        ({}, {"format": "flash"}, ("#/format", "format_not_supported")),
    ],
    ids=["minimum above maximum", "too small", "no room", "format"],
)
def test_sizes_that_cannot_be_are_refused(
    track: dict[str, int], changes: dict[str, Any], fault: tuple[str, str]
) -> None:
    assert fault in faults(problem(track=track, **changes))


def test_somebody_twice_is_refused() -> None:
    values = problem()
    values["participants"]["id"][3] = "mentor-0"

    assert ("#/participants/id/3", "not_unique") in faults(values)


def test_a_pool_above_the_limit_is_refused() -> None:
    asked = CircleProblem.model_validate(problem())

    with pytest.raises(InvalidError) as refused:
        rooms.lay_out(asked, max_cells=100, step=quiet)

    assert {one.code for one in refused.value.errors} == {"too_many_pairs"}


@pytest.mark.parametrize(
    ("mentors", "mentees", "leaders", "reason"),
    [
        (0, 0, 0, None),
        (0, 1, 0, "too_few_facilitators"),
        (1, 0, 1, "role_is_missing"),
        (0, 6, 2, "role_is_missing"),
        (6, 0, 2, "role_is_missing"),
        (3, 9, 0, "too_few_facilitators"),
    ],
    ids=["nobody", "one person", "one with a facilitator", "no mentor", "no mentee", "no leader"],
)
def test_a_pool_without_a_circle_is_answered_with_reasons(
    mentors: int, mentees: int, leaders: int, reason: str | None
) -> None:
    found = form(problem(mentors, mentees, leaders))

    why = {one: key for one, key in reasons(found).items() if one.startswith("ment")}
    assert found.circles == []
    assert set(why.values()) == ({reason} if reason else set())
    assert len(why) == mentors + mentees
    assert (found.certificate.primal, found.totals.mean) == (0, None)


def test_whoever_has_no_capacity_has_no_place() -> None:
    values = problem()
    values["places"]["capacity"][0] = values["places"]["capacity"][-1] = 0

    found = form(values)

    assert reasons(found)["mentor-0"] == reasons(found)["facilitator-2"] == "no_place"


def test_whoever_is_mentor_and_mentee_is_not_their_own_company() -> None:
    values = problem(1, 2, 1)
    values["places"]["participant"].append(0)
    values["places"]["role"].append("mentee")
    values["places"]["capacity"].append(1)

    found = form(values)

    (left,) = found.unmatched
    assert (left.id, left.role, left.reason.key) == ("mentor-0", "mentee", "unmatched.kept_apart")


def test_what_a_policy_says_in_vain_is_told() -> None:
    values = problem()
    values["policy"] |= {"objective": "stable", "stay_bonus": 5}
    values["places"]["capacity"][0] = 2

    said = {one.key for one in form(values).warnings}

    assert {
        "doubt.objective_not_used",
        "doubt.stay_bonus_not_used",
        "doubt.one_circle_each",
    } <= said


# The same every time.


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_rows_changes_nothing(seed: int) -> None:
    values = problem(
        blocks={"first": ["mentor-0", "mentee-3"], "second": ["mentee-5", "mentee-4"]},
        locks={"first": ["mentee-7", "mentee-1"], "second": ["mentee-8", "mentor-1"]},
        there=seats(("mentor-2", "mentor", 3), ("facilitator-1", "facilitator", 3)),
        seed=5,
    )

    first, again = form(values), form(shuffled(values, seed=seed))

    assert first.model_dump_json() == again.model_dump_json()


def test_another_number_of_a_circle_with_openings_is_the_same_problem() -> None:
    values = [
        problem(2, 4, 1, **begun(2, "mentor-0", "mentee-1", number=number)) for number in (0, 9)
    ]

    assert form(values[0]) == form(values[1])


def test_another_number_of_a_circle_is_the_same_problem() -> None:
    answers = [
        form(problem(there=seats(("mentor-2", "mentor", 3 - n), ("mentor-1", "mentor", n))))
        for n in (1, 2)
    ]

    assert answers[0].model_dump_json() == answers[1].model_dump_json()


def yielding(values: dict[str, Any]) -> Circles:
    """Return circles of which those that are there may have to be formed anew."""
    asked = CircleProblem.model_validate(values | {"locks_yield": True})
    room = circles.lay_out(asked, max_cells=MAX_CELLS, step=quiet)
    return circles.describe(room, circles.form(room, step=quiet), step=quiet)


def kept_of(found: Circles) -> tuple[list[list[str]], list[dict[str, Any]]]:
    return (
        sorted(sorted(one.there) for one in found.circles if one.there),
        [one.params for one in found.warnings if one.rule == "locks"],
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"blocks": {"first": ["mentee-1"], "second": ["mentee-0"]}},
        {"policy": {"hard": [{"rule": "not_past_pair"}]}, "track": {"max_members": 3}},
        {"of_a_team": 1},
    ],
    ids=["kept apart", "too many", "one team"],
)
def test_circles_that_yield_are_formed_anew_where_they_cannot_be(changes: dict[str, Any]) -> None:
    values = problem(
        there=seats(
            *((f"mentee-{n}", "mentee", 0) for n in range(3)),
            ("facilitator-1", "facilitator", 1),
            ("mentee-4", "mentee", 1),
        )
    )
    values["participants"]["team"] = ["a"] * len(values["participants"]["id"])
    values |= {"of_a_team": 100, **changes}
    values["policy"] = problem()["policy"] | changes.get("policy", {})
    values["track"] = problem().get("track", {}) | {"min_members": 3} | changes.get("track", {})

    found = yielding(values)

    assert kept_of(found) == ([["facilitator-1", "mentee-4"]], [{"locks": 1}])


def test_a_circle_that_yields_holds_against_the_policy_alone() -> None:
    values = problem(
        there=seats(
            ("facilitator-0", "facilitator", 0),
            ("mentor-0", "mentor", 0),
            ("mentee-0", "mentee", 0),
            ("mentee-1", "mentee", 0),
        )
    )
    values["policy"]["hard"] = [{"rule": "not_past_pair"}]
    values["past_pairs"] = {"first": ["mentor-0"] * 2, "second": ["mentee-0", "facilitator-0"]}

    found = yielding(values)

    there = ["facilitator-0", "mentee-0", "mentee-1", "mentor-0"]
    assert kept_of(found) == ([there], [])


def test_of_too_many_circles_of_one_facilitator_one_goes() -> None:
    values = problem(
        there=seats(
            ("facilitator-0", "facilitator", 0),
            ("mentee-0", "mentee", 0),
            ("facilitator-0", "facilitator", 1),
            ("mentee-1", "mentee", 1),
            ("mentee-1", "mentee", 2),
            ("mentee-2", "mentee", 2),
        )
    )

    found = yielding(values)

    assert kept_of(found) == ([["facilitator-0", "mentee-1"]], [{"locks": 2}])


def test_who_was_to_join_a_circle_that_has_begun_waits_again_where_they_may_not() -> None:
    values = problem(
        there=seats(
            ("facilitator-0", "facilitator", 0),
            ("mentor-0", "mentor", 0),
            ("mentee-0", "mentee", 0),
        ),
        openings={"circle": [0], "places": [1]},
        locks={"first": ["facilitator-0"] * 3, "second": ["mentee-1", "mentee-2", "mentee-3"]},
        blocks={"first": ["mentor-0"], "second": ["mentee-1"]},
    )

    found = yielding(values)

    (begun,) = [one for one in found.circles if "mentor-0" in one.there]
    assert begun.there == ["facilitator-0", "mentee-0", "mentee-2", "mentor-0"]
    assert kept_of(found)[1] == [{"locks": 2}]
