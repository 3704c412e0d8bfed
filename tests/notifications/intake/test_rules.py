"""Who hears what, as a table and as decisions."""

from uuid import UUID

import pytest

from services.notifications.deliveries.rules import MessageClass, MessageState
from services.notifications.intake import rules
from services.notifications.intake.rules import ROUTES, Route, Tell

ADA, BEN, CLEO = UUID(int=1), UUID(int=2), UUID(int=3)
KNOW = Tell("members", "k", MessageClass.KNOW)


def test_each_person_is_told_once_in_the_first_role_that_fits() -> None:
    route = Route((KNOW, Tell("coordinators", "other", MessageClass.ACT)))

    told = rules.whom(
        route, audiences={"members": [ADA, BEN], "coordinators": [BEN, CLEO]}, actor_id=ADA
    )

    assert [(one.person_id, one.tell.kind) for one in told] == [(BEN, "k"), (CLEO, "other")]


def test_the_one_who_acted_gets_a_place_in_the_calendar_only() -> None:
    told = rules.whom(ROUTES["meeting.scheduled"], audiences={"attendees": [ADA]}, actor_id=ADA)

    assert [(one.is_actor, one.tell.calendar) for one in told] == [(True, "REQUEST")]


def test_whatever_asks_is_an_act_and_can_be_settled() -> None:
    asking = {tell.kind for route in ROUTES.values() for tell in route.tells if tell.asks}
    acts = {
        tell.kind
        for route in ROUTES.values()
        for tell in route.tells
        if tell.message_class is MessageClass.ACT and tell.calendar is None
    }
    settled = {kind for route in ROUTES.values() for kind in route.settles}

    assert asking == acts
    assert settled <= asking


def test_a_proposal_is_silent_until_people_are_asked() -> None:
    for kind in ("proposal.approved", "proposal.rejected", "proposal.swapped"):
        assert ROUTES[kind] == rules.NOBODY


@pytest.mark.parametrize(
    ("own", "last", "expected"), [(0, None, 0), (None, None, 0), (4, 2, 4), (3, 3, 4), (1, 5, 6)]
)
def test_a_sequence_strictly_rises(own: int | None, last: int | None, expected: int) -> None:
    assert rules.next_sequence(own, last=last) == expected


def test_who_is_no_longer_listed_was_dropped() -> None:
    assert rules.dropped([ADA, BEN], [BEN, CLEO]) == [ADA]


@pytest.mark.parametrize(
    ("facts", "state", "reason"),
    [
        ((False, False, False, False), MessageState.SUPPRESSED, "unknown_person"),
        ((True, False, True, True), MessageState.SUPPRESSED, "unreachable"),
        ((True, True, True, False), MessageState.SUPERSEDED, "newer_version_known"),
        ((True, True, False, True), MessageState.FOLDED, "told_before"),
        ((True, True, False, False), MessageState.TOLD, None),
    ],
)
def test_what_is_not_told_has_a_reason(
    facts: tuple[bool, bool, bool, bool], state: MessageState, reason: str | None
) -> None:
    is_known, is_reachable, is_older, was_told = facts

    found = rules.verdict(
        is_known=is_known, is_reachable=is_reachable, is_older=is_older, was_told=was_told
    )

    assert found == (state, reason)
