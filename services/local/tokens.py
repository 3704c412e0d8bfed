"""The demo organization of a running stack, and a development credential per role."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx

ORGANIZATION = "demo"

DEMO_WORKS: Mapping[str, Any] = {
    "slug": ORGANIZATION,
    "name": "Demo Works",
    "kind": "sandbox",
    "default_timezone": "Europe/Berlin",
    "grade_order": ["Junior", "Professional", "Senior", "Lead", "Director"],
    "org_admin": {
        "given_name": "Olive",
        "family_name": "Admin",
        "email": "olive.admin@example.org",
    },
}
CAST = {
    "coordinator": ("Carla", "Coordinator"),
    "mentor": ("Mona", "Mentor"),
    "mentee": ("Theo", "Mentee"),
}
FIRST_PROGRAM: Mapping[str, Any] = {
    "name": "First program",
    "code": "first-program",
    "kind": "evergreen",
    "starts_on": "2026-01-01",
}
INTEGRATION_SCOPES = (
    *("people:read", "people:write", "programs:read", "participants:read"),
    *("participants:write", "mentorships:read", "meetings:read", "imports:write"),
    *("matching:read", "matching:run", "matching:publish", "events:read"),
)


async def prepare(api_root: str, operator_token: str) -> dict[str, str]:
    """Make the demo organization if it is new; return a credential for each role.

    A draft of a program makes the coordinator one.
    """
    async with httpx.AsyncClient(base_url=api_root, trust_env=False, timeout=20) as http:
        http.headers["Authorization"] = f"Bearer {operator_token}"
        founded = await found(http, DEMO_WORKS)
        admin = await sign_in(http, founded["org_admin_person_id"])
        given = {"org_admin": admin}
        for role, (given_name, family_name) in CAST.items():
            person_id = await _person(http, admin, role, given_name, family_name)
            given[role] = await sign_in(http, person_id)
            if role == "coordinator":
                await _draft(http, admin, person_id)
        given["integration"] = await _key(http, admin)
        return given


async def sign_in(http: httpx.AsyncClient, who: str, *, organization: str = ORGANIZATION) -> str:
    """Return a token of a person, by their id or by a role they were granted."""
    named = "person_id" if who.startswith("per_") else "role"
    answer = await http.post(
        "/operator/sign-ins", json={"organization_slug": organization, named: who}
    )
    token: str = answer.raise_for_status().json()["access_token"]
    return token


async def found(http: httpx.AsyncClient, organization: Mapping[str, Any]) -> dict[str, Any]:
    """Set an organization up; the same slug again finds it."""
    answer = await http.post("/operator/organizations", json=dict(organization))
    founded: dict[str, Any] = answer.raise_for_status().json()
    return founded


async def _person(
    http: httpx.AsyncClient, admin: str, role: str, given_name: str, family_name: str
) -> str:
    """Return the person of the cast, added the first time the stack runs."""
    email = f"{role}@example.org"
    own = {"Authorization": f"Bearer {admin}"}
    found = await http.get("/v1/people", params={"q": family_name}, headers=own)
    for person in found.raise_for_status().json()["items"]:
        if person["email"] == email:
            return str(person["id"])
    body = {"email": email, "given_name": given_name, "family_name": family_name}
    made = await http.post("/v1/people", json=body, headers=own)
    return str(made.raise_for_status().json()["id"])


async def _draft(http: httpx.AsyncClient, admin: str, coordinator_id: str) -> None:
    """Draft a program; where its code is taken it is there, whatever became of it."""
    answer = await http.post(
        "/v1/programs",
        json={**FIRST_PROGRAM, "coordinator_ids": [coordinator_id]},
        headers={"Authorization": f"Bearer {admin}"},
    )
    if answer.status_code != HTTPStatus.CONFLICT:
        answer.raise_for_status()


async def _key(http: httpx.AsyncClient, admin: str) -> str:
    answer = await http.post(
        "/v1/api-keys",
        json={"label": "development", "scopes": list(INTEGRATION_SCOPES)},
        headers={"Authorization": f"Bearer {admin}"},
    )
    return str(answer.raise_for_status().json()["key"])
