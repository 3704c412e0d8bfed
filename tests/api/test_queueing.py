"""Whoever waits for a row that somebody else holds is answered once it is free."""

import asyncio

import asyncpg
import pytest

from services.api import dependencies
from services.local import postgres
from shared import ids
from shared.web.problems import sqlstate_of
from tests.support.apps import World
from tests.support.database import Databases


async def test_a_change_outlasts_one_time_limit_of_a_wait(
    world: World, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await world.add_person()
    holder = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    gave_up_once = asyncio.Event()

    def noticed(error: BaseException) -> str | None:
        state = sqlstate_of(error)
        if state == dependencies.QUEUED:
            gave_up_once.set()
        return state

    monkeypatch.setattr(dependencies, "sqlstate_of", noticed)
    async with holder.transaction():
        await holder.execute(
            "SELECT FROM person WHERE id = $1 FOR UPDATE", ids.parse_id("person", person["id"])
        )
        change = asyncio.create_task(
            world.org_admin.patch(
                f"/v1/people/{person['id']}",
                json={"given_name": "Patient"},
                headers={"If-Match": "*", "Content-Type": "application/merge-patch+json"},
            )
        )
        await asyncio.wait_for(gave_up_once.wait(), 10)
    await holder.close()

    answer = await change
    assert (answer.status_code, answer.json()["given_name"]) == (200, "Patient")


async def test_a_wait_ends_with_a_refusal_that_says_when_to_come_back(
    world: World, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "QUEUE_SECONDS", 0)
    person = await world.add_person()
    holder = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    async with holder.transaction():
        await holder.execute(
            "SELECT FROM person WHERE id = $1 FOR UPDATE", ids.parse_id("person", person["id"])
        )
        answer = await world.org_admin.patch(
            f"/v1/people/{person['id']}",
            json={"given_name": "Hurried"},
            headers={"If-Match": "*", "Content-Type": "application/merge-patch+json"},
        )
    await holder.close()

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
