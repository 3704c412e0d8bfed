"""Notifications as a test sees it: the real application, a real mail server, facts as api sends."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import httpx
from aiosmtpd.smtp import SMTP, Envelope, Session
from fastapi import FastAPI
from joserfc.jwk import ECKey

from services.api.clients import notifications as calls
from services.notifications.deliveries import jobs
from services.notifications.main import create_app
from services.notifications.resources import Resources
from services.notifications.settings import NotificationsSettings
from shared import ids
from shared.clock import system_clock
from shared.http import ServiceClient
from shared.schemas.events import EventBatch, EventEnvelope, IntakeResult
from shared.security import ServiceSigner
from tests.support.database import Databases

API_KEY = ECKey.generate_key("P-256", {"kid": "service:api"}, private=True)
SENDER = "mentoring@example.org"
START = datetime(2030, 3, 5, 9, 30, tzinfo=UTC)

type Script = Callable[[str], str | None]


def notifications_settings(
    databases: Databases, *, smtp_port: int, **changes: Any
) -> NotificationsSettings:
    """Return settings that point to the databases of this run and a mail server."""
    values: dict[str, Any] = {
        "env": "development",
        "notifications_database_url": databases.url("app_notifications", "notifications"),
        "notifications_worker_database_url": databases.url("worker_system", "notifications"),
        "smtp_host": "127.0.0.1",
        "smtp_port": smtp_port,
        "mail_from": SENDER,
        "service_public_keys": json.dumps({"keys": [API_KEY.as_dict(private=False)]}),
        "log_level": "critical",
    }
    return NotificationsSettings(**(values | changes))


@dataclass(slots=True)
class Postbox:
    """A mail server that keeps what it takes, and refuses what its script says."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    connections: int = 0
    refuse: Script = lambda _address: None

    def to(self, address: str) -> list[EmailMessage]:
        """Return the mails to one address, in the order they came."""
        return [mail for mail in self.mails if address in str(mail["To"])]

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self,
        _server: SMTP,
        session: Session,
        _envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        """Count a connection."""
        session.host_name = hostname
        self.connections += 1
        return responses

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        """Take a recipient, or answer as scripted."""
        answer = self.refuse(address)
        if answer is not None:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Keep a mail."""
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(message_from_bytes(content, policy=policy.default))
        return "250 kept"


@asynccontextmanager
async def running_postbox() -> AsyncIterator[Postbox]:
    """Run a mail server on a free port."""
    postbox = Postbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(postbox, enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0
    )
    postbox.port = server.sockets[0].getsockname()[1]
    try:
        yield postbox
    finally:
        server.close()


@asynccontextmanager
async def running_notifications(settings: NotificationsSettings) -> AsyncIterator[FastAPI]:
    """Start the application in this process and stop it afterwards."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


def client_of(app: FastAPI, key: ECKey = API_KEY) -> ServiceClient:
    """Return api's client of the application, signed as api signs."""
    signer = ServiceSigner(
        service="service:api", key=json.dumps(key.as_dict(private=True)), clock=system_clock
    )
    return ServiceClient(
        audience="service:notifications",
        base_url="http://notifications.test",
        signer=signer,
        unavailable_code="notifications_unavailable",
        transport=httpx.ASGITransport(app=app),
    )


def unreachable(api: FastAPI) -> ServiceClient:
    """Return a client of a port nobody listens on, signed as this api signs."""
    signer = api.state.resources.notifications._signer
    return ServiceClient(
        audience="service:notifications",
        base_url="http://127.0.0.1:1",
        signer=signer,
        unavailable_code="notifications_unavailable",
    )


@asynccontextmanager
async def beside(api: FastAPI, databases: Databases) -> AsyncIterator[FastAPI]:
    """Run notifications in this process as the sibling that a running api calls."""
    resources = api.state.resources
    key = ECKey.import_key(json.loads(resources.settings.service_key.get_secret_value()))
    settings = notifications_settings(
        databases,
        smtp_port=1,
        service_public_keys=json.dumps({"keys": [key.as_dict(private=False)]}),
    )
    async with running_notifications(settings) as app:
        far, resources.notifications = resources.notifications, client_of(app, key)
        try:
            yield app
        finally:
            await resources.notifications.close()
            resources.notifications = far


@dataclass(slots=True)
class Somebody:
    """A person as api describes them."""

    name: str
    id: UUID = field(default_factory=ids.new_id)
    email: str | None = ""
    locale: str = "en"
    timezone: str = "Europe/Berlin"
    is_reachable: bool = True

    def __post_init__(self) -> None:
        """Give an address to whoever has none on purpose."""
        if self.email == "":
            self.email = f"{self.name.lower()}-{ids.encode(self.id)}@example.org"

    def card(self) -> dict[str, Any]:
        """Return the card that travels with facts."""
        return {
            "id": str(self.id),
            "name": self.name,
            "email": self.email,
            "locale": self.locale,
            "timezone": self.timezone,
            "is_reachable": self.is_reachable,
        }


@dataclass(slots=True)
class Place:
    """One organization that tells its facts, and what comes of them."""

    app: FastAPI
    postbox: Postbox
    kind: str = "production"
    id: UUID = field(default_factory=ids.new_id)
    locale: str = "en"
    offset_seconds: int = 0
    program_name: str = "Rise"
    is_sensitive: bool = False
    program_id: UUID = field(default_factory=ids.new_id)

    @property
    def resources(self) -> Resources:
        """Return what the application holds open."""
        resources: Resources = self.app.state.resources
        return resources

    @property
    def client(self) -> ServiceClient:
        """Return api's client."""
        return client_of(self.app)

    def fact(
        self,
        kind: str,
        people: Sequence[Somebody],
        *,
        audiences: dict[str, Sequence[Somebody]],
        aggregate_id: UUID | None = None,
        version: int = 1,
        actor: Somebody | None = None,
        named: dict[str, str] | None = None,
        meeting: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return one fact as it travels."""
        return {
            "id": str(ids.new_id()),
            "type": kind,
            "occurred_at": datetime.now(UTC).isoformat(),
            "organization_id": str(self.id),
            "aggregate_id": str(aggregate_id or ids.new_id()),
            "aggregate_version": version,
            "program_id": str(self.program_id),
            "data": {
                "actor_id": ids.format_id("person", actor.id) if actor else None,
                "ids": named or {},
            },
            "audiences": {
                name: [str(one.id) for one in group] for name, group in audiences.items()
            },
            "render": {
                "organization": {
                    "name": "Example Works",
                    "kind": self.kind,
                    "clock_offset_seconds": self.offset_seconds,
                    "locale": self.locale,
                    "timezone": "Europe/Berlin",
                },
                "people": [one.card() for one in people],
                "program": {
                    "id": str(self.program_id),
                    "name": self.program_name,
                    "is_sensitive": self.is_sensitive,
                },
                "meeting": meeting,
            },
        }

    async def tell(self, *facts: dict[str, Any]) -> IntakeResult:
        """Hand facts over as the relay does."""
        batch = EventBatch(events=[EventEnvelope.model_validate(one) for one in facts])
        return await calls.send_events(self.client, organization_id=self.id, batch=batch)

    async def tell_raw(self, *facts: Any) -> IntakeResult:
        """Hand over facts that api itself would never send."""
        answer = await self.client.call(
            "POST",
            "/internal/events",
            organization_id=self.id,
            subject=calls.RELAY,
            body={"events": list(facts)},
        )
        assert answer.status_code == 200, answer.text
        return IntakeResult.model_validate_json(answer.content)

    async def work(self) -> int:
        """Send what this organization has due, and nothing that other tests left behind."""
        return await jobs.run_until(
            self.resources,
            organization_id=self.id,
            until=datetime.now(UTC) + timedelta(seconds=self.offset_seconds),
        )


@dataclass(slots=True)
class Appointment:
    """A meeting whose card changes as the meeting does."""

    attendees: list[Somebody]
    id: UUID = field(default_factory=ids.new_id)
    starts_at: datetime | None = START
    version: int = 1
    sequence: int = 0
    state: str = "scheduled"

    def card(self) -> dict[str, Any]:
        """Return the card that travels with facts."""
        ends_at = self.starts_at + timedelta(hours=1) if self.starts_at else None
        return {
            "id": str(self.id),
            "state": self.state,
            "starts_at": self.starts_at.isoformat() if self.starts_at else None,
            "ends_at": ends_at.isoformat() if ends_at else None,
            "timezone": "Europe/Berlin",
            "ical_uid": f"{ids.format_id('meeting', self.id)}@mentoring",
            "ical_sequence": self.sequence,
            "attendee_ids": [str(one.id) for one in self.attendees],
        }

    def fact(self, place: Place, kind: str, *, actor: Somebody | None = None) -> dict[str, Any]:
        """Return a fact about this meeting as it is now."""
        return place.fact(
            kind,
            self.attendees,
            audiences={"attendees": self.attendees},
            aggregate_id=self.id,
            version=self.version,
            actor=actor,
            meeting=self.card(),
        )

    def change(self, **changes: Any) -> None:
        """Change the meeting as api does: every change of place in calendars counts."""
        self.version += 1
        self.sequence += 1
        for name, value in changes.items():
            setattr(self, name, value)
