"""Token requests of the client credentials grant (RFC 6749, sections 2.3.1, 4.4 and 5)."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_plus
from uuid import UUID

from services.api.access.rules import SERVICE_SCOPES, Scope, parse_client_name

GRANT_TYPE = "client_credentials"
FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 20


class TokenRefusal(Exception):  # noqa: N818 - a refusal is an answer of the protocol, no fault
    """Why no token is given, as RFC 6749 section 5.2 names it."""

    def __init__(self, error: str, description: str) -> None:
        """Take the protocol's code and words for whoever writes the client."""
        super().__init__(error)
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A client that asks for a token, perhaps for less than it may have."""

    organization_id: UUID
    client_id: UUID
    secret: str = field(repr=False)
    scope: str | None


def parse_request(*, media_type: str, body: bytes, authorization: str | None) -> TokenRequest:
    """Read a token request; whatever is wrong with it is a `TokenRefusal`."""
    fields = _fields(media_type, body)
    name, secret = _credentials(fields, authorization)
    grant_type = fields.get("grant_type")
    if grant_type is None:
        raise TokenRefusal("invalid_request", "grant_type is missing.")
    if grant_type != GRANT_TYPE:
        raise TokenRefusal("unsupported_grant_type", f"Only {GRANT_TYPE} is supported.")
    try:
        organization_id, client_id = parse_client_name(name)
    except ValueError:
        raise unknown_client() from None
    return TokenRequest(organization_id, client_id, secret, fields.get("scope"))


def unknown_client() -> TokenRefusal:
    """Refuse a client that is unknown, revoked or shows a wrong secret: all look the same."""
    return TokenRefusal("invalid_client", "The client is not known, or its secret is wrong.")


def narrowed(wanted: str | None, granted: Sequence[str]) -> frozenset[Scope]:
    """Return the scopes of the token: those asked for, which the client must have."""
    held = frozenset(map(Scope, granted)) & SERVICE_SCOPES
    if wanted is None:
        return held
    named = frozenset(wanted.split(" "))
    if not named <= held:
        raise TokenRefusal("invalid_scope", "The client does not have every scope it asks for.")
    return frozenset(map(Scope, named))


def _fields(media_type: str, body: bytes) -> Mapping[str, str]:
    if media_type.partition(";")[0].strip().lower() != FORM:
        raise TokenRefusal("invalid_request", f"The request must be {FORM}.")
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise TokenRefusal("invalid_request", "The form cannot be read.") from None
    # A parameter without a value counts as left out; one that comes twice could mean two things.
    named = [name for name, _value in pairs]
    if len(set(named)) < len(named):
        raise TokenRefusal("invalid_request", "A parameter comes twice.")
    return {name: value for name, value in pairs if value}


def _credentials(fields: Mapping[str, str], authorization: str | None) -> tuple[str, str]:
    if authorization is None:
        return fields.get("client_id", ""), fields.get("client_secret", "")
    if "client_secret" in fields:
        raise TokenRefusal("invalid_request", "The client shows its secret in two places.")
    name, secret = _basic(authorization)
    if fields.get("client_id", name) != name:
        raise TokenRefusal("invalid_request", "The client gives two names.")
    return name, secret


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise unknown_client()
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise unknown_client() from None
    return unquote_plus(name), unquote_plus(secret)
