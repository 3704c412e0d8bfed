"""Programs in matching, with mentors and mentees who wait to be put together."""

from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.apps import World
from tests.support.participants import Somebody, take_part
from tests.support.programs import Offer, open_registration, post


@dataclass(slots=True)
class Pool:
    """A program in matching and the people in it."""

    world: World
    offer: Offer
    mentors: list[Somebody] = field(default_factory=list)
    mentees: list[Somebody] = field(default_factory=list)

    @property
    def coordinator(self) -> httpx.AsyncClient:
        """Return the client of whoever runs the program."""
        return self.offer.coordinator

    @property
    def runs(self) -> str:
        """Return where runs are started."""
        return f"/v1/programs/{self.offer.program['id']}/match-runs"

    async def start(self, **changes: Any) -> dict[str, Any]:
        """Start a run over the track."""
        body = {"track_id": self.offer.track["id"], **changes}
        return await post(self.coordinator, self.runs, body)

    async def compose(self, mentor: Somebody, mentee: Somebody) -> dict[str, Any]:
        """Propose two people by hand."""
        return await post(
            self.coordinator,
            f"/v1/tracks/{self.offer.track['id']}/proposals",
            {"members": members(mentor, mentee)},
        )

    async def act(self, proposal: dict[str, Any], action: str) -> dict[str, Any]:
        """Decide on a proposal."""
        return await post(self.coordinator, f"/v1/proposals/{proposal['id']}/{action}", {})


def members(mentor: Somebody, mentee: Somebody) -> list[dict[str, Any]]:
    """Return two members as a request states them."""
    return [
        {"participant_id": mentor.participant["id"], "role": "mentor"},
        {"participant_id": mentee.participant["id"], "role": "mentee"},
    ]


async def waiting(
    world: World,
    *,
    mentors: int = 2,
    mentees: int = 2,
    capacity: int = 1,
    track: dict[str, Any] | None = None,
    **program: Any,
) -> Pool:
    """Let mentors and mentees register and take the program to matching."""
    offer = await open_registration(world, **program)
    pool = Pool(world, offer)
    if track:
        changed = await offer.coordinator.patch(
            f"/v1/tracks/{offer.track['id']}",
            json=track,
            headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
        )
        assert changed.status_code == 200, changed.text
    for _ in range(mentors):
        pool.mentors.append(await take_part(world, offer, "mentor", capacity=capacity))
    for _ in range(mentees):
        pool.mentees.append(await take_part(world, offer, "mentee"))
    await offer.act("close-registration")
    await offer.act("start-matching")
    return pool
