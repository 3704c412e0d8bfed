"""Access tokens: JWTs of type `at+jwt`, signed ES256 (RFC 7519, RFC 8725, RFC 9068).

The algorithm belongs to the key, never to the token; headers that point to keys are refused.
"""

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from joserfc import jwe, jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey

from services.api.access.rules import EVERY_SCOPE, Scope
from shared import ids
from shared.errors import UnauthenticatedError

ALGORITHM = "ES256"
TYPE = "at+jwt"
LIFETIME_SECONDS = 600
LEEWAY_SECONDS = 60
REFUSED_HEADERS = frozenset({"jku", "x5u", "jwk", "x5c", "crit"})
CACHE_SIZE = 4096
# Longer texts are none of ours; the bound also keeps hostile nesting away from the JSON parser.
LONGEST_TOKEN = 4000


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says."""

    organization_id: UUID
    subject: UUID
    is_person: bool
    access_version: int
    scopes: frozenset[Scope]
    expires_at: int


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """One signing key, with its private half."""

    id: UUID
    key: ECKey

    @property
    def kid(self) -> str:
        """Return the name under which the key is published."""
        return ids.encode(self.id)

    def public_jwk(self) -> dict[str, Any]:
        """Return the public half as a JWK."""
        return {**self.key.as_dict(private=False), "kid": self.kid, "alg": ALGORITHM, "use": "sig"}


def public_text(key: IssuerKey) -> str:
    """Return the public half as JSON, as it is stored beside the encrypted one."""
    return json.dumps(key.public_jwk(), sort_keys=True)


def generate_key(key_id: UUID) -> IssuerKey:
    """Make a fresh P-256 key."""
    return IssuerKey(key_id, ECKey.generate_key("P-256", private=True))


def encrypt_key(key: IssuerKey, secret: str) -> str:
    """Encrypt the private half for storage: JWE (RFC 7516), `dir` with A256GCM."""
    plain = json.dumps(key.key.as_dict(private=True)).encode()
    wrapping = OctKey.import_key({"kty": "oct", "k": secret})
    return jwe.encrypt_compact({"alg": "dir", "enc": "A256GCM"}, plain, wrapping)


def decrypt_key(key_id: UUID, encrypted: str, secret: str) -> IssuerKey:
    """Undo `encrypt_key`; a wrong secret is a `JoseError`."""
    wrapping = OctKey.import_key({"kty": "oct", "k": secret})
    plain = jwe.decrypt_compact(encrypted, wrapping).plaintext
    return IssuerKey(key_id, ECKey.import_key(json.loads(plain or b"{}")))


class Issuer:
    """The built-in issuer: signs with its newest key, believes all keys it publishes."""

    def __init__(
        self, *, name: str, audience: str, keys: Iterable[IssuerKey], ceiling: int
    ) -> None:
        """Take the issuer's address, the api's, the keys, and the longest life of a token."""
        self._name = name
        self._audience = audience
        self._keys = {key.kid: key for key in keys}
        self._newest = max(self._keys.values(), key=lambda key: key.id)
        self._ceiling = ceiling
        self._believed: OrderedDict[str, Claims] = OrderedDict()

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """Return the published key set."""
        return {"keys": [key.public_jwk() for key in self._keys.values()]}

    def issue(
        self,
        *,
        organization_id: UUID,
        subject: UUID,
        is_person: bool,
        access_version: int,
        scopes: Iterable[Scope],
        now: datetime,
        lifetime_seconds: int = LIFETIME_SECONDS,
    ) -> str:
        """Return a signed token; `subject` is a person or an OAuth client."""
        instant = int(now.timestamp())
        public = ids.format_id("person" if is_person else "oauth_client", subject)
        claims = {
            "iss": self._name,
            "aud": self._audience,
            "sub": public,
            "client_id": public,
            "org": ids.format_id("organization", organization_id),
            "scope": " ".join(sorted(scopes)),
            "ver": access_version,
            "iat": instant,
            "auth_time": instant,
            "exp": instant + min(lifetime_seconds, self._ceiling),
            "jti": ids.encode(ids.new_id()),
        }
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": self._newest.kid}
        return jwt.encode(header, claims, self._newest.key, algorithms=[ALGORITHM])

    def verify(self, token: str, *, now: datetime) -> Claims:
        """Return what the token says; anything doubtful is an `UnauthenticatedError`.

        A signature is checked once per token and process; time is checked on every call.
        """
        if len(token) > LONGEST_TOKEN:
            raise UnauthenticatedError(code="token_invalid")
        claims = self._believed.get(token)
        if claims is None:
            claims = self._decode(token, now)
            self._believed[token] = claims
            if len(self._believed) > CACHE_SIZE:
                self._believed.popitem(last=False)
        if now.timestamp() >= claims.expires_at + LEEWAY_SECONDS:
            raise UnauthenticatedError("This token has expired.", code="token_expired")
        return claims

    def _decode(self, token: str, now: datetime) -> Claims:
        try:
            key = self._keys[_kid(token)]
            claims = jwt.decode(token, key.key, algorithms=[ALGORITHM]).claims
            self._check(claims, now)
            return _believed(claims)
        except (JoseError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise UnauthenticatedError(code="token_invalid") from None

    def _check(self, claims: Mapping[str, Any], now: datetime) -> None:
        if claims["iss"] != self._name or claims["aud"] != self._audience:
            raise ValueError("not this issuer or not this audience")
        issued, expires = claims["iat"], claims["exp"]
        if not isinstance(issued, int) or not isinstance(expires, int):
            raise TypeError("times are whole seconds")
        latest = max(issued, int(claims.get("nbf", issued)))
        if expires - issued > self._ceiling or latest > now.timestamp() + LEEWAY_SECONDS:
            raise ValueError("lives too long or is not valid yet")


def _kid(token: str) -> str:
    header = jws.extract_compact(token.encode()).headers()
    if header.get("typ") != TYPE or not REFUSED_HEADERS.isdisjoint(header):
        raise ValueError("not an access token")
    return str(header["kid"])


def _believed(claims: Mapping[str, Any]) -> Claims:
    is_person = str(claims["sub"]).startswith("per_")
    known = {scope.value for scope in EVERY_SCOPE}
    return Claims(
        organization_id=ids.parse_id("organization", claims["org"]),
        subject=ids.parse_id("person" if is_person else "oauth_client", claims["sub"]),
        is_person=is_person,
        access_version=int(claims["ver"]),
        scopes=frozenset(Scope(one) for one in claims["scope"].split() if one in known),
        expires_at=claims["exp"],
    )
