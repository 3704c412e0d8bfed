"""The operator's doors: a slug names one organization, however often it is founded."""

import asyncio
import secrets

from fastapi import FastAPI

from tests.support.apps import operator


async def test_founding_at_once_founds_one_organization(api: FastAPI) -> None:
    wanted = {
        "slug": f"org-{secrets.token_hex(6)}",
        "name": "At once",
        "org_admin": {
            "given_name": "Ada",
            "family_name": "Admin",
            "email": "ada.admin@example.org",
        },
    }
    door = operator(api)

    answers = await asyncio.gather(
        *(door.post("/operator/organizations", json=wanted) for _ in range(6))
    )

    assert sorted(one.status_code for one in answers) == [200] * 5 + [201]
    assert len({(one.json()["id"], one.json()["org_admin_person_id"]) for one in answers}) == 1
