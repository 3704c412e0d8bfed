"""Pairs by chance with the real matching: what repeats, who sits out, and what a seed decides."""

from typing import Any

from services.api.match_runs.jobs import Desk
from tests.support.apps import World
from tests.support.match_runs import Pool, gathered
from tests.support.mentorships import compose, member
from tests.support.programs import post
from tests.support.work import Bench

PLACES = 9
DRAWN: dict[str, Any] = {"match_modes": ["roulette"], "consent_sides": "none"}
FLASH: dict[str, Any] = {"format": "flash", "meeting_minutes": 20, **DRAWN}


async def peers(world: World, count: int) -> Pool:
    """Return peers who wait to be drawn."""
    return await gathered(world, *["peer"] * count, capacity=PLACES, format="peer", **DRAWN)


async def drawn(desk: Desk, pool: Pool, **changes: Any) -> dict[str, Any]:
    """Draw once."""
    return await pool.reviewed(desk, kind="roulette", **changes)


async def pairs_of(pool: Pool, run: dict[str, Any]) -> list[list[str]]:
    """Return who was drawn with whom."""
    return sorted(
        sorted(one["participant_id"] for one in proposal["members"])
        for proposal in await pool.proposals_of(run)
    )


async def met(desk: Desk, pool: Pool, work: Bench) -> dict[str, Any]:
    """Draw once, ask nobody, and let what comes of it be over."""
    run = await drawn(desk, pool)
    await pool.publish(run)
    await work.rows("UPDATE mentorship SET status = 'completed' RETURNING id")
    return run


async def test_everybody_meets_everybody_before_a_pair_repeats(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await peers(world, 4)

    runs = [await met(desk, pool, work) for _ in range(4)]

    first, second, third, fourth = [await pairs_of(pool, run) for run in runs]
    assert len({tuple(pair) for pair in [*first, *second, *third]}) == 6
    assert fourth == first
    assert [run["stats"]["repeated"] for run in runs] == [0, 0, 0, 2]
    assert [run["stats"]["matched"] for run in runs] == [4, 4, 4, 4]
    assert runs[3]["certificate"]["kind"] == "optimal"
    assert runs[3]["stats"]["fairness"]["minimum"] is None
    assert {one["status"] for one in await pool.proposals_of(runs[0])} == {"accepted"}


async def test_who_was_matched_otherwise_is_drawn_last_and_counts_as_repeated(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await peers(world, 4)
    known = pool.everybody[:2]
    await compose(pool.offer, *(member(one, "peer") for one in known))
    await work.rows("UPDATE mentorship SET status = 'completed' RETURNING id")

    runs = [await met(desk, pool, work) for _ in range(3)]

    pair = sorted(one.participant["id"] for one in known)
    assert [pair in await pairs_of(pool, run) for run in runs] == [False, False, True]
    assert [run["stats"]["repeated"] for run in runs] == [0, 0, 1]


async def test_the_odd_one_out_takes_turns(world: World, desk: Desk, work: Bench) -> None:
    pool = await peers(world, 3)

    runs = [await met(desk, pool, work) for _ in range(3)]

    left = [one for run in runs for one in run["unmatched"]]
    assert [one["key"] for one in left] == ["unmatched.odd_one_out"] * 3
    assert {one["participant_id"] for one in left} == {
        one.participant["id"] for one in pool.everybody
    }


async def test_the_same_seed_is_the_same_draw(world: World, desk: Desk) -> None:
    pool = await peers(world, 6)

    first, second, *others = [
        await drawn(desk, pool, mode="dry_run", seed=seed) for seed in (5, 5, 8, 9, 10, 11, 12)
    ]

    assert {one["input_hash"] for one in others} == {first["input_hash"], second["input_hash"]}
    assert first["certificate"]["digest"] == second["certificate"]["digest"]
    assert await pairs_of(pool, first) == await pairs_of(pool, second)
    # Of fifteen draws two may be the same by chance, and not six.
    assert any([await pairs_of(pool, one) != await pairs_of(pool, first) for one in others])


async def test_a_draw_that_was_put_aside_does_not_count(world: World, desk: Desk) -> None:
    pool = await peers(world, 4)
    run = await drawn(desk, pool)

    again = await pool.rerun(desk, run)

    assert (again["kind"], again["status"]) == ("roulette", "review")
    assert await pairs_of(pool, again) == await pairs_of(pool, run)
    assert again["stats"]["repeated"] == 0


async def test_a_draw_is_stale_once_another_was_published(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await peers(world, 4)
    early = await drawn(desk, pool)
    await met(desk, pool, work)

    answer = await pool.coordinator.post(f"/v1/match-runs/{early['id']}/publish")

    assert (answer.status_code, answer.json()["code"]) == (409, "stale_run")


async def test_two_who_met_in_a_flash_meeting_never_meet_again(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await gathered(world, "mentor", "mentee", capacity=PLACES, **FLASH)
    first = await met(desk, pool, work)

    second = await drawn(desk, pool)

    assert (first["stats"]["proposals"], second["stats"]["proposals"]) == (1, 0)
    assert {one["role"] for one in second["unmatched"]} == {"mentor", "mentee"}


async def test_a_mentee_who_had_all_flash_meetings_is_not_drawn(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await gathered(world, *["mentor"] * 5, "mentee", capacity=PLACES, **FLASH)
    runs = [await met(desk, pool, work) for _ in range(4)]

    fifth = await drawn(desk, pool)

    assert [run["stats"]["proposals"] for run in runs] == [1, 1, 1, 1]
    assert (fifth["stats"]["proposals"], fifth["stats"]["people"]) == (0, 5)


async def test_no_pair_of_a_draw_is_explained(world: World, desk: Desk) -> None:
    pool = await peers(world, 2)
    run = await drawn(desk, pool)
    pair = ",".join(one.participant["id"] for one in pool.everybody)

    answer = await pool.coordinator.get(
        f"/v1/match-runs/{run['id']}/explanations", params={"pair": pair}
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "not_explainable")


async def test_two_draws_are_compared_by_what_is_stored(world: World, desk: Desk) -> None:
    pool = await peers(world, 20)
    base = await drawn(desk, pool, mode="dry_run", seed=5)
    other = await drawn(desk, pool, mode="dry_run", seed=8)

    told = await post(
        pool.coordinator,
        "/v1/match-run-diffs",
        {"base_run_id": base["id"], "other_run_id": other["id"]},
    )

    assert told["is_explained"] is False
    assert told["pairs"]["changed_count"] > 0
