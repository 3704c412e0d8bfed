"""Bodies of imports and sync runs."""

from typing import Annotated, TypedDict
from uuid import UUID

from annotated_types import MaxLen
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from services.api.integrations.connections.rules import OnMissing
from services.api.integrations.imports.rules import (
    Hold,
    RowAction,
    RowOutcome,
    RunStatus,
    SyncMode,
)
from services.api.integrations.mappings.schemas import IgnoredColumnView, ProblemView
from shared.schemas.base import Day, Id, PublicId, Timestamp
from shared.web.pagination import Page

SyncRunId = Annotated[UUID, Id("sync_run")]
Number = Annotated[int, Field(ge=0, examples=[311], json_schema_extra={"format": "int64"})]
Version = Annotated[int, Field(ge=1, examples=[1], json_schema_extra={"format": "int32"})]
Digest = Annotated[
    str,
    Field(
        min_length=64,
        max_length=64,
        pattern="^[0-9a-f]{64}$",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    ),
]


class WarningView(TypedDict):
    """Something about the file that is worth knowing and stops nothing."""

    code: Annotated[str, Field(max_length=64, examples=["read_as_cp1252"])]
    message: Annotated[str, Field(max_length=400)]


class ImportView(TypedDict):
    """A file that was taken, how it was read, and the run that brings it in."""

    id: Annotated[str, PublicId("import")]
    sync_run_id: Annotated[str, PublicId("sync_run")]
    connection_id: Annotated[str, PublicId("connection")]
    bytes: Number
    sha256: Digest
    encoding: Annotated[str, Field(max_length=16, examples=["utf-8"])]
    delimiter: Annotated[str, Field(min_length=1, max_length=1, examples=[","])]
    rows: Number
    ignored_columns: Annotated[list[IgnoredColumnView], MaxLen(512)]
    warnings: Annotated[list[WarningView], MaxLen(100)]
    created_at: Timestamp


class CountsView(TypedDict):
    """What the plan does; once applied, what was done."""

    seen: Number
    created: Number
    updated: Number
    unchanged: Number
    deactivated: Number
    reactivated: Number
    linked: Number
    skipped: Number
    failed: Number


class ManagersView(TypedDict):
    """How the managers that the file names were found."""

    named: Number
    resolved: Number
    unknown: Number
    ambiguous: Number
    circular: Number


class ProgressView(TypedDict):
    """How many rows there are to write, and how many were."""

    to_write: Number
    written: Number


class ConsequencesView(TypedDict):
    """What the leavers of this plan leave behind."""

    participants_removed: Number
    mentorships_losing_a_member: Number
    programs_losing_a_coordinator: Number


class SyncRunView(TypedDict):
    """One execution of incoming people data: its plan, its progress, its outcome."""

    id: Annotated[str, PublicId("sync_run")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    connection_id: Annotated[str, PublicId("connection")]
    import_id: Annotated[str, PublicId("import")]
    mapping_id: Annotated[str, PublicId("mapping")]
    mapping_version: Version
    previous_run_id: Annotated[str, PublicId("sync_run")] | None
    mode: SyncMode
    on_missing: OnMissing
    dry_run: bool
    as_of: Timestamp
    status: RunStatus
    holds: Annotated[
        list[Hold], MaxLen(10), Field(description="Why the plan waits for an approval.")
    ]
    counts: CountsView
    managers: ManagersView
    progress: ProgressView
    consequences: ConsequencesView
    ignored_columns: Annotated[list[IgnoredColumnView], MaxLen(512)]
    warnings: Annotated[list[WarningView], MaxLen(100)]
    sha256: Digest
    failure_code: Annotated[str, Field(max_length=64, examples=["too_many_failures"])] | None
    started_by: Annotated[str, PublicId("person")] | None
    approved_by: Annotated[str, PublicId("person")] | None
    planned_at: Timestamp | None
    finished_at: Timestamp | None


class SyncRunPage(TypedDict):
    """One page of sync runs."""

    items: Annotated[list[SyncRunView], MaxLen(200)]
    next_cursor: Annotated[str, Field(max_length=512)] | None


class SyncRunQuery(Page):
    """Filters of sync runs."""

    connection_id: Annotated[
        Annotated[UUID, Id("connection")] | SkipJsonSchema[None],
        Field(description="Only runs of this connection."),
    ] = None
    status: Annotated[
        Annotated[list[RunStatus], MaxLen(9)] | SkipJsonSchema[None],
        Field(description="Only runs in one of these states."),
    ] = None


class SyncRowQuery(Page):
    """Filters of a run's rows."""

    outcome: Annotated[
        Annotated[list[RowOutcome], MaxLen(5)] | SkipJsonSchema[None],
        Field(description="Only rows that came out so."),
    ] = None


class ChangeView(TypedDict):
    """One field before and after; null before where the reader may not see the old value."""

    field: Annotated[str, Field(max_length=64, examples=["title"])]
    old: Annotated[str, Field(max_length=4000)] | None
    new: Annotated[str, Field(max_length=4000)] | None


class SyncRowView(TypedDict):
    """One row of the plan, and what became of it."""

    line: Annotated[
        int | None,
        Field(
            ge=1,
            description="Line of the file; null for somebody the file leaves out.",
            json_schema_extra={"format": "int64"},
        ),
    ]
    external_id: Annotated[str, Field(max_length=200, examples=["10026"])] | None
    person_id: Annotated[str, PublicId("person")] | None
    action: RowAction
    outcome: RowOutcome
    changes: Annotated[list[ChangeView], MaxLen(100)]
    ended_on: Day | None
    errors: Annotated[list[ProblemView], MaxLen(100)]
    warnings: Annotated[list[ProblemView], MaxLen(100)]


class SyncRowPage(TypedDict):
    """One page of a run's rows, in the order of the file."""

    items: Annotated[list[SyncRowView], MaxLen(200)]
    next_cursor: Annotated[str, Field(max_length=512)] | None
