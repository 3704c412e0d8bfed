"""Participants as they come about in life: registered, submitted and approved over HTTP."""

from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.apps import World
from tests.support.programs import Offer, post

PREFERENCES = {
    "values": ["curiosity"],
    "path_now": "Backend engineer for five years.",
    "path_target": "Leading a team of engineers.",
    "wants_skills": ["Leadership"],
    "offers_skills": ["Python"],
    "languages": ["en"],
}


@dataclass(slots=True)
class Somebody:
    """A person in a program, with their own client."""

    person: dict[str, Any]
    client: httpx.AsyncClient
    participant: dict[str, Any]

    @property
    def path(self) -> str:
        """Return where the participant is."""
        return f"/v1/participants/{self.participant['id']}"

    async def now(self) -> dict[str, Any]:
        """Return the participant as it is now."""
        current: dict[str, Any] = (await self.client.get(self.path)).json()
        return current


async def register(
    world: World, offer: Offer, role: str, *, capacity: int = 1, **person: Any
) -> Somebody:
    """Let a new person start a registration."""
    added = await world.add_person(**person)
    client = await world.as_person(added["id"])
    participant = await post(
        client,
        f"/v1/programs/{offer.program['id']}/participants",
        {
            "track_roles": [{"track_id": offer.track["id"], "role": role, "capacity": capacity}],
            "answers": {"goals": "To lead."},
        },
    )
    return Somebody(added, client, participant)


async def submit(somebody: Somebody) -> dict[str, Any]:
    """Hand the registration in."""
    return await post(somebody.client, f"{somebody.path}/submit", {"preview_acknowledged": True})


async def take_part(
    world: World, offer: Offer, role: str, *, capacity: int = 1, **person: Any
) -> Somebody:
    """Let a new person go all the way to being available."""
    somebody = await register(world, offer, role, capacity=capacity, **person)
    await somebody.client.put(
        f"{somebody.path}/preferences", json=PREFERENCES, headers={"If-None-Match": "*"}
    )
    somebody.participant = await submit(somebody)
    if somebody.participant["status"] == "coordinator_review":
        somebody.participant = await post(offer.coordinator, f"{somebody.path}/approve", {})
    return somebody
