"""E-mail: how a message is put together, handed over, and its answer judged.

Structure: mixed( alternative( text, html, calendar ), attachment invite.ics ).
"""

from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.headerregistry import (
    Address,
    HeaderRegistry,
    UniqueAddressHeader,
    UniqueUnstructuredHeader,
)
from email.message import EmailMessage
from email.policy import SMTP, Policy
from http import HTTPStatus
from typing import Any
from uuid import UUID

from aiosmtplib.errors import (
    SMTPDataError,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPServerDisconnected,
)

from services.notifications.channels.pool import MailPool
from services.notifications.channels.results import Accepted, Rejected, Result, Retry
from shared import ids

LONGEST_ANSWER = 500
LONGEST_LINE = 78
PERMANENT = HTTPStatus.INTERNAL_SERVER_ERROR.value


class WholeSubject(UniqueUnstructuredHeader):
    """A subject that arrives with its spaces.

    The library's own folding loses some between encoded words and doubles others.
    """

    name: str

    def fold(self, *, policy: Policy) -> str:
        """Return the header in lines."""
        text = str(self)
        line = f"{self.name}: {text}"
        if not _fits(line):
            line = f"{self.name}: {_encoded(self.name, text, policy)}"
        return line + policy.linesep


class WholeAddress(UniqueAddressHeader):
    """Addresses whose names arrive as they are.

    The library's own folding drops the quotation marks of long names: a comma inside then begins
    another address.
    """

    name: str

    def fold(self, *, policy: Policy) -> str:
        """Return the header in lines."""
        line = f"{self.name}: {self}"
        if not _fits(line):
            written = [self._written(one, policy) for one in self.addresses]
            line = f"{self.name}: {', '.join(written)}"
        return line + policy.linesep

    def _written(self, address: Address, policy: Policy) -> str:
        if not address.display_name:
            return str(address)
        # The address on a line of its own: the last one of the name may be full.
        name = _encoded(self.name, address.display_name, policy)
        return f"{name}{policy.linesep} <{address.addr_spec}>"


def _fits(line: str) -> bool:
    return line.isascii() and len(line) <= LONGEST_LINE


def _encoded(name: str, text: str, policy: Policy) -> str:
    return Header(text, "utf-8", header_name=name).encode(linesep=policy.linesep)


# Any: the types of the library ask for a base that the registry adds by itself.
_HEADERS: Any = HeaderRegistry()
_HEADERS.map_to_type("subject", WholeSubject)
_HEADERS.map_to_type("from", WholeAddress)
_HEADERS.map_to_type("to", WholeAddress)
POLICY = SMTP.clone(header_factory=_HEADERS)


@dataclass(frozen=True, slots=True)
class Letter:
    """Everything one mail is made of; a calendar part comes with its iTIP method."""

    delivery_id: UUID
    to_name: str
    to_address: str
    written_at: datetime
    locale: str
    subject: str
    text: str
    html: str
    calendar: str | None = None
    method: str | None = None


@dataclass(frozen=True, slots=True)
class Mailer:
    """The address mails come from."""

    name: str
    address: str

    def compose(self, letter: Letter) -> EmailMessage:
        """Return the mail; the same letter has the same Message-ID, however often it is sent."""
        message = EmailMessage(policy=POLICY)
        message["From"] = Address(self.name, addr_spec=self.address)
        message["To"] = Address(letter.to_name, addr_spec=letter.to_address)
        message["Subject"] = letter.subject
        message["Date"] = letter.written_at
        message["Message-ID"] = self.message_id(letter.delivery_id)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(letter.text, cte="quoted-printable")
        message.add_alternative(letter.html, subtype="html", cte="quoted-printable")
        if letter.calendar is not None and letter.method is not None:
            _add_calendar(message, letter.calendar, letter.method)
        # Last, since adding parts moves every Content header into the first of them.
        message["Content-Language"] = letter.locale
        return message

    def message_id(self, delivery_id: UUID) -> str:
        """Return the Message-ID by which a repeat after a crash can be recognised."""
        domain = self.address.rpartition("@")[2]
        return f"<{ids.format_id('delivery', delivery_id)}@{domain}>"


def _add_calendar(message: EmailMessage, calendar: str, method: str) -> None:
    # Without the MIME parameter some clients show an attachment instead of an invitation.
    message.add_alternative(calendar, subtype="calendar", cte="base64", params={"method": method})
    message.add_attachment(
        calendar.encode(), maintype="application", subtype="ics", filename="invite.ics"
    )


class MailChannel:
    """Hands mails to the server and judges its answer for the one recipient."""

    def __init__(self, pool: MailPool, mailer: Mailer) -> None:
        """Take the connections and the address mails come from."""
        self._pool = pool
        self.mailer = mailer

    async def send(self, letter: Letter) -> Result:
        """Send one mail; a kept connection that turns out dead is replaced once."""
        try:
            message = self.mailer.compose(letter)
        except ValueError:
            return Rejected("malformed_address")
        try:
            return await self._hand_over(message, letter.to_address, is_fresh=False)
        except SMTPServerDisconnected:
            return await self._last_try(message, letter.to_address)
        except (SMTPException, OSError, TimeoutError) as error:
            return judge(error)

    async def _last_try(self, message: EmailMessage, address: str) -> Result:
        try:
            return await self._hand_over(message, address, is_fresh=True)
        except (SMTPException, OSError, TimeoutError) as error:
            return judge(error)

    async def _hand_over(self, message: EmailMessage, address: str, *, is_fresh: bool) -> Result:
        async with self._pool.connection(is_fresh=is_fresh) as smtp:
            _refused, answer = await smtp.send_message(
                message, sender=self.mailer.address, recipients=[address]
            )
            return Accepted(answer[:LONGEST_ANSWER])


def judge(error: Exception) -> Result:
    """Tell a refusal of this recipient or message from trouble that concerns every mail.

    Only the former is final: a wrong password must not turn everybody's address into a bounce.
    """
    if isinstance(error, SMTPRecipientsRefused):
        return _by_code(error.recipients[0])
    if isinstance(error, SMTPDataError):
        return _by_code(error)
    if isinstance(error, SMTPNotSupported):
        return Rejected("address_not_supported")
    if isinstance(error, SMTPResponseException):
        return Retry("server_refuses", _answer(error))
    return Retry("server_away", type(error).__name__)


def _by_code(error: SMTPResponseException) -> Result:
    if error.code >= PERMANENT:
        return Rejected("refused_by_server", _answer(error))
    return Retry("deferred_by_server", _answer(error))


def _answer(error: SMTPResponseException) -> str:
    return f"{error.code} {error.message}"[:LONGEST_ANSWER]
