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
            _type("person.activated", "A person may sign in from now on.", manager_id="person"),
            _type("person.deactivated", "A person left.", manager_id="person"),
            _type("person.reactivated", "A person came back.", manager_id="person"),
            _type("person.manager_changed", "A person reports elsewhere.", manager_id="person"),
            _type(
                "person.signed_out_everywhere",
                "Every sign-in of a person was ended at their wish.",
            ),
            _type(
                "identity_link.created",
                "Somebody's account at an identity provider was linked to them.",
                person_id="person",
                connection_id="connection",
            ),
            _type(
                "identity_link.removed",
                "An account at an identity provider is a person's no more; they were signed out.",
                person_id="person",
                connection_id="connection",
            ),
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
            _type("match_run.queued", "A run waits for its turn.", track_id="track"),
            _type("match_run.running", "A run works on frozen inputs.", track_id="track"),
            _type("match_run.completed", "A run has found its proposals.", track_id="track"),
            _type("match_run.failed", "A run gave up.", track_id="track"),
            _type("match_run.discarded", "A run was put aside.", track_id="track"),
            _type("match_run.published", "A run's people are being asked.", track_id="track"),
            *(
                _type(
                    f"proposal.{name}",
                    description,
                    run_id="match_run",
                    track_id="track",
                    participant_ids="participant",
                    mentorship_id="mentorship",
                )
                for name, description in (
                    ("awaiting_approval", "Somebody may decide on a proposal."),
                    ("approved", "A proposal was approved; its seats are held."),
                    ("changed", "A proposal was locked or unlocked."),
                    ("rejected", "A proposal was turned down before anybody was told."),
                    ("swapped", "A proposal's members were exchanged with another's."),
                    ("awaiting_people", "People are asked whether they agree."),
                    ("reminder_due", "People have not answered yet."),
                    ("accepted", "Everybody asked agreed."),
                    ("declined", "Somebody asked declined."),
                    ("expired", "Nobody answered in time."),
                )
            ),
            *(
                _type(
                    f"mentorship.{name}",
                    description,
                    track_id="track",
                    person_ids="person",
                    driver_id="person",
                )
                for name, description in (
                    ("created", "People were put together."),
                    ("started", "A mentorship has begun."),
                    ("first_meeting_overdue", "Nobody has met yet."),
                    ("paused", "A mentorship rests."),
                    ("resumed", "A mentorship goes on."),
                    ("extension_proposed", "One side would like to go on for longer."),
                    ("extended", "Both sides go on for longer."),
                    ("closing_started", "A mentorship comes to its end."),
                    ("completed", "A mentorship is complete."),
                    ("cancelled", "A mentorship ended before it began."),
                    ("ended_early", "A mentorship ended before its time."),
                    ("driver_changed", "It is somebody else's move."),
                    ("below_minimum", "Too few members are left."),
                    ("needs_mentor", "No mentor is left."),
                    ("reporting_line_found", "Two members now stand in one reporting line."),
                )
            ),
            _type(
                "member.joined",
                "Somebody joined a mentorship that was there.",
                mentorship_id="mentorship",
                person_id="person",
            ),
            _type("member.left", "A member left.", mentorship_id="mentorship", person_id="person"),
            _type(
                "member.removed",
                "A member was taken out.",
                mentorship_id="mentorship",
                person_id="person",
            ),
            *(
                _type(
                    f"meeting.{name}", description, mentorship_id="mentorship", person_ids="person"
                )
                for name, description in (
                    ("times_proposed", "A member offers times to meet."),
                    ("scheduled", "A meeting has its time."),
                    ("rescheduled", "A meeting moved, or is attended by others."),
                    ("changed", "How or where people meet changed."),
                    ("declined", "None of the times offered suits, or nobody answered."),
                    ("cancelled", "A meeting was called off."),
                    ("in_progress", "A meeting has begun."),
                    ("held", "A meeting is over."),
                )
            ),
            _type("role_assignment.created", "A role was granted.", person_id="person"),
            _type("role_assignment.deleted", "A role was taken back.", person_id="person"),
            _type("api_key.created", "A key for a machine was made."),
            _type("api_key.changed", "A key was renamed."),
            _type(
                "api_key.rotated",
                "A key took over from another, which ends when its grace is over.",
                rotated_from="api_key",
            ),
            _type("api_key.revoked", "A key was ended.", created_by="person"),
            _type("oauth_client.created", "A service or an app was registered."),
            _type("oauth_client.changed", "What a client may do, or shows, changed."),
            _type("oauth_client.rotated", "A service was given a new secret."),
            _type("oauth_client.revoked", "A client was ended.", created_by="person"),
            _type(
                "refresh_token.reused",
                "A refresh token was used by two; the sign-in it belongs to was ended.",
                person_id="person",
                client_id="oauth_client",
            ),
            *(
                _type(name, text, import_id="import", connection_id="connection")
                for name, text in (
                    ("sync_run.planned", "What a people file would change is known."),
                    ("sync_run.awaiting_approval", "A plan waits to be approved."),
                    ("sync_run.succeeded", "Every row of a people file went in."),
                    ("sync_run.partial", "A people file went in, but for some rows."),
                    ("sync_run.failed", "A people file was not brought in."),
                    ("sync_run.cancelled", "An import was called off."),
                )
            ),
            _type(
                "connection.guard_tripped",
                "A source would end more people than pass unseen.",
                sync_run_id="sync_run",
            ),
        )
    )
)


INNER_TYPES: Mapping[str, EventType] = MappingProxyType(
    dict(
        (
            _type("sign_in.code_requested", "Somebody asked for a code to sign in with."),
            _type("person.address_changed", "A person has another address; the old one is told."),
        )
    )
)
"""Facts for notifications alone: in no feed, no webhook and no document."""

RECORDED: Mapping[str, EventType] = MappingProxyType({**EVENT_TYPES, **INNER_TYPES})


CONSUMED = frozenset(
    {
        "person.deactivated",
        "person.manager_changed",
        "participant.withdrawn",
        "participant.removed",
        "program.winding_down",
        "program.completed",
        "program.cancelled",
        "mentorship.paused",
        "mentorship.closing_started",
        "mentorship.completed",
        "mentorship.ended_early",
        "mentorship.cancelled",
        "member.joined",
        "member.left",
        "member.removed",
    }
)
"""Types that some feature reacts to; who reacts stands in the worker's table."""


def bucket_of(aggregate_id: UUID) -> int:
    """Return the bucket that keeps this aggregate's events in order."""
    return hashlib.blake2b(aggregate_id.bytes, digest_size=1).digest()[0] % BUCKETS
