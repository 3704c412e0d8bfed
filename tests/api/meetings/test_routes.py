"""Meetings over HTTP: arranged, moved and held, and who may know what of them."""

from collections import Counter
from typing import Any

import httpx
import pytest

from tests.support.apps import World
from tests.support.meetings import arrange, hour
from tests.support.mentorships import Pair, crowd, pair_up
from tests.support.participants import take_part
from tests.support.programs import draft, post

PATCH = {"Content-Type": "application/merge-patch+json"}


async def refused(client: httpx.AsyncClient, path: str, body: Any = None) -> tuple[int, str]:
    answer = await client.post(path, json=body)
    return answer.status_code, answer.json()["code"]


async def test_a_meeting_is_booked_and_starts_the_mentorship(world: World) -> None:
    pair = await pair_up(world)

    made = await arrange(pair, starts_at=hour(48), minutes=30, location="Room Ada")

    assert (made["status"], made["number"], made["ical_sequence"]) == ("scheduled", 1, 0)
    assert (made["starts_at"], made["ends_at"]) == (hour(48), hour(48.5))
    assert set(made["attendee_ids"]) == {pair.mentor.person["id"], pair.mentee.person["id"]}
    assert made["allowed"] == ["reschedule", "cancel", "start"]
    assert (await pair.now())["status"] == "active"


async def test_without_minutes_it_takes_as_long_as_usual(world: World) -> None:
    made = await arrange(await pair_up(world))

    assert (made["minutes"], made["ends_at"]) == (45, hour(48.75))


async def test_times_are_offered_and_another_member_chooses(world: World) -> None:
    pair = await pair_up(world)

    offered = await arrange(pair, proposed_times=[hour(72), hour(48)])
    path = f"/v1/meetings/{offered['id']}"
    own = await refused(pair.mentee.client, f"{path}/confirm", {"starts_at": hour(48)})
    other = await refused(pair.mentor.client, f"{path}/confirm", {"starts_at": hour(50)})
    before = (await pair.now())["status"]
    chosen = await post(pair.mentor.client, f"{path}/confirm", {"starts_at": hour(72)})

    assert (offered["status"], offered["starts_at"]) == ("proposed", None)
    assert offered["proposed_times"] == [hour(48), hour(72)]
    assert (own, other) == ((403, "forbidden"), (400, "invalid_request"))
    assert (before, (await pair.now())["status"]) == ("pending_start", "active")
    assert (chosen["status"], chosen["starts_at"]) == ("scheduled", hour(72))
    assert chosen["ical_uid"] == offered["ical_uid"]
    assert chosen["ical_sequence"] == 1


async def test_times_offered_are_declined_by_another(world: World) -> None:
    pair = await pair_up(world)
    offered = await arrange(pair, proposed_times=[hour(48)])
    path = f"/v1/meetings/{offered['id']}/decline-times"

    assert await refused(pair.mentee.client, path) == (403, "forbidden")
    assert (await post(pair.mentor.client, path, {}))["status"] == "declined"
    assert await refused(pair.mentor.client, path) == (409, "invalid_transition")


async def test_a_past_meeting_is_logged(world: World) -> None:
    pair = await pair_up(world)

    made = await arrange(pair, starts_at=hour(-3), logged_after=True)
    path = f"{pair.path}/meetings"
    future = {"starts_at": hour(3), "logged_after": True}

    assert (made["status"], made["logged_after"], made["allowed"]) == ("held", True, [])
    assert await refused(pair.mentee.client, path, future) == (409, "too_early")
    assert (await arrange(pair))["number"] == 2


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, "invalid_request")),
        ({"starts_at": hour(9), "proposed_times": [hour(9)]}, (400, "invalid_request")),
        ({"proposed_times": [hour(9)], "logged_after": True}, (400, "invalid_request")),
        ({"proposed_times": [hour(n) for n in range(1, 7)]}, (400, "invalid_request")),
        ({"starts_at": hour(9), "minutes": 14}, (400, "invalid_request")),
        ({"starts_at": hour(9), "location": "a\u0000b"}, (400, "invalid_request")),
        ({"starts_at": "2199-12-31T23:59:59Z", "minutes": True}, (400, "invalid_request")),
        ({"starts_at": hour(-1)}, (409, "in_the_past")),
        ({"proposed_times": [hour(9), hour(-1)]}, (409, "in_the_past")),
    ],
)
async def test_what_cannot_be_arranged_is_refused(
    world: World, body: dict[str, Any], expected: tuple[int, str]
) -> None:
    pair = await pair_up(world)

    assert await refused(pair.mentee.client, f"{pair.path}/meetings", body) == expected
    assert (await pair.now())["status"] == "pending_start"


async def test_the_last_instant_there_is_can_be_booked(world: World) -> None:
    pair = await pair_up(world)

    made = await arrange(pair, starts_at="2199-12-31T23:59:59Z", minutes=240)

    assert (await pair.mentee.client.get(f"/v1/meetings/{made['id']}")).json() == made


async def test_nobody_is_in_two_meetings_at_once(world: World) -> None:
    pair = await pair_up(world)
    first = await arrange(pair, starts_at=hour(48), minutes=60)
    path = f"{pair.path}/meetings"

    overlapping = {"starts_at": hour(48.5), "minutes": 60}
    assert await refused(pair.mentor.client, path, overlapping) == (409, "clash")
    second = await arrange(pair, starts_at=hour(49), minutes=60)
    moved = f"/v1/meetings/{second['id']}/reschedule"
    assert await refused(pair.mentee.client, moved, {"starts_at": hour(48.5)}) == (409, "clash")
    offered = await arrange(pair, proposed_times=[hour(48.5)])
    confirm = f"/v1/meetings/{offered['id']}/confirm"
    body = {"starts_at": hour(48.5)}
    assert await refused(pair.mentor.client, confirm, body) == (409, "clash")
    await post(pair.mentee.client, f"/v1/meetings/{first['id']}/cancel", {})
    assert await refused(pair.mentor.client, confirm, body) == (409, "clash")
    await post(pair.mentee.client, f"/v1/meetings/{second['id']}/cancel", {})
    assert (await post(pair.mentor.client, confirm, body))["status"] == "scheduled"


async def test_one_of_fifty_books_the_hour(world: World) -> None:
    pair = await pair_up(world)
    path = f"{pair.path}/meetings"

    answers = await crowd(lambda: pair.mentee.client.post(path, json={"starts_at": hour(48)}))

    outcomes = Counter((one.status_code, one.json().get("code")) for one in answers)
    assert outcomes == {(201, None): 1, (409, "clash"): 49}


async def test_a_meeting_moves_with_a_rising_sequence(world: World) -> None:
    pair = await pair_up(world)
    made = await arrange(pair, starts_at=hour(5))
    path = f"/v1/meetings/{made['id']}/reschedule"

    near = await post(pair.mentor.client, path, {"starts_at": hour(50), "minutes": 60})
    far = await post(pair.mentor.client, path, {"starts_at": hour(60)})

    assert (near["warnings"], far["warnings"]) == (["short_notice"], [])
    assert (near["ical_sequence"], far["ical_sequence"]) == (1, 2)
    assert near["ical_uid"] == far["ical_uid"] == made["ical_uid"]
    assert (far["starts_at"], far["ends_at"]) == (hour(60), hour(61))
    assert await refused(pair.mentor.client, path, {"starts_at": hour(-1)}) == (
        409,
        "in_the_past",
    )


async def test_a_meeting_is_called_off_once(world: World) -> None:
    pair = await pair_up(world)
    made = await arrange(pair)
    path = f"/v1/meetings/{made['id']}/cancel"

    cancelled = await post(pair.mentor.client, path, {})

    assert (cancelled["status"], cancelled["ical_sequence"]) == ("cancelled", 1)
    assert await refused(pair.mentor.client, path) == (409, "invalid_transition")


async def test_members_note_that_it_begins_and_is_over(world: World) -> None:
    pair = await pair_up(world)
    made = await arrange(pair)
    path = f"/v1/meetings/{made['id']}"

    assert await refused(pair.mentor.client, f"{path}/finish") == (409, "invalid_transition")
    begun = await post(pair.mentor.client, f"{path}/start", {})
    held = await post(pair.mentee.client, f"{path}/finish", {})

    assert (begun["status"], held["status"]) == ("in_progress", "held")
    assert held["ical_sequence"] == 0


async def test_the_place_is_for_members_alone(world: World) -> None:
    pair, stranger = await pair_up(world), await pair_up(world)
    key = await world.add_key("meetings:read")
    made = await arrange(pair, starts_at=hour(48), location="Room Ada")
    path = f"/v1/meetings/{made['id']}"

    assert (await pair.mentor.client.get(path)).json()["location"] == "Room Ada"
    for client in (pair.offer.coordinator, world.org_admin, key):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["starts_at"]) == (200, hour(48))
        assert (answer.json()["location"], answer.json()["allowed"]) == (None, [])
        assert "Room Ada" not in (await client.get(f"{pair.path}/meetings")).text
    for client in (stranger.mentee.client, stranger.offer.coordinator):
        assert (await client.get(path)).status_code == 404
        assert await refused(client, f"{path}/cancel") == (404, "not_found")
        assert (await client.get(f"{pair.path}/meetings")).status_code == 404
        body = {"starts_at": hour(9)}
        assert await refused(client, f"{pair.path}/meetings", body) == (404, "not_found")


async def test_staff_arrange_nothing(world: World) -> None:
    pair = await pair_up(world)
    made = await arrange(pair)

    for client in (pair.offer.coordinator, world.org_admin):
        body = {"starts_at": hour(9)}
        assert await refused(client, f"{pair.path}/meetings", body) == (403, "forbidden")
        assert await refused(client, f"/v1/meetings/{made['id']}/cancel") == (403, "forbidden")


async def test_how_and_where_to_meet_can_change(world: World) -> None:
    pair = await pair_up(world)
    made = await arrange(pair)
    path = f"/v1/meetings/{made['id']}"

    async def change(tag: str, **values: Any) -> httpx.Response:
        return await pair.mentor.client.patch(path, json=values, headers=PATCH | {"If-Match": tag})

    unnamed = await pair.mentor.client.patch(path, json={}, headers=PATCH)
    placed = await change('"1"', mode="in_person", location="Room Ada")
    moved = await change("*", location="Room Grace")
    cleared = await change("*", location=None)
    await post(pair.mentee.client, f"{path}/cancel", {})

    assert unnamed.status_code == 428
    assert (placed.json()["mode"], placed.json()["location"]) == ("in_person", "Room Ada")
    assert moved.json()["location"] == "Room Grace"
    assert (cleared.json()["location"], cleared.json()["mode"]) == (None, "in_person")
    assert cleared.json()["ical_sequence"] == 0
    assert (await change('"1"', mode="phone")).status_code == 412
    assert (await change("*", mode="phone")).json()["code"] == "already_ended"


async def test_a_mentorship_that_rests_or_is_over_has_no_meetings(world: World) -> None:
    pair = await pair_up(world, started=True)
    path, body = f"{pair.path}/meetings", {"starts_at": hour(48)}
    await post(pair.mentee.client, f"{pair.path}/pause", {"to_on": hour(240)[:10]})

    resting = await pair.mentee.client.post(path, json=body)
    await post(pair.mentee.client, f"{pair.path}/end-early", {})

    assert (resting.json()["code"], resting.json()["allowed"]) == (
        "invalid_transition",
        ["resume"],
    )
    assert await refused(pair.mentee.client, path, body) == (409, "already_ended")


async def test_meetings_of_a_mentorship_are_listed_by_state(world: World) -> None:
    pair = await pair_up(world)
    first, second = await arrange(pair), await arrange(pair, proposed_times=[hour(99)])
    path = f"{pair.path}/meetings"

    async def listed(client: httpx.AsyncClient, **params: Any) -> list[str]:
        return [one["id"] for one in (await client.get(path, params=params)).json()["items"]]

    assert await listed(pair.mentor.client) == [first["id"], second["id"]]
    assert await listed(pair.offer.coordinator) == [first["id"], second["id"]]
    assert await listed(pair.mentor.client, status="proposed") == [second["id"]]


async def test_flash_meets_once_and_briefly(world: World) -> None:
    offer = await draft(world)
    offer.track = await post(
        offer.coordinator,
        f"/v1/programs/{offer.program['id']}/tracks",
        {
            "name": "Flash",
            "format": "flash",
            "match_modes": ["roulette"],
            "policy_id": offer.track["policy_id"],
        },
    )
    await offer.act("publish")
    await offer.act("open-registration")
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee")
    await offer.act("close-registration")
    await offer.act("start-matching")
    made = await post(
        offer.coordinator,
        f"/v1/tracks/{offer.track['id']}/mentorships",
        {
            "members": [
                {"participant_id": mentor.participant["id"], "role": "mentor"},
                {"participant_id": mentee.participant["id"], "role": "mentee"},
            ]
        },
    )
    pair = Pair(offer, mentor, mentee, made)
    path = f"{pair.path}/meetings"
    long = {"starts_at": hour(48), "minutes": 45}

    assert await refused(mentee.client, path, long) == (409, "flash_too_long")
    first = await arrange(pair)
    assert first["minutes"] == 20
    assert await refused(mentee.client, path, {"starts_at": hour(60)}) == (
        409,
        "one_meeting_only",
    )
    await post(mentee.client, f"/v1/meetings/{first['id']}/cancel", {})
    assert (await arrange(pair))["status"] == "scheduled"
