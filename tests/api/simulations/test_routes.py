"""Policies tried over HTTP, on the real matching."""

from typing import Any

import httpx
import pytest

from services.api.simulations import rules
from tests.support.apps import World, found_world
from tests.support.match_runs import Pool, gathered, waiting
from tests.support.matching_server import Matching
from tests.support.participants import PREFERENCES, Somebody
from tests.support.pools import until
from tests.support.programs import draft, post

PLAIN = {"soft": [{"rule": "path_fit", "weight": 100}]}


async def check(pool: Pool, policy: dict[str, Any], **body: Any) -> dict[str, Any]:
    """Judge a policy on the pool."""
    return await post(
        pool.coordinator,
        "/v1/policy-checks",
        {"track_id": pool.offer.track["id"], "policy": policy, **body},
    )


async def simulate(pool: Pool, **body: Any) -> httpx.Response:
    """Try a policy on the track."""
    return await pool.coordinator.post(
        "/v1/policy-simulations", json={"track_id": pool.offer.track["id"], **body}
    )


async def simulated(pool: Pool, **body: Any) -> dict[str, Any]:
    """Return what a policy would do."""
    answer = await simulate(pool, **body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def speaks(somebody: Somebody, *languages: str) -> None:
    answer = await somebody.client.put(
        f"{somebody.path}/preferences",
        json=PREFERENCES | {"languages": languages},
        headers={"If-Match": "*"},
    )
    assert answer.status_code == 200, answer.text


def told(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(one["kind"], one["key"], one["pointer"]) for one in answer["findings"]]


async def test_a_policy_is_judged_by_itself(world: World) -> None:
    offer = await draft(world)
    policy = {
        "hard": [{"rule": "shares_a_hobby"}, {"rule": "timezone_overlap", "params": {"hours": 99}}],
        "soft": [{"rule": "path_fit", "weight": 10, "params": {"speed": 1}}],
    }

    wrong = await post(offer.coordinator, "/v1/policy-checks", {"policy": policy})
    right = await post(offer.coordinator, "/v1/policy-checks", {"policy": PLAIN})
    idle = await post(
        offer.coordinator,
        "/v1/policy-checks",
        {"policy": {"soft": [*PLAIN["soft"], {"rule": "style_fit", "weight": 0}]}},
    )

    assert not wrong["valid"]
    assert told(wrong) == [
        ("fault", "fault.unknown_rule", "#/policy/hard/0/rule"),
        ("fault", "fault.out_of_range", "#/policy/hard/1/params/hours"),
        ("fault", "fault.unknown_parameter", "#/policy/soft/0/params/speed"),
    ]
    assert (right["valid"], right["findings"], right["pairs"]) == (True, [], None)
    assert told(idle) == [("doubt", "doubt.weight_of_zero", "#/policy/soft/1/weight")]


async def test_grades_that_contradict_each_other_are_found_without_people(world: World) -> None:
    offer = await draft(world)
    higher, lower = (
        {"rule": "seniority", "params": {"relation": relation}}
        for relation in ("mentor_higher", "mentor_lower")
    )
    gaps = {"rule": "seniority", "params": {"gap_min": 5, "gap_max": 2}}

    both, wrong = [
        await post(offer.coordinator, "/v1/policy-checks", {"policy": {**PLAIN, "hard": hard}})
        for hard in ([higher, higher, lower], [gaps])
    ]

    assert both["valid"]
    assert told(both) == [("doubt", "doubt.contradiction", "#/policy/hard/2")]
    assert not wrong["valid"]
    assert told(wrong) == [
        ("fault", "fault.minimum_above_maximum", "#/policy/hard/0/params/gap_min")
    ]


async def test_a_criterion_that_is_listed_twice_is_found_with_what_it_weighs(world: World) -> None:
    offer = await draft(world)
    near = {"rule": "level_distance", "weight": 10, "params": {"ideal": 2}}
    apart, idle = near | {"params": {"ideal": 3}}, near | {"weight": 0}
    soft = [near, *PLAIN["soft"], apart, near | {"weight": 30}, near, idle]

    answer = await post(offer.coordinator, "/v1/policy-checks", {"policy": {"soft": soft}})

    twice = [one for one in answer["findings"] if one["key"] == "doubt.listed_twice"]
    places = [len(soft) - 3, len(soft) - 2]
    assert answer["valid"]
    assert [one["pointer"] for one in twice] == [f"#/policy/soft/{place}" for place in places]
    assert [(one["rule"], one["params"]) for one in twice] == [
        ("level_distance", {"first": "#/policy/soft/0", "weight": 50})
    ] * 2


@pytest.mark.parametrize(
    ("soft", "hard", "value"),
    [
        ("attribute_equal", "attribute_equal", 1),
        ("attribute_equal", "attribute_different", 0),
        ("attribute_different", "attribute_different", 1),
        ("attribute_different", "attribute_equal", 0),
    ],
)
async def test_a_criterion_that_a_hard_rule_decides_is_found(
    world: World, soft: str, hard: str, value: int
) -> None:
    offer = await draft(world)
    criteria = [
        *PLAIN["soft"],
        {"rule": soft, "weight": 30, "params": {"attribute": "team"}},
        {"rule": soft, "weight": 30, "params": {"attribute": "department"}},
    ]
    rules = [{"rule": hard, "params": {"attribute": "department"}}]

    answer = await post(
        offer.coordinator, "/v1/policy-checks", {"policy": {"soft": criteria, "hard": rules}}
    )

    [found] = answer["findings"]
    assert answer["valid"]
    assert (found["key"], found["rule"]) == ("doubt.decided_by_rule", soft)
    assert found["pointer"] == f"#/policy/soft/{len(criteria) - 1}"
    assert found["params"] == {"by": hard, "attribute": "department", "value": value}


@pytest.mark.parametrize(("hard", "found"), [("attribute_equal", 1), ("attribute_different", 0)])
async def test_one_place_leaves_nothing_to_weigh_of_places(
    world: World, hard: str, found: int
) -> None:
    offer = await draft(world)
    policy = {
        "hard": [{"rule": hard, "params": {"attribute": "location"}}],
        "soft": [*PLAIN["soft"], {"rule": "location", "weight": 30}],
    }

    answer = await post(offer.coordinator, "/v1/policy-checks", {"policy": policy})

    assert [one["key"] for one in answer["findings"]] == ["doubt.decided_by_rule"] * found


async def test_a_policy_that_could_not_be_stored_is_not_valid(world: World) -> None:
    offer = await draft(world)

    empty = await post(offer.coordinator, "/v1/policy-checks", {"policy": {"soft": []}})
    stored = await offer.coordinator.post(
        "/v1/policies", json={"program_id": offer.program["id"], "name": "Empty", "soft": []}
    )

    assert not empty["valid"]
    assert ("fault", "fault.too_short", "#/policy/soft") in told(empty)
    assert [one["code"] for one in stored.json()["errors"]] == ["too_short"]


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("most_matched", []),
        ("best_total", [("doubt", "doubt.floor_not_used", "#/policy/floor")]),
        ("fair_floor", [("doubt", "doubt.floor_not_used", "#/policy/floor")]),
        ("stable", [("doubt", "doubt.floor_not_used", "#/policy/floor")]),
    ],
)
async def test_a_floor_that_nothing_uses_is_a_doubt(
    world: World, objective: str, expected: list[tuple[str, str, str]]
) -> None:
    offer = await draft(world)
    policy = {**PLAIN, "objective": objective, "floor": 40}

    answer = await post(offer.coordinator, "/v1/policy-checks", {"policy": policy})

    assert answer["valid"]
    assert told(answer) == expected


async def test_what_contradicts_itself_or_cannot_matter_is_found_on_the_pool(world: World) -> None:
    pool = await waiting(world)
    same, other = (
        {"rule": rule, "params": {"attribute": "department", "unknown": "fails"}}
        for rule in ("attribute_equal", "attribute_different")
    )
    policy = {
        "hard": [{"rule": "shared_language"}, same, other],
        "soft": [*PLAIN["soft"], {"rule": "style_fit", "weight": 0}],
    }

    answer = await check(pool, policy)

    found = told(answer)
    assert answer["valid"]
    assert ("doubt", "doubt.contradiction", "#/policy/hard/2") in found
    assert ("doubt", "doubt.nobody_left", "#/policy/hard") in found
    assert ("doubt", "doubt.forbids_nothing", "#/policy/hard/0") in found
    assert ("doubt", "doubt.same_for_everybody", "#/policy/soft/0") in found
    assert ("doubt", "doubt.weight_of_zero", "#/policy/soft/1/weight") in found
    assert (answer["pairs"], answer["allowed_pairs"]) == (4, 0)
    assert {one["pointer"] for one in answer["effects"] if one["rule"] == "shared_language"} == {
        "#/policy/hard/0"
    }


async def test_a_policy_is_tried_with_the_skills_of_the_organization(world: World) -> None:
    pool = await waiting(world, mentors=1, mentees=1)
    skill = {"key": "coding", "label": {"en": "Coding"}, "synonyms": ["Python", "Leadership"]}
    people = [pool.mentors[0].participant["person_id"], pool.mentees[0].participant["person_id"]]
    policy = {
        "soft": [{"rule": "offers_wants", "weight": 1}],
        "tests": [{"name": "one skill", "people": people, "expect": {"score_at_least": 100}}],
    }

    before = await check(pool, policy)
    changed = await world.org_admin.patch(
        "/v1/organization",
        json={"skills": [skill]},
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )
    after = await check(pool, policy)

    assert changed.status_code == 200, changed.text
    assert [one["tests"][0]["passed"] for one in (before, after)] == [False, True]


async def test_a_policy_runs_its_own_tests(world: World) -> None:
    pool = await waiting(world, mentors=3, mentees=3)
    mentor, mentee, full = pool.mentors[0], pool.mentees[0], pool.mentees[2]
    beside = pool.mentors[1]
    await speaks(mentee, "fr")
    proposal = await pool.compose(pool.mentors[2], full)
    await pool.act(proposal, "approve")

    def test(name: str, who: Somebody, **expect: Any) -> dict[str, Any]:
        people = [mentor.participant["person_id"], who.participant["person_id"]]
        return {"name": name, "people": people, "expect": expect}

    policy: dict[str, Any] = {
        "hard": [{"rule": "shared_language"}],
        **PLAIN,
        "tests": [
            test("apart", mentee, allowed=False),
            test("together", mentee, allowed=True),
            test("full", full, allowed=True),
            test("of one side", beside, allowed=False),
        ],
    }

    answer = await check(pool, policy)

    assert [one["passed"] for one in answer["tests"]] == [True, False, False, False]
    assert [bool(one["found"]) for one in answer["tests"]] == [True, True, False, False]
    failed = [one for one in answer["findings"] if one["kind"] == "test"]
    assert [(one["key"], one["pointer"]) for one in failed] == [
        ("test.failed", "#/policy/tests/1"),
        ("test.not_in_pool", "#/policy/tests/2"),
        ("test.not_across", "#/policy/tests/3"),
    ]
    assert [one["params"]["found"] for one in failed[1:]] == [{}, {}]
    assert failed[0]["params"]["people"] == policy["tests"][1]["people"]
    assert failed[0]["params"]["found"]["allowed"] is False


async def test_tests_need_people_who_are_known(world: World) -> None:
    pool, elsewhere = await waiting(world), await found_world(world.app)
    people = [pool.mentors[0].participant["person_id"], elsewhere.org_admin_id]
    test = {"name": "abroad", "people": people, "expect": {"matched": True}}
    policy = {**PLAIN, "tests": [test]}
    alone = {**PLAIN, "tests": [{**test, "people": people[:1] * 2}]}

    abroad = await pool.coordinator.post("/v1/policy-checks", json={"policy": policy})
    oneself = await pool.coordinator.post("/v1/policy-checks", json={"policy": alone})

    assert (abroad.status_code, abroad.json()["errors"][0]["code"]) == (400, "unknown_reference")
    assert abroad.json()["errors"][0]["pointer"] == "#/policy/tests/0/people/1"
    assert (oneself.status_code, oneself.json()["errors"][0]["code"]) == (400, "not_unique")
    assert oneself.json()["errors"][0]["pointer"] == "#/policy/tests/0/people"


async def test_the_tests_of_a_stored_policy_are_run_on_a_track(world: World) -> None:
    pool = await waiting(world)
    people = [who.participant["person_id"] for who in (pool.mentors[0], pool.mentees[0])]
    made = await post(
        pool.coordinator,
        "/v1/policies",
        {
            "program_id": pool.offer.program["id"],
            "name": "Tested",
            **PLAIN,
            "tests": [{"name": "apart", "people": people, "expect": {"allowed": False}}],
        },
    )
    body = {"policy_id": made["id"]}

    alone = await post(pool.coordinator, "/v1/policy-checks", body)
    on_track = await post(
        pool.coordinator, "/v1/policy-checks", {**body, "track_id": pool.offer.track["id"]}
    )

    assert ("doubt", "doubt.tests_not_run", "#/policy/tests") in told(alone)
    assert ("test", "test.failed", "#/policy/tests/0") in told(on_track)
    assert [one["passed"] for one in on_track["tests"]] == [False]


async def test_a_stored_policy_is_judged_too(world: World) -> None:
    pool, elsewhere = await waiting(world, mentors=1, mentees=1), await draft(world)
    made = await post(
        pool.coordinator,
        "/v1/policies",
        {
            "program_id": pool.offer.program["id"],
            "name": "Narrow",
            "soft": [*PLAIN["soft"], {"rule": "style_fit", "weight": 0}],
            "limits": {"max_candidates": 16},
        },
    )
    body = {"track_id": pool.offer.track["id"], "policy_id": made["id"]}

    answer = await post(pool.coordinator, "/v1/policy-checks", body)
    anywhere = await post(pool.coordinator, "/v1/policy-checks", {"policy_id": made["id"]})
    both = await pool.coordinator.post("/v1/policy-checks", json=body | {"policy": PLAIN})
    nothing = await pool.coordinator.post("/v1/policy-checks", json={})
    foreign = await elsewhere.coordinator.post("/v1/policy-checks", json={"policy_id": made["id"]})

    assert made["limits"] == {"max_candidates": 16, "time_s": None}
    for found in (answer, anywhere):
        assert ("doubt", "doubt.weight_of_zero", "#/policy/soft/1/weight") in told(found)
    assert (answer["pairs"], anywhere["pairs"]) == (1, None)
    told_of = [(one["pointer"], one["code"]) for one in both.json()["errors"]]
    assert (both.status_code, told_of) == (400, [("#/policy", "exclusive")])
    for refused in (nothing, foreign):
        assert refused.status_code == 400, refused.text
        assert refused.json()["errors"][0]["pointer"] == "#/policy_id"


async def test_a_simulation_says_what_would_become_of_the_present_pairs(world: World) -> None:
    pool = await waiting(world, mentors=3, mentees=3)
    await speaks(pool.mentees[0], "fr")
    strict = {"hard": [{"rule": "shared_language"}], **PLAIN}
    before = await pool.coordinator.get(pool.runs)

    answer = await simulated(pool, policy=strict)
    again = await simulated(pool, policy_id=pool.offer.track["policy_id"])

    assert (answer["people"], answer["matched"], answer["proposals"]) == (6, 4, 2)
    assert {(one["role"], one["rule"]): one["count"] for one in answer["unmatched"]} == {
        ("mentee", "shared_language"): 1,
        ("mentor", "capacity"): 1,
    }
    assert answer["certificate"]["kind"] == "optimal"
    assert set(answer["scores"]) == {"minimum", "fifth_percentile", "median", "mean", "gini"}
    counts = answer["present"]["pairs"]
    assert answer["present"]["matched"] == 6
    assert (counts["kept"] + counts["changed"], counts["lost"], counts["new"]) == (2, 1, 0)
    assert again["present"]["pairs"] == {"kept": 3, "changed": 0, "lost": 0, "new": 0}
    assert again["policy_id"] == pool.offer.track["policy_id"]
    assert (await pool.coordinator.get(pool.runs)).json() == before.json()


async def test_invented_people_are_the_same_for_the_same_seed(world: World) -> None:
    pool = await waiting(world, mentors=0, mentees=0)
    size = {"mentors": 12, "mentees": 20, "seed": 5}

    first = await simulated(pool, policy=PLAIN, synthetic=size)
    second = await simulated(pool, policy=PLAIN, synthetic=size)
    other = await simulated(pool, policy=PLAIN, synthetic=size | {"seed": 6})

    assert first == second
    assert (first["people"], first["is_synthetic"]) == (32, True)
    assert first["matched"] > 12
    assert other["input_hash"] != first["input_hash"]


async def test_invented_people_come_together_in_groups(world: World) -> None:
    sizes = {"min_members": 3, "max_members": 5}
    pool = await gathered(world, format="group", match_modes=["pool"], **sizes)

    found = await simulated(pool, policy=PLAIN, synthetic={"mentors": 6, "mentees": 15, "seed": 5})

    assert found["proposals"] >= 3
    assert found["matched"] > 3 * found["proposals"]


async def test_a_pool_too_large_for_a_request_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await waiting(world)
    monkeypatch.setattr(rules, "MOST_PAIRS", 3)

    answer = await simulate(pool, policy=PLAIN)

    assert (answer.status_code, answer.json()["code"]) == (409, "limit_reached")
    assert answer.json()["errors"][0]["code"] == "too_many_pairs"


async def test_what_takes_too_long_is_given_up(
    world: World, matching: Matching, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await waiting(world)
    monkeypatch.setattr(rules, "SECONDS", 0.001)

    answer = await simulate(pool, policy=PLAIN)

    assert (answer.status_code, answer.json()["code"]) == (409, "limit_reached")
    assert answer.json()["errors"][0]["code"] == "too_long"
    await until(lambda: not matching.busy)


async def test_exactly_one_policy_of_the_same_program_is_tried(world: World) -> None:
    pool, elsewhere = await waiting(world), await waiting(world)

    none = await simulate(pool)
    both = await simulate(pool, policy=PLAIN, policy_id=pool.offer.track["policy_id"])
    other = await simulate(pool, policy_id=elsewhere.offer.track["policy_id"])
    wrong = await simulate(pool, policy={"soft": [{"rule": "luck", "weight": 1}]})

    assert [one.json()["errors"][0]["pointer"] for one in (none, both, other)] == [
        *("#/policy_id", "#/policy", "#/policy_id")
    ]
    assert wrong.json()["errors"][0]["pointer"] == "#/policy/soft/0/rule"


async def test_only_coordinators_try_policies(world: World) -> None:
    pool = await waiting(world)
    other = await draft(world)
    body = {"track_id": pool.offer.track["id"], "policy": PLAIN}

    answers = [
        await one.post(path, json=body)
        for one in (world.org_admin, pool.mentors[0].client, other.coordinator)
        for path in ("/v1/policy-checks", "/v1/policy-simulations")
    ]

    assert {one.status_code for one in answers} == {403}
