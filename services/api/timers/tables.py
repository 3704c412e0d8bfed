"""Due rows, and how far each organization's clock is ahead of the world's."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, String, Uuid, text

from services.api.database import ApiTable
from shared.persistence.columns import column, identity, instant, organization_key, reference


class OrganizationClock(ApiTable, table=True):
    """How far a sandbox's clock was moved; zero everywhere else.

    `advance_to` is where the clock is going, `reset_at` when somebody asked to empty the sandbox;
    both are work that a worker takes a lease for.
    """

    __tablename__ = "organization_clock"

    organization_id: UUID = organization_key()
    offset_seconds: int = column(default=0)
    advance_to: datetime | None = instant(default=None)
    reset_at: datetime | None = instant(default=None)
    leased_until: datetime | None = instant(default=None)
    lease_token: UUID | None = column(Uuid(as_uuid=True), default=None)
    attempts: int = column(default=0)
    failure: str | None = column(String(120), default=None)


class Timer(ApiTable, table=True):
    """Something to do to one subject at one time; one of a kind per subject and occasion."""

    __tablename__ = "timer"
    __table_args__ = (
        Index(
            "uq_timer_occasion", "organization_id", "kind", "subject_id", "occasion", unique=True
        ),
        Index(
            "ix_timer_due",
            "organization_id",
            "due_at",
            postgresql_where=text("done_at IS NULL"),
        ),
    )

    organization_id: UUID = organization_key()
    id: UUID = identity()
    kind: str = column(String(64))
    subject_id: UUID = reference()
    occasion: str = column(String(64), default="")
    due_at: datetime = instant()
    done_at: datetime | None = instant(default=None)
    leased_until: datetime | None = instant(default=None)
    lease_token: UUID | None = column(Uuid(as_uuid=True), default=None)
    attempts: int = column(default=0)
    failure: str | None = column(String(120), default=None)
