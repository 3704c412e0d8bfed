"""A row is the job: claimed with a lease, finished only by whoever still holds it.

Claims are made as `worker_system`, which sees ids, due times and lease columns across
organizations and never content; the work then happens in the row's own organization.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    DateTime,
    FromClause,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    func,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.dml import ReturningUpdate

from shared.clock import Clock
from shared.persistence.sessions import Sessions

ENDLESS = 2**31 - 1
"""`max_attempts` of a row that is never given up."""


@dataclass(frozen=True, slots=True)
class JobDatabase:
    """The database as background work meets it, and the real time that leases run on.

    `claims` is `worker_system`, which sees no content; `sessions` work as `app_jobs`.
    """

    claims: AsyncEngine
    sessions: Sessions
    clock: Clock


@dataclass(frozen=True, slots=True)
class Queue:
    """A table of jobs: how long a lease lasts, how often a row is tried, and which comes first.

    `key` names the column that tells the rows of one organization apart.
    """

    table: Table
    lease_seconds: float
    max_attempts: int
    key: str = "id"
    order: tuple[str, ...] = ("due_at", "id")

    @property
    def id(self) -> Column[UUID]:
        """Return the column that tells the rows of one organization apart."""
        return self.table.c[self.key]


@dataclass(frozen=True, slots=True)
class Claim:
    """One row this worker may work on until its lease ends."""

    organization_id: UUID
    id: UUID
    lease_token: UUID
    attempts: int


type Note = Callable[[AsyncConnection, Sequence[Claim]], Awaitable[None]]
"""What else is written in the transaction that claims rows."""

NOW = bindparam("now", type_=DateTime(timezone=True))
"""The real time at which rows are looked for: conditions name it instead of a moment."""


def free(table: Table, now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """Return the condition that nobody holds a live lease on the row."""
    return or_(table.c.leased_until.is_(None), table.c.leased_until <= now)


@dataclass(slots=True, eq=False)
class Search:
    """Which rows of a queue are claimed, up to `limit` that are free and meet `due`.

    `due` may name columns of `joined`, `NOW`, and parameters that each claim gives. With
    `organizations`, a table that has a row for each of them, they take turns: the longest backlog
    of one keeps no other waiting. The statements are built once, as idle workers look often.
    """

    queue: Queue
    due: ColumnElement[bool]
    limit: int
    joined: FromClause | None = None
    organizations: Table | None = None
    candidates: Select[UUID, UUID] = field(init=False, repr=False)
    taking: ReturningUpdate[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Build the statements that look for rows and take one."""
        table = self.queue.table
        source = table if self.joined is None else self.joined
        ready = and_(self.due, free(table, NOW), table.c.attempts < self.queue.max_attempts)
        locked = _locked(self.queue, source, ready)
        self.candidates = (
            locked.limit(self.limit)
            if self.organizations is None
            else locked.where(
                tuple_(table.c.organization_id, self.queue.id).in_(
                    _in_turn(self.queue, source, ready, self.organizations, limit=self.limit)
                )
            )
        )
        self.taking = (
            update(table)
            .where(
                table.c.organization_id == bindparam("of_organization"),
                self.queue.id == bindparam("of_row"),
            )
            .values(
                leased_until=bindparam("until"),
                lease_token=bindparam("token"),
                # Counted at the claim: a row that kills its worker must still run out of attempts.
                attempts=table.c.attempts + 1,
            )
            .returning(table.c.attempts)
        )


def _in_turn(
    queue: Queue,
    source: FromClause,
    due: ColumnElement[bool],
    organizations: Table,
    *,
    limit: int,
) -> Select[UUID, UUID]:
    """Return the first due row of every organization, then the second of each, and so on."""
    table, each = queue.table, organizations.alias("each")
    order = [table.c[name] for name in queue.order]
    of_each = (
        select(queue.id.label("id"), func.row_number().over(order_by=order).label("turn"))
        .select_from(source)
        .where(due, table.c.organization_id == each.c.organization_id)
        .order_by(*order)
        .limit(limit)
        .correlate(each)
        .lateral("of_each")
    )
    return (
        select(each.c.organization_id, of_each.c.id)
        .select_from(each.join(of_each, true()))
        .order_by(of_each.c.turn, of_each.c.id)
        .limit(limit)
        .correlate(None)
    )


def _locked(queue: Queue, source: FromClause, due: ColumnElement[bool]) -> Select[UUID, UUID]:
    table = queue.table
    return (
        select(table.c.organization_id, queue.id)
        .select_from(source)
        .where(due)
        .order_by(*(table.c[name] for name in queue.order))
        .with_for_update(skip_locked=True, of=table)
    )


async def claim(
    engine: AsyncEngine,
    search: Search,
    *,
    now: datetime,
    note: Note | None = None,
    **values: object,
) -> Sequence[Claim]:
    """Take what a search finds at the real time `now`; `values` are what its condition names."""
    until = now + timedelta(seconds=search.queue.lease_seconds)
    async with engine.begin() as connection:
        rows = (await connection.execute(search.candidates, {"now": now, **values})).all()
        claims = []
        for organization_id, row_id in rows:
            token = uuid4()
            taken = {
                "of_organization": organization_id,
                "of_row": row_id,
                "until": until,
                "token": token,
            }
            attempts = (await connection.execute(search.taking, taken)).scalar_one()
            claims.append(Claim(organization_id, row_id, token, attempts))
        if note is not None and claims:
            await note(connection, claims)
        return claims


async def renew(engine: AsyncEngine, queue: Queue, claimed: Claim, *, now: datetime) -> bool:
    """Prolong a lease; False means that it was lost and the work must stop."""
    async with engine.begin() as connection:
        result = await connection.execute(
            _of(queue, claimed.organization_id, claimed.id)
            .where(queue.table.c.lease_token == claimed.lease_token)
            .values(leased_until=now + timedelta(seconds=queue.lease_seconds))
        )
        return bool(result.rowcount)


async def release(engine: AsyncEngine, queue: Queue, claimed: Claim) -> None:
    """Give an unworked row back; the attempt does not count."""
    table = queue.table
    async with engine.begin() as connection:
        await connection.execute(
            _of(queue, claimed.organization_id, claimed.id)
            .where(table.c.lease_token == claimed.lease_token)
            .values(
                leased_until=None,
                lease_token=None,
                attempts=func.greatest(table.c.attempts - 1, 0),
            )
        )


async def postpone(
    engine: AsyncEngine, queue: Queue, claimed: Claim, *, until: datetime, failure: str | None
) -> None:
    """Leave a row alone until then; the attempt counts, and what failed is kept."""
    async with engine.begin() as connection:
        await connection.execute(
            _of(queue, claimed.organization_id, claimed.id)
            .where(queue.table.c.lease_token == claimed.lease_token)
            .values(leased_until=until, lease_token=None, failure=failure)
        )


def _of(queue: Queue, organization_id: UUID, row_id: UUID) -> Update:
    return update(queue.table).where(
        and_(queue.table.c.organization_id == organization_id, queue.id == row_id)
    )
