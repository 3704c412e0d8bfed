"""The life of a meeting in people's calendars, as their mail programs receive it."""

from datetime import timedelta
from email.message import EmailMessage
from typing import Any

from icalendar import Calendar

from tests.support.notifications import SENDER, START, Appointment, Place, Somebody


def calendar_of(mail: EmailMessage) -> Any:
    """Return the calendar part of a mail, which must agree with its MIME type and attachment."""
    part = next(one for one in mail.walk() if one.get_content_type() == "text/calendar")
    text = part.get_payload(decode=True)
    assert isinstance(text, bytes)
    calendar = Calendar.from_ical(text)
    assert part.get_param("method") == calendar["METHOD"]
    attachment = next(one for one in mail.walk() if one.get_filename() == "invite.ics")
    assert attachment.get_payload(decode=True) == text
    return calendar


def history(mails: list[EmailMessage]) -> list[tuple[str, int]]:
    """Return method and SEQUENCE of each mail."""
    calendars = [calendar_of(mail) for mail in mails]
    return [(str(one["METHOD"]), int(one.events[0]["SEQUENCE"])) for one in calendars]


async def test_a_meeting_keeps_one_uid_and_counts_up_until_it_is_cancelled(place: Place) -> None:
    ada, ben = Somebody("Ada"), Somebody("Ben", locale="de-DE")
    meeting = Appointment([ada, ben])

    await place.tell(meeting.fact(place, "meeting.scheduled", actor=ada))
    for days in (1, 2):
        meeting.change(starts_at=START + timedelta(days=days))
        await place.tell(meeting.fact(place, "meeting.rescheduled", actor=ben))
    meeting.change(state="cancelled")
    await place.tell(meeting.fact(place, "meeting.cancelled", actor=ada))
    await place.work()

    for person in (ada, ben):
        mails = place.postbox.to(str(person.email))
        assert history(mails) == [("REQUEST", 0), ("REQUEST", 1), ("REQUEST", 2), ("CANCEL", 3)]
        events = [calendar_of(mail).events[0] for mail in mails]
        assert len({str(one["UID"]) for one in events}) == 1
        assert {str(one["ORGANIZER"]) for one in events} == {f"mailto:{SENDER}"}
        assert [str(one["STATUS"]) for one in events] == [*["CONFIRMED"] * 3, "CANCELLED"]
        assert events[1].start == START + timedelta(days=1)


async def test_the_mail_is_put_together_as_calendar_programs_expect(place: Place) -> None:
    ada, ben = Somebody("Ada"), Somebody("Ben")

    await place.tell(Appointment([ada, ben]).fact(place, "meeting.scheduled"))
    await place.work()

    (mail,) = place.postbox.to(str(ada.email))
    assert mail.get_content_type() == "multipart/mixed"
    alternative, attachment = mail.iter_parts()
    assert isinstance(alternative, EmailMessage)
    assert [one.get_content_type() for one in alternative.iter_parts()] == [
        "text/plain",
        "text/html",
        "text/calendar",
    ]
    assert attachment.get_filename() == "invite.ics"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert str(mail["From"]) == f"Mentoring <{SENDER}>"
    event = calendar_of(mail).events[0]
    assert {str(one) for one in event["ATTENDEE"]} == {f"mailto:{ada.email}", f"mailto:{ben.email}"}
    assert event["DTSTAMP"].dt.utcoffset() == timedelta(0)
    part = next(one for one in mail.walk() if one.get_content_type() == "text/calendar")
    raw = part.get_payload(decode=True)
    assert isinstance(raw, bytes)
    assert all(len(line) <= 75 for line in raw.split(b"\r\n"))


async def test_a_removed_attendee_alone_gets_a_cancellation(place: Place) -> None:
    ada, ben, cleo = Somebody("Ada"), Somebody("Ben"), Somebody("Cleo")
    meeting = Appointment([ada, ben, cleo])
    await place.tell(meeting.fact(place, "meeting.scheduled"))

    meeting.change(attendees=[ada, ben])
    await place.tell(meeting.fact(place, "meeting.rescheduled"))
    await place.work()

    assert history(place.postbox.to(str(cleo.email))) == [("REQUEST", 0), ("CANCEL", 1)]
    assert history(place.postbox.to(str(ada.email))) == [("REQUEST", 0), ("REQUEST", 1)]
    last = calendar_of(place.postbox.to(str(ben.email))[-1]).events[0]
    assert f"mailto:{cleo.email}" not in {str(one) for one in last["ATTENDEE"]}


async def test_two_changes_read_at_once_still_count_up(place: Place) -> None:
    ada, ben = Somebody("Ada"), Somebody("Ben")
    meeting = Appointment([ada, ben])
    first = meeting.fact(place, "meeting.scheduled")
    meeting.change(starts_at=START + timedelta(days=1))
    first["render"]["meeting"] = meeting.card()

    await place.tell(first, meeting.fact(place, "meeting.rescheduled"))
    await place.work()

    assert history(place.postbox.to(str(ada.email))) == [("REQUEST", 1), ("REQUEST", 2)]


async def test_a_sensitive_program_is_a_mentoring_meeting_to_everybody(place: Place) -> None:
    place.is_sensitive, place.program_name = True, "Secret Circle"
    ada, ben = Somebody("Ada"), Somebody("Ben")

    await place.tell(Appointment([ada, ben]).fact(place, "meeting.scheduled"))
    await place.work()

    (mail,) = place.postbox.to(str(ada.email))
    assert "Secret Circle" not in mail.as_string()
    assert str(calendar_of(mail).events[0]["SUMMARY"]) == "Mentoring meeting"


async def test_a_name_cannot_add_headers_or_links(place: Place) -> None:
    ada = Somebody("Ada")
    eve = Somebody("Eve\r\nBcc: all@example.org http://evil.example/x", email="eve@example.org")

    await place.tell(Appointment([ada, eve]).fact(place, "meeting.scheduled"))
    await place.work()

    (mail,) = place.postbox.to("eve@example.org")
    assert mail["Bcc"] is None
    assert "evil.example" not in str(place.postbox.to(str(ada.email))[0])


async def test_a_meeting_without_a_time_is_taken_back_without_a_calendar(place: Place) -> None:
    ada, ben = Somebody("Ada"), Somebody("Ben")
    meeting = Appointment([ada, ben], starts_at=None, state="cancelled")

    result = await place.tell(meeting.fact(place, "meeting.cancelled", actor=ada))
    await place.work()

    assert result.rejected == []
    assert place.postbox.mails == []
