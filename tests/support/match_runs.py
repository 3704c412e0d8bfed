"""Programs in matching, with mentors and mentees who wait to be put together."""

from dataclasses import dataclass, field
from typing import Any

import httpx

from services.api.match_runs.jobs import Desk, turn
from tests.support.apps import World
from tests.support.beginnings import begun_once
from tests.support.participants import Somebody, take_part
from tests.support.programs import (
    ONE_QUESTION,
    UNREVIEWED,
    Offer,
    draft,
    open_registration,
    post,
)

FORMS_OF_A_DRAFT = frozenset({"mentor", "mentee"})


@dataclass(slots=True)
class Pool:
    """A program in matching and the people in it."""

    world: World
    offer: Offer
    mentors: list[Somebody] = field(default_factory=list)
    mentees: list[Somebody] = field(default_factory=list)
    others: list[Somebody] = field(default_factory=list)

    @property
    def everybody(self) -> list[Somebody]:
        """Return all who take part, who leads or is a peer first."""
        return [*self.others, *self.mentors, *self.mentees]

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

    async def act(self, proposal: dict[str, Any], action: str, **body: Any) -> dict[str, Any]:
        """Decide on a proposal."""
        return await post(self.coordinator, f"/v1/proposals/{proposal['id']}/{action}", body)

    async def run_of(self, run: dict[str, Any]) -> dict[str, Any]:
        """Return a run as it is now."""
        answer = await self.coordinator.get(f"/v1/match-runs/{run['id']}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def proposals_of(self, run: dict[str, Any], **query: str) -> list[dict[str, Any]]:
        """Return the proposals of a run."""
        answer = await self.coordinator.get(f"/v1/match-runs/{run['id']}/proposals", params=query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    async def reviewed(self, desk: Desk, **changes: Any) -> dict[str, Any]:
        """Start a run and work until it is in review."""
        run = await self.start(**changes)
        assert await turn(desk) == 1
        return await self.run_of(run)

    async def rerun(self, desk: Desk, run: dict[str, Any]) -> dict[str, Any]:
        """Repeat a run and work until it is in review."""
        again = await post(self.coordinator, f"/v1/match-runs/{run['id']}/rerun", {})
        assert await turn(desk) == 1
        return await self.run_of(again)

    async def publish(self, run: dict[str, Any]) -> dict[str, Any]:
        """Approve everything that a run proposes, and ask its people."""
        for proposal in await self.proposals_of(run):
            await self.act(proposal, "approve")
        return await post(self.coordinator, f"/v1/match-runs/{run['id']}/publish", {})


def members(mentor: Somebody, mentee: Somebody) -> list[dict[str, Any]]:
    """Return two members as a request states them."""
    return [
        {"participant_id": mentor.participant["id"], "role": "mentor"},
        {"participant_id": mentee.participant["id"], "role": "mentee"},
    ]


@begun_once
async def waiting(
    world: World,
    /,
    *,
    mentors: int = 2,
    mentees: int = 2,
    capacity: int = 1,
    track: dict[str, Any] | None = None,
    **program: Any,
) -> Pool:
    """Let mentors and mentees register and take the program to matching."""
    offer = await open_registration(world, **(UNREVIEWED | program))
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


@begun_once
async def gathered(
    world: World, /, *roles: str, capacity: int = 1, leads: int = 1, **track: Any
) -> Pool:
    """Let one person per role register for a track of any format, and take it to matching."""
    offer = await draft(world, **UNREVIEWED)
    offer.track = await post(
        offer.coordinator,
        f"/v1/programs/{offer.program['id']}/tracks",
        {"name": "The other track", "policy_id": offer.track["policy_id"], **track},
    )
    for role in sorted({*roles} - FORMS_OF_A_DRAFT - {"facilitator"}):
        form = await post(
            offer.coordinator,
            f"/v1/programs/{offer.program['id']}/forms",
            {"role": role, "fields": [ONE_QUESTION]},
        )
        await post(offer.coordinator, f"/v1/forms/{form['id']}/publish", {})
    await offer.act("publish")
    await offer.act("open-registration")
    pool = Pool(world, offer)
    beside = {"mentor": pool.mentors, "mentee": pool.mentees}
    for role in roles:
        places = leads if role == "facilitator" else capacity
        somebody = await take_part(world, offer, role, capacity=places)
        beside.get(role, pool.others).append(somebody)
    await offer.act("close-registration")
    await offer.act("start-matching")
    return pool


async def events_of(pool: Pool) -> list[dict[str, Any]]:
    """Return what was recorded in the organization of a pool, oldest first."""
    organization = pool.world.id
    async with (
        pool.world.app.state.resources.reads.acquire() as connection,
        connection.transaction(),
    ):
        await connection.fetch(
            "SELECT set_config('app.organization_id', $1, true)", str(organization)
        )
        rows = await connection.fetch(
            "SELECT type, data FROM outbox_message WHERE organization_id = $1 ORDER BY id",
            organization,
        )
    return [dict(row) for row in rows]


async def told(pool: Pool, kind: str) -> list[dict[str, list[str]]]:
    """Return whom events of a type matter to."""
    return [row["data"]["recipients"] for row in await events_of(pool) if row["type"] == kind]
