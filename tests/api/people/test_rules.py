"""Lifecycle of a person: every state times every action."""

from itertools import product

import pytest

from services.api.people.rules import (
    TRANSITIONS,
    PersonAction,
    PersonStatus,
    allowed_actions,
    next_status,
)
from shared.errors import ConflictError


@pytest.mark.parametrize(("status", "action"), list(product(PersonStatus, PersonAction)))
def test_every_state_and_action_is_decided_by_the_table(
    status: PersonStatus, action: PersonAction
) -> None:
    expected = TRANSITIONS.get((status, action))

    if expected is not None:
        assert next_status(status, action) is expected
        return
    with pytest.raises(ConflictError) as refused:
        next_status(status, action)
    assert refused.value.code == "invalid_transition"
    assert list(refused.value.allowed) == allowed_actions(status)


def test_someone_inactive_can_only_come_back() -> None:
    assert allowed_actions(PersonStatus.INACTIVE) == [PersonAction.REACTIVATE]
