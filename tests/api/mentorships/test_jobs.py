"""What happens to mentorships when time passes, and when people and programs go."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from services.api.mentorships import jobs
from services.api.people.rules import PersonStatus
from services.api.people.tables import Person
from shared import ids
from tests.support.apps import World
from tests.support.mentorships import Pair, pair_up, work
from tests.support.programs import post

NOW = datetime.now(UTC)


def mentorship_id(pair: Pair) -> UUID:
    return ids.parse_id("mentorship", pair.mentorship["id"])


async def tick(world: World, pair: Pair, kind: str, now: datetime = NOW) -> None:
    async with work(world) as session:
        await jobs.on_timer(
            session,
            organization_id=world.id,
            kind=f"mentorship.{kind}",
            subject_id=mentorship_id(pair),
            now=now,
        )


async def timers(world: World, pair: Pair) -> dict[str, datetime]:
    async with work(world) as session:
        rows = await session.execute(
            text("SELECT kind, due_at FROM timer WHERE subject_id = :subject AND done_at IS NULL"),
            {"subject": mentorship_id(pair)},
        )
        return {kind.removeprefix("mentorship."): due_at for kind, due_at in rows}


async def events(world: World, kind: str) -> list[dict[str, Any]]:
    async with work(world) as session:
        rows = await session.execute(
            text(
                "SELECT data FROM outbox_message WHERE organization_id = :organization"
                " AND type = :kind ORDER BY id"
            ),
            {"organization": world.id, "kind": kind},
        )
        return list(rows.scalars())


async def consume(world: World, name: str, subject_id: UUID) -> None:
    async with work(world) as session:
        await getattr(jobs, name)(session, organization_id=world.id, subject_id=subject_id, now=NOW)


async def test_the_driver_is_nudged_and_then_the_coordinator_is_told(world: World) -> None:
    pair = await pair_up(world)

    due = await timers(world, pair)
    await tick(world, pair, "nudge")
    await tick(world, pair, "second_nudge")

    assert set(due) == {"nudge", "second_nudge", "cancel"}
    assert due["cancel"] - due["nudge"] == timedelta(days=23)
    first, second = await events(world, "mentorship.first_meeting_overdue")
    mentee = str(ids.parse_id("person", pair.mentee.person["id"]))
    assert first["recipients"]["driver"] == [mentee]
    assert "coordinators" not in first["recipients"]
    coordinator = str(ids.parse_id("person", pair.offer.coordinator_id))
    assert second["recipients"]["coordinators"] == [coordinator]


async def test_what_never_begins_is_cancelled(world: World) -> None:
    pair = await pair_up(world)

    await tick(world, pair, "cancel")

    assert (await pair.now())["status"] == "cancelled"
    assert await timers(world, pair) == {}
    assert (await pair.mentor.now())["status"] == "available"


async def test_a_mentorship_closes_before_its_last_day_and_completes_by_itself(
    world: World,
) -> None:
    pair = await pair_up(world, started=True)
    before = await timers(world, pair)

    await tick(world, pair, "begin_closing")
    closing, due = await pair.now(), await timers(world, pair)
    await tick(world, pair, "complete")

    assert set(before) == {"begin_closing"}
    assert (
        before["begin_closing"].date().isoformat() == (NOW.date() + timedelta(days=159)).isoformat()
    )
    assert (closing["status"], closing["closing_reason"]) == ("closing", "completed")
    assert due == {"complete": NOW + timedelta(days=21)}
    assert (await pair.now())["status"] == "completed"


@pytest.mark.parametrize("kind", ["nudge", "second_nudge", "cancel", "complete", "pause_lapse"])
async def test_a_timer_that_comes_too_late_does_nothing(world: World, kind: str) -> None:
    pair = await pair_up(world, started=True)

    await tick(world, pair, kind)

    assert (await pair.now())["version"] == pair.mentorship["version"]
    assert await events(world, "mentorship.first_meeting_overdue") == []


async def test_a_pause_ends_on_its_day(world: World) -> None:
    pair = await pair_up(world, started=True)
    to_on = (NOW + timedelta(days=10)).date().isoformat()
    await post(pair.mentee.client, f"{pair.path}/pause", {"to_on": to_on})
    due = await timers(world, pair)

    await tick(world, pair, "pause_end")

    assert {kind: at.date().isoformat() for kind, at in due.items()} == {"pause_end": to_on}
    assert (await pair.now())["status"] == "active"
    assert set(await timers(world, pair)) == {"begin_closing"}


async def test_a_pause_of_somebody_who_is_still_away_lapses(world: World) -> None:
    pair = await pair_up(world, started=True)
    to_on = (NOW + timedelta(days=10)).date().isoformat()
    await post(pair.mentee.client, f"{pair.path}/pause", {"to_on": to_on})
    async with work(world) as session:
        person = await session.get(
            Person, (world.id, ids.parse_id("person", pair.mentor.person["id"]))
        )
        assert person is not None
        person.status = PersonStatus.ON_LEAVE

    await tick(world, pair, "pause_end")
    waiting = (await pair.now())["status"]
    due = await timers(world, pair)
    await tick(world, pair, "pause_lapse")

    assert waiting == "paused"
    assert due["pause_lapse"] == NOW + timedelta(days=14)
    after = await pair.now(pair.offer.coordinator)
    assert (after["status"], after["closing_reason"]) == ("closing", "idle")


@pytest.mark.parametrize(
    ("consumer", "before", "expected"),
    [
        ("on_program_cancelled", "pending_start", "cancelled"),
        ("on_program_cancelled", "active", "closing"),
        ("on_program_cancelled", "paused", "closing"),
        ("on_program_cancelled", "closing", "closing"),
        ("on_program_completed", "pending_start", "cancelled"),
        ("on_program_completed", "active", "completed"),
        ("on_program_completed", "paused", "completed"),
        ("on_program_completed", "closing", "completed"),
    ],
)
async def test_a_program_that_ends_takes_its_mentorships_along(
    world: World, consumer: str, before: str, expected: str
) -> None:
    pair = await pair_up(world, started=before != "pending_start")
    if before == "paused":
        to_on = (NOW + timedelta(days=10)).date().isoformat()
        await post(pair.mentee.client, f"{pair.path}/pause", {"to_on": to_on})
    if before == "closing":
        await post(pair.mentee.client, f"{pair.path}/begin-closing", {})
    program = ids.parse_id("program", pair.offer.program["id"])

    await consume(world, consumer, program)

    assert (await pair.now())["status"] == expected


async def test_a_program_that_winds_down_is_complete_with_its_last_mentorship(
    world: World,
) -> None:
    pair = await pair_up(world, started=True)
    await post(pair.offer.coordinator, f"/v1/programs/{pair.offer.program['id']}/wind-down", {})
    program = ids.parse_id("program", pair.offer.program["id"])
    await consume(world, "on_program_winding_down", program)
    path = f"/v1/programs/{pair.offer.program['id']}"
    during = (await pair.offer.coordinator.get(path)).json()["status"]

    await post(pair.mentee.client, f"{pair.path}/end-early", {})

    assert during == "winding_down"
    assert (await pair.offer.coordinator.get(path)).json()["status"] == "completed"


async def test_no_mentorship_outlasts_its_program(world: World) -> None:
    pair = await pair_up(world, started=True)
    last = NOW.date() + timedelta(days=60)
    async with work(world) as session:
        await session.execute(
            text("UPDATE program SET ends_on = :last WHERE id = :id"),
            {"last": last, "id": ids.parse_id("program", pair.offer.program["id"])},
        )

    await consume(
        world, "on_program_winding_down", ids.parse_id("program", pair.offer.program["id"])
    )

    assert (await pair.now())["ends_on"] == last.isoformat()
    due = await timers(world, pair)
    assert due["begin_closing"].date() == last - timedelta(days=21)


async def test_contact_ends_ninety_days_after_the_end(world: World) -> None:
    pair = await pair_up(world, started=True)
    await post(pair.mentee.client, f"{pair.path}/end-early", {})
    async with work(world) as session:
        await session.execute(
            text("UPDATE mentorship SET ended_on = :day WHERE id = :id"),
            {"day": NOW.date() - timedelta(days=91), "id": mentorship_id(pair)},
        )

    assert [one["contact"] for one in (await pair.now())["members"]] == [None, None]
    staff = await pair.now(pair.offer.coordinator)
    assert all(one["contact"] for one in staff["members"])


async def test_events_name_ids_and_never_a_reason(world: World) -> None:
    pair = await pair_up(world, started=True)
    await post(
        pair.mentee.client,
        f"{pair.path}/pause",
        {"to_on": (NOW + timedelta(days=3)).date().isoformat(), "reason": "My secret."},
    )

    (paused,) = await events(world, "mentorship.paused")

    mentor = str(ids.parse_id("person", pair.mentor.person["id"]))
    assert (paused["from"], paused["to"]) == ("active", "paused")
    assert paused["recipients"]["others"] == [mentor]
    assert "My secret." not in str(paused)


async def test_a_new_reporting_line_is_told_to_coordinators_and_ends_nothing(
    world: World,
) -> None:
    pair = await pair_up(world, started=True)
    middle = await world.add_person(manager_id=pair.mentor.person["id"])
    patch = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}
    path = f"/v1/people/{pair.mentee.person['id']}"
    mentee = ids.parse_id("person", pair.mentee.person["id"])

    await consume(world, "on_manager_changed", mentee)
    before = await events(world, "mentorship.reporting_line_found")
    await world.org_admin.patch(path, json={"manager_id": middle["id"]}, headers=patch)
    await consume(world, "on_manager_changed", ids.parse_id("person", middle["id"]))

    (told,) = await events(world, "mentorship.reporting_line_found")
    coordinator = str(ids.parse_id("person", pair.offer.coordinator_id))
    assert before == []
    assert told["recipients"]["coordinators"] == [coordinator]
    assert (await pair.now())["status"] == "active"
