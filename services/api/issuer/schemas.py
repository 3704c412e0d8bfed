"""What the issuer answers (RFC 8414, RFC 7517, RFC 6749, RFC 9207)."""

from typing import Any, NotRequired, TypedDict


class Metadata(TypedDict):
    """What a client library has to know of the issuer."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    scopes_supported: list[str]
    response_types_supported: list[str]
    response_modes_supported: list[str]
    grant_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    token_endpoint_auth_signing_alg_values_supported: list[str]
    revocation_endpoint_auth_methods_supported: list[str]
    revocation_endpoint_auth_signing_alg_values_supported: list[str]
    code_challenge_methods_supported: list[str]
    authorization_response_iss_parameter_supported: bool


class KeySet(TypedDict):
    """The public keys that tokens are verified with."""

    keys: list[dict[str, Any]]


class TokenAnswer(TypedDict):
    """A short token and what it is limited to; a person's comes with the way to the next one."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str
    refresh_token: NotRequired[str]
