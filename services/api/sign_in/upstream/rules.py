"""What an identity provider's answer must say before it is believed, and whom it can mean."""

import base64
import hashlib
import hmac
import secrets
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from authlib.oidc.core import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning

from shared import ids

NAMES: Mapping[str, list[str]] = MappingProxyType(
    {
        "RS256": ["RS256"],
        "PS256": ["PS256"],
        "ES256": ["ES256"],
        "EdDSA": ["EdDSA", "Ed25519"],
    }
)
"""What a token may call the one algorithm of its key."""

HASHES: Mapping[str, str] = MappingProxyType(
    {"RS256": "sha256", "PS256": "sha256", "ES256": "sha256", "EdDSA": "sha512"}
)
LEEWAY_SECONDS = 60
LONGEST_SUBJECT = 255
LONGEST_EXTERNAL_ID = 200
USER_NAME = "preferred_username"
USE_INTERVAL = timedelta(minutes=1)
_SPOKEN = ("given_name", "family_name", "email")


class IdTokenError(Exception):
    """The ID token is not believed; the code says why, for the log."""

    def __init__(self, code: str) -> None:
        """Name the reason."""
        super().__init__(code)
        self.code = code


class Obstacle(StrEnum):
    """Why somebody whom the provider vouches for does not get in."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class Linked:
    """Whom the provider means."""

    person_id: UUID


@dataclass(frozen=True, slots=True)
class NotProvisioned:
    """Nobody who may sign in here."""

    obstacle: Obstacle


@dataclass(frozen=True, slots=True)
class Expected:
    """What an ID token must be: from this issuer, for this client, in answer to this request."""

    issuer: str
    client_id: str
    nonce: str
    access_token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified ID token says of somebody."""

    issuer: str
    subject: str
    all: Mapping[str, Any] = field(repr=False)

    def text(self, name: str) -> str | None:
        """Return a claim that identifies, as text; whole numbers count, anything else is none."""
        value = self.all.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST_EXTERNAL_ID:
            return None
        # No source ever had such an id, and PostgreSQL takes no NUL.
        return value if value.isprintable() else None

    def authenticated_at(self, now: datetime) -> datetime:
        """Return when the provider saw who somebody is; now, where it does not say."""
        said = self.all.get("auth_time", 0)
        moment = now.timestamp()
        return datetime.fromtimestamp(said, UTC) if 0 < said < moment else now

    def newcomer(self) -> dict[str, Any] | None:
        """Return what to know somebody by, if the provider vouches for the address."""
        if self.all.get("email_verified") is not True:
            return None
        return {name: self.all.get(name) for name in _SPOKEN}


def new_secret() -> str:
    """Return 256 random bits as text; the alphabet suits state, nonce and PKCE verifier alike."""
    return secrets.token_urlsafe(32)


def new_state(sign_in_id: UUID) -> str:
    """Return a state that names its sign-in, since a browser may hold several."""
    return f"{ids.encode(sign_in_id)}.{new_secret()}"


def sign_in_of(state: str) -> UUID | None:
    """Return the sign-in that a state names."""
    try:
        return ids.decode(state.partition(".")[0])
    except ValueError:
        return None


def is_same(given: str, kept: str | None) -> bool:
    """Compare in constant time; what was kept counts once, so it may be gone."""
    return kept is not None and hmac.compare_digest(given.encode(), kept.encode())


def is_of_issuer(given: str | None, issuer: str, *, names_itself: bool) -> bool:
    """Tell whether an answer is the issuer's own (RFC 9207): named wrongly, it never is."""
    return not names_itself if given is None else given == issuer


def key_name(token: str) -> str | None:
    """Return which key a token says it is signed with."""
    try:
        header = jws.extract_compact(token.encode()).headers()
        kid = header.get("kid")
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
        raise IdTokenError("malformed") from None
    if "crit" in header or not (kid is None or isinstance(kid, str)):
        raise IdTokenError("header")
    return kid


def verify(token: str, *, key: Any, algorithm: str, expected: Expected, now: datetime) -> Claims:
    """Return what an ID token says (OpenID Connect Core, section 3.1.3.7).

    The algorithm is the key's; what the token says of algorithms or of keys decides nothing.
    """
    decoded = _decoded(token, key, algorithm)
    _check_kinds(decoded.claims)
    _check_access_token(decoded.claims, algorithm, expected.access_token)
    try:
        CodeIDToken(
            decoded.claims,
            decoded.header,
            options={
                "iss": {"essential": True, "value": expected.issuer},
                "aud": {"essential": True, "value": expected.client_id},
            },
            params={
                "nonce": expected.nonce,
                "client_id": expected.client_id,
            },
        ).validate(now=int(now.timestamp()), leeway=LEEWAY_SECONDS)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise IdTokenError(getattr(error, "claim", None) or "claims") from None
    if decoded.claims.get("auth_time", 0) > now.timestamp() + LEEWAY_SECONDS:
        raise IdTokenError("auth_time")
    return Claims(expected.issuer, decoded.claims["sub"], decoded.claims)


def _decoded(token: str, key: Any, algorithm: str) -> jwt.Token:
    registry = jws.JWSRegistry(algorithms=NAMES[algorithm], strict_check_header=False)
    try:
        with warnings.catch_warnings():
            # RFC 9864 gave EdDSA with this curve a second name; providers go on using the first.
            warnings.simplefilter("ignore", SecurityWarning)
            return jwt.decode(token, key, registry=registry)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise IdTokenError("signature") from None


def _check_access_token(
    claims: Mapping[str, Any], algorithm: str, access_token: str | None
) -> None:
    """Hold the access token that came along against its hash, where there is one."""
    if "at_hash" not in claims or access_token is None:
        return
    digest = hashlib.new(HASHES[algorithm], access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if claims["at_hash"] != half:
        raise IdTokenError("at_hash")


def _check_kinds(claims: Mapping[str, Any]) -> None:
    """Refuse claims of another kind than they must be, so that comparing them means something."""
    for name in ("exp", "iat", "auth_time", "nbf"):
        value = claims.get(name, 0 if name in {"auth_time", "nbf"} else None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise IdTokenError(name)
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(one, str) for one in named):
        raise IdTokenError("aud")
    subject = claims.get("sub")
    is_text = isinstance(subject, str) and subject.isprintable()
    if not is_text or not 0 < len(str(subject)) <= LONGEST_SUBJECT:
        raise IdTokenError("sub")
    for name in ("azp", "nonce", "at_hash", "iss"):
        if not isinstance(claims.get(name, ""), str):
            raise IdTokenError(name)
