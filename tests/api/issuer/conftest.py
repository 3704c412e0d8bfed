"""A clock that tests of credentials move: their lifetimes are real time."""

import pytest

from services.api.resources import Resources
from tests.support.apps import World
from tests.support.work import MovableClock


@pytest.fixture
def clock(world: World, monkeypatch: pytest.MonkeyPatch) -> MovableClock:
    """Return the clock that the issuer goes by."""
    resources: Resources = world.app.state.resources
    moved = MovableClock()
    monkeypatch.setattr(resources, "clock", moved)
    return moved
