"""Limits of codes in mails, what comes of asking and answering, and how a challenge is named."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from services.api.access import codes
from services.api.access.rules import Scope
from shared import ids

MAX_ATTEMPTS = codes.MAX_ATTEMPTS
PER_ADDRESS = 5
ADDRESS_WINDOW = timedelta(hours=1)
ORGANIZATION_WINDOW = timedelta(minutes=1)
KEPT_FOR = timedelta(days=1)
"""How long a challenge is remembered: longer than it is counted."""

PREFIX = ids.PREFIXES["email_code"]


@dataclass(frozen=True, slots=True)
class Challenge:
    """A code was asked for; whether a mail goes out is not told."""

    organization_id: UUID
    id: UUID
    expires_at: datetime

    def __str__(self) -> str:
        """Return its public name, which names its organization as credentials do."""
        return f"{PREFIX}_{ids.encode(self.organization_id)}_{ids.encode(self.id)}"


@dataclass(frozen=True, slots=True)
class TooMany:
    """The organization asks for too many codes just now."""

    retry_after_seconds: int


@dataclass(frozen=True, slots=True)
class Verified:
    """The code was right: who it is, and for which app they asked."""

    person_id: UUID
    client_id: UUID
    scopes: frozenset[Scope]
    code_challenge: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The code was wrong, too late, used, tried too often, or never sent: all look the same."""


@dataclass(frozen=True, slots=True)
class Off:
    """The organization signs in at its own provider, not with codes: said to everybody alike."""


def parse_challenge(text: str) -> tuple[UUID, UUID]:
    """Return organization and id of a challenge; anything malformed is a `ValueError`."""
    prefix, organization, challenge = text.split("_")
    if prefix != PREFIX:
        raise ValueError(f"not a name with the prefix {PREFIX}_")
    return ids.decode(organization), ids.decode(challenge)
