"""Limits of granted roles and machine credentials."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from joserfc.errors import JoseError
from joserfc.jwk import import_key

from services.api.access import assertions
from services.api.access.roles import GRANTED, OF_A_PROGRAM, Role
from services.api.access.rules import SERVICE_SCOPES, Actor, ClientKind, Scope
from shared.errors import ConflictError, ForbiddenError, InvalidError, Violation

USUAL_GRACE_HOURS = 7 * 24
LONGEST_GRACE_HOURS = 30 * 24
MOST_REDIRECTS = 20
LONGEST_REDIRECT = 500
MOST_KEYS = 5

_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_PART = "([A-Za-z0-9._~!$&'()+,;=:@/-]|%[0-9A-Fa-f]{2})*"
REDIRECT = (
    rf"^(https://{_LABEL}(\.{_LABEL})*|http://(127\.0\.0\.1|\[::1\]))(:{_PORT})?"
    rf"(/{_PART})?(\?{_PART})?$"
)
"""Where an app may be answered: https, or http on this machine; one address each, no patterns."""

OF_APPS, OF_SERVICES = ("redirect_uris",), ("jwks", "expires_at")


@dataclass(frozen=True, slots=True)
class Ended:
    """A credential that has just ended, as its event names it."""

    organization_id: UUID
    id: UUID
    version: int


def check_grant(role: Role, program_id: UUID | None) -> None:
    """Refuse roles that are not granted, and a program where it is missing or has no place."""
    if role not in GRANTED:
        raise _invalid("#/role", "not_grantable", "This role follows from facts, not from grants.")
    if role in OF_A_PROGRAM and program_id is None:
        raise _invalid("#/program_id", "missing", f"The role {role} is held in one program.")
    if role not in OF_A_PROGRAM and program_id is not None:
        raise _invalid("#/program_id", "unexpected", f"A {role} is one of the organization.")


def check_expiry(expires_at: datetime | None, now: datetime) -> None:
    """Refuse what would have ended before it began."""
    if expires_at is not None and expires_at <= now:
        raise _invalid("#/expires_at", "out_of_range", "Choose a time to come.")


def require_held(actor: Actor, scopes: Iterable[str]) -> None:
    """Refuse to give scopes that the credential in use does not hold itself.

    Who holds a narrowed token would otherwise make themselves a wider one with it.
    """
    missing = sorted(set(scopes) - actor.scopes)
    if missing:
        raise ForbiddenError(
            f"This credential cannot give what it does not hold: {', '.join(missing)}.",
            code="insufficient_scope",
        )


def given_by(
    changes: Mapping[str, Any],
    *,
    scopes: Sequence[str],
    jwks: Mapping[str, Any] | None,
    redirect_uris: Sequence[str],
) -> frozenset[str]:
    """Return the scopes that a change of a client gives to somebody.

    These are the ones it adds. Where it adds a key or a redirect address, they are all that the
    client has then: whoever holds that key, or is sent people there, gets them.
    """
    held = frozenset(changes.get("scopes", scopes))
    known = (jwks or {}).get("keys", ())
    is_opened = any(key not in known for key in (changes.get("jwks") or {}).get("keys", ())) or any(
        one not in redirect_uris for one in changes.get("redirect_uris", ())
    )
    return held if is_opened else held - frozenset(scopes)


def last_org_admin() -> ConflictError:
    """Refuse to leave an organization with nobody to run it."""
    return ConflictError("Somebody must remain to run the organization.", code="last_org_admin")


def holds_a_role() -> ConflictError:
    """Refuse a change on which hangs who gets somebody's role."""
    return ConflictError(
        "This person holds a role, so only an org_admin in person, with the scope admin, changes"
        " their address or lets them in.",
        code="holds_a_role",
    )


def check_client(kind: ClientKind, sent: Mapping[str, Any]) -> None:
    """Refuse what this kind of client cannot have, and keys that are none."""
    foreign = OF_SERVICES if kind is ClientKind.APP else OF_APPS
    broken = [
        Violation(f"#/{name}", "unexpected", f"A client of kind {kind} has no {name}.")
        for name in foreign
        if sent.get(name)
    ]
    if kind is ClientKind.SERVICE:
        broken += [
            Violation(f"#/scopes/{place}", "not_grantable", "No machine holds this scope.")
            for place, scope in enumerate(sent.get("scopes") or ())
            if scope not in SERVICE_SCOPES
        ]
    broken += _broken_keys(sent.get("jwks") or {})
    if broken:
        raise InvalidError(errors=broken)


def _broken_keys(jwks: Mapping[str, Any]) -> list[Violation]:
    detail = "This is no public key that signatures can be checked with."
    return [
        Violation(f"#/jwks/keys/{place}", "malformed", detail)
        for place, key in enumerate(jwks.get("keys", ()))
        if not _is_key(key)
    ]


def _is_key(key: Mapping[str, Any]) -> bool:
    try:
        # A point that lies on no curve is noticed when it is read.
        is_readable = import_key(dict(key)).public_key is not None
    except (JoseError, KeyError, ValueError):
        return False
    return is_readable and bool(assertions.algorithms_of(key))


def needs_some_proof() -> InvalidError:
    """Refuse to leave a machine without any way to show who it is."""
    return _invalid("#/jwks", "missing", "This client has no secret; without keys it has nothing.")


def no_secret() -> ConflictError:
    """Refuse to give an app a secret: whoever has the app would have it too."""
    return ConflictError("An app keeps no secret, so there is none to rotate.", code="conflict")


def ended() -> ConflictError:
    """Refuse to change what opens nothing any more."""
    return ConflictError("This credential has ended.", code="already_ended")


def rotated_already() -> ConflictError:
    """Refuse a third live key of one line."""
    return ConflictError(
        "Another key has taken over from this one; rotate that one, or revoke it first.",
        code="already_exists",
    )


def sooner(planned: datetime | None, other: datetime) -> datetime:
    """Return the end that comes first."""
    return other if planned is None else min(planned, other)


def next_expiry(
    *, created_at: datetime, expires_at: datetime | None, now: datetime
) -> datetime | None:
    """Return when a key that takes over expires: it lives as long as the one before was to."""
    return None if expires_at is None else now + (expires_at - created_at)


def texts(scopes: Sequence[Scope]) -> list[str]:
    """Return scopes as they are stored."""
    return [scope.value for scope in scopes]


def _invalid(pointer: str, code: str, detail: str) -> InvalidError:
    return InvalidError(errors=[Violation(pointer, code, detail)])
