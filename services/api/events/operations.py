"""Record facts in the transaction that makes them true."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.events import rules
from services.api.events.tables import OutboxMessage
from shared import ids


class Versioned(Protocol):
    """What an event can be about."""

    @property
    def organization_id(self) -> UUID: ...

    @property
    def id(self) -> UUID: ...

    @property
    def version(self) -> int: ...


def record(
    session: AsyncSession,
    kind: str,
    subject: Versioned,
    *,
    now: datetime,
    actor_id: UUID | None = None,
    program_id: UUID | None = None,
    from_state: str | None = None,
    to_state: str | None = None,
    changed: Sequence[str] = (),
    named: Mapping[str, UUID | Sequence[UUID] | None] | None = None,
    recipients: Mapping[str, Sequence[UUID]] | None = None,
    mail_to: str | None = None,
) -> UUID:
    """Add one fact to the outbox and return its id.

    `named` holds further ids, checked against the type's registration; `recipients` says to whom
    the fact matters, by audience, for the relay alone and never in the public payload. `mail_to` is
    where the mail goes, if not to where they can be reached when it is sent.
    """
    registered = rules.RECORDED[kind]
    unknown = set(named or {}) - set(registered.ids)
    if unknown:
        raise ValueError(f"{kind} does not name {sorted(unknown)}")
    message = OutboxMessage(
        organization_id=subject.organization_id,
        id=ids.new_id(),
        type=kind,
        aggregate_id=subject.id,
        aggregate_version=subject.version,
        program_id=program_id,
        data={
            "actor_id": _text(actor_id),
            "from": from_state,
            "to": to_state,
            "changed": sorted(changed),
            "ids": {name: _texts(value) for name, value in (named or {}).items()},
            "recipients": {name: _texts(who) for name, who in (recipients or {}).items()},
        },
        mail_to=mail_to,
        bucket=rules.bucket_of(subject.id),
        occurred_at=now,
        consumed_at=None if kind in rules.CONSUMED else now,
    )
    session.add(message)
    return message.id


def _text(value: UUID | None) -> str | None:
    return str(value) if value else None


def _texts(value: UUID | Sequence[UUID] | None) -> Any:
    if value is None or isinstance(value, UUID):
        return _text(value)
    return [str(one) for one in value]
