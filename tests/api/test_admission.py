"""Many at once for one thing: one of them gets it, the others hear why not, nobody hears 503."""

import asyncio
from collections import Counter

import httpx

from tests.support.apps import World

AT_ONCE = 50


def outcomes(answers: list[httpx.Response]) -> Counter[tuple[int, str | None]]:
    """Count status and code of the answers."""
    return Counter((one.status_code, one.json().get("code")) for one in answers)


async def test_of_fifty_who_add_the_same_person_one_does(world: World) -> None:
    body = {"email": "wanted@example.org", "given_name": "Once", "family_name": "Only"}

    answers = await asyncio.gather(
        *[world.org_admin.post("/v1/people", json=body) for _ in range(AT_ONCE)]
    )

    statuses = Counter(one.status_code for one in answers)
    assert statuses == {201: 1, 409: AT_ONCE - 1}, outcomes(answers)


async def test_of_fifty_who_let_the_same_person_leave_one_does(world: World) -> None:
    person = await world.add_person()

    answers = await asyncio.gather(
        *[
            world.org_admin.post(f"/v1/people/{person['id']}/deactivate", json={})
            for _ in range(AT_ONCE)
        ]
    )

    assert outcomes(answers) == {(200, None): 1, (409, "invalid_transition"): AT_ONCE - 1}
