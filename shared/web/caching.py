"""Answers on their way out: not sent again to who holds them, secrets never compressed."""

from collections.abc import Iterable
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette_compress import CompressMiddleware

from shared.web.preconditions import is_unchanged

MIN_COMPRESSED_BYTES = 500
# Between the two layers below only: an answer that is coded already is not compressed.
UNTOUCHED = (b"content-encoding", b"untouched")
_KEPT = frozenset({b"etag", b"cache-control", b"vary", b"content-location", b"link"})


class ConditionalMiddleware:
    """Answers 304 to a reader who already holds the current version."""

    def __init__(self, app: ASGIApp) -> None:
        """Compare for the application inside."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        held = _held(scope)
        if held is None:
            await self.app(scope, receive, send)
            return
        is_held = False

        async def answer(message: Message) -> None:
            nonlocal is_held
            if message["type"] == "http.response.start":
                is_held = _is_held(message, held)
                if is_held:
                    kept = [pair for pair in message["headers"] if pair[0] in _KEPT]
                    message = {**message, "status": HTTPStatus.NOT_MODIFIED, "headers": kept}
            elif is_held:
                message = {**message, "body": b""}
            await send(message)

        await self.app(scope, receive, answer)


def _held(scope: Scope) -> str | None:
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    return Headers(scope=scope).get("If-None-Match")


def _is_held(message: Message, held: str) -> bool:
    etag = MutableHeaders(scope=message).get("ETag")
    return message["status"] == HTTPStatus.OK and is_unchanged(held, etag)


class CompressionMiddleware:
    """Compresses answers in zstd, br or gzip, but none that must not be stored.

    An answer that holds a secret beside text an attacker chose would betray it by its length.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Compress for the application inside."""
        self._compressing = CompressMiddleware(
            _SecretsMarked(app), minimum_size=MIN_COMPRESSED_BYTES
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and UNTOUCHED in message["headers"]:
                message["headers"] = [one for one in message["headers"] if one != UNTOUCHED]
            await send(message)

        await self._compressing(scope, receive, answer)


class _SecretsMarked:
    """Tells the compressor, in its own words, that a secret is coded already."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_secret(message["headers"]):
                message["headers"] = [*message["headers"], UNTOUCHED]
            await send(message)

        await self.app(scope, receive, answer)


def _is_secret(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name == b"cache-control" and b"no-store" in value for name, value in headers)
