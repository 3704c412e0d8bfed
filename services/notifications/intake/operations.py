"""Applies facts: each once, with everything that follows from it, in one transaction."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.channels.invitations import Invitation, Mailbox, Method
from services.notifications.channels.invitations import write as write_calendar
from services.notifications.database import NotificationsTable
from services.notifications.deliveries import operations as deliveries
from services.notifications.deliveries.operations import Calendar
from services.notifications.deliveries.rules import MessageState
from services.notifications.deliveries.tables import (
    Delivery,
    DeliveryContent,
    Message,
    Organization,
    Recipient,
)
from services.notifications.inbox import operations as inbox
from services.notifications.inbox.tables import InboxItem
from services.notifications.intake import queries, rules
from services.notifications.intake.rules import Route, Tell, Told
from services.notifications.intake.tables import (
    CalendarObject,
    Meeting,
    Program,
    ReceivedEvent,
    RejectedEvent,
)
from services.notifications.templates import names, rendering
from services.notifications.templates.rendering import Reader, SignIn, Slot, Subject
from shared import ids
from shared.errors import ConflictError
from shared.schemas.events import (
    EventEnvelope,
    IntakeResult,
    MeetingCard,
    OrganizationCard,
    PersonCard,
)

SANDBOX = "sandbox"
LONGEST_REASON = 300
# What is set aside is kept for whoever mends it; a code is nobody's but its reader's.
SECRET: Any = {"render": {"sign_in_code"}}


@dataclass(frozen=True, slots=True)
class Sender:
    """In whose name calendar invitations go out, and where links lead."""

    organizer: Mailbox
    app_url: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An event that could not be read, and why."""

    event_id: UUID
    reason: str
    body: Mapping[str, Any]


@dataclass(slots=True)
class _Batch:
    """What the events of one batch share."""

    session: AsyncSession
    organization: Organization
    sender: Sender
    now: datetime
    people: dict[UUID, Recipient] = field(default_factory=dict)

    @property
    def organization_id(self) -> UUID:
        return self.organization.organization_id


@dataclass(frozen=True, slots=True)
class _Place:
    """What is told of a meeting's place in calendars with one event."""

    meeting: MeetingCard
    sequence: int
    organizer: Mailbox
    dropped: Sequence[UUID]
    is_older: bool

    @property
    def slot(self) -> Slot | None:
        card = self.meeting
        if card.starts_at is None or card.ends_at is None:
            return None
        return Slot(card.starts_at, card.ends_at)


@dataclass(frozen=True, slots=True)
class _Plan:
    """One person and one message: about what, and whether it is told at all."""

    person_id: UUID
    recipient: Recipient | None
    tell: Tell
    is_actor: bool
    resource: str
    resource_id: UUID
    state: MessageState
    reason: str | None

    @property
    def method(self) -> str | None:
        return self.tell.calendar


def read(organization_id: UUID, raw: Mapping[str, Any]) -> EventEnvelope | Unreadable:
    """Read one event as it came; what cannot be read is set aside, not refused."""
    try:
        envelope = EventEnvelope.model_validate(raw)
    except ValidationError as error:
        broken = error.errors(include_url=False, include_input=False)
        reason = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in broken)
        return Unreadable(_id_of(raw), reason[:LONGEST_REASON], raw)
    if not _is_storable(raw):
        return Unreadable(envelope.id, "text_no_database_holds", raw)
    if envelope.organization_id != organization_id:
        return Unreadable(envelope.id, "foreign_organization", raw)
    return envelope


def _is_storable(raw: Mapping[str, Any]) -> bool:
    try:
        return b"\\u0000" not in json.dumps(raw, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False


def _id_of(raw: Mapping[str, Any]) -> UUID:
    try:
        return UUID(str(raw.get("id")))
    except ValueError:
        return ids.derived_id("unreadable event", json.dumps(raw, sort_keys=True))


async def take(
    session: AsyncSession,
    *,
    organization_id: UUID,
    raw: Sequence[Mapping[str, Any]],
    sender: Sender,
    now: datetime,
) -> IntakeResult:
    """Apply a batch; what came before changes nothing, what cannot be applied is set aside.

    `now` is the real time; the organization's own is derived from what api says of its clock.
    """
    found = [read(organization_id, one) for one in raw]
    readable = [one for one in found if isinstance(one, EventEnvelope)]
    unreadable = [one for one in found if isinstance(one, Unreadable)]
    batch = await _open(session, organization_id, readable, sender=sender, now=now)
    new_ids = await _receive(session, organization_id, readable, now=now)
    fresh = await _set_aside(session, organization_id, unreadable, now=now)
    rejected = [one.event_id for one in unreadable]
    if batch is not None:
        await _know_people(batch, readable)
        rejected += await _apply_all(batch, _once(readable, new_ids))
    accepted = len(new_ids) + fresh
    return IntakeResult(accepted=accepted, duplicate=len(raw) - accepted, rejected=rejected)


async def _open(
    session: AsyncSession,
    organization_id: UUID,
    events: Sequence[EventEnvelope],
    *,
    sender: Sender,
    now: datetime,
) -> _Batch | None:
    if not events:
        return None
    card = events[-1].render.organization
    organization = await _know_organization(session, organization_id, card)
    offset = timedelta(seconds=organization.clock_offset_seconds)
    return _Batch(session, organization, sender, now + offset)


async def _know_organization(
    session: AsyncSession, organization_id: UUID, card: OrganizationCard
) -> Organization:
    values = {
        "name": names.clean(card.name),
        "kind": card.kind,
        "clock_offset_seconds": card.clock_offset_seconds,
        "locale": card.locale,
        "timezone": card.timezone,
    }
    # The row's lock makes batches of one organization wait for each other: none can deadlock.
    await session.execute(
        insert(_table(Organization))
        .values(organization_id=organization_id, **values)
        .on_conflict_do_update(index_elements=["organization_id"], set_=values)
    )
    organization = await session.get(Organization, organization_id, populate_existing=True)
    if organization is None:
        raise RuntimeError("the organization was just written")
    return organization


async def _receive(
    session: AsyncSession,
    organization_id: UUID,
    events: Sequence[EventEnvelope],
    *,
    now: datetime,
) -> set[UUID]:
    if not events:
        return set()
    rows = [
        {
            "organization_id": organization_id,
            "event_id": one.id,
            "type": one.type[:64],
            "received_at": now,
        }
        for one in events
    ]
    result = await session.execute(
        insert(_table(ReceivedEvent))
        .values(rows)
        .on_conflict_do_nothing()
        .returning(_table(ReceivedEvent).c.event_id)
    )
    return set(result.scalars())


async def _set_aside(
    session: AsyncSession,
    organization_id: UUID,
    events: Sequence[Unreadable],
    *,
    now: datetime,
) -> int:
    if not events:
        return 0
    rows = {
        one.event_id: {
            "organization_id": organization_id,
            "event_id": one.event_id,
            "reason": one.reason,
            # As escaped text: what made it unreadable may be what no JSON column can hold.
            "body": json.dumps(_without_secret(one.body)),
            "received_at": now,
        }
        for one in events
    }
    result = await session.execute(
        insert(_table(RejectedEvent))
        .values(list(rows.values()))
        .on_conflict_do_nothing()
        .returning(_table(RejectedEvent).c.event_id)
    )
    return len(result.scalars().all())


def _without_secret(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    render = raw.get("render")
    if not isinstance(render, Mapping):
        return raw
    return {**raw, "render": {name: one for name, one in render.items() if name != "sign_in_code"}}


def _once(events: Sequence[EventEnvelope], new_ids: set[UUID]) -> list[EventEnvelope]:
    return list({one.id: one for one in reversed(events) if one.id in new_ids}.values())[::-1]


async def _know_people(batch: _Batch, events: Sequence[EventEnvelope]) -> None:
    cards = {card.id: card for one in events for card in one.render.people}
    named = {person for one in events for who in one.audiences.values() for person in who}
    organization_id = batch.organization_id
    known = await queries.recipients(
        batch.session, organization_id=organization_id, person_ids=named | set(cards)
    )
    people = dict(known)
    for person_id, card in cards.items():
        people[person_id] = _know_person(batch, known.get(person_id), card)
    batch.people = people


def _know_person(batch: _Batch, known: Recipient | None, card: PersonCard) -> Recipient:
    person = known or Recipient(organization_id=batch.organization_id, person_id=card.id)
    person.name = names.clean(card.name)
    person.email = names.address(card.email)
    person.locale = card.locale
    person.timezone = card.timezone
    person.is_reachable = card.is_reachable
    batch.session.add(person)
    return person


async def _apply_all(batch: _Batch, events: Sequence[EventEnvelope]) -> list[UUID]:
    return [event.id for event in events if not await _apply(batch, event)]


async def _apply(batch: _Batch, event: EventEnvelope) -> bool:
    """Apply one event; False means that it was set aside."""
    route = rules.ROUTES.get(event.type)
    if route is None:
        # A newer api knows facts that this version cannot tell anybody about.
        return True
    await _know_program(batch, event)
    place = await _know_meeting(batch, event)
    actor_id = _uuid(_text(event.data.get("actor_id")))
    plans = await _plans(batch, event, place, route, actor_id)
    try:
        rows = [row for plan in plans for row in _rows(batch, event, place, plan)]
    except Exception as error:  # noqa: BLE001 - whatever it is, one event must not hold up others
        _reject(batch, event, f"{type(error).__name__}: {error}")
        return False
    await inbox.settle(
        batch.session,
        organization_id=batch.organization_id,
        resource_id=event.aggregate_id,
        kinds=route.settles,
        actor_id=actor_id,
        now=batch.now,
    )
    await _write(batch.session, rows)
    if place is not None and not place.is_older and any(plan.method for plan in plans):
        await _remember_place(batch, place, route)
    await batch.session.flush()
    return True


async def _write(session: AsyncSession, rows: Sequence[NotificationsTable]) -> None:
    # Without relationships the session does not know which rows others refer to.
    for kinds in ((Message,), (Delivery,), (InboxItem, DeliveryContent)):
        session.add_all([row for row in rows if isinstance(row, kinds)])
        await session.flush()


def _reject(batch: _Batch, event: EventEnvelope, reason: str) -> None:
    batch.session.add(
        RejectedEvent(
            organization_id=batch.organization_id,
            event_id=event.id,
            reason=reason[:LONGEST_REASON],
            body=event.model_dump_json(exclude=SECRET),
            received_at=batch.now,
        )
    )


async def _know_program(batch: _Batch, event: EventEnvelope) -> None:
    card = event.render.program
    if card is None:
        return
    values = {"name": names.clean(card.name), "is_sensitive": card.is_sensitive}
    await batch.session.execute(
        insert(_table(Program))
        .values(organization_id=batch.organization_id, program_id=card.id, **values)
        .on_conflict_do_update(index_elements=["organization_id", "program_id"], set_=values)
    )


async def _know_meeting(batch: _Batch, event: EventEnvelope) -> _Place | None:
    card = event.render.meeting
    if card is None or card.id != event.aggregate_id:
        return None
    organization_id = batch.organization_id
    known = await queries.meeting(
        batch.session, organization_id=organization_id, meeting_id=card.id
    )
    is_older = known is not None and known.version > event.aggregate_version
    if not is_older:
        batch.session.add(_meeting_of(known, organization_id, event, card))
    last = await queries.calendar_object(
        batch.session, organization_id=organization_id, meeting_id=card.id
    )
    return _Place(
        meeting=card,
        sequence=rules.next_sequence(card.ical_sequence, last=last.sequence if last else None),
        organizer=_organizer(batch.sender.organizer, last),
        dropped=_dropped(last, card),
        is_older=is_older,
    )


def _organizer(own: Mailbox, last: CalendarObject | None) -> Mailbox:
    # Calendars take a cancellation only from whom the invitation came.
    return own if last is None else Mailbox(own.name, last.organizer)


def _dropped(last: CalendarObject | None, card: MeetingCard) -> list[UUID]:
    before = [UUID(one) for one in last.attendee_ids] if last else []
    return rules.dropped(before, card.attendee_ids)


def _meeting_of(
    known: Meeting | None, organization_id: UUID, event: EventEnvelope, card: MeetingCard
) -> Meeting:
    meeting = known or Meeting(organization_id=organization_id, meeting_id=card.id)
    meeting.version = event.aggregate_version
    meeting.state = card.state
    meeting.starts_at, meeting.ends_at = card.starts_at, card.ends_at
    meeting.timezone = card.timezone
    meeting.ical_uid, meeting.ical_sequence = card.ical_uid, card.ical_sequence
    meeting.attendee_ids = [str(one) for one in card.attendee_ids]
    return meeting


async def _remember_place(batch: _Batch, place: _Place, route: Route) -> None:
    """Keep what calendars were sent last, so that the next revision is above it."""
    is_over = any(tell.calendar == rules.CANCEL for tell in route.tells)
    attendees = [] if is_over else [str(one) for one in place.meeting.attendee_ids]
    values = {
        "uid": place.meeting.ical_uid,
        "sequence": place.sequence,
        "organizer": place.organizer.address,
        "attendee_ids": attendees,
        "last_method": rules.CANCEL if is_over else rules.REQUEST,
    }
    await batch.session.execute(
        insert(_table(CalendarObject))
        .values(organization_id=batch.organization_id, meeting_id=place.meeting.id, **values)
        .on_conflict_do_update(index_elements=["organization_id", "meeting_id"], set_=values)
    )


async def _plans(
    batch: _Batch,
    event: EventEnvelope,
    place: _Place | None,
    route: Route,
    actor_id: UUID | None,
) -> list[_Plan]:
    plans = []
    for told in rules.whom(route, audiences=event.audiences, actor_id=actor_id):
        tell = _timeless(told.tell, place)
        if told.is_actor and tell.calendar is None:
            continue
        plans.append(await _plan(batch, event, place, Told(told.person_id, tell, told.is_actor)))
    if place is not None and not place.is_older and any(plan.method for plan in plans):
        invited = {plan.person_id for plan in plans}
        for person_id in place.dropped:
            if person_id not in invited:
                dropped = Told(person_id, rules.DROPPED)
                plans.append(await _plan(batch, event, place, dropped))
    return plans


def _timeless(tell: Tell, place: _Place | None) -> Tell:
    """Return how a meeting is told that no calendar can hold yet."""
    if tell.calendar == rules.CANCEL and place is not None and place.slot is None:
        return rules.TIMES_WITHDRAWN
    return tell


async def _plan(batch: _Batch, event: EventEnvelope, place: _Place | None, told: Told) -> _Plan:
    resource, resource_id = event.type.partition(".")[0], event.aggregate_id
    was_told = False
    if told.tell.once_per is not None:
        resource, name = told.tell.once_per
        resource_id = _uuid(_text(event.data.get("ids", {}).get(name))) or resource_id
        earlier = await queries.told_of(
            batch.session,
            organization_id=batch.organization_id,
            kind=told.tell.kind,
            resource_id=resource_id,
        )
        was_told = told.person_id in earlier
    recipient = await _recipient(batch, told.person_id)
    state, reason = rules.verdict(
        is_known=recipient is not None,
        is_reachable=recipient is not None and recipient.is_reachable,
        is_older=told.tell.calendar is not None and place is not None and place.is_older,
        was_told=was_told,
    )
    return _Plan(
        told.person_id, recipient, told.tell, told.is_actor, resource, resource_id, state, reason
    )


async def _recipient(batch: _Batch, person_id: UUID) -> Recipient | None:
    if person_id not in batch.people:
        found = await queries.recipients(
            batch.session, organization_id=batch.organization_id, person_ids=[person_id]
        )
        batch.people |= found
    return batch.people.get(person_id)


def _rows(
    batch: _Batch, event: EventEnvelope, place: _Place | None, plan: _Plan
) -> list[NotificationsTable]:
    message = _message(batch, event, plan)
    if plan.state is not MessageState.TOLD or plan.recipient is None:
        return [message]
    reader = _reader(batch, plan.recipient)
    rendered = rendering.render(
        plan.tell.kind, reader=reader, subject=_subject(batch, event, place, plan)
    )
    rows: list[NotificationsTable] = [message]
    if not plan.is_actor and not plan.tell.mail_only:
        rows.append(inbox.item_of(message, rendered, asks=plan.tell.asks))
    if plan.tell.by_mail:
        calendar = _calendar(batch, event, place, plan, reader)
        rows += deliveries.mail_of(
            message,
            address=plan.recipient.email,
            mail_to=names.address(event.render.mail_to),
            rendered=rendered,
            calendar=calendar,
        )
    return rows


def _message(batch: _Batch, event: EventEnvelope, plan: _Plan) -> Message:
    return Message(
        organization_id=batch.organization_id,
        id=ids.new_id(),
        event_id=event.id,
        person_id=plan.person_id,
        kind=plan.tell.kind,
        message_class=plan.tell.message_class,
        resource=plan.resource,
        resource_id=plan.resource_id,
        program_id=event.program_id,
        state=plan.state,
        reason=plan.reason,
        expires_at=_expires_at(batch, event, plan),
        created_at=batch.now,
    )


def _expires_at(batch: _Batch, event: EventEnvelope, plan: _Plan) -> datetime | None:
    """Return when a message is no longer worth sending, on the organization's clock."""
    code = event.render.sign_in_code
    if code is not None:
        return code.expires_at + timedelta(seconds=batch.organization.clock_offset_seconds)
    lifetime = rules.LIFETIMES.get(plan.tell.message_class)
    return batch.now + lifetime if lifetime else None


def _reader(batch: _Batch, recipient: Recipient) -> Reader:
    return Reader(
        name=recipient.name,
        locale=recipient.locale,
        timezone=recipient.timezone,
        organization=batch.organization.name,
        organization_locale=batch.organization.locale,
    )


def _subject(batch: _Batch, event: EventEnvelope, place: _Place | None, plan: _Plan) -> Subject:
    card = event.render.meeting
    around = card.attendee_ids if card else event.audiences.get("members", ())
    return Subject(
        program=_program_name(event),
        others=[
            batch.people[one].name
            for one in around
            if one != plan.person_id and one in batch.people
        ],
        slot=place.slot if place else None,
        link=None
        if plan.tell.mail_only
        else _link(batch.sender.app_url, plan.resource, plan.resource_id),
        sign_in=_sign_in(event),
    )


def _sign_in(event: EventEnvelope) -> SignIn | None:
    code = event.render.sign_in_code
    return None if code is None else SignIn(code.code, code.expires_at - event.occurred_at)


def _program_name(event: EventEnvelope) -> str | None:
    card = event.render.program
    return None if card is None or card.is_sensitive else names.clean(card.name)


def _link(app_url: str, resource: str, resource_id: UUID) -> str | None:
    if not app_url or resource not in ids.PREFIXES:
        return None
    folder = "people" if resource == "person" else f"{resource.replace('_', '-')}s"
    return f"{app_url.rstrip('/')}/{folder}/{ids.format_id(resource, resource_id)}"


def _calendar(
    batch: _Batch, event: EventEnvelope, place: _Place | None, plan: _Plan, reader: Reader
) -> Calendar | None:
    if plan.method is None or place is None or place.slot is None:
        return None
    invitation = Invitation(
        method=Method(plan.method),
        uid=place.meeting.ical_uid,
        sequence=place.sequence,
        stamped_at=batch.now,
        starts_at=place.slot.starts_at,
        ends_at=place.slot.ends_at,
        summary=rendering.summary(reader=reader, program=_program_name(event)),
        organizer=place.organizer,
        attendees=_attendees(batch, place, plan),
    )
    return Calendar(place.meeting.id, place.sequence, plan.method, write_calendar(invitation))


def _attendees(batch: _Batch, place: _Place, plan: _Plan) -> list[Mailbox]:
    # Who was taken off a meeting is told so alone; lists name its members only.
    is_dropped = plan.tell is rules.DROPPED
    listed = [plan.person_id] if is_dropped else place.meeting.attendee_ids
    known = [batch.people[one] for one in listed if one in batch.people]
    return [Mailbox(one.name, one.email) for one in known if one.email is not None]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _uuid(text: str | None) -> UUID | None:
    """Return an id of a payload, which names it in its public form or bare."""
    if text is None:
        return None
    try:
        return ids.decode(text.rpartition("_")[2]) if "_" in text else UUID(text)
    except ValueError:
        return None


def _table(row: type[NotificationsTable]) -> Any:
    return row.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker


async def reset(session: AsyncSession, *, organization_id: UUID) -> None:
    """Forget a sandbox organization: its messages, inboxes, and what was known of it."""
    organization = await queries.lock_organization(session, organization_id)
    if organization is not None and organization.kind != SANDBOX:
        raise ConflictError("Only a sandbox can be reset.", code="not_a_sandbox")
    await inbox.forget(session, organization_id=organization_id)
    await deliveries.forget(session, organization_id=organization_id)
    for table in (CalendarObject, Meeting, Program, RejectedEvent, ReceivedEvent):
        columns = _table(table).c
        await session.execute(delete(table).where(columns.organization_id == organization_id))
