"""Signing keys take turns: known before they sign, gone when their last token is."""

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import asyncpg
import pytest
from joserfc.errors import JoseError

from services.api import resources as api_resources
from services.api import worker as api_worker
from services.api.access import jobs, keys, tokens
from services.api.access.jobs import KeyDesk
from services.api.access.keys import IssuerKey
from services.api.access.rules import Scope
from services.api.access.tokens import Issuer
from services.api.issuer.routes import CACHE_SECONDS
from services.api.resources import Resources, open_resources, open_worker_resources
from services.local import postgres
from shared import ids
from shared.errors import UnauthenticatedError, UnavailableError
from shared.settings import Mode
from tests.support.apps import KEY_ENCRYPTION_KEY, World, api_settings, client, running_api
from tests.support.database import ROOT, Databases
from tests.support.ports import forwarded, free_port
from tests.support.processes import environment
from tests.support.work import MovableClock

START = datetime(2026, 1, 1, tzinfo=UTC)
LOOK = timedelta(seconds=keys.REFRESH_SECONDS)


@dataclass(frozen=True, slots=True)
class Installation:
    """An api process and a worker of one installation, on one clock."""

    api: Resources
    desk: KeyDesk
    clock: MovableClock

    async def pass_time(self, time: timedelta) -> None:
        """Let time pass; the worker takes its turn and the process looks for keys."""
        self.clock.pass_time(time.total_seconds())
        await jobs.turn_keys(self.desk)
        assert await self.api.refresh_keys()

    @property
    def published(self) -> list[str]:
        """Return the names of the published keys, oldest first."""
        return [key["kid"] for key in self.api.issuer.jwks()["keys"]]

    @property
    def signing(self) -> str:
        """Return the name of the key that signs now."""
        return self.api.issuer.signing_key(self.clock()).kid


@pytest.fixture
async def no_demo_keys(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the keys of demo mode, which stand beside those of everybody else's tests."""
    # As if the demo had not looked whose database it is.
    monkeypatch.setattr(api_resources, "HOLDS_OTHERS", "SELECT $1 AND false")
    await as_owner(databases, "DELETE FROM signing_key WHERE mode = 'demo'")


async def as_owner(databases: Databases, statement: str, *values: Any) -> list[Any]:
    """Run a statement as whoever may do everything."""
    connection = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


@asynccontextmanager
async def installation(databases: Databases) -> AsyncIterator[Installation]:
    """Open both sides; whatever they do is in demo mode, whose tokens live for thirty days."""
    settings, clock = api_settings(databases, mode=Mode.DEMO), MovableClock()
    async with (
        open_resources(settings, clock=clock) as api,
        open_worker_resources(settings, clock=clock) as worker,
    ):
        yield Installation(api, KeyDesk(worker.database, Mode.DEMO, KEY_ENCRYPTION_KEY), clock)


def token_of(issuer: Issuer, now: datetime, **values: Any) -> str:
    """Return a token of somebody."""
    told: dict[str, Any] = {
        "organization_id": ids.new_id(),
        "subject": ids.new_id(),
        "is_person": True,
        "access_version": 1,
        "scopes": [Scope.PEOPLE_READ],
        "now": now,
    }
    return issuer.issue(**(told | values))


def issuer_of(*all_keys: IssuerKey) -> Issuer:
    """Return an issuer with these keys."""
    return Issuer(name="http://issuer.test", audience="http://api.test", keys=all_keys, ceiling=600)


def key_from(signs_from: datetime) -> IssuerKey:
    """Return a new key that signs from then on."""
    return keys.generate(ids.new_id(), signs_from=signs_from)


def test_others_may_keep_the_key_set_no_longer_than_a_new_key_allows_for() -> None:
    assert CACHE_SECONDS == keys.CACHE_SECONDS
    assert keys.first_use(START) - START >= timedelta(seconds=2 * CACHE_SECONDS)


def test_the_last_key_that_may_sign_already_signs() -> None:
    old, current, coming = (key_from(START + timedelta(days=day)) for day in (0, 90, 180))
    issuer = issuer_of(coming, old, current)

    assert issuer.signing_key(START) == old
    assert issuer.signing_key(START + timedelta(days=90, seconds=-1)) == old
    assert issuer.signing_key(START + timedelta(days=90)) == current
    assert issuer.signing_key(START + timedelta(days=1000)) == coming
    # Better early than never, when somebody removed all others.
    assert issuer_of(coming).signing_key(START) == coming


def test_a_token_names_the_client_and_the_time_of_the_sign_in() -> None:
    issuer, app = issuer_of(key_from(START)), ids.new_id()
    signed_in = START - timedelta(days=3)
    token = token_of(issuer, START, client_id=app, auth_time=signed_in)

    claims = issuer.verify(token, now=START)

    assert (claims.is_person, claims.client_id) == (True, app)
    body = tokens._object(tokens._decoded(token.split(".")[1]))
    assert body["client_id"] == ids.format_id("oauth_client", app)
    assert body["auth_time"] == int(signed_in.timestamp())


@pytest.mark.parametrize("is_person", [True, False])
def test_whoever_signs_in_without_an_app_is_their_own_client(*, is_person: bool) -> None:
    issuer = issuer_of(key_from(START))
    subject = ids.new_id()

    claims = issuer.verify(token_of(issuer, START, subject=subject, is_person=is_person), now=START)

    assert claims.subject == subject
    assert claims.client_id == (None if is_person else subject)


def test_a_verified_token_counts_until_it_ends_and_no_longer_than_its_key() -> None:
    first, second = key_from(START), key_from(START + timedelta(days=90))
    issuer = issuer_of(first, second)
    token = token_of(issuer, START)
    claims = issuer.verify(token, now=START)

    assert issuer.verify(token, now=START) is claims
    issuer.know([first, second, key_from(START + timedelta(days=180))])
    assert issuer.verify(token, now=START) is claims
    ended = START + timedelta(seconds=660)
    for _ in range(2):
        with pytest.raises(UnauthenticatedError) as refused:
            issuer.verify(token, now=ended)
        assert refused.value.code == "token_expired"
    issuer.know([second])
    with pytest.raises(UnauthenticatedError) as refused:
        issuer.verify(token, now=START)
    assert refused.value.code == "token_invalid"


@pytest.mark.usefixtures("no_demo_keys")
async def test_a_key_is_published_then_signs_then_is_kept_then_goes(databases: Databases) -> None:
    async with installation(databases) as one:
        first = one.signing
        await one.pass_time(keys.SIGNING_PERIOD - timedelta(minutes=1))
        assert one.published == [first]

        await one.pass_time(timedelta(minutes=1))
        assert one.published[0] == first
        (_, second), made_at = one.published, one.clock()
        await one.pass_time(timedelta(seconds=2 * keys.CACHE_SECONDS))
        assert (one.signing, one.published) == (first, [first, second])

        await one.pass_time(keys.first_use(made_at) - one.clock() - timedelta(seconds=1))
        last = token_of(one.api.issuer, one.clock(), lifetime_seconds=tokens.DEMO_LIFETIME_SECONDS)
        assert one.signing == first
        await one.pass_time(timedelta(seconds=2))
        assert (one.signing, one.published) == (second, [first, second])

        await one.pass_time(timedelta(seconds=tokens.DEMO_LIFETIME_SECONDS - 10))
        assert one.api.issuer.verify(last, now=one.clock()).is_person
        await one.pass_time(timedelta(seconds=tokens.LEEWAY_SECONDS + 10))
        with pytest.raises(UnauthenticatedError) as refused:
            one.api.issuer.verify(last, now=one.clock())
        assert refused.value.code == "token_expired"
        assert one.published == [first, second]
        await one.pass_time(3 * LOOK)
        assert one.published == [second]


@pytest.mark.usefixtures("no_demo_keys")
async def test_a_wanted_key_waits_its_turn_and_never_has_company(databases: Databases) -> None:
    async with installation(databases) as one:
        wanted = await jobs.make_next_key(one.desk, is_wanted=True)
        again = await jobs.make_next_key(one.desk, is_wanted=True)

        assert wanted is not None
        assert again is not None
        assert (wanted.is_new, again.is_new) == (True, False)
        assert wanted.signs_from == again.signs_from
        assert wanted.signs_from - one.clock() > timedelta(seconds=2 * keys.CACHE_SECONDS)
        await one.pass_time(LOOK)
        assert one.signing == one.published[0]
        assert len(one.published) == 2


@pytest.mark.usefixtures("no_demo_keys")
async def test_processes_that_want_a_key_at_once_get_one(databases: Databases) -> None:
    async with installation(databases) as one:
        wanted = await asyncio.gather(
            *[jobs.make_next_key(one.desk, is_wanted=True) for _ in range(12)]
        )
        await one.pass_time(LOOK)

        assert sum(key is not None and key.is_new for key in wanted) == 1
        assert len(one.published) == 2


@pytest.mark.usefixtures("no_demo_keys")
async def test_processes_that_start_at_once_agree_on_the_first_key(databases: Databases) -> None:
    settings = api_settings(databases, mode=Mode.DEMO)

    async def first_key() -> str:
        async with open_resources(settings) as api:
            return api.issuer.signing_key(api.clock()).kid

    assert len(set(await asyncio.gather(*[first_key() for _ in range(4)]))) == 1


@pytest.mark.usefixtures("no_demo_keys")
async def test_without_a_first_key_there_is_no_next_one(databases: Databases) -> None:
    async with open_worker_resources(api_settings(databases)) as worker:
        desk = KeyDesk(worker.database, Mode.DEMO, KEY_ENCRYPTION_KEY)

        assert await jobs.make_next_key(desk, is_wanted=True) is None
        assert await jobs.turn_keys(desk) == 0


@pytest.mark.usefixtures("no_demo_keys")
async def test_a_key_removed_by_hand_opens_nothing_and_is_replaced(databases: Databases) -> None:
    async with installation(databases) as one:
        first = one.signing
        await jobs.make_next_key(one.desk, is_wanted=True)
        await one.pass_time(timedelta(hours=1))
        leaked = one.signing
        token = token_of(one.api.issuer, one.clock())
        assert leaked != first
        assert one.api.issuer.verify(token, now=one.clock()).is_person

        await as_owner(databases, "DELETE FROM signing_key WHERE id = $1", ids.decode(leaked))
        await one.pass_time(LOOK)

        assert one.signing == first
        assert leaked not in one.published
        assert len(one.published) == 2
        with pytest.raises(UnauthenticatedError):
            one.api.issuer.verify(token, now=one.clock())
        await as_owner(databases, "DELETE FROM signing_key WHERE mode = 'demo'")
        assert await one.api.refresh_keys()
        assert one.signing not in {first, leaked}


@pytest.mark.usefixtures("no_demo_keys")
async def test_private_halves_lie_encrypted(databases: Databases) -> None:
    async with installation(databases) as one:
        await jobs.make_next_key(one.desk, is_wanted=True)
        rows = await as_owner(databases, "SELECT * FROM signing_key WHERE mode = 'demo'")

        assert len(rows) == 2
        for row in rows:
            key = keys.decrypt(row["encrypted_jwk"], KEY_ENCRYPTION_KEY)
            private = str(key.as_dict(private=True)["d"])
            assert not [one for one in row.values() if private in str(one)]
            with pytest.raises(JoseError):
                keys.decrypt(row["encrypted_jwk"], secrets.token_urlsafe(32))


@pytest.mark.usefixtures("no_demo_keys")
async def test_an_operator_makes_the_next_key_with_a_command(databases: Databases) -> None:
    told = environment(api_settings(databases)) | {
        "MENTORING_MODE": "demo",
        # As everywhere in this run, whose lines are told by whoever was asked last.
        "MENTORING_LOG_LEVEL": "error",
        "MENTORING_API_JOBS_DATABASE_URL": databases.url("app_jobs", "api"),
        "MENTORING_API_WORKER_DATABASE_URL": databases.url("worker_system", "api"),
    }

    async def said() -> str:
        with patch.dict(os.environ, told):
            return await asyncio.to_thread(api_worker.rotate_keys)

    async def said_by_the_command() -> str:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "services.cli", "rotate-keys"],
            cwd=ROOT,
            env=told,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    assert (await said()).startswith("There is no signing key yet")
    async with open_resources(api_settings(databases, mode=Mode.DEMO)) as api:
        made, again = await said_by_the_command(), await said()
        await api.refresh_keys()

        signs_from = api.issuer.keys[1].signs_from
        assert len(api.issuer.keys) == 2
        assert api.issuer.signing_key(api.clock()) == api.issuer.keys[0]
    assert made.startswith("The next key is made;")
    assert again.startswith("The newest key was made before;")
    assert f"{signs_from:%Y-%m-%dT%H:%M:%SZ}" in made
    assert f"{signs_from:%Y-%m-%dT%H:%M:%SZ}" in again


def unknown_kid(number: int) -> str:
    """Return a token that names a key nobody has, and is otherwise none."""
    stranger = issuer_of(keys.generate(UUID(int=number), signs_from=START))
    return token_of(stranger, datetime.now(UTC))


async def test_a_thousand_unknown_keys_cause_one_look(
    databases: Databases, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    load = keys.load

    async def counted(connection: asyncpg.Connection, **told: Any) -> list[IssuerKey]:
        nonlocal looks
        # Every application of this process looks once a minute by itself, too.
        task = asyncio.current_task()
        looks += task is None or task.get_name() != "signing keys"
        return await load(connection, **told)

    strangers = [unknown_kid(number) for number in range(100)]
    async with running_api(api_settings(databases)) as app, client(app) as caller:
        monkeypatch.setattr(keys, "load", counted)
        # However slow the machine is, the minute is not over before the test is.
        monkeypatch.setattr(keys, "REFRESH_SECONDS", 3600)

        async def knock(token: str) -> tuple[int, str]:
            headers = {"Authorization": f"Bearer {token}"}
            answer = await caller.get("/v1/me/token", headers=headers)
            return answer.status_code, answer.json()["code"]

        at_once = await asyncio.gather(*map(knock, strangers))
        one_by_one = [await knock(strangers[number % 100]) for number in range(900)]
        assert {*at_once, *one_by_one} == {(401, "token_invalid")}
        assert looks == 1
        # Honest requests are none the worse for it.
        honest = {"Authorization": world.org_admin.headers["Authorization"]}
        assert (await caller.get("/v1/me/token", headers=honest)).status_code == 200

        monkeypatch.setattr(keys, "REFRESH_SECONDS", 0)
        assert await knock(strangers[0]) == (401, "token_invalid")
        assert looks == 2


@pytest.mark.usefixtures("no_demo_keys")
async def test_a_key_that_another_process_made_is_found_when_it_is_needed(
    databases: Databases,
) -> None:
    settings = api_settings(databases, mode=Mode.DEMO)
    async with open_resources(settings) as late:
        await as_owner(databases, "DELETE FROM signing_key WHERE mode = 'demo'")
        async with open_resources(settings) as early:
            token = token_of(early.issuer, early.clock())

        assert (await late.verify(token)).is_person
        assert [key.kid for key in late.issuer.keys] == [key.kid for key in early.issuer.keys]


@pytest.mark.usefixtures("no_demo_keys")
async def test_without_its_database_a_process_serves_on_with_the_keys_it_has(
    databases: Databases,
) -> None:
    port = free_port()
    away = Databases(port, databases.admin_password, databases.passwords)
    async with AsyncExitStack() as line:
        await line.enter_async_context(forwarded(port, databases.port))
        async with open_resources(api_settings(away, mode=Mode.DEMO)) as cut_off:
            token = token_of(cut_off.issuer, cut_off.clock())
            await line.aclose()

            assert not await cut_off.refresh_keys()
            assert (await cut_off.verify(token)).is_person
            # Nobody can tell whether that key exists, so nobody is sent to sign in again.
            for number in range(3):
                with pytest.raises(UnavailableError):
                    await cut_off.verify(unknown_kid(number))


async def test_a_process_looks_for_keys_by_itself(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = asyncio.Event()
    load = keys.load

    async def noticed(connection: asyncpg.Connection, **told: Any) -> list[IssuerKey]:
        looked.set()
        return await load(connection, **told)

    monkeypatch.setattr(keys, "REFRESH_SECONDS", 0.01)
    async with open_resources(api_settings(databases)):
        monkeypatch.setattr(keys, "load", noticed)
        await asyncio.wait_for(looked.wait(), 5)
