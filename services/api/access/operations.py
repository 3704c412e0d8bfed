"""Turn a credential into an actor, and keep what the door knows about a person current."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Table, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access import queries, rules
from services.api.access.roles import Role
from services.api.access.rules import SERVICE_SCOPES, Actor, KeyText, Scope
from services.api.access.tables import (
    AccessSubject,
    ApiKey,
    FamilyEnd,
    IdempotencyRow,
    OAuthClient,
    RefreshFamily,
)
from services.api.access.tokens import Claims
from shared.errors import UnauthenticatedError
from shared.persistence.reads import Reader, SessionReader, Statement, compiled
from shared.persistence.writes import put
from shared.web.idempotency import Remembered


@dataclass(frozen=True, slots=True)
class Knock:
    """An actor and how far their organization's clock is ahead."""

    actor: Actor
    clock_offset: timedelta
    is_use_due: bool = False


async def actor_of_token(reader: Reader, claims: Claims, *, now: datetime) -> Knock:
    """Load the person or client a token names; a stale access version ends it.

    A person's token opens no more than the app it was given to may hold now.
    """
    if claims.is_person:
        return await _person(reader, claims, now=now)
    return await _client(reader, claims, now=now)


async def actor_of_key(reader: Reader, key: KeyText, *, now: datetime) -> Knock:
    """Load the service an API key stands for; its secret must match and it must be live."""
    row = await reader.fetch_one(
        queries.key_facts(), organization_id=key.organization_id, key_id=key.key_id
    )
    digest = row["secret_digest"] if row else rules.NO_DIGEST
    if not rules.is_same_secret(key.secret, digest) or row is None:
        raise UnauthenticatedError(code="token_invalid")
    if not _is_live(row, now):
        raise UnauthenticatedError("This key no longer opens anything.", code="key_revoked")
    knock = _knock(row, _service(key.organization_id, key.key_id, row["scopes"]))
    return replace(knock, is_use_due=rules.is_use_due(row["last_used_at"], now))


async def _person(reader: Reader, claims: Claims, *, now: datetime) -> Knock:
    is_at_app = claims.client_id is not None
    row = await reader.fetch_one(
        queries.person_facts(is_at_app=is_at_app),
        organization_id=claims.organization_id,
        person_id=claims.subject,
        client_id=claims.client_id,
    )
    if row is None or not row["is_active"] or row["version"] != claims.access_version:
        raise UnauthenticatedError("This token has been withdrawn.", code="token_invalid")
    actor = Actor(
        organization_id=claims.organization_id,
        person_id=claims.subject,
        client_id=None,
        scopes=_through_app(row, claims.scopes, now) if is_at_app else claims.scopes,
        granted=frozenset(map(_grant, row["granted"] or ())),
    )
    return _knock(row, actor)


def _through_app(
    row: Mapping[str, Any], scopes: frozenset[Scope], now: datetime
) -> frozenset[Scope]:
    """Return what the app may still do for the person; one that ended does nothing more."""
    if not rules.is_live(
        expires_at=row["app_expires_at"], revoked_at=row["app_revoked_at"], now=now
    ):
        raise UnauthenticatedError("This client no longer opens anything.", code="key_revoked")
    return scopes & frozenset(map(Scope, row["app_scopes"]))


async def _client(reader: Reader, claims: Claims, *, now: datetime) -> Knock:
    row = await reader.fetch_one(
        queries.client_facts(), organization_id=claims.organization_id, client_id=claims.subject
    )
    if row is None:
        raise UnauthenticatedError(code="token_invalid")
    if not _is_live(row, now):
        raise UnauthenticatedError("This client no longer opens anything.", code="key_revoked")
    narrowed = claims.scopes & frozenset(map(Scope, row["scopes"]))
    return _knock(row, _service(claims.organization_id, claims.subject, narrowed))


def _is_live(row: Mapping[str, Any], now: datetime) -> bool:
    return rules.is_live(
        expires_at=rules.first_end(row["expires_at"], row["office_ends_at"]),
        revoked_at=row["revoked_at"],
        now=now,
    )


def _service(organization_id: UUID, client_id: UUID, scopes: Iterable[str]) -> Actor:
    return Actor(
        organization_id=organization_id,
        person_id=None,
        client_id=client_id,
        scopes=frozenset(map(Scope, scopes)) & SERVICE_SCOPES,
    )


def _grant(text: str) -> tuple[Role, UUID | None]:
    role, _, program = text.partition(":")
    return Role(role), UUID(program) if program else None


def _knock(row: Mapping[str, Any], actor: Actor) -> Knock:
    return Knock(actor, timedelta(seconds=row["offset_seconds"] or 0))


async def put_subject(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID, is_active: bool
) -> None:
    """Tell the door of a person; a changed state ends every token issued before."""
    await SessionReader(session).fetch(
        _subject(),
        organization_id=organization_id,
        person_id=person_id,
        version=1,
        is_active=is_active,
    )


@cache
def _subject() -> Statement:
    statement = insert(AccessSubject)
    columns = ("organization_id", "person_id", "version", "is_active")
    return compiled(
        statement.on_conflict_do_update(
            index_elements=["organization_id", "person_id"],
            set_={
                "is_active": statement.excluded.is_active,
                "version": AccessSubject.version + 1,
            },
            where=col(AccessSubject.is_active) != statement.excluded.is_active,
        ),
        columns=columns,
    )


async def end_tokens(session: AsyncSession, *, organization_id: UUID, person_id: UUID) -> None:
    """End every token of a person, from their next request on."""
    await session.execute(
        update(AccessSubject)
        .where(
            col(AccessSubject.organization_id) == organization_id,
            col(AccessSubject.person_id) == person_id,
        )
        .values(version=AccessSubject.version + 1)
    )


async def end_sessions(
    session: AsyncSession,
    *,
    organization_id: UUID,
    person_id: UUID,
    now: datetime,
    because: FamilyEnd = FamilyEnd.ACCESS_CHANGED,
) -> None:
    """End every token and every sign-in of a person, from their next request on."""
    await end_tokens(session, organization_id=organization_id, person_id=person_id)
    await session.execute(
        update(RefreshFamily)
        .where(
            col(RefreshFamily.organization_id) == organization_id,
            col(RefreshFamily.person_id) == person_id,
            col(RefreshFamily.revoked_at).is_(None),
        )
        .values(
            revoked_at=now,
            revoked_because=because,
            updated_at=now,
            version=RefreshFamily.version + 1,
        )
    )


async def note_use(
    session: AsyncSession,
    table: type[ApiKey | OAuthClient],
    *,
    organization_id: UUID,
    row_id: UUID,
    now: datetime,
) -> None:
    """Remember roughly when a credential was last used: at most once a minute."""
    await session.execute(
        update(table)
        .where(
            col(table.organization_id) == organization_id,
            col(table.id) == row_id,
            (col(table.last_used_at).is_(None))
            | (col(table.last_used_at) < now - rules.USE_INTERVAL),
        )
        .values(last_used_at=now)
    )


async def hold_intent(
    reader: Reader, actor: Actor, *, operation: str, key: str, is_awaited: bool
) -> bool:
    """Claim an intent until this transaction ends; False while another one works on it.

    An awaited one is claimed as soon as the other has ended, and never False. A statement of its
    own: whoever asks for the answer in the same one looks from before the claim.
    """
    intent = f"{actor.organization_id}:{actor.principal}:{operation}:{key}"
    row = await reader.fetch_one(queries.held_intent(is_awaited=is_awaited), intent=intent)
    return is_awaited or (row is not None and bool(row["is_held"]))


async def recall(reader: Reader, actor: Actor, *, operation: str, key: str) -> Remembered | None:
    """Return the answer that an intent got, if it got one."""
    row = await reader.fetch_one(
        queries.remembered(),
        organization_id=actor.organization_id,
        principal=actor.person_id or actor.client_id,
        operation=operation,
        key=key,
    )
    return None if row is None else Remembered(**row)


async def remember(
    session: AsyncSession,
    actor: Actor,
    answer: Remembered,
    *,
    operation: str,
    key: str,
    now: datetime,
) -> None:
    """Keep the answer to an intent, in the transaction of its effect."""
    row = {
        "organization_id": actor.organization_id,
        "principal": actor.person_id or actor.client_id,
        "operation": operation,
        "key": key,
        "fingerprint": answer.fingerprint,
        "status": answer.status,
        "headers": answer.headers,
        "body": answer.body,
        "created_at": now,
    }
    table: Table = IdempotencyRow.__table__  # type: ignore[attr-defined]  # SQLModel hides it
    await put(session, table, row)
