"""Imports over HTTP: what is taken, what is refused at once, and who may see what."""

from datetime import UTC, datetime, timedelta

import pytest

from services.api.access.rules import Scope
from services.api.resources import WorkerResources
from tests.api.credentials.test_routes import narrowed
from tests.support.apps import World, client, found_world
from tests.support.imports import Importing, csv, importing
from tests.support.work import bench

ROW = {"id": "1"}


@pytest.fixture
async def desk(worker: WorkerResources, world: World) -> Importing:
    return await importing(world, bench(worker, world).resources.database)


async def test_a_file_is_taken_and_says_how_it_was_read(desk: Importing) -> None:
    answer = await desk.send(csv(ROW).replace(b",", b";"))

    taken = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/sync-runs/{taken['sync_run_id']}"
    assert (taken["encoding"], taken["delimiter"], taken["rows"]) == ("utf-8", ";", 1)
    assert taken["warnings"] == taken["ignored_columns"] == []
    run = await desk.run(taken["sync_run_id"])
    assert (run["status"], run["import_id"], run["sha256"]) == (
        "queued",
        taken["id"],
        taken["sha256"],
    )


async def test_what_is_worth_knowing_is_a_warning(desk: Importing) -> None:
    answer = await desk.send("id,first\n1,Zoë\n".encode("cp1252"))

    codes = [one["code"] for one in answer.json()["warnings"]]
    assert codes[0] == "read_as_cp1252"
    assert set(codes[1:]) == {"missing_column"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"a,b\n1,2\n", "missing_column"),
        (b"id,id\n1,2\n", "duplicate_header"),
        (b"id,\n1,2\n", "blank_header"),
        (b"id\n\x81\xff\x81", "unreadable_encoding"),
    ],
)
async def test_a_file_that_cannot_be_read_is_refused_at_once(
    desk: Importing, content: bytes, code: str
) -> None:
    answer = await desk.send(content)

    assert answer.status_code == 400
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [("#/file", code)]


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"mode": "some"}, "#/mode", "not_allowed"),
        ({"on_missing": "delete"}, "#/on_missing", "not_allowed"),
        ({"as_of": "yesterday"}, "#/as_of", "wrong_type"),
        ({"connection_id": "con_x"}, "#/connection_id", "invalid_id"),
        (
            {"connection_id": "con_01kajv7v1cefh8ws6q1fyv4m2z"},
            "#/connection_id",
            "unknown_reference",
        ),
        ({"mapping_id": "map_01kajv7v1cefh8ws6q1fyv4m2z"}, "#/mapping_id", "unknown_reference"),
        ({"atomic": "true"}, "#/atomic", "unknown_field"),
    ],
)
async def test_a_wrong_field_is_named(
    desk: Importing, fields: dict[str, str], pointer: str, code: str
) -> None:
    answer = await desk.send(csv(ROW), **fields)

    assert answer.status_code == 400
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [(pointer, code)]


async def test_a_file_cannot_speak_of_the_future(desk: Importing) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    answer = await desk.send(csv(ROW), as_of=tomorrow.isoformat())

    assert answer.json()["errors"][0]["code"] == "out_of_range"


async def test_a_file_is_needed(desk: Importing) -> None:
    answer = await desk.client.post(
        "/v1/imports",
        data={"connection_id": desk.connection_id, "mapping_id": desk.mapping_id},
        files={"other": ("x", b"", "text/csv")},
    )

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "#/file"


async def test_one_intent_makes_one_run(desk: Importing) -> None:
    request = desk.client.build_request(
        "POST",
        "/v1/imports",
        data={"connection_id": desk.connection_id, "mapping_id": desk.mapping_id},
        files={"file": ("people.csv", csv(ROW), "text/csv")},
        headers={"Idempotency-Key": "nightly"},
    )
    await request.aread()

    first, second = [
        await desk.client.post("/v1/imports", content=request.content, headers=request.headers)
        for _ in range(2)
    ]

    assert second.headers["Idempotency-Replayed"] == "true"
    assert first.json() == second.json()
    assert len(await desk.every("/v1/sync-runs")) == 1


async def test_runs_and_rows_can_be_filtered(desk: Importing) -> None:
    done = await desk.bring(csv(ROW, {"id": "2", "mail": "x"}))
    waiting = await desk.bring(csv(ROW), dry_run="true")

    assert [one["id"] for one in await desk.every("/v1/sync-runs", status="partial")] == [
        done["id"]
    ]
    assert [one["id"] for one in await desk.every("/v1/sync-runs")] == [done["id"], waiting["id"]]
    assert [one["external_id"] for one in await desk.rows(done["id"], outcome="failed")] == ["2"]
    assert [one["line"] for one in await desk.rows(done["id"], limit="1")] == [2, 3]
    other = await desk.client.get(
        "/v1/sync-runs", params={"connection_id": "con_01kajv7v1cefh8ws6q1fyv4m2z"}
    )
    assert other.json()["items"] == []


@pytest.mark.parametrize(
    ("verb", "allowed"), [("approve", []), ("cancel", []), ("retry-failed", [])]
)
async def test_what_is_over_cannot_be_changed(
    desk: Importing, verb: str, allowed: list[str]
) -> None:
    run = await desk.bring(csv(ROW))

    answer = await desk.client.post(f"/v1/sync-runs/{run['id']}/{verb}")

    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_transition")
    assert answer.json().get("allowed", []) == allowed


async def test_a_queued_run_can_be_called_off_before_anything_happens(desk: Importing) -> None:
    run = (await desk.send(csv(ROW))).json()["sync_run_id"]

    answer = await desk.client.post(f"/v1/sync-runs/{run}/cancel")
    await desk.work()

    assert answer.json()["status"] == "cancelled"
    assert await desk.people() == {}
    too_late = await desk.client.post(f"/v1/sync-runs/{run}/approve")
    assert too_late.json()["code"] == "invalid_transition"


async def test_a_run_in_work_cannot_be_replanned(desk: Importing) -> None:
    run = (await desk.send(csv(ROW))).json()["sync_run_id"]

    answer = await desk.client.post(f"/v1/sync-runs/{run}/replan")

    assert (answer.status_code, answer.json()["allowed"]) == (409, ["validate", "fail", "cancel"])


async def test_a_machine_imports_but_does_not_read_old_hr_values(
    world: World, worker: WorkerResources
) -> None:
    document = {
        "key": {"column": "id"},
        "fields": {
            "given_name": {"columns": ["first"]},
            "family_name": {"columns": ["last"]},
            "email": {"columns": ["mail"]},
            "grade": {"columns": ["title"]},
        },
    }
    desk = await importing(world, bench(worker, world).resources.database, document)
    await desk.bring(csv(ROW))
    run = await desk.bring(csv({"id": "1", "title": "Lead"}), dry_run="true")
    machine = await world.add_key("imports:write")

    (seen,) = (await machine.get(f"/v1/sync-runs/{run['id']}/rows")).json()["items"]
    (full,) = (await world.org_admin.get(f"/v1/sync-runs/{run['id']}/rows")).json()["items"]

    assert full["changes"] == [{"field": "grade", "old": "Engineer", "new": "Lead"}]
    assert seen["changes"] == [{"field": "grade", "old": None, "new": "Lead"}]


async def test_people_without_the_right_see_nothing_of_it(desk: Importing) -> None:
    run = await desk.bring(csv(ROW))
    colleague = await desk.world.as_person((await desk.people())["1"]["id"])
    reader = await desk.world.add_key("people:read")
    foreign = await found_world(desk.world.app)

    path = f"/v1/sync-runs/{run['id']}"
    assert (await colleague.get(path)).status_code == 403
    assert (await reader.get(path)).json()["code"] == "insufficient_scope"
    assert (await foreign.org_admin.get(path)).status_code == 404
    assert (await foreign.org_admin.get(f"{path}/rows")).status_code == 404
    assert (await foreign.org_admin.post(f"{path}/approve")).status_code == 404
    assert (await client(desk.world.app).get(path)).status_code == 401


async def test_a_file_of_a_machine_moves_no_address_that_a_role_signs_in_with(
    desk: Importing,
) -> None:
    await desk.bring(csv(ROW, {"id": "2"}))
    person = (await desk.people())["1"]
    granted = await desk.client.post(
        "/v1/role-assignments", json={"person_id": person["id"], "role": "safeguarding"}
    )
    assert granted.status_code == 201, granted.text
    moved = csv({"id": "1", "mail": "moved@example.org"}, {"id": "2", "mail": "new@example.org"})

    sent = await (await desk.world.add_key("imports:write")).post(
        "/v1/imports",
        data={"connection_id": desk.connection_id, "mapping_id": desk.mapping_id},
        files={"file": ("people.csv", moved, "text/csv")},
        headers={"Idempotency-Key": "nightly"},
    )
    await desk.work()

    (failed,) = await desk.rows(sent.json()["sync_run_id"], outcome="failed")
    assert (failed["external_id"], failed["errors"][0]["code"]) == ("1", "holds_a_role")
    now = await desk.people()
    assert (now["1"]["email"], now["2"]["email"]) == (person["email"], "new@example.org")
    # Whoever answers for it may.
    await desk.bring(moved)
    assert (await desk.people())["1"]["email"] == "moved@example.org"


async def test_a_file_sent_by_a_narrow_app_moves_no_address_that_a_role_signs_in_with(
    desk: Importing,
) -> None:
    await desk.bring(csv(ROW))
    person = (await desk.people())["1"]
    granted = await desk.client.post(
        "/v1/role-assignments", json={"person_id": person["id"], "role": "org_admin"}
    )
    assert granted.status_code == 201, granted.text
    everything = desk.world
    desk.world = await narrowed(everything, Scope.IMPORTS_WRITE, Scope.PEOPLE_READ)

    moved = csv({"id": "1", "mail": "moved@example.org"})
    run = await desk.bring(moved)

    (failed,) = await desk.rows(run["id"], outcome="failed")
    assert failed["errors"][0]["code"] == "holds_a_role"
    assert (await desk.people())["1"]["email"] == person["email"]
    # The same file again, by somebody who may.
    desk.world = await narrowed(everything, Scope.IMPORTS_WRITE, Scope.PEOPLE_READ, Scope.ADMIN)
    again = await desk.client.post(f"/v1/sync-runs/{run['id']}/retry-failed")
    assert again.status_code == 202, again.text
    await desk.work()
    assert (await desk.people())["1"]["email"] == "moved@example.org"


async def test_a_file_of_a_machine_takes_nobody_back_who_holds_a_role(desk: Importing) -> None:
    await desk.bring(csv(ROW, {"id": "2"}, {"id": "3"}))
    people = await desk.people()
    body = {"person_id": people["1"]["id"], "role": "safeguarding"}
    assert (await desk.client.post("/v1/role-assignments", json=body)).status_code == 201
    for number in ("1", "2"):
        left = await desk.client.post(f"/v1/people/{people[number]['id']}/deactivate", json={})
        assert left.status_code == 200, left.text

    sent = await (await desk.world.add_key("imports:write", "admin")).post(
        "/v1/imports",
        data={"connection_id": desk.connection_id, "mapping_id": desk.mapping_id},
        files={"file": ("people.csv", csv(ROW, {"id": "2"}, {"id": "3"}), "text/csv")},
        headers={"Idempotency-Key": "nightly"},
    )
    await desk.work()

    rows = await desk.rows(sent.json()["sync_run_id"])
    assert {one["external_id"]: [error["code"] for error in one["errors"]] for one in rows} == {
        "1": ["holds_a_role"],
        "2": [],
        "3": [],
    }
    now = await desk.people()
    assert [now[number]["status"] for number in ("1", "2")] == ["inactive", "active"]
