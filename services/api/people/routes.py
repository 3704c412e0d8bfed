"""The directory, and who the present credential is."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Body, Query, Request, Response

from services.api.access import roles
from services.api.access.roles import Role
from services.api.access.rules import Actor, Scope
from services.api.dependencies import (
    ActorDep,
    IfMatchDep,
    NowDep,
    ReaderDep,
    ResourcesDep,
    SessionDep,
    allow,
    cursors,
    door,
    next_link,
)
from services.api.people import operations, queries, rules
from services.api.people.schemas import (
    Deactivation,
    GrantView,
    LocationView,
    MeView,
    PeoplePage,
    PeopleQuery,
    PersonCreate,
    PersonId,
    PersonPatch,
    PersonView,
)
from services.api.people.tables import Person
from shared import ids
from shared.web import responses

router = door("people")


def present(row: Mapping[str, Any], actor: Actor) -> PersonView:
    """Show a person; contact and HR fields only to those whose facts allow it."""
    facts = actor.facts(person_id=row["id"])
    if actor.coordinates_anything():
        facts |= {Role.COORDINATOR}
    hidden: set[str] = set()
    if not roles.grants("person.read_contact", facts):
        hidden.update(rules.CONTACT_FIELDS, ("employee_number",))
    if not roles.grants("person.read_hr", facts):
        hidden.update(rules.HR_FIELDS, ("ended_on", "ended_reason"))
    manager_id = row["manager_id"]
    seen = {name: None if name in hidden else row[name] for name in _GUARDED}
    return PersonView(
        id=ids.format_id("person", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        status=row["status"],
        given_name=row["given_name"],
        family_name=row["family_name"],
        preferred_name=row["preferred_name"],
        pronouns=row["pronouns"],
        title=row["title"],
        department=row["department"],
        location=LocationView(country=row["country"], city=row["city"], site=row["site"]),
        locale=row["locale"],
        timezone=row["timezone"],
        manager_id=ids.format_id("person", manager_id) if manager_id else None,
        is_guest=row["is_guest"],
        email=seen["email"],
        phone=seen["phone"],
        employee_number=seen["employee_number"],
        grade=seen["grade"],
        job_family=seen["job_family"],
        hired_on=seen["hired_on"],
        in_job_since=seen["in_job_since"],
        ended_on=seen["ended_on"],
        ended_reason=seen["ended_reason"],
    )


_GUARDED = (
    *rules.CONTACT_FIELDS,
    *rules.HR_FIELDS,
    "employee_number",
    "ended_on",
    "ended_reason",
)


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    """Spread a location over its columns."""
    if "location" in values:
        location = values.pop("location") or {}
        values.update({name: location.get(name) for name in ("country", "city", "site")})
    return values


def _answer(person: Person, actor: Actor) -> Response:
    return responses.one(present(person.model_dump(), actor), version=person.version)


@router.get(
    "/people",
    summary="List people",
    response_model=PeoplePage,
    openapi_extra=allow("person.list", Scope.PEOPLE_READ),
)
async def list_people(
    *, request: Request, actor: ActorDep, reader: ReaderDep, query: Annotated[PeopleQuery, Query()]
) -> Response:
    """Return the directory by family name; filters combine with *and*, repeated ones with *or*."""
    place = cursors(request, query)
    filters = query.model_dump(exclude={"limit", "cursor"}, exclude_none=True, mode="python")
    if "q" in filters:
        filters["q"] = queries.containing(filters["q"])
    rows = await queries.list_page(
        reader,
        organization_id=actor.organization_id,
        filters=filters,
        after=place.after(),
        limit=query.limit,
    )
    shown, cursor = place.cut(
        rows, lambda row: (row["family_name"], row["given_name"], str(row["id"]))
    )
    return responses.page(
        [present(row, actor) for row in shown], cursor, link=next_link(request, cursor)
    )


@router.post(
    "/people",
    summary="Add a person",
    status_code=201,
    response_model=PersonView,
    openapi_extra=allow("person.create", Scope.PEOPLE_WRITE),
)
async def create_person(
    *, actor: ActorDep, session: SessionDep, now: NowDep, body: PersonCreate
) -> Response:
    """Add somebody to the directory. Locale and time zone default to the organization's."""
    values = body.model_dump(exclude={"id", "external_ids"}, mode="python")
    person = await operations.create(
        session,
        actor=actor,
        values=_columns(values),
        external_ids=[(link.source, link.external_id) for link in body.external_ids],
        person_id=body.id,
        now=now,
    )
    return responses.created(
        present(person.model_dump(), actor),
        version=person.version,
        location=f"/v1/people/{ids.format_id('person', person.id)}",
    )


@router.get(
    "/people/{person_id}",
    summary="Read a person",
    response_model=PersonView,
    openapi_extra=allow("person.read", Scope.PEOPLE_READ),
)
async def get_person(*, person_id: PersonId, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return a person. Contact fields are null unless the reader may contact them."""
    row = await queries.get(reader, organization_id=actor.organization_id, person_id=person_id)
    return responses.one(present(row, actor), version=row["version"])


@router.patch(
    "/people/{person_id}",
    summary="Change a person",
    response_model=PersonView,
    openapi_extra=allow("person.change", Scope.PEOPLE_WRITE),
)
async def change_person(
    *,
    person_id: PersonId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Annotated[PersonPatch, Body(media_type="application/merge-patch+json")],
    if_match: IfMatchDep = None,
) -> Response:
    """Change fields of a person; null clears a field that may be absent."""
    person = await operations.change(
        session,
        actor=actor,
        person_id=person_id,
        changes=_columns(body.sent()),
        if_match=if_match,
        now=now,
    )
    return _answer(person, actor)


@router.post(
    "/people/{person_id}/deactivate",
    summary="Let a person leave",
    response_model=PersonView,
    openapi_extra=allow("person.deactivate", Scope.PEOPLE_WRITE),
)
async def deactivate_person(
    *,
    person_id: PersonId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Deactivation,
    if_match: IfMatchDep = None,
) -> Response:
    """Mark a person as gone. Their tokens end at once; their participations follow."""
    person = await operations.deactivate(
        session,
        actor=actor,
        person_id=person_id,
        ended_on=body.ended_on,
        reason=body.reason,
        if_match=if_match,
        now=now,
    )
    return _answer(person, actor)


@router.post(
    "/people/{person_id}/activate",
    summary="Let a person in",
    response_model=PersonView,
    openapi_extra=allow("person.deactivate", Scope.PEOPLE_WRITE),
)
async def activate_person(
    *,
    person_id: PersonId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Let somebody in who is `pending`, such as after a first sign-in nobody announced."""
    person = await operations.activate(
        session, actor=actor, person_id=person_id, if_match=if_match, now=now
    )
    return _answer(person, actor)


@router.post(
    "/people/{person_id}/reactivate",
    summary="Take a person back",
    response_model=PersonView,
    openapi_extra=allow("person.deactivate", Scope.PEOPLE_WRITE),
)
async def reactivate_person(
    *,
    person_id: PersonId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Take a leaver back under the id they had before."""
    person = await operations.reactivate(
        session, actor=actor, person_id=person_id, if_match=if_match, now=now
    )
    return _answer(person, actor)


@router.get(
    "/me",
    summary="Read who you are",
    response_model=MeView,
    openapi_extra=allow("me.read"),
)
async def get_me(*, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return the acting person with their roles and the scopes of this credential."""
    person = None
    if actor.person_id is not None:
        row = await queries.get(
            reader, organization_id=actor.organization_id, person_id=actor.person_id
        )
        person = present(row, actor)
    granted = [
        GrantView(role=role, program_id=ids.format_id("program", program) if program else None)
        for role, program in sorted(actor.granted, key=str)
    ]
    return responses.one(
        MeView(
            organization_id=ids.format_id("organization", actor.organization_id),
            person=person,
            granted=granted,
            scopes=sorted(actor.scopes),
        )
    )


@router.post(
    "/me/sign-out-everywhere",
    summary="Sign out everywhere",
    status_code=204,
    response_class=Response,
    openapi_extra=allow("me.sign_out"),
)
async def sign_out_everywhere(
    *, actor: ActorDep, session: SessionDep, now: NowDep, resources: ResourcesDep
) -> Response:
    """End every token and every sign-in of yours, in all apps, from the next request on.

    The token that asks ends, too. You are told by mail, in case it was not you. Keys and clients
    that you made for machines go on: they belong to the organization.
    """
    await operations.sign_out_everywhere(session, actor=actor, now=now, real_now=resources.clock())
    return responses.no_content()
