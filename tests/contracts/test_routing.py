"""Both ends of the wire know the same facts; each has a row that says who hears of it."""

from services.api.events.rules import RECORDED
from services.notifications.intake.rules import ROUTES


def test_every_fact_that_api_records_has_a_row_or_is_for_nobody() -> None:
    assert sorted(set(RECORDED) - set(ROUTES)) == []


def test_no_row_is_about_a_fact_that_is_never_recorded() -> None:
    assert sorted(set(ROUTES) - set(RECORDED)) == []
