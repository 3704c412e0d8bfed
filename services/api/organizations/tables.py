"""The tenant's own row, and the installation's list of slugs."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, String, Uuid

from services.api.database import ApiTable
from services.api.organizations.rules import EmailCodes, Kind
from shared.persistence.columns import column, document, instant, one_of, organization_key


class Organization(ApiTable, table=True):
    """One tenant; its id is the key that leads every other key."""

    __tablename__ = "organization"

    organization_id: UUID = organization_key()
    version: int = column(default=1)
    created_at: datetime = instant()
    updated_at: datetime = instant()
    name: str = column(String(120))
    slug: str = column(String(64))
    kind: Kind = column(one_of(Kind))
    default_locale: str = column(String(12))
    default_timezone: str = column(String(64))
    email_codes: EmailCodes = column(one_of(EmailCodes), default=EmailCodes.AUTOMATIC)
    grade_order: list[str] = column(ARRAY(String(40)))
    skills: list[dict[str, Any]] = document(default_factory=list)
    settings: dict[str, Any] = document(default_factory=dict)

    @property
    def id(self) -> UUID:
        """Return the id under the name every resource has."""
        return self.organization_id


class OrganizationSlug(ApiTable, table=True):
    """Which organization a slug names: read by the operator before any tenant is known."""

    __tablename__ = "organization_slug"

    slug: str = column(String(64), primary_key=True)
    tenant_id: UUID = column(Uuid(as_uuid=True))
    is_demo: bool = column(default=False)
