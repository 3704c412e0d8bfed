"""Access tokens: JWTs of type `at+jwt`, signed ES256 (RFC 7519, RFC 8725, RFC 9068).

The algorithm belongs to the key, never to the token, and a token says nothing about keys but the
name of one. What can be read in two ways is not read at all.
"""

import base64
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from joserfc import jws, jwt
from joserfc.errors import JoseError

from services.api.access.keys import ALGORITHM, IssuerKey
from services.api.access.rules import EVERY_SCOPE, Scope
from shared import ids
from shared.errors import UnauthenticatedError
from shared.settings import Mode

TYPE = "at+jwt"
HEADERS = frozenset({"alg", "typ", "kid"})
LIFETIME_SECONDS = 600
DEMO_LIFETIME_SECONDS = 30 * 24 * 3600
LEEWAY_SECONDS = 60
# About a kilobyte each. Whoever has more tokens in use within ten minutes checks some twice.
CACHE_SIZE = 16_384
# Longer texts are none of ours; the bound also keeps hostile nesting away from the JSON parser.
LONGEST_TOKEN = 4000
COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class UnknownKeyError(UnauthenticatedError):
    """The token names a key that this process has not seen; another process may have made it."""


def longest_life(mode: Mode) -> int:
    """Return how many seconds a token of this mode may live."""
    return DEMO_LIFETIME_SECONDS if mode is Mode.DEMO else LIFETIME_SECONDS


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says.

    `client_id` is the OAuth client it was given to; a developer's own sign-in has none.
    """

    organization_id: UUID
    subject: UUID
    is_person: bool
    client_id: UUID | None
    access_version: int
    scopes: frozenset[Scope]
    auth_time: int
    issued_at: int
    expires_at: int


class Issuer:
    """The built-in issuer: signs with one key at a time, believes all keys it publishes."""

    def __init__(
        self, *, name: str, audience: str, keys: Iterable[IssuerKey], ceiling: int
    ) -> None:
        """Take the issuer's address, the api's, the keys, and the longest life of a token."""
        self._name = name
        self._audience = audience
        self._ceiling = ceiling
        self._keys: Mapping[str, IssuerKey] = {}
        self._believed: OrderedDict[str, Claims] = OrderedDict()
        self.know(keys)

    @property
    def keys(self) -> Sequence[IssuerKey]:
        """Return every key this issuer publishes."""
        return tuple(self._keys.values())

    def know(self, keys: Iterable[IssuerKey]) -> None:
        """Replace the key set; what a vanished key signed counts no more."""
        known = {key.kid: key for key in keys}
        if not self._keys.keys() <= known.keys():
            self._believed.clear()
        self._keys = known

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """Return the published key set."""
        return {"keys": [key.public_jwk() for key in self._keys.values()]}

    def signing_key(self, now: datetime) -> IssuerKey:
        """Return the key whose turn it is: the last one that may sign already."""
        ready = [key for key in self._keys.values() if key.signs_from <= now]
        if ready:
            return max(ready, key=lambda key: key.signs_from)
        return min(self._keys.values(), key=lambda key: key.signs_from)

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
        client_id: UUID | None = None,
        auth_time: datetime | None = None,
    ) -> str:
        """Return a signed token; `subject` is a person or an OAuth client.

        `client_id` is the OAuth client a person signed in at, and `auth_time` is when.
        """
        instant = int(now.timestamp())
        public = ids.format_id("person" if is_person else "oauth_client", subject)
        claims = {
            "iss": self._name,
            "aud": self._audience,
            "sub": public,
            "client_id": ids.format_optional("oauth_client", client_id) or public,
            "org": ids.format_id("organization", organization_id),
            "scope": " ".join(sorted(scopes)),
            "ver": access_version,
            "iat": instant,
            "auth_time": int((auth_time or now).timestamp()),
            "exp": instant + min(lifetime_seconds, self._ceiling),
            "jti": ids.encode(ids.new_id()),
        }
        key = self.signing_key(now)
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": key.kid}
        return jwt.encode(header, claims, key.key, algorithms=[ALGORITHM])

    def verify(self, token: str, *, now: datetime) -> Claims:
        """Return what the token says; anything doubtful is an `UnauthenticatedError`.

        A signature is checked once per token and process; time is checked on every call.
        """
        claims = self._believed.get(token)
        if claims is None:
            claims = self._decode(token, now)
            self._believed[token] = claims
            if len(self._believed) > CACHE_SIZE:
                self._believed.popitem(last=False)
        if now.timestamp() >= claims.expires_at + LEEWAY_SECONDS:
            del self._believed[token]
            raise UnauthenticatedError("This token has expired.", code="token_expired")
        return claims

    def _decode(self, token: str, now: datetime) -> Claims:
        if len(token) > LONGEST_TOKEN or COMPACT.fullmatch(token) is None:
            raise UnauthenticatedError(code="token_invalid")
        try:
            key = self._key(token)
            signed = jws.deserialize_compact(token, key.key, algorithms=[ALGORITHM])
            claims = _object(signed.payload or b"")
            self._check(claims, now)
            return _believed(claims)
        except (JoseError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise UnauthenticatedError(code="token_invalid") from None

    def _key(self, token: str) -> IssuerKey:
        header = _object(_decoded(token.partition(".")[0]))
        if header.keys() != HEADERS or (header["alg"], header["typ"]) != (ALGORITHM, TYPE):
            raise ValueError("not an access token of ours")
        key = self._keys.get(header["kid"])
        if key is None:
            # Only what could be the name of a key is worth looking for.
            ids.decode(header["kid"])
            raise UnknownKeyError(code="token_invalid")
        return key

    def _check(self, claims: Mapping[str, Any], now: datetime) -> None:
        if claims["iss"] != self._name or claims["aud"] != self._audience:
            raise ValueError("not this issuer or not this audience")
        issued, expires = _whole(claims, "iat"), _whole(claims, "exp")
        latest = max(issued, _whole(claims, "auth_time"))
        if "nbf" in claims:
            latest = max(latest, _whole(claims, "nbf"))
        if not 0 < expires - issued <= self._ceiling:
            raise ValueError("ends before it begins or lives too long")
        if latest > now.timestamp() + LEEWAY_SECONDS:
            raise ValueError("is not valid yet")


def _believed(claims: Mapping[str, Any]) -> Claims:
    subject, given_to = _text(claims, "sub"), _text(claims, "client_id")
    is_person = subject.startswith("per_")
    is_own = is_person and given_to == subject
    if not is_person and given_to != subject:
        raise ValueError("a client's token that another client holds")
    _text(claims, "jti")
    known = {scope.value for scope in EVERY_SCOPE}
    return Claims(
        organization_id=ids.parse_id("organization", claims["org"]),
        subject=ids.parse_id("person" if is_person else "oauth_client", subject),
        is_person=is_person,
        client_id=None if is_own else ids.parse_id("oauth_client", given_to),
        access_version=_whole(claims, "ver"),
        scopes=frozenset(Scope(one) for one in _text(claims, "scope").split(" ") if one in known),
        auth_time=claims["auth_time"],
        issued_at=claims["iat"],
        expires_at=claims["exp"],
    )


def _whole(claims: Mapping[str, Any], name: str) -> int:
    value = claims[name]
    # Not isinstance: true is a number there, and a float that is whole today is none tomorrow.
    if type(value) is not int:
        raise TypeError(f"{name} is no whole number")
    return value


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def _object(text: bytes) -> dict[str, Any]:
    # Read as text, or UTF-16 and the like would be guessed.
    found = json.loads(text.decode(), object_pairs_hook=_each_once, parse_constant=_no_constant)
    if not isinstance(found, dict):
        raise TypeError("not an object")
    return found


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _no_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


def _decoded(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
