"""Imports over HTTP: send a file, look at its plan, approve it, see what became of each row."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import File, Form, Query, Request, Response, UploadFile

from services.api.access import roles
from services.api.access.rules import Actor, Scope
from services.api.dependencies import (
    ActorDep,
    NowDep,
    ReaderDep,
    ResourcesDep,
    SessionDep,
    allow,
    cursors,
    door,
    id_page,
    next_link,
)
from services.api.integrations.connections.rules import OnMissing
from services.api.integrations.connections.schemas import ConnectionId
from services.api.integrations.imports import operations, queries
from services.api.integrations.imports.operations import Order
from services.api.integrations.imports.rules import SyncMode
from services.api.integrations.imports.schemas import (
    ChangeView,
    ConsequencesView,
    CountsView,
    ImportView,
    ManagersView,
    ProgressView,
    SyncRowPage,
    SyncRowQuery,
    SyncRowView,
    SyncRunId,
    SyncRunPage,
    SyncRunQuery,
    SyncRunView,
)
from services.api.integrations.imports.tables import ImportFile, SyncRun
from services.api.integrations.mappings.schemas import MappingId
from services.api.people.rules import HR_FIELDS
from shared import ids
from shared.errors import InvalidError, Violation
from shared.persistence.reads import Reader, SessionReader
from shared.schemas.base import Timestamp
from shared.web import responses

router = door("imports")

FORM_FIELDS = frozenset(
    {"file", "connection_id", "mapping_id", "mode", "dry_run", "on_missing", "as_of"}
)


def present(row: Mapping[str, Any]) -> SyncRunView:
    """Show a sync run; numbers that are not known yet are zero."""
    return SyncRunView(
        id=ids.format_id("sync_run", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        connection_id=ids.format_id("connection", row["connection_id"]),
        import_id=ids.format_id("import", row["import_id"]),
        mapping_id=ids.format_id("mapping", row["mapping_id"]),
        mapping_version=row["mapping_version"],
        previous_run_id=ids.format_optional("sync_run", row["previous_run_id"]),
        mode=row["mode"],
        on_missing=row["on_missing"],
        dry_run=row["is_dry_run"],
        as_of=row["as_of"],
        status=row["status"],
        holds=row["holds"],
        counts=_counts(row["counts"]),
        managers=_managers(row["managers"]),
        progress=ProgressView(to_write=row["written"] + row["waiting"], written=row["written"]),
        consequences=_consequences(row["consequences"]),
        ignored_columns=row["ignored_columns"],
        warnings=row["warnings"],
        sha256=row["sha256"],
        failure_code=row["failure_code"],
        started_by=ids.format_optional("person", row["started_by"]),
        approved_by=ids.format_optional("person", row["approved_by"]),
        planned_at=row["planned_at"],
        finished_at=row["finished_at"],
    )


def _counts(counts: Mapping[str, int]) -> CountsView:
    return CountsView(
        seen=counts.get("seen", 0),
        created=counts.get("created", 0),
        updated=counts.get("updated", 0),
        unchanged=counts.get("unchanged", 0),
        deactivated=counts.get("deactivated", 0),
        reactivated=counts.get("reactivated", 0),
        linked=counts.get("linked", 0),
        skipped=counts.get("skipped", 0),
        failed=counts.get("failed", 0),
    )


def _managers(managers: Mapping[str, int]) -> ManagersView:
    return ManagersView(
        named=managers.get("named", 0),
        resolved=managers.get("resolved", 0),
        unknown=managers.get("unknown", 0),
        ambiguous=managers.get("ambiguous", 0),
        circular=managers.get("circular", 0),
    )


def _consequences(counted: Mapping[str, int]) -> ConsequencesView:
    return ConsequencesView(
        participants_removed=counted.get("participants_removed", 0),
        mentorships_losing_a_member=counted.get("mentorships_losing_a_member", 0),
        programs_losing_a_coordinator=counted.get("programs_losing_a_coordinator", 0),
    )


def present_file(file: ImportFile, run: SyncRun) -> ImportView:
    """Show how a file was read."""
    return ImportView(
        id=ids.format_id("import", file.id),
        sync_run_id=ids.format_id("sync_run", run.id),
        connection_id=ids.format_id("connection", file.connection_id),
        bytes=file.bytes_received,
        sha256=file.sha256,
        encoding=file.encoding,
        delimiter=file.delimiter,
        rows=file.rows,
        ignored_columns=file.ignored_columns,  # type: ignore[typeddict-item]  # stored as shown
        warnings=file.warnings,  # type: ignore[typeddict-item]  # stored as shown
        created_at=file.created_at,
    )


def present_row(row: Mapping[str, Any], actor: Actor) -> SyncRowView:
    """Show a row; old HR values only to those who may read them in the directory."""
    may_read_hr = roles.grants("person.read_hr", actor.facts(person_id=row["person_id"]))
    return SyncRowView(
        line=row["line"],
        external_id=row["external_id"],
        person_id=ids.format_optional("person", row["person_id"]),
        action=row["action"],
        outcome=row["outcome"],
        changes=[_change(one, may_read_hr=may_read_hr) for one in row["changes"]],
        ended_on=row["ended_on"],
        errors=row["errors"],
        warnings=row["warnings"],
    )


def _change(change: Mapping[str, Any], *, may_read_hr: bool) -> ChangeView:
    field, old, new = change["field"], change["old"], change["new"]
    if field == "manager_id":
        old, new = (ids.format_optional("person", one and UUID(one)) for one in (old, new))
    if field in HR_FIELDS and not may_read_hr:
        old = None
    return ChangeView(field=field, old=old, new=new)


async def _answer(reader: Reader, actor: Actor, run_id: UUID) -> Response:
    row = await queries.get(reader, organization_id=actor.organization_id, run_id=run_id)
    return responses.one(present(row), version=row["version"])


@router.post(
    "/imports",
    summary="Import people from a file",
    status_code=202,
    response_model=ImportView,
    openapi_extra=allow("import.manage", Scope.IMPORTS_WRITE),
)
async def create_import(
    *,
    request: Request,
    actor: ActorDep,
    session: SessionDep,
    resources: ResourcesDep,
    now: NowDep,
    file: Annotated[
        UploadFile,
        File(
            description="Delimited text with a header, UTF-8, UTF-16 or Windows-1252.",
            # The usual limit; an operator may raise it.
            json_schema_extra={"maxLength": 10 * 1024 * 1024},
        ),
    ],
    connection_id: Annotated[ConnectionId, Form(description="Whose ids the file holds.")],
    mapping_id: Annotated[MappingId, Form(description="Which column means what.")],
    mode: Annotated[
        SyncMode, Form(description="`full`: the file holds everybody; `delta`: only who changed.")
    ] = SyncMode.DELTA,
    dry_run: Annotated[bool, Form(description="Stop at the plan and wait for approval.")] = False,
    on_missing: Annotated[
        OnMissing | None,
        Form(description="What it means that a full file leaves somebody out."),
    ] = None,
    as_of: Annotated[
        Timestamp | None, Form(description="When the file was true; by default now.")
    ] = None,
) -> Response:
    """Take a file of people: it is planned, then that very plan is applied.

    Columns the mapping does not use are dropped before anything is stored; pay, birth dates,
    ethnicity and the like are never read. Follow the sync run named in `Location`.
    """
    await _refuse_unknown_fields(request)
    order = Order(
        content=await file.read(),
        connection_id=connection_id,
        mapping_id=mapping_id,
        mode=mode,
        is_dry_run=dry_run,
        on_missing=on_missing,
        as_of=as_of,
    )
    taken, run = await operations.start(
        session, actor=actor, order=order, due_at=resources.clock(), now=now
    )
    return responses.accepted(
        present_file(taken, run), location=f"/v1/sync-runs/{ids.format_id('sync_run', run.id)}"
    )


async def _refuse_unknown_fields(request: Request) -> None:
    unknown = sorted(set(await request.form()) - FORM_FIELDS)
    if unknown:
        raise InvalidError(
            errors=[
                Violation(f"#/{name[:100]}", "unknown_field", "This field is not known.")
                for name in unknown[:20]
            ]
        )


@router.get(
    "/sync-runs",
    summary="List sync runs",
    response_model=SyncRunPage,
    openapi_extra=allow("import.manage", Scope.IMPORTS_WRITE),
)
async def list_sync_runs(
    *, request: Request, actor: ActorDep, reader: ReaderDep, query: Annotated[SyncRunQuery, Query()]
) -> Response:
    """Return sync runs, oldest first."""
    filters = query.model_dump(exclude={"limit", "cursor"}, exclude_none=True, mode="python")
    return await id_page(
        request,
        query,
        lambda after, limit: queries.list_page(
            reader,
            organization_id=actor.organization_id,
            filters=filters,
            after=after,
            limit=limit,
        ),
        present,
    )


@router.get(
    "/sync-runs/{sync_run_id}",
    summary="Read a sync run",
    response_model=SyncRunView,
    openapi_extra=allow("import.manage", Scope.IMPORTS_WRITE),
)
async def get_sync_run(*, sync_run_id: SyncRunId, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return where a run stands, what its plan does and what follows from it."""
    return await _answer(reader, actor, sync_run_id)


@router.get(
    "/sync-runs/{sync_run_id}/rows",
    summary="List the rows of a sync run",
    response_model=SyncRowPage,
    openapi_extra=allow("import.manage", Scope.IMPORTS_WRITE),
)
async def list_sync_rows(
    *,
    request: Request,
    sync_run_id: SyncRunId,
    actor: ActorDep,
    reader: ReaderDep,
    query: Annotated[SyncRowQuery, Query()],
) -> Response:
    """Return what each row does, field by field, and what is wrong with it, by line."""
    await queries.get(reader, organization_id=actor.organization_id, run_id=sync_run_id)
    place = cursors(request, query)
    after = place.after()
    rows = await queries.list_rows(
        reader,
        organization_id=actor.organization_id,
        run_id=sync_run_id,
        filters=query.model_dump(exclude={"limit", "cursor"}, exclude_none=True, mode="python"),
        after=int(after[0]) if after else None,
        limit=query.limit + 1,
    )
    shown, cursor = place.cut(rows, lambda row: (row["number"],))
    return responses.page(
        [present_row(row, actor) for row in shown], cursor, link=next_link(request, cursor)
    )


@router.post(
    "/sync-runs/{sync_run_id}/approve",
    summary="Approve the plan of a sync run",
    response_model=SyncRunView,
    openapi_extra=allow("import.manage", Scope.IMPORTS_WRITE),
)
async def approve_sync_run(
    *,
    sync_run_id: SyncRunId,
    actor: ActorDep,
    session: SessionDep,
    resources: ResourcesDep,
    now: NowDep,
) -> Response:
    """Let exactly the stored plan be applied.

    Answers 409 `plan_stale` when people in it changed since: plan again with `replan`.
    """
    await operations.approve(
        session, actor=actor, run_id=sync_run_id, due_at=resources.clock(), now=now
    )
    return await _answer(SessionReader(session), actor, sync_run_id)


@router.post(
    "/sync-runs/{sync_run_id}/cancel",
    summary="Cancel a sync run",
    response_model=SyncRunView,
    openapi_extra=allow("import.manage", Scope.IMPORTS_WRITE),
)
async def cancel_sync_run(
    *, sync_run_id: SyncRunId, actor: ActorDep, session: SessionDep, now: NowDep
) -> Response:
    """Give a run up before anything of it is applied."""
    await operations.cancel(session, actor=actor, run_id=sync_run_id, now=now)
    return await _answer(SessionReader(session), actor, sync_run_id)


@router.post(
    "/sync-runs/{sync_run_id}/replan",
    summary="Plan a sync run anew",
    status_code=202,
    response_model=SyncRunView,
    openapi_extra=allow("import.manage", Scope.IMPORTS_WRITE),
)
async def replan_sync_run(
    *,
    sync_run_id: SyncRunId,
    actor: ActorDep,
    session: SessionDep,
    resources: ResourcesDep,
    now: NowDep,
) -> Response:
    """Plan the same file against the people as they are now, as a new run."""
    run = await operations.replan(
        session, actor=actor, run_id=sync_run_id, due_at=resources.clock(), now=now
    )
    return await _begun(session, actor, run)


@router.post(
    "/sync-runs/{sync_run_id}/retry-failed",
    summary="Retry the failed rows of a sync run",
    status_code=202,
    response_model=SyncRunView,
    openapi_extra=allow("import.manage", Scope.IMPORTS_WRITE),
)
async def retry_failed_rows(
    *,
    sync_run_id: SyncRunId,
    actor: ActorDep,
    session: SessionDep,
    resources: ResourcesDep,
    now: NowDep,
) -> Response:
    """Plan only the rows that failed, as a new run."""
    run = await operations.retry_failed(
        session, actor=actor, run_id=sync_run_id, due_at=resources.clock(), now=now
    )
    return await _begun(session, actor, run)


async def _begun(session: SessionDep, actor: Actor, run: SyncRun) -> Response:
    row = await queries.get(
        SessionReader(session), organization_id=actor.organization_id, run_id=run.id
    )
    return responses.accepted(
        present(row),
        version=run.version,
        location=f"/v1/sync-runs/{ids.format_id('sync_run', run.id)}",
    )
