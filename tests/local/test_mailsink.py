"""The local mail server: what it promises to keep, it keeps and shows."""

import asyncio
import os
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from threading import Thread

import httpx
import pytest

from services.local.mailsink import Mailbox, web

HOSTILE = (
    b"Content-Type: text/plain; method*=us-ascii'en'x\r\nContent-Transfer-Encoding: base64\r\n"
    b"Message-ID: <<<>\r\nSubject: a\r\n b\r\nDate: x\r\n\r\n!!!"
)


@pytest.fixture
def mailbox(tmp_path: Path) -> Mailbox:
    """Return an empty mailbox."""
    return Mailbox(tmp_path / "mail")


@pytest.fixture
def reader(mailbox: Mailbox) -> httpx.AsyncClient:
    """Return a browser of the mailbox."""
    transport = httpx.ASGITransport(app=web(mailbox))
    return httpx.AsyncClient(transport=transport, base_url="http://mail.test")


def mail(subject: str, *, to: str | Address | list[Address] = "b@example.org") -> bytes:
    """Return a mail with a text, a page and a calendar entry."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", to, subject
    message["Message-ID"] = f"<{len(subject)}@example.org>"
    message.set_content("Hello")
    message.add_alternative("<p onclick=alert(1)>Hello</p>", subtype="html")
    message.add_alternative(
        "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", subtype="calendar", params={"method": "REQUEST"}
    )
    return message.as_bytes()


async def test_shows_every_part_as_json(mailbox: Mailbox, reader: httpx.AsyncClient) -> None:
    mailbox.put(mail("An invitation"))

    (shown,) = (await reader.get("/messages")).json()["items"]

    assert shown["subject"] == "An invitation"
    assert [one["content_type"] for one in shown["parts"]] == [
        "text/plain",
        "text/html",
        "text/calendar",
    ]
    assert shown["parts"][2]["method"] == "REQUEST"


@pytest.mark.parametrize(
    "name",
    [
        'Ünï "Q" <x@evil.example>, Bcc: z@evil.example; 日本',
        "Lovelace, Ada",
        "Dr. Jürgen Müller-Lüdenscheidt und von der Größe; Köln, am Rhein",
    ],
)
async def test_each_address_is_one_entry_whatever_its_name(
    mailbox: Mailbox, reader: httpx.AsyncClient, name: str
) -> None:
    sent = [Address(name, addr_spec="b@example.org"), Address("C", addr_spec="c@example.org")]
    mailbox.put(mail("Hello", to=sent))

    (shown,) = (await reader.get("/messages")).json()["items"]

    assert shown["to"] == [str(one) for one in sent]


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        (b"The next \r\n =?utf-8?q?n=C3=A4chsten?= steps", "The next nächsten steps"),
        (
            b"=?utf-8?q?M=C3=BC?=\r\n =?utf-8?q?ller_?=\r\n =?utf-8?b?w7xiZXI=?=",
            "Müller über",
        ),
        (b"First\r\n second\r\n\tthird", "First second third"),
        ("Müller".encode(), "Müller"),
        (b"Two  spaces", "Two  spaces"),
    ],
)
async def test_a_folded_subject_reads_as_it_was_meant(
    mailbox: Mailbox, reader: httpx.AsyncClient, header: bytes, subject: str
) -> None:
    mailbox.put(b"From: a@example.org\r\nSubject: " + header + b"\r\n\r\nHello")

    (shown,) = (await reader.get("/messages")).json()["items"]

    assert (shown["subject"], shown["to"]) == (subject, [])


async def test_goes_on_after_the_last_one_seen(mailbox: Mailbox, reader: httpx.AsyncClient) -> None:
    seen = mailbox.put(mail("First"))
    mailbox.put(mail("Later"))

    items = (await reader.get("/messages", params={"after": seen})).json()["items"]

    assert [one["subject"] for one in items] == ["Later"]


def test_a_reader_who_goes_on_after_the_last_one_misses_none(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    writers = [Thread(target=lambda: [mailbox.put(b"x") for _ in range(150)]) for _ in range(4)]
    seen: list[str] = []

    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen += mailbox.names(after=seen[-1] if seen else "")
    seen += mailbox.names(after=seen[-1] if seen else "")

    assert len(seen) == 600
    assert seen == mailbox.names() == Mailbox(mailbox.folder).names()


async def test_a_mail_that_cannot_be_read_hides_no_other(
    mailbox: Mailbox, reader: httpx.AsyncClient
) -> None:
    mailbox.put(HOSTILE)
    mailbox.put(mail("Readable"))

    hostile, readable = (await reader.get("/messages")).json()["items"]

    assert (hostile["to"], readable["subject"]) == ([], "Readable")
    assert "method*=" in hostile["parts"][0]["text"]
    assert (await reader.get("/")).status_code == 200
    assert (await reader.get(f"/messages/{hostile['id']}.html")).status_code == 200


async def test_a_browser_reads_a_mail_without_running_it(
    mailbox: Mailbox, reader: httpx.AsyncClient
) -> None:
    name = mailbox.put(mail("<script>alert(1)</script>"))

    listed = (await reader.get("/")).text
    page = (await reader.get(f"/messages/{name}.html")).text

    assert f"/messages/{name}.html" in listed
    assert "<script>" not in listed + page
    assert "<p onclick" not in page
    assert "<iframe sandbox" in page


async def test_the_page_begins_with_the_newest_and_json_with_the_oldest(
    mailbox: Mailbox, reader: httpx.AsyncClient
) -> None:
    old, new = mailbox.put(mail("Old")), mailbox.put(mail("New"))

    page = (await reader.get("/")).text
    items = (await reader.get("/messages")).json()["items"]

    assert page.index(new) < page.index(old)
    assert [one["id"] for one in items] == [old, new]
    assert "oldest first" in page


async def test_gives_a_mail_as_it_was_sent(mailbox: Mailbox, reader: httpx.AsyncClient) -> None:
    sent = mail("As it was")
    name = mailbox.put(sent)

    assert (await reader.get(f"/messages/{name}.eml")).content == sent


@pytest.mark.parametrize("name", ["nothing", "..%2f..%2fsecrets", "0" * 26])
async def test_nothing_else_can_be_read(reader: httpx.AsyncClient, name: str) -> None:
    assert (await reader.get(f"/messages/{name}")).status_code == 404


async def test_forgets_when_asked(mailbox: Mailbox, reader: httpx.AsyncClient) -> None:
    mailbox.put(mail("Old"))

    assert (await reader.delete("/messages")).status_code == 204
    assert mailbox.names() == []


def test_keeps_what_it_had_when_it_starts_again(mailbox: Mailbox, tmp_path: Path) -> None:
    name = mailbox.put(mail("Kept"))

    assert Mailbox(tmp_path / "mail").names() == [name]


async def test_a_reader_who_goes_on_misses_nothing_while_many_write(
    mailbox: Mailbox, reader: httpx.AsyncClient
) -> None:
    seen: list[str] = []

    async def read_on() -> None:
        while len(seen) < 60:
            after = seen[-1] if seen else ""
            page = (await reader.get("/messages", params={"after": after})).json()["items"]
            seen.extend(one["id"] for one in page)
            await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await asyncio.gather(
            read_on(), *[asyncio.to_thread(mailbox.put, mail("One of many")) for _ in range(60)]
        )

    assert seen == mailbox.names()
