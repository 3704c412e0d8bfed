"""What a worker answers to the bytes it is handed, without a process around it."""

import io
import json
from typing import Any

import pytest
from pydantic_core import to_json

from services.matching import pool
from services.matching.pool import HEADER, Kind, Message, Operation
from shared.errors import InvalidError
from tests.support.pools import MAX_CELLS, problem


def ask(operation: Operation, body: Any, *, max_cells: int | None = MAX_CELLS) -> list[Message]:
    """Return everything a worker says to one job."""
    said = io.BytesIO()
    job = to_json({"operation": operation, "max_cells": max_cells})

    pool._serve(job, body if isinstance(body, bytes) else to_json(body), said)

    said.seek(0)
    found = []
    while header := said.read(HEADER.size):
        letter, size = HEADER.unpack(header)
        found.append(Message(Kind(letter.decode()), said.read(size)))
    return found


def result(operation: Operation, body: Any) -> Any:
    """Return its last word, which has to be a result."""
    last = ask(operation, body)[-1]
    assert last.kind is Kind.RESULT, last.content
    return json.loads(last.content)


def test_a_solution_is_accepted_before_it_is_solved() -> None:
    values = problem()
    values["policy"]["limits"] = {"time_s": 5}

    said = ask(Operation.SOLUTIONS, values)

    kinds = [message.kind for message in said]
    accepted = said[kinds.index(Kind.ACCEPTED)]
    assert json.loads(accepted.content) == {"time_s": 5}
    assert kinds[-1] is Kind.RESULT
    assert Kind.PROGRESS in kinds


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", Kind.MALFORMED),
        ({}, Kind.MALFORMED),
        (problem(format="flash"), Kind.INVALID),
    ],
)
def test_a_bad_problem_is_refused_with_reasons(body: Any, kind: Kind) -> None:
    (last,) = ask(Operation.SOLUTIONS, body)

    refused = pool.refusal(last)

    assert last.kind is kind
    assert isinstance(refused, InvalidError)
    assert refused.errors


def test_a_worker_is_told_where_things_are_and_to_use_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {"PATH": "/bin", "NUMBA_CACHE_DIR": "/compiled", "MENTORING_KEY": "secret"}
    monkeypatch.setattr("os.environ", known)

    told = pool.environment()

    one_thread = {name for name, value in told.items() if value == "1"}
    assert one_thread == set(pool.WORKER_ENVIRONMENT)
    assert told.keys() - one_thread == {"PATH", "NUMBA_CACHE_DIR", "PYTHONPATH"}


def test_a_fault_of_ours_is_told_as_one() -> None:
    (fault,) = ask(Operation.SOLUTIONS, problem(), max_cells=None)

    assert fault.kind is Kind.FAULT
    with pytest.raises(RuntimeError, match="TypeError"):
        pool.refusal(fault)


def test_scores_of_a_mentor_and_of_a_mentee_come_best_first() -> None:
    for about, place in (("mentor-0", "first"), ("mentee-0", "second")):
        found = result(Operation.SCORES, {"problem": problem(), "about": about})["pairs"]

        scores = [pair["score"] for pair in found]
        assert [pair[place] for pair in found] == [about] * 3
        assert scores == sorted(scores, reverse=True)


def test_groups_are_told_as_their_solution_tells_them() -> None:
    values = problem(mentors=2, mentees=4, seats=[2, 2], format="group")
    matches = result(Operation.SOLUTIONS, values)["solution"]["matches"]
    pairs = [(one["first"], one["second"]) for match in matches for one in match["pairs"]]
    named = {"first": [one for one, _ in pairs], "second": [other for _, other in pairs]}

    groups = result(Operation.SCORES, {"problem": values, "pairs": named})["groups"]

    assert sorted(groups, key=str) == sorted(matches, key=str)
    assert result(Operation.SCORES, {"problem": problem(), "about": "mentor-0"})["groups"] == []


@pytest.mark.parametrize(
    "asked",
    [
        {"about": "nobody"},
        {"pairs": {"first": ["mentor-0"], "second": ["nobody"]}},
        {"pairs": {"first": ["mentor-0"], "second": []}},
    ],
)
def test_a_question_about_nobody_is_refused(asked: dict[str, Any]) -> None:
    assert ask(Operation.SCORES, {"problem": problem(), **asked})[-1].kind is Kind.INVALID


def every_pair(values: dict[str, Any]) -> dict[str, list[str]]:
    ids = values["participants"]["id"]
    mentors = [one for one in ids if one.startswith("mentor")]
    mentees = [one for one in ids if one.startswith("mentee")]
    pairs = [(one, other) for one in mentors for other in mentees]
    return {"first": [one for one, _ in pairs], "second": [other for _, other in pairs]}


@pytest.mark.parametrize("objective", ["most_matched", "stable"])
def test_every_pair_is_explained_and_its_forcing_adds_up(objective: str) -> None:
    values = problem(
        objective=objective,
        seats=[1, 0, 2],
        blocks={"first": ["mentor-0"], "second": ["mentee-1"]},
    )
    body = {"problem": values, "pairs": every_pair(values), "with_what_if": True}

    found = result(Operation.EXPLANATIONS, body)["explanations"]

    assert [one["matched"] for one in found].count(True) == 3
    for one in found:
        assert bool(one["why_not"]) is not one["matched"]
        assert one["what_if"]["possible"] is (one["allowed"] and one["first"] != "mentor-1")
        if one["what_if"]["possible"]:
            changed = sum(pair["score"] for pair in one["what_if"]["gained"])
            changed -= sum(pair["score"] for pair in one["what_if"]["lost"])
            assert one["what_if"]["change"] == pytest.approx(changed, abs=0.005)
        if objective == "most_matched" and one["allowed"] and not one["matched"]:
            assert one["costs_at_least"] is None or one["costs_at_least"] >= 0


@pytest.mark.parametrize("objective", ["most_matched", "best_total"])
def test_alternatives_cost_least_first_and_never_less_than_they_say(objective: str) -> None:
    values = problem(mentors=6, mentees=4, objective=objective)
    body = {
        "problem": values,
        "pairs": every_pair(values),
        "alternatives": 3,
        "with_what_if": True,
    }

    found = result(Operation.EXPLANATIONS, body)["explanations"]

    changes = {(one["first"], one["second"]): one["what_if"]["change"] for one in found}
    for one in found:
        costs = [other["costs_at_least"] for other in one["alternatives"]]
        assert 0 < len(costs) <= 3
        assert costs == sorted(costs)
        for other in one["alternatives"]:
            exact = -changes[other["first"], other["second"]]
            assert 0 <= other["costs_at_least"] <= exact + 0.01


def test_what_costs_a_pair_is_not_told_in_points() -> None:
    # All who are left stand by mentor-0 or mentee-1, so that with both in one pair it is the only.
    apart = [(f"mentor-{one}", f"mentee-{other}") for one in (1, 2) for other in (0, 2)]
    blocks = {"first": [one for one, _ in apart], "second": [other for _, other in apart]}
    values = problem(mentors=3, mentees=3, blocks=blocks)
    asked = {"first": ["mentor-0"], "second": ["mentee-1"]}

    [one] = result(Operation.EXPLANATIONS, {"problem": values, "pairs": asked})["explanations"]

    assert (one["matched"], one["costs_at_least"]) == (False, None)
    # The other mentor would do as well but for the score; what costs a pair comes last.
    assert [other["costs_at_least"] is None for other in one["alternatives"]] == [False, True]


def test_a_policy_is_checked_against_its_own_expectations() -> None:
    pair = ["mentor-0", "mentee-0"]
    expected = {
        "allowed": ({"allowed": True}, True),
        "kept apart": ({"allowed": False}, False),
        "good": ({"score_at_least": 0, "score_at_most": 100}, True),
        "no number": ({"score_at_least": True}, False),
        "unknown word": ({"happy": True}, False),
    }
    policy = {
        **problem()["policy"],
        "tests": [
            {"name": name, "people": pair, "expect": expect}
            for name, (expect, _) in expected.items()
        ],
    }

    answer = result(Operation.POLICY_CHECKS, {"policy": policy, "problem": problem()})

    assert {one["name"]: one["passed"] for one in answer["tests"]} == {
        name: passed for name, (_, passed) in expected.items()
    }
    assert {one["rule"] for one in answer["effects"]} >= {"not_oneself", "not_blocked"}


def test_a_policy_alone_is_judged_by_its_words() -> None:
    broken = result(Operation.POLICY_CHECKS, {"policy": {"hard": [{"rule": "luck"}]}})
    empty = result(Operation.POLICY_CHECKS, {"policy": {}})

    assert [one["code"] for one in broken["faults"]] == ["unknown_rule"]
    assert [one["key"] for one in empty["warnings"]] == ["doubt.no_weight"]
