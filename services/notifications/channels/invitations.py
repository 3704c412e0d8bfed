"""Calendar objects: iTIP REQUEST and CANCEL (RFC 5546) as iCalendar text (RFC 5545)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from icalendar import Calendar, Event, vCalAddress, vText

PRODUCT = "-//mentoring//notifications//EN"


class Method(StrEnum):
    """What a calendar object asks its reader's calendar to do."""

    REQUEST = "REQUEST"
    CANCEL = "CANCEL"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A person as calendars know them."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Invitation:
    """One revision of a meeting's place in calendars."""

    method: Method
    uid: str
    sequence: int
    stamped_at: datetime
    starts_at: datetime
    ends_at: datetime
    summary: str
    organizer: Mailbox
    attendees: Sequence[Mailbox]


def write(invitation: Invitation) -> str:
    """Return the iCalendar text; single meetings need no time zone but UTC."""
    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("calscale", "GREGORIAN")
    calendar.add("method", invitation.method.value)
    calendar.add_component(_event(invitation))
    return str(calendar.to_ical().decode())


def _event(invitation: Invitation) -> Event:
    is_cancelled = invitation.method is Method.CANCEL
    event = Event()
    event.add("uid", invitation.uid)
    event.add("sequence", invitation.sequence)
    event.add("dtstamp", invitation.stamped_at.astimezone(UTC))
    event.add("dtstart", invitation.starts_at.astimezone(UTC))
    event.add("dtend", invitation.ends_at.astimezone(UTC))
    event.add("summary", invitation.summary)
    event.add("status", "CANCELLED" if is_cancelled else "CONFIRMED")
    event.add("transp", "OPAQUE")
    event["organizer"] = _address(invitation.organizer)
    for attendee in invitation.attendees:
        event.add("attendee", _attendee(attendee), encode=False)
    return event


def _attendee(mailbox: Mailbox) -> vCalAddress:
    address = _address(mailbox)
    address.params["CUTYPE"] = vText("INDIVIDUAL")
    address.params["ROLE"] = vText("REQ-PARTICIPANT")
    address.params["PARTSTAT"] = vText("NEEDS-ACTION")
    address.params["RSVP"] = vText("TRUE")
    return address


def _address(mailbox: Mailbox) -> vCalAddress:
    address = vCalAddress(f"mailto:{mailbox.address}")
    address.params["CN"] = vText(mailbox.name)
    return address
