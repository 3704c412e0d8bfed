"""The feed over HTTP: in order, without gaps, and nothing in it that was not meant for outside."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from jsonschema_rs import Draft202012Validator, meta

from services.api.events import operations as events
from services.api.organizations.tables import Organization
from shared import ids
from shared.clock import system_clock
from shared.persistence.engine import create_engine
from shared.persistence.sessions import create_sessions, transaction
from shared.persistence.tenancy import Tenant
from tests.support.apps import World, found_world
from tests.support.database import Databases

WRITERS, EACH = 12, 60


async def read(client: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    """Return one page of the feed."""
    answer = await client.get("/v1/events", params=params)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def test_an_integrator_reads_on_from_where_it_was(world: World) -> None:
    machine = await world.add_key("events:read")
    head = (await machine.get("/v1/event-cursor")).json()["cursor"]
    person = await world.add_person()

    page = await read(machine, cursor=head)

    assert [one["type"] for one in page["items"]] == ["person.created"]
    assert page["items"][0]["data"]["id"] == person["id"]
    assert page["items"][0]["data"]["url"].endswith(f"/v1/people/{person['id']}")
    assert page["has_more"] is False
    assert (await read(machine, cursor=page["next_cursor"]))["items"] == []


async def test_every_page_names_where_to_go_on_even_an_empty_one(world: World) -> None:
    head = (await world.org_admin.get("/v1/event-cursor")).json()["cursor"]
    empty = await read(world.org_admin, cursor=head)
    assert empty["items"] == []

    await world.add_person()

    again = await read(world.org_admin, cursor=empty["next_cursor"])
    assert [one["type"] for one in again["items"]] == ["person.created"]


async def test_pages_follow_each_other_without_a_gap(world: World) -> None:
    made = [(await world.add_person())["id"] for _ in range(5)]
    seen: list[str] = []
    page = await read(world.org_admin, limit=2, type="person.created")
    seen += [one["data"]["id"] for one in page["items"]]
    while page["has_more"]:
        page = await read(
            world.org_admin, limit=2, type="person.created", cursor=page["next_cursor"]
        )
        seen += [one["data"]["id"] for one in page["items"]]

    assert seen == [world.org_admin_id, *made]


async def test_a_cursor_is_good_for_its_own_filter_and_organization_only(world: World) -> None:
    head = (await world.org_admin.get("/v1/event-cursor")).json()["cursor"]
    other = await found_world(world.app)

    filtered = await world.org_admin.get(
        "/v1/events", params={"cursor": head, "type": "person.created"}
    )
    foreign = await other.org_admin.get("/v1/events", params={"cursor": head})
    forged = await world.org_admin.get("/v1/events", params={"cursor": "abc"})

    for answer in (filtered, foreign, forged):
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_a_cursor_taken_for_some_types_reads_those_types(world: World) -> None:
    taken = await world.org_admin.get("/v1/event-cursor", params={"type": "person.updated"})
    await world.add_person()

    page = await read(world.org_admin, cursor=taken.json()["cursor"], type="person.updated")

    assert page["items"] == []


async def test_a_cursor_older_than_the_feed_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = world.app.state.resources
    head = (await world.org_admin.get("/v1/event-cursor")).json()["cursor"]
    later = system_clock() + timedelta(days=31)
    token = resources.issuer
    monkeypatch.setattr(resources, "clock", lambda: later)
    monkeypatch.setattr(type(token), "verify", _believe(world))

    answer = await world.org_admin.get("/v1/events", params={"cursor": head})

    assert (answer.status_code, answer.json()["code"]) == (410, "cursor_expired")


def _believe(world: World) -> Any:
    issuer = world.app.state.resources.issuer
    verify = type(issuer).verify

    def as_of_now(self: Any, token: str, *, now: Any) -> Any:
        return verify(self, token, now=system_clock() if now else now)

    return as_of_now


async def test_a_cursor_of_another_server_is_gone(world: World, databases: Databases) -> None:
    head = (await world.org_admin.get("/v1/event-cursor")).json()["cursor"]
    operator = await asyncpg.connect(databases.url("postgres", "api"))
    await operator.execute("INSERT INTO feed_epoch SELECT max(epoch) + 1 FROM feed_epoch")
    try:
        answer = await world.org_admin.get("/v1/events", params={"cursor": head})
        anew = await read(world.org_admin)
    finally:
        await operator.execute("DELETE FROM feed_epoch WHERE epoch > 1")
        await operator.close()

    assert (answer.status_code, answer.json()["code"]) == (410, "cursor_expired")
    assert anew["items"][0]["type"] == "organization.created"


async def test_one_event_is_found_by_its_id_in_its_own_organization(world: World) -> None:
    event = (await read(world.org_admin))["items"][0]
    other = await found_world(world.app)

    assert (await world.org_admin.get(f"/v1/events/{event['id']}")).json() == event
    assert (await other.org_admin.get(f"/v1/events/{event['id']}")).status_code == 404


async def test_the_feed_needs_its_scope_and_is_no_persons(world: World) -> None:
    machine = await world.add_key("people:read")
    person = await world.as_person((await world.add_person())["id"])

    assert (await machine.get("/v1/events")).json()["code"] == "insufficient_scope"
    assert (await person.get("/v1/events")).status_code == 403


async def test_an_unknown_type_is_refused(world: World) -> None:
    answer = await world.org_admin.get("/v1/events", params={"type": "person.promoted"})

    assert answer.status_code == 400


async def test_every_event_meets_the_schema_of_its_type(world: World) -> None:
    person = await world.add_person()
    await world.org_admin.post(
        f"/v1/people/{person['id']}/deactivate", json={"ended_on": "2026-11-24", "reason": "left"}
    )
    types = (await world.org_admin.get("/v1/event-types")).json()["items"]
    schemas = {one["type"]: one["json_schema"] for one in types}

    for one in (await read(world.org_admin))["items"]:
        Draft202012Validator(schemas[one["type"]]).validate(one)
    for one in types:
        assert meta.is_valid(one["json_schema"])
        Draft202012Validator(one["json_schema"]).validate(one["example"])


async def test_to_whom_it_matters_never_leaves(world: World) -> None:
    organization_id = world.id
    somebody = ids.parse_id("person", world.org_admin_id)
    async with transaction(world.app.state.resources.sessions, Tenant(organization_id)) as session:
        subject = await session.get_one(Organization, organization_id)
        events.record(
            session,
            "organization.changed",
            subject,
            now=system_clock(),
            recipients={"coordinators": [somebody]},
        )

    page = await read(world.org_admin, type="organization.changed")

    assert set(page["items"][0]["data"]) == {
        *("id", "version", "actor_id", "from", "to", "changed", "ids", "program_id", "url"),
    }


async def test_a_reader_loses_and_doubles_nothing_while_twelve_write(
    api: FastAPI, databases: Databases
) -> None:
    world = await found_world(api)
    organization_id = world.id
    engine = create_engine(databases.url("app_api", "api"), size=WRITERS, service="writers")
    sessions = create_sessions(engine)
    written: set[UUID] = set()

    async def write() -> None:
        for _ in range(EACH):
            async with transaction(sessions, Tenant(organization_id)) as session:
                subject = await session.get_one(Organization, organization_id)
                made = events.record(session, "organization.changed", subject, now=system_clock())
                await session.flush()
                # A second statement leaves room for others to begin and commit meanwhile.
                await session.refresh(subject)
            written.add(made)

    async def tail(writing: asyncio.Task[None]) -> list[str]:
        seen: list[str] = []
        params: dict[str, Any] = {"type": "organization.changed", "limit": 50}
        is_last = False
        while not is_last:
            is_last = writing.done()
            page = await read(world.org_admin, **params)
            params["cursor"] = page["next_cursor"]
            seen += [one["id"] for one in page["items"]]
            is_last = is_last and not page["has_more"]
        return seen

    async def write_all() -> None:
        await asyncio.gather(*(write() for _ in range(WRITERS)))

    writing = asyncio.create_task(write_all())
    seen = await tail(writing)
    await writing
    await engine.dispose()

    assert len(written) == WRITERS * EACH
    assert len(seen) == len(set(seen))
    assert {ids.parse_id("event", one) for one in seen} == written
