"""One link to a source of people data or to the organization's own sign-in."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKeyConstraint, Index, String, Text

from services.api.database import ApiTable, Resource
from services.api.integrations.connections.rules import (
    LEAST_GUARD_PEOPLE,
    LEAST_GUARD_PERCENT,
    ConnectionKind,
    ConnectionStatus,
    OnMissing,
    Provisioning,
)
from shared.persistence.columns import (
    at_least,
    column,
    confidential,
    instant,
    one_of,
    organization_key,
    reference,
)


class Connection(Resource, table=True):
    """A source of people data, with how far it is trusted, or an identity provider."""

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


class OidcConnection(ApiTable, table=True):
    """The identity provider behind a connection of kind `oidc`; its secret is kept encrypted."""

    __tablename__ = "oidc_connection"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "connection_id"], ["connection.organization_id", "connection.id"]
        ),
        ForeignKeyConstraint(
            ["organization_id", "people_connection_id"],
            ["connection.organization_id", "connection.id"],
        ),
    )

    organization_id: UUID = organization_key()
    connection_id: UUID = reference(primary_key=True)
    issuer: str = column(String(500))
    client_id: str = column(String(200))
    sealed_secret: str = confidential(Text)
    scopes: list[str] = column(ARRAY(String(64)))
    external_id_claim: str | None = column(String(120), default=None)
    people_connection_id: UUID | None = reference(default=None)
    provisioning: Provisioning = column(one_of(Provisioning), default=Provisioning.OFF)
