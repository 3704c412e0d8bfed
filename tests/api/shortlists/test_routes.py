"""Shortlists over HTTP: nobody but the owner reads them, and an ignored person is kept apart."""

from typing import Any

import httpx

from services.api.shortlists import rules
from tests.support.apps import World
from tests.support.match_runs import Pool, members, waiting
from tests.support.participants import Somebody

NEW = {"If-None-Match": "*"}


async def mark(by: Somebody, about: Somebody, what: str, **headers: str) -> httpx.Response:
    """Mark somebody."""
    return await by.client.put(
        f"{by.path}/shortlist/{about.participant['id']}",
        json={"mark": what},
        headers=headers or NEW,
    )


async def marked(somebody: Somebody) -> list[dict[str, Any]]:
    """Return somebody's own shortlist."""
    items: list[dict[str, Any]] = (await somebody.client.get(f"{somebody.path}/shortlist")).json()[
        "items"
    ]
    return items


async def test_a_mark_is_made_changed_read_and_taken_back(world: World) -> None:
    pool = await waiting(world)
    mentor, mentee = pool.mentors[0], pool.mentees[0]

    made = await mark(mentee, mentor, "favorite")
    unnamed = await mark(mentee, mentor, "ignore", **{"Accept-Language": "en"})
    stale = await mark(mentee, mentor, "ignore", **{"If-Match": '"7"'})
    changed = await mark(mentee, mentor, "ignore", **{"If-Match": made.headers["ETag"]})
    listed = await marked(mentee)
    path = f"{mentee.path}/shortlist/{mentor.participant['id']}"
    gone = await mentee.client.delete(path, headers={"If-Match": "*"})
    again = await mentee.client.delete(path, headers={"If-Match": "*"})

    assert (made.status_code, made.headers["ETag"], made.json()["mark"]) == (201, '"1"', "favorite")
    assert (unnamed.status_code, stale.status_code) == (428, 412)
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    assert [(one["other_participant_id"], one["mark"]) for one in listed] == [
        (mentor.participant["id"], "ignore")
    ]
    assert (gone.status_code, again.status_code) == (204, 404)
    assert await marked(mentee) == []


async def test_a_mark_without_a_precondition_learns_of_both(world: World) -> None:
    pool = await waiting(world)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    path = f"{mentee.path}/shortlist/{mentor.participant['id']}"

    first = await mentee.client.put(path, json={"mark": "favorite"})
    made = await mark(mentee, mentor, "favorite")
    later = await mentee.client.put(path, json={"mark": "ignore"})

    assert made.status_code == 201
    for answer in (first, later):
        assert (answer.status_code, answer.json()["code"]) == (428, "precondition_required")
        assert "If-Match" in answer.json()["detail"]
        assert "If-None-Match: *" in answer.json()["detail"]


async def test_nobody_else_reads_or_writes_it(world: World) -> None:
    pool = await waiting(world)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    await mark(mentee, mentor, "favorite")
    path = f"{mentee.path}/shortlist"

    reads = [
        await one.get(path)
        for one in (mentor.client, pool.coordinator, world.org_admin, pool.mentees[1].client)
    ]
    written = await mentor.client.put(
        f"{path}/{mentor.participant['id']}", json={"mark": "favorite"}, headers=NEW
    )

    assert [one.status_code for one in reads] == [403, 403, 403, 403]
    assert written.status_code == 403
    assert await marked(mentor) == []


async def test_whom_one_cannot_see_or_is_oneself_cannot_be_marked(world: World) -> None:
    pool, elsewhere = await waiting(world), await waiting(world, mentors=1, mentees=0)
    mentee = pool.mentees[0]

    abroad = await mark(mentee, elsewhere.mentors[0], "favorite")
    own = await mark(mentee, mentee, "ignore")
    unknown = await mentee.client.put(
        f"{mentee.path}/shortlist/{pool.mentors[0].participant['id']}",
        json={"mark": "hates"},
        headers=NEW,
    )

    assert abroad.status_code == 404
    assert (own.status_code, own.json()["errors"][0]["pointer"]) == (
        400,
        "path.other_participant_id",
    )
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (400, "#/mark")


async def test_a_list_has_an_end(world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(rules, "MOST_MARKED", 1)
    pool = await waiting(world)
    await mark(pool.mentees[0], pool.mentors[0], "favorite")

    answer = await mark(pool.mentees[0], pool.mentors[1], "favorite")

    assert (answer.status_code, answer.json()["code"]) == (409, "limit_reached")


async def test_the_event_says_neither_whom_nor_what(world: World) -> None:
    pool = await waiting(world)
    await mark(pool.mentees[0], pool.mentors[0], "ignore")

    events = (await world.org_admin.get("/v1/events?type=participant.changed&limit=200")).json()

    last = events["items"][-1]
    assert last["data"]["changed"] == ["shortlist"]
    assert pool.mentors[0].participant["id"] not in str(last)
    assert "ignore" not in str(last)


async def test_a_coordinator_cannot_put_together_whom_one_ignores(world: World) -> None:
    pool = await waiting(world)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    await mark(mentor, mentee, "ignore")

    proposed = await _compose(pool, mentor, mentee, "proposals")
    composed = await _compose(pool, mentor, mentee, "mentorships")
    other = await _compose(pool, mentor, pool.mentees[1], "proposals")

    assert (proposed.status_code, proposed.json()["code"]) == (409, "hard_rule_failed")
    assert [one["code"] for one in proposed.json()["errors"]] == ["not_blocked"]
    assert (composed.status_code, composed.json()["code"]) == (409, "excluded_pair")
    assert other.status_code == 201


async def test_whoever_ignores_after_a_proposal_was_made_is_not_asked(world: World) -> None:
    pool = await waiting(world)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    proposal = await pool.compose(mentor, mentee)
    await mark(mentee, mentor, "ignore")

    answer = await pool.coordinator.post(f"/v1/proposals/{proposal['id']}/approve")

    assert (answer.status_code, answer.json()["code"]) == (409, "hard_rule_failed")


async def _compose(pool: Pool, mentor: Somebody, mentee: Somebody, what: str) -> httpx.Response:
    return await pool.coordinator.post(
        f"/v1/tracks/{pool.offer.track['id']}/{what}", json={"members": members(mentor, mentee)}
    )
