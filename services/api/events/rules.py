"""Which facts exist: every type the outbox may hold, and what its payload names.

A payload holds ids, states and names of changed fields; never free text, names or addresses.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from uuid import UUID

API_VERSION = "2026-11-01"
BUCKETS = 16


@dataclass(frozen=True, slots=True)
class EventType:
    """One type: what happened, to which kind of resource, and which further ids it names.

    `ids` maps names in the payload to kinds of id; a name ending in `s` holds a list.
    """

    name: str
    resource: str
    description: str
    ids: Mapping[str, str]


def _type(name: str, description: str, **named: str) -> tuple[str, EventType]:
    resource = name.partition(".")[0]
    return name, EventType(name, resource, description, MappingProxyType(named))


EVENT_TYPES: Mapping[str, EventType] = MappingProxyType(
    dict(
        (
            _type("organization.created", "The organization was set up."),
            _type("organization.changed", "Settings of the organization changed."),
            _type("person.created", "A person entered the directory.", manager_id="person"),
            _type("person.updated", "A person's record changed.", manager_id="person"),
            _type("person.deactivated", "A person left.", manager_id="person"),
            _type("person.reactivated", "A person came back.", manager_id="person"),
            _type("person.manager_changed", "A person reports elsewhere.", manager_id="person"),
            _type("program.created", "A program was drafted."),
            _type("program.changed", "A program or one of its parts changed."),
            _type("program.published", "People may see the program."),
            _type("program.registration_opened", "People may register."),
            _type("program.registration_closed", "Registration has ended."),
            _type("program.registration_reopened", "People may register again."),
            _type("program.matching_started", "Matching has begun."),
            _type("program.started", "The program is running."),
            _type("program.winding_down", "No new mentorships start."),
            _type("program.completed", "The program is over."),
            _type("program.cancelled", "The program was called off."),
            _type("program.archived", "The program was put away."),
            _type("participant.invited", "A person was asked to take part.", person_id="person"),
            _type("participant.registered", "A person began to register.", person_id="person"),
            _type(
                "participant.changed", "Answers, roles or preferences changed.", person_id="person"
            ),
            _type("participant.submitted", "A registration was handed in.", person_id="person"),
            _type(
                "participant.manager_ack_requested",
                "A people manager is asked to acknowledge.",
                person_id="person",
            ),
            _type(
                "participant.review_requested",
                "A coordinator is asked to review.",
                person_id="person",
            ),
            _type(
                "participant.info_requested", "The person is asked for more.", person_id="person"
            ),
            _type("participant.waitlisted", "The person waits for a place.", person_id="person"),
            _type("participant.approved", "The person takes part.", person_id="person"),
            _type("participant.available", "The person can be matched.", person_id="person"),
            _type(
                "participant.at_capacity", "Every place of the person is taken.", person_id="person"
            ),
            _type("participant.paused", "The person takes no new mentorships.", person_id="person"),
            _type(
                "participant.declined", "The person declined the invitation.", person_id="person"
            ),
            _type("participant.expired", "Time ran out.", person_id="person"),
            _type("participant.rejected", "The registration was turned down.", person_id="person"),
            _type("participant.withdrawn", "The person left the program.", person_id="person"),
            _type(
                "participant.removed",
                "The person was taken out of the program.",
                person_id="person",
            ),
            _type("participant.completed", "The program ended for the person.", person_id="person"),
            _type("role_assignment.created", "A role was granted.", person_id="person"),
            _type("role_assignment.deleted", "A role was taken back.", person_id="person"),
        )
    )
)


def bucket_of(aggregate_id: UUID) -> int:
    """Return the bucket that keeps this aggregate's events in order."""
    return hashlib.blake2b(aggregate_id.bytes, digest_size=1).digest()[0] % BUCKETS
