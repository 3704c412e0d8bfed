"""The outbox: source of the change feed, of webhooks and of the relay."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, String, Uuid, text
from sqlalchemy.types import UserDefinedType

from services.api.database import ApiTable
from shared.persistence.columns import (
    column,
    document,
    identity,
    instant,
    organization_key,
    personal,
    reference,
)


class TransactionId(UserDefinedType[str]):
    """PostgreSQL's `xid8`: grows with each writing transaction of one server."""

    cache_ok = True

    def get_col_spec(self, **_options: Any) -> str:
        """Return the column's type in DDL."""
        return "xid8"


class OutboxMessage(ApiTable, table=True):
    """One fact: ids, states and names of changed fields, never free text or names of people.

    `sent_at` says when notifications took it. `consumed_at` says when the features above its own
    had reacted; a row nobody reacts to has it from the start. The lease is for that reaction.
    `mail_to` is where a mail of it goes, if not to where its reader is now, until it was sent.
    """

    __tablename__ = "outbox_message"
    __table_args__ = (
        Index("ix_outbox_message_feed", "organization_id", "epoch", "xid", "id"),
        Index(
            "ix_outbox_message_unsent",
            "organization_id",
            "bucket",
            "id",
            postgresql_where=text("sent_at IS NULL"),
        ),
        Index("ix_outbox_message_type", "organization_id", "type", "id"),
        Index(
            "ix_outbox_message_unconsumed",
            "organization_id",
            "aggregate_id",
            "id",
            postgresql_where=text("consumed_at IS NULL"),
        ),
    )

    organization_id: UUID = organization_key()
    id: UUID = identity()
    type: str = column(String(64))
    aggregate_id: UUID = reference()
    aggregate_version: int = column()
    program_id: UUID | None = reference(default=None)
    data: dict[str, Any] = document()
    mail_to: str | None = personal(String(254), default=None)
    bucket: int = column()
    epoch: int = column(
        sa_column_kwargs={"server_default": text("current_feed_epoch()")}, default=None
    )
    xid: str = column(
        TransactionId(),
        sa_column_kwargs={"server_default": text("pg_current_xact_id()")},
        default=None,
    )
    occurred_at: datetime = instant()
    sent_at: datetime | None = instant(default=None)
    consumed_at: datetime | None = instant(default=None)
    leased_until: datetime | None = instant(default=None)
    lease_token: UUID | None = column(Uuid(as_uuid=True), default=None)
    attempts: int = column(default=0)
    failure: str | None = column(String(120), default=None)


class FeedEpoch(ApiTable, table=True):
    """Which server's transaction numbers the feed counts in; a restore raises it."""

    __tablename__ = "feed_epoch"

    epoch: int = column(primary_key=True)


class RelayLease(ApiTable, table=True):
    """Who relays a bucket now: one relay per bucket keeps the order per aggregate."""

    __tablename__ = "relay_lease"

    bucket: int = column(primary_key=True, sa_column_kwargs={"autoincrement": False})
    leased_until: datetime | None = instant(default=None)
    lease_token: UUID | None = column(Uuid(as_uuid=True), default=None)
