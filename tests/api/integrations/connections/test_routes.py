"""Connections over HTTP, and the guard that can be raised but not removed."""

import pytest

from tests.support.apps import World

PATCH = {"Content-Type": "application/merge-patch+json"}


async def test_a_connection_is_careful_by_default(world: World) -> None:
    answer = await world.org_admin.post("/v1/connections", json={"label": "HR"})

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/connections/{made['id']}"
    assert (made["kind"], made["status"], made["on_missing"]) == ("file", "active", "ignore")
    assert (made["guard_people"], made["guard_percent"]) == (5, 10)
    assert made["source"] == made["id"]
    assert (await world.org_admin.get(answer.headers["Location"])).json() == made
    assert (await world.org_admin.get("/v1/connections")).json()["items"] == [made]


@pytest.mark.parametrize(
    "guard", [{"guard_people": 4}, {"guard_percent": 9}, {"guard_percent": 51}]
)
async def test_the_guard_is_raised_never_removed(world: World, guard: dict[str, int]) -> None:
    answer = await world.org_admin.post("/v1/connections", json={"label": "HR", **guard})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "out_of_range"


async def test_a_change_names_the_version_it_saw(world: World) -> None:
    made = (await world.org_admin.post("/v1/connections", json={"label": "HR"})).json()
    path, change = f"/v1/connections/{made['id']}", {"on_missing": "deactivate"}

    blind = await world.org_admin.patch(path, json=change, headers=PATCH)
    seen = await world.org_admin.patch(path, json=change, headers=PATCH | {"If-Match": '"1"'})
    stale = await world.org_admin.patch(path, json=change, headers=PATCH | {"If-Match": '"1"'})

    assert (blind.status_code, seen.status_code, stale.status_code) == (428, 200, 412)
    assert (seen.json()["on_missing"], seen.json()["label"]) == ("deactivate", "HR")


async def test_labels_are_unique(world: World) -> None:
    made = (await world.org_admin.post("/v1/connections", json={"label": "HR"})).json()
    other = (await world.org_admin.post("/v1/connections", json={"label": "Payroll"})).json()

    twice = await world.org_admin.post("/v1/connections", json={"label": "HR"})
    same_id = await world.org_admin.post("/v1/connections", json={"label": "New", "id": made["id"]})
    renamed = await world.org_admin.patch(
        f"/v1/connections/{other['id']}", json={"label": "HR"}, headers=PATCH | {"If-Match": "*"}
    )

    assert {one.json()["code"] for one in (twice, same_id, renamed)} == {"already_exists"}


async def test_a_machine_reads_connections_and_makes_none(world: World) -> None:
    made = (await world.org_admin.post("/v1/connections", json={"label": "HR"})).json()
    machine = await world.add_key("imports:write")

    assert (await machine.get(f"/v1/connections/{made['id']}")).json() == made
    refused = await machine.post(
        "/v1/connections", json={"label": "X"}, headers={"Idempotency-Key": "x"}
    )
    assert refused.status_code == 403
