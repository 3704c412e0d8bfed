"""Buckets: how a quota is spent and comes back."""

import pytest

from shared.web.callers import Caller, Callers
from shared.web.limits import Buckets, Quotas


class Watch:
    """A stopwatch that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_refills_evenly_over_a_minute() -> None:
    watch = Watch()
    bucket = Buckets(60, watch)
    assert [bucket.spend("ada") for _ in range(60)][-1] == 0
    assert bucket.spend("ada") == -1
    watch.now = 1.0
    assert bucket.spend("ada") == 0
    assert bucket.spend("ada") == -1
    watch.now = 3600.0
    assert bucket.spend("ada") == 59


def test_a_refused_request_costs_nothing() -> None:
    watch = Watch()
    bucket = Buckets(1, watch)
    bucket.spend("ada")
    for _ in range(100):
        assert bucket.spend("ada") < 0
    watch.now = 60.0
    assert bucket.spend("ada") == 0


def test_what_is_tracked_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.web.limits.TRACKED", 10)
    watch = Watch()
    bucket = Buckets(5, watch)
    for number in range(100):
        watch.now = number * 0.001
        bucket.spend(f"caller-{number}")
    assert len(bucket._filled) <= 11


def test_an_organization_is_bounded_whoever_asks_in_it() -> None:
    quotas = Quotas(Buckets(10), Buckets(3))
    callers = [Caller(f"person-{number}", "one") for number in range(4)]
    left = [quotas.spend(caller)[0] for caller in callers]
    assert [one >= 0 for one in left] == [True, True, True, False]
    assert quotas.spend(Caller("somebody", "other"))[0] >= 0


class Actor:
    """Whom the door let in."""

    principal = "ada"
    organization_id = "example"


def test_all_credentials_of_one_holder_share_a_quota_once_they_are_known() -> None:
    callers = Callers.none_yet()
    scopes = [
        {"headers": [(b"authorization", token)], "state": {"actor": Actor()}}
        for token in (b"Bearer one", b"Bearer two")
    ]
    assert callers.of(scopes[0]).principal != callers.of(scopes[1]).principal
    for scope in scopes:
        callers.learn(scope)
    assert callers.of(scopes[0]) == callers.of(scopes[1]) == Caller("ada", "example")


def test_nobody_is_learned_of_a_forged_credential() -> None:
    callers = Callers.none_yet()
    scope = {"headers": [(b"authorization", b"Bearer forged")], "state": {}}
    callers.learn(scope)
    assert callers.of(scope).organization is None
