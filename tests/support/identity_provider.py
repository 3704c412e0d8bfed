"""An identity provider that does as it is told: honest by default, and wrong in one way at a time.

It speaks HTTP on a port of this machine. What it shares with the product is a specification.
"""

import asyncio
import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from fastapi import FastAPI, Request, Response
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from pydantic_core import to_json

from tests.support.served import served

type Key = RSAKey | ECKey | OKPKey

CLIENT_ID, CLIENT_SECRET = "mentoring", "a+secret/of the provider:%"


@dataclass(slots=True)
class Grant:
    """A code that was given, and what it must be redeemed with."""

    nonce: str
    challenge: str
    redirect_uri: str


@dataclass(slots=True)
class IdentityProvider:
    """One provider; every field may be changed to see what the product makes of it."""

    issuer: str = ""
    keys: dict[str, Key] = field(default_factory=dict)
    algorithm: str = "ES256"
    claims: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    forged: str | None = None
    published: bytes | None = None
    statuses: dict[str, int] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    on_asked: Callable[[], object] = object
    grants: dict[str, Grant] = field(default_factory=dict)

    def rotate(self) -> str:
        """Sign with a fresh key from now on; the old ones stay published."""
        kid = secrets.token_hex(4)
        self.keys[kid] = ECKey.generate_key("P-256", private=True)
        return kid

    @property
    def signing(self) -> tuple[str, Key]:
        """Return the newest key."""
        return list(self.keys.items())[-1]

    def answer_to(self, authorization_url: str, **changes: str | None) -> str:
        """Return where somebody's browser is sent once they have signed in here."""
        asked = {name: one[0] for name, one in parse_qs(urlsplit(authorization_url).query).items()}
        code = secrets.token_urlsafe(8)
        self.grants[code] = Grant(asked["nonce"], asked["code_challenge"], asked["redirect_uri"])
        answer = {"code": code, "state": asked["state"], "iss": self.issuer, **changes}
        sent = {name: value for name, value in answer.items() if value is not None}
        return f"{asked['redirect_uri']}?{urlencode(sent)}"

    def id_token(self, nonce: str, access_token: str) -> str:
        """Return what says who signed in, with whatever was changed about it."""
        now = int(time.time())
        digest = hashlib.new(
            "sha512" if self.algorithm == "Ed25519" else "sha256", access_token.encode()
        ).digest()
        half = digest[: len(digest) // 2]
        kid, key = self.signing
        claims = {
            "iss": self.issuer,
            "sub": "subject-1",
            "aud": CLIENT_ID,
            "exp": now + 300,
            "iat": now,
            "auth_time": now,
            "nonce": nonce,
            "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
            **self.claims,
        }
        said = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": self.algorithm, "kid": kid, "typ": "JWT", **self.header}
        registry = jws.JWSRegistry(algorithms=[self.algorithm], strict_check_header=False)
        return jwt.encode(header, said, key, registry=registry)

    def key_set(self) -> bytes:
        """Return the public keys."""
        keys = [
            key.as_dict(private=False) | {"kid": kid, "use": "sig"}
            for kid, key in self.keys.items()
        ]
        return self.published if self.published is not None else to_json({"keys": keys})

    def about(self) -> Mapping[str, Any]:
        """Return the metadata."""
        said = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "id_token_signing_alg_values_supported": ["ES256", "RS256"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }
        return {name: value for name, value in said.items() if value is not None}

    def times(self, path: str) -> int:
        """Return how often a path was asked for."""
        return self.asked.count(path)

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        path = request.url.path
        self.asked.append(path)
        self.on_asked()
        await asyncio.sleep(self.delays.get(path, 0))
        status = self.statuses.get(path, 200)
        if status in range(300, 400):
            return Response(status_code=status, headers={"Location": f"{self.issuer}/elsewhere"})
        if path.endswith("/.well-known/openid-configuration"):
            return _json(to_json(self.about()), status)
        if path == "/keys":
            return _json(self.key_set(), status)
        return await self._token(request, status)

    async def _token(self, request: Request, status: int) -> Response:
        form = {name: one[0] for name, one in parse_qs((await request.body()).decode()).items()}
        grant = self.grants.pop(form.get("code", ""), None)
        if not _is_client(request.headers.get("Authorization", ""), form):
            return _json(b'{"error": "invalid_client"}', 401)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if grant is None or (grant.challenge, grant.redirect_uri) != (
            challenge,
            form.get("redirect_uri"),
        ):
            return _json(b'{"error": "invalid_grant"}', 400)
        access_token = secrets.token_urlsafe(16)
        id_token = self.forged or self.id_token(grant.nonce, access_token)
        answer = {"access_token": access_token, "token_type": "Bearer", "id_token": id_token}
        return _json(to_json(answer), status)


def _is_client(authorization: str, form: Mapping[str, str]) -> bool:
    if "client_secret" in form:
        return (form["client_id"], form["client_secret"]) == (CLIENT_ID, CLIENT_SECRET)
    pair = f"{CLIENT_ID}:a%2Bsecret%2Fof%20the%20provider%3A%25"
    return authorization == "Basic " + base64.b64encode(pair.encode()).decode()


def _json(content: bytes, status: int) -> Response:
    return Response(content, status_code=status, media_type="application/json")


@asynccontextmanager
async def providing() -> AsyncIterator[IdentityProvider]:
    """Run a provider on a port of this machine."""
    provider = IdentityProvider()
    provider.rotate()
    app = FastAPI()
    app.add_api_route("/{path:path}", provider.answer, methods=["GET", "POST"])
    async with served(app) as address:
        provider.issuer = address.replace("127.0.0.1", "localhost")
        yield provider
