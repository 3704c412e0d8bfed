"""Mails as they leave: names and subjects arrive as they were written."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses

import pytest
from aiosmtplib.email import flatten_message

from services.notifications.channels.mail import Letter, Mailer
from shared import ids

TEXTS = [
    "Ada",
    "Müller, Jürgen",
    "Lovelace, Ada",
    'Ünï "Q" <x@evil.example>, Bcc: z@evil.example; 日本',
    'Ada "Q" <x@evil.example>, Bcc: z@evil.example; and a name that takes more than a line or two',
    "Jürgen über bis Einladung: Mentoring-Programm Müller 日本語 größte — Schritte Müller — bis",
    "Ihre Freitag über größte Freude bestätigen, Einladung: nächsten Mentoring-Programm 2026 für",
    'die Freitag 2026 Ada Einladung: "Q" Mentoring-Programm die nächsten Freitag für alle',
    "Your mentoring meeting with Ada Lovelace and Charles Babbage was moved to Friday next week",
    "a" * 200,
    "ß" * 200,
]


def sent(*, to_name: str = "Ada", subject: str = "Hello", address: str = "a@x.org") -> Message:
    """Return a mail as whoever reads it without this library's help gets it."""
    letter = Letter(
        delivery_id=ids.new_id(),
        to_name=to_name,
        to_address=address,
        written_at=datetime(2026, 1, 2, tzinfo=UTC),
        locale="en",
        subject=subject,
        text="Hello",
        html="<p>Hello",
    )
    mail = Mailer("Mentoring", "mentoring@example.org").compose(letter)
    content = flatten_message(mail, utf8=not address.isascii())
    assert all(len(line) <= 78 for line in content.split(b"\r\n") if b"=?" in line)
    return message_from_bytes(content)


@pytest.mark.parametrize("subject", TEXTS)
def test_a_subject_arrives_with_its_spaces(subject: str) -> None:
    raw = sent(subject=subject)["Subject"]

    assert str(make_header(decode_header(raw))) == subject


@pytest.mark.parametrize("name", TEXTS)
def test_a_mail_goes_to_one_address_whatever_the_name(name: str) -> None:
    mail = sent(to_name=name)

    ((found, address),) = getaddresses([mail["To"].replace("\r\n", "")])
    assert str(make_header(decode_header(found))) == name
    assert address == "a@x.org"
    assert mail["Bcc"] is None


def test_a_long_address_without_a_name_stays_in_its_line() -> None:
    address = f"{'a' * 60}@{'b' * 60}.org"

    assert sent(to_name="", address=address)["To"] == address


def test_an_address_in_letters_of_its_own_stays_as_it_is() -> None:
    raw = dict(sent(to_name="Jürgen", address="a@müller.org").raw_items())["To"]

    assert raw.encode(errors="surrogateescape").decode() == (
        "=?utf-8?q?J=C3=BCrgen?=\r\n <a@müller.org>"
    )
