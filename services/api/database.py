"""The base of every table of the api's database."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from sqlalchemy.orm import registry
from sqlmodel import SQLModel

from shared.persistence.columns import column, identity, instant, metadata, organization_key

INSTALLATION_TABLES: Mapping[str, str] = MappingProxyType(
    {
        "feed_epoch": "how often this server was restored; cursors of older times are refused",
        "organization_slug": "which organization a slug names, for the operator",
        "relay_lease": "which worker sends which share of the outbox",
        "signing_key": "keys of the built-in issuer, which serves every organization",
    }
)
"""Reviewed: tables that belong to no organization, and why each may."""


class ApiTable(SQLModel, registry=registry(metadata=metadata())):
    """A table of the api; its metadata is shared with no other service."""


class Resource(ApiTable):
    """Columns of everything a client can address: its key, its version and its age."""

    organization_id: UUID = organization_key()
    id: UUID = identity()
    version: int = column(default=1)
    created_at: datetime = instant()
    updated_at: datetime = instant()

    def touch(self, now: datetime) -> None:
        """Count a change, so that readers of the old version notice."""
        self.version += 1
        self.updated_at = now
