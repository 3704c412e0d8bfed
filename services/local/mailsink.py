"""A local mail server that keeps every message instead of sending it, readable in a browser.

One process speaks SMTP on one socket and HTTP on another. A message is acknowledged only after its
file is on disk, so a killed sink loses nothing it promised.
"""

import asyncio
import html
import os
import re
import signal
import socket
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, cast
from uuid import uuid4

import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from shared import ids

KEPT = 20_000
SHOWN = 500
MOST_AT_ONCE = 200
HEAD = (
    "<!doctype html><html lang=en><meta charset=utf-8>"
    "<meta name=viewport content='width=device-width'><meta name=color-scheme content='light dark'>"
    "<style>body{font:16px system-ui;margin:2rem}td,th{padding:.3rem 1rem .3rem 0;text-align:left}"
    "pre{white-space:pre-wrap}iframe{width:100%;height:24rem;border:1px solid gray}</style>"
)
LARGEST = 10 * 1024 * 1024
FOLD = re.compile(r"[ \t]*\r?\n[ \t]+")
BETWEEN_ENCODED_WORDS = re.compile(r"(?<=\?=)[ \t]+(?==\?)")


class Mailbox:
    """Messages as files in a folder, oldest first by name."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, made if it is missing."""
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The order they appeared in. A folder that is listed while files get their names may show a
        # newer one and not an older one, and whoever reads on after the newer misses the other.
        found = (entry.name for entry in os.scandir(folder) if entry.name.endswith(".eml"))
        self._names = sorted(name.removesuffix(".eml") for name in found)
        self._appearing = Lock()

    def put(self, content: bytes) -> str:
        """Keep a message durably and return its id."""
        temporary = self.folder / f"{uuid4()}.part"
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        # Named when it appears, not when it began to be written.
        with self._appearing:
            name = self._next_name()
            temporary.replace(self._file(name))
            self._names.append(name)
            if len(self._names) > KEPT:
                self._file(self._names.pop(0)).unlink(missing_ok=True)
        return name

    def names(self, *, after: str = "") -> list[str]:
        """Return the ids of all messages after one of them, oldest first."""
        with self._appearing:
            return self._names[bisect_right(self._names, after) :]

    def get(self, name: str) -> bytes | None:
        """Return a message as it came, or None."""
        try:
            ids.decode(name)
            return self._file(name).read_bytes()
        except (ValueError, FileNotFoundError):
            return None

    def clear(self) -> None:
        """Forget every message."""
        with self._appearing:
            for name in self._names:
                self._file(name).unlink(missing_ok=True)
            self._names.clear()

    def _next_name(self) -> str:
        name = ids.encode(ids.new_id())
        while self._names and name <= self._names[-1]:
            name = ids.encode(ids.new_id())
        return name

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.eml"


class Handler:
    """What aiosmtpd calls with each message."""

    def __init__(self, mailbox: Mailbox) -> None:
        """Take where messages are kept."""
        self._mailbox = mailbox

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Keep a message, then acknowledge it."""
        name = await asyncio.to_thread(self._mailbox.put, cast("bytes", envelope.content))
        return f"250 kept as {name}"


@lru_cache(maxsize=4096)
def describe(name: str, content: bytes) -> dict[str, Any]:
    """Return a message as JSON: headers that matter, and its parts as text."""
    try:
        return _described(name, message_from_bytes(content, policy=policy.default))
    except Exception:  # noqa: BLE001 - the parser breaks on hostile headers in many ways
        return _unreadable(name, content)


def _unreadable(name: str, content: bytes) -> dict[str, Any]:
    text = content.decode(errors="replace")
    return {
        "id": name,
        "received_at": _time_of(name),
        "from": "",
        "to": [],
        "subject": "(cannot be read; see it as it was sent)",
        "message_id": "",
        "parts": [{"content_type": "text/plain", "method": None, "filename": None, "text": text}],
    }


def _described(name: str, message: EmailMessage) -> dict[str, Any]:
    return {
        "id": name,
        "received_at": _time_of(name),
        "from": str(_header(message, "From")),
        "to": [str(address) for address in _header(message, "To").addresses],
        "subject": str(_header(message, "Subject")),
        "message_id": str(message["Message-ID"]),
        "parts": list(_parts(message)),
    }


def _header(message: EmailMessage, name: str) -> Any:
    """Return a header as it was meant; one that is missing is empty.

    The parser alone would show a fold as two spaces where the sender left one at the end of the
    line, and a space inside of names that take several encoded words (RFC 2047, section 6.2).
    """
    raw = next((str(text) for key, text in message.raw_items() if key.lower() == name.lower()), "")
    text = FOLD.sub(" ", raw.encode(errors="surrogateescape").decode(errors="replace"))
    return policy.default.header_factory(name, BETWEEN_ENCODED_WORDS.sub("", text))


def _time_of(name: str) -> str:
    milliseconds = ids.decode(name).int >> 80
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().isoformat()


def _parts(message: EmailMessage) -> Iterator[dict[str, Any]]:
    for part in message.walk():
        if part.is_multipart():
            continue
        payload = part.get_payload(decode=True)
        text = payload.decode(errors="replace") if isinstance(payload, bytes) else ""
        yield {
            "content_type": part.get_content_type(),
            "method": part.get_param("method"),
            "filename": part.get_filename(),
            "text": text,
        }


def web(mailbox: Mailbox) -> Starlette:
    """Return the reader's side: a page, and the same as JSON."""

    async def page(_request: Request) -> Response:
        return HTMLResponse(await asyncio.to_thread(_page, mailbox))

    async def messages(request: Request) -> Response:
        after = request.query_params.get("after", "")
        names = mailbox.names(after=after)[:MOST_AT_ONCE]
        found = await asyncio.to_thread(_all, mailbox, names)
        return Response(to_json({"items": found}), media_type="application/json")

    async def clear(_request: Request) -> Response:
        await asyncio.to_thread(mailbox.clear)
        return Response(status_code=204)

    async def alive(_request: Request) -> Response:
        return PlainTextResponse("ready")

    return Starlette(
        routes=[
            Route("/", page),
            Route("/readyz", alive),
            Route("/messages", messages, methods=["GET"]),
            Route("/messages", clear, methods=["DELETE"]),
            Route("/messages/{name}.html", _of_one(mailbox, _as_page)),
            Route("/messages/{name}.eml", _of_one(mailbox, _as_sent)),
            Route("/messages/{name}", _of_one(mailbox, _as_json)),
        ]
    )


def _of_one(
    mailbox: Mailbox, show: Callable[[str, bytes], Response]
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        name = request.path_params["name"]
        content = await asyncio.to_thread(mailbox.get, name)
        if content is None:
            return PlainTextResponse("There is no such message.", status_code=404)
        return show(name, content)

    return answer


def _as_page(name: str, content: bytes) -> Response:
    return HTMLResponse(_message_page(describe(name, content)))


def _as_sent(_name: str, content: bytes) -> Response:
    return Response(content, media_type="message/rfc822")


def _as_json(name: str, content: bytes) -> Response:
    return Response(to_json(describe(name, content)), media_type="application/json")


def _all(mailbox: Mailbox, names: Sequence[str]) -> list[dict[str, Any]]:
    return [describe(name, content) for name in names if (content := mailbox.get(name)) is not None]


def _page(mailbox: Mailbox) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(one['received_at'][:19])}</td>"
        f"<td>{html.escape(', '.join(one['to']))}</td>"
        f"<td><a href='/messages/{one['id']}.html'>{html.escape(one['subject'])}</a></td></tr>"
        for one in reversed(_all(mailbox, mailbox.names()[-SHOWN:]))
    )
    return (
        f"{HEAD}<title>Captured mail</title><h1>Captured mail</h1>"
        f"<p>Nothing here was sent to anybody; these are the newest, {SHOWN} at most. "
        f"<a href=/messages>As JSON</a>, oldest first and {MOST_AT_ONCE} at a time: "
        "<code>?after=</code> the last id goes on.</p>"
        f"<table><tr><th>Received<th>To<th>Subject</tr>{rows}</table></html>"
    )


def _message_page(message: dict[str, Any]) -> str:
    shown = "".join(_part_page(part) for part in message["parts"])
    return (
        f"{HEAD}<title>{html.escape(message['subject'])}</title>"
        f"<p><a href=/>All mail</a></p><h1>{html.escape(message['subject'])}</h1>"
        f"<p>From {html.escape(message['from'])} to {html.escape(', '.join(message['to']))}, "
        f"{html.escape(message['received_at'][:19])}. "
        f"<a href='/messages/{message['id']}.eml'>As it was sent</a></p>{shown}</html>"
    )


def _part_page(part: dict[str, Any]) -> str:
    title = " ".join(filter(None, (part["content_type"], part["method"], part["filename"])))
    text = html.escape(part["text"])
    # A mail's own HTML is shown without scripts and without reach into this page.
    shown = (
        f'<iframe sandbox srcdoc="{text}"></iframe>'
        if part["content_type"] == "text/html"
        else f"<pre>{text}</pre>"
    )
    return f"<h2>{html.escape(title)}</h2>{shown}"


async def serve(folder: Path, smtp: socket.socket, http: socket.socket) -> None:
    """Serve both sides until told to stop."""
    mailbox = Mailbox(folder)
    handler = Handler(mailbox)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, data_size_limit=LARGEST, enable_SMTPUTF8=True, loop=loop), sock=smtp
    )
    config = uvicorn.Config(web(mailbox), log_level="warning", access_log=False)
    async with server:
        await uvicorn.Server(config).serve(sockets=[http])


def main(folder: Path) -> None:
    """Run the sink on the two sockets its parent opened."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    smtp = socket.socket(fileno=int(os.environ["MENTORING_SMTP_FD"]))
    http = socket.socket(fileno=int(os.environ["MENTORING_LISTEN_FD"]))
    asyncio.run(serve(folder, smtp, http))
