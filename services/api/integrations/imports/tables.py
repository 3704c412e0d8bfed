"""Files, the runs that bring them in, and every row of their plans."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Date, ForeignKeyConstraint, Index, LargeBinary, String, Uuid, text

from services.api.database import ApiTable, Resource
from services.api.integrations.connections.rules import OnMissing
from services.api.integrations.imports.rules import RowAction, RowOutcome, RunStatus, SyncMode
from shared.persistence.columns import (
    column,
    document,
    instant,
    one_of,
    organization_key,
    personal,
    reference,
)


class ImportFile(Resource, table=True):
    """A file as it came, without the columns nobody mapped: those are dropped, never stored.

    `content` is JSON Lines, one record per line of the file: its number and its kept cells, or
    what is wrong with it.
    """

    __tablename__ = "import_file"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "connection_id"], ["connection.organization_id", "connection.id"]
        ),
    )

    connection_id: UUID = reference()
    bytes_received: int = column()
    sha256: str = column(String(64))
    encoding: str = column(String(16))
    delimiter: str = column(String(1))
    rows: int = column()
    header: list[str] = document()
    ignored_columns: list[dict[str, Any]] = document()
    warnings: list[dict[str, Any]] = document()
    content: bytes = personal(LargeBinary)


class SyncRun(Resource, table=True):
    """One execution of incoming people data; also a leased job."""

    __tablename__ = "sync_run"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "connection_id"], ["connection.organization_id", "connection.id"]
        ),
        ForeignKeyConstraint(
            ["organization_id", "import_id"], ["import_file.organization_id", "import_file.id"]
        ),
        ForeignKeyConstraint(
            ["organization_id", "mapping_id", "mapping_version"],
            [
                "mapping_version.organization_id",
                "mapping_version.mapping_id",
                "mapping_version.number",
            ],
        ),
        ForeignKeyConstraint(
            ["organization_id", "previous_run_id"], ["sync_run.organization_id", "sync_run.id"]
        ),
        # Two runs of one connection would each plan from what the other is about to change.
        Index(
            "uq_sync_run_applying",
            "organization_id",
            "connection_id",
            unique=True,
            postgresql_where=text("status = 'applying'"),
        ),
        Index("ix_sync_run_connection", "organization_id", "connection_id", "id"),
    )

    connection_id: UUID = reference()
    import_id: UUID = reference()
    mapping_id: UUID = reference()
    mapping_version: int = column()
    previous_run_id: UUID | None = reference(default=None)
    only_failed: bool = column(default=False)
    mode: SyncMode = column(one_of(SyncMode))
    on_missing: OnMissing = column(one_of(OnMissing))
    is_dry_run: bool = column(default=False)
    as_of: datetime = instant()
    status: RunStatus = column(one_of(RunStatus), default=RunStatus.QUEUED)
    holds: list[str] = document(default_factory=list)
    counts: dict[str, int] = document(default_factory=dict)
    managers: dict[str, int] = document(default_factory=dict)
    consequences: dict[str, int] = document(default_factory=dict)
    failure_code: str | None = column(String(64), default=None)
    started_by: UUID | None = reference(default=None)
    approved_by: UUID | None = reference(default=None)
    is_by_office: bool = column(default=False)
    planned_at: datetime | None = instant(default=None)
    finished_at: datetime | None = instant(default=None)
    due_at: datetime = instant()
    leased_until: datetime | None = instant(default=None)
    lease_token: UUID | None = column(Uuid(as_uuid=True), default=None)
    attempts: int = column(default=0)


class SyncRow(ApiTable, table=True):
    """One row of a plan, and what became of it."""

    __tablename__ = "sync_row"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "run_id"], ["sync_run.organization_id", "sync_run.id"]
        ),
        Index("ix_sync_row_outcome", "organization_id", "run_id", "outcome", "rank", "number"),
    )

    organization_id: UUID = organization_key()
    run_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    number: int = column(primary_key=True)
    line: int | None = column(default=None)
    external_id: str | None = personal(String(200), default=None)
    person_id: UUID | None = reference(default=None)
    action: RowAction = column(one_of(RowAction))
    outcome: RowOutcome = column(one_of(RowOutcome))
    rank: int = column(default=0)
    patch: dict[str, Any] = document(default_factory=dict)
    stands: bool | None = column(default=None)
    ended_on: date | None = personal(Date, default=None)
    ended_reason: str | None = column(String(40), default=None)
    changes: list[dict[str, Any]] = document(default_factory=list)
    errors: list[dict[str, Any]] = document(default_factory=list)
    warnings: list[dict[str, Any]] = document(default_factory=list)
    version_seen: int | None = column(default=None)
    version_after: int | None = column(default=None)
