"""The base of every table of the api's database."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import registry
from sqlmodel import SQLModel

from shared.persistence.columns import column, identity, instant, metadata, organization_key


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
