"""A program with one track, made through the API as a coordinator would."""

import secrets
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.apps import World
from tests.support.beginnings import begun_once

ONE_QUESTION = {
    "key": "goals",
    "label": {"en": "What would you like to learn?"},
    "type": "short_text",
    "required": True,
}
DAYS = {
    "registration_opens_on": "2026-01-01",
    "registration_closes_on": "2026-12-31",
    "starts_on": "2027-01-01",
    "ends_on": "2027-12-31",
}


UNREVIEWED = {"coordinator_review": "off"}
"""Of programs that are about what comes after: whoever hands a registration in takes part."""


@dataclass(slots=True)
class Offer:
    """A program with a track, and the coordinator who runs it."""

    program: dict[str, Any]
    track: dict[str, Any]
    coordinator: httpx.AsyncClient
    coordinator_id: str

    async def act(self, action: str) -> dict[str, Any]:
        """Do something to the program and return it."""
        answer = await self.coordinator.post(f"/v1/programs/{self.program['id']}/{action}")
        assert answer.status_code == 200, answer.text
        self.program = answer.json()
        return self.program


async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST and return what was made."""
    answer = await client.post(path, json=body)
    assert answer.status_code in {200, 201, 202}, answer.text
    made: dict[str, Any] = answer.json()
    return made


@begun_once
async def draft(world: World, /, **changes: Any) -> Offer:
    """Draft a program with a one-to-one track, a policy and forms."""
    person = await world.add_person()
    coordinator = await world.as_person(person["id"])
    program = await post(
        world.org_admin,
        "/v1/programs",
        {
            "name": "Spring cohort",
            "code": f"spring-{secrets.token_hex(4)}",
            "kind": "cohort",
            **DAYS,
            "support_contact": {"email": "help@example.org"},
            "coordinator_ids": [person["id"]],
            **changes,
        },
    )
    policy = await post(
        coordinator,
        "/v1/policies",
        {
            "program_id": program["id"],
            "name": "Usual",
            "soft": [{"rule": "offers_wants", "weight": 60}, {"rule": "path_fit", "weight": 40}],
        },
    )
    track = await post(
        coordinator,
        f"/v1/programs/{program['id']}/tracks",
        {
            "name": "One to one",
            "format": "one_to_one",
            "match_modes": ["pool", "coordinator"],
            "policy_id": policy["id"],
        },
    )
    for role in ("mentor", "mentee"):
        form = await post(
            coordinator,
            f"/v1/programs/{program['id']}/forms",
            {"role": role, "fields": [ONE_QUESTION]},
        )
        await post(coordinator, f"/v1/forms/{form['id']}/publish", {})
    return Offer(program, track, coordinator, person["id"])


@begun_once
async def open_registration(world: World, /, **changes: Any) -> Offer:
    """Draft and publish a program and open its registration."""
    offer = await draft(world, **changes)
    await offer.act("publish")
    await offer.act("open-registration")
    return offer
