"""A row is the job: claimed with a lease, finished only by whoever still holds it.

Claims are made as `worker_system`, which sees ids, due times and lease columns across
organizations and never content; the work then happens in the row's own organization.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Table,
    Update,
    and_,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine


@dataclass(frozen=True, slots=True)
class Queue:
    """A table of jobs: when a row is due, how long a lease lasts, how often a row is tried.

    `due` is the condition a row must meet besides being free; it may name columns of `joined`.
    """

    table: Table
    lease_seconds: float
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Claim:
    """One row this worker may work on until its lease ends."""

    organization_id: UUID
    id: UUID
    lease_token: UUID
    attempts: int


def free(table: Table, now: datetime) -> ColumnElement[bool]:
    """Return the condition that nobody holds a live lease on the row."""
    return or_(table.c.leased_until.is_(None), table.c.leased_until <= now)


def _candidates(
    queue: Queue, *, due: ColumnElement[bool], joined: FromClause | None, now: datetime, limit: int
) -> Select[UUID, UUID]:
    table = queue.table
    source = joined if joined is not None else table
    return (
        select(table.c.organization_id, table.c.id)
        .select_from(source)
        .where(due, free(table, now), table.c.attempts < queue.max_attempts)
        .order_by(table.c.due_at, table.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=table)
    )


async def claim(
    engine: AsyncEngine,
    queue: Queue,
    *,
    due: ColumnElement[bool],
    now: datetime,
    limit: int,
    joined: FromClause | None = None,
) -> Sequence[Claim]:
    """Take up to `limit` due rows; `now` is the real time, which leases run on."""
    table = queue.table
    async with engine.begin() as connection:
        rows = (
            await connection.execute(
                _candidates(queue, due=due, joined=joined, now=now, limit=limit)
            )
        ).all()
        claims = []
        for organization_id, row_id in rows:
            token = uuid4()
            # Counted at the claim: a row that kills its worker must still run out of attempts.
            result = await connection.execute(
                _of(table, organization_id, row_id)
                .values(
                    leased_until=now + timedelta(seconds=queue.lease_seconds),
                    lease_token=token,
                    attempts=table.c.attempts + 1,
                )
                .returning(table.c.attempts)
            )
            claims.append(Claim(organization_id, row_id, token, result.scalar_one()))
        return claims


async def renew(engine: AsyncEngine, queue: Queue, claimed: Claim, *, now: datetime) -> bool:
    """Prolong a lease; False means that it was lost and the work must stop."""
    async with engine.begin() as connection:
        result = await connection.execute(
            _of(queue.table, claimed.organization_id, claimed.id)
            .where(queue.table.c.lease_token == claimed.lease_token)
            .values(leased_until=now + timedelta(seconds=queue.lease_seconds))
        )
        return bool(result.rowcount)


async def release(engine: AsyncEngine, queue: Queue, claimed: Claim) -> None:
    """Give an unworked row back; the attempt does not count."""
    table = queue.table
    async with engine.begin() as connection:
        await connection.execute(
            _of(table, claimed.organization_id, claimed.id)
            .where(table.c.lease_token == claimed.lease_token)
            .values(
                leased_until=None,
                lease_token=None,
                attempts=func.greatest(table.c.attempts - 1, 0),
            )
        )


def _of(table: Table, organization_id: UUID, row_id: UUID) -> Update:
    return update(table).where(
        and_(table.c.organization_id == organization_id, table.c.id == row_id)
    )
