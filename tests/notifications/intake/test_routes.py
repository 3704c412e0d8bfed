"""Facts over the wire: each applied once, none lost, none in another's way."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import select

from services.api.clients import notifications as calls
from services.local import postgres
from services.notifications.deliveries.tables import Delivery, Message
from services.notifications.intake.tables import Meeting, RejectedEvent
from shared import ids
from shared.errors import ConflictError, UnavailableError
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.schemas.notifications import ClockMove
from tests.support.database import Databases
from tests.support.notifications import START, Appointment, Place, Somebody


async def rows_of[Row](place: Place, table: type[Row]) -> list[Row]:
    """Return all rows of one table in this organization."""
    async with transaction(place.resources.sessions, Tenant(place.id)) as session:
        return list(await session.scalars(select(table)))


async def titles(place: Place, person: Somebody) -> list[str]:
    """Return what stands in a person's inbox, newest first."""
    items = await calls.inbox_items(
        place.client,
        organization_id=place.id,
        person_id=person.id,
        state="open",
        before=None,
        limit=50,
    )
    return [one.title for one in items]


async def test_a_fact_is_told_in_the_readers_language(place: Place) -> None:
    ada, ben = Somebody("Ada"), Somebody("Ben", locale="de-AT")

    await place.tell(
        place.fact("participant.approved", [ada], audiences={"person": [ada]}),
        place.fact("participant.approved", [ben], audiences={"person": [ben]}),
    )
    await place.work()

    assert await titles(place, ada) == ["You take part in Rise"]
    assert await titles(place, ben) == ["Sie sind bei Rise dabei"]
    assert place.postbox.to(str(ben.email))[0]["Content-Language"] == "de"


async def test_a_repeated_batch_changes_nothing(place: Place) -> None:
    ada = Somebody("Ada")
    facts = [
        place.fact("participant.approved", [ada], audiences={"person": [ada]}) for _ in range(3)
    ]

    first = await place.tell(*facts)
    again = await place.tell(*facts, facts[0])

    assert (first.accepted, first.duplicate) == (3, 0)
    assert (again.accepted, again.duplicate) == (0, 4)
    assert len(await rows_of(place, Delivery)) == 3


async def test_the_same_batch_sent_twice_at_once_is_applied_once(place: Place) -> None:
    ada = Somebody("Ada")
    fact = place.fact("participant.approved", [ada], audiences={"person": [ada]})

    results = await asyncio.gather(*(place.tell(fact) for _ in range(5)))

    assert sum(one.accepted for one in results) == 1
    assert len(await rows_of(place, Delivery)) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda fact: fact | {"render": {}},
        lambda fact: fact | {"aggregate_version": "many"},
        lambda fact: fact | {"type": "participant.approved\x00"},
        lambda fact: fact | {"organization_id": str(ids.new_id())},
        lambda _fact: {"nothing": "known"},
    ],
)
async def test_an_event_that_cannot_be_read_does_not_hold_up_the_others(
    place: Place, spoil: object
) -> None:
    ada = Somebody("Ada")
    good = place.fact("participant.approved", [ada], audiences={"person": [ada]})
    bad = spoil(place.fact("participant.approved", [ada], audiences={"person": [ada]}))  # type: ignore[operator]  # a parametrised function

    result = await place.tell_raw(bad, good)
    again = await place.tell_raw(bad, good)

    assert (result.accepted, len(result.rejected)) == (2, 1)
    assert again.duplicate == 2
    assert len(await rows_of(place, RejectedEvent)) == 1
    assert await titles(place, ada) == ["You take part in Rise"]


async def test_an_event_that_cannot_be_put_into_words_is_set_aside(place: Place) -> None:
    ada = Somebody("Ada", timezone="Nowhere/AtAll")
    meeting = Appointment([ada])

    result = await place.tell(
        meeting.fact(place, "meeting.scheduled"),
        place.fact("participant.approved", [ada], audiences={"person": [ada]}),
    )

    assert len(result.rejected) == 1
    (row,) = await rows_of(place, RejectedEvent)
    assert "Nowhere" in row.reason
    assert await titles(place, ada) == ["You take part in Rise"]


async def test_facts_of_a_newer_api_are_taken_and_told_to_nobody(place: Place) -> None:
    ada = Somebody("Ada")

    result = await place.tell(place.fact("person.praised", [ada], audiences={"person": [ada]}))

    assert (result.accepted, result.rejected) == (1, [])
    assert await rows_of(place, Message) == []


async def test_nobody_is_told_about_their_own_act(place: Place) -> None:
    ada, ben = Somebody("Ada"), Somebody("Ben")

    await place.tell(
        place.fact("mentorship.completed", [ada, ben], audiences={"members": [ada, ben]}, actor=ada)
    )

    assert await titles(place, ada) == []
    assert await titles(place, ben) == ["Your mentorship with Ada is complete"]


async def test_one_person_in_two_roles_gets_one_message(place: Place) -> None:
    ada = Somebody("Ada")

    await place.tell(
        place.fact(
            "mentorship.cancelled", [ada], audiences={"members": [ada], "coordinators": [ada]}
        )
    )

    assert [one.kind for one in await rows_of(place, Message)] == ["mentorship.cancelled"]


@pytest.mark.parametrize(
    ("person", "reason"),
    [
        (Somebody("Gone", is_reachable=False), "unreachable"),
        (Somebody("Unwritable", email=None), "no_address"),
    ],
)
async def test_no_message_is_left_out_without_a_reason_on_file(
    place: Place, person: Somebody, reason: str
) -> None:
    await place.tell(place.fact("participant.approved", [person], audiences={"person": [person]}))
    await place.work()

    reasons = [
        *(one.reason for one in await rows_of(place, Message)),
        *(one.reason for one in await rows_of(place, Delivery)),
    ]
    assert reason in reasons
    assert place.postbox.mails == []


async def test_somebody_never_heard_of_is_on_file_as_unknown(place: Place) -> None:
    stranger = Somebody("Stranger")

    await place.tell(place.fact("participant.approved", [], audiences={"person": [stranger]}))

    (row,) = await rows_of(place, Message)
    assert (row.state, row.reason) == ("suppressed", "unknown_person")


async def test_an_older_version_of_a_meeting_does_not_move_it_back(place: Place) -> None:
    ada, ben = Somebody("Ada"), Somebody("Ben")
    meeting = Appointment([ada, ben])
    older = meeting.fact(place, "meeting.scheduled")
    meeting.change(starts_at=START.replace(day=9))

    await place.tell(meeting.fact(place, "meeting.rescheduled"))
    await place.tell(older)
    await place.work()

    (known,) = await rows_of(place, Meeting)
    assert known.starts_at == START.replace(day=9)
    assert len(place.postbox.to(str(ada.email))) == 1
    late = [one for one in await rows_of(place, Message) if one.kind == "meeting.scheduled"]
    assert {(one.state, one.reason) for one in late} == {("superseded", "newer_version_known")}


async def test_many_proposals_of_one_run_are_one_message(place: Place) -> None:
    cora, run = Somebody("Cora"), str(ids.new_id())

    for _ in range(3):
        await place.tell(
            place.fact(
                "proposal.awaiting_approval",
                [cora],
                audiences={"coordinators": [cora]},
                named={"run_id": run},
            )
        )

    assert await titles(place, cora) == ["Proposals in Rise wait for your approval"]
    states = sorted(one.state for one in await rows_of(place, Message))
    assert states == ["folded", "folded", "told"]


async def test_a_question_rests_once_it_was_answered(place: Place) -> None:
    ada, proposal = Somebody("Ada"), ids.new_id()
    await place.tell(
        place.fact(
            "proposal.awaiting_people", [ada], audiences={"asked": [ada]}, aggregate_id=proposal
        )
    )
    before = await calls.inbox_counts(place.client, organization_id=place.id, person_id=ada.id)

    await place.tell(
        place.fact("proposal.accepted", [], audiences={}, aggregate_id=proposal, version=2)
    )
    after = await calls.inbox_counts(place.client, organization_id=place.id, person_id=ada.id)

    assert (before.needs_action, after.needs_action) == (1, 0)


async def test_organizations_do_not_see_each_others_rows(
    place: Place, databases: Databases
) -> None:
    ada = Somebody("Ada")
    await place.tell(place.fact("participant.approved", [ada], audiences={"person": [ada]}))

    async with transaction(place.resources.sessions, Tenant(ids.new_id())) as session:
        assert list(await session.scalars(select(Message))) == []
    connection = await asyncpg.connect(databases.url("worker_system", "notifications"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch("SELECT subject FROM delivery_content")
    await connection.close()


async def test_a_person_has_no_say_over_facts(place: Place) -> None:
    answer = await place.client.call(
        "POST",
        "/internal/events",
        organization_id=place.id,
        subject=str(ids.new_id()),
        body={"events": []},
    )

    assert answer.status_code == 403


async def test_a_database_that_is_away_is_answered_with_come_again(
    place: Place, databases: Databases
) -> None:
    ada = Somebody("Ada")
    admin = await asyncpg.connect(databases.url(postgres.SUPERUSER, "postgres"))
    held = await asyncpg.connect(databases.url(postgres.SUPERUSER, "notifications"))
    transaction_ = held.transaction()
    await transaction_.start()
    await held.execute("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(UnavailableError):
        await place.tell(place.fact("participant.approved", [ada], audiences={"person": [ada]}))
    await transaction_.rollback()
    await held.close()
    await admin.close()


async def test_a_production_organization_has_no_clock_to_move_and_is_not_reset(
    place: Place,
) -> None:
    await place.tell(place.fact("program.created", [], audiences={}))

    with pytest.raises(ConflictError) as reset:
        await calls.reset(place.client, organization_id=place.id)
    with pytest.raises(ConflictError) as moved:
        await calls.move_clock(
            place.client,
            organization_id=place.id,
            move=ClockMove(offset_seconds=10, run_until=START),
        )
    assert {reset.value.code, moved.value.code} == {"not_a_sandbox"}
