"""What was confided appears in no answer to anybody else, nor in what leaves by the outbox."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import String, Text

from services.api.database import ApiTable
from services.local import postgres
from shared import ids
from tests.access.expected import known_to, query_of
from tests.support.access import OF_THE_ORGANIZATION, Operation, Organization, send
from tests.support.database import Databases

# Who may read a confidential text of the pair they are in, or arranged.
PARTIES = {"mentor", "mentee"}
SHORTEST = 12


@pytest.fixture(scope="module")
async def superuser(databases: Databases) -> AsyncIterator[Any]:
    """Connect as the superuser, whom no policy stops."""
    connection = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    yield connection
    await connection.close()


async def texts_of(superuser: Any, organization: Organization) -> set[str]:
    """Return every text, id and secret in an organization's rows, as an answer would show it."""
    found: set[str] = set()
    for table in ApiTable.metadata.tables.values():
        if "organization_id" not in table.columns:
            continue
        rows = await superuser.fetch(
            f"SELECT * FROM {table.name} WHERE organization_id = $1",  # noqa: S608 - a name from the metadata
            organization.world.id,
        )
        for row in rows:
            for value in row.values():
                found.update(_shown(value))
    return found


def _shown(value: object) -> set[str]:
    if isinstance(value, UUID):
        return {ids.encode(value), str(value)}
    if isinstance(value, bytes):
        return {value.hex()}
    if isinstance(value, str) and len(value) >= SHORTEST:
        return {value}
    return set()


async def plant(superuser: Any, organization: Organization) -> dict[str, str]:
    """Put a unique text into every confidential column of one organization."""
    canaries = {}
    for table in ApiTable.metadata.tables.values():
        for column in table.columns:
            is_text = isinstance(column.type, String | Text) and "organization_id" in table.columns
            if column.info.get("confidentiality") != "confidential" or not is_text:
                continue
            canary = f"canary-{table.name}-{column.name}"
            await superuser.execute(
                f"UPDATE {table.name} SET {column.name} = $2 WHERE organization_id = $1",  # noqa: S608 - names from the metadata
                *(organization.world.id, canary),
            )
            canaries[canary] = f"{table.name}.{column.name}"
    return canaries


async def test_nothing_of_another_organization_appears_in_any_answer(
    operations: list[Operation], ours: Organization, theirs: Organization, superuser: Any
) -> None:
    secret = await texts_of(superuser, theirs) - await texts_of(superuser, ours)
    assert len(secret) > 200
    told = []
    for operation in [one for one in operations if one.method == "GET"]:
        for name in OF_THE_ORGANIZATION:
            known = known_to(operation, ours)
            answer = await send(
                ours.callers[name], operation, known, query=query_of(operation, known)
            )
            seen = answer.text + str(answer.headers)
            told += [(operation.id, name, text) for text in secret if text in seen]

    assert told == [], "\n".join(map(str, told[:20]))


async def test_what_a_pair_confides_appears_in_no_answer_to_anybody_else(
    operations: list[Operation], ours: Organization, superuser: Any
) -> None:
    canaries = await plant(superuser, ours)
    assert canaries
    told = []
    for operation in [one for one in operations if one.method == "GET"]:
        for name in set(OF_THE_ORGANIZATION) - PARTIES:
            known = known_to(operation, ours)
            answer = await send(
                ours.callers[name], operation, known, query=query_of(operation, known)
            )
            told += [
                (operation.id, name, place)
                for canary, place in canaries.items()
                if canary in answer.text
            ]

    assert told == [], "\n".join(map(str, told[:20]))


async def test_events_carry_no_text_that_anybody_wrote(ours: Organization, superuser: Any) -> None:
    rows = await superuser.fetch(
        "SELECT data FROM outbox_message WHERE organization_id = $1", ours.world.id
    )
    leaving = "\n".join(json.dumps(json.loads(row["data"])) for row in rows)
    assert rows

    written = await superuser.fetch(
        "SELECT given_name, family_name, email FROM person WHERE organization_id = $1",
        ours.world.id,
    )
    names = {text for row in written for text in row.values() if text and len(text) >= SHORTEST}
    assert [text for text in names | {"confided-room", "canary-"} if text in leaving] == []
