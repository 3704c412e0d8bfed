"""Turn the issuer's signing keys, and forget what the door no longer needs to remember."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, RowMapping, delete, not_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access import keys, tokens
from services.api.access.tables import IdempotencyRow, SigningKey
from services.api.timers.jobs import organizations
from shared import ids
from shared.persistence.leases import JobDatabase
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.settings import Mode
from shared.web.idempotency import OWN_ID

KEPT = timedelta(hours=48)
# A phone may be away over a long weekend before it asks again for what it made.
KEPT_BY_ID = timedelta(days=7)
# Signing keys belong to no organization; the nil tenant sees nothing else.
NOBODY = Tenant(UUID(int=0))


async def forget_intents(database: JobDatabase) -> None:
    """Delete remembered replies that nobody can be waiting for any more."""
    now = database.clock()
    is_by_id = col(IdempotencyRow.key).startswith(OWN_ID)
    for organization_id in await organizations(database):
        async with transaction(database.sessions, Tenant(organization_id)) as session:
            await session.execute(
                delete(IdempotencyRow).where(
                    col(IdempotencyRow.organization_id) == organization_id,
                    col(IdempotencyRow.created_at) < now - KEPT,
                    not_(is_by_id) | (col(IdempotencyRow.created_at) < now - KEPT_BY_ID),
                )
            )


@dataclass(frozen=True, slots=True)
class KeyDesk:
    """Where signing keys of one mode are turned; the secret encrypts their private halves."""

    database: JobDatabase
    mode: Mode
    secret: str


@dataclass(frozen=True, slots=True)
class NextKey:
    """The key that signs next or already, and whether it was made just now."""

    signs_from: datetime
    is_new: bool


async def turn_keys(desk: KeyDesk) -> int:
    """Make the next key where it is time, remove those whose last token ended; tell how many."""
    made = await make_next_key(desk)
    return int(made is not None and made.is_new) + await _remove_ended(desk)


async def make_next_key(desk: KeyDesk, *, is_wanted: bool = False) -> NextKey | None:
    """Make the next key when the newest has signed long enough, or at once when it is wanted.

    Never two on the way: while one waits for its turn there is no other. None means that there is
    no first key yet, which the api makes when it starts.
    """
    now = desk.database.clock()
    async with transaction(desk.database.sessions, NOBODY) as session:
        newest = await _newest(session, desk.mode)
        if newest is None:
            return None
        if not _is_due(newest, now, is_wanted=is_wanted):
            return NextKey(newest["signs_from"], is_new=False)
        signs_from = keys.first_use(now)
        is_ours = await _store(session, desk, newest["generation"] + 1, signs_from)
        if is_ours:
            await _end(session, desk.mode, newest["generation"], signs_from)
    return NextKey(signs_from, is_new=is_ours)


def _is_due(newest: RowMapping, now: datetime, *, is_wanted: bool) -> bool:
    if newest["ends_at"] is not None:
        # Its successor was removed by hand.
        return True
    age: timedelta = now - newest["signs_from"]
    return age >= (timedelta() if is_wanted else keys.SIGNING_PERIOD)


async def _newest(session: AsyncSession, mode: Mode) -> RowMapping | None:
    found = await session.execute(
        select(col(SigningKey.generation), col(SigningKey.signs_from), col(SigningKey.ends_at))
        .where(col(SigningKey.mode) == mode)
        .order_by(col(SigningKey.generation).desc())
        .limit(1)
    )
    return found.mappings().one_or_none()


async def _store(
    session: AsyncSession, desk: KeyDesk, generation: int, signs_from: datetime
) -> bool:
    key = keys.generate(ids.new_id(), signs_from=signs_from)
    stored = await session.execute(
        insert(SigningKey)
        .values(
            id=key.id,
            mode=desk.mode,
            generation=generation,
            public_jwk=keys.public_text(key),
            encrypted_jwk=keys.encrypt(key, desk.secret),
            created_at=desk.database.clock(),
            signs_from=signs_from,
        )
        .on_conflict_do_nothing()
    )
    return _count(stored) > 0


async def _end(
    session: AsyncSession, mode: Mode, generation: int, successor_signs_from: datetime
) -> None:
    seconds = tokens.longest_life(mode) + tokens.LEEWAY_SECONDS
    await session.execute(
        update(SigningKey)
        .where(col(SigningKey.mode) == mode, col(SigningKey.generation) == generation)
        .values(
            ends_at=keys.last_use(successor_signs_from, longest_life=timedelta(seconds=seconds))
        )
    )


async def _remove_ended(desk: KeyDesk) -> int:
    async with transaction(desk.database.sessions, NOBODY) as session:
        removed = await session.execute(
            delete(SigningKey).where(
                col(SigningKey.mode) == desk.mode,
                col(SigningKey.ends_at) <= desk.database.clock(),
            )
        )
        return _count(removed)


def _count(result: Any) -> int:
    done: CursorResult[Any] = result
    return done.rowcount
