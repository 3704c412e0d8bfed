"""Each hard rule: whom it keeps apart, what it says, and what it makes of the unknown."""

from typing import Any

import pytest

from services.matching import explanations
from shared.schemas.matching import Reason
from tests.support.pools import problem, scored, weigh


def pair(**changes: Any) -> dict[str, Any]:
    """Return one mentor and one mentee with these columns."""
    values = problem(mentors=1, mentees=1)
    return {**values, "participants": {**values["participants"], **changes}}


def broken(values: dict[str, Any], *hard: dict[str, Any]) -> list[Reason]:
    values["policy"] = {**values["policy"], "hard": list(hard)}
    return explanations.broken_of(weigh(values).board, 0, 0)


def rule(word: str, **params: Any) -> dict[str, Any]:
    return {"rule": word, "params": params}


EQUAL = rule("attribute_equal", attribute="department")
DIFFERENT = rule("attribute_different", attribute="department")
OVERLAP = rule("choice_overlap", attribute="topics", minimum=2)
TOPICS = {"attributes": {"topics": [["a", "b", "c"], ["b", "C"]]}}
LESS = {"attributes": {"topics": [["a", "b", "c"], ["c", "d"]]}}
LAWYERS = {"attribute": "department", "values": ["Law", "legal"]}
HIGHER = rule("seniority", relation="mentor_higher", gap_min=2, gap_max=3)


@pytest.mark.parametrize(
    ("columns", "hard", "apart"),
    [
        ({"languages": [["en", "DE"], ["de"]]}, rule("shared_language"), False),
        ({"languages": [["en"], ["de"]]}, rule("shared_language"), True),
        ({"languages": [["en"], []]}, rule("shared_language"), False),
        ({"languages": [["en"], []]}, rule("shared_language", unknown="fails"), True),
        ({}, rule("shared_language"), False),
        ({"utc_offset_minutes": [60, 120]}, rule("timezone_overlap", hours=7), False),
        ({"utc_offset_minutes": [60, 120]}, rule("timezone_overlap", hours=7.5), True),
        ({"utc_offset_minutes": [-480, 480]}, rule("timezone_overlap", hours=1), True),
        ({"utc_offset_minutes": [-720, 720]}, rule("timezone_overlap", hours=8), False),
        ({"utc_offset_minutes": [60, None]}, rule("timezone_overlap"), False),
        ({"utc_offset_minutes": [60, None]}, rule("timezone_overlap", unknown="fails"), True),
        ({"availability": [[1, 2, 3], [3, 4]]}, rule("availability_overlap"), False),
        ({"availability": [[1, 2], [3, 4]]}, rule("availability_overlap"), True),
        ({"availability": [[1, 2, 3], [3]]}, rule("availability_overlap", half_hours=2), True),
        ({"grade_rank": [5, 3]}, HIGHER, False),
        ({"grade_rank": [4, 3]}, HIGHER, True),
        ({"grade_rank": [7, 3]}, HIGHER, True),
        ({"grade_rank": [3, 3]}, rule("seniority", relation="mentor_higher"), True),
        ({"grade_rank": [2, 3]}, rule("seniority", relation="mentor_lower"), False),
        ({"grade_rank": [2, 5]}, rule("seniority", gap_max=2), True),
        ({"grade_rank": [None, 5]}, HIGHER, False),
        ({"grade_rank": [None, 5]}, rule("seniority", unknown="fails"), True),
        ({"department": ["law", "LAW"]}, EQUAL, False),
        ({"department": ["law", "it"]}, EQUAL, True),
        ({"department": ["law", None]}, EQUAL, False),
        ({"department": ["law", "law"]}, DIFFERENT, True),
        ({"department": ["law", "it"]}, DIFFERENT, False),
        ({"department": ["LAW", "legal"]}, rule("attribute_in", **LAWYERS), False),
        ({"department": ["law", "it"]}, rule("attribute_in", **LAWYERS), True),
        ({"department": ["law", "it"]}, rule("attribute_in", **LAWYERS, side="mentor"), False),
        ({"department": ["law", "it"]}, rule("attribute_in", **LAWYERS, side="mentee"), True),
        ({"department": ["it", None]}, rule("attribute_in", **LAWYERS), True),
        ({"department": ["law", None]}, rule("attribute_in", **LAWYERS), False),
        (
            {"department": ["law", None]},
            rule("attribute_in", **LAWYERS, unknown="fails"),
            True,
        ),
        (
            {"department": ["law", None]},
            rule("attribute_in", **LAWYERS, side="mentor", unknown="fails"),
            False,
        ),
        (TOPICS, rule("attribute_in", attribute="topics", values=["c"]), False),
        (TOPICS, rule("attribute_in", attribute="topics", values=["a"]), True),
        (
            {"attributes": {"floor": [3, 4.0]}},
            rule("attribute_in", attribute="floor", values=["3", "4"]),
            False,
        ),
        (
            {"attributes": {"remote": [True, False]}},
            rule("attribute_in", attribute="remote", values=["true"]),
            True,
        ),
        (TOPICS, OVERLAP, False),
        (LESS, OVERLAP, True),
        ({"reporting_line": [["x"], ["mentor-0", "x"]]}, rule("reporting_line_distance"), True),
        (
            {"reporting_line": [[], ["a", "b", "mentor-0"]]},
            rule("reporting_line_distance", levels=2),
            False,
        ),
        (
            {"reporting_line": [[], ["a", "b", "mentor-0"]]},
            rule("reporting_line_distance", levels=3),
            True,
        ),
        ({"reporting_line": [["a", "mentee-0"], []]}, rule("reporting_line_distance"), True),
        ({"reporting_line": [[], ["mentor-0"]]}, rule("reporting_line_distance", levels=0), False),
        ({"reporting_line": [["x"], ["x"]]}, rule("reporting_line_distance"), False),
    ],
)
def test_a_rule_keeps_apart_whom_it_should(
    columns: dict[str, Any], hard: dict[str, Any], *, apart: bool
) -> None:
    reasons = broken(pair(**columns), hard)

    assert [reason.key for reason in reasons] == ([f"apart.{hard['rule']}"] if apart else [])


def test_what_somebody_said_is_not_told_by_what_was_asked_of_them() -> None:
    (found,) = broken(pair(department=["law", "it"]), rule("attribute_in", **LAWYERS))

    assert found.params == {"attribute": "department", "side": "both"}


def test_a_peer_is_on_both_sides() -> None:
    values = pair(department=["it", "law"])
    values |= {"format": "peer", "places": {**values["places"], "role": ["peer", "peer"]}}

    reasons = broken(values, rule("attribute_in", **LAWYERS, side="mentee"))

    assert "attribute_in" in [one.rule for one in reasons]


def test_a_manager_never_mentors_a_direct_report_unasked() -> None:
    line = {"reporting_line": [[], ["mentor-0", "x"]]}

    assert broken(pair(**line)) == [
        Reason(
            rule="reporting_line_distance",
            key="apart.reporting_line_distance",
            params={"above": "mentor-0", "below": "mentee-0", "distance": 1},
        )
    ]


def test_a_sponsor_is_nowhere_in_the_line() -> None:
    values = pair(reporting_line=[[], ["x", "y", "mentor-0"]], grade_rank=[9, 1])
    values |= {"format": "sponsorship", "track": {"seniority": "mentor_higher"}}
    values["places"] = {**values["places"], "role": ["sponsor", "protege"]}

    assert [one.rule for one in broken(values)] == ["reporting_line_distance"]


@pytest.mark.parametrize(("form", "apart"), [("one_to_one", False), ("reverse", True)])
def test_an_unknown_grade_matters_where_the_format_says_so(form: str, *, apart: bool) -> None:
    values = pair() | {"format": form, "track": {"seniority": "mentor_lower"}}

    assert bool(broken(values)) is apart
    assert [one.key for one in scored(values).notes] == ["note.grade_unknown"]


@pytest.mark.parametrize("mark", ["ignore", "no"])
@pytest.mark.parametrize(("by", "about"), [("mentor-0", "mentee-0"), ("mentee-0", "mentor-0")])
def test_either_may_ignore_the_other(mark: str, by: str, about: str) -> None:
    said = {"by": [by], "about": [about], "mark": [mark]}

    assert [one.rule for one in broken(problem(mentors=1, mentees=1, preferences=said))] == [
        "not_ignored"
    ]


@pytest.mark.parametrize(("first", "second"), [("mentor-0", "mentee-0"), ("mentee-0", "mentor-0")])
def test_blocks_and_past_pairs_work_either_way(first: str, second: str) -> None:
    named = {"first": [first], "second": [second]}
    values = problem(mentors=1, mentees=1, blocks=named, past_pairs=named)

    assert [one.rule for one in broken(values, rule("not_past_pair"))] == [
        "not_blocked",
        "not_past_pair",
    ]
