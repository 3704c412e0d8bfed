"""Bringing files in: plans kept to the letter, workers that die, people who change meanwhile."""

import json
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.api.integrations.imports import jobs
from services.api.integrations.imports.operations import LeaseLostError
from services.api.resources import WorkerResources
from services.local import postgres
from shared.persistence.leases import Claim
from tests.support.apps import World
from tests.support.database import Databases
from tests.support.imports import Importing, csv, importing, mapping
from tests.support.work import Bench, bench

PATCH = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}
TEAM = [{"id": str(number), "boss": "1" if number > 1 else ""} for number in range(1, 8)]


@pytest.fixture
def beside(worker: WorkerResources, world: World) -> Bench:
    return bench(worker, world)


@pytest.fixture
async def desk(world: World, beside: Bench) -> Importing:
    return await importing(world, beside.resources.database)


async def events(beside: Bench) -> Counter[str]:
    rows = await beside.rows("SELECT type FROM outbox_message")
    return Counter(kind for (kind,) in rows)


def but(number: int, **changes: str) -> list[dict[str, str]]:
    return [{**one, **changes} if one["id"] == str(number) else one for one in TEAM]


async def test_a_file_goes_in_with_its_reporting_lines(desk: Importing, beside: Bench) -> None:
    run = await desk.bring(csv(*TEAM, {"id": "8", "status": "inactive", "left": "2026-01-31"}))
    people = await desk.people()

    assert run["status"] == "succeeded"
    assert run["counts"] == {
        **dict.fromkeys(run["counts"], 0),
        "seen": 8,
        "created": 8,
    }
    assert {people[str(n)]["manager_id"] for n in range(2, 8)} == {people["1"]["id"]}
    assert (people["8"]["status"], people["8"]["ended_on"]) == ("inactive", "2026-01-31")
    happened = await events(beside)
    assert happened["person.created"] == 9
    assert happened["person.updated"] == happened["person.deactivated"] == 0
    assert happened["sync_run.planned"] == happened["sync_run.succeeded"] == 1


async def test_an_identical_file_writes_nothing(desk: Importing, beside: Bench) -> None:
    await desk.bring(csv(*TEAM))
    before, people = await events(beside), await desk.people()

    run = await desk.bring(csv(*TEAM), mode="full", on_missing="deactivate")

    assert run["status"] == "succeeded"
    assert run["counts"]["unchanged"] == run["counts"]["seen"] == 7
    assert await desk.people() == people
    after = await events(beside)
    assert after["sync_run.succeeded"] == before["sync_run.succeeded"] + 1
    assert {k: n for k, n in after.items() if k.startswith("person.")} == {
        k: n for k, n in before.items() if k.startswith("person.")
    }


async def test_changes_say_what_was_and_what_is(desk: Importing, beside: Bench) -> None:
    await desk.bring(csv(*TEAM))

    run = await desk.bring(csv(*but(3, title="Lead", boss="2"), {"id": "9", "boss": "nobody"}))
    rows = {row["external_id"]: row for row in await desk.rows(run["id"])}
    people = await desk.people()

    assert rows["3"]["action"] == "update"
    assert rows["3"]["changes"] == [
        {"field": "manager_id", "old": people["1"]["id"], "new": people["2"]["id"]},
        {"field": "title", "old": "Engineer", "new": "Lead"},
    ]
    assert [one["code"] for one in rows["9"]["warnings"]] == ["unknown_manager"]
    happened = await events(beside)
    assert happened["person.updated"] == happened["person.manager_changed"] == 1


async def test_a_dry_run_waits_and_then_applies_its_own_plan(desk: Importing) -> None:
    run = await desk.bring(csv(*TEAM), dry_run="true")
    planned = {row["external_id"]: row["person_id"] for row in await desk.rows(run["id"])}
    assert (run["status"], run["holds"]) == ("awaiting_approval", ["dry_run"])
    assert run["counts"]["created"] == 7
    assert await desk.people() == {}

    answer = await desk.client.post(f"/v1/sync-runs/{run['id']}/approve")
    await desk.work()

    assert answer.json()["status"] == "applying"
    assert (await desk.run(run["id"]))["status"] == "succeeded"
    assert {n: one["id"] for n, one in (await desk.people()).items()} == planned


async def test_a_plan_made_from_what_is_no_longer_so_is_refused(desk: Importing) -> None:
    await desk.bring(csv(*TEAM))
    run = await desk.bring(csv(*but(3, title="Lead"), {"id": "9"}), dry_run="true")
    people = await desk.people()
    await desk.client.patch(
        f"/v1/people/{people['3']['id']}", json={"title": "Other"}, headers=PATCH
    )

    refused = await desk.client.post(f"/v1/sync-runs/{run['id']}/approve")
    again = await desk.client.post(f"/v1/sync-runs/{run['id']}/replan")
    await desk.work()

    assert refused.status_code == 409
    assert refused.json()["code"] == "plan_stale"
    assert refused.json()["detail"].startswith("1 of the people")
    assert again.status_code == 202
    assert again.json()["previous_run_id"] == run["id"]
    assert (await desk.run(run["id"]))["status"] == "cancelled"
    rows = await desk.rows(again.json()["id"])
    changes = {row["external_id"]: row["changes"] for row in rows}
    assert changes["3"] == [{"field": "title", "old": "Other", "new": "Lead"}]


async def test_a_new_person_whom_another_run_brought_makes_a_plan_stale(desk: Importing) -> None:
    waiting = await desk.bring(csv(*TEAM), dry_run="true")
    await desk.bring(csv(TEAM[0]))

    refused = await desk.client.post(f"/v1/sync-runs/{waiting['id']}/approve")

    assert refused.json()["code"] == "plan_stale"


async def test_whoever_changed_between_plan_and_row_fails_alone(desk: Importing) -> None:
    await desk.bring(csv(*TEAM))
    content = csv(*but(3, title="Lead"), {"id": "9"})
    run = (await desk.send(content)).json()["sync_run_id"]
    claimed = await desk.claim(run)
    await plan(desk, claimed)
    person = (await desk.people())["3"]
    await desk.client.patch(f"/v1/people/{person['id']}", json={"title": "X"}, headers=PATCH)

    while await jobs.apply_chunk(desk.database, claimed):
        pass
    finished = await desk.run(run)
    (failed,) = await desk.rows(run, outcome="failed")

    assert (finished["status"], finished["counts"]["failed"]) == ("partial", 1)
    assert [one["code"] for one in failed["errors"]] == ["plan_stale"]
    assert (await desk.people())["3"]["title"] == "X"
    assert "9" in await desk.people()

    again = (await desk.client.post(f"/v1/sync-runs/{run}/retry-failed")).json()
    await desk.work()
    retried = await desk.run(again["id"])
    assert (retried["status"], retried["counts"]["seen"]) == ("succeeded", 1)
    assert (await desk.people())["3"]["title"] == "Lead"


async def plan(desk: Importing, claimed: Claim) -> None:
    given = await jobs.begin(desk.database, claimed)
    assert given is not None
    await jobs.plan(desk.database, claimed, given)


@pytest.mark.parametrize("died_after", ["claim", "begin", "plan", "chunk"])
async def test_a_worker_that_dies_leaves_a_run_the_next_one_finishes(
    desk: Importing, beside: Bench, died_after: str
) -> None:
    run = (await desk.send(csv(*TEAM))).json()["sync_run_id"]
    lost = await desk.claim(run)
    if died_after == "begin":
        await jobs.begin(desk.database, lost)
    if died_after in {"plan", "chunk"}:
        await plan(desk, lost)
    if died_after == "chunk":
        assert await jobs.apply_chunk(desk.database, lost, limit=3) == 3
        progress = (await desk.run(run))["progress"]
        assert progress == {"to_write": 7, "written": 3}

    assert await jobs.turn(desk.database) == 0
    beside.clock.pass_time(jobs.QUEUE.lease_seconds + 1)
    await desk.work()

    finished = await desk.run(run)
    assert (finished["status"], finished["counts"]["created"]) == ("succeeded", 7)
    assert len(await desk.people()) == 7
    assert (await events(beside))["person.created"] == 8
    with pytest.raises(LeaseLostError):
        await jobs.apply_chunk(desk.database, lost)


async def test_a_run_that_keeps_killing_its_worker_is_given_up_in_sight(
    desk: Importing, beside: Bench
) -> None:
    run = (await desk.send(csv(*TEAM))).json()["sync_run_id"]
    for _ in range(jobs.MOST_ATTEMPTS):
        await desk.claim(run)
        beside.clock.pass_time(jobs.QUEUE.lease_seconds + 1)

    await desk.work()

    finished = await desk.run(run)
    assert (finished["status"], finished["failure_code"]) == ("failed", "worker_lost")
    assert await desk.people() == {}


async def test_two_runs_of_one_connection_go_one_after_the_other(
    desk: Importing, beside: Bench
) -> None:
    first = (await desk.send(csv(*TEAM))).json()["sync_run_id"]
    second = (await desk.send(csv(*but(2, title="Lead")))).json()["sync_run_id"]
    claimed = await desk.claim(first)

    await jobs.turn(desk.database)
    assert (await desk.run(second))["status"] == "queued"

    beside.clock.pass_time(jobs.QUEUE.lease_seconds + 1)
    await desk.work()
    beside.clock.pass_time(2)
    await desk.work()
    assert (await desk.run(first))["counts"]["created"] == 7
    assert (await desk.run(second))["counts"]["updated"] == 1
    assert claimed.attempts == 1


async def test_whom_a_full_file_leaves_out_leaves_and_may_come_back(
    desk: Importing, beside: Bench
) -> None:
    await desk.bring(csv(*TEAM))
    leaver = (await desk.people())["7"]
    token = await desk.world.as_person(leaver["id"])

    run = await desk.bring(csv(*TEAM[:-1]), mode="full", on_missing="deactivate")
    gone = (await desk.people())["7"]

    assert run["counts"]["deactivated"] == 1
    assert (gone["status"], gone["ended_reason"]) == ("inactive", "source_missing")
    assert (await token.get("/v1/me")).status_code == 401
    assert (await events(beside))["person.deactivated"] == 1

    run = await desk.bring(csv(*TEAM), mode="full", on_missing="deactivate")
    assert run["counts"]["reactivated"] == 1
    assert (await desk.people())["7"]["status"] == "active"
    assert (await token.get("/v1/me")).status_code in {200, 401}


async def test_a_file_older_than_the_end_brings_nobody_back(desk: Importing) -> None:
    await desk.bring(csv(*TEAM))
    past = desk.database.clock() - timedelta(minutes=5)
    await desk.bring(csv(*but(7, status="inactive")))

    run = await desk.bring(csv(*TEAM), as_of=past.isoformat())
    (skipped,) = await desk.rows(run["id"], outcome="skipped")

    assert [one["code"] for one in skipped["errors"]] == ["older_than_end"]
    assert (await desk.people())["7"]["status"] == "inactive"


async def test_many_leavers_wait_until_somebody_has_looked(desk: Importing, beside: Bench) -> None:
    await desk.bring(csv(*TEAM))

    run = await desk.bring(csv(TEAM[0]), mode="full", on_missing="deactivate")

    assert (run["status"], run["holds"]) == ("awaiting_approval", ["threshold"])
    assert run["counts"]["deactivated"] == 6
    assert run["consequences"] == dict.fromkeys(run["consequences"], 0)
    assert {one["status"] for one in (await desk.people()).values()} == {"active"}
    assert (await events(beside))["connection.guard_tripped"] == 1

    cancelled = await desk.client.post(f"/v1/sync-runs/{run['id']}/cancel")
    assert cancelled.json()["status"] == "cancelled"


async def test_a_header_alone_always_stops(desk: Importing) -> None:
    await desk.bring(csv(*TEAM))

    run = await desk.bring(csv(), mode="full", on_missing="deactivate")

    assert (run["status"], "empty_file" in run["holds"]) == ("awaiting_approval", True)


async def test_a_file_of_mostly_bad_rows_is_not_brought_in(desk: Importing) -> None:
    run = await desk.bring(csv({"id": "1"}, {"id": "2", "mail": "x"}, {"id": "3", "first": ""}))

    assert (run["status"], run["failure_code"]) == ("failed", "too_many_failures")
    assert await desk.people() == {}
    assert [one["line"] for one in await desk.rows(run["id"], outcome="failed")] == [3, 4]


async def test_nobody_is_merged_by_a_hint(desk: Importing) -> None:
    known = await desk.world.add_person(email="p1@example.org", employee_number="1")

    run = await desk.bring(csv(*TEAM))
    (skipped,) = await desk.rows(run["id"], outcome="skipped")

    assert [one["code"] for one in skipped["errors"]] == ["possible_duplicate"]
    assert (await desk.people())["1"]["given_name"] == known["given_name"]
    assert (await desk.people())["2"]["manager_id"] is None


async def test_an_address_taken_between_plan_and_row_fails_its_row_and_leaves_no_manager(
    desk: Importing,
) -> None:
    run = await desk.bring(csv(*TEAM), dry_run="true")
    await desk.world.add_person(email="p1@example.org")

    await desk.client.post(f"/v1/sync-runs/{run['id']}/approve")
    await desk.work()
    rows = {row["external_id"]: row for row in await desk.rows(run["id"])}

    assert [one["code"] for one in rows["1"]["errors"]] == ["duplicate_email"]
    assert [one["code"] for one in rows["2"]["warnings"]] == ["unknown_manager"]
    assert (await desk.run(run["id"]))["counts"]["created"] == 6


KEPT = (
    "SELECT header::text FROM import_file WHERE organization_id = $1",
    "SELECT convert_from(content, 'UTF8') FROM import_file WHERE organization_id = $1",
    "SELECT sync_row::text FROM sync_row WHERE organization_id = $1",
    "SELECT person::text FROM person WHERE organization_id = $1",
    "SELECT convert_from(body, 'UTF8') FROM idempotency WHERE organization_id = $1",
    "SELECT data::text FROM outbox_message WHERE organization_id = $1",
)


async def everything_kept(databases: Databases, organization_id: UUID) -> list[str]:
    """Return what an import leaves of an organization, as the superuser, who sees all of it."""
    connection = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    try:
        found: list[str] = []
        for statement in KEPT:
            found += [row[0] for row in await connection.fetch(statement, organization_id)]
        return found
    finally:
        await connection.close()


async def test_what_is_not_mapped_is_stored_nowhere(
    desk: Importing, beside: Bench, databases: Databases
) -> None:
    lines = csv(*TEAM).decode().splitlines()
    wide = [
        f"{lines[0]},Salary,Shoe size",
        *(f"{line},canary-4711,canary-42" for line in lines[1:]),
    ]
    wide.append("8,Shifted,canary-row,99")

    run = await desk.bring("\n".join(wide).encode())

    assert {one["column"]: one["reason"] for one in run["ignored_columns"]} == {
        "Salary": "refused",
        "Shoe size": "not_mapped",
    }
    kept = await everything_kept(databases, beside.organization_id)
    assert kept
    assert not any("canary" in text for text in kept)


async def test_a_mapping_made_before_a_name_was_known_brings_nothing_in(
    desk: Importing, beside: Bench, databases: Databases
) -> None:
    connection = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    try:
        await connection.execute(
            "UPDATE mapping_version SET document ="
            """ jsonb_set(document, '{fields,title,columns}', '["Nationalit\u00e4t"]')"""
            " WHERE organization_id = $1",
            beside.organization_id,
        )
    finally:
        await connection.close()

    answer = await desk.send(csv(*TEAM))

    assert answer.status_code == 400
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [
        ("#/mapping_id", "refused_column")
    ]


async def test_leavers_of_the_past_can_be_left_out(world: World, beside: Bench) -> None:
    document: dict[str, Any] = mapping(leavers="skip")
    desk = await importing(world, beside.resources.database, json.loads(json.dumps(document)))

    run = await desk.bring(csv(TEAM[0], {"id": "2", "status": "inactive"}))

    assert (run["counts"]["created"], run["counts"]["skipped"]) == (1, 1)


async def test_a_file_does_not_take_the_last_org_admin_away(desk: Importing, world: World) -> None:
    await desk.bring(csv(*TEAM))
    chief_id = (await desk.people())["1"]["id"]
    grant = {"person_id": chief_id, "role": "org_admin"}
    await world.org_admin.post("/v1/role-assignments", json=grant)
    run = await desk.bring(csv(*but(1, title="Lead", status="inactive")), dry_run="true")
    chief = await world.as_person(chief_id)

    await chief.post(f"/v1/people/{world.org_admin_id}/deactivate", json={})
    await chief.post(f"/v1/sync-runs/{run['id']}/approve")
    await desk.work()
    rows = (await chief.get(f"/v1/sync-runs/{run['id']}/rows")).json()["items"]
    stays = (await chief.get(f"/v1/people/{chief_id}")).json()

    [refused] = [row for row in rows if row["external_id"] == "1"]
    assert refused["outcome"] == "failed"
    assert [one["code"] for one in refused["errors"]] == ["last_org_admin"]
    assert (stays["status"], stays["title"]) == ("active", "Engineer")
