"""Sends what is due: claimed as rows, told outside of any transaction, finished by the lease."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from itertools import groupby
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import insert, tuple_, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifications.channels.mail import Letter
from services.notifications.channels.results import Accepted, Rejected, Result
from services.notifications.deliveries import operations, queries
from services.notifications.deliveries.operations import Captured, Finish
from services.notifications.deliveries.queries import QUEUE, Parcel
from services.notifications.deliveries.rules import (
    MAX_ATTEMPTS,
    AttemptResult,
    DeliveryState,
    Outcome,
    objection,
    wait_after,
)
from services.notifications.deliveries.tables import Attempt
from services.notifications.resources import Resources
from shared.persistence import leases
from shared.persistence.leases import Claim, Search
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant

RENEW_SECONDS = queries.LEASE_SECONDS / 3
# How long a sandbox waits for rows that a worker holds just now.
PATIENCE = timedelta(seconds=20)
PATIENCE_STEP_SECONDS = 0.05
SANDBOX = "sandbox"

logger = structlog.get_logger()

ATTEMPT = Attempt.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker

type ClockOf = Callable[[Parcel], datetime]


@dataclass(slots=True)
class Turn:
    """One turn of sending: which claims are still ours, and whether to stop."""

    resources: Resources
    clock_of: ClockOf
    stop: asyncio.Event
    lost: set[UUID] = field(default_factory=set)


async def deliver(resources: Resources, stop: asyncio.Event) -> int:
    """Send what is due now in any organization."""
    claims = await _claim(resources, queries.DUE)

    def clock_of(parcel: Parcel) -> datetime:
        offset = timedelta(seconds=parcel.organization.clock_offset_seconds)
        return resources.clock() + offset

    await _work(Turn(resources, clock_of, stop), claims)
    return len(claims)


async def run_until(resources: Resources, *, organization_id: UUID, until: datetime) -> int:
    """Send what one organization has due up to an instant of its clock, in order.

    Each row is worked on as if it were the moment it was due. Rows that a worker holds are waited
    for, so that everything due has happened when this returns.
    """
    worked, give_up_at = 0, resources.clock() + PATIENCE
    turn = Turn(resources, lambda parcel: parcel.delivery.due_at, asyncio.Event())
    while resources.clock() < give_up_at:
        claims = await _claim(
            resources, queries.DUE_IN, organization_id=organization_id, due_until=until
        )
        await _work(turn, claims)
        worked += len(claims)
        if claims:
            give_up_at = resources.clock() + PATIENCE
        elif not await _is_any_due(resources, organization_id, until):
            break
        else:
            await asyncio.sleep(PATIENCE_STEP_SECONDS)
    return worked


async def _is_any_due(resources: Resources, organization_id: UUID, until: datetime) -> bool:
    async with transaction(resources.sessions, Tenant(organization_id)) as session:
        first = await queries.next_due_at(session, organization_id=organization_id)
    return first is not None and first <= until


async def bury(resources: Resources) -> int:
    """Let rows rest that killed their worker as often as any row is tried."""
    now, table = resources.clock(), QUEUE.table
    async with resources.claiming.begin() as connection:
        dead = await connection.execute(
            update(table)
            .where(
                table.c.state == DeliveryState.PENDING,
                table.c.attempts >= MAX_ATTEMPTS,
                leases.free(table, now),
            )
            .values(state=DeliveryState.DEAD, reason="attempts_exhausted", lease_token=None)
            .returning(table.c.organization_id, table.c.id)
        )
        buried = [tuple(row) for row in dead]
        await _mark_unknown(connection, buried, now)
    if buried:
        logger.error("deliveries_dead", count=len(buried))
    for organization_id, mine in groupby(sorted(buried), lambda one: one[0]):
        async with transaction(resources.sessions, Tenant(organization_id)) as session:
            await operations.forget_words(
                session, organization_id=organization_id, delivery_ids=[one[1] for one in mine]
            )
    return 0


async def _claim(resources: Resources, search: Search, **values: object) -> Sequence[Claim]:
    now = resources.clock()

    async def start_attempts(connection: AsyncConnection, claims: Sequence[Claim]) -> None:
        await _mark_unknown(connection, [(one.organization_id, one.id) for one in claims], now)
        await connection.execute(insert(ATTEMPT), [_attempt(one, now) for one in claims])

    return await leases.claim(resources.claiming, search, now=now, note=start_attempts, **values)


def _attempt(claimed: Claim, now: datetime) -> dict[str, Any]:
    return {
        "organization_id": claimed.organization_id,
        "delivery_id": claimed.id,
        "no": claimed.attempts,
        "result": AttemptResult.STARTED,
        "started_at": now,
    }


async def _mark_unknown(
    connection: AsyncConnection, rows: Sequence[tuple[UUID, UUID]], now: datetime
) -> None:
    """Say of attempts that a kill cut short that nobody knows what became of them."""
    if not rows:
        return
    await connection.execute(
        update(ATTEMPT)
        .where(
            tuple_(ATTEMPT.c.organization_id, ATTEMPT.c.delivery_id).in_(rows),
            ATTEMPT.c.result == AttemptResult.STARTED,
        )
        .values(result=AttemptResult.UNKNOWN, ended_at=now)
    )


async def _work(turn: Turn, claims: Sequence[Claim]) -> None:
    if not claims:
        return
    async with _kept(turn, claims), asyncio.TaskGroup() as group:
        by_organization = sorted(claims, key=lambda one: one.organization_id)
        for organization_id, mine in groupby(by_organization, lambda one: one.organization_id):
            group.create_task(_work_in(turn, organization_id, list(mine)))


@asynccontextmanager
async def _kept(turn: Turn, claims: Sequence[Claim]) -> Any:
    """Renew all leases while the block runs; what could not be renewed is not sent any more."""
    keeper = asyncio.create_task(_keep(turn, claims))
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.wait({keeper})


async def _keep(turn: Turn, claims: Sequence[Claim]) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        for claimed in claims:
            if not await _renew(turn.resources, claimed):
                turn.lost.add(claimed.id)


async def _renew(resources: Resources, claimed: Claim) -> bool:
    try:
        return await leases.renew(resources.claiming, QUEUE, claimed, now=resources.clock())
    except (OSError, SQLAlchemyError):
        # Whether it was prolonged is unknown, so somebody else may hold it by now.
        return False


async def _work_in(turn: Turn, organization_id: UUID, claims: Sequence[Claim]) -> None:
    async with transaction(turn.resources.sessions, Tenant(organization_id)) as session:
        parcels = await queries.parcels(
            session, organization_id=organization_id, delivery_ids=[one.id for one in claims]
        )
    found = [(one, parcels[one.id]) for one in claims if one.id in parcels]
    found.sort(key=lambda pair: (pair[1].delivery.person_id, pair[1].delivery.id))
    async with asyncio.TaskGroup() as group:
        # One after the other for each person: an invitation before its own cancellation.
        for _person_id, theirs in groupby(found, lambda pair: pair[1].delivery.person_id):
            group.create_task(_work_for(turn, list(theirs)))


async def _work_for(turn: Turn, theirs: Sequence[tuple[Claim, Parcel]]) -> None:
    for claimed, parcel in theirs:
        if claimed.id in turn.lost:
            continue
        if turn.stop.is_set():
            async with transaction(
                turn.resources.sessions, Tenant(claimed.organization_id)
            ) as session:
                await operations.release(session, claimed)
            continue
        await _send_one(turn, claimed, parcel)


async def _send_one(turn: Turn, claimed: Claim, parcel: Parcel) -> None:
    resources, now = turn.resources, turn.clock_of(parcel)
    refused = objection(parcel.standing, now=now)
    if refused is not None:
        outcome, reason = refused
        done = Finish(outcome, AttemptResult.FAILED, reason)
    else:
        done = await _send(resources, claimed, parcel, now=now)
    async with transaction(resources.sessions, Tenant(claimed.organization_id)) as session:
        is_ours = await operations.finish(
            session, claimed, done, real_now=resources.clock(), now=now
        )
    if not is_ours:
        logger.warning("lease_lost", object_id=str(claimed.id), attempt=claimed.attempts)


async def _send(resources: Resources, claimed: Claim, parcel: Parcel, *, now: datetime) -> Finish:
    letter = letter_of(parcel)
    is_sandbox = parcel.organization.kind == SANDBOX
    if is_sandbox and not resources.settings.sandbox_smtp:
        result: Result = Accepted("captured")
    else:
        result = await resources.mail.send(letter)
    captured = None
    if is_sandbox and isinstance(result, Accepted):
        captured = picture(resources.mail.mailer.compose(letter))
    return judged(result, attempts=claimed.attempts, now=now, captured=captured)


def letter_of(parcel: Parcel) -> Letter:
    """Return a parcel as a letter."""
    delivery, content, recipient = parcel.delivery, parcel.content, parcel.recipient
    return Letter(
        delivery_id=delivery.id,
        to_name=recipient.name,
        to_address=parcel.address or "",
        written_at=delivery.created_at,
        locale=content.locale,
        subject=content.subject,
        text=content.body_text,
        html=content.body_html,
        calendar=content.calendar,
        method=content.method,
    )


def judged(
    result: Result, *, attempts: int, now: datetime, captured: Captured | None = None
) -> Finish:
    """Return what follows from a channel's answer."""
    if isinstance(result, Accepted):
        return Finish(
            Outcome.SEND, AttemptResult.SUCCEEDED, answer=result.answer, captured=captured
        )
    if isinstance(result, Rejected):
        return Finish(Outcome.REFUSE, AttemptResult.FAILED, result.reason, result.answer)
    wait = wait_after(attempts)
    if wait is None:
        return Finish(Outcome.GIVE_UP, AttemptResult.FAILED, result.reason, result.answer)
    return Finish(
        Outcome.POSTPONE, AttemptResult.FAILED, result.reason, result.answer, due_at=now + wait
    )


def picture(message: EmailMessage) -> Captured:
    """Return how a mail looks to whoever receives it: headers, and parts as text."""
    parts = [
        {
            "content_type": part.get_content_type(),
            "method": part.get_param("method"),
            "filename": part.get_filename(),
            "text": _text(part.get_payload(decode=True)),
        }
        for part in message.walk()
        if not part.is_multipart()
    ]
    return Captured({name: str(value) for name, value in message.items()}, parts)


def _text(payload: object) -> str:
    return payload.decode(errors="replace") if isinstance(payload, bytes) else ""
