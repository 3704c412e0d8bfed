"""Refusals as problem documents (RFC 9457): the only place that knows HTTP status numbers.

Codes are stable; `title` and `detail` are for people. What the client sent is never repeated.
"""

import traceback
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from pydantic_core.core_schema import ErrorType
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import errors
from shared.errors import DomainError, UnauthenticatedError, Violation
from shared.web import codes

MEDIA_TYPE = "application/problem+json"
HEALTH_PATHS = frozenset({"/livez", "/readyz"})
UNAVAILABLE_STATES = ("57P", "53", "55P03", "08")

logger = structlog.get_logger()

STATUS_OF_ERROR: Sequence[tuple[type[DomainError], int]] = (
    (errors.InvalidError, 400),
    (errors.UnauthenticatedError, 401),
    (errors.ForbiddenError, 403),
    (errors.NotFoundError, 404),
    (errors.GoneError, 410),
    (errors.PreconditionError, 412),
    (errors.ConflictError, 409),
    (errors.LimitedError, 429),
    (errors.UnavailableError, 503),
)
STATUS_OF_CODE: Mapping[str, int] = MappingProxyType(
    {"precondition_required": 428, "content_too_large": 413, "unsupported_media_type": 415}
)
CODE_OF_STATUS: Mapping[int, str] = MappingProxyType(
    {
        400: "invalid_request",
        401: "unauthenticated",
        403: "forbidden",
        404: "not_found",
        405: "method_not_allowed",
        413: "content_too_large",
        415: "unsupported_media_type",
    }
)

# What a race can still break after every rule was checked, by PostgreSQL's code.
CONSTRAINTS: Mapping[str, tuple[int, str, str]] = MappingProxyType(
    {
        "23505": (409, "already_exists", "This exists already."),
        "23503": (400, "unknown_reference", "The request refers to nothing you can use."),
        "23514": (409, "limit_reached", "A limit was reached in the meantime."),
    }
)

type Taken = Mapping[str, tuple[str, str]]
"""What a broken unique index says, by its name: the code and words of the rule it stands for."""
NOTHING_NAMED: Taken = MappingProxyType({})

KNOWN_RULES = frozenset(get_args(ErrorType))

# Pydantic's words for a broken rule, and ours: an upgrade of the library cannot change the API.
CODE_OF_RULE: Mapping[str, str] = MappingProxyType(
    {
        "missing": "missing",
        "extra_forbidden": "unknown_field",
        "string_too_long": "too_long",
        "string_too_short": "too_short",
        "too_long": "too_long",
        "too_short": "too_short",
        "greater_than_equal": "out_of_range",
        "less_than_equal": "out_of_range",
        "out_of_range": "out_of_range",
        "int_from_float": "not_whole",
        "too_deep": "too_deep",
        "email": "invalid_email",
        "value_error": "inconsistent",
        "enum": "not_allowed",
        "literal_error": "not_allowed",
        "string_pattern_mismatch": "malformed",
        "invalid_id": "invalid_id",
        "forbidden_character": "forbidden_character",
        "not_unique": "not_unique",
        "unknown_time_zone": "unknown_time_zone",
    }
)


def problem(
    request: Request,
    *,
    status: int,
    code: str,
    detail: str,
    violations: Sequence[Violation] = (),
    allowed: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the problem document of one refusal, in the language that is asked for."""
    language = codes.language_of(request.headers.get("Accept-Language"))
    content: dict[str, Any] = {
        "type": f"{codes.TYPE}{code}",
        "title": _title(code, status, language),
        "status": status,
        "detail": detail if language == "en" else _german(code, status),
        "instance": quote(request.url.path, safe="/:@!$&'()*+,;=~"),
        "code": code,
        "request_id": request.scope.get("request_id", ""),
    }
    if violations:
        content["errors"] = [
            {"pointer": one.pointer, "code": one.code, "detail": _words(one, language)}
            for one in violations
        ]
    if allowed:
        content["allowed"] = list(allowed)
    return Response(
        to_json(content),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={"Content-Language": language, **_always(status, code), **(headers or {})},
    )


def _title(code: str, status: int, language: str) -> str:
    known = codes.CODES.get(code)
    if known is None:
        return HTTPStatus(status).phrase
    return known.en if language == "en" else known.de


def _german(code: str, status: int) -> str:
    title = _title(code, status, "de")
    family = codes.family_of(code, status)
    return f"{title}. {family.hint_de}" if family else f"{title}."


def _words(violation: Violation, language: str) -> str:
    if language == "en":
        return violation.detail
    known = codes.VIOLATIONS.get(violation.code)
    return known[1] if known else codes.OTHER_VIOLATION_DE


def _always(status: int, code: str) -> dict[str, str]:
    if status == HTTPStatus.UNAUTHORIZED:
        # RFC 6750, section 3.1: whoever showed no token hears only that one is needed.
        is_bare = code == UnauthenticatedError.code
        return {"WWW-Authenticate": "Bearer" if is_bare else 'Bearer error="invalid_token"'}
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        return {"Retry-After": "1"}
    return {}


def status_of(error: DomainError) -> int:
    """Return the HTTP status of a refusal."""
    if error.code in STATUS_OF_CODE:
        return STATUS_OF_CODE[error.code]
    for kind, status in STATUS_OF_ERROR:
        if isinstance(error, kind):
            return status
    return 500


def pointer_of(location: Sequence[int | str]) -> str:
    """Return where a broken rule lies: a JSON pointer into the body, or `query.limit`."""
    place, *rest = location
    if place == "body":
        return "#/" + "/".join(str(part) for part in rest) if rest else "#"
    # Parameters are flat; what follows a name, but for an index, is the library's own.
    name, *inner = rest or [""]
    return ".".join(
        str(part)
        for part in (place, name, *inner)
        if part in (place, name) or isinstance(part, int)
    ).rstrip(".")


def violations_of(broken: Sequence[Mapping[str, Any]]) -> list[Violation]:
    """Translate what Pydantic found into our own codes and words."""
    found: dict[Violation, None] = {}
    for one in broken:
        # A parameter that may be absent is a choice between its kind and none; none is no choice.
        if one["loc"][0] != "body" and one["loc"][-1] == "none":
            continue
        code = _code_of_rule(one["type"])
        violation = Violation(pointer_of(one["loc"]), code, codes.VIOLATIONS[code][0])
        found[violation] = None
    return list(found)


def _code_of_rule(rule: str) -> str:
    if rule in CODE_OF_RULE:
        return CODE_OF_RULE[rule]
    if rule in codes.VIOLATIONS:
        return rule
    return "wrong_type" if rule in KNOWN_RULES else "inconsistent"


async def _on_domain_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, DomainError):
        raise error
    return refusal(request, error)


def refusal(request: Request, error: DomainError) -> Response:
    """Return the problem document of what the product refuses."""
    return problem(
        request,
        status=status_of(error),
        code=error.code,
        detail=error.detail,
        violations=error.errors,
        allowed=error.allowed,
        headers=error.headers,
    )


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    broken = error.errors()
    violations = violations_of(broken)
    return problem(
        request,
        status=400,
        code=_code_of(broken, violations),
        detail="The request is not valid; each problem is listed in errors.",
        violations=violations,
    )


def _code_of(broken: Sequence[Mapping[str, Any]], violations: Sequence[Violation]) -> str:
    if any(one["type"] == "json_invalid" for one in broken):
        return "invalid_json"
    if any(one.code == "invalid_id" and one.pointer.startswith("path.") for one in violations):
        return "invalid_id"
    if any(one.code == "unknown_field" and one.pointer.startswith("query.") for one in violations):
        return "unknown_parameter"
    return "invalid_request"


async def _on_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return problem(
        request,
        status=error.status_code,
        code=CODE_OF_STATUS.get(error.status_code, "invalid_request"),
        detail=HTTPStatus(error.status_code).description or HTTPStatus(error.status_code).phrase,
        headers=error.headers,
    )


def fault(request: Request, error: Exception, taken: Taken = NOTHING_NAMED) -> Response:
    """Return the answer to what nobody expected."""
    state = sqlstate_of(error)
    if state == "42501":
        # Row-level security refused: whoever asked may not know that the row exists.
        logger.error("row_refused", code=state)
        return problem(request, status=404, code="not_found", detail="There is nothing here.")
    if state is not None and state in CONSTRAINTS:
        status, code, detail = CONSTRAINTS[state]
        code, detail = taken.get(constraint_of(error) or "", (code, detail))
        return problem(request, status=status, code=code, detail=detail)
    if is_database_away(error, state):
        return problem(
            request,
            status=503,
            code="database_unavailable",
            detail="The database does not answer right now; try again.",
        )
    logger.error("internal_error", error_type=type(error).__name__, place=_place(error))
    return problem(
        request, status=500, code="internal_error", detail="Something went wrong on our side."
    )


def sqlstate_of(error: BaseException) -> str | None:
    """Return PostgreSQL's code for an error, however it was wrapped."""
    state = getattr(error, "sqlstate", None) or getattr(
        getattr(error, "orig", None), "sqlstate", None
    )
    return state if isinstance(state, str) else None


def constraint_of(error: BaseException) -> str | None:
    """Return the name of the constraint that was broken, however the error was wrapped."""
    original = getattr(error, "orig", None) or error
    for one in (original, original.__cause__):
        name = getattr(one, "constraint_name", None)
        if isinstance(name, str):
            return name
    return None


def is_database_away(error: BaseException, state: str | None) -> bool:
    """Tell whether the database refused, vanished or took too long, rather than disagreed."""
    if state is not None:
        return state.startswith(UNAVAILABLE_STATES) or state in {"40001", "40P01"}
    if isinstance(error, OSError | TimeoutError) or getattr(error, "connection_invalidated", False):
        return True
    # The last one is a driver's whose server ended between the parts of an answer.
    names = {"InterfaceError", "TimeoutError", "OperationalError", "InternalClientError"}
    return type(error).__name__ in names


def _place(error: BaseException) -> str:
    """Return the line of our own code that failed; the message could hold values."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [one for one in frames if "site-packages" not in one.filename] or list(frames)
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    code: str,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Answer with a known code from outside the application."""
    known = codes.CODES[code]
    answer = problem(
        Request(scope), status=known.status, code=code, detail=f"{known.en}.", headers=headers
    )
    await answer(scope, receive, send)


async def refuse_with(scope: Scope, receive: Receive, send: Send, error: DomainError) -> None:
    """Answer with a refusal from outside the application."""
    await refusal(Request(scope), error)(scope, receive, send)


class FaultMiddleware:
    """Turns what nobody expected into an answer, and keeps its values out of every log."""

    def __init__(self, app: ASGIApp, *, taken: Taken = NOTHING_NAMED) -> None:
        """Watch over the application inside."""
        self.app = app
        self._taken = taken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        has_started = False

        async def answer(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception as error:
            if scope["type"] != "http" or has_started:
                raise
            await fault(Request(scope), error, self._taken)(scope, receive, send)


def install_problem_handlers(app: FastAPI, *, taken: Taken = NOTHING_NAMED) -> None:
    """Let an application answer every refusal and every fault with a problem document."""
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_middleware(FaultMiddleware, taken=taken)
