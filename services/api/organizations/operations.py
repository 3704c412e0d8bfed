"""Found and change an organization."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access.rules import Actor
from services.api.events import operations as events
from services.api.organizations import queries, rules
from services.api.organizations.rules import Kind
from services.api.organizations.tables import Organization
from services.api.timers.tables import OrganizationClock
from shared.errors import InvalidError
from shared.web.preconditions import require_match


async def found(
    session: AsyncSession,
    *,
    organization_id: UUID,
    slug: str,
    name: str,
    kind: Kind,
    default_locale: str,
    default_timezone: str,
    grade_order: list[str],
    now: datetime,
) -> Organization:
    """Set up an organization; its first org admin is added by `people`."""
    organization = Organization(
        organization_id=organization_id,
        created_at=now,
        updated_at=now,
        slug=slug,
        name=name,
        kind=kind,
        default_locale=default_locale,
        default_timezone=default_timezone,
        grade_order=grade_order,
    )
    session.add(organization)
    session.add(OrganizationClock(organization_id=organization_id))
    events.record(session, "organization.created", organization, now=now)
    return organization


async def change(
    session: AsyncSession,
    *,
    actor: Actor,
    changes: dict[str, Any],
    if_match: str | None,
    now: datetime,
) -> Organization:
    """Change the named fields and record which; a word of two skills is an `InvalidError`."""
    if repeated := list(rules.words_of_two(changes.get("skills", ()))):
        raise InvalidError(errors=repeated[:100])
    organization = await queries.lock(session, organization_id=actor.organization_id)
    require_match(if_match, version=organization.version)
    changed = [name for name, value in changes.items() if getattr(organization, name) != value]
    if changed:
        organization.sqlmodel_update(changes)
        organization.version += 1
        organization.updated_at = now
        events.record(
            session,
            "organization.changed",
            organization,
            now=now,
            actor_id=actor.person_id,
            changed=changed,
        )
    return organization
