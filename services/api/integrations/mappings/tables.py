"""Mappings and their versions, which never change."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, Index, String, Uuid

from services.api.database import ApiTable, Resource
from shared.persistence.columns import column, document, instant, organization_key, reference


class Mapping(Resource, table=True):
    """A mapping by its name; `newest` is the number of its newest version."""

    __tablename__ = "mapping"
    __table_args__ = (Index("uq_mapping_name", "organization_id", "name", unique=True),)

    name: str = column(String(120))
    newest: int = column(default=1)


class MappingVersion(ApiTable, table=True):
    """One document; a run says for ever by which one it read its file."""

    __tablename__ = "mapping_version"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "mapping_id"], ["mapping.organization_id", "mapping.id"]
        ),
    )

    organization_id: UUID = organization_key()
    mapping_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    number: int = column(primary_key=True)
    document: dict[str, Any] = document()
    created_by: UUID | None = reference(default=None)
    created_at: datetime = instant()
