"""What is remembered of providers: through floods of unknown keys, outages and rotations."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from services.api.clients import identity_providers
from services.api.clients.identity_providers import IdentityProviders, ProviderError
from shared.egress import Egress, EgressError
from tests.support.identity_provider import IdentityProvider, providing

WELL_KNOWN = "/.well-known/openid-configuration"


@dataclass(slots=True)
class Clock:
    """Seconds that pass when a test says so."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands."""
    return Clock()


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    """Return a provider that does as it is told."""
    async with providing() as running:
        yield running


@pytest.fixture
async def memory(clock: Clock) -> AsyncIterator[IdentityProviders]:
    """Return what remembers providers."""
    egress = Egress(["localhost"], may_be_plain=True)
    remembering = IdentityProviders(egress, monotonic=clock)
    yield remembering
    await remembering.close()


async def key_of(memory: IdentityProviders, provider: IdentityProvider, kid: str | None) -> str:
    """Ask for a key by name, and return the name of what was found."""
    found = await memory.key(await memory.discover(provider.issuer), kid=kid)
    return str(found.kid)


async def refused(memory: IdentityProviders, provider: IdentityProvider, kid: str | None) -> str:
    """Return why there is no such key."""
    with pytest.raises(ProviderError) as raised:
        await key_of(memory, provider, kid)
    return raised.value.code


async def test_answers_are_kept_for_ten_minutes(
    memory: IdentityProviders, provider: IdentityProvider, clock: Clock
) -> None:
    kid, _key = provider.signing
    for passed in (0, 599):
        clock.seconds = 1000 + passed
        assert await key_of(memory, provider, kid) == kid
    assert (provider.times(WELL_KNOWN), provider.times("/keys")) == (1, 1)

    clock.seconds = 1600
    assert await key_of(memory, provider, kid) == kid
    assert (provider.times(WELL_KNOWN), provider.times("/keys")) == (2, 2)


async def test_a_thousand_unknown_keys_cause_one_fetch_a_minute(
    memory: IdentityProviders, provider: IdentityProvider, clock: Clock
) -> None:
    await key_of(memory, provider, provider.signing[0])
    for minute in range(1, 4):
        answers = await asyncio.gather(
            *(refused(memory, provider, f"unknown-{number}") for number in range(1000))
        )
        assert set(answers) == {"unknown_key"}
        assert provider.times("/keys") == 1 + minute
        clock.seconds += 60


async def test_a_rotated_key_is_found_at_once_by_everybody(
    memory: IdentityProviders, provider: IdentityProvider
) -> None:
    old, _key = provider.signing
    await key_of(memory, provider, old)
    new = provider.rotate()

    asked = [new, old] * 50
    assert await asyncio.gather(*(key_of(memory, provider, kid) for kid in asked)) == asked
    assert provider.times("/keys") == 2


@pytest.mark.parametrize("path", [WELL_KNOWN, "/keys"])
async def test_what_was_good_last_counts_through_an_outage_of_a_day(
    memory: IdentityProviders, provider: IdentityProvider, clock: Clock, path: str
) -> None:
    kid, _key = provider.signing
    await key_of(memory, provider, kid)
    provider.statuses[path] = 503

    for passed in (601, 3600, 86_000):
        clock.seconds = 1000 + passed
        assert await key_of(memory, provider, kid) == kid
    clock.seconds = 1000 + 86_401
    assert (await refused(memory, provider, kid)) in {"discovery_failed", "keys_failed"}


async def test_a_provider_that_is_away_is_asked_every_five_seconds_at_most(
    memory: IdentityProviders, provider: IdentityProvider, clock: Clock
) -> None:
    provider.statuses[WELL_KNOWN] = 500
    for passed in (0, 1, 4.9):
        clock.seconds = 1000 + passed
        assert await refused(memory, provider, None) == "discovery_failed"
    assert provider.times(WELL_KNOWN) == 1

    clock.seconds, provider.statuses = 1005, {}
    assert await key_of(memory, provider, None) == provider.signing[0]


async def test_a_crowd_waits_for_one_answer(
    memory: IdentityProviders, provider: IdentityProvider
) -> None:
    provider.delays[WELL_KNOWN] = 0.05

    await asyncio.gather(*(key_of(memory, provider, None) for _ in range(50)))

    assert (provider.times(WELL_KNOWN), provider.times("/keys")) == (1, 1)


async def test_keys_that_grow_huge_change_nothing(
    memory: IdentityProviders, provider: IdentityProvider, clock: Clock
) -> None:
    kid, _key = provider.signing
    await key_of(memory, provider, kid)
    provider.published = b'{"keys": [' + b" " * 1_000_000 + b"]}"
    clock.seconds += 601

    assert await key_of(memory, provider, kid) == kid


async def test_without_a_name_there_must_be_one_key(
    memory: IdentityProviders, provider: IdentityProvider, clock: Clock
) -> None:
    assert await key_of(memory, provider, None) == provider.signing[0]

    provider.rotate()
    clock.seconds += 601
    assert await refused(memory, provider, None) == "unknown_key"


async def test_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch, memory: IdentityProviders, provider: IdentityProvider
) -> None:
    monkeypatch.setattr(identity_providers, "MOST_ISSUERS", 2)
    await memory.discover(provider.issuer)
    for number in range(3):
        with pytest.raises(ProviderError):
            await memory.discover(f"{provider.issuer}/{number}")
    await memory.discover(provider.issuer)

    assert provider.times(WELL_KNOWN) == 2


@pytest.mark.parametrize("issuer", ["https://a.example.org?x", "https://a.example.org#x", "x"])
async def test_an_issuer_is_an_address_alone(memory: IdentityProviders, issuer: str) -> None:
    with pytest.raises(EgressError):
        memory.check(issuer)
