"""Invented people, and what becomes of pairs."""

from typing import Any

import numpy as np
import pytest

from services.api.pools import rules as pools
from services.api.programs.rules import TrackRole
from services.api.simulations import rules
from services.matching import constraints, scoring
from shared.errors import ConflictError, InvalidError
from shared.schemas.matching import PolicyCheckAnswer, Problem, Reason

TERMS = {"format": "one_to_one", "seniority": "none"}
POLICY: dict[str, Any] = {
    "hard": [{"rule": "attribute_different", "params": {"attribute": "site"}}],
    "soft": [{"rule": "path_fit", "weight": 100, "params": {}}],
    "objective": "most_matched",
    "floor": 0,
    "stay_bonus": 0,
    "text_model": "words",
    "seed": 3,
    "limits": {"max_candidates": None, "time_s": None},
}


def invented(**changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "mentors": 3,
        "mentees": 4,
        "attributes": rules.attributes_of(POLICY),
        "policy": POLICY,
        "seed": 1,
    }
    return rules.invented(TERMS | changes.pop("terms", {}), **usual | changes)


def test_the_same_numbers_make_the_same_people_and_a_valid_problem() -> None:
    assert invented() == invented()
    assert invented(seed=2)["participants"] != invented()["participants"]
    problem = Problem.model_validate(invented())
    assert len(problem.participants.id) == 7
    assert problem.participants.attributes.keys() == {"site"}


@pytest.mark.parametrize(
    ("format_", "roles"),
    [
        ("peer", {TrackRole.PEER}),
        ("sponsorship", {TrackRole.SPONSOR, TrackRole.PROTEGE}),
        ("reverse", {TrackRole.MENTOR, TrackRole.MENTEE}),
    ],
)
def test_invented_people_take_the_roles_of_the_format(format_: str, roles: set[TrackRole]) -> None:
    assert set(invented(terms={"format": format_})["places"]["role"]) == roles


def test_an_invented_mentor_has_places_for_a_group_of_the_track() -> None:
    group = {"format": "group", "min_members": 3, "max_members": 5}

    capacity = invented(mentors=30, terms=group)["places"]["capacity"]

    assert set(capacity[:30]) == {3, 4, 5}
    assert set(capacity[30:]) == {1}
    assert invented(mentors=30, terms=group) == invented(mentors=30, terms=group)
    assert set(invented(mentors=30)["places"]["capacity"]) == {1, 2}


def test_more_pairs_than_a_request_may_try_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MOST_PAIRS", 12)
    rules.require_bounded(invented(), "#/synthetic")

    for larger in (invented(mentors=4), invented(terms={"format": "peer"})):
        with pytest.raises(ConflictError) as refused:
            rules.require_bounded(larger, "#/synthetic")
        assert [(one.pointer, one.code) for one in refused.value.errors] == [
            ("#/synthetic", "too_many_pairs")
        ]


@pytest.mark.parametrize(("soft", "hard"), rules.DECIDED)
@pytest.mark.parametrize("unknown", ["passes", "fails"])
def test_matching_gives_what_a_hard_rule_decides(soft: str, hard: str, unknown: str) -> None:
    places = [None, "Site, Rome, Italy", "site, rome, italy", "Oslo, Norway", "Norway"]
    everybody = range(len(places))
    problem = Problem.model_validate(
        {
            "format": "one_to_one",
            "policy": {"soft": [{"rule": "path_fit", "weight": 1}]},
            "participants": {"id": [str(one) for one in everybody], "location": places},
            "places": {"participant": [], "role": [], "capacity": []},
        }
    )
    params = {"attribute": "location", "unknown": unknown}
    pairs = np.indices((len(places), len(places))).reshape(2, -1)

    apart = constraints.RULES[hard].apart(problem, everybody, everybody, params).pairs(*pairs)
    fit = scoring.CRITERIA[soft].fit(problem, everybody, everybody, params).pairs(*pairs)

    known = {float(one) for one, pair in zip(fit, pairs.T, strict=True) if pair.all()}
    let_be = {
        (bool(pair.all()), float(one))
        for one, is_apart, pair in zip(fit, apart, pairs.T, strict=True)
        if not is_apart
    }
    assert known >= {0.0, 1.0}
    assert let_be - {(False, 0.0)} == {(True, float(rules.DECIDED[soft, hard]))}


def test_a_doubt_lies_where_its_criterion_stands() -> None:
    site, town = ({"attribute": one} for one in ("site", "town"))
    same, path = "doubt.same_for_everybody", "path_fit"
    policy: dict[str, Any] = {
        "tests": [],
        "hard": [{"rule": "attribute_equal", "params": town}],
        "soft": [
            {"rule": path, "weight": 1, "params": {}},
            {"rule": "attribute_equal", "weight": 2, "params": site},
            {"rule": "attribute_equal", "weight": 3, "params": town},
        ],
    }
    answer = PolicyCheckAnswer(
        valid=True,
        faults=[],
        warnings=[
            Reason(rule=path, key=same, params={"weight": 1}),
            Reason(rule="attribute_equal", key=same, params={**town, "weight": 3}),
            Reason(rule="attribute_equal", key="doubt.contradiction", params=town),
        ],
    )

    found = [one.pointer for one in rules.findings(answer, policy) if "decided" not in one.key]

    assert found == ["#/policy/soft/0", "#/policy/soft/2", "#/policy/hard/0"]


def test_a_format_without_one_pool_is_not_tried() -> None:
    with pytest.raises(InvalidError):
        rules.require_solved("flash")
    rules.require_solved("group")


def test_pairs_are_kept_changed_lost_or_new_for_who_seeks() -> None:
    base = {("m1", "a"), ("m2", "b"), ("m3", "c")}
    other = {("m1", "a"), ("m3", "b"), ("m2", "d")}

    found = pools.difference(base, other, is_peer=False)

    assert found.kept == {("m1", "a")}
    assert found.changed == {("m3", "b")}
    assert found.lost == {("m3", "c")}
    assert found.new == {("m2", "d")}


def test_among_peers_both_seek() -> None:
    found = pools.difference({("a", "b"), ("c", "d")}, {("a", "c")}, is_peer=True)

    assert found.changed == {("a", "c")}
    assert found.lost | found.new == set()
