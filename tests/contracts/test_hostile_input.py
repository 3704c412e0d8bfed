"""Hostile but well-formed input, in every field and parameter of the document: never a 5xx."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.support.apps import World
from tests.support.document import Operation, every_operation

HOSTILE_VALUES: tuple[Any, ...] = (
    "\x00",
    "\ud800",
    "\\",
    "%_\\",
    "\u202e",
    "x" * 100_000,
    2**63,
    -(2**63) - 1,
    10**400,
    1e308,
    True,
    [],
    {},
    None,
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-11-24T09:30:00",
    "0000-00-00",
)
HOSTILE_QUERIES = ("%00", "%ff%fe", "-1", "9223372036854775808", "NaN", "%5C", "a%5C", "%ED%A0%80")
HOSTILE_BODIES = (
    b'{"x":' + b"[" * 900 + b"]" * 900 + b"}",
    b"[" * 100_000,
    b'{"a":NaN}',
    b'{"a":Infinity}',
    b'{"a":-Infinity}',
    b'"' + b'\\"' * 50_000,
    b"\xff\xfe",
    b"\x00",
    b"",
    b"null",
    b"[]",
    b'"text"',
    b'{"a":' + b"9" * 5000 + b"}",
    b'{"\\ud800":1}',
)


@pytest.fixture
def operations(api: FastAPI) -> list[Operation]:
    """Return every operation of the document."""
    return every_operation(api)


def with_each_field_hostile(operation: Operation) -> Iterator[bytes]:
    """Yield bodies in which one field holds something hostile."""
    body = operation.body()
    schema = operation.body_schema
    if schema is None or not isinstance(body, dict):
        return
    for value in HOSTILE_VALUES:
        # All at once: each field is judged by itself, and all refusals are reported together.
        yield json.dumps(dict.fromkeys(schema.get("properties", body), value)).encode()
    for name in schema.get("properties", {}):
        for value in ("\x00", "\ud800", 2**63):
            yield json.dumps(body | {name: value}).encode()


def is_broken(answer: httpx.Response) -> bool:
    """Tell a fault from the honest answer that a sibling, absent here, does not answer."""
    is_fault = answer.status_code >= 500
    return is_fault and not answer.json()["code"].endswith("_unavailable")


async def send(caller: httpx.AsyncClient, operation: Operation, content: bytes) -> httpx.Response:
    """Send a body as the operation expects it."""
    return await caller.request(
        operation.method, operation.url(), headers=operation.headers(), content=content
    )


async def test_no_field_of_any_body_breaks_the_server(
    world: World, operations: list[Operation]
) -> None:
    broken = []
    for operation in operations:
        for content in with_each_field_hostile(operation):
            answer = await send(world.org_admin, operation, content)
            if is_broken(answer):
                broken.append((operation, content[:200]))
    assert broken == []


async def test_no_body_breaks_the_server(world: World, operations: list[Operation]) -> None:
    for operation in operations:
        if operation.body_schema is not None:
            for content in HOSTILE_BODIES:
                answer = await send(world.org_admin, operation, content)
                assert answer.status_code in {400, 403}, (operation, content[:60], answer.text)


async def test_no_query_breaks_the_server(world: World, operations: list[Operation]) -> None:
    broken = []
    for operation in operations:
        if operation.method != "GET":
            continue
        for parameter in operation.content.get("parameters", ()):
            if parameter["in"] != "query":
                continue
            for value in HOSTILE_QUERIES:
                url = f"{operation.url()}?{parameter['name']}={value}"
                answer = await world.org_admin.get(url)
                if is_broken(answer):
                    broken.append(url)
    assert broken == []


async def test_no_path_breaks_the_server(world: World, operations: list[Operation]) -> None:
    for operation in operations:
        for name in operation.path_parameters:
            for value in ("%00", "%FF", "..%2F", "%0A", "x" * 5000, "per_" + "z" * 26):
                answer = await world.org_admin.request(
                    operation.method,
                    operation.url({name: value}),
                    headers=operation.headers(),
                    content=b"{}" if operation.media_type else None,
                )
                assert not is_broken(answer), (operation, value[:40], answer.text)


async def test_no_header_breaks_the_server(world: World, operations: list[Operation]) -> None:
    headers = (
        {"If-Match": "x" * 8000},
        {"If-Match": '"9223372036854775808"'},
        {"If-None-Match": ",,,\xff"},
        {"Accept-Language": ";q=,de;q=nan,;;" * 50},
        {"Idempotency-Key": "\xe9"},
        {"Accept-Encoding": "br;q=x,*;q=0"},
    )
    broken = []
    for operation in operations:
        for hostile in headers:
            both = (operation.headers() | hostile).items()
            raw = [(name.encode(), value.encode("latin-1")) for name, value in both]
            answer = await world.org_admin.request(
                operation.method,
                operation.url(),
                headers=raw,
                content=b"{}" if operation.media_type else None,
            )
            if is_broken(answer):
                broken.append((operation, list(hostile)))
    assert broken == []
