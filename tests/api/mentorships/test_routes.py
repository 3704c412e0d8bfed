"""Mentorships over HTTP: who is put together, how it goes on, and who may know."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.apps import World
from tests.support.mentorships import Pair, compose, crowd, matching, member, pair_up
from tests.support.participants import take_part
from tests.support.programs import ONE_QUESTION, UNREVIEWED, Offer, draft, open_registration, post

TODAY = datetime.now(UTC).date()


def day(after: int) -> str:
    return (TODAY + timedelta(days=after)).isoformat()


async def refused(client: httpx.AsyncClient, path: str, body: Any = None) -> tuple[int, str]:
    answer = await client.post(path, json=body)
    return answer.status_code, answer.json()["code"]


async def attempt(offer: Offer, *members: dict[str, Any], **changes: Any) -> httpx.Response:
    return await offer.coordinator.post(
        f"/v1/tracks/{offer.track['id']}/mentorships",
        json={"members": list(members), **changes},
    )


async def other_track(offer: Offer, **track: Any) -> Offer:
    body = {
        "name": "Another",
        "match_modes": ["coordinator"],
        "policy_id": offer.track["policy_id"],
        **track,
    }
    path = f"/v1/programs/{offer.program['id']}/tracks"
    offer.track = await post(offer.coordinator, path, body)
    return offer


async def in_format(world: World, *roles: str, **track: Any) -> tuple[Offer, list[dict[str, Any]]]:
    """Return a matching program whose track has a format, and one available person per role."""
    offer = await other_track(await draft(world), **track)
    for role in sorted({*roles} - {"mentor", "mentee", "facilitator"}):
        path = f"/v1/programs/{offer.program['id']}/forms"
        form = await post(offer.coordinator, path, {"role": role, "fields": [ONE_QUESTION]})
        await post(offer.coordinator, f"/v1/forms/{form['id']}/publish", {})
    await offer.act("publish")
    await offer.act("open-registration")
    time = {"mentor": roles.count("mentee") if track["format"] == "group" else 1}
    people = [
        (await take_part(world, offer, role, capacity=time.get(role, 1)), role) for role in roles
    ]
    await matching(offer)
    return offer, [member(one, role) | {"somebody": one} for one, role in people]


def plain(members: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: one[key] for key in ("participant_id", "role")} for one in members]


async def test_a_coordinator_puts_two_people_together(world: World) -> None:
    pair = await pair_up(world)

    made = pair.mentorship
    assert (made["status"], made["format"], made["source"]) == (
        "pending_start",
        "one_to_one",
        "coordinator",
    )
    assert made["driver_person_id"] == pair.mentee.person["id"]
    assert [one["role"] for one in made["members"]] == ["mentor", "mentee"]
    assert made["allowed"] == ["end-early"]
    assert (await pair.now())["allowed"] == ["start", "end-early"]
    assert (await pair.mentor.now())["status"] == "at_capacity"
    assert (await pair.mentee.now())["track_roles"][0]["load"] == 1


async def test_the_first_mentorship_starts_the_program(world: World) -> None:
    pair = await pair_up(world)

    program = await pair.offer.coordinator.get(f"/v1/programs/{pair.offer.program['id']}")
    assert program.json()["status"] == "running"


async def test_a_program_takes_no_mentorship_before_matching_nor_after_it(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee")
    pair = member(mentor, "mentor"), member(mentee, "mentee")

    early = await attempt(offer, *pair)
    await offer.act("close-registration")
    later = await attempt(offer, *pair)
    path = f"/v1/programs/{offer.program['id']}/cancel"
    await post(world.org_admin, path, {"live_mentorships": 0})
    late = await attempt(offer, *pair)

    for answer in (early, later):
        assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
        assert [one["code"] for one in answer.json()["errors"]] == ["program_status"]
    assert (late.status_code, late.json()["code"]) == (409, "program_closed")


async def test_only_a_coordinator_of_the_program_composes(world: World) -> None:
    pair, other = await pair_up(world), await open_registration(world)
    path = f"/v1/tracks/{pair.offer.track['id']}/mentorships"
    body = {"members": [member(pair.mentor, "mentor"), member(pair.mentee, "mentee")]}

    assert await refused(other.coordinator, path, body) == (403, "forbidden")
    assert await refused(pair.mentee.client, path, body) == (403, "forbidden")
    assert await refused(world.org_admin, path, body) == (403, "forbidden")


async def test_members_are_participants_of_this_program(world: World) -> None:
    offer, other = await open_registration(world), await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    stranger = await take_part(world, other, "mentee")
    await matching(offer)

    answer = await attempt(offer, member(mentor, "mentor"), member(stranger, "mentee"))

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "#/members/1/participant_id"


async def test_nobody_plays_a_role_they_did_not_register_for(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee")
    await matching(offer)

    answer = await attempt(offer, member(mentor, "mentee"), member(mentee, "mentor"))

    assert (answer.status_code, answer.json()["code"]) == (409, "not_available")


async def test_somebody_who_pauses_is_not_available(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee")
    await matching(offer)
    await post(mentor.client, f"{mentor.path}/pause-matching", {})

    answer = await attempt(offer, member(mentor, "mentor"), member(mentee, "mentee"))

    assert (answer.status_code, answer.json()["code"]) == (409, "not_available")


async def test_the_format_says_who_may_be_in_it(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    mentees = [await take_part(world, offer, "mentee") for _ in range(2)]
    await matching(offer)

    answer = await attempt(
        offer, member(mentor, "mentor"), *(member(one, "mentee") for one in mentees)
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "format_rule_broken")
    assert [one["code"] for one in answer.json()["errors"]] == ["members_1_1"]


async def test_grades_count_where_the_track_says_so(world: World) -> None:
    offer = await other_track(
        await draft(world), format="one_to_one", seniority="mentor_higher", grade_gap_min=1
    )
    await offer.act("publish")
    await offer.act("open-registration")
    mentor = await take_part(world, offer, "mentor", grade="Junior")
    mentee = await take_part(world, offer, "mentee", grade="Lead")
    await matching(offer)

    answer = await attempt(offer, member(mentor, "mentor"), member(mentee, "mentee"))

    assert [one["code"] for one in answer.json()["errors"]] == ["seniority"]


@pytest.mark.parametrize("mentor_is_above", [True, False])
async def test_nobody_is_matched_within_their_reporting_line(
    world: World, *, mentor_is_above: bool
) -> None:
    offer = await open_registration(world)
    top = await take_part(world, offer, "mentor" if mentor_is_above else "mentee")
    middle = await world.add_person(manager_id=top.person["id"])
    low = await take_part(
        world, offer, "mentee" if mentor_is_above else "mentor", manager_id=middle["id"]
    )
    mentor, mentee = (top, low) if mentor_is_above else (low, top)
    await matching(offer)

    answer = await attempt(offer, member(mentor, "mentor"), member(mentee, "mentee"))

    assert (answer.status_code, answer.json()["code"]) == (409, "reporting_line")


async def test_the_last_seat_goes_to_one_of_fifty(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee")
    await matching(offer)

    answers = await crowd(
        lambda: attempt(offer, member(mentor, "mentor"), member(mentee, "mentee"))
    )

    outcomes = Counter((one.status_code, one.json().get("code")) for one in answers)
    assert outcomes == {(201, None): 1, (409, "seat_taken"): 49}


async def test_mentees_race_for_one_mentor_without_deadlock(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor", capacity=2)
    mentees = [await take_part(world, offer, "mentee") for _ in range(6)]
    await matching(offer)

    answers = await asyncio.gather(
        *(attempt(offer, member(one, "mentee"), member(mentor, "mentor")) for one in mentees)
    )

    assert Counter(one.status_code for one in answers) == {201: 2, 409: 4}
    assert (await mentor.now())["track_roles"][0]["load"] == 2


async def test_in_a_running_program_all_come_about_that_fit(world: World) -> None:
    offer = await open_registration(world, **UNREVIEWED)
    mentor = await take_part(world, offer, "mentor", capacity=7)
    first, *mentees = [await take_part(world, offer, "mentee") for _ in range(9)]
    await matching(offer)
    # The first starts the program; before, every composition waits for the program's own row.
    assert (await attempt(offer, member(mentor, "mentor"), member(first, "mentee"))).is_success

    answers = await asyncio.gather(
        *(attempt(offer, member(mentor, "mentor"), member(one, "mentee")) for one in mentees)
    )

    outcomes = Counter((one.status_code, one.json().get("code")) for one in answers)
    assert outcomes == {(201, None): 6, (409, "seat_taken"): 2}
    assert (await mentor.now())["track_roles"][0]["load"] == 7


async def test_members_can_reach_each_other_and_outsiders_learn_nothing(world: World) -> None:
    pair = await pair_up(world)
    outsider = await world.as_person((await world.add_person())["id"])
    fellow = await pair_up(world)

    seen = await pair.now()
    assert [one["contact"]["email"] for one in seen["members"]] == [
        pair.mentor.person["email"],
        pair.mentee.person["email"],
    ]
    for client in (outsider, fellow.mentee.client):
        assert (await client.get(pair.path)).status_code == 404
        assert await refused(client, f"{pair.path}/start") == (404, "not_found")
        assert await refused(client, f"{pair.path}/end-early", {}) == (404, "not_found")


async def test_staff_and_services_know_and_a_scope_is_needed(world: World) -> None:
    pair, other = await pair_up(world), await open_registration(world)
    key = await world.add_key("mentorships:read")
    blind = await world.add_key("people:read")

    for client in (pair.offer.coordinator, world.org_admin, key):
        assert (await client.get(pair.path)).status_code == 200
    assert (await other.coordinator.get(pair.path)).status_code == 404
    assert (await blind.get(pair.path)).json()["code"] == "insufficient_scope"
    assert await refused(world.org_admin, f"{pair.path}/start") == (403, "forbidden")
    assert await refused(pair.offer.coordinator, f"{pair.path}/start") == (403, "forbidden")


async def test_a_people_manager_sees_how_it_stands_where_the_program_says_so(
    world: World,
) -> None:
    manager = await world.add_person()
    offer = await open_registration(world, people_manager_visibility="status")
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee", manager_id=manager["id"])
    await matching(offer)
    made = await compose(offer, member(mentor, "mentor"), member(mentee, "mentee"))
    client = await world.as_person(manager["id"])

    seen = (await client.get(f"/v1/mentorships/{made['id']}")).json()

    assert seen["status"] == "pending_start"
    assert [one["person_id"] for one in seen["members"]] == [mentee.person["id"]]
    assert [one["contact"] for one in seen["members"]] == [None]
    assert (seen["driver_person_id"], seen["allowed"]) == (None, [])
    assert await refused(client, f"/v1/mentorships/{made['id']}/start") == (403, "forbidden")


async def test_a_people_manager_is_told_nothing_otherwise(world: World) -> None:
    manager = await world.add_person()
    offer = await open_registration(world, people_manager_visibility="participates")
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee", manager_id=manager["id"])
    await matching(offer)
    made = await compose(offer, member(mentor, "mentor"), member(mentee, "mentee"))
    client = await world.as_person(manager["id"])

    assert (await client.get(f"/v1/mentorships/{made['id']}")).status_code == 404


async def test_a_coordinator_has_no_special_rights_on_their_own_mentorship(world: World) -> None:
    offer = await open_registration(world)
    mentee = await take_part(world, offer, "mentee")
    path = f"/v1/programs/{offer.program['id']}/participants"
    own = await post(
        offer.coordinator,
        path,
        {
            "track_roles": [{"track_id": offer.track["id"], "role": "mentor"}],
            "answers": {"goals": "To give."},
        },
    )
    await post(
        offer.coordinator, f"/v1/participants/{own['id']}/submit", {"preview_acknowledged": True}
    )
    await post(offer.coordinator, f"/v1/participants/{own['id']}/approve", {})
    await matching(offer)
    made = await compose(
        offer, {"participant_id": own["id"], "role": "mentor"}, member(mentee, "mentee")
    )

    path = f"/v1/mentorships/{made['id']}/change-driver"
    assert await refused(offer.coordinator, path, {"person_id": offer.coordinator_id}) == (
        403,
        "forbidden",
    )


async def test_a_mentorship_lasts_as_long_as_its_track_and_program(world: World) -> None:
    pair = await pair_up(world, started=True)

    assert pair.mentorship["status"] == "active"
    assert pair.mentorship["starts_on"] == day(0)
    assert pair.mentorship["ends_on"] == day(180)


async def test_a_pause_keeps_its_reason_to_its_author(world: World) -> None:
    pair = await pair_up(world, started=True)
    body = {"to_on": day(30), "reason": "My own matter."}

    paused = await post(pair.mentee.client, f"{pair.path}/pause", body)

    assert (paused["status"], paused["pause"]) == (
        "paused",
        {"from_on": day(0), "to_on": day(30)},
    )
    assert [one["reason"] for one in paused["own_reasons"]] == ["My own matter."]
    for client in (pair.mentor.client, pair.offer.coordinator, world.org_admin):
        assert (await pair.now(client))["own_reasons"] == []
        assert "My own matter." not in (await client.get(pair.path)).text
    resumed = await post(pair.mentor.client, f"{pair.path}/resume", {})
    assert (resumed["status"], resumed["pause"]) == ("active", None)


async def test_a_pause_has_an_end_within_ninety_days(world: World) -> None:
    pair = await pair_up(world, started=True)
    path = f"{pair.path}/pause"

    assert await refused(pair.mentee.client, path, {"to_on": day(91)}) == (409, "pause_too_long")
    assert await refused(pair.mentee.client, path, {}) == (400, "invalid_request")
    assert await refused(pair.offer.coordinator, path, {"to_on": day(9)}) == (403, "forbidden")


async def test_only_safeguarding_ends_the_pause_of_safeguarding(world: World) -> None:
    pair = await pair_up(world, started=True)
    person = await world.add_person()
    await post(
        world.org_admin,
        "/v1/role-assignments",
        {"person_id": person["id"], "role": "safeguarding"},
    )
    guard = await world.as_person(person["id"])

    await post(guard, f"{pair.path}/pause", {})

    assert (await pair.now())["pause"] == {"from_on": day(0), "to_on": None}
    assert await refused(pair.mentee.client, f"{pair.path}/resume") == (403, "forbidden")
    assert (await post(guard, f"{pair.path}/resume", {}))["status"] == "active"
    await post(pair.mentee.client, f"{pair.path}/pause", {"to_on": day(3)})
    assert await refused(guard, f"{pair.path}/resume") == (403, "forbidden")


async def test_both_sides_extend(world: World) -> None:
    pair = await pair_up(world, started=True)
    path = f"{pair.path}/extend"

    proposed = await post(pair.mentee.client, path, {"ends_on": day(200)})
    again = await refused(pair.mentee.client, path, {"ends_on": day(200)})
    counter = await post(pair.mentor.client, path, {"ends_on": day(190)})
    agreed = await post(pair.mentee.client, path, {"ends_on": day(190)})

    assert proposed["extension"] == {
        "ends_on": day(200),
        "agreed_by": [pair.mentee.person["id"]],
    }
    assert proposed["ends_on"] == day(180)
    assert again == (409, "other_side_needed")
    assert counter["extension"]["agreed_by"] == [pair.mentor.person["id"]]
    assert (agreed["ends_on"], agreed["extension"]) == (day(190), None)
    assert await refused(pair.mentee.client, path, {"ends_on": "2028-01-01"}) == (
        409,
        "beyond_program",
    )


async def test_both_sides_complete_and_give_their_seats_back(world: World) -> None:
    pair = await pair_up(world, started=True)
    early = await refused(pair.mentee.client, f"{pair.path}/complete")
    closing = await post(pair.mentor.client, f"{pair.path}/begin-closing", {})

    first = await post(pair.mentee.client, f"{pair.path}/complete", {})
    again = await refused(pair.mentee.client, f"{pair.path}/complete")
    done = await post(pair.mentor.client, f"{pair.path}/complete", {})

    assert early == (409, "invalid_transition")
    assert (closing["status"], closing["closing_reason"]) == ("closing", "completed")
    assert (first["status"], first["completed_by"]) == ("closing", [pair.mentee.person["id"]])
    assert again == (409, "other_side_needed")
    assert (done["status"], done["ended_on"]) == ("completed", day(0))
    assert (await pair.mentor.now())["status"] == "available"
    assert (await pair.mentee.now())["track_roles"][0]["load"] == 0
    assert all(one["contact"] for one in done["members"])


async def test_an_extension_leads_out_of_closing(world: World) -> None:
    pair = await pair_up(world, started=True)
    await post(pair.mentor.client, f"{pair.path}/begin-closing", {})
    await post(pair.mentee.client, f"{pair.path}/complete", {})

    await post(pair.mentee.client, f"{pair.path}/extend", {"ends_on": day(200)})
    on = await post(pair.mentor.client, f"{pair.path}/extend", {"ends_on": day(200)})

    assert (on["status"], on["completed_by"], on["closing_reason"]) == ("active", [], None)


async def test_before_the_start_ending_cancels_and_nobody_is_told_by_whom(world: World) -> None:
    pair = await pair_up(world)
    key = await world.add_key("events:read")

    ended = await post(
        pair.mentee.client,
        f"{pair.path}/end-early",
        {"reason": "no_fit", "private_reason": "We did not click."},
    )

    assert (ended["status"], ended["closing_reason"]) == ("cancelled", None)
    assert (await pair.now(pair.offer.coordinator))["closing_reason"] == "no_fit"
    assert "We did not click." not in (await pair.mentor.client.get(pair.path)).text
    told = [
        one
        for one in (await key.get("/v1/events", params={"limit": 200})).json()["items"]
        if one["type"] == "mentorship.cancelled"
    ]
    assert [one["data"]["actor_id"] for one in told] == [None]
    assert (await pair.mentor.now())["status"] == "available"
    listed = await pair.mentee.client.get("/v1/me/past-mentorships")
    assert listed.json()["items"] == []


async def test_coordinators_end_early_too(world: World) -> None:
    pair = await pair_up(world, started=True)

    ended = await post(pair.offer.coordinator, f"{pair.path}/end-early", {"reason": "moved"})

    assert ended["status"] == "ended_early"
    assert await refused(pair.mentee.client, f"{pair.path}/end-early", {}) == (
        409,
        "invalid_transition",
    )


async def test_the_driver_passes_the_drive_to_a_member(world: World) -> None:
    pair = await pair_up(world)
    path = f"{pair.path}/change-driver"
    stranger = await world.add_person()

    assert await refused(pair.mentor.client, path, {"person_id": stranger["id"]}) == (
        403,
        "forbidden",
    )
    assert await refused(pair.mentee.client, path, {"person_id": stranger["id"]}) == (
        409,
        "not_a_member",
    )
    changed = await post(pair.mentee.client, path, {"person_id": pair.mentor.person["id"]})
    assert changed["driver_person_id"] == pair.mentor.person["id"]
    back = await post(pair.offer.coordinator, path, {"person_id": pair.mentee.person["id"]})
    assert back["driver_person_id"] == pair.mentee.person["id"]


async def test_a_stale_version_changes_nothing(world: World) -> None:
    pair = await pair_up(world)

    answer = await pair.mentee.client.post(f"{pair.path}/start", headers={"If-Match": '"9"'})

    assert (answer.status_code, answer.headers["ETag"]) == (412, '"1"')


async def test_lists_are_filtered_and_paged(world: World) -> None:
    pair, other = await pair_up(world, started=True), await pair_up(world)
    program = pair.offer.program["id"]

    async def listed(client: httpx.AsyncClient, path: str, **params: Any) -> list[str]:
        answer = await client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["items"]]

    own, foreign = pair.mentorship["id"], other.mentorship["id"]
    path = "/v1/mentorships"
    assert await listed(world.org_admin, path) == [own, foreign]
    assert await listed(world.org_admin, path, status=["active", "paused"]) == [own]
    assert await listed(world.org_admin, path, program_id=program) == [own]
    assert await listed(world.org_admin, path, track_id=other.offer.track["id"]) == [foreign]
    assert await listed(pair.offer.coordinator, path) == [own]
    assert await listed(pair.mentee.client, path) == [own]
    assert await listed(pair.mentee.client, "/v1/me/mentorships") == [own]
    assert await listed(pair.mentee.client, "/v1/me/past-mentorships") == []
    first = (await world.org_admin.get(path, params={"limit": 1})).json()
    second = await world.org_admin.get(path, params={"limit": 1, "cursor": first["next_cursor"]})
    assert [one["id"] for one in second.json()["items"]] == [foreign]
    await post(pair.mentee.client, f"{pair.path}/end-early", {})
    assert await listed(pair.mentee.client, "/v1/me/mentorships") == []
    assert await listed(pair.mentee.client, "/v1/me/past-mentorships") == [own]
    unknown = await world.org_admin.get(path, params={"color": "blue"})
    assert unknown.status_code == 400


async def test_peers_are_sides_of_their_own_and_both_may_pass_the_drive(world: World) -> None:
    offer, members = await in_format(world, "peer", "peer", format="peer")
    made = await compose(offer, *plain(members))
    first, second = (one["somebody"] for one in members)
    pair = Pair(offer, first, second, made)

    assert made["driver_person_id"] == first.person["id"]
    await post(second.client, f"{pair.path}/start", {})
    passed = await post(
        second.client, f"{pair.path}/change-driver", {"person_id": second.person["id"]}
    )
    assert passed["driver_person_id"] == second.person["id"]
    await post(first.client, f"{pair.path}/begin-closing", {})
    await post(first.client, f"{pair.path}/complete", {})
    assert (await post(second.client, f"{pair.path}/complete", {}))["status"] == "completed"


async def test_a_circle_says_what_its_members_share(world: World) -> None:
    offer, members = await in_format(
        world, "facilitator", "mentor", "mentee", "mentee", format="circle"
    )

    bare = await attempt(offer, *plain(members))
    made = await compose(
        offer, *plain(members), common_ground="New managers, all of us.", name="Circle"
    )

    assert [one["code"] for one in bare.json()["errors"]] == ["common_ground_missing"]
    assert made["driver_person_id"] == members[0]["somebody"].person["id"]
    assert made["name"] == "Circle"


async def test_a_group_goes_on_without_a_member_and_says_what_it_lacks(world: World) -> None:
    offer, members = await in_format(world, "mentor", "mentee", "mentee", format="group")
    made = await compose(offer, *plain(members))
    mentor, first, second = (one["somebody"] for one in members)
    pair = Pair(offer, mentor, first, made)
    await post(first.client, f"{pair.path}/start", {})
    of = {one["person_id"]: one["id"] for one in made["members"]}
    leaving = f"/v1/members/{of[first.person['id']]}/leave"

    mentors_way = await refused(mentor.client, f"/v1/members/{of[mentor.person['id']]}/leave")
    foreign = await refused(second.client, leaving)
    alone = await refused(first.client, f"{pair.path}/end-early", {})
    left = await post(first.client, leaving, {})
    removed = await post(offer.coordinator, f"/v1/members/{of[mentor.person['id']]}/remove", {})

    assert mentors_way == (409, "last_mentor")
    assert (foreign, alone) == ((403, "forbidden"), (403, "forbidden"))
    assert left["flags"] == {"below_minimum": True, "needs_mentor": False}
    assert left["driver_person_id"] == second.person["id"]
    assert removed["flags"] == {"below_minimum": True, "needs_mentor": True}
    assert (await first.now())["track_roles"][0]["load"] == 0
    assert await refused(first.client, leaving) == (409, "already_ended")
    listed = await first.client.get("/v1/me/past-mentorships")
    assert [one["id"] for one in listed.json()["items"]] == [made["id"]]


async def test_a_circle_keeps_somebody_who_facilitates(world: World) -> None:
    offer, members = await in_format(
        world, "facilitator", "mentor", "mentee", "mentee", format="circle"
    )
    made = await compose(offer, *plain(members), common_ground="New managers.")
    facilitator = members[0]["somebody"]

    answer = await refused(facilitator.client, f"/v1/members/{made['members'][0]['id']}/leave")

    assert answer == (409, "last_facilitator")


async def test_two_people_do_not_leave_but_end(world: World) -> None:
    pair = await pair_up(world, started=True)
    path = f"/v1/members/{pair.mentorship['members'][1]['id']}/leave"

    answer = await pair.mentee.client.post(path)

    assert answer.json()["code"] == "invalid_transition"
    assert answer.json()["allowed"] == ["end-early"]
    unknown = "/v1/members/mbr_01kajv7v1cefh8ws6q1fyv4m2z/leave"
    assert await refused(pair.mentee.client, unknown) == (404, "not_found")


async def test_a_flash_meeting_is_with_somebody_new(world: World) -> None:
    offer, members = await in_format(
        world, "mentor", "mentee", format="flash", match_modes=["roulette"]
    )
    made = await compose(offer, *plain(members))
    mentee = members[1]["somebody"]
    await post(mentee.client, f"/v1/mentorships/{made['id']}/start", {})
    await post(mentee.client, f"/v1/mentorships/{made['id']}/end-early", {})

    answer = await attempt(offer, *plain(members))

    assert [one["code"] for one in answer.json()["errors"]] == ["already_met"]
