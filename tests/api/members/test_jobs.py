"""What becomes of memberships as participants go."""

from datetime import UTC, datetime

import pytest

from services.api.members import jobs
from shared import ids
from tests.support.apps import World
from tests.support.mentorships import pair_up, work


@pytest.mark.parametrize(
    ("started", "consumer", "expected"),
    [
        (False, "on_participant_withdrawn", "cancelled"),
        (True, "on_participant_withdrawn", "closing"),
        (False, "on_participant_removed", "cancelled"),
        (True, "on_participant_removed", "ended_early"),
    ],
)
async def test_who_leaves_the_program_leaves_the_mentorship(
    world: World, consumer: str, expected: str, *, started: bool
) -> None:
    pair = await pair_up(world, started=started)
    participant = ids.parse_id("participant", pair.mentor.participant["id"])

    for _ in range(2):
        async with work(world) as session:
            await getattr(jobs, consumer)(
                session, organization_id=world.id, subject_id=participant, now=datetime.now(UTC)
            )

    assert (await pair.now())["status"] == expected
