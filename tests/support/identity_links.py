"""Accounts at identity providers as if somebody had signed in with them."""

import secrets
from datetime import UTC, datetime

from services.api.resources import Resources
from services.api.sign_in.upstream.tables import IdentityLink
from shared import ids
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from tests.support.apps import World


async def link_account(world: World, *, person_id: str, connection_id: str) -> str:
    """Link a fresh account to a person and return the id of the link."""
    resources: Resources = world.app.state.resources
    organization_id = world.id
    now = datetime.now(UTC)
    link = IdentityLink(
        organization_id=organization_id,
        id=ids.new_id(),
        created_at=now,
        updated_at=now,
        issuer="https://login.example.org",
        subject=f"subject-{secrets.token_hex(8)}",
        person_id=ids.parse_id("person", person_id),
        connection_id=ids.parse_id("connection", connection_id),
    )
    async with transaction(resources.sessions, Tenant(organization_id)) as session:
        session.add(link)
    return ids.format_id("identity_link", link.id)
