"""The inbox through both services, as a front end meets it."""

from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from services.api.clients import notifications as calls
from shared import ids
from shared.http import ServiceClient
from shared.schemas.events import EventBatch, EventEnvelope
from tests.support.apps import World
from tests.support.notifications import Place, Postbox, Somebody, unreachable


class Reader:
    """A person of the api, and what they are told."""

    def __init__(self, world: World, person: dict[str, Any], http: httpx.AsyncClient) -> None:
        """Take the person as the api shows them, and their client."""
        self.world = world
        self.http = http
        self.somebody = Somebody("Reader", id=ids.parse_id("person", person["id"]))
        organization_id = world.id
        self.place = Place(world.app, Postbox(), id=organization_id)

    async def is_told(self, *kinds: str) -> None:
        """Tell one fact of each kind."""
        facts = [
            self.place.fact(
                kind,
                [self.somebody],
                audiences={"person": [self.somebody], "asked": [self.somebody]},
            )
            for kind in kinds
        ]
        batch = EventBatch(events=[EventEnvelope.model_validate(one) for one in facts])
        await calls.send_events(
            self.world.app.state.resources.notifications,
            organization_id=self.place.id,
            batch=batch,
        )

    async def items(self, **query: Any) -> list[dict[str, Any]]:
        """Return one page of the inbox."""
        answer = await self.http.get("/v1/inbox-items", params=query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    async def counts(self) -> dict[str, int]:
        """Return the numbers of the badge."""
        answer = await self.http.get("/v1/inbox-counts")
        assert answer.status_code == 200, answer.text
        found: dict[str, int] = answer.json()
        return found

    async def do(self, item: dict[str, Any], action: str) -> dict[str, Any]:
        """Do something with an item."""
        answer = await self.http.post(f"/v1/inbox-items/{item['id']}/{action}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown


@pytest.fixture
async def reader(world: World) -> Reader:
    """Return somebody with an empty inbox."""
    person = await world.add_person()
    return Reader(world, person, await world.as_person(person["id"]))


async def test_an_item_is_shown_with_what_it_is_about(reader: Reader) -> None:
    await reader.is_told("proposal.awaiting_people")

    (item,) = await reader.items()

    assert item["title"] == "There is somebody for you to meet in Rise"
    assert item["resource_id"].startswith("prp_")
    assert (item["importance"], item["needs_action"]) == ("act", True)
    assert await reader.counts() == {"unseen": 1, "unread": 1, "needs_action": 1}


async def test_counts_follow_what_is_done(reader: Reader) -> None:
    await reader.is_told(*["participant.approved"] * 3, "proposal.awaiting_people")
    newest, second, _third, _oldest = await reader.items()

    await reader.do(newest, "archive")
    await reader.do(second, "read")
    await reader.do(second, "read")
    back = await reader.do(second, "unread")

    assert back["read_at"] is None
    assert back["seen_at"] is not None
    assert await reader.counts() == {"unseen": 2, "unread": 3, "needs_action": 0}
    assert len(await reader.items(state="archived")) == 1
    assert len(await reader.items(state="unread")) == 3


async def test_a_read_mark_only_rises(reader: Reader) -> None:
    await reader.is_told(*["participant.approved"] * 3)
    newest, middle, oldest = await reader.items()

    await reader.http.post("/v1/inbox-read-marks", json={"up_to": middle["id"]})
    await reader.do(oldest, "unread")
    lagging = await reader.http.post("/v1/inbox-read-marks", json={"up_to": oldest["id"]})

    assert lagging.json() == {"unseen": 1, "unread": 2, "needs_action": 0}
    states = {one["id"]: one["read_at"] is None for one in await reader.items()}
    assert states == {newest["id"]: True, middle["id"]: False, oldest["id"]: True}


async def test_pages_of_the_inbox_fit_together(reader: Reader) -> None:
    await reader.is_told(*["participant.approved"] * 5)
    seen, cursor = [], None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await reader.http.get("/v1/inbox-items", params=query)).json()
        seen += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == [one["id"] for one in await reader.items()]
    assert len(seen) == 5


async def test_nobody_meets_anybody_elses_items(reader: Reader, world: World) -> None:
    await reader.is_told("participant.approved")
    (item,) = await reader.items()
    other = await world.as_person((await world.add_person())["id"])

    assert (await other.get("/v1/inbox-items")).json()["items"] == []
    answer = await other.post(f"/v1/inbox-items/{item['id']}/read")
    assert answer.status_code == 404


async def test_a_machine_has_no_inbox(world: World) -> None:
    machine = await world.add_key("admin")

    assert (await machine.get("/v1/inbox-items")).status_code == 403


async def test_the_log_is_for_oneself_and_for_org_admins(reader: Reader, world: World) -> None:
    await reader.is_told("participant.approved")

    own = (await reader.http.get("/v1/me/deliveries")).json()["items"]
    every = await world.org_admin.get("/v1/deliveries", params={"state": "pending"})

    assert [one["kind"] for one in own] == ["participant.approved"]
    assert every.json()["items"] == own
    assert (await reader.http.get("/v1/deliveries")).status_code == 403


async def test_a_silent_sibling_is_answered_with_come_again(
    reader: Reader, api: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.state.resources, "notifications", unreachable(api))

    answer = await reader.http.get("/v1/inbox-items")

    assert answer.status_code == 503
    assert answer.json()["code"] == "notifications_unavailable"
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await reader.http.get("/v1/me")).status_code == 200


async def test_no_transaction_is_open_while_the_sibling_thinks(
    reader: Reader, api: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = api.state.resources.reads
    busy: list[int] = []
    genuine = calls.inbox_counts

    async def watched(client: ServiceClient, *, organization_id: UUID, person_id: UUID) -> Any:
        busy.append(pool.get_size() - pool.get_idle_size())
        return await genuine(client, organization_id=organization_id, person_id=person_id)

    monkeypatch.setattr(calls, "inbox_counts", watched)
    await reader.counts()

    assert busy == [0]


async def test_a_mark_names_an_item_of_ones_own(reader: Reader) -> None:
    answer = await reader.http.post(
        "/v1/inbox-read-marks", json={"up_to": ids.format_id("inbox_item", ids.new_id())}
    )

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "unknown_reference"
