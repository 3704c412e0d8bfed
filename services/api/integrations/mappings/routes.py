"""Mappings over HTTP: which column means what, tried out before a file is sent."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Body, Query, Request, Response

from services.api.access.rules import Scope
from services.api.dependencies import (
    ActorDep,
    IfMatchDep,
    NowDep,
    ReaderDep,
    SessionDep,
    allow,
    door,
    id_page,
)
from services.api.integrations.files.rules import Problem
from services.api.integrations.mappings import operations, queries
from services.api.integrations.mappings.operations import Reading
from services.api.integrations.mappings.rules import IgnoredColumn
from services.api.integrations.mappings.schemas import (
    IgnoredColumnView,
    MappingCreate,
    MappingId,
    MappingPage,
    MappingPatch,
    MappingView,
    PreviewRequest,
    PreviewRow,
    PreviewView,
    ProblemView,
    SuggestionRequest,
    SuggestionView,
)
from shared import ids
from shared.persistence.reads import SessionReader
from shared.web import responses
from shared.web.pagination import Page

router = door("mappings")


def present(row: Mapping[str, Any]) -> MappingView:
    """Show a mapping in its newest version."""
    return MappingView(
        id=ids.format_id("mapping", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        name=row["name"],
        mapping_version=row["newest"],
        document=row["document"],
    )


def present_ignored(columns: Sequence[IgnoredColumn]) -> list[IgnoredColumnView]:
    """Show which columns were not read, and why."""
    return [
        IgnoredColumnView(column=one.column, reason=one.reason, detail=one.detail)  # type: ignore[typeddict-item]  # one of two texts
        for one in columns
    ]


def present_problem(problem: Problem) -> ProblemView:
    """Show what is wrong with a row."""
    return ProblemView(
        column=problem.column, code=problem.code, message=problem.message, hint=problem.hint
    )


def _present_reading(reading: Reading) -> PreviewRow:
    return PreviewRow(
        line=reading.line,
        external_id=reading.external_id,
        values={
            name: None if value is None else str(value) for name, value in reading.values.items()
        },
        manager=reading.manager,
        errors=[present_problem(one) for one in reading.problems],
    )


@router.get(
    "/mappings",
    summary="List mappings",
    response_model=MappingPage,
    openapi_extra=allow("mapping.manage", Scope.IMPORTS_WRITE),
)
async def list_mappings(
    *, request: Request, actor: ActorDep, reader: ReaderDep, query: Annotated[Page, Query()]
) -> Response:
    """Return mappings, oldest first, each in its newest version."""
    return await id_page(
        request,
        query,
        lambda after, limit: queries.list_page(
            reader, organization_id=actor.organization_id, after=after, limit=limit
        ),
        present,
    )


@router.post(
    "/mappings",
    summary="Add a mapping",
    status_code=201,
    response_model=MappingView,
    openapi_extra=allow("mapping.manage", Scope.IMPORTS_WRITE),
)
async def create_mapping(
    *, actor: ActorDep, session: SessionDep, now: NowDep, body: MappingCreate
) -> Response:
    """Store which column means what.

    A mapping that reads pay, birth dates, ethnicity or the like is refused with `refused_column`.
    """
    mapping = await operations.create(
        session,
        actor=actor,
        mapping_id=body.id,
        name=body.name,
        document=body.document,
        now=now,
    )
    row = await queries.get(
        SessionReader(session), organization_id=actor.organization_id, mapping_id=mapping.id
    )
    return responses.created(
        present(row),
        version=mapping.version,
        location=f"/v1/mappings/{ids.format_id('mapping', mapping.id)}",
    )


@router.get(
    "/mappings/{mapping_id}",
    summary="Read a mapping",
    response_model=MappingView,
    openapi_extra=allow("mapping.manage", Scope.IMPORTS_WRITE),
)
async def get_mapping(*, mapping_id: MappingId, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return a mapping in its newest version."""
    row = await queries.get(reader, organization_id=actor.organization_id, mapping_id=mapping_id)
    return responses.one(present(row), version=row["version"])


@router.patch(
    "/mappings/{mapping_id}",
    summary="Change a mapping",
    response_model=MappingView,
    openapi_extra=allow("mapping.manage", Scope.IMPORTS_WRITE),
)
async def change_mapping(
    *,
    mapping_id: MappingId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Annotated[MappingPatch, Body(media_type="application/merge-patch+json")],
    if_match: IfMatchDep = None,
) -> Response:
    """Rename a mapping, or give it a next version. Runs keep the version they were planned by."""
    mapping = await operations.change(
        session,
        actor=actor,
        mapping_id=mapping_id,
        name=body.name if "name" in body.model_fields_set else None,
        document=body.document if "document" in body.model_fields_set else None,
        if_match=if_match,
        now=now,
    )
    row = await queries.get(
        SessionReader(session), organization_id=actor.organization_id, mapping_id=mapping_id
    )
    return responses.one(present(row), version=mapping.version)


@router.post(
    "/mapping-suggestions",
    summary="Suggest a mapping",
    response_model=SuggestionView,
    openapi_extra=allow("mapping.manage", Scope.IMPORTS_WRITE),
)
async def suggest_mapping(*, body: SuggestionRequest) -> Response:
    """Guess a mapping from the names of columns. Complete it, preview it, then store it."""
    document, ignored = operations.suggest(header=body.header)
    return responses.one(
        SuggestionView(document=document, ignored_columns=present_ignored(ignored))
    )


@router.post(
    "/mappings/{mapping_id}/preview",
    summary="Preview a mapping",
    response_model=PreviewView,
    openapi_extra=allow("mapping.manage", Scope.IMPORTS_WRITE),
)
async def preview_mapping(
    *, mapping_id: MappingId, actor: ActorDep, session: SessionDep, body: PreviewRequest
) -> Response:
    """Show how a few rows would be understood, exactly as an import would; nothing is stored."""
    readings, ignored = await operations.preview(
        session, actor=actor, mapping_id=mapping_id, header=body.header, rows=body.rows
    )
    return responses.one(
        PreviewView(
            rows=[_present_reading(one) for one in readings],
            ignored_columns=present_ignored(ignored),
        )
    )
