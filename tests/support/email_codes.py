"""Signing in by mail as a test sees it: an app, who asks, and the code the server would send."""

import base64
import hashlib
import re
import secrets
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import codes
from services.api.access.rules import client_name
from services.api.resources import Resources
from services.api.sign_in.email_codes import rules
from shared import ids
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from tests.support.apps import KEY_ENCRYPTION_KEY, World, client

REDIRECT = "https://app.example.org/signed-in"
SCOPES = ("content:self", "people:read", "programs:read")


def challenge_of(verifier: str) -> str:
    """Return the code challenge of a verifier (RFC 7636, S256)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def code_in_the_mail(challenge_id: str) -> str:
    """Return the code that a mail about this challenge would hold, whichever process sends it."""
    organization_id, named = rules.parse_challenge(challenge_id)
    return codes.code_of(
        codes.pepper(KEY_ENCRYPTION_KEY), organization_id=organization_id, challenge_id=named
    )


def codes_in(written: str) -> list[str]:
    """Return the codes of a mail: alone on a line of its text, or in an element of its markup.

    A name may hold eight digits as well, as those of the organizations that tests make do.
    """
    return re.findall(rf"(?:^|>)\s*([0-9]{{{codes.DIGITS}}})\s*(?:$|<)", written, re.MULTILINE)


@dataclass(slots=True)
class App:
    """An app of one organization, and the verifier of its present sign-in."""

    world: World
    id: UUID
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def resources(self) -> Resources:
        """Return what the api holds open."""
        resources: Resources = self.world.app.state.resources
        return resources

    @property
    def organization_id(self) -> UUID:
        """Return the organization's id as the inside knows it."""
        return self.world.id

    @property
    def client_id(self) -> str:
        """Return the id the app is known by outside."""
        return client_name(self.organization_id, self.id)

    @property
    def caller(self) -> httpx.AsyncClient:
        """Return a client without any credential."""
        return client(self.world.app)

    def wanted(self, email: str, **changes: Any) -> dict[str, Any]:
        """Return a body that asks for a code."""
        body = {
            "organization": self.world.slug,
            "email": email,
            "client_id": self.client_id,
            "code_challenge": challenge_of(self.verifier),
        }
        return body | changes

    async def ask(self, email: str, **changes: Any) -> str:
        """Ask for a code and return the challenge."""
        answer = await self.caller.post("/v1/auth/email-codes", json=self.wanted(email, **changes))
        assert answer.status_code == 202, answer.text
        challenge_id: str = answer.json()["challenge_id"]
        return challenge_id

    async def answer(
        self, challenge_id: str, code: str, *, caller: httpx.AsyncClient | None = None
    ) -> httpx.Response:
        """Answer a challenge with a code."""
        return await (caller or self.caller).post(
            f"/v1/auth/email-codes/{challenge_id}/verify", json={"code": code}
        )

    def code(self, challenge_id: str) -> str:
        """Return the code that a mail about this challenge would hold."""
        organization_id, named = rules.parse_challenge(challenge_id)
        return codes.code_of(
            self.resources.pepper, organization_id=organization_id, challenge_id=named
        )

    def open(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a transaction of the organization."""
        return transaction(self.resources.sessions, Tenant(self.organization_id))

    async def add_provider(self, label: str = "Our directory", *, status: str = "active") -> str:
        """Let the organization have an identity provider; nobody signs in there."""
        oidc = {
            "issuer": "https://login.example.org/realms/works",
            "client_id": "mentoring",
            "client_secret": secrets.token_urlsafe(16),
        }
        body = {"label": label, "kind": "oidc", "oidc": oidc}
        made = await self.world.org_admin.post("/v1/connections", json=body)
        assert made.status_code == 201, made.text
        connection_id: str = made.json()["id"]
        await self._change(f"/v1/connections/{connection_id}", {"status": status})
        return connection_id

    async def pause(self, connection_id: str) -> None:
        """Let nobody come in through a connection."""
        await self._change(f"/v1/connections/{connection_id}", {"status": "paused"})

    async def take_codes(self, setting: str) -> None:
        """Decide as an org admin how the organization takes codes by mail."""
        await self._change("/v1/organization", {"email_codes": setting})

    async def _change(self, path: str, changes: dict[str, Any]) -> None:
        headers = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}
        changed = await self.world.org_admin.patch(path, json=changes, headers=headers)
        assert changed.status_code == 200, changed.text

    async def last_fact(self) -> UUID:
        """Return the id of the last fact about a code."""
        statement = text(
            "SELECT id FROM outbox_message WHERE type = :type ORDER BY id DESC LIMIT 1"
        )
        async with self.open() as session:
            found: UUID = (await session.execute(statement, {"type": codes.REQUESTED})).scalar_one()
        return found

    async def written(self) -> str:
        """Return everything that was written down of codes."""
        statement = text(
            "SELECT (SELECT json_agg(e)::text FROM email_code e)"
            " || (SELECT json_agg(o)::text FROM outbox_message o WHERE type = :type)"
        )
        async with self.open() as session:
            found: str = (await session.execute(statement, {"type": codes.REQUESTED})).scalar_one()
        return found

    def wrong(self, challenge_id: str) -> str:
        """Return another code."""
        return f"{(int(self.code(challenge_id)) + 1) % 10**codes.DIGITS:08}"


async def add_app(world: World, *scopes: str) -> App:
    """Register an app that people of the organization may sign in to."""
    made = await world.org_admin.post(
        "/v1/oauth-clients",
        json={
            "label": "An app",
            "kind": "app",
            "scopes": list(scopes or SCOPES),
            "redirect_uris": [REDIRECT],
        },
    )
    assert made.status_code == 201, made.text
    return App(world, ids.parse_id("oauth_client", made.json()["id"]))
