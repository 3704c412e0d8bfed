"""What a client signs instead of showing a secret: `private_key_jwt` (RFC 7523, RFC 8725).

The algorithm belongs to the registered key, never to the assertion, which says nothing about keys
but the name of one.
"""

import base64
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key
from joserfc.jws import JWSRegistry

LIFETIME = timedelta(minutes=5)
LEEWAY = timedelta(seconds=30)
LONGEST = 8000
LONGEST_JTI = 255
COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
HEADERS = frozenset({"alg", "typ", "kid"})
TYPES = frozenset({"jwt", "client-authentication+jwt"})
# Each algorithm by its name in a header, and what checks it: EdDSA is the older name of Ed25519.
ALGORITHMS: Mapping[str, str] = MappingProxyType(
    {"ES256": "ES256", "RS256": "RS256", "EdDSA": "Ed25519", "Ed25519": "Ed25519"}
)
OF_KEYS: Mapping[tuple[str, str | None], frozenset[str]] = MappingProxyType(
    {
        ("EC", "P-256"): frozenset({"ES256"}),
        ("RSA", None): frozenset({"RS256"}),
        ("OKP", "Ed25519"): frozenset({"EdDSA", "Ed25519"}),
    }
)


@dataclass(frozen=True, slots=True)
class Assertion:
    """A verified assertion: by which name it is remembered, and until when."""

    jti_digest: bytes
    remembered_until: datetime


def subject(text: str) -> str:
    """Return whom an assertion claims to come from, unverified; malformed is a `ValueError`."""
    _header, claims = _parsed(text)
    return _text(claims, "sub")


def verify(
    text: str,
    *,
    keys: Sequence[Mapping[str, Any]],
    client: str,
    audiences: Collection[str],
    now: datetime,
) -> Assertion:
    """Return the assertion if the client signed it for us, now; else it is a `ValueError`."""
    header, claims = _parsed(text)
    if not any(_is_signed_by(one, header, text) for one in keys):
        raise ValueError("no registered key of the client signed this")
    if (_text(claims, "iss"), _text(claims, "sub")) != (client, client):
        raise ValueError("not of this client")
    if _audience(claims) not in audiences:
        raise ValueError("not for this issuer")
    jti = _text(claims, "jti")
    if not 0 < len(jti) <= LONGEST_JTI:
        raise ValueError("has no name, or one that is too long")
    return Assertion(
        jti_digest=hashlib.sha256(jti.encode("utf-8", "surrogatepass")).digest(),
        remembered_until=_expiry(claims, now) + LEEWAY,
    )


def algorithms_of(key: Mapping[str, Any]) -> frozenset[str]:
    """Return which algorithms a registered key may be used with; none if it is no such key."""
    fitting = OF_KEYS.get((str(key.get("kty")), key.get("crv")), frozenset())
    return fitting & {key["alg"]} if "alg" in key else fitting


def _is_signed_by(jwk: Mapping[str, Any], header: Mapping[str, Any], text: str) -> bool:
    if "kid" in header and header["kid"] != jwk.get("kid"):
        return False
    if header["alg"] not in algorithms_of(jwk):
        return False
    algorithm = JWSRegistry.algorithms[ALGORITHMS[header["alg"]]]
    signed, _, signature = text.rpartition(".")
    try:
        key: Key = import_key(dict(jwk))
        algorithm.check_key(key)
        return algorithm.verify(signed.encode(), _decoded(signature), key)
    except (JoseError, ValueError):
        return False


def _parsed(text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    if len(text) > LONGEST or COMPACT.fullmatch(text) is None:
        raise ValueError("no signed text")
    header, claims = (_object(part) for part in text.split(".")[:2])
    if not header.keys() <= HEADERS or _text(header, "alg") not in ALGORITHMS:
        raise ValueError("says what it may not, or is signed as nobody here does")
    if str(header.get("typ", "JWT")).lower() not in TYPES:
        raise ValueError("something else than an assertion")
    return header, claims


def _object(segment: str) -> Mapping[str, Any]:
    try:
        found = json.loads(_decoded(segment).decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("no object")  # noqa: TRY004 - one kind of refusal for whatever is wrong
    return found


def _decoded(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")  # noqa: TRY004 - as above
    return value


def _audience(claims: Mapping[str, Any]) -> str:
    """Return the only audience: what is meant for several could be passed on by one of them."""
    value = claims.get("aud")
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return _text({"aud": value}, "aud")


def _expiry(claims: Mapping[str, Any], now: datetime) -> datetime:
    expires = _instant(claims, "exp")
    if expires is None or not now - LEEWAY < expires <= now + LIFETIME + LEEWAY:
        raise ValueError("has expired, or lives too long")
    for name in ("iat", "nbf"):
        begins = _instant(claims, name)
        if begins is not None and begins > now + LEEWAY:
            raise ValueError("is not valid yet")
    return expires


def _instant(claims: Mapping[str, Any], name: str) -> datetime | None:
    if name not in claims:
        return None
    value = claims[name]
    if type(value) not in {int, float} or not 0 <= value < 2**33:
        raise ValueError(f"{name} is no time")
    return datetime.fromtimestamp(value, UTC)
