"""Programs and what they are made of."""

from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Date, ForeignKeyConstraint, Index, String

from services.api.database import Resource
from services.api.programs.rules import (
    Cadence,
    ConsentSides,
    Format,
    FormStatus,
    ManagerAcknowledgement,
    ManagerSilence,
    ProgramKind,
    ProgramStatus,
    RequestApproval,
    Seniority,
    Switch,
    TrackRole,
    Visibility,
)
from shared.persistence.columns import column, document, one_of, reference

OF_PROGRAM = (
    ["organization_id", "program_id"],
    ["program.organization_id", "program.id"],
)


class Program(Resource, table=True):
    """A dated or open-ended mentoring offer."""

    __tablename__ = "program"
    __table_args__ = (
        Index("uq_program_code", "organization_id", "code", unique=True),
        Index("ix_program_status", "organization_id", "status", "id"),
    )

    name: str = column(String(120))
    code: str = column(String(64))
    description: dict[str, str] = document(default_factory=dict)
    kind: ProgramKind = column(one_of(ProgramKind))
    status: ProgramStatus = column(one_of(ProgramStatus), default=ProgramStatus.DRAFT)
    accepting_participants: bool = column(default=False)
    matching_paused: bool = column(default=False)
    registration_opens_on: date | None = column(Date, default=None)
    registration_closes_on: date | None = column(Date, default=None)
    starts_on: date = column(Date)
    ends_on: date | None = column(Date, default=None)
    sensitive: bool = column(default=False)
    support_person_id: UUID | None = reference(default=None)
    support_email: str | None = column(String(254), default=None)
    people_manager_visibility: Visibility = column(one_of(Visibility), default=Visibility.NONE)
    manager_acknowledgement: ManagerAcknowledgement = column(
        one_of(ManagerAcknowledgement), default=ManagerAcknowledgement.OFF
    )
    manager_silence: ManagerSilence = column(
        one_of(ManagerSilence), default=ManagerSilence.ESCALATE
    )
    coordinator_review: Switch = column(one_of(Switch), default=Switch.ON)
    settings: dict[str, Any] = document(default_factory=dict)
    config_version: int = column(default=1)


class AgreementTemplate(Resource, table=True):
    """What an agreement asks both sides; without a program it serves the organization."""

    __tablename__ = "agreement_template"
    __table_args__ = (ForeignKeyConstraint(*OF_PROGRAM),)

    program_id: UUID | None = reference(default=None)
    name: str = column(String(120))
    sections: list[dict[str, Any]] = document()


class MatchPolicy(Resource, table=True):
    """How matching weighs and what it forbids; frozen once a run has used it."""

    __tablename__ = "match_policy"
    __table_args__ = (ForeignKeyConstraint(*OF_PROGRAM),)

    program_id: UUID = reference()
    name: str = column(String(120))
    policy_version: int = column(default=1)
    hard: list[dict[str, Any]] = document()
    soft: list[dict[str, Any]] = document()
    objective: str = column(String(32), default="most_matched")
    floor: int = column(default=0)
    stay_bonus: int = column(default=0)
    text_model: str = column(String(8), default="words")
    seed: int = column(default=1)
    limits: dict[str, Any] = document(default_factory=dict)
    tests: list[dict[str, Any]] = document(default_factory=list)
    frozen: bool = column(default=False)


class Form(Resource, table=True):
    """Questions to one role of a program; a published version no longer changes."""

    __tablename__ = "form"
    __table_args__ = (
        ForeignKeyConstraint(*OF_PROGRAM),
        Index("ix_form_program", "organization_id", "program_id", "role", "form_version"),
    )

    program_id: UUID = reference()
    role: TrackRole = column(one_of(TrackRole))
    form_version: int = column(default=1)
    status: FormStatus = column(one_of(FormStatus), default=FormStatus.DRAFT)
    fields: list[dict[str, Any]] = document()


class Track(Resource, table=True):
    """One format, policy and agreement template inside a program."""

    __tablename__ = "track"
    __table_args__ = (
        ForeignKeyConstraint(*OF_PROGRAM),
        ForeignKeyConstraint(
            ["organization_id", "policy_id"],
            ["match_policy.organization_id", "match_policy.id"],
        ),
        ForeignKeyConstraint(
            ["organization_id", "agreement_template_id"],
            ["agreement_template.organization_id", "agreement_template.id"],
        ),
        Index("ix_track_program", "organization_id", "program_id", "id"),
    )

    program_id: UUID = reference()
    name: str = column(String(120))
    format: Format = column(one_of(Format))
    match_modes: list[str] = column(ARRAY(String(32)))
    policy_id: UUID | None = reference(default=None)
    agreement_template_id: UUID | None = reference(default=None)
    form_ids: dict[str, str] = document(default_factory=dict)
    cadence: Cadence = column(one_of(Cadence), default=Cadence.BIWEEKLY)
    meeting_minutes: int = column(default=45)
    length_days: int = column(default=180)
    min_members: int = column(default=2)
    max_members: int = column(default=2)
    seniority: Seniority = column(one_of(Seniority), default=Seniority.NONE)
    grade_gap_min: int | None = column(default=None)
    grade_gap_max: int | None = column(default=None)
    consent_sides: ConsentSides = column(one_of(ConsentSides), default=ConsentSides.BOTH)
    request_approval: RequestApproval = column(
        one_of(RequestApproval), default=RequestApproval.NONE
    )
    settings: dict[str, Any] = document(default_factory=dict)
