"""An id of another organization answers exactly like one that nobody has, and has no effect."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import asyncpg
import httpx
import pytest

from services.local import postgres
from tests.access.expected import body_of, known_to, query_of, somebody_let_in
from tests.support.access import (
    FORM,
    Operation,
    Organization,
    Place,
    id_places,
    missing,
    planted,
    send,
    undone,
)
from tests.support.database import Databases

SMUGGLED: Mapping[str, object] = {
    "id": "per_01kajv7v1cefh8ws6q1fyv4m2z",
    "organization_id": "org_01kajv7v1cefh8ws6q1fyv4m2z",
    "role": "org_admin",
    "status": "active",
    "created_at": "2020-01-01T00:00:00Z",
    "is_admin": True,
}
# Places that name one of a few known people, where a stranger breaks a rule instead.
OTHERWISE: Mapping[tuple[str, Place], set[int]] = {("change_driver", ("person_id",)): {409}}
# What differs between any two answers, whoever asks.
OF_THE_MOMENT = re.compile(rb'"request_id":"[^"]*"')


@pytest.fixture(scope="module")
async def superuser(databases: Databases) -> AsyncIterator[Any]:
    """Connect as the superuser, whom no policy stops."""
    connection = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    yield connection
    await connection.close()


async def digests(superuser: Any, organization: Organization) -> dict[str, str]:
    """Return a digest of each table's rows of one organization."""
    tables = await superuser.fetch(
        "SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name = 'organization_id'"
    )
    owner = organization.world.id
    return {
        table: await superuser.fetchval(
            "SELECT count(*) || md5(coalesce(string_agg(t::text, ',' ORDER BY t::text), ''))"  # noqa: S608 - a name from the catalogue
            f" FROM {table} t WHERE organization_id = $1",
            owner,
        )
        for (table,) in tables
    }


def plain(answer: httpx.Response, value: str) -> tuple[int, bytes]:
    """Return an answer without the moment, and without the id where the path repeats it."""
    body = OF_THE_MOMENT.sub(b"", answer.content)
    return answer.status_code, body.replace(value.encode(), b"ID")


def refusals(operation: Operation, place: Place) -> set[int]:
    """Return how a reference to something unknown may be refused."""
    return {400, 404, 503} | OTHERWISE.get((operation.id, place), set())


async def test_a_foreign_id_in_the_path_is_one_that_does_not_exist(
    operations: list[Operation], ours: Organization, theirs: Organization, superuser: Any
) -> None:
    before = await digests(superuser, theirs)
    told = []
    for operation in operations:
        caller = ours.callers[somebody_let_in(operation)]
        known = known_to(operation, ours)
        body, query = body_of(operation, known), query_of(operation, known)
        for _, kind in operation.named("path"):
            answers = [
                plain(
                    await send(caller, operation, {**known, kind: value}, body=body, query=query),
                    value,
                )
                for value in (theirs.ids.get(kind) or missing(kind), missing(kind))
            ]
            # 503: it is kept by a sibling, which serves what belongs to whoever asks.
            if answers[0] != answers[1] or answers[0][0] not in {404, 503}:
                told.append((operation.id, kind, answers))

    assert told == [], "\n".join(map(str, told))
    assert await digests(superuser, theirs) == before


async def test_a_foreign_id_in_the_query_is_one_that_does_not_exist(
    operations: list[Operation], ours: Organization, theirs: Organization
) -> None:
    told = []
    for operation in operations:
        caller = ours.callers[somebody_let_in(operation)]
        for name, kind in operation.named("query"):
            answers = [
                plain(
                    await send(
                        caller,
                        operation,
                        ours.ids,
                        query={**query_of(operation, ours.ids), name: value},
                    ),
                    value,
                )
                for value in (theirs.ids.get(kind) or missing(kind), missing(kind))
            ]
            is_empty = answers[0][0] in {400, 404, 503} or b'"items":[]' in answers[0][1]
            if answers[0] != answers[1] or not is_empty:
                told.append((operation.id, name, answers))

    assert told == [], "\n".join(map(str, told))


async def test_a_foreign_id_in_the_body_is_one_that_does_not_exist(
    operations: list[Operation], ours: Organization, theirs: Organization, superuser: Any
) -> None:
    before = await digests(superuser, theirs)
    told = []
    for operation in operations:
        if operation.body is None:
            continue
        caller = ours.callers[somebody_let_in(operation)]
        known = known_to(operation, ours)
        valid, query = body_of(operation, known), query_of(operation, known)
        for place, kind in id_places(operation.body):
            answers = []
            for value in (theirs.ids.get(kind) or missing(kind), missing(kind)):
                body = planted(operation.body, valid, place, value)
                async with undone(ours.world.app):
                    answer = await send(caller, operation, known, body=body, query=query)
                answers.append(plain(answer, value))
            # A client may choose the id of what it makes; it collides with nobody else's.
            is_own_choice = place == ("id",)
            same = answers[0][0] == answers[1][0] if is_own_choice else answers[0] == answers[1]
            if not same or not (is_own_choice or answers[0][0] in refusals(operation, place)):
                told.append((operation.id, place, answers))

    assert told == [], "\n".join(map(str, told))
    assert await digests(superuser, theirs) == before


async def test_no_body_takes_what_only_the_product_decides(
    operations: list[Operation], ours: Organization
) -> None:
    taken = []
    for operation in operations:
        if operation.body is None:
            continue
        caller = ours.callers[somebody_let_in(operation)]
        known = known_to(operation, ours)
        valid, query = body_of(operation, known), query_of(operation, known)
        for name, value in SMUGGLED.items():
            if name in operation.body.get("properties", {}):
                continue
            body = {**valid, name: value}
            async with undone(ours.world.app):
                answer = await send(caller, operation, known, body=body, query=query)
            pointers = [
                one["pointer"]
                for one in (answer.json().get("errors", ()) if answer.status_code == 400 else ())
                if one["code"] == "unknown_field"
            ]
            if f"#/{name}" not in pointers:
                taken.append((operation.id, name, answer.status_code, answer.text[:200]))

    assert taken == [], "\n".join(map(str, taken))


def test_every_form_is_known_to_the_matrix(operations: list[Operation]) -> None:
    kinds = {operation.media_type for operation in operations}

    assert kinds <= {"", "application/json", "application/merge-patch+json", FORM}
