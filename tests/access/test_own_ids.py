"""An id that a client chose: the same request again is the same thing, wherever ids are taken."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from tests.access.expected import body_of, known_to, somebody_let_in
from tests.support.access import Operation, Organization, kind_of, missing, send, undone
from tests.support.imports import mapping
from tests.support.programs import post

TAKES_ID = frozenset(
    {
        *("create_person", "create_role_assignment", "create_api_key", "create_oauth_client"),
        *("create_program", "create_track", "create_form", "create_policy", "register_participant"),
        *("start_match_run", "compose_proposal", "create_mentorship", "arrange_meeting"),
        *("create_connection", "create_mapping", "rotate_api_key"),
    }
)
MADE = {201, 202}
AT_ONCE = 20


async def _people_of_a_proposal(ours: Organization) -> Any:
    """Free two people who may be put together."""
    path = f"/v1/proposals/{ours.ids['proposal']}"
    freed = await post(ours.callers["coordinator"], f"{path}/reject", {"reason": "other"})
    return {
        "members": [
            {"participant_id": one["participant_id"], "role": one["role"]}
            for one in freed["members"]
        ]
    }


async def _beside_the_run_under_way(ours: Organization) -> Any:
    return {"track_id": ours.ids["track"], "mode": "dry_run"}


async def _a_free_hour(ours: Organization) -> Any:
    later = datetime.fromisoformat(ours.ids["later"]) + timedelta(hours=3)
    return {"starts_at": later.isoformat()}


async def _another_name(_ours: Organization) -> Any:
    return {"name": "Other columns", "document": mapping()}


# What takes more than a body to succeed.
FIRST: Mapping[str, Callable[[Organization], Awaitable[Any]]] = MappingProxyType(
    {
        "arrange_meeting": _a_free_hour,
        "compose_proposal": _people_of_a_proposal,
        "create_mapping": _another_name,
        "create_mentorship": _people_of_a_proposal,
        "start_match_run": _beside_the_run_under_way,
    }
)


def own(operation: Operation) -> str:
    """Return a fresh id of what the operation makes."""
    assert operation.body is not None
    kind = kind_of(operation.body["properties"]["id"])
    assert kind is not None
    return missing(kind)


def takes_id(operation: Operation) -> bool:
    """Tell whether clients may choose the id of what the operation makes."""
    properties = (operation.body or {}).get("properties", {})
    return operation.method == "POST" and "id" in properties


@pytest.fixture(params=sorted(TAKES_ID))
def operation(request: pytest.FixtureRequest, operations: list[Operation]) -> Operation:
    """Return each operation that takes an id."""
    return next(one for one in operations if one.id == request.param)


@pytest.fixture
def new_person(operations: list[Operation]) -> dict[str, Any]:
    """Return somebody to add, with an id."""
    [operation] = [one for one in operations if one.id == "create_person"]
    address = f"{secrets.token_hex(4)}@example.org"
    return {"id": own(operation), "email": address, "given_name": "Ida", "family_name": "Own"}


def test_every_operation_that_takes_an_id_is_looked_at(operations: list[Operation]) -> None:
    assert {one.id for one in operations if takes_id(one)} == TAKES_ID


async def test_the_same_content_is_the_same_thing_and_other_content_is_refused(
    operation: Operation, ours: Organization
) -> None:
    known = known_to(operation, ours)
    caller = ours.callers[somebody_let_in(operation)]
    async with undone(ours.world.app):
        first = FIRST.get(operation.id)
        body = await first(ours) if first else body_of(operation, known)
        body |= {"id": own(operation)}
        # Another Idempotency-Key each time: the id alone says that it is the same.
        made = await send(caller, operation, known, body=body)
        again = await send(caller, operation, known, body=body)
        other = await send(caller, operation, known, body=body | {"surely_other": True})

    assert made.status_code in MADE, made.text
    assert made.json()["id"] == body["id"]
    assert again.status_code == made.status_code, again.text
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == made.headers["Location"]
    # What is shown once is not shown again.
    assert again.json() == made.json() | ({"key": None} if "key" in made.json() else {}) | (
        {"client_secret": None} if "client_secret" in made.json() else {}
    )
    assert other.status_code == 409, other.text
    assert other.json()["code"] == "already_exists"


@pytest.mark.parametrize("caller", ["org_admin", "key"])
@pytest.mark.parametrize("is_keyed", [False, True])
async def test_equal_requests_at_once_make_one_thing_and_are_all_answered_with_it(
    ours: Organization, new_person: dict[str, Any], caller: str, *, is_keyed: bool
) -> None:
    async def add(number: int) -> httpx.Response:
        key = "the same" if is_keyed else f"another {number}"
        headers = {"Idempotency-Key": f"{new_person['id']}-{key}".replace(" ", "-")}
        return await ours.callers[caller].post("/v1/people", json=new_person, headers=headers)

    answers = await asyncio.gather(*map(add, range(AT_ONCE)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1


async def test_somebody_else_learns_nothing_with_an_id_that_is_not_theirs(
    ours: Organization, new_person: dict[str, Any]
) -> None:
    made = await ours.callers["org_admin"].post("/v1/people", json=new_person)
    again = await ours.callers["key"].post(
        "/v1/people", json=new_person, headers={"Idempotency-Key": new_person["id"]}
    )

    assert made.status_code == 201
    assert again.status_code == 409
    assert again.json()["code"] == "already_exists"
    assert "Ida" not in again.text


async def test_an_id_is_taken_within_one_organization_only(
    ours: Organization, new_person: dict[str, Any]
) -> None:
    for caller in ("org_admin", "foreign_admin"):
        made = await ours.callers[caller].post("/v1/people", json=new_person)
        assert (made.status_code, made.headers.get("Idempotency-Replayed")) == (201, None)


async def test_what_failed_under_an_id_may_be_tried_again(
    ours: Organization, new_person: dict[str, Any]
) -> None:
    admin = ours.callers["org_admin"]
    refused = await admin.post("/v1/people", json={**new_person, "given_name": ""})
    made = await admin.post("/v1/people", json=new_person)

    assert (refused.status_code, made.status_code) == (400, 201)


@pytest.mark.parametrize("not_one", ["per_\u0000", "", "PER_01KAJV7V1CEFH8WS6Q1FYV4M2Z", 7, [], {}])
async def test_what_is_no_id_is_refused_as_ever(
    ours: Organization, new_person: dict[str, Any], not_one: object
) -> None:
    answer = await ours.callers["org_admin"].post("/v1/people", json={**new_person, "id": not_one})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "#/id"


async def test_one_key_is_sent_once(ours: Organization, new_person: dict[str, Any]) -> None:
    del new_person["id"]
    answer = await ours.callers["org_admin"].post(
        "/v1/people",
        json=new_person,
        headers=[("Idempotency-Key", "one"), ("Idempotency-Key", "two")],
    )

    assert answer.status_code == 400
    assert answer.json()["errors"] == [
        {
            "pointer": "header.Idempotency-Key",
            "code": "not_repeatable",
            "detail": "This takes one value.",
        }
    ]


async def test_a_key_with_a_body_nested_without_end_is_refused_and_not_followed(
    ours: Organization,
) -> None:
    answer = await ours.callers["org_admin"].post(
        "/v1/people",
        content=b"[" * 100_000,
        headers={"Idempotency-Key": "deep", "Content-Type": "text/plain"},
    )

    assert answer.status_code == 415
