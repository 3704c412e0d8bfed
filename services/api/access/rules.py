"""The actor: who performs a request, with the facts that decide what they may do."""

import hashlib
import hmac
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from services.api.access import roles
from services.api.access.roles import Role
from shared import ids
from shared.errors import ForbiddenError, UnauthenticatedError

SECRET_BYTES = 32
USE_INTERVAL = timedelta(minutes=1)
# Compared with when there is nothing to compare with, so that an unknown name takes as long.
NO_DIGEST = bytes(32)


class Scope(StrEnum):
    """What a credential is limited to; scopes only narrow."""

    PEOPLE_READ = "people:read"
    PEOPLE_WRITE = "people:write"
    PROGRAMS_READ = "programs:read"
    PROGRAMS_WRITE = "programs:write"
    PARTICIPANTS_READ = "participants:read"
    PARTICIPANTS_WRITE = "participants:write"
    MENTORSHIPS_READ = "mentorships:read"
    MENTORSHIPS_WRITE = "mentorships:write"
    MEETINGS_READ = "meetings:read"
    MEETINGS_WRITE = "meetings:write"
    MATCHING_READ = "matching:read"
    MATCHING_RUN = "matching:run"
    MATCHING_PUBLISH = "matching:publish"
    IMPORTS_WRITE = "imports:write"
    EVENTS_READ = "events:read"
    CONTENT_SELF = "content:self"
    ADMIN = "admin"


EVERY_SCOPE = frozenset(Scope)
# What pairs confide in each other is read with a person's own token only.
SERVICE_SCOPES = EVERY_SCOPE - {Scope.CONTENT_SELF}


class ClientKind(StrEnum):
    """Whom an OAuth client acts for: itself, or whoever signs in at it."""

    SERVICE = "service"
    APP = "app"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who performs this request.

    `granted` pairs each granted role with its program (None: the whole organization). A service
    has no person; a person's token carries every scope unless it was narrowed.
    """

    organization_id: UUID
    person_id: UUID | None
    client_id: UUID | None
    scopes: frozenset[Scope]
    granted: frozenset[tuple[Role, UUID | None]] = frozenset()

    @property
    def principal(self) -> str:
        """Return the stable name under which keys and quotas are counted."""
        return str(self.person_id or self.client_id)

    @property
    def standing(self) -> frozenset[Role]:
        """Return the facts that hold before any resource is known."""
        own = Role.PERSON if self.person_id else Role.SERVICE
        return frozenset({own, *(role for role, _program in self.granted)})

    def facts(
        self, *, program_id: UUID | None = None, person_id: UUID | None = None
    ) -> frozenset[Role]:
        """Return the facts that hold towards one program or person."""
        held = {Role.PERSON if self.person_id else Role.SERVICE}
        held.update(
            role for role, program in self.granted if program is None or program == program_id
        )
        if self.person_id is not None and self.person_id == person_id:
            held.add(Role.SELF)
        return frozenset(held)

    @property
    def holds_office(self) -> bool:
        """Tell whether an org_admin acts in person, and with all that the office may do."""
        return Scope.ADMIN in self.scopes and (Role.ORG_ADMIN, None) in self.granted

    def coordinates_anything(self) -> bool:
        """Tell whether the actor is a coordinator of some program."""
        return any(role is Role.COORDINATOR for role, _program in self.granted)

    def programs_as(self, role: Role) -> frozenset[UUID]:
        """Return the programs towards which the actor holds a granted role."""
        return frozenset(program for held, program in self.granted if held is role and program)


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a route demands before anything is loaded: a permission and a scope."""

    permission: str
    scope: Scope | None = None


def admit(actor: Actor, declaration: Declaration) -> None:
    """Refuse at the door whoever could not be granted the permission towards anything."""
    if declaration.scope is not None:
        require_scope(actor, declaration.scope)
    is_person = actor.person_id is not None
    if not roles.could_grant(declaration.permission, actor.standing, is_person=is_person):
        raise ForbiddenError


def require_scope(actor: Actor, scope: Scope) -> None:
    """Refuse a credential that lacks a scope."""
    if scope not in actor.scopes:
        raise ForbiddenError(f"This credential lacks the scope {scope}.", code="insufficient_scope")


def holds(permission: str, held: Collection[Role]) -> bool:
    """Tell whether a fact held towards the resource grants the permission."""
    return roles.grants(permission, frozenset(held))


def offered[Action: StrEnum](
    actor: Actor,
    actions: Iterable[Action],
    needs: Mapping[Action, Declaration],
    held: Collection[Role],
) -> list[str]:
    """Return those of the next steps that the actor may take, with these facts and scopes."""
    return [
        action.value
        for action in actions
        if holds(needs[action].permission, held)
        and (needs[action].scope is None or needs[action].scope in actor.scopes)
    ]


def require(permission: str, held: Collection[Role]) -> None:
    """Refuse unless a fact held towards the resource grants the permission."""
    if not holds(permission, held):
        raise ForbiddenError


class CredentialKind(StrEnum):
    """What a credential is, as its text begins."""

    API_KEY = "mk"
    AUTHORIZATION_CODE = "ac"
    REFRESH_TOKEN = "rt"  # noqa: S105 - the beginning of one, not one
    SIGN_IN = "si"


@dataclass(frozen=True, slots=True)
class CredentialText:
    """A credential as its holder sends it: `<kind>_<organization>_<public id>_<secret>`.

    It names its organization, so that it is looked up inside that tenant, and its row, so that
    only the digest of its secret has to be stored.
    """

    kind: CredentialKind
    organization_id: UUID
    id: UUID
    secret: str = field(repr=False)

    def __str__(self) -> str:
        """Return the text that is shown to its holder once."""
        organization, public = ids.encode(self.organization_id), ids.encode(self.id)
        return f"{self.kind}_{organization}_{public}_{self.secret}"


def new_credential(kind: CredentialKind, organization_id: UUID, row_id: UUID) -> CredentialText:
    """Return a credential with a fresh secret."""
    return CredentialText(kind, organization_id, row_id, new_secret())


def parse_credential(text: str, kind: CredentialKind) -> CredentialText:
    """Split a credential of this kind; anything malformed is a `ValueError`."""
    parts = text.split("_", 3)
    if len(parts) != 4 or parts[0] != kind:  # noqa: PLR2004 - the format has four parts
        raise ValueError("not a credential of this kind")
    return CredentialText(kind, ids.decode(parts[1]), ids.decode(parts[2]), parts[3])


@dataclass(frozen=True, slots=True)
class KeyText:
    """An API key as its holder sends it: `mk_<organization>_<public id>_<secret>`."""

    organization_id: UUID
    key_id: UUID
    secret: str = field(repr=False)

    def __str__(self) -> str:
        """Return the text that is shown to its holder once."""
        kind = CredentialKind.API_KEY
        return str(CredentialText(kind, self.organization_id, self.key_id, self.secret))


def parse_key(text: str) -> KeyText:
    """Split an API key; anything malformed is an `UnauthenticatedError`."""
    try:
        key = parse_credential(text, CredentialKind.API_KEY)
    except ValueError:
        raise UnauthenticatedError(code="token_invalid") from None
    return KeyText(key.organization_id, key.id, key.secret)


def client_name(organization_id: UUID, client_id: UUID) -> str:
    """Return an OAuth client's `client_id`; it names its organization, as a key does."""
    return f"{ids.encode(organization_id)}-{ids.encode(client_id)}"


def parse_client_name(text: str) -> tuple[UUID, UUID]:
    """Return organization and client of a `client_id`; anything malformed is a `ValueError`."""
    organization, _, client = text.partition("-")
    return ids.decode(organization), ids.decode(client)


def is_use_due(last_used_at: datetime | None, now: datetime) -> bool:
    """Tell whether a use is worth writing down: its minute is known well enough."""
    return last_used_at is None or last_used_at < now - USE_INTERVAL


def new_secret() -> str:
    """Return 256 random bits as hexadecimal text."""
    return secrets.token_hex(SECRET_BYTES)


def secret_digest(secret: str) -> bytes:
    """Return what is stored of a secret: with 256 random bits in it, SHA-256 cannot be guessed."""
    return hashlib.sha256(secret.encode()).digest()


def is_same_secret(secret: str, digest: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(secret_digest(secret), digest)


def first_end(*ends: datetime | None) -> datetime | None:
    """Return the end that comes first; None is never."""
    return min((one for one in ends if one is not None), default=None)


def is_live(*, expires_at: datetime | None, revoked_at: datetime | None, now: datetime) -> bool:
    """Tell whether a credential still opens doors."""
    return revoked_at is None and (expires_at is None or now < expires_at)
