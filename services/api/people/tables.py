"""A person, and the names other systems know them by."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import Date, ForeignKeyConstraint, Index, String, Uuid, text

from services.api.database import ApiTable, Resource
from services.api.people.rules import PersonStatus
from shared.persistence.columns import (
    column,
    instant,
    one_of,
    organization_key,
    personal,
    reference,
)


class Person(Resource, table=True):
    """Someone in an organization's directory."""

    __tablename__ = "person"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "manager_id"], ["person.organization_id", "person.id"]
        ),
        Index(
            "uq_person_email",
            "organization_id",
            text("lower(email)"),
            unique=True,
            postgresql_where=text("status <> 'inactive'"),
        ),
        Index("ix_person_name", "organization_id", "family_name", "given_name", "id"),
        Index("ix_person_manager", "organization_id", "manager_id"),
    )

    employee_number: str | None = personal(String(64), default=None)
    email: str = personal(String(254))
    phone: str | None = personal(String(40), default=None)
    given_name: str = personal(String(120))
    family_name: str = personal(String(120))
    preferred_name: str | None = personal(String(120), default=None)
    pronouns: str | None = personal(String(40), default=None)
    locale: str = column(String(12))
    timezone: str = column(String(64))
    status: PersonStatus = column(one_of(PersonStatus), default=PersonStatus.ACTIVE)
    ended_on: date | None = column(Date, default=None)
    ended_reason: str | None = column(String(40), default=None)
    manager_id: UUID | None = reference(default=None)
    title: str | None = column(String(200), default=None)
    department: str | None = column(String(200), default=None)
    country: str | None = column(String(120), default=None)
    city: str | None = column(String(120), default=None)
    site: str | None = column(String(120), default=None)
    grade: str | None = personal(String(40), default=None)
    job_family: str | None = personal(String(120), default=None)
    hired_on: date | None = personal(Date, default=None)
    in_job_since: date | None = personal(Date, default=None)
    is_guest: bool = column(default=False)


class ExternalId(ApiTable, table=True):
    """What one source system calls a person."""

    __tablename__ = "person_external_id"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "person_id"], ["person.organization_id", "person.id"]
        ),
        Index("ix_person_external_id_person", "organization_id", "person_id"),
    )

    organization_id: UUID = organization_key()
    source: str = column(String(64), primary_key=True)
    external_id: str = column(String(200), primary_key=True)
    person_id: UUID = column(Uuid(as_uuid=True))
    created_at: datetime = instant()
