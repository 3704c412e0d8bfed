"""Codes on a real database: equal work for everybody, five tries, and nothing twice."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from services.api.access import codes
from services.api.access.rules import Scope
from services.api.sign_in.email_codes import operations
from services.api.sign_in.email_codes.rules import (
    PER_ADDRESS,
    Challenge,
    Off,
    Refused,
    TooMany,
    Verified,
)
from shared import ids
from shared.clock import system_clock
from shared.persistence.sessions import driver, transaction
from shared.persistence.tenancy import Tenant
from tests.support.apps import World
from tests.support.email_codes import App

LIMIT = 1000


@dataclass(slots=True)
class Desk:
    """An organization at whose door codes are asked for."""

    world: World
    email: str
    person_id: UUID
    client_id: UUID = field(default_factory=ids.new_id)
    now: datetime = field(default_factory=system_clock)

    @property
    def organization_id(self) -> UUID:
        """Return the organization's id as the inside knows it."""
        return self.world.id

    @property
    def pepper(self) -> bytes:
        """Return the server's secret."""
        pepper: bytes = self.world.app.state.resources.pepper
        return pepper

    def open(self) -> Any:
        """Open a transaction of the organization."""
        return transaction(self.world.app.state.resources.sessions, Tenant(self.organization_id))

    async def start(
        self,
        email: str | None = None,
        *,
        limit: int = LIMIT,
        statements: list[str] | None = None,
        sign_in_id: UUID | None = None,
    ) -> Challenge | TooMany | Off:
        """Ask for a code; `statements` takes what the database is told."""
        async with self.open() as session:
            connection = driver(session)
            protocol = connection._protocol
            if statements is not None:
                connection._protocol = _Tap(protocol, statements)
            outcome = await operations.start(
                session,
                organization_id=self.organization_id,
                address=email or self.email,
                client_id=self.client_id,
                scopes=frozenset({Scope.PEOPLE_READ}),
                code_challenge="x" * 43,
                sign_in_id=sign_in_id,
                pepper=self.pepper,
                limit=limit,
                now=self.now,
            )
            await session.flush()
            connection._protocol = protocol
        return outcome

    async def begun(self, email: str | None = None, **options: Any) -> Challenge:
        """Ask for a code where nothing is in the way."""
        challenge = await self.start(email, **options)
        assert isinstance(challenge, Challenge)
        return challenge

    def code(self, challenge: Challenge) -> str:
        """Return the right code."""
        return codes.code_of(
            self.pepper, organization_id=challenge.organization_id, challenge_id=challenge.id
        )

    def wrong(self, challenge: Challenge) -> str:
        """Return another code."""
        return f"{(int(self.code(challenge)) + 1) % 10**8:08}"

    async def verify(
        self, challenge: Challenge, code: str, **options: Any
    ) -> Verified | Refused | Off:
        """Answer a challenge."""
        async with self.open() as session:
            return await operations.verify(
                session,
                organization_id=options.pop("organization_id", self.organization_id),
                challenge_id=challenge.id,
                code=code,
                admit=lambda: None,
                pepper=self.pepper,
                now=self.now,
                **options,
            )

    async def row(self, challenge: Challenge) -> Any:
        """Return what is kept of a challenge."""
        async with self.open() as session:
            statement = text("SELECT * FROM email_code WHERE id = :id")
            return (await session.execute(statement, {"id": challenge.id})).one()

    async def facts(self) -> list[Any]:
        """Return the facts for notifications, in order."""
        async with self.open() as session:
            statement = text("SELECT * FROM outbox_message WHERE type = :type ORDER BY id")
            return list((await session.execute(statement, {"type": codes.REQUESTED})).all())


class _Tap:
    """Stands before the protocol of a connection and notes every statement, by whichever way."""

    def __init__(self, protocol: Any, statements: list[str]) -> None:
        self._protocol = protocol
        self._statements = statements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)

    def bind_execute(self, state: Any, *rest: Any, **named: Any) -> Any:
        self._statements.append(state.query)
        return self._protocol.bind_execute(state, *rest, **named)


@pytest.fixture
async def desk(world: World) -> Desk:
    """Return the door of a fresh organization, at which one person is known."""
    person = await world.add_person()
    return Desk(world, person["email"], ids.parse_id("person", person["id"]))


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that takes each code that reaches a comparison."""
    seen: list[str] = []
    compare = codes.is_code

    def watched(secret: bytes, given: str, **named: UUID) -> bool:
        seen.append(given)
        return compare(secret, given, **named)

    monkeypatch.setattr(codes, "is_code", watched)
    return seen


async def test_whoever_has_the_code_is_signed_in(desk: Desk) -> None:
    challenge = await desk.begun()

    assert challenge.expires_at == desk.now + timedelta(minutes=10)
    assert await desk.verify(challenge, desk.code(challenge)) == Verified(
        person_id=desk.person_id,
        client_id=desk.client_id,
        scopes=frozenset({Scope.PEOPLE_READ}),
        code_challenge="x" * 43,
    )


async def test_an_address_is_known_however_it_is_spelt(desk: Desk) -> None:
    challenge = await desk.begun(desk.email.upper())

    assert isinstance(await desk.verify(challenge, desk.code(challenge)), Verified)


async def test_a_code_works_once(desk: Desk) -> None:
    challenge = await desk.begun()
    assert isinstance(await desk.verify(challenge, desk.code(challenge)), Verified)

    assert await desk.verify(challenge, desk.code(challenge)) == Refused()


async def test_a_right_code_sent_twice_at_once_signs_in_once(desk: Desk) -> None:
    challenge = await desk.begun()
    code = desk.code(challenge)

    outcomes = await asyncio.gather(*(desk.verify(challenge, code) for _ in range(8)))

    assert sum(isinstance(one, Verified) for one in outcomes) == 1


async def test_a_code_works_until_its_time_is_over(desk: Desk) -> None:
    early, late = await desk.begun(), await desk.begun()
    desk.now += timedelta(minutes=10) - timedelta(seconds=1)
    assert isinstance(await desk.verify(early, desk.code(early)), Verified)

    desk.now += timedelta(seconds=1)
    assert await desk.verify(late, desk.code(late)) == Refused()


async def test_five_wrong_codes_end_a_challenge(desk: Desk, compared: list[str]) -> None:
    challenge = await desk.begun()
    for _ in range(codes.MAX_ATTEMPTS):
        assert await desk.verify(challenge, desk.wrong(challenge)) == Refused()

    assert await desk.verify(challenge, desk.code(challenge)) == Refused()
    assert len(compared) == codes.MAX_ATTEMPTS
    assert (await desk.row(challenge)).attempts == codes.MAX_ATTEMPTS


async def test_the_fifth_try_may_still_be_right(desk: Desk) -> None:
    challenge = await desk.begun()
    for _ in range(codes.MAX_ATTEMPTS - 1):
        await desk.verify(challenge, desk.wrong(challenge))

    assert isinstance(await desk.verify(challenge, desk.code(challenge)), Verified)


async def test_of_fifty_guesses_at_once_five_are_compared(desk: Desk, compared: list[str]) -> None:
    challenge = await desk.begun()
    wrong = desk.wrong(challenge)

    outcomes = await asyncio.gather(*(desk.verify(challenge, wrong) for _ in range(50)))

    assert set(outcomes) == {Refused()}
    assert len(compared) == codes.MAX_ATTEMPTS
    assert (await desk.row(challenge)).attempts == codes.MAX_ATTEMPTS


async def test_a_code_of_nobody_fits_never(desk: Desk) -> None:
    challenge = await desk.begun("nobody@example.org")

    assert await desk.verify(challenge, desk.code(challenge)) == Refused()
    assert (await desk.row(challenge)).person_id is None
    assert (await desk.row(challenge)).attempts == 1


async def test_a_challenge_is_of_one_organization(desk: Desk) -> None:
    challenge = await desk.begun()

    elsewhere = await desk.verify(challenge, desk.code(challenge), organization_id=ids.new_id())

    assert elsewhere == Refused()
    assert (await desk.row(challenge)).attempts == 0


async def test_a_challenge_that_nobody_was_given_is_refused(desk: Desk) -> None:
    invented = Challenge(desk.organization_id, ids.new_id(), desk.now)

    assert await desk.verify(invented, desk.code(invented)) == Refused()


async def test_a_challenge_of_a_page_is_answered_on_that_page_only(desk: Desk) -> None:
    page = ids.new_id()
    challenge, other = await desk.begun(sign_in_id=page), await desk.begun()
    code = desk.code(challenge)

    assert await desk.verify(challenge, code) == Refused()
    assert await desk.verify(challenge, code, sign_in_id=ids.new_id()) == Refused()
    assert await desk.verify(other, desk.code(other), sign_in_id=page) == Refused()
    assert isinstance(await desk.verify(challenge, code, sign_in_id=page), Verified)


async def test_who_left_meanwhile_is_refused(desk: Desk) -> None:
    challenge = await desk.begun()
    person = ids.format_id("person", desk.person_id)
    answer = await desk.world.org_admin.post(f"/v1/people/{person}/deactivate", json={})
    assert answer.status_code == 200, answer.text

    assert await desk.verify(challenge, desk.code(challenge)) == Refused()


async def test_who_has_left_is_like_nobody(desk: Desk) -> None:
    person = ids.format_id("person", desk.person_id)
    await desk.world.org_admin.post(f"/v1/people/{person}/deactivate", json={})

    challenge = await desk.begun()

    assert (await desk.row(challenge)).person_id is None
    assert (await desk.facts())[-1].data["recipients"] == {}


async def test_a_fact_names_the_challenge_and_whom_to_tell(desk: Desk) -> None:
    known = await desk.begun()
    unknown = await desk.begun("nobody@example.org")

    first, second = await desk.facts()
    assert (first.aggregate_id, second.aggregate_id) == (known.id, unknown.id)
    assert first.data["recipients"] == {"person": [str(desk.person_id)]}
    assert second.data["recipients"] == {}
    assert desk.code(known) not in str(first)
    assert desk.code(known) not in str(await desk.row(known))
    assert desk.email not in str(await desk.row(known))


async def test_the_same_statements_are_sent_for_everybody(desk: Desk) -> None:
    gone = await desk.world.add_person()
    await desk.world.org_admin.post(f"/v1/people/{gone['id']}/deactivate", json={})
    full = await desk.world.add_person()
    for _ in range(PER_ADDRESS):
        await desk.begun(full["email"])
    sent: dict[str, list[str]] = {}
    for email in (desk.email, "nobody@example.org", gone["email"], full["email"]):
        sent[email] = []
        await desk.begun(email, statements=sent[email])

    known = sent.pop(desk.email)
    assert len(known) == 6
    assert [one for one in sent.values() if one != known] == []


async def test_where_codes_are_off_no_address_is_looked_at(desk: Desk) -> None:
    await App(desk.world, desk.client_id).add_provider()
    sent: dict[str, list[str]] = {}
    for email in (desk.email, "nobody@example.org"):
        sent[email] = []
        assert await desk.start(email, statements=sent[email]) == Off()

    assert sent[desk.email] == sent["nobody@example.org"]
    (only,) = sent[desk.email]
    assert "person" not in only


async def test_an_address_gets_five_codes_an_hour(desk: Desk) -> None:
    for email, person_id in ((desk.email, desk.person_id), ("nobody@example.org", None)):
        made = [await desk.begun(email) for _ in range(PER_ADDRESS + 2)]
        rows = [await desk.row(one) for one in made]
        assert [one.is_counted for one in rows] == [True] * PER_ADDRESS + [False] * 2
        sent = [person_id] * PER_ADDRESS
        assert [one.person_id for one in rows] == [*sent, None, None]
        assert await desk.verify(made[-1], desk.code(made[-1])) == Refused()

    desk.now += timedelta(hours=1)
    again = await desk.begun()
    assert isinstance(await desk.verify(again, desk.code(again)), Verified)


async def test_asking_on_and_on_does_not_keep_an_address_shut(desk: Desk) -> None:
    for _ in range(PER_ADDRESS):
        await desk.begun()
    for _ in range(3):
        desk.now += timedelta(minutes=15)
        await desk.begun()
    desk.now += timedelta(minutes=15)

    assert (await desk.row(await desk.begun())).person_id == desk.person_id


async def test_of_twenty_requests_at_once_five_send_a_code(desk: Desk) -> None:
    made = await asyncio.gather(*(desk.begun() for _ in range(20)))

    rows = [await desk.row(one) for one in made]
    assert sum(one.person_id is not None for one in rows) == PER_ADDRESS


async def test_an_organization_asks_for_so_many_codes_a_minute(desk: Desk) -> None:
    for number in range(3):
        await desk.begun(f"nobody-{number}@example.org", limit=3)

    assert await desk.start(limit=3) == TooMany(30)
    assert await desk.start("nobody@example.org", limit=3) == TooMany(30)
    desk.now += timedelta(minutes=1)
    assert isinstance(await desk.start(limit=3), Challenge)
