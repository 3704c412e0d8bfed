"""Registration over HTTP, from the first answer to an approved place, and who may know."""

import asyncio
from typing import Any

import pytest

from services.api.participants import operations
from services.api.participants.jobs import on_person_left, on_timer
from services.api.participants.rules import Places
from services.api.programs.rules import TrackRole
from shared import ids
from shared.errors import ConflictError
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from tests.support.apps import World
from tests.support.match_runs import Pool, gathered
from tests.support.participants import PREFERENCES, Somebody, register, submit, take_part
from tests.support.programs import ONE_QUESTION, Offer, draft, open_registration, post

PATCH = {"Content-Type": "application/merge-patch+json"}


def tenant(world: World) -> Tenant:
    return Tenant(world.id)


def participant_id(somebody: Somebody) -> object:
    return ids.parse_id("participant", somebody.participant["id"])


async def test_a_registration_is_reviewed_and_approved(world: World) -> None:
    offer = await open_registration(world)
    mentee = await register(world, offer, "mentee")

    submitted = await submit(mentee)
    approved = await post(offer.coordinator, f"{mentee.path}/approve", {})

    assert mentee.participant["status"] == "started"
    assert submitted["status"] == "coordinator_review"
    assert approved["status"] == "available"
    assert approved["track_roles"] == [
        {"track_id": offer.track["id"], "role": "mentee", "capacity": 1, "load": 0}
    ]


async def test_without_review_a_submission_is_enough(world: World) -> None:
    offer = await open_registration(world, coordinator_review="off")
    mentee = await register(world, offer, "mentee")

    assert (await submit(mentee))["status"] == "available"


async def test_a_people_manager_acknowledges_first(world: World) -> None:
    offer = await open_registration(world, manager_acknowledgement="required")
    manager = await world.add_person()
    mentee = await register(world, offer, "mentee", manager_id=manager["id"])
    as_manager = await world.as_person(manager["id"])
    stranger = await world.as_person((await world.add_person())["id"])

    submitted = await submit(mentee)
    foreign = await stranger.post(f"{mentee.path}/acknowledge")
    acknowledged = await post(as_manager, f"{mentee.path}/acknowledge", {})

    assert submitted["status"] == "manager_review"
    assert foreign.status_code == 404
    assert acknowledged["status"] == "coordinator_review"


async def test_a_people_manager_of_a_discreet_program_learns_nothing(world: World) -> None:
    offer = await open_registration(world)
    manager = await world.add_person()
    mentee = await register(world, offer, "mentee", manager_id=manager["id"])
    as_manager = await world.as_person(manager["id"])

    assert (await as_manager.get(mentee.path)).status_code == 404
    assert (await as_manager.post(f"{mentee.path}/acknowledge")).status_code == 404


async def test_a_form_is_answered_before_it_is_handed_in(world: World) -> None:
    offer = await open_registration(world)
    mentee = await register(world, offer, "mentee")
    emptied = await mentee.client.patch(
        mentee.path, json={"answers": {"goals": ""}}, headers=PATCH | {"If-Match": '"1"'}
    )

    unseen = await mentee.client.post(f"{mentee.path}/submit", json={})
    answer = await mentee.client.post(f"{mentee.path}/submit", json={"preview_acknowledged": True})

    assert emptied.status_code == 200
    assert (unseen.status_code, unseen.json()["code"]) == (409, "preview_required")
    assert (answer.status_code, answer.json()["code"]) == (409, "form_incomplete")
    assert answer.json()["errors"][0]["pointer"] == "#/answers/goals"


async def test_answers_to_unknown_questions_are_refused(world: World) -> None:
    offer = await open_registration(world)
    mentee = await register(world, offer, "mentee")

    answer = await mentee.client.patch(
        mentee.path, json={"answers": {"shoe_size": 43}}, headers=PATCH | {"If-Match": "*"}
    )

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "unknown_field"


async def test_nobody_takes_part_twice(world: World) -> None:
    offer = await open_registration(world)
    mentee = await register(world, offer, "mentee")

    answer = await mentee.client.post(
        f"/v1/programs/{offer.program['id']}/participants",
        json={"track_roles": [{"track_id": offer.track["id"], "role": "mentee"}]},
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "already_enrolled")


async def test_registration_is_closed_before_it_opens(world: World) -> None:
    offer = await draft(world)
    await offer.act("publish")
    person = await world.as_person((await world.add_person())["id"])

    answer = await person.post(
        f"/v1/programs/{offer.program['id']}/participants",
        json={"track_roles": [{"track_id": offer.track["id"], "role": "mentee"}]},
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "registration_closed")


async def test_a_role_belongs_to_the_format_of_its_track(world: World) -> None:
    offer = await open_registration(world)
    person = await world.as_person((await world.add_person())["id"])

    answer = await person.post(
        f"/v1/programs/{offer.program['id']}/participants",
        json={"track_roles": [{"track_id": offer.track["id"], "role": "peer"}]},
    )

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "#/track_roles/0/role"


async def test_a_track_of_another_program_is_an_unknown_reference(world: World) -> None:
    offer, other = await open_registration(world), await open_registration(world)
    person = await world.as_person((await world.add_person())["id"])

    answer = await person.post(
        f"/v1/programs/{offer.program['id']}/participants",
        json={"track_roles": [{"track_id": other.track["id"], "role": "mentee"}]},
    )

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "unknown_reference"


async def test_services_and_coordinators_register_others(world: World) -> None:
    offer = await open_registration(world)
    key = await world.add_key("participants:read", "participants:write")
    by_key, by_coordinator = await world.add_person(), await world.add_person()
    path = f"/v1/programs/{offer.program['id']}/participants"
    role = {"track_roles": [{"track_id": offer.track["id"], "role": "mentee"}]}

    first = await key.post(
        path, json=role | {"person_id": by_key["id"]}, headers={"Idempotency-Key": "one"}
    )
    second = await offer.coordinator.post(path, json=role | {"person_id": by_coordinator["id"]})
    person = await world.as_person(by_key["id"])
    refused = await person.post(path, json=role | {"person_id": by_coordinator["id"]})

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["source"] == "import"
    assert refused.status_code == 403


async def test_invitations_are_answered_by_registering_or_declining(world: World) -> None:
    offer = await open_registration(world)
    eager, shy = await world.add_person(), await world.add_person()
    invited = await post(
        offer.coordinator,
        f"/v1/programs/{offer.program['id']}/invitations",
        {"person_ids": [eager["id"], shy["id"]]},
    )
    as_eager, as_shy = await world.as_person(eager["id"]), await world.as_person(shy["id"])

    begun = await as_eager.post(
        f"/v1/programs/{offer.program['id']}/participants",
        json={"track_roles": [{"track_id": offer.track["id"], "role": "mentor"}]},
    )
    declined = await as_shy.post(f"/v1/participants/{invited['items'][1]['id']}/decline")
    again = await post(
        offer.coordinator,
        f"/v1/programs/{offer.program['id']}/invitations",
        {"person_ids": [eager["id"]]},
    )

    assert [one["status"] for one in invited["items"]] == ["invited", "invited"]
    assert begun.json()["id"] == invited["items"][0]["id"] == again["items"][0]["id"]
    assert begun.json()["status"] == "started"
    assert declined.json()["status"] == "declined"


async def test_an_invitation_ends_when_its_time_is_up(world: World) -> None:
    offer = await open_registration(world)
    person = await world.add_person()
    invited = await post(
        offer.coordinator,
        f"/v1/programs/{offer.program['id']}/invitations",
        {"person_ids": [person["id"]]},
    )
    resources = world.app.state.resources
    async with transaction(resources.sessions, tenant(world)) as session:
        await on_timer(
            session,
            organization_id=tenant(world).organization_id,
            kind="participant.expire",
            subject_id=ids.parse_id("participant", invited["items"][0]["id"]),
            now=resources.clock(),
        )

    after = await offer.coordinator.get(f"/v1/participants/{invited['items'][0]['id']}")
    assert after.json()["status"] == "expired"


async def test_a_rejection_needs_a_reason(world: World) -> None:
    offer = await open_registration(world)
    mentee = await register(world, offer, "mentee")
    await submit(mentee)

    bare = await offer.coordinator.post(f"{mentee.path}/reject", json={})
    told = await offer.coordinator.post(f"{mentee.path}/reject", json={"reason": "no_capacity"})

    assert (bare.status_code, bare.json()["code"]) == (409, "reason_required")
    assert told.json()["status"] == "rejected"
    assert (await mentee.now())["decision_reason"] == "no_capacity"


async def test_others_see_who_takes_part_but_not_their_answers(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee")
    waiting = await register(world, offer, "mentee")
    outsider = await world.as_person((await world.add_person())["id"])

    seen = await mentee.client.get(mentor.path)
    listed = await mentee.client.get(f"/v1/programs/{offer.program['id']}/participants")

    assert seen.json()["answers"] == {}
    assert seen.json()["allowed"] == []
    assert {one["id"] for one in listed.json()["items"]} == {
        mentor.participant["id"],
        mentee.participant["id"],
    }
    assert (await mentee.client.get(waiting.path)).status_code == 404
    assert (await outsider.get(mentor.path)).status_code == 404
    assert (await outsider.post(f"{mentor.path}/withdraw")).status_code == 404
    assert (await mentee.client.post(f"{mentor.path}/withdraw")).status_code == 403


OF_ONESELF = ("preferences", "shortlist", "suggestions")


async def test_what_is_for_somebody_else_tells_no_more_than_that_they_take_part(
    world: World,
) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee")
    waiting = await register(world, offer, "mentee")
    unknown = f"/v1/participants/{ids.format_id('participant', ids.new_id())}"

    known = await mentor.client.get(mentee.path)
    refused = [await mentor.client.get(f"{mentee.path}/{one}") for one in OF_ONESELF]
    hidden = [await _told_of(mentor, waiting.path), await _told_of(mentor, unknown)]
    await post(mentee.client, f"{mentee.path}/withdraw", {})
    gone = await _told_of(mentor, mentee.path)

    assert known.status_code == 200
    assert [one.status_code for one in refused] == [403] * len(OF_ONESELF)
    assert {status for status, _detail in hidden[0]} == {404}
    assert hidden[0] == hidden[1] == gone


async def _told_of(somebody: Somebody, path: str) -> list[tuple[int, str]]:
    """Return what somebody is told of a participant, and of all that is for that one alone."""
    new = {"If-None-Match": "*"}
    marked = f"{path}/shortlist/{somebody.participant['id']}"
    answers = [
        await somebody.client.get(path),
        *[await somebody.client.get(f"{path}/{one}") for one in OF_ONESELF],
        await somebody.client.put(f"{path}/preferences", json=PREFERENCES, headers=new),
        await somebody.client.put(marked, json={"mark": "favorite"}, headers=new),
    ]
    return [(one.status_code, one.json()["detail"]) for one in answers]


async def test_preferences_are_for_oneself_and_coordinators(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee")
    path = f"{mentor.path}/preferences"

    own = await mentor.client.get(path)
    stale = await mentor.client.put(path, json=PREFERENCES, headers={"If-Match": '"7"'})
    again = await mentor.client.put(path, json=PREFERENCES, headers={"If-None-Match": "*"})
    changed = await mentor.client.put(
        path, json=PREFERENCES | {"languages": ["de"]}, headers={"If-Match": '"1"'}
    )

    assert own.json()["offers_skills"] == ["Python"]
    assert stale.status_code == 412
    assert again.status_code == 428
    assert "If-None-Match: *" in again.json()["detail"]
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    assert (await offer.coordinator.get(path)).status_code == 200
    assert (await mentee.client.get(path)).status_code == 403
    assert (await offer.coordinator.put(path, json=PREFERENCES)).status_code == 403


def a_place(world: World, offer: Offer, mentor: Somebody) -> Places:
    """Return one of a mentor's places."""
    return Places(
        tenant(world).organization_id,
        ids.parse_id("participant", mentor.participant["id"]),
        ids.parse_id("track", offer.track["id"]),
        TrackRole.MENTOR,
        1,
    )


async def test_the_last_seat_goes_to_one_of_many(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor", capacity=1)
    resources = world.app.state.resources

    async def take() -> str:
        try:
            async with transaction(resources.sessions, tenant(world)) as session:
                place = a_place(world, offer, mentor)
                await operations.take_places(session, place, now=resources.clock())
        except ConflictError as refusal:
            return refusal.code
        return "taken"

    outcomes = await asyncio.gather(*(take() for _ in range(20)))

    assert sorted(outcomes) == ["capacity_reached"] * 19 + ["taken"]
    assert (await mentor.now())["status"] == "at_capacity"


async def test_capacity_never_falls_below_what_is_taken(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor", capacity=2)
    resources = world.app.state.resources
    async with transaction(resources.sessions, tenant(world)) as session:
        place = a_place(world, offer, mentor)
        await operations.take_places(session, place, now=resources.clock())
    role = {"track_id": offer.track["id"], "role": "mentor"}

    refused = await mentor.client.patch(
        mentor.path,
        json={"track_roles": [role | {"capacity": 0}]},
        headers=PATCH | {"If-Match": "*"},
    )
    full = await mentor.client.patch(
        mentor.path,
        json={"track_roles": [role | {"capacity": 1}]},
        headers=PATCH | {"If-Match": "*"},
    )

    assert (refused.status_code, refused.json()["code"]) == (409, "capacity_below_load")
    assert full.json()["status"] == "at_capacity"


async def test_a_leaver_is_taken_out_of_every_program(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    resources = world.app.state.resources

    async with transaction(resources.sessions, tenant(world)) as session:
        await on_person_left(
            session,
            organization_id=tenant(world).organization_id,
            subject_id=ids.parse_id("person", mentor.person["id"]),
            now=resources.clock(),
        )

    after = await offer.coordinator.get(mentor.path)
    assert after.json()["status"] == "removed"


async def test_readiness_names_who_owes_an_answer_to_a_newer_form(world: World) -> None:
    offer = await open_registration(world)
    mentee = await take_part(world, offer, "mentee")
    await take_part(world, offer, "mentor")
    form = await post(
        offer.coordinator,
        f"/v1/programs/{offer.program['id']}/forms",
        {"role": "mentee", "fields": [ONE_QUESTION, ONE_QUESTION | {"key": "when"}]},
    )
    path = f"/v1/programs/{offer.program['id']}/readiness"
    before = (await offer.coordinator.get(path)).json()
    await post(offer.coordinator, f"/v1/forms/{form['id']}/publish", {})

    owed = (await offer.coordinator.get(path)).json()
    await mentee.client.patch(
        mentee.path, json={"answers": {"when": "Mornings."}}, headers=PATCH | {"If-Match": "*"}
    )
    after = (await offer.coordinator.get(path)).json()

    assert before["blocked"] == after["blocked"] == []
    assert owed["blocked"] == [
        {"reason": "missing_answers", "participant_ids": [mentee.participant["id"]], "count": 1}
    ]


async def test_readiness_counts_seats_and_names_who_is_not_ready(world: World) -> None:
    offer = await open_registration(world)
    await take_part(world, offer, "mentor", capacity=3)
    silent = await register(world, offer, "mentee")
    await submit(silent)
    await post(offer.coordinator, f"{silent.path}/approve", {})
    await register(world, offer, "mentee")

    readiness = (
        await offer.coordinator.get(f"/v1/programs/{offer.program['id']}/readiness")
    ).json()

    assert readiness["tracks"] == [
        {
            "track_id": offer.track["id"],
            "participants_by_role": {"mentee": 1, "mentor": 1},
            "free_seats_by_role": {"mentee": 1, "mentor": 3},
            "ratio": 0.33,
        }
    ]
    assert readiness["not_submitted"] == 1
    assert readiness["blocked"] == [
        {"reason": "no_preferences", "participant_ids": [silent.participant["id"]], "count": 1}
    ]
    refused = await silent.client.get(f"/v1/programs/{offer.program['id']}/readiness")
    assert refused.status_code == 403


@pytest.mark.parametrize(
    ("format_", "roles"),
    [("sponsorship", ("sponsor", "protege")), ("reverse", ("mentor", "mentee"))],
)
async def test_readiness_names_whose_grade_is_unknown_where_grades_are_needed(
    world: World, format_: str, roles: tuple[str, str]
) -> None:
    pool = await gathered(world, *roles, *roles, format=format_, match_modes=["pool"])
    everybody = pool.everybody
    grades = ["Senior", "Lead", "Wizard", None]
    for somebody, grade in zip(everybody, grades, strict=True):
        await graded(world, somebody, grade)

    unknown = {one.participant["id"] for one in everybody[2:]}
    [named] = await blocked(pool)
    assert (named["reason"], named["count"]) == ("no_grade", 2)
    assert {*named["participant_ids"]} == unknown


async def test_readiness_asks_for_no_grade_where_an_unknown_one_passes(world: World) -> None:
    pool = await gathered(
        world,
        *("mentor", "mentee"),
        format="one_to_one",
        match_modes=["pool"],
        seniority="mentor_higher",
    )

    assert await blocked(pool) == []


async def graded(world: World, somebody: Somebody, grade: str | None) -> None:
    """Let the directory say what grade somebody has."""
    answer = await world.org_admin.patch(
        f"/v1/people/{somebody.person['id']}",
        json={"grade": grade},
        headers=PATCH | {"If-Match": "*"},
    )
    assert answer.status_code == 200, answer.text


async def blocked(pool: Pool) -> list[dict[str, Any]]:
    """Return who cannot be matched yet, by reason."""
    answer = await pool.coordinator.get(f"/v1/programs/{pool.offer.program['id']}/readiness")
    found: list[dict[str, Any]] = answer.json()["blocked"]
    return found
