"""What a request may look like before anybody parses it.

Limits come first: how many bytes, how soon, how deep, in which coding. Plain frameworks take a body
of 50 MB and recurse into brackets nested 900 deep.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin
from urllib.parse import unquote_to_bytes

from fastapi import Request, Response
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import DomainError, InvalidError, Violation
from shared.web import codes, problems
from shared.web.arrivals import BUDGET_BYTES, Arrivals
from shared.web.callers import Callers

MAX_BODY_BYTES = 1024 * 1024
# So many of the largest kind are waited for at once, however large they may be.
LARGEST_AT_ONCE = 4
MAX_HEADER_BYTES = 32 * 1024
MAX_HEADER_VALUE = 8 * 1024
MAX_DEPTH = 32
MAX_DIGITS = 1000
SEVERAL = frozenset({list, tuple, set, frozenset})
WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})

type Handler = Callable[[Request], Coroutine[Any, Any, Response]]

# A string, an opening, a closing, a word that JSON does not know, or a number longer than Python
# reads. Possessive, so that a hostile body is read once; a string that never ends runs to the end
# of the body.
_TOKEN = re.compile(
    rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|(?P<open>[\[{])|(?P<close>[\]}])|(?P<word>NaN|Infinity)'
    rb"|(?<![0-9])(?P<number>[0-9]{%d})" % (MAX_DIGITS + 1),
    re.DOTALL,
)
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]*)', re.IGNORECASE)
_LONG_NUMBER = re.compile(rb"(?<![0-9])[0-9]{%d}" % (MAX_DIGITS + 1))


class BodyMiddleware:
    """Refuses what is too large, too slow or coded, and hands on only what is here as a whole.

    It stands outside of admission: whoever sends slowly takes no place from anybody. What it holds
    meanwhile is bounded, for each sender and for all together.
    """

    def __init__(
        self, app: ASGIApp, *, callers: Callers, larger: Mapping[str, int] | None = None
    ) -> None:
        """Take the paths whose bodies may be larger, each with its limit in bytes."""
        self.app = app
        self._callers = callers
        self._larger = dict(larger or {})
        largest = max(self._larger.values(), default=0)
        self._arrivals = Arrivals(budget=max(BUDGET_BYTES, LARGEST_AT_ONCE * largest))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it unread."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            guarded = await self._guarded(scope, receive)
        except DomainError as error:
            await problems.refuse_with(scope, receive, send, error)
            return
        # Without its sender nobody is there to be answered, and half a body is none.
        if guarded is not None:
            await self.app(scope, guarded, send)

    async def _guarded(self, scope: Scope, receive: Receive) -> Receive | None:
        _check_query(scope["query_string"])
        headers = _check_headers(scope["headers"])
        if scope["method"] not in WITH_BODY:
            return receive
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _unsupported("Send the body as it is, without a Content-Encoding.")
        limit = self._larger.get(scope["path"], MAX_BODY_BYTES)
        counted = _counted(receive, headers, limit)
        body = await self._arrivals.whole(counted, self._callers.of(scope))
        return None if body is None else _given(body, receive)


class JsonMiddleware:
    """Refuses JSON that is too deep, not UTF-8 or not the same to every reader.

    It stands inside of admission, as reading takes time, and of `BodyMiddleware`.
    """

    def __init__(self, app: ASGIApp, *, unread: Collection[str] = ()) -> None:
        """Take the paths whose bodies are large, and are files or come from a sibling."""
        self.app = app
        self._unread = frozenset(unread)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it before anybody parses it."""
        is_read = scope["type"] == "http" and scope["method"] in WITH_BODY
        if not is_read or scope["path"] in self._unread:
            await self.app(scope, receive, send)
            return
        body = (await receive())["body"]
        try:
            _check_json(body, Headers(scope=scope).get("Content-Type", ""))
        except DomainError as error:
            await problems.refuse_with(scope, receive, send, error)
            return
        await self.app(scope, _given(body, receive), send)


def _check_query(query: bytes) -> None:
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        raise InvalidError(
            errors=[Violation("query", "malformed", "The query is not UTF-8.")]
        ) from None


def _check_headers(raw: Sequence[tuple[bytes, bytes]]) -> Headers:
    longest = max((len(value) for _name, value in raw), default=0)
    total = sum(len(name) + len(value) for name, value in raw)
    if longest > MAX_HEADER_VALUE or total > MAX_HEADER_BYTES:
        raise InvalidError(errors=[Violation("header", "too_long", "The headers are too long.")])
    return Headers(raw=list(raw))


def _counted(receive: Receive, headers: Headers, limit: int) -> Receive:
    """Pass a body on until it exceeds its limit; one announced as too large is not even read."""
    announced = headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced[:19]) > limit:
        raise _too_large(limit)
    seen = 0

    async def count() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return count


def _given(body: bytes, receive: Receive) -> Receive:
    """Hand over a body that was read; afterwards, listen for the client going away."""
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def _check_json(body: bytes, media_type: str) -> None:
    if "json" not in media_type.lower():
        return
    if any(name.lower() not in {"utf-8", "utf8"} for name in _CHARSET.findall(media_type)):
        raise _unsupported("JSON is sent in UTF-8.")
    if body.strip() == b"null":
        # A body that may be left out is left out; null would be another way to say so.
        detail = codes.VIOLATIONS["wrong_type"][0]
        raise InvalidError(errors=[Violation("#", "wrong_type", detail)])
    if not _is_utf8(body):
        raise _invalid_json("The body is not JSON in UTF-8.")
    is_odd = b"NaN" in body or b"Infinity" in body or _LONG_NUMBER.search(body)
    if is_odd or body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_tokens(body)
    _check_names(body)


def _check_tokens(body: bytes) -> None:
    depth = 0
    for token in _TOKEN.finditer(body):
        kind = token.lastgroup
        if kind == "word":
            raise _invalid_json("JSON knows neither NaN nor Infinity.")
        if kind == "number":
            raise _invalid_json(f"A number has at most {MAX_DIGITS} digits.")
        depth += (kind == "open") - (kind == "close")
        if depth > MAX_DEPTH:
            raise _invalid_json(f"The body is nested more than {MAX_DEPTH} deep.")


def _check_names(body: bytes) -> None:
    """Refuse a name that stands twice in one object: readers differ in which of the two they take.

    Costs about as much as reading the body once more, which is little beside serving it.
    """
    try:
        json.loads(body, object_pairs_hook=_distinct)
    except ValueError:
        # No JSON at all: whoever reads it for its content says where it breaks off.
        return


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _value in pairs}) != len(pairs):
        raise _invalid_json("A name stands twice in one object.")


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    # Text in UTF-16 or UTF-32 may pass for UTF-8, but not without NUL.
    return b"\x00" not in body


def checked(handler: Handler, dependant: Any, body_field: Any) -> Handler:
    """Let a route refuse a body of another media type, and a query it would half ignore."""
    named = _query_names(dependant.query_params)
    single = _single_names(dependant.query_params)
    expected: str | None = body_field.field_info.media_type if body_field else None

    async def check(request: Request) -> Response:
        if named is not None:
            _require_known(request, named)
        if request.scope["query_string"]:
            _require_once(request, single)
        if expected is not None:
            _require_media_type(request, expected)
        return await handler(request)

    return check


def _query_names(parameters: Sequence[Any]) -> frozenset[str] | None:
    """Return the parameters of a route, or None where a model of them refuses others itself."""
    kinds = [one.field_info.annotation for one in parameters]
    if any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds):
        return None
    return frozenset(one.alias for one in parameters)


def _single_names(parameters: Sequence[Any]) -> frozenset[str]:
    """Return the parameters of a route that take one value."""
    named = [pair for one in parameters for pair in _annotations(one)]
    return frozenset(name for name, annotation in named if not _takes_several(annotation))


def _annotations(parameter: Any) -> Iterator[tuple[str, Any]]:
    kind = parameter.field_info.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield field.alias or name, field.annotation
    else:
        yield parameter.alias, kind


def _takes_several(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    return origin in SEVERAL or any(map(_takes_several, get_args(annotation)))


def _require_once(request: Request, single: frozenset[str]) -> None:
    times = Counter(name for name, _value in request.query_params.multi_items() if name in single)
    repeated = [name for name, count in times.items() if count > 1]
    if repeated:
        raise InvalidError(
            errors=[
                Violation(f"query.{name}", "not_repeatable", codes.VIOLATIONS["not_repeatable"][0])
                for name in repeated
            ]
        )


def _require_known(request: Request, named: frozenset[str]) -> None:
    unknown = [name for name in request.query_params if name not in named]
    if unknown:
        raise InvalidError(
            code="unknown_parameter",
            errors=[
                Violation("query", "unknown_field", codes.VIOLATIONS["unknown_field"][0])
                for _name in unknown
            ],
        )


def _require_media_type(request: Request, expected: str) -> None:
    given = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if given == expected:
        return
    has_body = request.headers.get("Content-Length", "") not in {"", "0"}
    if given or has_body or "Transfer-Encoding" in request.headers:
        raise _unsupported(f"This operation reads {expected}.", {"Accept": expected})


def _invalid_json(detail: str) -> InvalidError:
    return InvalidError(detail, code="invalid_json")


def _too_large(limit: int) -> InvalidError:
    return InvalidError(
        f"The body is larger than {limit} bytes.",
        code="content_too_large",
        headers={"Connection": "close"},
    )


def _unsupported(detail: str, headers: Mapping[str, str] | None = None) -> InvalidError:
    return InvalidError(detail, code="unsupported_media_type", headers=headers)
