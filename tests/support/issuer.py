"""Apps and machines as the issuer meets them: with codes, tokens and keys of their own."""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from joserfc.jwk import ECKey, Key
from joserfc.jws import JWSRegistry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import rules as access
from services.api.access.rules import ClientKind, Scope
from services.api.access.tables import OAuthClient
from services.api.issuer import operations, rules
from services.api.resources import Resources
from shared import ids
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from tests.support.apps import World, client

REDIRECT = "https://app.example.org/signed-in"
SCOPES = (Scope.PEOPLE_READ, Scope.MEETINGS_READ, Scope.CONTENT_SELF)


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def organization_id(world: World) -> UUID:
    """Return the organization's id as the inside knows it."""
    return world.id


def working(world: World) -> AbstractAsyncContextManager[AsyncSession]:
    """Open a transaction in the organization."""
    resources: Resources = world.app.state.resources
    return transaction(resources.sessions, Tenant(organization_id(world)))


async def stored(world: World, statement: str, **values: object) -> list[Mapping[str, Any]]:
    """Return what the organization's own rows say, as they are committed."""
    async with working(world) as session:
        found = (await session.execute(text(statement), values)).mappings().all()
        return [dict(row) for row in found]


async def add_client(world: World, **values: Any) -> OAuthClient:
    """Register a client as if an org_admin had."""
    resources: Resources = world.app.state.resources
    now = resources.clock()
    row = OAuthClient(
        organization_id=organization_id(world),
        id=ids.new_id(),
        created_at=now,
        updated_at=now,
        label="A client",
        **({"scopes": [scope.value for scope in SCOPES]} | values),
    )
    async with working(world) as session:
        session.add(row)
    return row


@dataclass(slots=True)
class App:
    """An app that somebody may sign in at; it keeps the verifier of its sign-in."""

    world: World
    id: UUID
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def name(self) -> str:
        """Return its `client_id`."""
        return access.client_name(organization_id(self.world), self.id)

    async def code(
        self,
        person_id: str,
        *,
        redirect_uri: str | None = REDIRECT,
        scopes: Sequence[Scope] = SCOPES,
        signed_in_at: datetime | None = None,
    ) -> str:
        """Return the code of somebody who has just signed in."""
        resources: Resources = self.world.app.state.resources
        now = resources.clock()
        async with working(self.world) as session:
            return await operations.give_code(
                session,
                organization_id=organization_id(self.world),
                person_id=ids.parse_id("person", person_id),
                client_id=self.id,
                redirect_uri=redirect_uri,
                scopes=frozenset(scopes),
                code_challenge=challenge_of(self.verifier),
                auth_time=signed_in_at or now,
                now=now,
            )

    async def post(self, path: str, **fields: str | None) -> httpx.Response:
        """Send a form as this app; a field that is None is left out."""
        form = {"client_id": self.name} | fields
        data = {name: value for name, value in form.items() if value is not None}
        return await client(self.world.app).post(path, data=data)

    async def redeem(self, code: str, /, **changes: str | None) -> httpx.Response:
        """Trade a code for the first tokens."""
        fields: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": self.verifier,
        }
        return await self.post("/oauth/token", **(fields | changes))

    async def refresh(self, token: str, /, **changes: str | None) -> httpx.Response:
        """Trade a refresh token for the next one."""
        fields: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": token}
        return await self.post("/oauth/token", **(fields | changes))

    async def revoke(self, token: str, /, **changes: str | None) -> httpx.Response:
        """Sign out."""
        return await self.post("/oauth/revoke", **({"token": token} | changes))

    async def sign_in(self, person_id: str) -> dict[str, Any]:
        """Sign somebody in and return the answer with their first tokens."""
        answer = await self.redeem(await self.code(person_id))
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens


async def add_app(world: World, **values: Any) -> App:
    """Register an app that people may sign in at."""
    settings = {"kind": ClientKind.APP, "redirect_uris": [REDIRECT]}
    return App(world, (await add_client(world, **(settings | values))).id)


async def families(world: World) -> list[Mapping[str, Any]]:
    """Return every sign-in of the organization as it is stored."""
    return await stored(world, "SELECT * FROM refresh_family ORDER BY id")


async def reuse_events(world: World) -> list[Mapping[str, Any]]:
    """Return the security events about reused tokens."""
    statement = "SELECT * FROM outbox_message WHERE type = 'refresh_token.reused' ORDER BY id"
    return await stored(world, statement)


@dataclass(slots=True)
class Signer:
    """A machine that signs instead of showing a secret."""

    world: World
    id: UUID
    key: Key
    algorithm: str = "ES256"

    @property
    def name(self) -> str:
        """Return its `client_id`."""
        return access.client_name(organization_id(self.world), self.id)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return what an honest assertion says; a claim that is None is left out."""
        resources: Resources = self.world.app.state.resources
        now = int(resources.clock().timestamp())
        claims = {
            "iss": self.name,
            "sub": self.name,
            "aud": f"{resources.settings.issuer}/oauth/token",
            "iat": now,
            "exp": now + 60,
            "jti": secrets.token_hex(8),
        }
        return {name: one for name, one in (claims | changes).items() if one is not None}

    def sign(self, *, key: Key | None = None, header: Any = None, **changes: Any) -> str:
        """Return an assertion; changes and header say what a forger would."""
        headers = {"alg": self.algorithm, "kid": (key or self.key).kid} | (header or {})
        return signed(headers, self.claims(**changes), key or self.key)

    async def ask(self, assertion: str, **changes: str | None) -> httpx.Response:
        """Ask for a token with an assertion."""
        form: dict[str, str | None] = {
            "grant_type": "client_credentials",
            "client_assertion_type": rules.ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        data = {name: value for name, value in (form | changes).items() if value is not None}
        return await client(self.world.app).post("/oauth/token", data=data)


def signed(header: Mapping[str, Any], claims: Mapping[str, Any], key: Key) -> str:
    """Sign whatever a header says, as a careless or hostile library would."""
    name = {"EdDSA": "Ed25519"}.get(header["alg"], header["alg"])
    parts = [
        base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode()
        for one in ({k: v for k, v in header.items() if v is not None}, claims)
    ]
    signature = JWSRegistry.algorithms[name].sign(".".join(parts).encode(), key)
    return ".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=").decode()])


async def add_signer(world: World, key: Key | None = None, algorithm: str = "ES256") -> Signer:
    """Register a machine by its public key."""
    key = key or ECKey.generate_key("P-256", {"kid": "first"}, private=True)
    public = {**key.as_dict(private=False), "kid": key.kid}
    row = await add_client(world, scopes=["people:read"], jwks={"keys": [public]})
    return Signer(world, row.id, key, algorithm)
