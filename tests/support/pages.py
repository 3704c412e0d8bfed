"""The sign-in pages as a browser without script sees them: one cookie jar, links and forms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx
from fastapi import FastAPI

from services.api.sign_in.requests.rules import COOKIE
from tests.support.email_codes import REDIRECT, App, challenge_of

ROOT = "https://api.test"
STATE = "af0ifjsldkj"


@dataclass(slots=True)
class Form:
    """A form with what its fields hold."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)


class _Reader(HTMLParser):
    """Reads what a page consists of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.forms: list[Form] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.texts: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element; fields belong to the last form."""
        held = {name: value or "" for name, value in attrs}
        self.tags.append((tag, held))
        self._open.append(tag)
        if tag == "form":
            self.forms.append(Form(held["action"]))
        if tag == "input":
            self.forms[-1].fields[held["name"]] = held.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """Note the end of an element; those that never end are passed over."""
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        """Note the words, and those of each kind of element."""
        if "style" in self._open:
            return
        self.words.append(data)
        for tag in set(self._open):
            self.texts[tag] = self.texts.get(tag, "") + data


@dataclass(slots=True)
class Page:
    """One page that was answered."""

    answer: httpx.Response

    @property
    def _read(self) -> _Reader:
        reader = _Reader()
        reader.feed(self.answer.text)
        reader.close()
        return reader

    @property
    def title(self) -> str:
        """Return the heading."""
        return self._read.texts["h1"].strip()

    @property
    def text(self) -> str:
        """Return all words on the page."""
        return " ".join("".join(self._read.words).split())

    @property
    def tags(self) -> list[tuple[str, dict[str, str]]]:
        """Return every element with its attributes."""
        return self._read.tags

    def element(self, name: str) -> dict[str, str]:
        """Return the attributes of the element with this id."""
        return next(held for _tag, held in self.tags if held.get("id") == name)

    def form(self, action: str) -> Form:
        """Return the form that is sent to an address."""
        return next(form for form in self._read.forms if form.action == action)


@dataclass(slots=True)
class Browser:
    """Somebody's browser: it keeps cookies and goes where it is sent within this host."""

    app: FastAPI
    http: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        """Open it with an empty jar."""
        transport = httpx.ASGITransport(app=self.app)
        self.http = httpx.AsyncClient(transport=transport, base_url=ROOT)

    @property
    def cookie(self) -> str | None:
        """Return the one cookie."""
        return self.http.cookies.get(COOKIE)

    async def open(self, url: str, **headers: str) -> Page:
        """Go to an address."""
        return await self._arrived(await self.http.get(url, headers=headers))

    async def send(self, action: str, fields: Mapping[str, str]) -> Page:
        """Send a form with these fields."""
        return await self._arrived(await self.http.post(action, data=dict(fields)))

    async def submit(self, page: Page, action: str, **typed: str) -> Page:
        """Fill in a form of a page and send it."""
        return await self.send(action, page.form(action).fields | typed)

    async def _arrived(self, answer: httpx.Response) -> Page:
        location = urljoin(ROOT, answer.headers.get("Location", ""))
        if answer.status_code == 303 and urlsplit(location).netloc == urlsplit(ROOT).netloc:
            return await self.open(location)
        return Page(answer)


def authorize(app: App, **changes: str | None) -> str:
    """Return the address that an app sends a browser to; None leaves a parameter out."""
    query: dict[str, Any] = {
        "response_type": "code",
        "client_id": app.client_id,
        "redirect_uri": REDIRECT,
        "scope": "people:read",
        "state": STATE,
        "code_challenge": challenge_of(app.verifier),
        "code_challenge_method": "S256",
        **changes,
    }
    return "/oauth/authorize?" + urlencode({k: v for k, v in query.items() if v is not None})


def sent_to(page: Page) -> tuple[str, dict[str, str]]:
    """Return where a browser was sent outside, and with what."""
    assert page.answer.status_code == 303, page.answer.text
    place, _, query = page.answer.headers["Location"].partition("?")
    return place, {name: values[0] for name, values in parse_qs(query).items()}


async def register(app: App, *redirect_uris: str) -> None:
    """Let the app be answered at these addresses."""
    async with app.open() as session:
        connection = await session.connection()
        await connection.exec_driver_sql(
            "UPDATE oauth_client SET redirect_uris = $1 WHERE organization_id = $2 AND id = $3",
            (list(redirect_uris), app.organization_id, app.id),
        )
