"""An outside client of the public API: a credential, patience, and one intent per POST.

A request that finds the service restarting is sent again with the same Idempotency-Key, so that
nothing happens twice however often it is repeated.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

PATIENCE_SECONDS = 90.0
LONGEST_WAIT = 2.0
RETRIED = frozenset({429, 502, 503, 504})


class RefusedError(Exception):
    """The API said no; `code` is its stable code."""

    def __init__(self, method: str, path: str, response: httpx.Response) -> None:
        """Keep what was asked and how it was refused."""
        self.status = response.status_code
        self.problem = _problem(response)
        self.code = str(self.problem.get("code", ""))
        super().__init__(f"{method} {path}: {self.status} {self.problem}")


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        content = response.json()
    except ValueError:
        return {"detail": response.text[:300]}
    return content if isinstance(content, dict) else {"detail": content}


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody's way into the API; all of them share one pool of connections."""

    http: httpx.AsyncClient
    root: str
    token: str

    async def get(self, path: str, **params: Any) -> Any:
        """Read one thing."""
        return (await self._send("GET", path, params=params)).json()

    async def pages(self, path: str, **params: Any) -> AsyncIterator[Any]:
        """Yield every item of a list."""
        cursor = None
        while True:
            page = await self.get(
                path, limit=200, **params, **({"cursor": cursor} if cursor else {})
            )
            for item in page["items"]:
                yield item
            cursor = page["next_cursor"]
            if cursor is None or page.get("has_more") is False:
                return

    async def all(self, path: str, **params: Any) -> list[Any]:
        """Return every item of a list."""
        return [item async for item in self.pages(path, **params)]

    async def post(self, path: str, body: Any = None, *, intent: str) -> Any:
        """Make or do something once; the same intent again changes nothing."""
        headers = {"Idempotency-Key": intent}
        response = await self._send(
            "POST", path, json={} if body is None else body, headers=headers
        )
        return response.json() if response.content else None

    async def upload(
        self, path: str, fields: Mapping[str, str], file: tuple[str, bytes], *, intent: str
    ) -> Any:
        """Send a form with one file, once."""
        response = await self._send(
            "POST",
            path,
            data=fields,
            files={"file": (*file, "text/csv")},
            headers={"Idempotency-Key": intent},
        )
        return response.json()

    async def put_new(self, path: str, body: Any) -> None:
        """Store what is not there yet; what is there stays."""
        try:
            await self._send("PUT", path, json=body, headers={"If-None-Match": "*"})
        except RefusedError as refused:
            if refused.status not in {412, 428}:
                raise

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        deadline = time.monotonic() + PATIENCE_SECONDS
        wait = 0.1
        while True:
            response = await self._try(method, path, headers, options)
            if response is not None and not _is_passing(response):
                return response
            if time.monotonic() > deadline:
                raise TimeoutError(f"{method} {path}: no answer in {PATIENCE_SECONDS:g} s")
            await asyncio.sleep(_named_wait(response) or wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _try(
        self, method: str, path: str, headers: Mapping[str, str], options: Mapping[str, Any]
    ) -> httpx.Response | None:
        """Return the answer, or None where there was none."""
        try:
            response = await self.http.request(
                method, f"{self.root}{path}", headers=headers, **options
            )
        except httpx.TransportError:
            return None
        if response.is_success or _is_passing(response):
            return response
        raise RefusedError(method, path, response)


def _is_passing(response: httpx.Response) -> bool:
    if response.status_code in RETRIED:
        return True
    return response.status_code == httpx.codes.CONFLICT and (
        _problem(response).get("code") == "idempotency_key_in_progress"
    )


def _named_wait(response: httpx.Response | None) -> float | None:
    named = response.headers.get("Retry-After", "") if response is not None else ""
    return min(float(named), LONGEST_WAIT) if named.isdigit() else None
