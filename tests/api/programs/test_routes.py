"""Programs over HTTP: drafting, publishing, and who may know of what."""

from typing import Any

import httpx
import pytest

from shared import ids
from tests.support.apps import World, found_world
from tests.support.match_runs import waiting
from tests.support.programs import DAYS, draft, open_registration, post


async def test_a_program_goes_from_draft_to_open_registration(world: World) -> None:
    offer = await open_registration(world)

    assert offer.program["status"] == "registration_open"
    assert offer.program["accepting_participants"] is True
    assert offer.program["allowed"] == ["close-registration"]


async def test_publishing_gives_each_track_an_agreement_template(world: World) -> None:
    offer = await draft(world)
    assert offer.track["agreement_template_id"] is None

    await offer.act("publish")

    track = (await offer.coordinator.get(f"/v1/tracks/{offer.track['id']}")).json()
    template = await offer.coordinator.get(
        f"/v1/agreement-templates/{track['agreement_template_id']}"
    )
    assert template.json()["sections"][0]["key"] == "purpose"


async def test_an_unready_program_says_what_it_lacks(world: World) -> None:
    made = await world.org_admin.post(
        "/v1/programs", json={"name": "Bare", "code": "bare", "kind": "cohort", **DAYS}
    )

    answer = await world.org_admin.post(f"/v1/programs/{made.json()['id']}/publish")

    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
    assert [one["code"] for one in answer.json()["errors"]] == ["no_track", "no_support_contact"]


async def test_a_draft_is_nobody_elses_to_know(world: World) -> None:
    offer = await draft(world)
    colleague = await world.as_person((await world.add_person())["id"])

    hidden = await colleague.get(f"/v1/programs/{offer.program['id']}")
    listed = await colleague.get("/v1/programs")
    changed = await colleague.post(f"/v1/programs/{offer.program['id']}/publish")

    assert hidden.status_code == 404
    assert listed.json()["items"] == []
    assert changed.status_code == 403


async def test_a_published_program_is_seen_but_not_changed_by_others(world: World) -> None:
    offer = await draft(world)
    await offer.act("publish")
    other = await draft(world)

    path = f"/v1/programs/{offer.program['id']}"
    assert (await other.coordinator.get(path)).status_code == 200
    refused = await other.coordinator.post(f"{path}/open-registration")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_an_illegal_moment_names_what_is_allowed(world: World) -> None:
    offer = await draft(world)

    answer = await offer.coordinator.post(f"/v1/programs/{offer.program['id']}/start-matching")

    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_transition")
    assert answer.json()["allowed"] == ["publish", "cancel"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"format": "one_to_one", "match_modes": ["slots"]}, "match_modes"),
        (
            {"format": "flash", "match_modes": ["slots"], "meeting_minutes": 45},
            "flash_too_long",
        ),
        (
            {"format": "reverse", "match_modes": ["pool"], "seniority": "mentor_higher"},
            "seniority",
        ),
    ],
)
async def test_a_track_obeys_its_format(world: World, body: dict[str, object], code: str) -> None:
    offer = await draft(world)

    answer = await offer.coordinator.post(
        f"/v1/programs/{offer.program['id']}/tracks", json={"name": "Odd", **body}
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "format_rule_broken")
    assert [one["code"] for one in answer.json()["errors"]] == [code]


MERGE = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}


async def test_a_policy_that_cannot_be_used_is_pointed_at(world: World) -> None:
    offer, other = await draft(world), await draft(world)
    foreign = await draft(await found_world(world.app))
    policies = [
        ids.format_id("match_policy", ids.new_id()),
        other.track["policy_id"],
        foreign.track["policy_id"],
    ]

    for policy in policies:
        changed = await offer.coordinator.patch(
            f"/v1/tracks/{offer.track['id']}", json={"policy_id": policy}, headers=MERGE
        )
        made = await offer.coordinator.post(
            f"/v1/programs/{offer.program['id']}/tracks",
            json={
                "name": "Odd",
                "format": "one_to_one",
                "match_modes": ["pool"],
                "policy_id": policy,
            },
        )
        for answer in (changed, made):
            assert_points_at(answer, "#/policy_id")


async def test_a_template_or_support_person_that_is_not_there_is_pointed_at(world: World) -> None:
    offer = await draft(world)
    foreign = (await found_world(world.app)).org_admin_id
    template = ids.format_id("agreement_template", ids.new_id())

    track = await offer.coordinator.patch(
        f"/v1/tracks/{offer.track['id']}", json={"agreement_template_id": template}, headers=MERGE
    )
    program = await offer.coordinator.patch(
        f"/v1/programs/{offer.program['id']}",
        json={"support_contact": {"person_id": foreign}},
        headers=MERGE,
    )

    assert_points_at(track, "#/agreement_template_id")
    assert_points_at(program, "#/support_contact/person_id")


def assert_points_at(answer: httpx.Response, pointer: str) -> None:
    """Expect that something is refused because of where a body refers to nothing."""
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [
        (pointer, "unknown_reference")
    ]


@pytest.mark.parametrize(
    ("rules", "pointer", "code"),
    [
        ({"hard": [{"rule": "star_sign"}]}, "#/hard/0/rule", "unknown_rule"),
        (
            {"hard": [{"rule": "not_ignored"}, {"rule": "seniority", "params": {"min": 1}}]},
            "#/hard/1/params/min",
            "unknown_parameter",
        ),
        (
            {"hard": [{"rule": "seniority", "params": {"gap_min": "two"}}]},
            "#/hard/0/params/gap_min",
            "wrong_type",
        ),
        (
            {"hard": [{"rule": "seniority", "params": {"gap_max": 51}}]},
            "#/hard/0/params/gap_max",
            "out_of_range",
        ),
        (
            {"hard": [{"rule": "seniority", "params": {"gap_min": 5, "gap_max": 2}}]},
            "#/hard/0/params/gap_min",
            "minimum_above_maximum",
        ),
        (
            {"soft": [{"rule": "choice_overlap", "weight": 1}]},
            "#/soft/0/params/attribute",
            "missing",
        ),
        (
            {"soft": [{"rule": "path_fit", "weight": 1, "params": {"hours": 2}}]},
            "#/soft/0/params/hours",
            "unknown_parameter",
        ),
        (
            {"hard": [{"rule": "attribute_in", "params": {"attribute": "department"}}]},
            "#/hard/0/params/values",
            "missing",
        ),
        (
            {"hard": [{"rule": "attribute_in", "params": {"attribute": "x", "values": [3]}}]},
            "#/hard/0/params/values",
            "wrong_type",
        ),
    ],
)
async def test_a_policy_says_only_what_matching_understands(
    world: World, rules: dict[str, object], pointer: str, code: str
) -> None:
    offer = await draft(world)
    soft = [{"rule": "path_fit", "weight": 1}]
    body = {"program_id": offer.program["id"], "name": "Odd", "soft": soft}

    added = await offer.coordinator.post("/v1/policies", json=body | rules)
    made = await offer.coordinator.post("/v1/policies", json=body)
    changed = await offer.coordinator.patch(
        made.headers["Location"],
        json=rules,
        headers={
            "Content-Type": "application/merge-patch+json",
            "If-Match": made.headers["ETag"],
        },
    )

    for answer in (added, changed):
        assert answer.status_code == 400
        [broken] = answer.json()["errors"]
        assert (broken["pointer"], broken["code"]) == (pointer, code)


async def test_a_changed_rule_is_as_complete_as_a_new_one(world: World) -> None:
    offer = await draft(world)
    soft = [{"rule": "path_fit", "weight": 1}]
    body = {"program_id": offer.program["id"], "name": "Usual", "soft": soft}
    made = await offer.coordinator.post("/v1/policies", json=body)

    changed = await offer.coordinator.patch(
        made.headers["Location"],
        json={"hard": [{"rule": "not_ignored"}, {"rule": "seniority", "params": {"gap_max": 3.0}}]},
        headers={
            "Content-Type": "application/merge-patch+json",
            "If-Match": made.headers["ETag"],
        },
    )

    assert changed.json()["hard"] == [
        {"rule": "not_ignored", "params": {}},
        {"rule": "seniority", "params": {"gap_max": 3}},
    ]


async def test_a_policy_may_name_the_values_it_takes(world: World) -> None:
    offer = await draft(world)
    rule = {
        "rule": "attribute_in",
        "params": {"attribute": "department", "values": ["Law", "IT"], "side": "mentor"},
    }
    body = {
        "program_id": offer.program["id"],
        "name": "Usual",
        "soft": [{"rule": "tenure", "weight": 1, "params": {"longer": "neither"}}],
        "hard": [rule],
    }

    made = await offer.coordinator.post("/v1/policies", json=body)

    assert made.status_code == 201
    assert made.json()["hard"] == [rule]


async def test_a_policy_keeps_its_tests(world: World) -> None:
    offer = await draft(world)
    one, other = await world.add_person(), await world.add_person()
    test = {
        "name": "apart",
        "people": [one["id"], other["id"]],
        "expect": {
            "allowed": False,
            "matched": None,
            "score_at_least": None,
            "score_at_most": None,
        },
    }
    body = {
        "program_id": offer.program["id"],
        "name": "Tested",
        "soft": [{"rule": "path_fit", "weight": 1}],
        "tests": [{**test, "expect": {"allowed": False}}],
    }
    foreign = (await found_world(world.app)).org_admin_id

    made = await offer.coordinator.post("/v1/policies", json=body)
    merge = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}
    path = made.headers["Location"]
    renamed = await offer.coordinator.patch(
        path, json={"tests": [{**test, "name": "still apart"}]}, headers=merge
    )
    refused = await offer.coordinator.patch(
        path, json={"tests": [{**test, "people": [one["id"], foreign]}]}, headers=merge
    )

    assert made.json()["tests"] == [test]
    assert renamed.json()["tests"] == [{**test, "name": "still apart"}]
    assert refused.json()["errors"][0] | {"detail": ""} == {
        "pointer": "#/tests/0/people/1",
        "code": "unknown_reference",
        "detail": "",
    }
    assert (await offer.coordinator.get(path)).json()["tests"] == renamed.json()["tests"]


@pytest.mark.parametrize(
    ("changes", "code", "place"),
    [
        ({"expect": {}}, "missing", "/expect"),
        ({"expect": {"allowed": None}}, "missing", "/expect"),
        (
            {"expect": {"score_at_least": 80, "score_at_most": 10}},
            "minimum_above_maximum",
            "/expect/score_at_least",
        ),
        ({"people": "oneself"}, "not_unique", "/people"),
        ({"name": "apart"}, "not_unique", "/name"),
    ],
)
async def test_a_test_of_a_policy_can_pass_and_can_fail(
    world: World, changes: dict[str, Any], code: str, place: str
) -> None:
    offer = await draft(world)
    one, other = await world.add_person(), await world.add_person()
    first = {
        "name": "apart",
        "people": [one["id"], other["id"]],
        "expect": {"score_at_least": 10, "score_at_most": 10},
    }
    second = {**first, "name": "another", **changes}
    if changes.get("people") == "oneself":
        second["people"] = [one["id"], one["id"]]
    body = {
        "program_id": offer.program["id"],
        "name": "Tested",
        "soft": [{"rule": "path_fit", "weight": 1}],
    }
    made = await post(offer.coordinator, "/v1/policies", {**body, "tests": [first]})
    both = {"tests": [first, second]}

    added = await offer.coordinator.post("/v1/policies", json={**body, **both})
    changed = await offer.coordinator.patch(
        f"/v1/policies/{made['id']}",
        json=both,
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )
    tried = await offer.coordinator.post(
        "/v1/policy-checks", json={"policy": {"soft": body["soft"], **both}}
    )

    for answer, root in ((added, "#"), (changed, "#"), (tried, "#/policy")):
        assert answer.status_code == 400, answer.text
        [told] = answer.json()["errors"]
        assert (told["code"], told["pointer"]) == (code, f"{root}/tests/1{place}")


async def test_of_a_policy_in_use_name_and_tests_change_and_rules_do_not(world: World) -> None:
    pool = await waiting(world)
    run = await pool.start()
    people = [one.participant["person_id"] for one in (pool.mentors[0], pool.mentees[0])]
    tests = [{"name": "apart", "people": people, "expect": {"allowed": False}}]
    path = f"/v1/policies/{run['policy_id']}"
    before = (await pool.coordinator.get(path)).json()

    async def patch(**changes: Any) -> httpx.Response:
        merge = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}
        return await pool.coordinator.patch(path, json=changes, headers=merge)

    beside = await patch(name="In use", tests=tests)
    refused = await patch(tests=[], seed=7)
    after = (await pool.coordinator.get(path)).json()

    assert beside.status_code == 200, beside.text
    assert (refused.status_code, refused.json()["code"]) == (409, "policy_frozen")
    assert (after["name"], len(after["tests"]), after["seed"]) == ("In use", 1, before["seed"])
    assert after["version"] == before["version"] + 1
    assert after["policy_version"] == before["policy_version"] == run["policy_version"]


async def test_cancelling_repeats_the_count_of_live_mentorships(world: World) -> None:
    offer = await draft(world)
    path = f"/v1/programs/{offer.program['id']}/cancel"

    wrong = await world.org_admin.post(path, json={"live_mentorships": 3})
    right = await world.org_admin.post(path, json={"live_mentorships": 0})

    assert (wrong.status_code, wrong.json()["code"]) == (409, "confirm_count")
    assert right.json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("key", "kind", "where"), [("story", "long_text", "matchable"), ("department", "number", "key")]
)
async def test_neither_free_text_nor_what_is_known_is_matchable(
    world: World, key: str, kind: str, where: str
) -> None:
    offer = await draft(world)
    field = {"key": key, "label": {"en": "Story"}, "type": kind, "matchable": True}

    answer = await offer.coordinator.post(
        f"/v1/programs/{offer.program['id']}/forms", json={"role": "mentor", "fields": [field]}
    )

    assert answer.json()["errors"][0]["pointer"] == f"#/fields/0/{where}"
    assert (answer.status_code, answer.json()["code"]) == (409, "not_matchable")
