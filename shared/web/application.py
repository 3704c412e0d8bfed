"""The layers around every application, in one order, outermost first."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers as RequestHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.web.admission import AdmissionMiddleware
from shared.web.bodies import BodyMiddleware, JsonMiddleware
from shared.web.caching import CompressionMiddleware, ConditionalMiddleware
from shared.web.callers import Callers
from shared.web.limits import Buckets, QuotaMiddleware, Quotas
from shared.web.methods import MethodsMiddleware
from shared.web.problems import NOTHING_NAMED, Taken, install_problem_handlers, refuse
from shared.web.requests import Headers, RequestMiddleware

CORS_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
CORS_ALLOWED = (
    *("Authorization", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key"),
    *("Last-Event-ID", "Accept-Language"),
)
CORS_EXPOSED = (
    *("ETag", "Link", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "Request-Id"),
    *("Content-Language", "Deprecation", "Sunset", "Idempotency-Replayed", "Allow"),
    "Mentoring-Mode",
)


class CrossOriginMiddleware(CORSMiddleware):
    """Lets pages of listed origins read answers; requests of no page cost nothing here."""

    def __init__(self, app: ASGIApp, *, own_pages: tuple[str, ...] = (), **options: Any) -> None:
        """Take under which paths answers are pages themselves, which no other page reads."""
        super().__init__(app, **options)
        self._own_pages = own_pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; every answer says elsewhere that it varies by origin."""
        is_of_page = any(name == b"origin" for name, _value in scope.get("headers", ()))
        is_shared = is_of_page and not scope["path"].startswith(self._own_pages)
        await (super().__call__ if is_shared else self.app)(scope, receive, send)

    def preflight_response(self, request_headers: RequestHeaders) -> Response:
        """Answer whether a page may ask; a refusal is a problem as every other."""
        answer = super().preflight_response(request_headers)
        return answer if answer.status_code == HTTPStatus.OK else RefusedPreflight(answer)


class RefusedPreflight(Response):
    """The refusal of a preflight, with the headers by which a browser knows it."""

    def __init__(self, answer: Response) -> None:
        """Take what the framework would answer."""
        super().__init__(status_code=answer.status_code)
        self._known_by = {
            name: value for name, value in answer.headers.items() if not name.startswith("content-")
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the problem, which names the request it refuses."""
        await refuse(scope, receive, send, code="origin_not_allowed", headers=self._known_by)


@dataclass(frozen=True, slots=True)
class Frame:
    """What the layers of one service are set to.

    `connections` bounds what is worked on at once; `larger` names paths whose bodies may be larger,
    each with its limit in bytes; `taken` says what a broken unique index means; `banner`
    holds headers that go with every answer; `own_pages` are paths whose answers are pages for
    people, which no page of another origin may read.
    """

    connections: int
    cors_origins: tuple[str, ...] = ()
    rate_limit: int = 600
    organization_rate_limit: int = 6000
    network_rate_limit: int = 1200
    larger: Mapping[str, int] = field(default_factory=dict)
    taken: Taken = NOTHING_NAMED
    banner: Headers = ()
    own_pages: tuple[str, ...] = ()


def equip(root: FastAPI, public: FastAPI, *, prefix: str, frame: Frame) -> None:
    """Put every convention of the public API around it, once for all operations."""
    install_problem_handlers(root, taken=frame.taken)
    callers = Callers.none_yet()
    quotas = Quotas(
        principals=Buckets(frame.rate_limit),
        organizations=Buckets(frame.organization_rate_limit),
        networks=Buckets(frame.network_rate_limit),
    )
    _surround(
        root,
        (RequestMiddleware, {"banner": frame.banner}),
        # Before the limits: a page on another origin must be able to read that it was refused.
        (CrossOriginMiddleware, _cross_origin(frame)),
        (QuotaMiddleware, {"quotas": quotas, "callers": callers}),
        # Before admission: a body that is still on its way takes no place from anybody.
        (BodyMiddleware, {"callers": callers, "larger": frame.larger}),
        (AdmissionMiddleware, {"connections": frame.connections, "callers": callers}),
        (MethodsMiddleware, {"document": public.openapi, "prefix": prefix}),
        (CompressionMiddleware, {}),
        (JsonMiddleware, {"unread": frame.larger}),
        (ConditionalMiddleware, {}),
    )


def equip_internal(
    app: FastAPI, *, connections: int, larger: Mapping[str, int] | None = None
) -> None:
    """Put around a service that only its siblings call what makes sense there."""
    install_problem_handlers(app)
    callers = Callers.none_yet()
    _surround(
        app,
        (RequestMiddleware, {}),
        (BodyMiddleware, {"callers": callers, "larger": larger}),
        (AdmissionMiddleware, {"connections": connections, "callers": callers}),
        (JsonMiddleware, {"unread": larger or {}}),
    )


def _surround(app: FastAPI, *layers: tuple[type[Any], Mapping[str, Any]]) -> None:
    for layer, options in reversed(layers):
        app.add_middleware(layer, **options)


def _cross_origin(frame: Frame) -> dict[str, Any]:
    return {
        "allow_origins": list(frame.cors_origins),
        "allow_methods": list(CORS_METHODS),
        "allow_headers": list(CORS_ALLOWED),
        "expose_headers": list(CORS_EXPOSED),
        "max_age": 600,
        "own_pages": frame.own_pages,
    }
