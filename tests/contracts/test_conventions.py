"""Every convention of the API, once over every operation of the document."""

import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from services.api.access.rules import SERVICE_SCOPES
from services.local import postgres
from tests.support.apps import World, client, found_world
from tests.support.database import Databases
from tests.support.document import Operation, every_operation
from tests.support.identity_links import link_account
from tests.support.imports import mapping
from tests.support.mentorships import pair_up
from tests.support.programs import post

PUBLIC = frozenset({"POST /auth/email-codes", "POST /auth/email-codes/{challenge_id}/verify"})
READS = frozenset({"GET"})
VERSIONED = frozenset({"PATCH", "PUT", "DELETE"})
REFUSED = 403
PROBLEM_FIELDS = frozenset({"type", "title", "status", "detail", "instance", "code", "request_id"})


@dataclass(slots=True)
class Stage:
    """An organization with one of everything that is changed under a version."""

    world: World
    everybody: httpx.AsyncClient
    known: dict[str, str]
    owners: dict[str, httpx.AsyncClient]

    def client_of(self, operation: Operation) -> httpx.AsyncClient:
        """Return who may change what an operation is about."""
        return next(
            (self.owners[name] for name in operation.path_parameters if name in self.owners),
            self.everybody,
        )

    async def make_the_rest(self, operations: list[Operation]) -> None:
        """Make one of whatever else the document's own examples can make."""
        makers = {one.path: one for one in operations if one.method == "POST"}
        for operation in operations:
            collection, _, last = operation.path.rpartition("/")
            name = last.strip("{}")
            if not last.startswith("{") or name in self.known or collection not in makers:
                continue
            answer = await ask(self.everybody, makers[collection], makers[collection].url())
            if answer.status_code in {200, 201}:
                self.known[name] = answer.json()["id"]


@pytest.fixture(scope="module")
async def stage(api: FastAPI) -> Stage:
    """Bring two people together who meet; their coordinator is an org admin too."""
    world = await found_world(api)
    pair = await pair_up(world, started=True)
    offer, somebody = pair.offer, pair.mentee
    meeting = await post(
        pair.mentee.client,
        f"{pair.path}/meetings",
        {"starts_at": f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%dT10:00:00Z}"},
    )
    grant = await post(
        world.org_admin,
        "/v1/role-assignments",
        {"person_id": offer.coordinator_id, "role": "org_admin"},
    )
    everybody = await world.as_person(offer.coordinator_id)
    columns = await post(world.org_admin, "/v1/mappings", {"name": "HR", "document": mapping()})
    hr = await post(world.org_admin, "/v1/connections", {"label": "Directory"})
    link_id = await link_account(world, person_id=somebody.person["id"], connection_id=hr["id"])
    marked = await somebody.client.put(
        f"{somebody.path}/shortlist/{pair.mentor.participant['id']}",
        json={"mark": "favorite"},
        headers={"If-None-Match": "*"},
    )
    assert marked.status_code == 201, marked.text
    known = {
        "identity_link_id": link_id,
        "mapping_id": columns["id"],
        "person_id": somebody.person["id"],
        "program_id": offer.program["id"],
        "track_id": offer.track["id"],
        "participant_id": somebody.participant["id"],
        "other_participant_id": pair.mentor.participant["id"],
        "role_assignment_id": grant["id"],
        "mentorship_id": pair.mentorship["id"],
        "meeting_id": meeting["id"],
        "policy_id": offer.track["policy_id"],
    }
    own = dict.fromkeys(("participant_id", "mentorship_id", "meeting_id"), somebody.client)
    stage = Stage(world, everybody, known, own)
    await stage.make_the_rest(every_operation(api))
    return stage


@pytest.fixture
def operations(api: FastAPI) -> list[Operation]:
    """Return every operation of the document."""
    return every_operation(api)


def assert_problem(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """Expect a complete problem document."""
    assert answer.status_code == status, (status, answer.request.url, answer.text)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Content-Language"] == "en"
    problem: dict[str, Any] = answer.json()
    assert problem.keys() >= PROBLEM_FIELDS
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["Request-Id"]
    assert problem["type"].endswith(problem["code"])
    if code is not None:
        assert problem["code"] == code, (answer.request.url, answer.text)
    return problem


async def ask(
    caller: httpx.AsyncClient, operation: Operation, url: str, **changes: Any
) -> httpx.Response:
    """Send a request made of the document's examples."""
    headers = operation.headers() | changes.pop("headers", {})
    body = changes.pop("json", operation.body())
    content = {"json": body} if operation.media_type else {}
    return await caller.request(operation.method, url, headers=headers, **content, **changes)


async def test_a_bare_call_is_refused_everywhere_but_at_the_public_doors(
    api: FastAPI, operations: list[Operation]
) -> None:
    assert {repr(one) for one in operations if one.is_public} == PUBLIC
    bare = client(api)
    for operation in operations:
        if not operation.is_public:
            answer = await ask(bare, operation, operation.url())
            assert_problem(answer, 401, "unauthenticated")
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_an_unknown_query_parameter_is_refused(
    stage: Stage, operations: list[Operation]
) -> None:
    for operation in operations:
        url = operation.url(stage.known)
        answer = await ask(
            stage.everybody,
            operation,
            url,
            params=operation.required_query() | {"surely_unknown": "1"},
        )
        if answer.status_code != REFUSED:
            assert_problem(answer, 400, "unknown_parameter")


async def test_a_parameter_that_takes_one_value_is_refused_twice(
    stage: Stage, operations: list[Operation]
) -> None:
    refused = 0
    for operation in operations:
        for name in operation.single_query():
            url = operation.url(stage.known)
            answer = await ask(stage.everybody, operation, url, params=[(name, "1"), (name, "1")])
            if answer.status_code != REFUSED:
                problem = assert_problem(answer, 400, "invalid_request")
                assert (f"query.{name}", "not_repeatable") in {
                    (one["pointer"], one["code"]) for one in problem["errors"]
                }
                refused += 1
    assert refused > 30


async def test_an_unknown_field_of_a_body_is_refused(
    stage: Stage, operations: list[Operation]
) -> None:
    for operation in operations:
        schema = operation.body_schema
        if schema is None or schema.get("type") != "object":
            continue
        body = operation.body() | {"surely_unknown": 1}
        answer = await ask(stage.everybody, operation, operation.url(stage.known), json=body)
        if answer.status_code != REFUSED:
            problem = assert_problem(answer, 400, "invalid_request")
            named = {(one["pointer"], one["code"]) for one in problem["errors"]}
            assert ("#/surely_unknown", "unknown_field") in named, (operation, named)


@pytest.mark.parametrize("word", ["yes", "true", 1, 0])
async def test_only_true_and_false_are_booleans_in_a_body(
    stage: Stage, operations: list[Operation], word: object
) -> None:
    found = set()
    for operation in operations:
        for pointer, body in with_each_boolean(operation, operation.body_schema or {}, word):
            answer = await ask(stage.everybody, operation, operation.url(stage.known), json=body)
            problem = assert_problem(answer, 400, "invalid_request")
            named = {(one["pointer"], one["code"]) for one in problem["errors"]}
            assert (f"#{pointer}", "wrong_type") in named, (operation, named)
            found.add(pointer)
    assert {"/force", "/tests/0/expect/allowed", "/fields/0/required"} <= found


def with_each_boolean(
    operation: Operation, schema: dict[str, Any], word: object
) -> Iterator[tuple[str, Any]]:
    """Yield bodies in which one boolean, however deep, is something else, and where it stands."""
    schema = operation.resolve(schema)
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from with_each_boolean(operation, choice, word)
    if schema.get("type") == "boolean":
        yield "", word
    if "items" in schema:
        for pointer, inner in with_each_boolean(operation, schema["items"], word):
            yield f"/0{pointer}", [inner]
    for name, field in schema.get("properties", {}).items():
        for pointer, inner in with_each_boolean(operation, field, word):
            yield f"/{name}{pointer}", operation.example(schema) | {name: inner}


async def test_a_malformed_id_is_told_from_one_that_leads_nowhere(
    stage: Stage, operations: list[Operation]
) -> None:
    for operation in operations:
        for name in operation.path_parameters:
            wrong = operation.url({name: "per_not-an-id"})
            answer = await ask(stage.everybody, operation, wrong)
            if answer.status_code != REFUSED:
                assert_problem(answer, 400, "invalid_id")


async def test_a_body_of_another_kind_is_refused(stage: Stage, operations: list[Operation]) -> None:
    for operation in operations:
        if operation.body_schema is None:
            continue
        for headers, content in (({"Content-Type": "text/plain"}, b"{}"), ({}, b"{}")):
            answer = await stage.everybody.request(
                operation.method, operation.url(stage.known), headers=headers, content=content
            )
            if answer.status_code != REFUSED:
                assert_problem(answer, 415, "unsupported_media_type")


async def test_a_change_is_a_merge_patch(operations: list[Operation]) -> None:
    kinds = {one.media_type for one in operations if one.method == "PATCH"}
    assert kinds == {"application/merge-patch+json"}


async def test_a_change_names_the_version_it_saw(stage: Stage, operations: list[Operation]) -> None:
    for operation in operations:
        if operation.method not in VERSIONED:
            continue
        assert operation.takes("If-Match"), operation
        assert set(operation.path_parameters) <= stage.known.keys(), f"set up one for {operation}"
        caller, url = stage.client_of(operation), operation.url(stage.known)
        body = {} if operation.method == "PATCH" else operation.body()
        missing = await ask(caller, operation, url, json=body)
        assert_problem(missing, 428, "precondition_required")
        stale = await ask(caller, operation, url, json=body, headers={"If-Match": '"9999"'})
        assert_problem(stale, 412, "precondition_failed")
        assert stale.headers["ETag"].startswith('"'), operation


async def test_a_single_resource_carries_its_version_and_is_not_sent_twice(
    stage: Stage, operations: list[Operation]
) -> None:
    singles = 0
    for operation in operations:
        if operation.method != "GET" or not set(operation.path_parameters) <= stage.known.keys():
            continue
        caller, url = stage.client_of(operation), operation.url(stage.known)
        answer = await caller.get(url)
        if answer.status_code == 200 and "version" in answer.json():
            singles += 1
            assert answer.headers["ETag"] == f'"{answer.json()["version"]}"', operation
            again = await caller.get(url, headers={"If-None-Match": answer.headers["ETag"]})
            assert (again.status_code, again.content) == (304, b""), operation
            assert again.headers["ETag"] == answer.headers["ETag"]
    assert singles >= 6


async def test_every_list_has_items_and_a_cursor(stage: Stage, operations: list[Operation]) -> None:
    for operation in operations:
        is_list = any(one["name"] == "cursor" for one in operation.content.get("parameters", ()))
        if not is_list or not set(operation.path_parameters) <= stage.known.keys():
            continue
        url = operation.url(stage.known)
        answer = await stage.everybody.get(url)
        if answer.status_code == 200:
            assert {"items", "next_cursor"} <= answer.json().keys(), operation
            forged = await stage.everybody.get(url, params={"cursor": "Zm9yZ2Vk"})
            assert_problem(forged, 400, "invalid_cursor")
        for limit in ("0", "-1", "201", "many"):
            refused = await stage.everybody.get(url, params={"limit": limit})
            assert refused.status_code in {400, REFUSED}, (operation, limit)


async def test_head_is_served_wherever_get_is(stage: Stage, operations: list[Operation]) -> None:
    for operation in operations:
        if operation.method in READS:
            url = operation.url(stage.known)
            read, head = await stage.everybody.get(url), await stage.everybody.head(url)
            assert (head.status_code, head.content) == (read.status_code, b""), operation
            assert head.headers.get("ETag") == read.headers.get("ETag"), operation
            assert head.headers["Content-Type"] == read.headers["Content-Type"], operation


async def test_a_refused_method_is_told_every_one_that_is_allowed(
    stage: Stage, operations: list[Operation]
) -> None:
    by_path: dict[str, set[str]] = {}
    for operation in operations:
        by_path.setdefault(operation.url(), set()).add(operation.method)
    for url, methods in by_path.items():
        known = methods | ({"HEAD"} if "GET" in methods else set())
        refused = next(one for one in ("PUT", "DELETE", "PATCH", "POST") if one not in known)
        answer = await stage.everybody.request(refused, url)
        assert_problem(answer, 405, "method_not_allowed")
        assert set(answer.headers["Allow"].split(", ")) == known, url


async def test_a_repeated_post_has_one_effect(stage: Stage, operations: list[Operation]) -> None:
    made = 0
    for operation in operations:
        if operation.method != "POST" or "201" not in operation.content["responses"]:
            continue
        caller, url = stage.client_of(operation), operation.url(stage.known)
        key = {"Idempotency-Key": secrets.token_hex(8)}
        body = operation.body()
        first = await ask(caller, operation, url, headers=key, json=body)
        if first.status_code != 201:
            continue
        made += 1
        assert first.headers["Location"].startswith("/v1/"), operation
        second = await ask(caller, operation, url, headers=key, json=body)
        assert second.status_code == 201, operation
        assert second.headers["Idempotency-Replayed"] == "true", operation
        assert second.headers["Location"] == first.headers["Location"], operation
        other = await ask(
            caller, operation, url, headers=key, json=body | {"label": "other", "name": "other"}
        )
        assert_problem(other, 409, "idempotency_key_reused")
    assert made >= 3


async def test_a_machine_names_its_intent_with_every_post(
    stage: Stage, operations: list[Operation]
) -> None:
    machine = await stage.world.add_key(*sorted(SERVICE_SCOPES))
    asked = 0
    for operation in operations:
        if operation.method != "POST" or operation.is_public:
            continue
        answer = await ask(machine, operation, operation.url(stage.known))
        if answer.status_code != REFUSED:
            asked += 1
            problem = assert_problem(answer, 400, "invalid_request")
            assert problem["errors"][0]["pointer"] == "header.Idempotency-Key", operation
    assert asked >= 1


@pytest.fixture
async def failing_commit(databases: Databases) -> AsyncIterator[str]:
    """Let the COMMIT of every new person of one name fail, as a lost connection might."""
    name = f"Fails{secrets.token_hex(4)}"
    connection = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    await connection.execute(
        "CREATE FUNCTION fail_at_commit() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'at commit'; END$$"
    )
    await connection.execute(
        "CREATE CONSTRAINT TRIGGER fail_at_commit AFTER INSERT ON person"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
        f" WHEN (NEW.given_name = '{name}') EXECUTE FUNCTION fail_at_commit()"
    )
    yield name
    await connection.execute("DROP TRIGGER fail_at_commit ON person")
    await connection.execute("DROP FUNCTION fail_at_commit()")
    await connection.close()


async def test_a_failing_commit_is_never_answered_as_made(
    world: World, failing_commit: str
) -> None:
    body = {"email": "ada@example.org", "given_name": failing_commit, "family_name": "Last"}
    assert_problem(await world.org_admin.post("/v1/people", json=body), 500, "internal_error")
    people = (await world.org_admin.get("/v1/people")).json()["items"]
    assert failing_commit not in {one["given_name"] for one in people}
