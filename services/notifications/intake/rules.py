"""Who hears what: one visible row per type of fact, and the decisions around it.

Every type that api may record has a row; `NOBODY` says that a fact is for the feed only.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

from services.notifications.deliveries.rules import MessageClass, MessageState

KNOWN_FOR = timedelta(days=14)
NUDGED_FOR = timedelta(days=7)
LIFETIMES: Mapping[MessageClass, timedelta] = MappingProxyType(
    {MessageClass.KNOW: KNOWN_FOR, MessageClass.NUDGE: NUDGED_FOR}
)
"""How long a message is worth sending; the classes that are missing stay so until they are sent."""

REQUEST, CANCEL = "REQUEST", "CANCEL"


@dataclass(frozen=True, slots=True)
class Tell:
    """One audience of a fact, and how it is told.

    `asks` marks what waits for an answer. `calendar` is the iTIP method of the invitation that goes
    along: it is a place in a calendar, so it reaches the one who acted too. `once_per` names a kind
    of thing and its id in the payload: the message is about that thing, and comes once. `mail_only`
    is read outside of the product: it has no line in an inbox and leads nowhere.
    """

    audience: str
    kind: str
    message_class: MessageClass
    by_mail: bool = False
    asks: bool = False
    calendar: str | None = None
    once_per: tuple[str, str] | None = None
    mail_only: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """What follows from one type of fact: whom it is told, and which questions it answers."""

    tells: tuple[Tell, ...] = ()
    settles: frozenset[str] = frozenset()


NOBODY = Route()


def _act(
    audience: str, kind: str, *, by_mail: bool = True, once_per: tuple[str, str] | None = None
) -> Tell:
    return Tell(audience, kind, MessageClass.ACT, by_mail=by_mail, asks=True, once_per=once_per)


def _know(audience: str, kind: str, *, by_mail: bool = False) -> Tell:
    return Tell(audience, kind, MessageClass.KNOW, by_mail=by_mail)


def _nudge(audience: str, kind: str) -> Tell:
    return Tell(audience, kind, MessageClass.NUDGE)


def _invite(kind: str, method: str) -> Tell:
    # Act, so that nothing holds it back; but a fixed time asks no question.
    return Tell("attendees", kind, MessageClass.ACT, by_mail=True, calendar=method)


def _mail(audience: str, kind: str) -> Tell:
    return Tell(audience, kind, MessageClass.MANDATORY, by_mail=True, mail_only=True)


def _route(*tells: Tell, settles: Sequence[str] = ()) -> Route:
    return Route(tells, frozenset(settles))


_OF_A_REGISTRATION = (
    *("participant.invited", "participant.manager_ack_requested"),
    *("participant.review_requested", "participant.info_requested"),
)
_OF_A_PROPOSAL = ("proposal.awaiting_people",)
_OF_A_RUN = ("proposal.awaiting_approval",)
_OF_A_MENTORSHIP = (
    *("mentorship.created", "mentorship.extension_proposed"),
    *("mentorship.closing_started", "mentorship.below_minimum", "mentorship.needs_mentor"),
    "mentorship.reporting_line_found",
)
_OF_TIMES = ("meeting.times_proposed",)
_OF_AN_IMPORT = ("sync_run.awaiting_approval",)
_BY_RUN = ("match_run", "run_id")

ROUTES: Mapping[str, Route] = MappingProxyType(
    {
        "organization.created": NOBODY,
        "organization.changed": NOBODY,
        "person.created": NOBODY,
        "person.updated": NOBODY,
        "identity_link.created": NOBODY,
        "identity_link.removed": NOBODY,
        "person.activated": NOBODY,
        "person.deactivated": NOBODY,
        "person.reactivated": NOBODY,
        "person.manager_changed": NOBODY,
        "person.signed_out_everywhere": _route(
            _know("person", "person.signed_out_everywhere", by_mail=True)
        ),
        "person.address_changed": _route(_mail("person", "person.address_changed")),
        "role_assignment.created": NOBODY,
        "role_assignment.deleted": NOBODY,
        "api_key.created": NOBODY,
        "api_key.changed": NOBODY,
        "api_key.rotated": NOBODY,
        "api_key.revoked": _route(_know("org_admins", "api_key.revoked", by_mail=True)),
        "oauth_client.created": NOBODY,
        "oauth_client.changed": NOBODY,
        "oauth_client.rotated": NOBODY,
        "oauth_client.revoked": _route(_know("org_admins", "oauth_client.revoked", by_mail=True)),
        "refresh_token.reused": _route(_mail("person", "refresh_token.reused")),
        "program.created": NOBODY,
        "program.changed": NOBODY,
        "program.published": NOBODY,
        "program.registration_opened": _route(
            _know("participants", "program.registration_opened"),
        ),
        "program.registration_closed": NOBODY,
        "program.registration_reopened": NOBODY,
        "program.matching_started": NOBODY,
        "program.started": NOBODY,
        "program.winding_down": _route(_know("participants", "program.winding_down")),
        "program.completed": NOBODY,
        "program.cancelled": _route(_know("participants", "program.cancelled")),
        "program.archived": NOBODY,
        "participant.invited": _route(_act("person", "participant.invited")),
        "participant.registered": _route(settles=["participant.invited"]),
        "participant.changed": NOBODY,
        "participant.submitted": _route(settles=_OF_A_REGISTRATION),
        "participant.manager_ack_requested": _route(
            _act("people_manager", "participant.manager_ack_requested")
        ),
        "participant.review_requested": _route(
            _act("coordinators", "participant.review_requested", by_mail=False),
            settles=["participant.manager_ack_requested", "participant.info_requested"],
        ),
        "participant.info_requested": _route(
            _act("person", "participant.info_requested"), settles=["participant.review_requested"]
        ),
        "participant.waitlisted": _route(
            _know("person", "participant.waitlisted", by_mail=True), settles=_OF_A_REGISTRATION
        ),
        "participant.approved": _route(
            _know("person", "participant.approved", by_mail=True), settles=_OF_A_REGISTRATION
        ),
        "participant.available": NOBODY,
        "participant.at_capacity": NOBODY,
        "participant.paused": NOBODY,
        "participant.declined": _route(
            _know("coordinators", "participant.declined"), settles=_OF_A_REGISTRATION
        ),
        "participant.expired": _route(
            _know("person", "participant.expired", by_mail=True), settles=_OF_A_REGISTRATION
        ),
        "participant.rejected": _route(
            _know("person", "participant.rejected", by_mail=True), settles=_OF_A_REGISTRATION
        ),
        "participant.withdrawn": _route(
            _know("coordinators", "participant.withdrawn"), settles=_OF_A_REGISTRATION
        ),
        "participant.removed": _route(
            _know("person", "participant.removed", by_mail=True), settles=_OF_A_REGISTRATION
        ),
        "participant.completed": NOBODY,
        "match_run.queued": NOBODY,
        "match_run.running": NOBODY,
        "match_run.completed": _route(_know("starter", "match_run.completed", by_mail=True)),
        "match_run.failed": _route(_know("starter", "match_run.failed", by_mail=True)),
        "match_run.discarded": _route(settles=_OF_A_RUN),
        "match_run.published": _route(settles=_OF_A_RUN),
        "proposal.awaiting_approval": _route(
            _act("coordinators", "proposal.awaiting_approval", once_per=_BY_RUN)
        ),
        "proposal.approved": NOBODY,
        "proposal.changed": NOBODY,
        "proposal.rejected": NOBODY,
        "proposal.swapped": NOBODY,
        "proposal.awaiting_people": _route(_act("asked", "proposal.awaiting_people")),
        "proposal.reminder_due": _route(_nudge("asked", "proposal.reminder_due")),
        "proposal.accepted": _route(
            _know("others", "proposal.accepted", by_mail=True), settles=_OF_A_PROPOSAL
        ),
        "proposal.declined": _route(
            _know("others", "proposal.declined", by_mail=True), settles=_OF_A_PROPOSAL
        ),
        "proposal.expired": _route(
            _know("others", "proposal.expired", by_mail=True), settles=_OF_A_PROPOSAL
        ),
        "mentorship.created": _route(_act("members", "mentorship.created")),
        "mentorship.started": _route(
            _know("members", "mentorship.started"), settles=["mentorship.created"]
        ),
        "mentorship.paused": _route(_know("others", "mentorship.paused", by_mail=True)),
        "mentorship.resumed": _route(_know("members", "mentorship.resumed")),
        "mentorship.extended": _route(
            _know("members", "mentorship.extended"), settles=_OF_A_MENTORSHIP
        ),
        "mentorship.extension_proposed": _route(_act("others", "mentorship.extension_proposed")),
        "mentorship.first_meeting_overdue": _route(
            _nudge("driver", "mentorship.first_meeting_overdue"),
            _nudge("coordinators", "mentorship.first_meeting_missing"),
        ),
        "mentorship.closing_started": _route(
            _act("members", "mentorship.closing_started"), settles=_OF_A_MENTORSHIP
        ),
        "mentorship.completed": _route(
            _know("members", "mentorship.completed", by_mail=True), settles=_OF_A_MENTORSHIP
        ),
        "mentorship.cancelled": _route(
            _know("members", "mentorship.cancelled", by_mail=True),
            _know("coordinators", "mentorship.end_reported", by_mail=True),
            settles=_OF_A_MENTORSHIP,
        ),
        "mentorship.ended_early": _route(
            _know("members", "mentorship.ended_early", by_mail=True),
            _know("coordinators", "mentorship.end_reported", by_mail=True),
            settles=_OF_A_MENTORSHIP,
        ),
        "mentorship.driver_changed": _route(_know("members", "mentorship.driver_changed")),
        "mentorship.below_minimum": _route(_act("coordinators", "mentorship.below_minimum")),
        "mentorship.needs_mentor": _route(_act("coordinators", "mentorship.needs_mentor")),
        "mentorship.reporting_line_found": _route(
            _act("coordinators", "mentorship.reporting_line_found")
        ),
        "member.joined": _route(
            _know("members", "member.joined"), _know("person", "member.welcomed", by_mail=True)
        ),
        "member.left": _route(_know("members", "member.left")),
        "member.removed": _route(_know("members", "member.left")),
        "connection.guard_tripped": _route(_act("starter", "connection.guard_tripped")),
        "sync_run.planned": _route(_know("starter", "sync_run.planned", by_mail=True)),
        "sync_run.awaiting_approval": _route(_act("starter", "sync_run.awaiting_approval")),
        "sync_run.succeeded": _route(
            _know("starter", "sync_run.finished", by_mail=True), settles=_OF_AN_IMPORT
        ),
        "sync_run.partial": _route(
            _know("starter", "sync_run.finished", by_mail=True), settles=_OF_AN_IMPORT
        ),
        "sync_run.failed": _route(
            _know("starter", "sync_run.failed", by_mail=True), settles=_OF_AN_IMPORT
        ),
        "sync_run.cancelled": _route(settles=_OF_AN_IMPORT),
        "sign_in.code_requested": _route(_mail("person", "sign_in.code_requested")),
        "meeting.times_proposed": _route(_act("others", "meeting.times_proposed")),
        "meeting.changed": NOBODY,
        "meeting.in_progress": NOBODY,
        "meeting.declined": _route(_know("others", "meeting.declined"), settles=_OF_TIMES),
        "meeting.scheduled": _route(_invite("meeting.scheduled", REQUEST), settles=_OF_TIMES),
        "meeting.rescheduled": _route(_invite("meeting.rescheduled", REQUEST), settles=_OF_TIMES),
        "meeting.cancelled": _route(_invite("meeting.cancelled", CANCEL), settles=_OF_TIMES),
        "meeting.held": _route(
            Tell("attendees", "meeting.held", MessageClass.ACT, asks=True), settles=_OF_TIMES
        ),
    }
)

TIMES_WITHDRAWN = _know("attendees", "meeting.times_withdrawn")
"""Told instead of a cancellation while a meeting had no time yet: no calendar holds it."""

DROPPED = _invite("meeting.cancelled", CANCEL)
"""Told to whom a change took off a meeting that goes on for the others."""


@dataclass(frozen=True, slots=True)
class Told:
    """One person, and how they are told."""

    person_id: UUID
    tell: Tell
    is_actor: bool = False


def kinds() -> list[str]:
    """Return every kind of message there is."""
    routed = {tell.kind for route in ROUTES.values() for tell in route.tells}
    return sorted(routed | {TIMES_WITHDRAWN.kind})


def whom(
    route: Route, *, audiences: Mapping[str, Sequence[UUID]], actor_id: UUID | None
) -> list[Told]:
    """Return who is told how: each person once, in the first role that fits.

    Nobody is told about their own act, save for the place in their calendar.
    """
    found: dict[UUID, Told] = {}
    for person_id, tell in _pairs(route, audiences):
        is_actor = person_id == actor_id
        if person_id in found or (is_actor and tell.calendar is None):
            continue
        found[person_id] = Told(person_id, tell, is_actor)
    return list(found.values())


def _pairs(route: Route, audiences: Mapping[str, Sequence[UUID]]) -> Iterator[tuple[UUID, Tell]]:
    for tell in route.tells:
        for person_id in audiences.get(tell.audience, ()):
            yield person_id, tell


def next_sequence(told: int | None, *, last: int | None) -> int:
    """Return the SEQUENCE of the next revision: the meeting's own, and always above the last.

    The relay reads a meeting when it sends; two changes in quick succession come with one number.
    """
    own = told or 0
    return own if last is None else max(own, last + 1)


def dropped(before: Collection[UUID], now: Collection[UUID]) -> list[UUID]:
    """Return whose calendars held the meeting and should no more."""
    return sorted(set(before) - set(now))


def verdict(
    *, is_known: bool, is_reachable: bool, is_older: bool, was_told: bool
) -> tuple[MessageState, str | None]:
    """Return whether somebody is told now, and the reason on file if not."""
    if not is_known:
        return MessageState.SUPPRESSED, "unknown_person"
    if not is_reachable:
        return MessageState.SUPPRESSED, "unreachable"
    if is_older:
        return MessageState.SUPERSEDED, "newer_version_known"
    if was_told:
        return MessageState.FOLDED, "told_before"
    return MessageState.TOLD, None
