"""The protocol's requests: what they say, and whether it may be said (RFC 6749, 7636, 9207)."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit, urlunsplit
from uuid import UUID

from services.api.access.rules import SERVICE_SCOPES, Scope, parse_client_name

GRANT_TYPE = "client_credentials"
FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 20
CODE_LIFETIME = timedelta(seconds=60)
CHALLENGE_METHOD = "S256"
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
LONGEST_URI = 2000
LONGEST_STATE = 500
VISIBLE = re.compile(rf"[\x20-\x7e]{{1,{LONGEST_STATE}}}")
VISIBLE_URI = re.compile(rf"[\x21-\x7e]{{1,{LONGEST_URI}}}")
LOOPBACK = frozenset({"127.0.0.1", "::1"})
UNSUPPORTED = MappingProxyType(
    {"request": "request_not_supported", "request_uri": "request_uri_not_supported"}
)


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


def narrowed(
    wanted: str | None, granted: Iterable[str], *, ceiling: frozenset[Scope] = SERVICE_SCOPES
) -> frozenset[Scope]:
    """Return the scopes of the token: those asked for, which the client must have.

    Only what a person grants has room above what machines may hold.
    """
    held = frozenset(map(Scope, granted)) & ceiling
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
    return single(pairs)


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


@dataclass(frozen=True, slots=True)
class AppClient:
    """An app that people sign in to: what they are shown, and where it may be answered."""

    organization_id: UUID
    client_id: UUID
    label: str
    redirect_uris: tuple[str, ...]
    scopes: frozenset[Scope]


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """What an app asks for on behalf of whoever sits in front of it."""

    organization_id: UUID
    client_id: UUID
    redirect_uri: str
    scope: str | None
    state: str | None
    code_challenge: str


def single(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Return each parameter's value: an empty one counts as left out, a second one is refused."""
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in fields:
            raise TokenRefusal("invalid_request", "A parameter comes twice.")
        fields[name] = value
    return {name: value for name, value in fields.items() if value}


def parse_authorization(query: Mapping[str, str]) -> AuthorizationRequest:
    """Read an authorization request; whatever is wrong with it is a `TokenRefusal`.

    `query` comes from `single`. Whom to answer is known before the rest is judged: a refusal is
    sent to the redirect URI only when the app is live and has registered it.
    """
    try:
        organization_id, client_id = parse_client_name(query.get("client_id", ""))
    except ValueError:
        raise TokenRefusal("invalid_request", "client_id names no app.") from None
    for name, error in UNSUPPORTED.items():
        if name in query:
            raise TokenRefusal(error, f"{name} is not supported.")
    if query.get("response_type") != "code":
        raise TokenRefusal("unsupported_response_type", "response_type must be code.")
    if query.get("response_mode", "query") != "query":
        raise TokenRefusal("invalid_request", "response_mode can only be query.")
    return AuthorizationRequest(
        organization_id=organization_id,
        client_id=client_id,
        redirect_uri=_redirect_uri(query),
        scope=query.get("scope"),
        state=_state(query),
        code_challenge=_code_challenge(query),
    )


def _redirect_uri(query: Mapping[str, str]) -> str:
    given = query.get("redirect_uri", "")
    if not given or len(given) > LONGEST_URI:
        raise TokenRefusal("invalid_request", "redirect_uri is missing or too long.")
    return given


def _state(query: Mapping[str, str]) -> str | None:
    state = query.get("state")
    if state is not None and not VISIBLE.fullmatch(state):
        raise TokenRefusal("invalid_request", f"state is longer than {LONGEST_STATE} or not ASCII.")
    return state


def _code_challenge(query: Mapping[str, str]) -> str:
    if query.get("code_challenge_method") != CHALLENGE_METHOD:
        raise TokenRefusal(
            "invalid_request", f"code_challenge_method must be {CHALLENGE_METHOD} (RFC 7636)."
        )
    challenge = query.get("code_challenge", "")
    if not CHALLENGE.fullmatch(challenge):
        raise TokenRefusal("invalid_request", "code_challenge must be a SHA-256 in base64url.")
    return challenge


def is_challenge_met(verifier: str | None, challenge: str) -> bool:
    """Tell whether the verifier is the one whose digest came with the authorization request."""
    if verifier is None or not VERIFIER.fullmatch(verifier):
        return False
    digest = hashlib.sha256(verifier.encode()).digest()
    made = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return hmac.compare_digest(made, challenge)


def matches_redirect(registered: Sequence[str], given: str) -> bool:
    """Tell whether an app may be answered there: the same text, but for the port of a loopback.

    A program on the person's own machine cannot know its port beforehand (RFC 8252, section 7.3).
    Schemes that any app may claim are refused whoever registered them.
    """
    wanted = _without_loopback_port(given)
    return wanted is not None and any(_without_loopback_port(one) == wanted for one in registered)


def _without_loopback_port(uri: str) -> str | None:
    """Return what is compared of a redirect URI; None where nobody may be sent."""
    if not VISIBLE_URI.fullmatch(uri):
        return None
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return None
    if "#" in uri or "@" in parts.netloc or not parts.hostname:
        return None
    if parts.scheme == "https":
        return uri
    if parts.scheme != "http" or parts.hostname not in LOOPBACK:
        return None
    host = parts.netloc if port is None else parts.netloc.rpartition(":")[0]
    return uri.replace(parts.netloc, host, 1)


def redirect_back(uri: str, **params: str | None) -> str:
    """Return where the browser goes with the answer: `code` or `error`, `state` and `iss`."""
    parts = urlsplit(uri)
    added = urlencode([(name, value) for name, value in params.items() if value is not None])
    return urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))
