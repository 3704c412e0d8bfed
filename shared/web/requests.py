"""The outermost layer: every request gets our id and one log line, every answer its headers."""

import re
import time
from http import HTTPStatus
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import ids

VARY = ("Accept-Language", "Authorization", "Origin")
Headers = tuple[tuple[bytes, bytes], ...]
FIXED: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
)
READING = frozenset({"GET", "HEAD"})
_TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

logger = structlog.get_logger()


class RequestMiddleware:
    """Names each request and says afterwards how it went, in ids only."""

    def __init__(self, app: ASGIApp, *, banner: Headers = ()) -> None:
        """Stand around the whole application; a banner goes with every answer."""
        self.app = app
        self.fixed = (*FIXED, *banner)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = ids.encode(ids.new_id())
        scope["request_id"] = request_id
        scope.setdefault("state", {})
        started = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _complete(message, scope, status, request_id, self.fixed)
            await send(message)

        named = structlog.contextvars.bind_contextvars(**_names(scope, request_id))
        try:
            await self.app(scope, receive, answer)
        finally:
            _log(scope, status, time.perf_counter() - started)
            structlog.contextvars.reset_contextvars(**named)


def _names(scope: Scope, request_id: str) -> dict[str, str]:
    names = {"request_id": request_id}
    for name, value in scope["headers"]:
        if name == b"traceparent" and (trace := _TRACE.fullmatch(value)):
            names["trace_id"] = trace[1].decode()
    return names


def _complete(message: Message, scope: Scope, status: int, request_id: str, fixed: Headers) -> None:
    # The raw pairs, gone through once: a mapping over them searches anew for every name.
    headers, varying, is_cached = [], [], False
    for pair in message["headers"]:
        if pair[0] == b"vary":
            varying.append(pair[1].decode())
            continue
        headers.append(pair)
        is_cached = is_cached or pair[0] == b"cache-control"
    if not is_cached:
        is_read = scope["method"] in READING and status < HTTPStatus.BAD_REQUEST
        headers.append((b"cache-control", b"private, no-cache" if is_read else b"no-store"))
    headers += ((b"request-id", request_id.encode()), *fixed, (b"vary", _vary(varying)))
    message["headers"] = headers


def _vary(named: list[str]) -> bytes:
    present = ", ".join(named)
    return ", ".join([*named, *(name for name in VARY if name not in present)]).encode()


def _log(scope: Scope, status: int, seconds: float) -> None:
    actor = scope["state"].get("actor")
    line: dict[str, Any] = {"status": status, "duration_ms": round(seconds * 1000, 1)}
    if route := scope.get("route"):
        line["operation"] = getattr(route, "name", "")
    if actor is not None:
        line["organization_id"] = str(actor.organization_id)
        line["actor_id" if actor.person_id else "client_id"] = actor.principal
    logger.info("request", **line)
