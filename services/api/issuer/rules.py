"""The protocol's requests: what they say, and whether it may be said (RFC 6749, 7636, 9207)."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit, urlunsplit
from uuid import UUID

from services.api.access import assertions
from services.api.access.rules import SERVICE_SCOPES, Scope, client_name, parse_client_name

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 20
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CODE_LIFETIME = timedelta(seconds=60)
IDLE_LIFETIME = timedelta(days=30)
LONGEST_LIFETIME = timedelta(days=90)
LOST_REPLY = timedelta(seconds=30)
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


class GrantType(StrEnum):
    """What a token is given for."""

    CLIENT_CREDENTIALS = "client_credentials"
    AUTHORIZATION_CODE = "authorization_code"
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a grant's name, not a token


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A form sent by a client, and how the client shows who it is.

    A machine shows a secret or something it signed; an app, which can keep no secret, only names
    itself.
    """

    organization_id: UUID
    client_id: UUID
    secret: str | None = field(repr=False)
    assertion: str | None = field(repr=False)
    fields: Mapping[str, str] = field(repr=False)

    @property
    def client_name(self) -> str:
        """Return the `client_id` the client is known by."""
        return client_name(self.organization_id, self.client_id)


@dataclass(frozen=True, slots=True)
class Client:
    """A client that has shown who it is: what it may ask for, and whether its use is noted.

    `first_used` is the digest of a secret that nobody had used before.
    """

    organization_id: UUID
    id: UUID
    is_app: bool
    scopes: frozenset[Scope]
    is_use_due: bool
    first_used: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Granted:
    """What a token will say; the token itself is made once this is committed."""

    client: Client
    subject: UUID
    is_person: bool
    access_version: int
    scopes: frozenset[Scope]
    auth_time: datetime | None = None
    refresh_token: str | None = field(default=None, repr=False)


class Use(StrEnum):
    """What presenting a refresh token means."""

    NEXT = "next"
    AGAIN = "again"
    REUSED = "reused"


def parse_form(*, media_type: str, body: bytes, authorization: str | None) -> ClientRequest:
    """Read a client's form; whatever is wrong with it is a `TokenRefusal`."""
    fields = _fields(media_type, body)
    name, secret = _credentials(fields, authorization)
    assertion = _assertion(fields)
    if assertion is not None and secret is not None:
        raise TokenRefusal("invalid_request", "The client shows who it is in two ways.")
    try:
        if assertion is not None and not name:
            name = assertions.subject(assertion)
        organization_id, client_id = parse_client_name(name)
    except ValueError:
        raise unknown_client(is_signed=assertion is not None) from None
    return ClientRequest(organization_id, client_id, secret, assertion, fields)


def grant_type(fields: Mapping[str, str]) -> GrantType:
    """Return which grant a token request uses."""
    named = required(fields, "grant_type")
    if named not in set(GrantType):
        supported = ", ".join(GrantType)
        raise TokenRefusal("unsupported_grant_type", f"grant_type is one of {supported}.")
    return GrantType(named)


def required(fields: Mapping[str, str], name: str) -> str:
    """Return a parameter that may not be missing."""
    if name not in fields:
        raise TokenRefusal("invalid_request", f"{name} is missing.")
    return fields[name]


def unknown_client(*, is_signed: bool = False) -> TokenRefusal:
    """Refuse a client that is unknown, revoked or shows a wrong secret: all look the same."""
    if is_signed:
        return TokenRefusal(
            "invalid_client",
            "The client is not known, or its assertion is not fit: signed with a registered key,"
            " aud is this issuer alone, exp at most five minutes ahead, jti never used before.",
        )
    return TokenRefusal("invalid_client", "The client is not known, or its secret is wrong.")


def unknown_grant() -> TokenRefusal:
    """Refuse a code or token that is unknown, used, old or another's: all look the same."""
    return TokenRefusal("invalid_grant", "This code or token is not valid, or not any more.")


def require_grant(grant: GrantType, *, is_app: bool) -> None:
    """Refuse a grant that is not for this kind of client: people sign in at apps only."""
    if is_app is (grant is GrantType.CLIENT_CREDENTIALS):
        raise TokenRefusal("unauthorized_client", f"{grant} is not for this kind of client.")


def require_own_code(
    fields: Mapping[str, str],
    *,
    redirect_uri: str | None,
    code_challenge: str,
    expires_at: datetime,
    now: datetime,
) -> None:
    """Refuse a code whose minute is over, or that was given to somebody else.

    Whoever began the sign-in knows the verifier, which is proof enough (OAuth 2.1). Clients of
    OAuth 2.0 say as well where the answer was sent, and are held to it.
    """
    said = fields.get("redirect_uri")
    is_elsewhere = None not in {said, redirect_uri} and said != redirect_uri
    is_met = is_challenge_met(fields.get("code_verifier"), code_challenge)
    if now >= expires_at or is_elsewhere or not is_met:
        raise unknown_grant()


def require_revocable(token: str) -> None:
    """Refuse to promise the end of an access token, which ends by itself (RFC 7009, 2.2.1)."""
    if assertions.COMPACT.fullmatch(token):
        raise TokenRefusal(
            "unsupported_token_type",
            "An access token ends by itself within minutes; revoke the refresh token.",
        )


def judge(
    *, used_at: datetime | None, dead_at: datetime | None, has_unused_successor: bool, now: datetime
) -> Use:
    """Tell what it means that this token is presented now.

    A phone that never got the answer asks the same question again, soon and maybe more than once,
    and has used none of the tokens it did not get. Whatever else presents an old token shows that
    two hold the sign-in.
    """
    if dead_at is None and used_at is None:
        return Use.NEXT
    is_soon = used_at is not None and now <= used_at + LOST_REPLY
    if dead_at is None and is_soon and has_unused_successor:
        return Use.AGAIN
    return Use.REUSED


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


def _credentials(fields: Mapping[str, str], authorization: str | None) -> tuple[str, str | None]:
    if authorization is None:
        return fields.get("client_id", ""), fields.get("client_secret")
    if "client_secret" in fields:
        raise TokenRefusal("invalid_request", "The client shows its secret in two places.")
    name, secret = _basic(authorization)
    if fields.get("client_id", name) != name:
        raise TokenRefusal("invalid_request", "The client gives two names.")
    return name, secret


def _basic(authorization: str) -> tuple[str, str | None]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise unknown_client()
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise unknown_client() from None
    return unquote_plus(name), unquote_plus(secret) or None


def _assertion(fields: Mapping[str, str]) -> str | None:
    kind, text = fields.get("client_assertion_type"), fields.get("client_assertion")
    if kind is None and text is None:
        return None
    if kind != ASSERTION_TYPE or text is None:
        raise TokenRefusal("invalid_request", f"client_assertion_type must be {ASSERTION_TYPE}.")
    return text


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
