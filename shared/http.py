"""How services call each other: signed, bounded in time, and honest about a silent peer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
from pydantic_core import to_json

from shared.errors import UnavailableError
from shared.security import ServiceSigner

CONNECT_SECONDS = 2.0


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
        self._http = httpx.AsyncClient(
            base_url=base_url,
            transport=transport,
            timeout=httpx.Timeout(10.0, connect=CONNECT_SECONDS),
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
    ) -> httpx.Response:
        """Send one request and return the answer, whatever its status below 500."""
        token = self._token(method, path, organization_id, subject, content := _content(body))
        request = self._http.build_request(
            method, path, content=content, headers=_headers(token), params=params
        )
        try:
            response = await self._http.send(request)
        except httpx.TransportError as error:
            raise self._unavailable() from error
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
