"""Refusals as problem documents (RFC 9457): the only place that knows HTTP status numbers.

Codes are stable; `title` and `detail` are for people. What the client sent is never repeated.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from shared import errors
from shared.errors import DomainError, Violation

MEDIA_TYPE = "application/problem+json"
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
        406: "not_acceptable",
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
        "enum": "not_allowed",
        "literal_error": "not_allowed",
        "string_pattern_mismatch": "malformed",
        "invalid_id": "invalid_id",
        "forbidden_character": "forbidden_character",
        "not_unique": "not_unique",
        "unknown_time_zone": "unknown_time_zone",
    }
)
DETAIL_OF_RULE: Mapping[str, str] = MappingProxyType(
    {
        "missing": "This is required.",
        "unknown_field": "This is not known here.",
        "too_long": "This is too long.",
        "too_short": "This is too short.",
        "out_of_range": "This is outside the allowed range.",
        "not_whole": "This should be a whole number.",
        "not_allowed": "This is none of the allowed values.",
        "malformed": "This does not have the expected form.",
        "invalid_id": "This is not an id of the expected kind.",
        "forbidden_character": "This holds a character that is not allowed.",
        "not_unique": "This names the same thing twice.",
        "unknown_time_zone": "This should be an IANA time zone.",
        "wrong_type": "This does not have the expected type.",
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
    """Return the problem document of one refusal."""
    content: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "code": code,
        "request_id": request.scope.get("request_id", ""),
    }
    if violations:
        content["errors"] = [
            {"pointer": one.pointer, "code": one.code, "detail": one.detail} for one in violations
        ]
    if allowed:
        content["allowed"] = list(allowed)
    return Response(
        to_json(content),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={"Content-Language": "en", **_always(status), **(headers or {})},
    )


def _always(status: int) -> dict[str, str]:
    if status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
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
    return ".".join([str(place), *(str(part) for part in rest)])


def violations_of(broken: Sequence[Mapping[str, Any]]) -> list[Violation]:
    """Translate what Pydantic found into our own codes and words."""
    found = []
    for one in broken:
        code = CODE_OF_RULE.get(one["type"], "wrong_type")
        found.append(Violation(pointer_of(one["loc"]), code, DETAIL_OF_RULE[code]))
    return found


async def _on_domain_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, DomainError):
        raise error
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
    if all(one.code == "invalid_id" and one.pointer.startswith("path.") for one in violations):
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


async def _on_fault(request: Request, error: Exception) -> Response:
    state = sqlstate_of(error)
    if state == "42501":
        # Row-level security refused: whoever asked may not know that the row exists.
        logger.error("row_refused", code=state)
        return problem(request, status=404, code="not_found", detail="There is nothing here.")
    if state is not None and state in CONSTRAINTS:
        status, code, detail = CONSTRAINTS[state]
        return problem(request, status=status, code=code, detail=detail)
    if is_database_away(error, state):
        return problem(
            request,
            status=503,
            code="database_unavailable",
            detail="The database does not answer right now; try again.",
        )
    logger.error("internal_error", error_type=type(error).__name__)
    return problem(
        request, status=500, code="internal_error", detail="Something went wrong on our side."
    )


def sqlstate_of(error: BaseException) -> str | None:
    """Return PostgreSQL's code for an error, however it was wrapped."""
    state = getattr(error, "sqlstate", None) or getattr(
        getattr(error, "orig", None), "sqlstate", None
    )
    return state if isinstance(state, str) else None


def is_database_away(error: BaseException, state: str | None) -> bool:
    """Tell whether the database refused, vanished or took too long, rather than disagreed."""
    if state is not None:
        return state.startswith(UNAVAILABLE_STATES) or state in {"40001", "40P01"}
    return isinstance(error, OSError | TimeoutError) or type(error).__name__ in {
        "InterfaceError",
        "TimeoutError",
        "OperationalError",
    }


def install_problem_handlers(app: FastAPI) -> None:
    """Let an application answer every refusal and every fault with a problem document."""
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_fault)
