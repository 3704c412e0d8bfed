"""States of a person in the directory, and which fields are whose to see."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from shared.errors import ConflictError


class PersonStatus(StrEnum):
    """Where a person stands with the organization."""

    PENDING = "pending"
    ACTIVE = "active"
    ON_LEAVE = "on_leave"
    INACTIVE = "inactive"


class PersonAction(StrEnum):
    """What can happen to a person's status."""

    ACTIVATE = "activate"
    TAKE_LEAVE = "take_leave"
    DEACTIVATE = "deactivate"
    REACTIVATE = "reactivate"


_S, _A = PersonStatus, PersonAction

TRANSITIONS: Mapping[tuple[PersonStatus, PersonAction], PersonStatus] = MappingProxyType(
    {
        (_S.PENDING, _A.ACTIVATE): _S.ACTIVE,
        (_S.ON_LEAVE, _A.ACTIVATE): _S.ACTIVE,
        (_S.PENDING, _A.TAKE_LEAVE): _S.ON_LEAVE,
        (_S.ACTIVE, _A.TAKE_LEAVE): _S.ON_LEAVE,
        (_S.PENDING, _A.DEACTIVATE): _S.INACTIVE,
        (_S.ACTIVE, _A.DEACTIVATE): _S.INACTIVE,
        (_S.ON_LEAVE, _A.DEACTIVATE): _S.INACTIVE,
        (_S.INACTIVE, _A.REACTIVATE): _S.ACTIVE,
    }
)

CONTACT_FIELDS = ("email", "phone")
HR_FIELDS = ("grade", "job_family", "hired_on", "in_job_since")

SIGNS_IN = frozenset({PersonStatus.ACTIVE, PersonStatus.ON_LEAVE})
"""States in which a person's credentials open doors; whoever is pending waits for activation."""

MAX_MANAGER_CHAIN = 50


@dataclass(frozen=True, slots=True)
class PersonChange:
    """What a source wants one person to be.

    `person_id` is the id a new person gets, or whom the plan means; `version_seen` is the version
    the plan was made from, None for a new person. `standing` is active, inactive or as it is.
    """

    source: str
    external_id: str
    person_id: UUID
    version_seen: int | None
    values: Mapping[str, Any]
    standing: PersonStatus | None = None
    ended_on: date | None = None
    ended_reason: str | None = None


def allowed_actions(status: PersonStatus) -> list[PersonAction]:
    """Return what can happen next."""
    return [action for (state, action) in TRANSITIONS if state is status]


def next_status(status: PersonStatus, action: PersonAction) -> PersonStatus:
    """Return the state after the action; an illegal one is a `ConflictError`."""
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        raise ConflictError(
            f"A person who is {status} cannot {action}.",
            code="invalid_transition",
            allowed=allowed_actions(status),
        ) from None


def manager_cycle() -> ConflictError:
    """Refuse a reporting line that ends in itself."""
    return ConflictError("That would make the reporting line a circle.", code="manager_cycle")


def plan_stale() -> ConflictError:
    """Refuse a change that was planned from what is no longer so."""
    return ConflictError("The person changed since this was planned.", code="plan_stale")
