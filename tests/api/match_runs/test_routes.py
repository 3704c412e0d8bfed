"""Runs over HTTP: who starts them, where, and what they are asked too early."""

import asyncio
from typing import Any

import httpx

from tests.support.apps import World
from tests.support.match_runs import Pool, waiting
from tests.support.programs import open_registration


async def start(pool: Pool, client: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    return await client.post(pool.runs, json={"track_id": pool.offer.track["id"], **changes})


async def test_a_run_is_queued_and_found_at_its_location(world: World) -> None:
    pool = await waiting(world)

    answer = await start(pool, pool.coordinator, seed=2_147_483_647)

    assert answer.status_code == 202
    run = (await pool.coordinator.get(answer.headers["Location"])).json()
    assert (run["status"], run["mode"], run["kind"]) == ("queued", "real", "pool")
    assert run["seed"] == 2_147_483_647
    assert run["stats"] is None
    listed = await pool.coordinator.get(f"{pool.runs}?status=queued")
    assert [one["id"] for one in listed.json()["items"]] == [run["id"]]
    policy = await pool.coordinator.get(f"/v1/policies/{run['policy_id']}")
    assert policy.json()["frozen"] is True


async def test_only_coordinators_and_services_start_and_see_runs(world: World) -> None:
    pool = await waiting(world)
    mentor = pool.mentors[0].client
    run = await pool.start()
    key = await world.add_key("matching:read")

    assert (await start(pool, mentor)).status_code == 403
    assert (await start(pool, world.org_admin)).status_code == 403
    assert (await mentor.get(f"/v1/match-runs/{run['id']}")).status_code in {403, 404}
    assert (await mentor.get(pool.runs)).status_code == 403
    assert (await world.org_admin.get(pool.runs)).status_code == 200
    assert (await key.get(f"/v1/match-runs/{run['id']}")).status_code == 200
    narrow = await start(pool, key)
    assert (narrow.status_code, narrow.json()["code"]) == (403, "insufficient_scope")


async def test_a_run_is_refused_where_matching_is_not_ready(world: World) -> None:
    offer = await open_registration(world)
    early = await offer.coordinator.post(
        f"/v1/programs/{offer.program['id']}/match-runs", json={"track_id": offer.track["id"]}
    )
    empty = await waiting(world, mentors=1, mentees=0)
    nobody = await start(empty, empty.coordinator)
    pool = await waiting(world)
    roulette, fill = [
        await start(pool, pool.coordinator, kind=kind) for kind in ("roulette", "fill")
    ]
    foreign = await start(pool, pool.coordinator, policy_id=empty.offer.track["policy_id"])
    other = await pool.coordinator.post(pool.runs, json={"track_id": empty.offer.track["id"]})

    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    assert (nobody.json()["errors"][0]["code"], nobody.json()["detail"]) == (
        "one_alone",
        "One person in this track waits, and nobody to be matched with.",
    )
    assert {(one.status_code, one.json()["code"]) for one in (roulette, fill)} == {
        (409, "not_ready")
    }
    assert roulette.json()["errors"][0]["code"] == "match_modes"
    assert fill.json()["errors"][0]["code"] == "match_modes"
    assert foreign.json()["errors"][0]["pointer"] == "#/policy_id"
    assert other.json()["errors"][0]["pointer"] == "#/track_id"


async def test_paused_matching_starts_no_run(world: World) -> None:
    pool = await waiting(world)
    await pool.offer.act("pause-matching")

    answer = await start(pool, pool.coordinator)

    assert (answer.status_code, answer.json()["code"]) == (409, "matching_paused")


async def test_one_real_run_of_a_track_is_under_way_at_a_time(world: World) -> None:
    pool = await waiting(world)

    answers = await asyncio.gather(*(start(pool, pool.coordinator) for _ in range(5)))
    rehearsal = await start(pool, pool.coordinator, mode="dry_run")

    assert sorted(one.status_code for one in answers) == [202, 409, 409, 409, 409]
    assert {one.json()["code"] for one in answers if one.status_code == 409} == {"already_exists"}
    assert rehearsal.status_code == 202


async def test_a_queued_run_is_neither_published_nor_explained(world: World) -> None:
    pool = await waiting(world)
    run = await pool.start()
    path = f"/v1/match-runs/{run['id']}"
    pair = f"{pool.mentors[0].participant['id']},{pool.mentees[0].participant['id']}"

    published = await pool.coordinator.post(f"{path}/publish")
    explained = await pool.coordinator.get(f"{path}/explanations", params={"pair": pair})
    malformed = await pool.coordinator.get(f"{path}/explanations", params={"pair": "par_x"})
    fairness = await pool.coordinator.get(f"{path}/fairness")

    assert (published.status_code, published.json()["code"]) == (409, "invalid_transition")
    assert explained.status_code == 404
    assert malformed.status_code == 400
    assert (fairness.status_code, fairness.json()["code"]) == (409, "not_ready")
