"""What leaves the organization: keyed names, and everything known in columns."""

from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.api.pools import rules
from services.api.pools.rules import Drawn, FrozenTask, There
from services.api.programs.rules import Format, TrackRole

MENTOR, MENTEE, PEER = TrackRole.MENTOR, TrackRole.MENTEE, TrackRole.PEER
FACILITATOR = TrackRole.FACILITATOR
KEY = rules.organization_secret(b"secret", UUID(int=1))


def test_two_mentees_of_one_mentor_are_no_pair() -> None:
    mentor, first, second = (uuid4() for _ in range(3))

    pairs = rules.pairs_across([(mentor, MENTOR), (first, MENTEE), (second, MENTEE)])

    assert pairs == [(mentor, first), (mentor, second)]


@pytest.mark.parametrize(
    ("one", "other", "are_across"),
    [
        ({MENTOR}, {MENTEE}, True),
        ({MENTEE}, {MENTOR}, True),
        ({PEER}, {PEER}, True),
        ({MENTOR, MENTEE}, {MENTEE}, True),
        ({MENTOR}, {MENTOR}, False),
        ({MENTEE}, {MENTEE}, False),
    ],
)
def test_only_two_of_two_sides_are_a_pair_of_a_pool(
    one: set[TrackRole], other: set[TrackRole], *, are_across: bool
) -> None:
    ann, ben, stranger = uuid4(), uuid4(), uuid4()
    places = [(row, role) for row, roles in enumerate((one, other)) for role in roles]
    task = FrozenTask(
        problem={
            "participants": {"id": ["ann", "ben"]},
            "places": {
                "participant": [row for row, _role in places],
                "role": [role.value for _row, role in places],
            },
        },
        participants={"ann": ann, "ben": ben},
    )

    assert task.pairs_of((ann, ben)) == ([("ann", "ben")] if are_across else None)
    assert task.pairs_of((ann, stranger)) == []


def test_who_leads_a_group_and_seeks_a_mentor_is_a_pair_as_who_leads() -> None:
    leader, newcomer = uuid4(), uuid4()
    task = FrozenTask(
        problem={
            "participants": {"id": ["seeks", "leads", "new"]},
            "places": {"participant": [0, 1, 2], "role": ["mentee", "mentor", "mentee"]},
        },
        participants={"seeks": leader, "new": newcomer},
        there={"leads": There(uuid4(), leader, leads=True)},
    )

    assert task.pairs_of((newcomer, leader)) == [("new", "leads")]


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


def test_the_past_hash_of_a_person_is_no_name_that_matching_knows_them_by() -> None:
    person = UUID(int=7)
    other_key = rules.organization_secret(b"secret", UUID(int=2))

    assert rules.past_hash(KEY, person) == rules.past_hash(KEY, person)
    assert rules.past_hash(KEY, person) != rules.past_hash(other_key, person)
    assert not rules.past_hash(KEY, person).startswith(rules.opaque_id(KEY, person))


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


POLICY: dict[str, Any] = {
    "hard": [],
    "soft": [{"rule": "path_fit", "weight": 10}],
    "objective": "x",
    "floor": 0,
    "stay_bonus": 0,
    "text_model": "words",
    "seed": 3,
    "limits": {"max_candidates": None, "time_s": None},
}


WISHES = {"rule": "shortlisted", "weight": 10}


def problem(input_: dict[str, Any], *soft: dict[str, Any]) -> dict[str, Any]:
    policy = {**POLICY, "soft": [*POLICY["soft"], *soft]}
    return rules.problem_of(input_, as_of=date(2026, 7, 1), policy=policy, seed=9)


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


# Mentorships that are there and are filled.


def there(name: str, *members: dict[str, Any], places: int = 2) -> dict[str, Any]:
    return {
        "id": name,
        "places": places,
        "members": [{**one, "seat": f"{name}/{one['id']}/{one['role']}"} for one in members],
    }


def group(name: str, mentor: str, *mentees: str, places: int = 2) -> dict[str, Any]:
    return there(
        name,
        entry(mentor, "mentor", grade_rank=5),
        *(entry(one, "mentee") for one in mentees),
        places=places,
    )


def filling(format_: str, *people: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return frozen(*people, **{"track": {"format": format_, "seniority": "none"}, **changes})


def pairs_of(columns: dict[str, list[str]]) -> set[frozenset[str]]:
    return {frozenset(one) for one in zip(columns["first"], columns["second"], strict=True)}


def places_of(told: dict[str, Any]) -> list[tuple[str, str, int]]:
    names = told["participants"]["id"]
    return [
        (names[row], role, capacity)
        for row, role, capacity in zip(*told["places"].values(), strict=True)
    ]


def test_a_group_is_its_mentor_once_for_each_group_and_takes_mentees_one_by_one() -> None:
    told = problem(
        filling(
            "group",
            entry("n", "mentee"),
            there=[group("g1", "m", "x", places=1), group("g2", "m", "y", "z", places=3)],
        )
    )

    assert told["format"] == "one_to_one"
    assert places_of(told) == [("n", "mentee", 1), ("g1", "mentor", 1), ("g2", "mentor", 3)]
    assert told["participants"]["grade_rank"] == [None, 5, 5]


def test_nothing_to_fill_is_still_a_problem_of_that_form() -> None:
    told = problem(filling("group", entry("n", "mentee"), there=[]))

    assert (told["format"], places_of(told)) == ("one_to_one", [("n", "mentee", 1)])


@pytest.mark.parametrize("name", rules.KEPT_APART)
@pytest.mark.parametrize("member", ["m", "x", "g"])
def test_who_is_kept_from_anybody_in_a_group_is_kept_out(name: str, member: str) -> None:
    told = problem(
        filling(
            "group",
            entry("n", "mentee"),
            there=[group("g", "m", "x"), group("h", "p", "q")],
            **{name: [["n", member], ["m", "x"], ["p", "x"]]},
        )
    )

    assert pairs_of(told["blocks"]) == {frozenset({"n", "g"})}


def test_who_waits_beside_being_a_member_does_not_join_their_own() -> None:
    told = problem(
        filling(
            "group",
            entry("x", "mentee"),
            there=[group("g", "m", "x"), group("h", "m", "y")],
            live=[["m", "x"]],
        )
    )

    assert pairs_of(told["blocks"]) == {frozenset({"x", "g"}), frozenset({"x", "h"})}


def test_past_pairs_locks_and_favorites_mean_the_group() -> None:
    told = problem(
        filling(
            "group",
            entry("n", "mentee"),
            entry("o", "mentee"),
            there=[group("g", "m", "x")],
            past=[["m", "n"], ["m", "x"]],
            current=[["g", "o"]],
            favorites=[["n", "m"], ["m", "o"], ["n", "x"], ["o", "n"]],
            locks=[[{"id": "g", "role": "mentor"}, {"id": "n", "role": "mentee"}]],
        ),
        WISHES,
    )

    assert told["past_pairs"] == {"first": ["g"], "second": ["n"]}
    assert told["current_pairs"] == {"first": ["g"], "second": ["o"]}
    assert told["locks"] == {"first": ["g"], "second": ["n"]}
    said = told["preferences"]
    assert list(zip(said["by"], said["about"], strict=True)) == [
        *(("n", "g"), ("g", "o"), ("o", "n"))
    ]


def test_lines_lead_to_a_group_from_whoever_is_in_it() -> None:
    told = problem(
        filling(
            "group",
            entry("n", "mentee", line=["b", "x", "c"]),
            entry("o", "mentee", line=["n"]),
            there=[group("g", "m"), there("h", entry("p", "mentor"), entry("x", "mentee"))],
        )
    )

    assert told["participants"]["reporting_line"] == [["b", "h", "c"], ["n"], [], []]


def test_a_group_reports_to_whom_anybody_in_it_reports() -> None:
    many = [f"above-{number}" for number in range(80)]
    told = problem(
        filling(
            "group",
            entry("n", "mentee"),
            there=[
                there(
                    "g",
                    entry("m", "mentor", line=["n", "b"]),
                    entry("x", "mentee", line=["b", *many]),
                )
            ],
        )
    )

    line = told["participants"]["reporting_line"][1]
    assert (line[:3], len(line)) == (["n", "b", "above-0"], rules.LONGEST_TOLD)


def test_a_circle_is_who_leads_it_and_everybody_else_in_a_row_of_their_own() -> None:
    circle = there(
        "c",
        entry("f", "facilitator"),
        entry("e", "facilitator"),
        entry("m", "mentor"),
        entry("x", "mentee"),
        places=3,
    )
    other = there("d", entry("f", "facilitator"), entry("f", "mentor"), entry("x", "mentee"))

    told = problem(
        filling(
            "circle",
            entry("n", "mentee"),
            entry("x", "mentee"),
            there=[circle, other],
            blocked=[["e", "n"], ["f", "x"], ["m", "x"]],
        )
    )

    assert told["format"] == "circle"
    assert places_of(told) == [
        ("n", "mentee", 1),
        ("x", "mentee", 1),
        ("c", "facilitator", 1),
        ("c/m/mentor", "mentor", 1),
        ("c/x/mentee", "mentee", 1),
        ("d", "facilitator", 1),
        ("d/f/mentor", "mentor", 1),
        ("d/x/mentee", "mentee", 1),
    ]
    assert told["there"] == {
        "id": ["c", "c/m/mentor", "c/x/mentee", "d", "d/f/mentor", "d/x/mentee"],
        "role": ["facilitator", "mentor", "mentee"] * 2,
        "circle": [0, 0, 0, 1, 1, 1],
    }
    assert told["openings"] == {"circle": [0, 1], "places": [3, 2]}
    assert pairs_of(told["blocks"]) == {
        frozenset({"n", "c"}),
        *(frozenset({"x", one}) for one in ("c", "d", "d/f/mentor", "c/m/mentor")),
        *(frozenset({"x", one}) for one in ("c/x/mentee", "d/x/mentee")),
    }


def test_who_is_locked_to_a_circle_waits_in_that_role_only() -> None:
    circle = there("c", entry("f", "facilitator"), entry("m", "mentor"))

    told = problem(
        filling(
            "circle",
            entry("n", "mentee"),
            entry("n", "mentor"),
            entry("o", "mentor"),
            there=[circle],
            locks=[[{"id": "c", "role": "mentor"}, {"id": "n", "role": "mentee"}]],
        )
    )

    assert places_of(told)[:2] == [("n", "mentee", 1), ("o", "mentor", 1)]
    assert told["locks"] == {"first": ["c"], "second": ["n"]}


@pytest.mark.parametrize(
    ("format_", "roles", "is_open"),
    [
        ("group", {MENTOR, MENTEE}, True),
        ("group", {MENTEE}, False),
        ("group", {MENTOR}, False),
        ("circle", {FACILITATOR, MENTOR}, True),
        ("circle", {FACILITATOR, MENTEE}, True),
        ("circle", {MENTOR, MENTEE}, False),
        ("circle", {FACILITATOR}, False),
    ],
)
def test_only_what_is_led_is_filled(format_: str, roles: set[TrackRole], *, is_open: bool) -> None:
    assert rules.takes_more(Format(format_), roles) is is_open


def resting(**changes: Any) -> dict[str, Any] | None:
    known = filling(
        "group",
        entry("n", "mentee"),
        entry("o", "mentee"),
        there=[group("g", "m", "x"), group("h", "p")],
    )
    return rules.rests_on({**known, **changes}, person="n", role="mentee", mentorship="g")


@pytest.mark.parametrize(
    "changes",
    [
        {"people": [entry("n", "mentee", seats=2), entry("z", "mentee")]},
        {"there": [group("g", "m", "x", places=1)]},
        {"blocked": [["n", "o"], ["n", "p"], ["m", "x"]]},
        {"locks": [[{"id": "h", "role": "mentor"}]]},
    ],
    ids=["others", "places", "other pairs", "decisions"],
)
def test_a_place_rests_on_nothing_that_concerns_others(changes: dict[str, Any]) -> None:
    assert resting(**changes) == resting()


@pytest.mark.parametrize(
    "changes",
    [
        {"people": [entry("n", "mentee", values=["calm"])]},
        {"there": [group("g", "m", "x", "y")]},
        {"track": {"format": "group", "seniority": "mentor_higher"}},
        *({name: [["m", "n"]]} for name in rules.RELATIONS),
        {"ignored": [["n", "x"]]},
        {"blocked": [["g", "n"]]},
    ],
)
def test_a_place_rests_on_who_joins_whom(changes: dict[str, Any]) -> None:
    assert resting(**changes) != resting()


@pytest.mark.parametrize(
    "changes",
    [{"people": [entry("n", "mentor")]}, {"there": [group("h", "p")]}],
    ids=["no longer waits", "takes nobody"],
)
def test_nothing_rests_on_what_is_gone(changes: dict[str, Any]) -> None:
    assert resting(**changes) is None


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
    known = frozen(
        entry("a", "mentor"),
        entry("b", "mentee"),
        ignored=[["a", "b"]],
        blocked=[["a", "b"]],
        favorites=[["b", "a"]],
    )

    told = problem(known, WISHES)

    assert told["blocks"] == {"first": ["a"], "second": ["b"]}
    assert told["preferences"] == {"by": ["b"], "about": ["a"], "mark": ["favorite"]}
    for policy in ([], [{**WISHES, "weight": 0}]):
        assert problem(known, *policy)["preferences"] == {"by": [], "about": [], "mark": []}


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


def comparing(weight: int, model: str = "words") -> dict[str, Any]:
    people = {"id": ["a", "b"], "path_now": ["one", None], "path_target": ["two", "one"]}
    soft = [{"rule": "path_fit", "weight": weight, "params": {}}]
    return {"policy": {"soft": soft, "text_model": model}, "participants": people}


@pytest.mark.parametrize(
    ("weight", "model", "texts"),
    [(1, "words", ["one", "two"]), (0, "words", []), (1, "letters", [])],
)
def test_texts_become_vectors_where_a_policy_weighs_what_they_mean(
    weight: int, model: str, texts: list[str]
) -> None:
    assert rules.texts_to_compare(comparing(weight, model)) == texts


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
