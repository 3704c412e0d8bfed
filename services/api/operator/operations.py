"""Set up an organization with somebody to run it and an app to sign in at; open it again."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access.roles import Role
from services.api.access.rules import EVERY_SCOPE, Actor
from services.api.access.tables import OAuthClient
from services.api.credentials import operations as credentials
from services.api.credentials import queries as credential_queries
from services.api.operator import queries
from services.api.organizations import operations as organizations
from services.api.organizations import queries as organization_queries
from services.api.organizations.rules import EmailCodes
from services.api.organizations.schemas import OrganizationCreate
from services.api.organizations.tables import Organization, OrganizationSlug
from services.api.people import operations as people


async def found(
    session: AsyncSession,
    *,
    organization_id: UUID,
    wanted: OrganizationCreate,
    is_demo: bool,
    now: datetime,
) -> UUID | None:
    """Found the organization of a slug; return its first org admin, or None if it is there.

    Repeating it changes nothing: the slug names one organization for good.
    """
    await queries.lock_slug(session, slug=wanted.slug)
    if await organization_queries.find(session, slug=wanted.slug) is not None:
        return None
    session.add(OrganizationSlug(slug=wanted.slug, tenant_id=organization_id, is_demo=is_demo))
    await organizations.found(
        session,
        organization_id=organization_id,
        slug=wanted.slug,
        name=wanted.name,
        kind=wanted.kind,
        default_locale=wanted.default_locale,
        default_timezone=wanted.default_timezone,
        grade_order=wanted.grade_order,
        now=now,
    )
    await session.flush()
    admin = await people.create(
        session,
        actor=_operator_of(organization_id),
        values=wanted.org_admin.model_dump(),
        now=now,
    )
    await credentials.grant(
        session,
        organization_id=organization_id,
        granted_by=None,
        person_id=admin.id,
        role=Role.ORG_ADMIN,
        now=now,
    )
    return admin.id


async def register_app(
    session: AsyncSession,
    *,
    organization_id: UUID,
    slug: str,
    values: Mapping[str, Any],
    now: datetime,
) -> tuple[OAuthClient, bool]:
    """Register an app that people sign in at; tell whether it is new.

    Repeating it changes nothing: a label names one app of the organization.
    """
    await queries.lock_slug(session, slug=slug)
    known = await credential_queries.find_app(
        session, organization_id=organization_id, label=values["label"]
    )
    if known is not None:
        return known, False
    app, _no_secret = await credentials.register_client(
        session,
        organization_id=organization_id,
        created_by=None,
        values=values,
        client_id=None,
        now=now,
    )
    return app, True


async def open_email_codes(
    session: AsyncSession, *, organization_id: UUID, now: datetime
) -> Organization:
    """Let people sign in with codes by mail, whatever identity provider is active."""
    return await organizations.change(
        session,
        actor=_operator_of(organization_id),
        changes={"email_codes": EmailCodes.ON},
        if_match="*",
        now=now,
    )


def _operator_of(organization_id: UUID) -> Actor:
    return Actor(organization_id, None, organization_id, EVERY_SCOPE)
