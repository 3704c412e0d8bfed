"""What is wrong with a problem, each with its pointer."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.matching import constraints, inputs, scoring
from shared.schemas.matching import HARD_RULES, PARAMS, SOFT_RULES, Problem
from tests.support.pools import MAX_CELLS, problem


def faults(values: dict[str, Any], max_cells: int = MAX_CELLS) -> set[tuple[str, str]]:
    found = inputs.faults_of(Problem.model_validate(values), max_cells=max_cells)
    return {(one.pointer, one.code) for one in found}


def changed(table: str, **columns: Any) -> dict[str, Any]:
    values = problem(mentors=2, mentees=2)
    return values | {table: values[table] | columns}


def hard(rule: str, **params: Any) -> dict[str, Any]:
    return changed("policy", hard=[{"rule": rule, "params": params}])


def one_of(values: Any, **params: Any) -> dict[str, Any]:
    return hard("attribute_in", attribute="department", values=values, **params)


AT = "#/policy/hard/0/params"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (problem(format="circle"), ("#/format", "format_not_supported")),
        (
            changed("participants", id=["a", "b", "a", "c"]),
            ("#/participants/id/2", "not_unique"),
        ),
        (changed("participants", languages=[["en"]]), ("#/participants/languages", "wrong_length")),
        (
            changed("participants", attributes={"floor": [1]}),
            ("#/participants/attributes/floor", "wrong_length"),
        ),
        (changed("places", capacity=[1]), ("#/places/capacity", "wrong_length")),
        (
            changed("places", participant=[0, 1, 2, 9]),
            ("#/places/participant/3", "out_of_range"),
        ),
        (
            changed("places", participant=[0, 0, 2, 3]),
            ("#/places/role/1", "not_unique"),
        ),
        (
            changed("places", role=["mentor", "peer", "mentee", "mentee"]),
            ("#/places/role/1", "role_not_allowed"),
        ),
        (
            changed("places", minimum=[2, 0, 0, 0]),
            ("#/places/minimum/0", "minimum_above_capacity"),
        ),
        (
            problem(locks={"first": ["mentor-0"], "second": ["nobody"]}),
            ("#/locks/second/0", "unknown_reference"),
        ),
        (problem(blocks={"first": ["a"], "second": []}), ("#/blocks/second", "wrong_length")),
        (
            problem(preferences={"by": ["a"], "about": [], "mark": []}),
            ("#/preferences/about", "wrong_length"),
        ),
        (hard("star_sign"), ("#/policy/hard/0/rule", "unknown_rule")),
        (hard("seniority", sign=1), (f"{AT}/sign", "unknown_parameter")),
        (hard("seniority", gap_min="two"), (f"{AT}/gap_min", "wrong_type")),
        (hard("seniority", gap_min=5, gap_max=2), (f"{AT}/gap_min", "minimum_above_maximum")),
        (hard("seniority", gap_min=True), (f"{AT}/gap_min", "wrong_type")),
        (hard("reporting_line_distance", levels=-1), (f"{AT}/levels", "out_of_range")),
        (hard("seniority", relation="above"), (f"{AT}/relation", "not_allowed")),
        (hard("attribute_equal"), (f"{AT}/attribute", "missing")),
        (hard("attribute_equal", attribute="shoe"), (f"{AT}/attribute", "unknown_attribute")),
        (hard("attribute_in", attribute="department"), (f"{AT}/values", "missing")),
        (one_of("law"), (f"{AT}/values", "wrong_type")),
        (one_of(["law", 3]), (f"{AT}/values", "wrong_type")),
        (one_of([]), (f"{AT}/values", "too_short")),
        (one_of(["law", ""]), (f"{AT}/values", "too_short")),
        (one_of(["law"] * 101), (f"{AT}/values", "too_long")),
        (one_of(["law", "l" * 201]), (f"{AT}/values", "too_long")),
        (one_of(["law"], side="left"), (f"{AT}/side", "not_allowed")),
        (
            changed("policy", soft=[{"rule": "luck", "weight": 1}]),
            ("#/policy/soft/0/rule", "unknown_rule"),
        ),
    ],
)
def test_a_fault_has_a_pointer_and_a_code(
    values: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert expected in faults(values)


def test_every_word_of_the_contract_is_worked_out_here() -> None:
    assert constraints.RULES.keys() == HARD_RULES.keys()
    assert scoring.CRITERIA.keys() == SOFT_RULES.keys()
    taken = {name for takes in (*HARD_RULES.values(), *SOFT_RULES.values()) for name in takes}
    assert taken == PARAMS.keys()


def test_too_many_pairs_are_refused() -> None:
    assert faults(problem(), max_cells=8) == {("#/places", "too_many_pairs")}


def test_a_good_problem_has_no_faults() -> None:
    assert faults(problem()) == set()


def test_null_parameters_count_as_left_out() -> None:
    values = hard("seniority", gap_min=None)

    assert faults(values) == set()
    assert inputs.canonical(Problem.model_validate(values)).policy.hard[0].params == {}


@pytest.mark.parametrize("weight", ["NaN", "Infinity", "-1", "101", "1.5", "true"])
def test_weights_are_whole_numbers(weight: str) -> None:
    text = (
        '{"format":"peer","policy":{"soft":[{"rule":"path_fit","weight":%s}]},'
        '"participants":{"id":[]},"places":{"participant":[],"role":[],"capacity":[]}}'
    )

    with pytest.raises(ValidationError):
        Problem.model_validate_json(text % weight)


def test_everything_api_may_store_as_a_policy_is_read() -> None:
    values = problem()
    values["policy"] |= {"id": "pol_1", "name": "Ours", "policy_version": 3, "frozen": True}

    assert faults(values) == set()
