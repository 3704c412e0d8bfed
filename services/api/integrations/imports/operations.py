"""Take a file, plan what it does, and apply that very plan, row by row, each once."""

import asyncio
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from pydantic_core import to_jsonable_python
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access.rules import Actor
from services.api.events import operations as events
from services.api.integrations.connections import operations as connections
from services.api.integrations.connections import queries as known_connections
from services.api.integrations.connections.rules import (
    ConnectionKind,
    ConnectionStatus,
    OnMissing,
)
from services.api.integrations.connections.tables import Connection
from services.api.integrations.files import rules as files
from services.api.integrations.files.rules import Line, Problem, Sheet
from services.api.integrations.imports import queries, rules
from services.api.integrations.imports.rules import (
    Hold,
    Input,
    Plan,
    Row,
    RowOutcome,
    RunAction,
    RunStatus,
    SyncMode,
    Terms,
)
from services.api.integrations.imports.tables import ImportFile, SyncRow, SyncRun
from services.api.integrations.mappings import operations as mappings
from services.api.integrations.mappings import queries as known_mappings
from services.api.integrations.mappings import rules as mapping_rules
from services.api.integrations.mappings.rules import DAY_FIELDS, Leavers, ManagerBy
from services.api.people import operations as people
from services.api.people import queries as directory
from services.api.people.rules import PersonChange, PersonStatus
from shared import ids
from shared.errors import ConflictError, DomainError, InvalidError, Violation, unknown_reference
from shared.persistence.leases import Claim

INSERTED_AT_ONCE = 1000


class LeaseLostError(Exception):
    """Another worker holds the run by now, or it is no longer to be worked on."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a client asks of a file."""

    content: bytes
    connection_id: UUID
    mapping_id: UUID
    mode: SyncMode
    is_dry_run: bool
    on_missing: OnMissing | None
    as_of: datetime | None


@dataclass(frozen=True, slots=True)
class Source:
    """What a plan is made from: the kept rows of a file and the mapping that reads them."""

    document: Mapping[str, Any]
    header: Sequence[str]
    content: bytes
    only: Collection[int] | None


async def start(
    session: AsyncSession, *, actor: Actor, order: Order, due_at: datetime, now: datetime
) -> tuple[ImportFile, SyncRun]:
    """Take a file and queue the run that brings it in; what cannot be read is refused at once."""
    connection, number, document = await _referred(session, actor, order)
    if order.as_of is not None and order.as_of > now:
        raise InvalidError(
            errors=[Violation("#/as_of", "out_of_range", "The file speaks of the past.")]
        )
    # Parsing ten megabytes takes a second; other requests go on meanwhile.
    file = await asyncio.to_thread(_file, actor.organization_id, order, document, now)
    session.add(file)
    await session.flush()
    run = SyncRun(
        organization_id=actor.organization_id,
        id=ids.new_id(),
        created_at=now,
        updated_at=now,
        connection_id=connection.id,
        import_id=file.id,
        mapping_id=order.mapping_id,
        mapping_version=number,
        mode=order.mode,
        on_missing=order.on_missing or connection.on_missing,
        is_dry_run=order.is_dry_run,
        as_of=order.as_of or now,
        started_by=actor.person_id,
        is_by_office=actor.holds_office,
        due_at=due_at,
    )
    session.add(run)
    await session.flush()
    return file, run


async def _referred(
    session: AsyncSession, actor: Actor, order: Order
) -> tuple[Connection, int, Mapping[str, Any]]:
    connection = await known_connections.find(
        session, organization_id=actor.organization_id, connection_id=order.connection_id
    )
    if connection is None or connection.kind != ConnectionKind.FILE:
        raise unknown_reference("#/connection_id")
    if connection.status == ConnectionStatus.PAUSED:
        raise ConflictError("The connection is paused; no data comes in.", code="connection_paused")
    mapping = await known_mappings.find(
        session, organization_id=actor.organization_id, mapping_id=order.mapping_id
    )
    if mapping is None:
        raise unknown_reference("#/mapping_id")
    document = await known_mappings.document(
        session,
        organization_id=actor.organization_id,
        mapping_id=mapping.id,
        number=mapping.newest,
    )
    # Since the mapping was made, a newer version of the product may know more names.
    mappings.refuse_columns(document, pointer="#/mapping_id")
    return connection, mapping.newest, document


def _file(
    organization_id: UUID, order: Order, document: Mapping[str, Any], now: datetime
) -> ImportFile:
    sheet = files.read(order.content)
    used = mapping_rules.columns_of(document)
    kept = [place for place, name in enumerate(sheet.header) if name in used]
    key = mapping_rules.same_column(document["key"]["column"])
    if key not in sheet.header:
        raise InvalidError(
            "The file cannot be read by this mapping.",
            errors=[
                Violation("#/file", "missing_column", f"The file has no column {key}, the key.")
            ],
        )
    return ImportFile(
        organization_id=organization_id,
        id=ids.new_id(),
        created_at=now,
        updated_at=now,
        connection_id=order.connection_id,
        bytes_received=len(order.content),
        sha256=hashlib.sha256(order.content).hexdigest(),
        encoding=sheet.encoding,
        delimiter=sheet.delimiter,
        rows=len(sheet.lines),
        header=[sheet.header[place] for place in kept],
        ignored_columns=[
            asdict(one) for one in mapping_rules.ignored_columns(sheet.header, document)
        ],
        warnings=_warnings(sheet, used),
        content=_kept(sheet.lines, kept),
    )


def _warnings(sheet: Sheet, used: Sequence[str]) -> list[dict[str, str]]:
    found = [{"code": code, "message": _FILE_WARNINGS[code]} for code in sheet.warnings]
    return found + [
        {
            "code": "missing_column",
            "message": f"The file has no column {column}; its field stays as it is.",
        }
        for column in used
        if column not in sheet.header
    ]


_FILE_WARNINGS = {
    "read_as_cp1252": "The file is not UTF-8 and was read as Windows-1252; check the accents."
}


def _kept(lines: Sequence[Line], kept: Sequence[int]) -> bytes:
    """Return the rows as they are stored: of a row with a problem, no cell at all.

    In a shifted row a refused value may stand under any name.
    """
    return b"\n".join(
        json.dumps(
            {"line": line.number, "problem": asdict(line.problem)}
            if line.problem
            else {"line": line.number, "cells": [line.cells[place] for place in kept]},
            ensure_ascii=False,
        ).encode()
        for line in lines
    )


def _lines(content: bytes) -> list[Line]:
    stored = [json.loads(one) for one in content.split(b"\n") if one]
    return [
        Line(
            one["line"],
            tuple(one.get("cells", ())),
            Problem(**one["problem"]) if "problem" in one else None,
        )
        for one in stored
    ]


async def lock_claimed(session: AsyncSession, claimed: Claim) -> SyncRun:
    """Load a claimed run for a change; refused once the lease is somebody else's."""
    run = await queries.lock(session, organization_id=claimed.organization_id, run_id=claimed.id)
    if run.lease_token != claimed.lease_token or run.status not in rules.WORKED_ON:
        raise LeaseLostError
    return run


async def source(session: AsyncSession, *, run: SyncRun, now: datetime) -> Source:
    """Begin to validate a run and return what its plan is made from."""
    if run.status is RunStatus.QUEUED:
        _advance(session, run, RunAction.VALIDATE, actor_id=None, now=now)
    file = await queries.file_of(session, run=run)
    only = None
    if run.only_failed and run.previous_run_id is not None:
        only = await queries.failed_lines(
            session, organization_id=run.organization_id, run_id=run.previous_run_id
        )
    return Source(
        document=await known_mappings.document(
            session,
            organization_id=run.organization_id,
            mapping_id=run.mapping_id,
            number=run.mapping_version,
        ),
        header=file.header,
        content=file.content,
        only=only,
    )


def read(given: Source) -> list[Input]:
    """Read every row by the mapping; pure, so that it runs beside other work."""
    readings = [
        mappings.read_row(given.document, given.header, line)
        for line in _lines(given.content)
        if given.only is None or line.number in given.only
    ]
    return [
        Input(
            one.line, one.external_id, one.values, one.manager, one.columns, problems=one.problems
        )
        for one in readings
    ]


async def store_plan(
    session: AsyncSession,
    *,
    run: SyncRun,
    document: Mapping[str, Any],
    inputs: Sequence[Input],
    now: datetime,
) -> None:
    """Plan a run and store every row; then go on, wait for approval, or stop."""
    connection = await known_connections.lock(
        session, organization_id=run.organization_id, connection_id=run.connection_id
    )
    seen = await queries.people_seen(
        session,
        organization_id=run.organization_id,
        source=connections.source_of(run.connection_id),
    )
    plan = rules.plan(inputs, seen, _terms(run, connection, document), new_id=ids.new_id)
    await _store_rows(session, run, plan)
    run.counts, run.managers = plan.counts, dict(plan.managers)
    run.holds = [str(hold) for hold in plan.holds]
    run.consequences = await queries.consequences(
        session, organization_id=run.organization_id, leavers=_leavers(plan)
    )
    run.planned_at = now
    _after_planning(session, run, connection, plan, now=now)


def _leavers(plan: Plan) -> list[UUID]:
    return [
        row.person_id
        for row in plan.rows
        if row.action is rules.RowAction.DEACTIVATE and row.person_id is not None
    ]


def _after_planning(
    session: AsyncSession, run: SyncRun, connection: Connection, plan: Plan, *, now: datetime
) -> None:
    if plan.fails:
        fail(session, run=run, code="too_many_failures", now=now)
        return
    _advance(session, run, RunAction.PLAN, actor_id=None, now=now)
    if plan.holds:
        _advance(session, run, RunAction.HOLD, actor_id=None, now=now)
        _let_go(run)
        if set(plan.holds) & {Hold.THRESHOLD, Hold.EMPTY_FILE, Hold.UNREADABLE_ROWS}:
            events.record(
                session,
                "connection.guard_tripped",
                connection,
                now=now,
                named={"sync_run_id": run.id},
            )


def _terms(run: SyncRun, connection: Connection, document: Mapping[str, Any]) -> Terms:
    manager = document.get("manager")
    return Terms(
        mode=run.mode,
        on_missing=run.on_missing,
        as_of=run.as_of,
        leavers=Leavers(document["leavers"]),
        manager_by=ManagerBy(manager["by"]) if manager else None,
        manager_column=manager["column"] if manager else None,
        status_is_mapped="status" in document["fields"],
        guard_people=connection.guard_people,
        guard_percent=connection.guard_percent,
        is_dry_run=run.is_dry_run,
    )


async def _store_rows(session: AsyncSession, run: SyncRun, plan: Plan) -> None:
    rows = [_stored(run, row) for row in plan.rows]
    for start_at in range(0, len(rows), INSERTED_AT_ONCE):
        await session.execute(insert(SyncRow), rows[start_at : start_at + INSERTED_AT_ONCE])


def _stored(run: SyncRun, row: Row) -> dict[str, Any]:
    return {
        "organization_id": run.organization_id,
        "run_id": run.id,
        "number": row.number,
        "line": row.line,
        "external_id": row.external_id,
        "person_id": row.person_id,
        "action": row.action,
        "outcome": rules.OUTCOME_OF[row.action],
        "rank": row.rank,
        "patch": to_jsonable_python(dict(row.values)),
        "stands": row.stands,
        "ended_on": row.ended_on,
        "ended_reason": row.ended_reason,
        "changes": to_jsonable_python(rules.diff(row)),
        "errors": [asdict(one) for one in row.errors],
        "warnings": [asdict(one) for one in row.warnings],
        "version_seen": row.version_seen,
        "version_after": None,
    }


def begin_applying(session: AsyncSession, *, run: SyncRun, now: datetime) -> None:
    """Go from a plan that needs nobody's approval to applying it."""
    _advance(session, run, RunAction.APPLY, actor_id=None, now=now)


async def apply_next(session: AsyncSession, *, run: SyncRun, limit: int, now: datetime) -> int:
    """Apply the next rows of the stored plan; with none left, finish. Return how many there were.

    The rows are marked in the transaction that changes their people: a worker that dies leaves
    each of them either done or still planned.
    """
    rows = await queries.next_rows(
        session, organization_id=run.organization_id, run_id=run.id, limit=limit
    )
    for row in rows:
        await _apply_row(session, run, row, now=now)
    # A run that gets on is not one that kills its workers.
    run.attempts = 0
    if not rows:
        await _finish(session, run, now=now)
    return len(rows)


async def _apply_row(session: AsyncSession, run: SyncRun, row: SyncRow, *, now: datetime) -> None:
    try:
        person = await people.apply_person_change(
            session,
            organization_id=run.organization_id,
            wanted=await _wanted(session, run, row),
            actor_id=run.approved_by or run.started_by,
            is_by_office=run.is_by_office,
            now=now,
        )
    except DomainError as error:
        row.outcome = RowOutcome.FAILED
        row.errors = [asdict(Problem(None, error.code, error.detail))]
        return
    row.outcome, row.version_after = RowOutcome.APPLIED, person.version


async def _wanted(session: AsyncSession, run: SyncRun, row: SyncRow) -> PersonChange:
    if row.external_id is None or row.person_id is None:
        raise RuntimeError("a row that writes names a person")
    return PersonChange(
        source=connections.source_of(run.connection_id),
        external_id=row.external_id,
        person_id=row.person_id,
        version_seen=row.version_seen,
        values=await _values(session, row),
        standing=_STANDINGS[row.stands],
        ended_on=row.ended_on,
        ended_reason=row.ended_reason,
    )


_STANDINGS: Mapping[bool | None, PersonStatus | None] = {
    True: PersonStatus.ACTIVE,
    False: PersonStatus.INACTIVE,
    None: None,
}


async def _values(session: AsyncSession, row: SyncRow) -> dict[str, Any]:
    """Return a stored patch with its types; a manager who did not get in is left out."""
    values = dict(row.patch)
    for name in DAY_FIELDS & values.keys():
        values[name] = values[name] and date.fromisoformat(values[name])
    if values.get("manager_id"):
        values["manager_id"] = UUID(values["manager_id"])
        if not await directory.find(
            session, organization_id=row.organization_id, person_id=values["manager_id"]
        ):
            del values["manager_id"]
            row.warnings = [*row.warnings, asdict(_ABSENT_MANAGER)]
    return values


_ABSENT_MANAGER = Problem(None, "unknown_manager", "The manager's own row could not be applied.")


async def _finish(session: AsyncSession, run: SyncRun, *, now: datetime) -> None:
    groups = await queries.count_rows(session, organization_id=run.organization_id, run_id=run.id)
    run.counts = rules.count(groups)
    run.finished_at = now
    is_whole = run.counts["failed"] == 0
    action = RunAction.SUCCEED if is_whole else RunAction.FINISH_PARTLY
    _advance(session, run, action, actor_id=None, now=now)
    _let_go(run)
    if is_whole:
        await connections.note_success(
            session, organization_id=run.organization_id, connection_id=run.connection_id, now=now
        )


def fail(session: AsyncSession, *, run: SyncRun, code: str, now: datetime) -> None:
    """Stop a run for good; what its rows say stays to be read."""
    run.failure_code, run.finished_at = code, now
    _advance(session, run, RunAction.FAIL, actor_id=None, now=now)
    _let_go(run)


def leave(run: SyncRun, *, due_at: datetime) -> None:
    """Put a run down until later."""
    run.due_at = due_at
    _let_go(run)


def _let_go(run: SyncRun) -> None:
    run.leased_until = run.lease_token = None


async def approve(
    session: AsyncSession, *, actor: Actor, run_id: UUID, due_at: datetime, now: datetime
) -> None:
    """Let the stored plan be applied; refused with `plan_stale` when people changed since."""
    run = await queries.lock(session, organization_id=actor.organization_id, run_id=run_id)
    rules.next_status(run.status, RunAction.APPROVE)
    stale = await queries.count_stale(
        session,
        organization_id=run.organization_id,
        run_id=run.id,
        source=connections.source_of(run.connection_id),
    )
    if stale:
        raise rules.plan_stale(stale)
    if await queries.is_connection_busy(session, run=run):
        raise ConflictError("Another run of this connection is still at work.", allowed=["cancel"])
    run.approved_by, run.due_at, run.attempts = actor.person_id, due_at, 0
    run.is_by_office = run.is_by_office or actor.holds_office
    _advance(session, run, RunAction.APPROVE, actor_id=actor.person_id, now=now)


async def cancel(session: AsyncSession, *, actor: Actor, run_id: UUID, now: datetime) -> None:
    """Give a run up before anything of it is applied."""
    run = await queries.lock(session, organization_id=actor.organization_id, run_id=run_id)
    _cancel(session, run, actor=actor, now=now)


def _cancel(session: AsyncSession, run: SyncRun, *, actor: Actor, now: datetime) -> None:
    _advance(session, run, RunAction.CANCEL, actor_id=actor.person_id, now=now)
    run.finished_at = now
    _let_go(run)


async def replan(
    session: AsyncSession, *, actor: Actor, run_id: UUID, due_at: datetime, now: datetime
) -> SyncRun:
    """Plan a run's file anew as a new run, by the same version of its mapping."""
    run = await queries.lock(session, organization_id=actor.organization_id, run_id=run_id)
    if run.status is RunStatus.AWAITING_APPROVAL:
        _cancel(session, run, actor=actor, now=now)
    elif run.status not in rules.FINAL:
        raise _too_early(run, "replanned")
    return await _again(session, run, actor=actor, only_failed=False, due_at=due_at, now=now)


async def retry_failed(
    session: AsyncSession, *, actor: Actor, run_id: UUID, due_at: datetime, now: datetime
) -> SyncRun:
    """Plan the failed rows of a run anew as a new run; nobody is missing from those."""
    run = await queries.lock(session, organization_id=actor.organization_id, run_id=run_id)
    if run.status not in {RunStatus.PARTIAL, RunStatus.FAILED}:
        raise _too_early(run, "retried")
    return await _again(session, run, actor=actor, only_failed=True, due_at=due_at, now=now)


def _too_early(run: SyncRun, what: str) -> ConflictError:
    return ConflictError(
        f"A sync run that is {run.status} cannot be {what}.",
        code="invalid_transition",
        allowed=rules.allowed_actions(run.status),
    )


async def _again(
    session: AsyncSession,
    run: SyncRun,
    *,
    actor: Actor,
    only_failed: bool,
    due_at: datetime,
    now: datetime,
) -> SyncRun:
    again = SyncRun(
        organization_id=run.organization_id,
        id=ids.new_id(),
        created_at=now,
        updated_at=now,
        connection_id=run.connection_id,
        import_id=run.import_id,
        mapping_id=run.mapping_id,
        mapping_version=run.mapping_version,
        previous_run_id=run.id,
        only_failed=only_failed,
        mode=SyncMode.DELTA if only_failed else run.mode,
        on_missing=OnMissing.IGNORE if only_failed else run.on_missing,
        is_dry_run=run.is_dry_run,
        as_of=run.as_of,
        started_by=actor.person_id,
        is_by_office=actor.holds_office,
        due_at=due_at,
    )
    session.add(again)
    await session.flush()
    return again


def _advance(
    session: AsyncSession, run: SyncRun, action: RunAction, *, actor_id: UUID | None, now: datetime
) -> None:
    before = run.status
    run.status = rules.next_status(run.status, action)
    run.touch(now)
    kind = rules.EVENT_OF.get(run.status)
    if kind is not None:
        _record(session, kind, run, before=before, actor_id=actor_id, now=now)


def _record(
    session: AsyncSession,
    kind: str,
    run: SyncRun,
    *,
    before: RunStatus,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    events.record(
        session,
        kind,
        run,
        now=now,
        actor_id=actor_id,
        from_state=before,
        to_state=run.status,
        named={"import_id": run.import_id, "connection_id": run.connection_id},
        recipients={"starter": [run.started_by]} if run.started_by else {},
    )
