"""What the issuer answers (RFC 8414, RFC 7517, RFC 6749)."""

from typing import Any, TypedDict


class Metadata(TypedDict):
    """What a client library has to know of the issuer."""

    issuer: str
    token_endpoint: str
    jwks_uri: str
    grant_types_supported: list[str]
    response_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    scopes_supported: list[str]


class KeySet(TypedDict):
    """The public keys that tokens are verified with."""

    keys: list[dict[str, Any]]


class TokenAnswer(TypedDict):
    """A short token and what it is limited to."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str
