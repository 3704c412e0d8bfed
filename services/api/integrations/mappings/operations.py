"""Make and change mappings, and read rows by them."""

from collections.abc import Mapping as Rows
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access.rules import Actor
from services.api.integrations.files.rules import Line, Problem, line_of
from services.api.integrations.mappings import queries, rules
from services.api.integrations.mappings.rules import IgnoredColumn, Understood
from services.api.integrations.mappings.schemas import ImportedPerson, MappingDocument
from services.api.integrations.mappings.tables import Mapping, MappingVersion
from shared import ids
from shared.errors import ConflictError, InvalidError, Violation
from shared.web.preconditions import require_match

MAX_EXTERNAL_ID = 200


async def create(
    session: AsyncSession,
    *,
    actor: Actor,
    mapping_id: UUID | None,
    name: str,
    document: MappingDocument,
    now: datetime,
) -> Mapping:
    """Store a mapping; one that reads a refused column is refused."""
    mapping = Mapping(
        organization_id=actor.organization_id,
        id=mapping_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        name=name,
    )
    if await queries.find(session, organization_id=actor.organization_id, mapping_id=mapping.id):
        raise ConflictError("A mapping with this id is known already.", code="already_exists")
    await _refuse_taken_name(session, mapping, name=name)
    session.add(mapping)
    await session.flush()
    _add_version(session, mapping, actor=actor, document=document, now=now)
    return mapping


async def change(
    session: AsyncSession,
    *,
    actor: Actor,
    mapping_id: UUID,
    name: str | None,
    document: MappingDocument | None,
    if_match: str | None,
    now: datetime,
) -> Mapping:
    """Rename a mapping or give it a next version."""
    mapping = await queries.lock(
        session, organization_id=actor.organization_id, mapping_id=mapping_id
    )
    require_match(if_match, version=mapping.version)
    if name is not None:
        await _refuse_taken_name(session, mapping, name=name)
        mapping.name = name
    if document is not None:
        mapping.newest += 1
        _add_version(session, mapping, actor=actor, document=document, now=now)
    mapping.touch(now)
    return mapping


def _add_version(
    session: AsyncSession,
    mapping: Mapping,
    *,
    actor: Actor,
    document: MappingDocument,
    now: datetime,
) -> None:
    plain = plain_document(document)
    refuse_columns(plain, pointer="#/document")
    session.add(
        MappingVersion(
            organization_id=mapping.organization_id,
            mapping_id=mapping.id,
            number=mapping.newest,
            document=plain,
            created_by=actor.person_id,
            created_at=now,
        )
    )


def plain_document(document: MappingDocument) -> dict[str, Any]:
    """Return a document as it is stored and as the rules read it."""
    return document.model_dump(mode="json", by_alias=True)


def refuse_columns(document: Rows[str, Any], *, pointer: str) -> None:
    """Refuse a mapping that reads what is never read."""
    refused = rules.refused_by(document)
    if refused:
        raise InvalidError(
            "The mapping reads columns that are never read.",
            errors=[
                Violation(pointer, "refused_column", f"{column}: {why}.") for column, why in refused
            ],
        )


async def _refuse_taken_name(session: AsyncSession, mapping: Mapping, *, name: str) -> None:
    if await queries.is_name_taken(
        session, organization_id=mapping.organization_id, name=name, except_id=mapping.id
    ):
        raise ConflictError("Another mapping bears this name.", code="already_exists")


@dataclass(frozen=True, slots=True)
class Reading:
    """One row under the rules of the directory, or what is wrong with it."""

    line: int
    external_id: str | None
    values: Rows[str, Any]
    manager: str | None
    columns: Rows[str, str | None]
    problems: tuple[Problem, ...]


def read_row(document: Rows[str, Any], header: Sequence[str], line: Line) -> Reading:
    """Understand one row; preview and plan both come through here, or previews would lie."""
    if line.problem is not None:
        return Reading(line.number, None, {}, None, {}, (line.problem,))
    cells = dict(zip(header, line.cells, strict=True))
    understood = rules.understand(document, line=line.number, cells=cells)
    values, problems = _checked(understood)
    problems = (*understood.problems, *problems, *_bad_id(document, understood.external_id))
    return Reading(
        line.number,
        understood.external_id,
        {} if problems else values,
        understood.manager,
        understood.columns,
        problems,
    )


def _bad_id(document: Rows[str, Any], external_id: str | None) -> list[Problem]:
    if external_id is None or (len(external_id) <= MAX_EXTERNAL_ID and external_id.isprintable()):
        return []
    column = document["key"]["column"]
    return [Problem(column, "wrong_id", "An id has at most 200 printable characters.")]


def _checked(understood: Understood) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    try:
        person = ImportedPerson.model_validate(dict(understood.values))
    except ValidationError as error:
        problems = [_problem(one["loc"], understood) for one in error.errors()]
        return {}, tuple(dict.fromkeys(problems))
    values = person.model_dump(include=set(understood.values), mode="python")
    return values, ()


def _problem(place: tuple[int | str, ...], understood: Understood) -> Problem:
    name = str(place[0])
    return Problem(
        understood.columns.get(name),
        "wrong_value",
        f"This is no {name.replace('_', ' ')} that the directory takes.",
        _HINTS.get(name),
    )


_HINTS = {
    "email": "An address such as ada@example.org.",
    "status": "Look the column up as active or inactive.",
    "locale": "A language tag such as en or de-DE.",
    "timezone": "A zone such as Europe/Berlin.",
    **dict.fromkeys(rules.DAY_FIELDS, "A day as YYYY-MM-DD, or a `date` step with its format."),
}


def suggest(*, header: Sequence[str]) -> tuple[dict[str, Any], list[IgnoredColumn]]:
    """Return what the names of columns say, and which would stay unread."""
    document = rules.suggest(header)
    complete = {"key": {"column": ""}, **document}
    return document, rules.ignored_columns(header, complete)


async def preview(
    session: AsyncSession,
    *,
    actor: Actor,
    mapping_id: UUID,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> tuple[list[Reading], list[IgnoredColumn]]:
    """Read a few rows by a mapping's newest version; nothing is stored."""
    mapping = await queries.lock(
        session, organization_id=actor.organization_id, mapping_id=mapping_id
    )
    document = await queries.document(
        session,
        organization_id=actor.organization_id,
        mapping_id=mapping_id,
        number=mapping.newest,
    )
    lines = [line_of(number, list(cells), header) for number, cells in enumerate(rows, start=2)]
    readings = [read_row(document, header, line) for line in lines]
    return readings, rules.ignored_columns(header, document)
