"""A copy of what a test begins with is what the api made before."""

from fastapi import FastAPI

from tests.support.apps import World, found_world
from tests.support.copies import likeness, rows_of
from tests.support.match_runs import waiting


async def alike(world: World) -> list[str]:
    """Return what an organization holds, beside ids and times."""
    rows = likeness(await rows_of(world.app, world.id))
    return rows.replace(world.slug, "").splitlines()


async def test_a_copy_holds_what_was_made_under_other_ids(api: FastAPI, world: World) -> None:
    made = await waiting(world, mentors=2, mentees=1, capacity=3)
    elsewhere = await found_world(api)
    copied = await waiting(elsewhere, mentors=2, mentees=1, capacity=3)

    assert copied.world is elsewhere
    assert await alike(elsewhere) == await alike(world)
    theirs = {one.participant["id"] for one in made.everybody}
    for somebody in copied.everybody:
        assert (await somebody.now())["id"] == somebody.participant["id"] not in theirs
    assert (await copied.mentors[0].now())["track_roles"][0]["capacity"] == 3
    assert (await copied.mentors[0].client.get(made.mentors[0].path)).status_code == 404
    assert (await copied.start())["status"] == "queued"


async def test_what_comes_second_is_made_beside_it(world: World) -> None:
    first, second = await waiting(world), await waiting(world)

    assert first.offer.program["id"] != second.offer.program["id"]
    for pool in (first, second):
        assert (await pool.start())["status"] == "queued"
