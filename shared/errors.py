"""Refusals of the domain, each with a stable code.

DomainError
├── InvalidError          the request itself is wrong
├── UnauthenticatedError  nobody we know is asking
├── ForbiddenError        known and visible, but not allowed
├── NotFoundError         absent, or not the actor's to know
├── ConflictError         a rule says no, now
│   ├── GoneError         was here once, for good no more
│   └── PreconditionError the resource changed, or the version was not named
├── LimitedError          too many requests
└── UnavailableError      something we need does not answer; try again

Only `shared.web.problems` knows which HTTP status each of them becomes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule inside a request: where, which, and what would be right."""

    pointer: str
    code: str
    detail: str


class DomainError(Exception):
    """Something the product refuses, in words for a person and a code for a program.

    `allowed` names what can be done instead; `params` fill translated texts; `headers` travel with
    the answer.
    """

    code: str = "internal_error"
    default_detail: ClassVar[str] = "The request could not be fulfilled."

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        errors: Sequence[Violation] = (),
        allowed: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Name the rule that refused and what is possible now."""
        super().__init__(detail or self.default_detail)
        self.code = code or self.code
        self.detail = detail or self.default_detail
        self.errors = tuple(errors)
        self.allowed = tuple(allowed)
        self.headers = dict(headers or {})


class InvalidError(DomainError):
    """The request is wrong and will stay wrong."""

    code = "invalid_request"
    default_detail = "The request is not valid; each problem is listed in errors."


class UnauthenticatedError(DomainError):
    """Nobody we know is asking."""

    code = "unauthenticated"
    default_detail = "A valid credential is needed."


class ForbiddenError(DomainError):
    """The actor may know of the resource but not do this."""

    code = "forbidden"
    default_detail = "This credential does not allow that."


class NotFoundError(DomainError):
    """Absent, or not the actor's to know; both look the same."""

    code = "not_found"
    default_detail = "There is nothing here."


class ConflictError(DomainError):
    """A rule of the domain says no, now."""

    code = "conflict"
    default_detail = "The current state does not allow that."


class GoneError(ConflictError):
    """It was here once and will not come back."""

    code = "cursor_expired"
    default_detail = "This is gone for good."


class PreconditionError(ConflictError):
    """The named version is not the current one, or none was named."""

    code = "precondition_failed"
    default_detail = "The resource has changed since it was read."


class LimitedError(DomainError):
    """The caller's own quota is used up."""

    code = "rate_limited"
    default_detail = "Too many requests; wait before the next one."


class UnavailableError(DomainError):
    """Something needed does not answer; the same request may work later."""

    code = "overloaded"
    default_detail = "The service cannot answer right now; try again."


def unknown_reference(pointer: str) -> InvalidError:
    """Refuse a reference that does not exist or that the actor may not see: both read the same."""
    return InvalidError(
        errors=[Violation(pointer, "unknown_reference", "This refers to nothing you can use.")]
    )
