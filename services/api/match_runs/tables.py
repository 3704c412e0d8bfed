"""Match runs."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, Index, String, Uuid, text

from services.api.database import Resource
from services.api.match_runs.rules import RunKind, RunMode, RunStatus
from shared.persistence.columns import column, document, instant, one_of, reference


class MatchRun(Resource, table=True):
    """One execution of matching over frozen inputs; also a leased job."""

    __tablename__ = "match_run"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "track_id"], ["track.organization_id", "track.id"]
        ),
        Index(
            "uq_match_run_live",
            "organization_id",
            "track_id",
            unique=True,
            postgresql_where=text("status IN ('queued', 'running') AND mode = 'real'"),
        ),
        Index("ix_match_run_program", "organization_id", "program_id", "id"),
    )

    program_id: UUID = reference()
    track_id: UUID = reference()
    mode: RunMode = column(one_of(RunMode))
    kind: RunKind = column(one_of(RunKind), default=RunKind.POOL)
    policy_id: UUID | None = reference(default=None)
    policy_version: int = column(default=1)
    seed: int = column(default=1)
    input_hash: str | None = column(String(80), default=None)
    snapshot: dict[str, Any] | None = document(default=None)
    previous_run_id: UUID | None = reference(default=None)
    status: RunStatus = column(one_of(RunStatus), default=RunStatus.QUEUED)
    progress: dict[str, Any] = document(default_factory=dict)
    stats: dict[str, Any] = document(default_factory=dict)
    certificate: dict[str, Any] = document(default_factory=dict)
    unmatched: list[dict[str, Any]] = document(default_factory=list)
    failure_code: str | None = column(String(64), default=None)
    failure_errors: list[dict[str, Any]] = document(default_factory=list)
    started_by: UUID | None = reference(default=None)
    due_at: datetime = instant()
    leased_until: datetime | None = instant(default=None)
    lease_token: UUID | None = column(Uuid(as_uuid=True), default=None)
    attempts: int = column(default=0)
