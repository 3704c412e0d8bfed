"""What leaves the organization: keyed names, and everything known in columns."""

from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.api.pools import rules
from services.api.pools.rules import Drawn
from services.api.programs.rules import TrackRole

MENTOR, MENTEE, PEER = TrackRole.MENTOR, TrackRole.MENTEE, TrackRole.PEER
FACILITATOR = TrackRole.FACILITATOR
KEY = rules.organization_secret(b"secret", UUID(int=1))


def test_two_mentees_of_one_mentor_are_no_pair() -> None:
    mentor, first, second = (uuid4() for _ in range(3))

    pairs = rules.pairs_across([(mentor, MENTOR), (first, MENTEE), (second, MENTEE)])

    assert pairs == [(mentor, first), (mentor, second)]


def test_pairs_are_told_with_the_mentor_side_first() -> None:
    assert rules.mentor_first([("b", MENTEE), ("a", MENTOR)]) == [("a", "b")]
    assert rules.mentor_first([("y", PEER), ("x", PEER)]) == [("x", "y")]


def test_a_circle_turned_down_parts_mentors_from_mentees_and_nobody_from_who_leads() -> None:
    circle = [("f", FACILITATOR), ("a", MENTOR), ("b", MENTOR), ("x", MENTEE)]

    assert rules.turned_down(circle) == [("a", "x"), ("b", "x")]
    assert rules.turned_down([("y", PEER), ("x", PEER)]) == [("x", "y")]


def test_who_declines_is_kept_from_all_others_and_only_they_are() -> None:
    circle = [("f", FACILITATOR), ("a", MENTOR), ("x", MENTEE), ("y", MENTEE)]

    assert rules.declined(circle, {"x"}) == [("f", "x"), ("a", "x")]


def test_draws_before_are_counted_from_the_last_one_back() -> None:
    draws = [
        Drawn(pairs=[("b", "a")], left={"c"}),
        Drawn(pairs=[("b", "c")], left={"a"}),
        Drawn(pairs=[("a", "b")], left={"c", "b"}),
    ]

    assert rules.history_of(draws) == {
        "met": [["a", "b", 2, 1], ["b", "c", 1, 2]],
        "sat_out": [["a", 1], ["c", 2]],
    }


def test_opaque_ids_are_stable_and_differ_between_organizations() -> None:
    person = UUID(int=7)
    other_key = rules.organization_secret(b"secret", UUID(int=2))

    assert rules.opaque_id(KEY, person) == rules.opaque_id(KEY, person)
    assert rules.opaque_id(KEY, person) != rules.opaque_id(other_key, person)
    assert person.hex not in rules.opaque_id(KEY, person)


def test_a_past_pair_is_found_by_its_hash_whoever_comes_first() -> None:
    ann, ben, cem = (UUID(int=number) for number in (1, 2, 3))
    known = {rules.pair_hash(KEY, ben, ann)}

    assert rules.pairs_of_hashes([cem, ben, ann], known, KEY) == {(ann, ben)}
    assert rules.pairs_of_hashes([cem, ben, ann], set(), KEY) == set()


def test_a_line_above_ends_where_it_began() -> None:
    ann, ben, cem = (UUID(int=number) for number in (1, 2, 3))

    assert rules.line_above(ann, {ann: ben, ben: cem}) == [ben, cem]
    assert rules.line_above(ann, {ann: ben, ben: ann}) == [ben, ann]
    assert rules.line_above(cem, {}) == []


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert rules.digest({"a": 1, "b": [2]}) == rules.digest({"b": [2], "a": 1})
    assert rules.digest({"a": 1}) != rules.digest({"a": 2})


@pytest.mark.parametrize(
    ("grade", "rank"), [("Junior", 0), ("Lead", 1), ("Unheard of", None), (None, None)]
)
def test_a_grade_ranks_by_its_place(grade: str | None, rank: int | None) -> None:
    assert rules.grade_rank(grade, ["Junior", "Lead"]) == rank


def entry(name: str, role: str, **changes: Any) -> dict[str, Any]:
    nothing = {"encouragement": None, "challenge": None}
    return {
        "id": name,
        "role": role,
        "seats": 1,
        "line": [],
        "grade_rank": None,
        "department": None,
        "location": None,
        "timezone": "Europe/Berlin",
        "hired_on": None,
        "languages": ["en"],
        "values": [],
        "path_now": None,
        "path_target": None,
        "wants": nothing,
        "offers": nothing,
        "wants_skills": [],
        "offers_skills": [],
        "attributes": {},
        **changes,
    }


def frozen(*people: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "track": {"format": "one_to_one", "seniority": "none"},
        "people": list(people),
        "past": [],
        "live": [],
        "blocked": [],
        "turned_down": [],
        "current": [],
        "locks": [],
        "synonyms": [],
        "ignored": [],
        "favorites": [],
        **changes,
    }


POLICY = {
    "hard": [],
    "soft": [{"rule": "path_fit", "weight": 10}],
    "objective": "x",
    "floor": 0,
    "stay_bonus": 0,
    "seed": 3,
}


def problem(input_: dict[str, Any]) -> dict[str, Any]:
    return rules.problem_of(input_, as_of=date(2026, 7, 1), policy=POLICY, seed=9)


def test_somebody_in_two_roles_is_one_participant_with_two_places() -> None:
    told = problem(
        frozen(entry("a", "mentor", seats=2), entry("a", "mentee"), entry("b", "mentee"))
    )

    assert told["participants"]["id"] == ["a", "b"]
    assert told["places"] == {
        "participant": [0, 0, 1],
        "role": ["mentor", "mentee", "mentee"],
        "capacity": [2, 1, 1],
    }


def test_locked_people_of_a_circle_are_told_with_their_roles() -> None:
    group = [{"id": "a", "role": "mentor"}, {"id": "f", "role": "facilitator"}]

    told = problem(
        frozen(
            entry("a", "mentor"),
            entry("f", "facilitator"),
            track={"format": "circle", "seniority": "none"},
            locks=[group],
        )
    )

    assert told["there"] == {
        "id": ["a", "f"],
        "role": ["mentor", "facilitator"],
        "circle": [0, 0],
    }
    assert told["locks"] == {"first": [], "second": []}


def test_a_draw_is_told_of_earlier_ones_in_columns() -> None:
    told = problem(
        frozen(
            entry("a", "peer"),
            entry("b", "peer"),
            track={"format": "peer", "seniority": "none"},
            met=[["a", "b", 2, 1]],
            sat_out=[["a", 3]],
        )
    )

    assert told["met"] == {"first": ["a"], "second": ["b"], "times": [2], "ago": [1]}
    assert told["sat_out"] == {"id": ["a"], "times": [3]}
    assert "met" not in problem(frozen(entry("a", "mentor")))


def test_time_zones_and_tenure_are_those_of_the_day_it_was_frozen() -> None:
    told = problem(frozen(entry("a", "mentor", hired_on="2024-05-20")))["participants"]

    assert told["utc_offset_minutes"] == [120]
    assert told["tenure_months"] == [26]
    assert rules.tenure_months("2027-01-01", date(2026, 7, 1)) == 0


def test_who_is_together_was_declined_or_turned_down_is_kept_apart() -> None:
    told = problem(
        frozen(
            entry("a", "mentor"),
            live=[["a", "b"]],
            blocked=[["a", "c"], ["a", "b"]],
            turned_down=[["b", "c"]],
            past=[["a", "d"]],
            locks=[[{"id": "e", "role": "mentee"}, {"id": "f", "role": "mentor"}]],
        )
    )

    assert told["blocks"] == {"first": ["a", "a", "b"], "second": ["b", "c", "c"]}
    assert told["past_pairs"] == {"first": ["a"], "second": ["d"]}
    assert told["locks"] == {"first": ["f"], "second": ["e"]}


def test_whom_somebody_ignores_looks_like_any_other_block_and_a_favorite_is_a_wish() -> None:
    told = problem(
        frozen(
            entry("a", "mentor"),
            entry("b", "mentee"),
            ignored=[["a", "b"]],
            blocked=[["a", "b"]],
            favorites=[["b", "a"]],
        )
    )

    assert told["blocks"] == {"first": ["a"], "second": ["b"]}
    assert told["preferences"] == {"by": ["b"], "about": ["a"], "mark": ["favorite"]}


def test_no_policy_lets_two_of_one_reporting_line_meet() -> None:
    whole_line = {"rule": "reporting_line_distance", "params": {}}
    nearest = {"rule": "reporting_line_distance", "params": {"levels": 1}}

    def hard(*said: dict[str, Any]) -> Any:
        return rules.policy_of(POLICY | {"hard": list(said)}, synonyms=[])["hard"]

    assert hard() == [whole_line]
    assert hard(whole_line) == [whole_line]
    assert hard(nearest) == [nearest, whole_line]


def test_attributes_stand_in_columns_with_gaps() -> None:
    told = problem(frozen(entry("a", "mentor", attributes={"site": "North"}), entry("b", "mentee")))

    assert told["participants"]["attributes"] == {"site": ["North", None]}


def test_a_frozen_entry_holds_no_name_and_only_answers_that_may_be_matched() -> None:
    row = {
        "person_id": UUID(int=5),
        "role": "mentor",
        "seats": 2,
        "grade": "Lead",
        "department": "Sales",
        "country": "DE",
        "city": None,
        "site": "North",
        "timezone": "Europe/Berlin",
        "locale": "de-DE",
        "hired_on": date(2020, 1, 1),
        "answers": {"open": ["x"], "closed": "y"},
        **dict.fromkeys(("values", "path_now", "path_target", "wants", "offers", "wants_skills")),
        "offers_skills": ["Python"],
        "languages": None,
    }

    made = rules.pool_entry(
        row, key=KEY, grade_order=["Junior", "Lead"], managers={}, matchable={"open"}
    )

    assert made["attributes"] == {"open": ["x"]}
    assert made["languages"] == ["de"]
    assert (made["grade_rank"], made["location"]) == (1, "North, DE")
    assert str(UUID(int=5)) not in str(made)


def test_equal_locks_are_kept_once() -> None:
    one = [{"id": "b", "role": "mentee"}, {"id": "a", "role": "mentor"}]

    assert rules.without_repeats([one, list(reversed(one))]) == [list(reversed(one))]


def test_opaque_ids_are_revealed_wherever_they_stand() -> None:
    value = {"by": "a", "list": ["b", 3], "text": "about a"}

    assert rules.revealed(value, {"a": "par_1", "b": "par_2"}) == {
        "by": "par_1",
        "list": ["par_2", 3],
        "text": "about a",
    }


def comparing(weight: int) -> dict[str, Any]:
    people = {"id": ["a", "b"], "path_now": ["one", None], "path_target": ["two", "one"]}
    soft = [{"rule": "path_fit", "weight": weight, "params": {}}]
    return {"policy": {"soft": soft}, "participants": people}


@pytest.mark.parametrize(("weight", "texts"), [(1, ["one", "two"]), (0, [])])
def test_texts_matter_where_a_policy_weighs_them(weight: int, texts: list[str]) -> None:
    assert rules.texts_to_compare(comparing(weight)) == texts


def test_a_problem_brings_along_the_vectors_that_are_known() -> None:
    found = rules.with_vectors(comparing(1), model="words", vectors={"one": b"\x01\x02"})

    assert found["participants"] == {
        **comparing(1)["participants"],
        "vector_model": "words",
        "path_now_vector": ["AQI=", None],
        "path_target_vector": [None, "AQI="],
    }


def test_words_of_one_skill_mean_the_same_in_matching() -> None:
    words = ["Machine learning", "ml"]

    assert problem(frozen(synonyms=[words]))["policy"]["synonyms"] == [words]
