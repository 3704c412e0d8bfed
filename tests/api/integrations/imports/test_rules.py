"""The plan: what each row does, decided before anything is done."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.api.integrations.connections.rules import OnMissing, is_mass_change
from services.api.integrations.files.rules import Problem
from services.api.integrations.imports import rules
from services.api.integrations.imports.queries import READ_FIELDS
from services.api.integrations.imports.rules import (
    Hold,
    Input,
    Known,
    Plan,
    Row,
    RowAction,
    RunAction,
    RunStatus,
    SyncMode,
    Terms,
)
from services.api.integrations.mappings.rules import Leavers, ManagerBy
from shared.errors import ConflictError

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TERMS = Terms(
    mode=SyncMode.DELTA,
    on_missing=OnMissing.IGNORE,
    as_of=NOW,
    leavers=Leavers.CREATE,
    manager_by=ManagerBy.ID,
    manager_column="boss",
    status_is_mapped=True,
    guard_people=5,
    guard_percent=10,
    is_dry_run=False,
)
FULL = replace(TERMS, mode=SyncMode.FULL, on_missing=OnMissing.DEACTIVATE)


def new_ids() -> Iterator[UUID]:
    return (UUID(int=number) for number in itertools.count(1_000))


def plan(inputs: Sequence[Input], people: Sequence[Known] = (), terms: Terms = TERMS) -> Plan:
    fresh = new_ids()
    return rules.plan(inputs, people, terms, new_id=lambda: next(fresh))


def somebody(number: str, *, line: int = 0, manager: str | None = None, **values: Any) -> Input:
    plain = {
        "given_name": f"G{number}",
        "family_name": f"F{number}",
        "email": f"{number}@example.org",
        "status": "active",
    }
    return Input(line or int(number) + 1, number, {**plain, **values}, manager)


def known(number: str, *, is_linked: bool = True, is_active: bool = True, **values: Any) -> Known:
    plain = {
        **dict.fromkeys(READ_FIELDS),
        "given_name": f"G{number}",
        "family_name": f"F{number}",
        "email": f"{number}@example.org",
    }
    return Known(
        person_id=UUID(int=int(number)),
        external_id=number if is_linked else None,
        version=3,
        is_active=is_active,
        values={**plain, **values},
        updated_at=NOW - timedelta(days=10),
        ended_on=None if is_active else date(2026, 11, 14),
    )


def actions(made: Plan) -> dict[str | None, str]:
    return {row.external_id: row.action.value for row in made.rows}


def codes(made: Plan) -> dict[str | None, list[str]]:
    return {
        row.external_id: [one.code for one in (*row.errors, *row.warnings)] for row in made.rows
    }


@pytest.mark.parametrize("status", RunStatus)
@pytest.mark.parametrize("action", RunAction)
def test_every_state_takes_only_its_actions(status: RunStatus, action: RunAction) -> None:
    if (status, action) in rules.TRANSITIONS:
        assert rules.next_status(status, action) is rules.TRANSITIONS[status, action]
        return
    with pytest.raises(ConflictError) as refused:
        rules.next_status(status, action)
    assert refused.value.code == "invalid_transition"
    assert refused.value.allowed == tuple(rules.allowed_actions(status))


def test_what_ended_takes_nothing_more() -> None:
    assert all(rules.allowed_actions(status) == [] for status in rules.FINAL)


def test_nothing_of_an_applied_run_can_be_cancelled() -> None:
    assert RunAction.CANCEL not in rules.allowed_actions(RunStatus.APPLYING)


@pytest.mark.parametrize(
    ("one", "people", "action"),
    [
        (somebody("1"), [], "create"),
        (somebody("1", status="inactive"), [], "create"),
        (somebody("1"), [known("1")], "unchanged"),
        (somebody("1", title="Lead"), [known("1")], "update"),
        (somebody("1", title=None), [known("1", title="Lead")], "update"),
        (somebody("1", status="inactive"), [known("1")], "deactivate"),
        (somebody("1", status="inactive"), [known("1", is_active=False)], "unchanged"),
        (somebody("1"), [known("1", is_active=False)], "reactivate"),
        (somebody("1"), [known("1", is_linked=False)], "skip"),
        (somebody("1", email="X@example.org"), [known("2", email="x@example.org")], "skip"),
        (
            somebody("1", employee_number="7"),
            [known("2", is_active=False, employee_number="7")],
            "skip",
        ),
        (Input(2, "1", {"status": "active"}), [], "refuse"),
        (Input(2, None, problems=(Problem("id", "missing_id", "No id."),)), [], "refuse"),
    ],
)
def test_a_row_does_what_its_person_needs(one: Input, people: list[Known], action: str) -> None:
    assert [row.action.value for row in plan([one], people).rows] == [action]


def test_a_new_person_without_name_or_address_is_refused_by_field() -> None:
    made = plan([Input(2, "1", {"given_name": "G"}, columns={"email": "mail"})])

    assert [(one.column, one.code) for one in made.rows[0].errors] == [
        ("mail", "missing_value"),
        (None, "missing_value"),
    ]


def test_leavers_never_known_here_can_be_skipped() -> None:
    made = plan([somebody("1", status="inactive")], terms=replace(TERMS, leavers=Leavers.SKIP))

    assert codes(made) == {"1": ["left_before"]}
    assert made.counts["skipped"] == 1


def test_a_leaver_ends_on_the_day_the_file_says() -> None:
    ended = date(2026, 3, 1)
    made = plan([somebody("1", status="inactive", ended_on=ended)], [known("1")])

    assert (made.rows[0].ended_on, made.rows[0].ended_reason) == (ended, "source_terminated")


def test_nobody_comes_back_by_old_data() -> None:
    gone = known("1", is_active=False)

    before_the_end = replace(TERMS, as_of=NOW - timedelta(days=11))
    assert codes(plan([somebody("1")], [gone], before_the_end)) == {"1": ["older_than_end"]}
    assert actions(plan([somebody("1")], [gone], TERMS)) == {"1": "reactivate"}


def test_without_a_status_column_standing_in_the_file_is_being_here() -> None:
    one = Input(2, "1", {"title": "T"})
    gone = known("1", is_active=False)

    assert actions(plan([one], [gone], replace(TERMS, status_is_mapped=False))) == {
        "1": "reactivate"
    }
    assert actions(plan([one], [gone])) == {"1": "update"}


def test_an_id_on_several_lines_refuses_all_of_them() -> None:
    made = plan([somebody("1", line=2), somebody("1", line=5)])

    assert [row.errors[0].code for row in made.rows] == ["duplicate_id", "duplicate_id"]
    assert "2, 5" in made.rows[0].errors[0].message


def test_an_address_wished_for_twice_goes_to_neither() -> None:
    made = plan([somebody("1", email="A@x.org"), somebody("2", email="a@x.org")])

    assert codes(made) == {"1": ["duplicate_email"], "2": ["duplicate_email"]}


def test_an_address_somebody_else_has_is_refused() -> None:
    made = plan([somebody("1", email="2@example.org")], [known("1"), known("2")])

    assert codes(made) == {"1": ["duplicate_email"]}


def test_managers_may_stand_below_those_they_lead() -> None:
    made = plan([somebody("1", manager="2"), somebody("2", manager="3"), somebody("3")])

    ranks = {row.external_id: row.rank for row in made.rows}
    assert ranks == {"3": 0, "2": 1, "1": 2}
    assert made.managers["resolved"] == 2


def test_managers_are_found_by_name_as_it_will_be() -> None:
    terms = replace(TERMS, manager_by=ManagerBy.NAME)

    made = plan(
        [somebody("1", manager="Kim New"), somebody("2", given_name="Kim", family_name="New")],
        [known("2", given_name="Kim", family_name="Old")],
        terms,
    )

    assert made.rows[0].values["manager_id"] == UUID(int=2)


def test_of_two_with_one_name_the_one_still_here_is_meant() -> None:
    terms = replace(TERMS, manager_by=ManagerBy.NAME)
    double: dict[str, Any] = {"given_name": "Kim", "family_name": "Doe"}
    here, gone = known("2", **double), known("3", is_active=False, **double)

    assert plan([somebody("1", manager="Kim Doe")], [here, gone], terms).managers["resolved"] == 1
    both = [here, known("3", **double)]
    assert codes(plan([somebody("1", manager="Kim Doe")], both, terms)) == {
        "1": ["ambiguous_manager"]
    }


def test_an_unknown_manager_is_a_warning_and_changes_nothing() -> None:
    made = plan([somebody("1", manager="9")], [known("1", manager_id=UUID(int=4)), known("4")])

    assert codes(made) == {"1": ["unknown_manager"]}
    assert made.rows[0].action is RowAction.UNCHANGED
    assert made.rows[0].warnings[0].column == "boss"


@pytest.mark.parametrize(
    "circle", [[("1", "1")], [("1", "2"), ("2", "1")], [("1", "2"), ("2", "3"), ("3", "1")]]
)
def test_a_circle_is_a_warning_for_everybody_on_it(circle: list[tuple[str, str]]) -> None:
    made = plan([somebody(number, manager=boss) for number, boss in circle])

    assert set(itertools.chain(*codes(made).values())) == {"manager_cycle"}
    assert all("manager_id" not in row.values for row in made.rows)
    assert made.managers["circular"] == len(circle)
    assert made.managers["resolved"] == 0


def test_two_may_change_places_in_the_reporting_line() -> None:
    above, below = known("1"), known("2", manager_id=UUID(int=1))

    swapped = plan(
        [somebody("1", manager="2"), somebody("2", manager="3")], [above, below, known("3")]
    )

    assert actions(swapped) == {"1": "update", "2": "update"}
    assert codes(swapped) == {"1": [], "2": []}


def test_whom_a_full_file_leaves_out_has_left() -> None:
    made = plan([somebody("1")], [known("1"), known("2"), known("3", is_active=False)], FULL)

    assert actions(made) == {"1": "unchanged", "2": "deactivate"}
    assert made.rows[-1].line is None
    assert made.rows[-1].ended_reason == "source_missing"
    assert made.counts["seen"] == 1


@pytest.mark.parametrize(
    "terms", [replace(FULL, mode=SyncMode.DELTA), replace(FULL, on_missing=OnMissing.IGNORE)]
)
def test_nobody_is_missing_unless_both_say_so(terms: Terms) -> None:
    assert actions(plan([somebody("1")], [known("1"), known("2")], terms)) == {"1": "unchanged"}


def test_a_refused_row_still_names_its_person() -> None:
    bad = Input(2, "1", problems=(Problem("x", "wrong_value", "No."),))

    assert actions(plan([bad], [known("1")], FULL)) == {"1": "refuse"}


def test_people_other_sources_brought_are_not_missing() -> None:
    assert actions(plan([somebody("1")], [known("1"), known("2", is_linked=False)], FULL)) == {
        "1": "unchanged"
    }


@pytest.mark.parametrize(
    ("leavers", "active", "is_tripped"),
    [
        (5, 20, False),
        (6, 20, True),
        (5, 5, False),
        (10, 100, False),
        (11, 100, True),
        (0, 0, False),
    ],
)
def test_the_guard_trips_above_both_floors(leavers: int, active: int, *, is_tripped: bool) -> None:
    assert is_mass_change(leavers=leavers, active=active, people=5, percent=10) is is_tripped


def test_many_leavers_wait_for_approval() -> None:
    people = [known(str(number)) for number in range(1, 21)]
    file = [somebody(str(number)) for number in range(7, 21)]

    assert plan(file, people, FULL).holds == (Hold.THRESHOLD,)
    assert plan([*file, somebody("6")], people, FULL).holds == ()


def test_a_full_file_without_rows_waits_whatever_it_would_do() -> None:
    assert plan([], [], FULL).holds == (Hold.EMPTY_FILE,)
    assert plan([], [], TERMS).holds == ()


def test_a_row_without_a_readable_id_may_be_the_one_who_is_missing() -> None:
    shifted = Input(2, None, problems=(Problem("c", "wrong_field_count", "Short."),))

    assert plan([shifted, somebody("1")], [known("1"), known("2")], FULL).holds == (
        Hold.UNREADABLE_ROWS,
    )
    assert plan([shifted, somebody("1")], [known("1")], FULL).holds == ()


@pytest.mark.parametrize(("bad", "good", "fails"), [(1, 1, False), (2, 1, True), (0, 0, False)])
def test_a_file_with_more_bad_rows_than_good_ones_fails(
    bad: int, good: int, *, fails: bool
) -> None:
    refused = [
        Input(n, None, problems=(Problem("i", "missing_id", "x"),)) for n in range(90, 90 + bad)
    ]

    assert plan([*refused, *(somebody(str(n + 1)) for n in range(good))]).fails is fails


def test_a_diff_says_what_was_and_what_will_be() -> None:
    made = plan([somebody("1", title="Lead", status="inactive")], [known("1", title="Engineer")])

    assert rules.diff(made.rows[0]) == [
        {"field": "title", "old": "Engineer", "new": "Lead"},
        {"field": "status", "old": "active", "new": "inactive"},
        {"field": "ended_on", "old": None, "new": NOW.date()},
    ]


# Whatever the file and the directory are, applying a plan gives what it foretold.

NUMBERS = st.sampled_from([str(number) for number in range(1, 9)])


@st.composite
def files(draw: st.DrawFn) -> list[Input]:
    numbers = draw(st.lists(NUMBERS, unique=True, max_size=8))
    return [
        somebody(
            number,
            manager=draw(st.none() | NUMBERS),
            status=draw(st.sampled_from(["active", "active", "inactive"])),
            title=draw(st.sampled_from(["A", "B", None])),
            email=f"{draw(st.sampled_from([number] * 9) | NUMBERS)}@example.org",
        )
        for number in numbers
    ]


@st.composite
def directories(draw: st.DrawFn) -> list[Known]:
    numbers = draw(st.lists(NUMBERS, unique=True, max_size=8))
    return [
        known(
            number,
            is_linked=draw(st.booleans()),
            is_active=draw(st.booleans()),
            title=draw(st.sampled_from(["A", "B", None])),
            # Only somebody with a larger number may lead: no circle to begin with.
            manager_id=draw(
                st.sampled_from([None, *(UUID(int=int(n)) for n in numbers if n > number)])
            ),
        )
        for number in numbers
    ]


def applied(made: Plan, people: Sequence[Known]) -> list[Known]:
    """Apply a plan row by row, in the order and under the rules of the directory."""
    state = {one.person_id: one for one in people}
    for row in sorted(
        (one for one in made.rows if one.writes), key=lambda one: (one.rank, one.number)
    ):
        assert row.person_id is not None
        before = state.get(row.person_id)
        values = {**(before.values if before else dict.fromkeys(READ_FIELDS)), **row.values}
        is_active = row.stands if row.stands is not None else bool(before and before.is_active)
        refuse_what_the_directory_would(state, row, values, is_active=is_active)
        state[row.person_id] = Known(
            row.person_id,
            row.external_id,
            4,
            is_active,
            values,
            NOW - timedelta(days=1),
            None if is_active else NOW.date(),
        )
    return list(state.values())


def refuse_what_the_directory_would(
    state: Mapping[UUID, Known], row: Row, values: Mapping[str, Any], *, is_active: bool
) -> None:
    manager = values["manager_id"]
    for _ in range(50):
        assert manager != row.person_id, "a circle, halfway or at the end"
        manager = state[manager].values["manager_id"] if manager else None
    if is_active:
        others = [one for one in state.values() if one.is_active and one.person_id != row.person_id]
        assert values["email"].casefold() not in {one.email for one in others}


def essence(made: Plan) -> dict[str | None, tuple[Any, ...]]:
    """Return a plan without the ids it made up."""
    names = {row.person_id: row.external_id for row in made.rows}
    return {
        row.external_id: (
            row.action,
            {n: names.get(v, v) if n == "manager_id" else v for n, v in row.values.items()},
            [one.code for one in (*row.errors, *row.warnings)],
            row.rank,
        )
        for row in made.rows
    }


@settings(max_examples=50, deadline=None)
@given(files(), directories(), st.sampled_from([TERMS, FULL]))
def test_twice_is_once(file: list[Input], people: list[Known], terms: Terms) -> None:
    first = plan(file, people, terms)
    # A refused row may well go in later: once the address it wants is free, for instance.
    assume(not any(row.errors for row in first.rows))

    second = plan(file, applied(first, people), terms)

    assert {row.action for row in second.rows} <= {RowAction.UNCHANGED}


@settings(max_examples=50, deadline=None)
@given(files(), directories(), st.sampled_from([TERMS, FULL]))
def test_the_directory_takes_whatever_was_planned(
    file: list[Input], people: list[Known], terms: Terms
) -> None:
    made = plan(file, people, terms)

    after = {one.external_id: one for one in applied(made, people)}

    for row in made.rows:
        if row.writes:
            one = after[row.external_id]
            assert {name: one.values[name] for name in row.values} == dict(row.values)
            assert one.is_active is (row.stands if row.stands is not None else one.is_active)


@settings(max_examples=50, deadline=None)
@given(files(), directories(), st.randoms())
def test_the_order_of_rows_decides_nothing(
    file: list[Input], people: list[Known], chance: Any
) -> None:
    shuffled = list(file)
    chance.shuffle(shuffled)

    assert essence(plan(file, people, FULL)) == essence(plan(shuffled, people, FULL))


@settings(max_examples=50, deadline=None)
@given(files(), directories())
def test_every_row_is_counted_once(file: list[Input], people: list[Known]) -> None:
    counts = plan(file, people, TERMS).counts

    assert counts["seen"] == len(file)
    assert sum(number for name, number in counts.items() if name != "seen") == len(file)
