"""What a connection decides: who is gone when a file leaves them out, who may sign in where."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

from shared.errors import InvalidError, Violation

LEAST_GUARD_PEOPLE, MOST_GUARD_PEOPLE = 5, 10_000
LEAST_GUARD_PERCENT, MOST_GUARD_PERCENT = 10, 50


OF_FILES = ("on_missing", "guard_people", "guard_percent")
"""Fields that mean something only where files leave people out."""

MOST_PROVIDERS = 20
"""So many buttons the sign-in page shows at most."""

USE_INTERVAL = timedelta(minutes=1)
OPENID = "openid"
DEFAULT_SCOPES = (OPENID, "email", "profile")


class ConnectionKind(StrEnum):
    """What is at the other end: files of people, or the organization's own sign-in."""

    FILE = "file"
    OIDC = "oidc"


class ConnectionStatus(StrEnum):
    """Whether people data or people may come in through it."""

    ACTIVE = "active"
    PAUSED = "paused"


class Provisioning(StrEnum):
    """What happens to somebody the provider knows and the directory does not."""

    OFF = "off"
    PENDING = "pending"


class OnMissing(StrEnum):
    """What it means that a full file leaves somebody out."""

    IGNORE = "ignore"
    DEACTIVATE = "deactivate"


def is_mass_change(*, leavers: int, active: int, people: int, percent: int) -> bool:
    """Tell whether so many leavers need a second look: more than both floors allow."""
    return leavers > max(people, active * percent // 100)


def check_fields(
    kind: ConnectionKind, sent: Mapping[str, Any], *, needs_settings: bool = False
) -> None:
    """Refuse fields that mean nothing for this kind of connection, and an oidc one without any."""
    foreign = OF_FILES if kind is ConnectionKind.OIDC else ("oidc",)
    broken = [
        Violation(f"#/{name}", "unexpected", f"A connection of kind {kind} has no {name}.")
        for name in foreign
        if sent.get(name) is not None
    ]
    if needs_settings and kind is ConnectionKind.OIDC and sent.get("oidc") is None:
        broken.append(Violation("#/oidc", "missing", "Say which identity provider it is."))
    if broken:
        raise InvalidError(errors=broken)


def with_openid(scopes: Iterable[str]) -> list[str]:
    """Return the scopes to ask for, each once; without `openid` there is no ID token."""
    return list(dict.fromkeys((OPENID, *scopes)))


def check_secret_goes_along(issuer: str, changes: Mapping[str, Any]) -> None:
    """Refuse to send a stored secret to another provider than the one it was given for."""
    if changes.get("issuer", issuer) != issuer and "client_secret" not in changes:
        raise InvalidError(
            errors=[
                Violation("#/oidc/client_secret", "missing", "Another issuer needs its own secret.")
            ]
        )


def redirect_uri(issuer: str) -> str:
    """Return where providers send browsers back to; it is registered with them."""
    return f"{issuer.rstrip('/')}/oauth/callback"
