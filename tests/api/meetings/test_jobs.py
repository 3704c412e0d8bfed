"""Meetings when their time comes, and when their mentorship rests, ends or loses a member."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.api.compositions import operations as compositions
from services.api.compositions.rules import NewMember
from services.api.meetings import jobs
from services.api.programs.rules import TrackRole
from shared import ids
from shared.persistence.engine import create_engine
from shared.persistence.sessions import create_sessions, transaction
from shared.persistence.tenancy import Tenant
from tests.support.apps import World
from tests.support.database import Databases
from tests.support.meetings import arrange, hour
from tests.support.mentorships import (
    Pair,
    compose,
    matching,
    member,
    pair_up,
    work,
)
from tests.support.participants import take_part
from tests.support.programs import draft, post

NOW = datetime.now(UTC)


def inside(meeting: dict[str, Any]) -> UUID:
    return ids.parse_id("meeting", meeting["id"])


async def tick(world: World, meeting: dict[str, Any], kind: str) -> None:
    async with work(world) as session:
        await jobs.on_timer(
            session,
            organization_id=world.id,
            kind=f"meeting.{kind}",
            subject_id=inside(meeting),
            now=NOW,
        )


async def seen(pair: Pair, meeting: dict[str, Any]) -> dict[str, Any]:
    answer = await pair.mentor.client.get(f"/v1/meetings/{meeting['id']}")
    current: dict[str, Any] = answer.json()
    return current


async def timers(world: World, meeting: dict[str, Any]) -> dict[str, datetime]:
    async with work(world) as session:
        rows = await session.execute(
            text("SELECT kind, due_at FROM timer WHERE subject_id = :subject AND done_at IS NULL"),
            {"subject": inside(meeting)},
        )
        return {kind.removeprefix("meeting."): due_at for kind, due_at in rows}


async def test_a_meeting_begins_and_ends_at_its_time(world: World) -> None:
    pair = await pair_up(world)
    made = await arrange(pair)

    booked = await timers(world, made)
    await tick(world, made, "start")
    begun, due = (await seen(pair, made))["status"], await timers(world, made)
    await tick(world, made, "finish")

    assert booked == {"start": datetime.fromisoformat(made["starts_at"])}
    assert (begun, due) == ("in_progress", {"finish": datetime.fromisoformat(made["ends_at"])})
    assert (await seen(pair, made))["status"] == "held"
    assert await timers(world, made) == {}


async def test_a_moved_meeting_begins_at_its_new_time(world: World) -> None:
    pair = await pair_up(world)
    made = await arrange(pair)

    moved = await post(
        pair.mentor.client, f"/v1/meetings/{made['id']}/reschedule", {"starts_at": hour(90)}
    )

    assert await timers(world, made) == {"start": datetime.fromisoformat(moved["starts_at"])}


async def test_an_offer_nobody_answers_expires(world: World) -> None:
    pair = await pair_up(world)
    made = await arrange(pair, proposed_times=[hour(90)])
    due = (await timers(world, made))["expire"]

    await tick(world, made, "expire")

    assert timedelta(hours=71) < due - NOW < timedelta(hours=73)
    assert (await seen(pair, made))["status"] == "declined"


@pytest.mark.parametrize("kind", ["expire", "finish"])
async def test_a_timer_that_comes_too_late_does_nothing(world: World, kind: str) -> None:
    pair = await pair_up(world)
    made = await arrange(pair)

    await tick(world, made, kind)

    assert (await seen(pair, made))["version"] == made["version"]


async def test_a_mentorship_that_stops_calls_off_what_is_to_come(world: World) -> None:
    pair = await pair_up(world)
    past = await arrange(pair, starts_at=hour(-5), logged_after=True)
    booked, offered = await arrange(pair), await arrange(pair, proposed_times=[hour(90)])

    for _ in range(2):
        async with work(world) as session:
            await jobs.on_mentorship_stopped(
                session,
                organization_id=world.id,
                subject_id=ids.parse_id("mentorship", pair.mentorship["id"]),
                now=NOW,
            )

    after = [await seen(pair, one) for one in (past, booked, offered)]
    assert [one["status"] for one in after] == ["held", "cancelled", "cancelled"]
    assert after[1]["ical_sequence"] == 1


async def test_who_left_a_group_is_taken_off_its_meetings(world: World) -> None:
    offer = await draft(world)
    offer.track = await post(
        offer.coordinator,
        f"/v1/programs/{offer.program['id']}/tracks",
        {"name": "Group", "format": "group", "match_modes": ["coordinator"]},
    )
    await offer.act("publish")
    await offer.act("open-registration")
    roles = ("mentor", "mentee", "mentee", "mentee")
    people = [
        await take_part(world, offer, role, capacity=3 if role == "mentor" else 1) for role in roles
    ]
    await matching(offer)
    members = [member(one, role) for one, role in zip(people, roles, strict=True)]
    pair = Pair(offer, people[0], people[1], await compose(offer, *members))
    made = await arrange(pair, starts_at=hour(48), location="Room Ada")
    leaver = pair.mentorship["members"][1]
    await post(pair.mentee.client, f"/v1/members/{leaver['id']}/leave", {})

    async with work(world) as session:
        await jobs.on_member_gone(
            session,
            organization_id=world.id,
            subject_id=ids.parse_id("member", leaver["id"]),
            now=NOW,
        )

    after = await seen(pair, made)
    assert leaver["person_id"] not in after["attendee_ids"]
    assert (len(after["attendee_ids"]), after["ical_sequence"]) == (3, 1)
    later = await arrange(pair, people[2].client, starts_at=hour(60))
    old = await pair.mentee.client.get(f"/v1/meetings/{made['id']}")
    assert old.json()["location"] == "Room Ada"
    assert (await pair.mentee.client.get(f"/v1/meetings/{later['id']}")).status_code == 404


async def test_who_joined_a_group_attends_what_all_others_attend(world: World) -> None:
    offer = await draft(world)
    offer.track = await post(
        offer.coordinator,
        f"/v1/programs/{offer.program['id']}/tracks",
        {"name": "Group", "format": "group", "match_modes": ["coordinator"]},
    )
    await offer.act("publish")
    await offer.act("open-registration")
    roles = ("mentor", "mentee", "mentee", "mentee")
    people = [
        await take_part(world, offer, role, capacity=3 if role == "mentor" else 1) for role in roles
    ]
    await matching(offer)
    members = [member(one, role) for one, role in zip(people[:3], roles, strict=False)]
    pair = Pair(offer, people[0], people[1], await compose(offer, *members))
    of_all = await arrange(pair, starts_at=hour(48))
    of_some = await arrange(pair, starts_at=hour(60))
    async with work(world) as session:
        await session.execute(
            text("DELETE FROM meeting_attendee WHERE meeting_id = :id AND person_id = :person"),
            {
                "id": inside(of_some),
                "person": ids.parse_id("person", people[2].person["id"]),
            },
        )
        newcomer = NewMember(
            ids.parse_id("participant", people[3].participant["id"]), TrackRole.MENTEE
        )
        await compositions.join(
            session,
            organization_id=world.id,
            mentorship_id=ids.parse_id("mentorship", pair.mentorship["id"]),
            members=[newcomer],
            actor_id=None,
            now=NOW,
        )
    joined = (await pair.now())["members"][-1]

    for _ in range(2):
        async with work(world) as session:
            await jobs.on_member_joined(
                session,
                organization_id=world.id,
                subject_id=ids.parse_id("member", joined["id"]),
                now=NOW,
            )

    after = [await seen(pair, one) for one in (of_all, of_some)]
    assert joined["person_id"] == people[3].person["id"]
    assert [len(one["attendee_ids"]) for one in after] == [4, 2]
    assert joined["person_id"] in after[0]["attendee_ids"]
    assert [one["ical_sequence"] for one in after] == [1, 0]


async def test_who_joined_and_left_at_once_attends_nothing(world: World) -> None:
    pair = await pair_up(world)
    made = await arrange(pair, starts_at=hour(48))
    gone = pair.mentorship["members"][0]
    async with work(world) as session:
        await session.execute(
            text("UPDATE mentorship_member SET status = 'left' WHERE id = :id"),
            {"id": ids.parse_id("member", gone["id"])},
        )

        await jobs.on_member_joined(
            session,
            organization_id=world.id,
            subject_id=ids.parse_id("member", gone["id"]),
            now=NOW,
        )

    assert (await seen(pair, made))["ical_sequence"] == 0


async def test_background_work_cannot_read_where_people_meet(
    world: World, databases: Databases
) -> None:
    pair = await pair_up(world)
    await arrange(pair, starts_at=hour(48), location="Room Ada")
    engine = create_engine(databases.url("app_jobs", "api"), size=1, service="test")
    sessions, tenant = create_sessions(engine), Tenant(world.id)

    async with transaction(sessions, tenant) as session:
        (made,) = (await session.execute(text("SELECT id FROM meeting"))).scalars()
        await jobs.on_timer(
            session,
            organization_id=tenant.organization_id,
            kind="meeting.start",
            subject_id=made,
            now=NOW,
        )
    with pytest.raises(DBAPIError, match="permission denied"):
        async with transaction(sessions, tenant) as session:
            await session.execute(text("SELECT location FROM meeting_place"))
    await engine.dispose()


async def test_events_name_attendees_and_never_a_place(world: World) -> None:
    pair = await pair_up(world)
    await arrange(pair, starts_at=hour(48), location="Room Ada")

    async with work(world) as session:
        rows = await session.execute(
            text(
                "SELECT data FROM outbox_message WHERE organization_id = :organization"
                " AND type = 'meeting.scheduled'"
            ),
            {"organization": world.id},
        )
        (data,) = rows.scalars()

    both = {str(ids.parse_id("person", one.person["id"])) for one in (pair.mentor, pair.mentee)}
    assert set(data["recipients"]["attendees"]) == set(data["ids"]["person_ids"]) == both
    assert "Room Ada" not in str(data)
