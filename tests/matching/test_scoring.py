"""Each soft criterion: how well two people fit, and why."""

from typing import Any

import pytest

from services.matching.explanations import mean_part
from shared.schemas.matching import Part
from tests.support.pools import pairs, peers, problem, scored, solve, weigh


def value(word: str, params: dict[str, Any] | None = None, **columns: Any) -> float:
    """Return what one criterion gives to one mentor and one mentee."""
    found: float = part(word, params, **columns).value
    return found


def part(word: str, params: dict[str, Any] | None = None, **columns: Any) -> Any:
    said = columns.pop("preferences", {})
    values = problem(mentors=1, mentees=1, preferences=said)
    values["participants"] = {"id": values["participants"]["id"], **columns}
    values["policy"] = {"soft": [{"rule": word, "weight": 10, "params": params or {}}]}
    return parts_of(values)[0]


def parts_of(values: dict[str, Any]) -> list[Part]:
    """Return what each criterion gave to the first two."""
    return scored(values).parts


DEPARTMENT = {"attribute": "department"}


@pytest.mark.parametrize(
    ("word", "params", "columns", "expected"),
    [
        ("shared_language", {}, {"languages": [["en", "de"], ["DE"]]}, 1),
        ("shared_language", {}, {"languages": [["en"], ["de"]]}, 0),
        ("timezone_overlap", {"hours": 4}, {"utc_offset_minutes": [0, 360]}, 0.5),
        ("timezone_overlap", {}, {"utc_offset_minutes": [0, None]}, 0),
        ("availability_overlap", {"half_hours": 4}, {"availability": [[1, 2], [1, 3]]}, 0.25),
        ("attribute_equal", DEPARTMENT, {"department": ["law", "law"]}, 1),
        ("attribute_equal", DEPARTMENT, {"department": ["law", None]}, 0),
        ("attribute_different", DEPARTMENT, {"department": ["law", "it"]}, 1),
        ("attribute_different", DEPARTMENT, {"department": [None, "it"]}, 0),
        ("choice_overlap", {"attribute": "values"}, {"values": [["a", "b"], ["b"]]}, 1),
        ("shared_values", {}, {"values": [["a", "b"], ["b", "c"]]}, 0.5),
        ("shared_interests", {}, {"interests": [["a"], ["c"]]}, 0),
        ("expectation_fit", {}, {"expectations": [["a"], ["a"]]}, 1),
        ("level_distance", {"ideal": 2}, {"grade_rank": [5, 3]}, 1),
        ("level_distance", {"ideal": 2}, {"grade_rank": [4, 3]}, 0.5),
        ("level_distance", {}, {"grade_rank": [None, 3]}, 0),
        ("tenure", {}, {"tenure_months": [48, 12]}, 1),
        ("tenure", {}, {"tenure_months": [400, 0]}, 1),
        ("tenure", {}, {"tenure_months": [12, 48]}, 0),
        ("tenure", {"months": 24}, {"tenure_months": [18, 6]}, 0.5),
        ("tenure", {"months": 0}, {"tenure_months": [7, 6]}, 1),
        ("tenure", {"longer": "mentee"}, {"tenure_months": [0, 9]}, 0.25),
        ("tenure", {"longer": "neither"}, {"tenure_months": [9, 0]}, 0.75),
        ("tenure", {"longer": "neither"}, {"tenure_months": [0, 99]}, 0),
        ("tenure", {"longer": "neither"}, {"tenure_months": [None, 0]}, 0),
        ("tenure", {}, {}, 0),
        ("location", {}, {"location": ["HQ, Berlin, DE", "hq, berlin , de"]}, 1),
        ("location", {}, {"location": ["Berlin, DE", "Munich, DE"]}, 0.5),
        ("location", {}, {"location": ["DE", "Berlin, DE"]}, 0.5),
        ("location", {}, {"location": ["Paris, FR", "Paris, US"]}, 0),
        ("location", {}, {"location": ["a, b, c, d, e", "x, b, c, d, e"]}, 0.75),
        ("location", {}, {"location": [None, "DE"]}, 0),
        ("location", {}, {"location": [None, " , "]}, 0),
        ("location", {}, {}, 0),
        (
            "style_fit",
            {},
            {
                "offers_encouragement": [5, None],
                "wants_encouragement": [None, 3],
                "offers_challenge": [2, None],
                "wants_challenge": [None, 2],
            },
            0.75,
        ),
        ("style_fit", {}, {}, 0),
        ("offers_wants", {}, {}, 0),
        ("path_fit", {}, {}, 0),
        (
            "path_fit",
            {},
            {"path_now": ["Head of data", None], "path_target": [None, "head of  data"]},
            1,
        ),
    ],
)
def test_a_criterion_lies_between_nothing_and_one(
    word: str, params: dict[str, Any], columns: dict[str, Any], expected: float
) -> None:
    assert value(word, params, **columns) == expected


def test_related_paths_fit_better_than_foreign_ones() -> None:
    values = problem(mentors=2, mentees=1)
    values["participants"] = {
        "id": values["participants"]["id"],
        "path_now": ["I lead the data engineering group", "I sell cars in Bavaria", None],
        "path_target": [None, None, "leading engineers who work with data"],
    }
    values["policy"] = {"soft": [{"rule": "path_fit", "weight": 1}]}

    assert pairs(solve(values)) == [("mentor-0", "mentee-0")]


def test_rare_skills_count_more() -> None:
    values = problem(mentors=2, mentees=1)
    values["participants"] = {
        "id": values["participants"]["id"],
        "skills_offered": [["Common"], ["rare"], ["common"]],
        "skills_wanted": [["common"], ["common"], ["common", "rare"]],
    }
    values["policy"] = {"soft": [{"rule": "offers_wants", "weight": 1}]}

    assert pairs(solve(values)) == [("mentor-1", "mentee-0")]


def test_synonyms_are_the_same_skill() -> None:
    values = problem(mentors=1, mentees=1)
    values["participants"] = {
        "id": values["participants"]["id"],
        "skills_offered": [["ML"], []],
        "skills_wanted": [[], ["machine learning", "law"]],
    }
    values["policy"] = {
        "soft": [{"rule": "offers_wants", "weight": 1}],
        "synonyms": [["Machine learning", "ml"]],
    }

    (found,) = parts_of(values)

    assert found.params == {"covered": ["machine learning"], "missing": ["law"]}


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ([("mentee-0", "mentor-0", "favorite", None)], 0.7),
        ([("mentee-0", "mentor-0", "maybe", None)], 0.35),
        ([("mentee-0", "mentor-0", "yes", 3)], 0.56),
        (
            [
                ("mentee-0", "mentor-0", "favorite", None),
                ("mentor-0", "mentee-0", "favorite", None),
            ],
            1.0,
        ),
        ([], 0.0),
    ],
)
def test_being_wanted_counts_and_twice_counts_more(marks: list[Any], expected: float) -> None:
    said = {
        name: [mark[place] for mark in marks]
        for place, name in enumerate(("by", "about", "mark", "rank"))
    }

    found = part("shortlisted", preferences=said)

    assert found.value == expected
    assert found.params == {"sides": len(marks)}


@pytest.mark.parametrize(
    ("columns", "gap"), [({"tenure_months": [30, 42]}, -12), ({"tenure_months": [30, None]}, None)]
)
def test_tenure_tells_how_far_ahead_the_mentor_is(columns: dict[str, Any], gap: int | None) -> None:
    found = part("tenure", {"longer": "mentee"}, **columns)

    assert found.params == {"gap": gap, "months": 36, "longer": "mentee"}


def test_location_tells_what_is_shared_from_the_country_on() -> None:
    found = part("location", location=["HQ, Berlin, DE", "Depot, Berlin, DE"])

    assert found.params == {"shared": ["de", "berlin"]}


def test_parts_add_up_to_the_score() -> None:
    values = problem(mentors=8, mentees=8)
    values["policy"]["soft"] = [
        {"rule": "offers_wants", "weight": 33},
        {"rule": "style_fit", "weight": 31},
        {"rule": "shared_values", "weight": 7},
    ]

    for match in solve(values).matches:
        assert round(sum(one.points for one in match.parts), 2) == match.score


def test_peers_fit_each_other_alike() -> None:
    weighed = weigh(peers(6))

    assert (weighed.scores == weighed.scores.T).all()


def test_a_mean_of_pairs_says_which_column_it_compares() -> None:
    same = Part(
        rule="attribute_equal",
        key="because.attribute_equal",
        params={"attribute": "department", "shared": ["legal"]},
        points=40,
        weight=2,
        value=1,
    )
    mean = mean_part([same, same.model_copy(update={"points": 0, "value": 0})])

    assert mean.params == {"pairs": 2, "attribute": "department"}
    assert (mean.points, mean.value) == (20, 0.5)
