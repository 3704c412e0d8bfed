"""Service tokens: one service speaks to another for a person, about one request, for a minute.

The token is a JWT (RFC 7519, RFC 8725) of type `svc+jwt`, signed ES256 by the calling service,
addressed to the callee and bound to method, path and the SHA-256 of the body. The callee decides
by `sub`, the person or client acted for.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

from shared import ids
from shared.clock import Clock
from shared.errors import UnauthenticatedError

ALGORITHM = "ES256"
LIFETIME_SECONDS = 60
LEEWAY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class ServiceCaller:
    """Who is calling, for which organization, and for whom."""

    service: str
    organization_id: UUID
    subject: str
    token_id: str
    expires_at: int


def body_digest(body: bytes) -> str:
    """Return the SHA-256 of a body, in hexadecimal."""
    return hashlib.sha256(body).hexdigest()


class ServiceSigner:
    """Makes tokens in the name of one service."""

    def __init__(self, *, service: str, key: str, clock: Clock) -> None:
        """Take the service's name and its private JWK as JSON."""
        self._service = service
        self._key = ECKey.import_key(json.loads(key))
        self._clock = clock

    def sign(
        self,
        *,
        audience: str,
        organization_id: UUID,
        subject: str,
        method: str,
        path: str,
        body: bytes,
    ) -> str:
        """Return a token good for exactly this request, for one minute."""
        now = int(self._clock().timestamp())
        claims = {
            "iss": self._service,
            "aud": audience,
            "sub": subject,
            "org": str(organization_id),
            "act": {"sub": self._service},
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
            "jti": str(ids.new_id()),
            "htm": method,
            "htu": path,
            "bh": body_digest(body),
        }
        header = {"alg": ALGORITHM, "typ": "svc+jwt", "kid": self._service}
        return jwt.encode(header, claims, self._key, algorithms=[ALGORITHM])


class ServiceVerifier:
    """Believes tokens of the services whose public keys it was given."""

    def __init__(self, *, service: str, public_keys: str, clock: Clock) -> None:
        """Take the callee's own name and the key set of all services as JSON."""
        self._service = service
        self._keys: Mapping[str, KeySet] = {
            key["kid"]: KeySet.import_key_set({"keys": [key]})
            for key in json.loads(public_keys)["keys"]
        }
        self._clock = clock

    def verify(self, *, method: str, path: str, body: bytes, authorization: str) -> ServiceCaller:
        """Return who is calling; anything doubtful is an `UnauthenticatedError`."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UnauthenticatedError
        claims = self._claims(token)
        expected = {"aud": self._service, "htm": method, "htu": path, "bh": body_digest(body)}
        if any(claims.get(name) != value for name, value in expected.items()):
            raise UnauthenticatedError(code="token_invalid")
        return _caller(claims)

    def _claims(self, token: str) -> Mapping[str, Any]:
        try:
            header = _header(token)
            keys = self._keys[header["kid"]]
            decoded = jwt.decode(token, keys, algorithms=[ALGORITHM])
            claims = decoded.claims
            now = self._clock().timestamp()
            is_current = claims["iat"] - LEEWAY_SECONDS <= now < claims["exp"] + LEEWAY_SECONDS
            is_short = claims["exp"] - claims["iat"] <= LIFETIME_SECONDS
            is_ours = header.get("typ") == "svc+jwt" and claims["iss"] == header["kid"]
        except (JoseError, KeyError, TypeError, ValueError):
            raise UnauthenticatedError(code="token_invalid") from None
        if not (is_current and is_short and is_ours):
            raise UnauthenticatedError(code="token_invalid")
        return claims


def _header(token: str) -> Mapping[str, Any]:
    header = jws.extract_compact(token.encode()).headers()
    if "crit" in header:
        raise ValueError("critical header fields are not understood")
    return header


def _caller(claims: Mapping[str, Any]) -> ServiceCaller:
    try:
        return ServiceCaller(
            service=str(claims["iss"]),
            organization_id=UUID(claims["org"]),
            subject=str(claims["sub"]),
            token_id=str(claims["jti"]),
            expires_at=int(claims["exp"]),
        )
    except (KeyError, TypeError, ValueError):
        raise UnauthenticatedError(code="token_invalid") from None
