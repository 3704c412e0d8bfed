"""The base of every table of the database of notifications."""

from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy.orm import registry
from sqlmodel import SQLModel

from shared.persistence.columns import metadata

INSTALLATION_TABLES: Mapping[str, str] = MappingProxyType({})
"""Reviewed: tables that belong to no organization, and why each may."""


class NotificationsTable(SQLModel, registry=registry(metadata=metadata())):
    """A table of notifications; its metadata is shared with no other service."""
