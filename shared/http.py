"""How services call each other: signed, bounded in time, and honest about a silent peer."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from pydantic_core import to_json

from shared.errors import UnavailableError
from shared.security import ServiceSigner

CONNECT_SECONDS = 2.0
# Well below a request's own deadline: a peer that hangs must not hold the places of its callers.
ANSWER_SECONDS = 2.5
FAILURES_TO_OPEN = 5
OPEN_SECONDS = 10.0


@dataclass(slots=True)
class Breaker:
    """Stops asking a peer that keeps silent; every ten seconds one caller may try."""

    now: Callable[[], float] = time.monotonic
    _failures: int = field(default=0, init=False)
    _closed_until: float = field(default=0.0, init=False)

    def lets_through(self) -> bool:
        """Tell whether to ask; of those who come while it is open, one each ten seconds may."""
        if self._failures < FAILURES_TO_OPEN:
            return True
        if self.now() < self._closed_until:
            return False
        self._closed_until = self.now() + OPEN_SECONDS
        return True

    def succeeded(self) -> None:
        """Note an answer: everybody may ask again."""
        self._failures = 0

    def failed(self) -> None:
        """Note silence."""
        self._failures += 1
        if self._failures == FAILURES_TO_OPEN:
            self._closed_until = self.now() + OPEN_SECONDS


class ServiceClient:
    """Calls one sibling service; every request carries a token made for it alone."""

    def __init__(
        self,
        *,
        audience: str,
        base_url: str,
        signer: ServiceSigner,
        unavailable_code: str,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Take the callee's name, its address, and the code that tells callers it is down."""
        self._audience = audience
        self._signer = signer
        self._unavailable_code = unavailable_code
        self._breaker = Breaker()
        self._http = httpx.AsyncClient(
            base_url=base_url,
            transport=transport,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        organization_id: UUID,
        subject: str,
        body: Any = None,
        params: dict[str, Any] | None = None,
        read_seconds: float = ANSWER_SECONDS,
    ) -> httpx.Response:
        """Send one request and return the answer, whatever its status below 500."""
        if not self._breaker.lets_through():
            raise self._unavailable()
        token = self._token(method, path, organization_id, subject, content := _content(body))
        request = self._http.build_request(
            method,
            path,
            content=content,
            headers=_headers(token),
            params=params,
            timeout=httpx.Timeout(read_seconds, connect=CONNECT_SECONDS),
        )
        try:
            response = await self._http.send(request)
        except httpx.TransportError as error:
            self._breaker.failed()
            raise self._unavailable() from error
        self._breaker.succeeded()
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise self._unavailable()
        return response

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        organization_id: UUID,
        subject: str,
        body: Any,
        read_seconds: float,
    ) -> AsyncIterator[httpx.Response]:
        """Send one request and read the answer line by line; silence longer than given ends it."""
        token = self._token(method, path, organization_id, subject, content := _content(body))
        request = self._http.build_request(
            method,
            path,
            content=content,
            headers=_headers(token),
            timeout=httpx.Timeout(10.0, connect=CONNECT_SECONDS, read=read_seconds),
        )
        try:
            response = await self._http.send(request, stream=True)
        except httpx.TransportError as error:
            raise self._unavailable() from error
        try:
            if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                raise self._unavailable()
            yield response
        except httpx.TransportError as error:
            raise self._unavailable() from error
        finally:
            await response.aclose()

    def _token(
        self, method: str, path: str, organization_id: UUID, subject: str, content: bytes
    ) -> str:
        return self._signer.sign(
            audience=self._audience,
            organization_id=organization_id,
            subject=subject,
            method=method,
            path=path,
            body=content,
        )

    def _unavailable(self) -> UnavailableError:
        return UnavailableError(
            "A service this depends on does not answer; try again shortly.",
            code=self._unavailable_code,
            headers={"Retry-After": "5"},
        )


def _content(body: Any) -> bytes:
    return b"" if body is None else to_json(body)


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
