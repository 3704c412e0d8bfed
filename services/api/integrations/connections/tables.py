"""One link to a source of people data."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, String

from services.api.database import Resource
from services.api.integrations.connections.rules import (
    LEAST_GUARD_PEOPLE,
    LEAST_GUARD_PERCENT,
    ConnectionKind,
    ConnectionStatus,
    OnMissing,
)
from shared.persistence.columns import at_least, column, instant, one_of


class Connection(Resource, table=True):
    """A source of people data, with how far it is trusted."""

    __tablename__ = "connection"
    __table_args__ = (
        Index("uq_connection_label", "organization_id", "label", unique=True),
        # The guard can be raised, never removed; the database holds the floor too.
        at_least("guard_people", LEAST_GUARD_PEOPLE),
        CheckConstraint(
            f"guard_percent BETWEEN {LEAST_GUARD_PERCENT} AND 50", name="guard_percent_range"
        ),
    )

    label: str = column(String(120))
    kind: ConnectionKind = column(one_of(ConnectionKind), default=ConnectionKind.FILE)
    status: ConnectionStatus = column(one_of(ConnectionStatus), default=ConnectionStatus.ACTIVE)
    on_missing: OnMissing = column(one_of(OnMissing), default=OnMissing.IGNORE)
    guard_people: int = column(default=LEAST_GUARD_PEOPLE)
    guard_percent: int = column(default=LEAST_GUARD_PERCENT)
    last_success_at: datetime | None = instant(default=None)
