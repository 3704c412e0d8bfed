"""HEAD wherever there is GET, and a complete `Allow` where a method is refused."""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("get", "head", "post", "put", "patch", "delete")

type Document = Callable[[], Mapping[str, Any]]


class MethodsMiddleware:
    """Serves HEAD as GET without its body, and names every method a path knows.

    The framework names only the methods of the first route that matches a path, so the document is
    asked for all of them.
    """

    def __init__(self, app: ASGIApp, *, document: Document, prefix: str) -> None:
        """Take the document whose paths stand below the prefix."""
        self.app = app
        self._document = document
        self._prefix = prefix
        self._paths: list[tuple[re.Pattern[str], frozenset[str]]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        # A copy: the server reads the method of its own scope to frame the answer.
        inner = {**scope, "method": "GET"} if is_head else scope

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] == HTTPStatus.METHOD_NOT_ALLOWED:
                    self._name_methods(scope, message)
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        await self.app(inner, receive, answer)
        if is_head and "route" in inner:
            scope["route"] = inner["route"]

    def _name_methods(self, scope: Scope, message: Message) -> None:
        known = self.of_path(scope["path"])
        if known:
            headers = MutableHeaders(scope=message)
            headers["Allow"] = ", ".join(name.upper() for name in METHODS if name in known)

    def of_path(self, path: str) -> frozenset[str]:
        """Return every method the document knows for a path."""
        if self._paths is None:
            self._paths = [_pattern(*one) for one in self._document()["paths"].items()]
        below = path.removeprefix(self._prefix)
        found = [methods for pattern, methods in self._paths if pattern.fullmatch(below)]
        return frozenset().union(*found)


def _pattern(path: str, operations: Mapping[str, Any]) -> tuple[re.Pattern[str], frozenset[str]]:
    literal = [re.escape(part) for part in re.split(r"\{[^}]+\}", path)]
    methods = frozenset(operations) & frozenset(METHODS)
    if "get" in methods:
        methods |= {"head"}
    return re.compile("[^/]+".join(literal)), methods
