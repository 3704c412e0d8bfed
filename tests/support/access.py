"""Two populated organizations, everybody who might ask, and every operation of the document."""

import itertools
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.api.access.rules import SERVICE_SCOPES
from services.api.access.tables import ApiKey
from services.api.resources import Resources
from shared import ids
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant, TenantSession
from tests.support.apps import World, client, found_world
from tests.support.identity_links import link_account
from tests.support.imports import csv, mapping
from tests.support.mentorships import compose, matching, member
from tests.support.participants import Somebody, take_part
from tests.support.programs import Offer, draft, open_registration, post

PRINCIPALS = (
    *("org_admin", "coordinator", "other_coordinator", "analyst", "safeguarding", "mentor"),
    *("mentee", "stranger", "manager", "outsider", "key", "bare_key", "foreign_admin"),
    *("deactivated", "anonymous"),
)
OF_THE_ORGANIZATION = PRINCIPALS[:12]
ID_PATTERN = re.compile(r"\^([a-z]+)_\[0-7\]")
KIND_OF_PREFIX = {prefix: kind for kind, prefix in ids.PREFIXES.items()}
FORM = "multipart/form-data"
PEOPLE = csv({"id": "1"}, {"id": "2", "boss": "1"})
type Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the document, with its schemas resolved."""

    id: str
    tag: str
    method: str
    path: str
    parameters: tuple[Mapping[str, Any], ...]
    body: Mapping[str, Any] | None
    media_type: str

    def named(self, where: str) -> Iterator[tuple[str, str]]:
        """Yield the id-typed parameters in the path or the query, with the kinds they name."""
        for parameter in self.parameters:
            kind = kind_of(parameter["schema"])
            if parameter["in"] == where and kind is not None:
                yield parameter["name"], kind

    @property
    def needs_match(self) -> bool:
        """Tell whether the operation knows `If-Match`."""
        return any(parameter["name"] == "If-Match" for parameter in self.parameters)


@dataclass(slots=True)
class Organization:
    """A populated organization: an id of each kind, and a client for each who might ask."""

    world: World
    ids: dict[str, str]
    callers: dict[str, httpx.AsyncClient] = field(default_factory=dict)


def operations_of(app: FastAPI) -> list[Operation]:
    """Return every operation of the public document."""
    document = app.state.public.openapi()
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if not operation["security"]:
                # Whoever asks is the same to it.
                continue
            media_type, body = _body(document, operation)
            parameters = tuple(resolved(document, one) for one in operation.get("parameters", ()))
            found.append(
                Operation(
                    operation["operationId"],
                    operation["tags"][0],
                    method.upper(),
                    path,
                    parameters,
                    body,
                    media_type,
                )
            )
    return found


def _body(
    document: Mapping[str, Any], operation: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any] | None]:
    content = operation.get("requestBody", {}).get("content", {})
    for media_type, described in content.items():
        return media_type, resolved(document, described["schema"])
    return "", None


def resolved(document: Mapping[str, Any], schema: Any) -> Any:
    """Return a schema with its references replaced by what they name."""
    if isinstance(schema, list):
        return [resolved(document, one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if reference is not None:
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        return resolved(document, target)
    return {name: resolved(document, value) for name, value in schema.items()}


def kind_of(schema: Mapping[str, Any]) -> str | None:
    """Return the kind of thing that an id-typed schema names."""
    for choice in (schema, *schema.get("anyOf", ())):
        matched = ID_PATTERN.match(choice.get("pattern", ""))
        if matched:
            return KIND_OF_PREFIX[matched[1]]
    return None


def example(schema: Mapping[str, Any], known: Mapping[str, str], *, is_full: bool = False) -> Any:
    """Return a valid value of a schema that refers to known things."""
    kind = kind_of(schema)
    if kind is not None:
        return known.get(kind) or missing(kind)
    choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if choices:
        return example(choices[0], known, is_full=is_full)
    if schema.get("type") == "object":
        wanted = schema.get("properties", {})
        if not is_full:
            wanted = {name: wanted[name] for name in schema.get("required", ())}
        return {name: example(one, known, is_full=is_full) for name, one in wanted.items()}
    if schema.get("type") == "array":
        count = max(schema.get("minItems", 0), 1 if is_full else 0)
        return [example(schema["items"], known, is_full=is_full) for _ in range(count)]
    return _plain(schema)


def _plain(schema: Mapping[str, Any]) -> Any:
    for choice in (schema.get("examples"), schema.get("enum")):
        if choice:
            return choice[0]
    if "const" in schema:
        return schema["const"]
    return {"boolean": True, "integer": 1, "number": 1, "string": "text"}[schema["type"]]


def id_places(schema: Mapping[str, Any], place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield where in a full body ids stand, and of which kind."""
    kind = kind_of(schema)
    if kind is not None:
        yield place, kind
        return
    for choice in [one for one in schema.get("anyOf", ()) if one.get("type") != "null"][:1]:
        yield from id_places(choice, place)
    for name, one in schema.get("properties", {}).items():
        yield from id_places(one, (*place, name))
    if "items" in schema:
        yield from id_places(schema["items"], (*place, 0))


def planted(schema: Mapping[str, Any], body: Any, place: Place, value: object) -> Any:
    """Return a body with a value at one place, which is made where it does not exist."""
    if not place:
        return value
    schema = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
    head, *rest = place
    if isinstance(head, int):
        first, *others = list(body or ()) or [_blank(schema["items"])]
        return [planted(schema["items"], first, tuple(rest), value), *others]
    part = schema["properties"][head]
    fields = dict(body or {})
    inner = planted(part, fields.get(head, _blank(part)), tuple(rest), value)
    return fields | {head: inner}


def _blank(schema: Mapping[str, Any]) -> Any:
    return example(schema, {})


def missing(kind: str) -> str:
    """Return an id that nobody has."""
    return ids.format_id(kind, ids.new_id())


_number = itertools.count()


async def send(
    caller: httpx.AsyncClient,
    operation: Operation,
    known: Mapping[str, str],
    *,
    body: Any = None,
    query: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Send one operation about known things."""
    path = "/v1" + operation.path
    for name, kind in operation.named("path"):
        one = known.get(name.removesuffix("_id")) or known.get(kind) or missing(kind)
        path = path.replace(f"{{{name}}}", one)
    headers = {"If-Match": "*"} if operation.needs_match else {}
    if operation.method == "POST":
        headers["Idempotency-Key"] = f"matrix-{next(_number)}"
    sent: dict[str, Any] = {}
    if operation.media_type == FORM and body is not None:
        fields = {name: value for name, value in body.items() if name != "file"}
        sent = {"data": fields, "files": {"file": ("people.csv", PEOPLE, "text/csv")}}
    elif body is not None:
        headers["Content-Type"] = operation.media_type
        sent = {"content": to_json(body)}
    return await caller.request(
        operation.method, path, params=dict(query or {}), headers=headers, **sent
    )


@asynccontextmanager
async def undone(app: FastAPI) -> AsyncIterator[None]:
    """Take back whatever is written within, so that every call finds the same world."""
    resources: Resources = app.state.resources
    usual = resources.sessions
    async with resources.engine.connect() as connection:
        outer = await connection.begin()
        resources.sessions = async_sessionmaker(
            connection,
            class_=AsyncSession,
            sync_session_class=TenantSession,
            expire_on_commit=False,
            join_transaction_mode="create_savepoint",
        )
        try:
            yield
        finally:
            resources.sessions = usual
            await outer.rollback()


async def populate(app: FastAPI, mark: str) -> Organization:
    """Found an organization with two programs, a pair, a stranger and one of everything else."""
    world = await found_world(app, kind="sandbox")
    offer = await open_registration(
        world, name=f"Spring {mark}", people_manager_visibility="status"
    )
    manager = await world.add_person(family_name=f"Manager {mark}")
    mentor = await take_part(world, offer, "mentor", family_name=f"Mentor {mark}")
    mentee = await take_part(
        world, offer, "mentee", family_name=f"Mentee {mark}", manager_id=manager["id"]
    )
    others = [
        await take_part(world, offer, role, capacity=2) for role in ("mentor", "mentee", "mentee")
    ]
    other = await draft(world, name=f"Autumn {mark}")
    opened = await open_registration(world, name=f"Summer {mark}")
    await post(
        world.org_admin,
        "/v1/role-assignments",
        {
            "person_id": offer.coordinator_id,
            "role": "coordinator",
            "program_id": opened.program["id"],
        },
    )
    await matching(offer)
    mentorship = await compose(offer, member(mentor, "mentor"), member(mentee, "mentee"))
    await post(mentee.client, f"/v1/mentorships/{mentorship['id']}/start", {})
    organization = Organization(
        world, {"open_program": opened.program["id"], "open_track": opened.track["id"]}
    )
    await _callers(organization, offer, other, mentor, mentee, others, manager)
    organization.ids.update(await _ids(world, offer, mentee, mentorship, others))
    return organization


async def _callers(  # noqa: PLR0917 - everybody in the story
    organization: Organization,
    offer: Offer,
    other: Offer,
    mentor: Somebody,
    mentee: Somebody,
    others: list[Somebody],
    manager: Mapping[str, Any],
) -> None:
    world = organization.world
    organization.callers.update(
        org_admin=world.org_admin,
        coordinator=offer.coordinator,
        other_coordinator=other.coordinator,
        analyst=await _granted(world, "analyst", offer.program["id"]),
        safeguarding=await _granted(world, "safeguarding"),
        mentor=mentor.client,
        mentee=mentee.client,
        stranger=others[0].client,
        manager=await world.as_person(manager["id"]),
        outsider=await world.as_person((await world.add_person())["id"]),
        key=await world.add_key(*sorted(SERVICE_SCOPES)),
        bare_key=await _without_scopes(world),
        deactivated=await _deactivated(world),
        anonymous=client(world.app),
    )


async def _without_scopes(world: World) -> httpx.AsyncClient:
    """Return a key that may do nothing: the API hands none out, a scope may be retired."""
    made = await post(world.org_admin, "/v1/api-keys", {"label": "bare", "scopes": ["admin"]})
    organization_id = world.id
    resources = world.app.state.resources
    async with transaction(resources.sessions, Tenant(organization_id)) as session:
        key = await session.get(ApiKey, (organization_id, ids.parse_id("api_key", made["id"])))
        assert key is not None
        key.scopes = []
    return client(world.app, made["key"])


async def _granted(world: World, role: str, program_id: str | None = None) -> httpx.AsyncClient:
    person = await world.add_person()
    await post(
        world.org_admin,
        "/v1/role-assignments",
        {"person_id": person["id"], "role": role, "program_id": program_id},
    )
    return await world.as_person(person["id"])


async def _deactivated(world: World) -> httpx.AsyncClient:
    person = await world.add_person()
    caller = await world.as_person(person["id"])
    await post(world.org_admin, f"/v1/people/{person['id']}/deactivate", {})
    return caller


async def _ids(
    world: World,
    offer: Offer,
    mentee: Somebody,
    mentorship: Mapping[str, Any],
    others: list[Somebody],
) -> dict[str, str]:
    """Return one id of each kind."""
    program, coordinator = offer.program["id"], offer.coordinator
    run = await post(
        coordinator, f"/v1/programs/{program}/match-runs", {"track_id": offer.track["id"]}
    )
    other_run = await post(
        coordinator,
        f"/v1/programs/{program}/match-runs",
        {"track_id": offer.track["id"], "mode": "dry_run"},
    )
    mentor, *waiting = others
    first, second = [
        await post(
            coordinator,
            f"/v1/tracks/{offer.track['id']}/proposals",
            {"members": [member(mentor, "mentor"), member(one, "mentee")]},
        )
        for one in waiting
    ]
    meeting = await post(
        mentee.client,
        f"/v1/mentorships/{mentorship['id']}/meetings",
        {"starts_at": next_monday(), "location": "confided-room"},
    )
    marked = await mentee.client.put(
        f"{mentee.path}/shortlist/{mentor.participant['id']}",
        json={"mark": "favorite"},
        headers={"If-None-Match": "*"},
    )
    assert marked.status_code == 201, marked.text
    oauth_client = await post(
        world.org_admin, "/v1/oauth-clients", {"label": "a machine", "scopes": ["people:read"]}
    )
    unused = await post(
        coordinator,
        "/v1/policies",
        {"program_id": program, "name": "Unused", "soft": [{"rule": "path_fit", "weight": 1}]},
    )
    imported = await _import(world)
    return {
        "organization": world.organization_id,
        "person": mentee.person["id"],
        "program": program,
        "track": offer.track["id"],
        "form": await _first(coordinator, f"/v1/programs/{program}/forms"),
        "match_policy": await _first(coordinator, f"/v1/policies?program_id={program}"),
        "unused_policy": unused["id"],
        "agreement_template": await _first(
            coordinator, f"/v1/programs/{program}/agreement-templates"
        ),
        "participant": mentee.participant["id"],
        "mentorship": mentorship["id"],
        "member": mentorship["members"][0]["id"],
        "match_run": run["id"],
        "other_match_run": other_run["id"],
        "meeting": meeting["id"],
        "proposal": first["id"],
        "other_proposal": second["id"],
        "partner": others[0].participant["id"],
        "other_participant": others[0].participant["id"],
        "later": next_monday(),
        "role_assignment": await _first(
            world.org_admin, f"/v1/role-assignments?person_id={world.org_admin_id}"
        ),
        "api_key": await _first(world.org_admin, "/v1/api-keys"),
        "oauth_client": oauth_client["id"],
        "event": await _first(world.org_admin, "/v1/events"),
        "identity_link": await link_account(
            world, person_id=mentee.person["id"], connection_id=imported["connection"]
        ),
        **imported,
    }


async def _import(world: World) -> dict[str, str]:
    caller = world.org_admin
    connection = await post(caller, "/v1/connections", {"label": "Directory"})
    made = await post(caller, "/v1/mappings", {"name": "Columns", "document": mapping()})
    answer = await caller.post(
        "/v1/imports",
        data={"connection_id": connection["id"], "mapping_id": made["id"]},
        files={"file": ("people.csv", PEOPLE, "text/csv")},
    )
    assert answer.status_code == 202, answer.text
    return {
        "connection": connection["id"],
        "mapping": made["id"],
        "import": answer.json()["id"],
        "sync_run": answer.json()["sync_run_id"],
    }


def next_monday() -> str:
    """Return a time in a week or so, as a meeting wants it."""
    day = datetime.now(UTC) + timedelta(days=7)
    return (day + timedelta(days=-day.weekday() % 7)).replace(hour=9, minute=0).isoformat()


async def _first(caller: httpx.AsyncClient, path: str) -> str:
    answer = await caller.get(path)
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["items"][0]["id"]
    return found
