"""Reads of the directory."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Text, Uuid, bindparam, cast, func, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.people.rules import MAX_MANAGER_CHAIN
from services.api.people.tables import ExternalId, Person
from shared.errors import NotFoundError
from shared.persistence.reads import (
    AnySelect,
    Reader,
    SessionReader,
    keyset,
    once,
    place_of,
)

TABLE = Person.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
ORDER = (TABLE.c.family_name, TABLE.c.given_name, TABLE.c.id)

_CHAIN = text(
    """
    WITH RECURSIVE chain (person_id, manager_id, depth) AS (
        SELECT id, manager_id, 1 FROM person
        WHERE organization_id = :organization_id AND id = :person_id
        UNION ALL
        SELECT p.id, p.manager_id, c.depth + 1 FROM person p
        JOIN chain c ON p.organization_id = :organization_id AND p.id = c.manager_id
        WHERE c.depth < :deepest
    )
    SELECT person_id FROM chain ORDER BY depth
    """
)

_LINES = text(
    """
    WITH RECURSIVE line (person_id, above_id, distance) AS (
        SELECT id, manager_id, 1 FROM person
        WHERE organization_id = :organization_id AND id = ANY(:person_ids)
        UNION ALL
        SELECT l.person_id, p.manager_id, l.distance + 1 FROM person p
        JOIN line l ON p.organization_id = :organization_id AND p.id = l.above_id
        WHERE l.distance < :deepest
    )
    SELECT person_id, above_id, min(distance) FROM line
    WHERE above_id = ANY(:person_ids) GROUP BY person_id, above_id
    """
)

_BELOW = text(
    """
    WITH RECURSIVE below (person_id, depth) AS (
        SELECT CAST(:person_id AS uuid), 0
        UNION ALL
        SELECT p.id, b.depth + 1 FROM person p
        JOIN below b ON p.organization_id = :organization_id AND p.manager_id = b.person_id
        WHERE b.depth < :deepest
    )
    SELECT DISTINCT person_id FROM below
    """
)


def visible_to() -> Any:
    """Return the condition that a person's directory fields may be read by any actor.

    The directory is open inside the organization; contact and HR fields are not, and the
    presenter decides those.
    """
    return TABLE.c.organization_id == bindparam("organization_id")


@once
def _one() -> AnySelect:
    return select(*TABLE.c).where(visible_to(), TABLE.c.id == bindparam("person_id"))


@once
def _many(filters: tuple[str, ...], *, is_first: bool) -> AnySelect:
    """Return the statement of a list; its shape is the set of filters that are used."""
    statement = select(*TABLE.c).where(visible_to(), *(_FILTERS[name] for name in filters))
    return keyset(statement, ORDER, is_first=is_first)


_FILTERS: Mapping[str, Any] = {
    "q": or_(
        func.concat_ws(" ", TABLE.c.given_name, TABLE.c.family_name).ilike(
            bindparam("q", type_=Text), escape="\\"
        ),
        TABLE.c.title.ilike(bindparam("q", type_=Text), escape="\\"),
        TABLE.c.department.ilike(bindparam("q", type_=Text), escape="\\"),
    ),
    "status": cast(TABLE.c.status, Text) == func.any(bindparam("status", type_=ARRAY(Text))),
    "department": TABLE.c.department == bindparam("department"),
    "manager_id": TABLE.c.manager_id == bindparam("manager_id"),
}


def containing(part: str) -> str:
    """Return a LIKE pattern that finds the part as it stands."""
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


async def get(reader: Reader, *, organization_id: UUID, person_id: UUID) -> Mapping[str, Any]:
    """Return one person."""
    row = await reader.fetch_one(_one(), organization_id=organization_id, person_id=person_id)
    if row is None:
        raise NotFoundError
    return row


@once
def _known() -> AnySelect:
    return select(TABLE.c.id).where(
        visible_to(), TABLE.c.id == func.any(bindparam("person_ids", type_=ARRAY(Uuid)))
    )


async def known(
    reader: Reader, *, organization_id: UUID, person_ids: Collection[UUID]
) -> set[UUID]:
    """Return those of some ids that somebody of the organization has."""
    if not person_ids:
        return set()
    rows = await reader.fetch(
        _known(), organization_id=organization_id, person_ids=sorted(person_ids)
    )
    return {row["id"] for row in rows}


async def list_page(
    reader: Reader,
    *,
    organization_id: UUID,
    filters: Mapping[str, Any],
    after: list[Any] | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Return people by family name, given name and id, one more than `limit` if there are."""
    if after is not None:
        after = [*after[:-1], UUID(after[-1])]
    return await reader.fetch(
        _many(tuple(sorted(filters)), is_first=after is None),
        organization_id=organization_id,
        limit=limit + 1,
        **filters,
        **place_of(after),
    )


async def find(session: AsyncSession, *, organization_id: UUID, person_id: UUID) -> Person | None:
    """Load one person for writing, unlocked."""
    return await session.get(Person, (organization_id, person_id))


async def lock(session: AsyncSession, *, organization_id: UUID, person_id: UUID) -> Person:
    """Load one person for a change."""
    person = await session.get(
        Person, (organization_id, person_id), with_for_update=True, populate_existing=True
    )
    if person is None:
        raise NotFoundError
    return person


async def find_by_external_id(
    session: AsyncSession, *, organization_id: UUID, source: str, external_id: str
) -> UUID | None:
    """Return who a source system means."""
    link = await session.get(ExternalId, (organization_id, source, external_id))
    return link.person_id if link else None


@once
def _same_email() -> AnySelect:
    return (
        select(TABLE.c.id)
        .where(
            TABLE.c.organization_id == bindparam("organization_id"),
            func.lower(TABLE.c.email) == bindparam("email", type_=Text),
            # As the partial index says it, so that the planner knows its own.
            text("status <> 'inactive'"),
            TABLE.c.id != bindparam("except_id"),
        )
        .limit(1)
    )


async def is_email_taken(
    session: AsyncSession, *, organization_id: UUID, email: str, except_id: UUID
) -> bool:
    """Tell whether somebody else who has not left uses the address."""
    taken = await SessionReader(session).fetch_one(
        _same_email(), organization_id=organization_id, email=email.lower(), except_id=except_id
    )
    return taken is not None


async def manager_chain(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID
) -> list[UUID]:
    """Return the person and everybody above them, nearest first."""
    result = await session.execute(
        _CHAIN,
        {
            "organization_id": organization_id,
            "person_id": person_id,
            "deepest": MAX_MANAGER_CHAIN,
        },
    )
    return list(result.scalars())


async def reporting_lines(
    session: AsyncSession, *, organization_id: UUID, person_ids: Sequence[UUID]
) -> dict[tuple[UUID, UUID], int]:
    """Return who of these people stands above whom: (below, above) and how many steps apart."""
    result = await session.execute(
        _LINES,
        {
            "organization_id": organization_id,
            "person_ids": list(person_ids),
            "deepest": MAX_MANAGER_CHAIN,
        },
    )
    return {(below, above): distance for below, above, distance in result}


async def are_in_line(
    session: AsyncSession,
    *,
    organization_id: UUID,
    person_ids: Sequence[UUID],
    concerning: Collection[UUID] | None = None,
) -> bool:
    """Tell whether two of these people stand in one line, one of them of `concerning` if given."""
    lines = await reporting_lines(session, organization_id=organization_id, person_ids=person_ids)
    return any(concerning is None or not {*pair}.isdisjoint(concerning) for pair in lines)


async def people_below(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID
) -> list[UUID]:
    """Return the person and everybody whose reporting line leads to them."""
    result = await session.execute(
        _BELOW,
        {
            "organization_id": organization_id,
            "person_id": person_id,
            "deepest": MAX_MANAGER_CHAIN,
        },
    )
    return list(result.scalars())


async def external_ids(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID
) -> list[ExternalId]:
    """Return the names other systems know a person by."""
    statement = select(ExternalId).where(
        col(ExternalId.organization_id) == organization_id,
        col(ExternalId.person_id) == person_id,
    )
    return list((await session.execute(statement)).scalars())
