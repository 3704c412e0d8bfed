"""States of a participant (domain: none, invited ... closed), as data."""

from enum import StrEnum


class ParticipantStatus(StrEnum):
    """Where a person stands in a program."""

    INVITED = "invited"
    STARTED = "started"
    SUBMITTED = "submitted"
    MANAGER_REVIEW = "manager_review"
    COORDINATOR_REVIEW = "coordinator_review"
    INFO_REQUESTED = "info_requested"
    WAITLISTED = "waitlisted"
    APPROVED = "approved"
    AVAILABLE = "available"
    AT_CAPACITY = "at_capacity"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    DECLINED = "declined"
    EXPIRED = "expired"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    REMOVED = "removed"
    COMPLETED = "completed"


class ParticipantSource(StrEnum):
    """How a person came to be a participant."""

    SELF = "self"
    INVITATION = "invitation"
    ELIGIBILITY_RULE = "eligibility_rule"
    PEOPLE_MANAGER = "people_manager"
    IMPORT = "import"
    PAY_FORWARD = "pay_forward"


CLOSED = frozenset(
    {
        ParticipantStatus.DECLINED,
        ParticipantStatus.EXPIRED,
        ParticipantStatus.REJECTED,
        ParticipantStatus.WITHDRAWN,
        ParticipantStatus.REMOVED,
        ParticipantStatus.COMPLETED,
    }
)
