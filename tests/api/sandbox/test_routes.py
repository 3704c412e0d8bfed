"""The sandbox over HTTP: who may, where it may, and what it says of itself."""

from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI

from tests.support.apps import World, found_world
from tests.support.notifications import unreachable


@pytest.fixture
async def sandbox(api: FastAPI) -> World:
    """Return a fresh sandbox organization."""
    return await found_world(api, kind="sandbox")


async def test_a_new_sandbox_runs_on_the_real_time(sandbox: World) -> None:
    clock = (await sandbox.org_admin.get("/v1/sandbox/clock")).json()

    assert abs(datetime.fromisoformat(clock["now"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert (clock["offset_seconds"], clock["advance_to"]) == (0, None)
    assert (clock["is_advancing"], clock["is_resetting"]) == (False, False)


async def test_an_advance_is_accepted_and_can_be_followed(sandbox: World) -> None:
    answer = await sandbox.org_admin.post("/v1/sandbox/clock/advance", json={"days": 30})

    assert answer.status_code == 202
    assert answer.headers["Location"] == "/v1/sandbox/clock"
    clock = (await sandbox.org_admin.get(answer.headers["Location"])).json()
    assert clock["is_advancing"] is True
    ahead = datetime.fromisoformat(clock["advance_to"]) - datetime.now(UTC)
    assert timedelta(days=29) < ahead <= timedelta(days=30)


async def test_more_days_may_be_added_while_the_clock_moves(sandbox: World) -> None:
    first = await sandbox.org_admin.post("/v1/sandbox/clock/advance", json={"days": 1})
    second = await sandbox.org_admin.post("/v1/sandbox/clock/advance", json={"days": 1})

    added = datetime.fromisoformat(second.json()["advance_to"]) - datetime.fromisoformat(
        first.json()["advance_to"]
    )
    assert added == timedelta(days=1)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"days": 1, "until": "2027-01-01T00:00:00Z"},
        {"days": 0},
        {"days": -5},
        {"until": "2020-01-01T00:00:00Z"},
        {"until": "2199-01-01T00:00:00Z"},
        {"days": "soon"},
    ],
)
async def test_a_clock_goes_nowhere_it_cannot_go(sandbox: World, body: dict[str, object]) -> None:
    answer = await sandbox.org_admin.post("/v1/sandbox/clock/advance", json=body)

    assert answer.status_code == 400
    clock = (await sandbox.org_admin.get("/v1/sandbox/clock")).json()
    assert clock["is_advancing"] is False


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/sandbox/clock", None),
        ("POST", "/v1/sandbox/clock/advance", {"days": 1}),
        ("GET", "/v1/sandbox/messages", None),
        ("POST", "/v1/sandbox/reset", None),
    ],
)
async def test_a_production_organization_is_no_sandbox(
    world: World, method: str, path: str, body: dict[str, int] | None
) -> None:
    answer = await world.org_admin.request(method, path, json=body)

    assert (answer.status_code, answer.json()["code"]) == (409, "not_a_sandbox")


async def test_only_who_runs_the_organization_plays_with_time(sandbox: World) -> None:
    person = await sandbox.as_person((await sandbox.add_person())["id"])

    answer = await person.post("/v1/sandbox/clock/advance", json={"days": 1})

    assert answer.status_code == 403


async def test_messages_wait_for_notifications_to_come_back(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox.app.state.resources, "notifications", unreachable(sandbox.app))
    answer = await sandbox.org_admin.get("/v1/sandbox/messages")

    assert (answer.status_code, answer.json()["code"]) == (503, "notifications_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
