"""`kill -9` of the api amid sign-ins, refreshes and rotations: nothing lost, nobody signed out."""

import asyncio
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import psutil
import pytest
from fastapi import FastAPI

from services.api.access.rules import CredentialKind, parse_credential
from services.api.issuer.rules import LOST_REPLY
from services.api.sign_in.email_codes.rules import MAX_ATTEMPTS, PER_ADDRESS, parse_challenge
from services.local import postgres
from shared import ids
from tests.support.apps import World, api_settings, found_world
from tests.support.database import Databases
from tests.support.email_codes import App, add_app, challenge_of
from tests.support.processes import API, Server, environment, running

KILLS = 4
PHONES = 2
ANSWERS_BETWEEN_KILLS = 30
# As docs/sign-in.md says.
PHONE_SECONDS = 8
ANSWER_SECONDS = 60
PATIENCE_SECONDS = 300

UNLIMITED = {
    "MENTORING_SIGN_IN_RATE_LIMIT": "1000000",
    "MENTORING_SIGN_IN_ORGANIZATION_RATE_LIMIT": "1000000",
}

pytestmark = pytest.mark.stack


class Kind(StrEnum):
    """What a request is for."""

    ASK = "ask for a code by mail"
    GUESS = "guess a code"
    VERIFY = "sign in with a code"
    REDEEM = "trade an authorization code"
    REFRESH = "trade a refresh token"
    ROTATE_KEY = "rotate an API key"
    REVOKE_KEY = "revoke an API key"
    ROTATE_SECRET = "rotate a secret"
    TRADE_SECRET = "trade a secret"
    READ = "read who asks"


USED = "SELECT id FROM {} WHERE used_at IS NOT NULL AND id = ANY($1::uuid[])"
DONE: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.ROTATE_SECRET: "SELECT id || ' ' || version FROM oauth_client"
        " WHERE id || ' ' || version = ANY($1)",
        Kind.ROTATE_KEY: "SELECT rotated_from FROM api_key"
        " WHERE revoked_at IS NULL AND rotated_from = ANY($1::uuid[])",
        Kind.REDEEM: USED.format("authorization_code"),
        Kind.VERIFY: USED.format("email_code"),
        Kind.REFRESH: USED.format("refresh_token"),
    }
)
"""Of each kind that is killed: which of some requests did what they asked for."""

NEVER: Mapping[str, str] = MappingProxyType(
    {
        "a sign-in ended": "SELECT FROM refresh_family WHERE revoked_at IS NOT NULL AND {mine}",
        "a sign-in goes on with none or two tokens": "SELECT FROM refresh_token WHERE {mine}"
        " GROUP BY family_id"
        " HAVING count(*) FILTER (WHERE used_at IS NULL AND dead_at IS NULL) <> 1",
        "two tokens follow one": "SELECT FROM refresh_token WHERE dead_at IS NULL AND {mine}"
        " GROUP BY family_id, predecessor_id HAVING count(*) > 1",
        "a code and its sign-in are apart": "SELECT FROM authorization_code"
        " WHERE (used_at IS NULL) <> (family_id IS NULL) AND {mine}",
        "a code began two sign-ins, or none began one": "SELECT FROM refresh_family"
        " WHERE (SELECT count(*) FROM authorization_code WHERE family_id = refresh_family.id) <> 1"
        " AND {mine}",
        "a mail's code and what it gave are apart": "SELECT FROM email_code WHERE {mine}"
        " HAVING count(used_at) <> (SELECT count(*) FROM authorization_code WHERE {mine})",
        "a sixth guess": "SELECT FROM email_code WHERE attempts > 5 AND {mine}",
        "a third live key": "SELECT FROM api_key WHERE revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > now()) AND {mine} HAVING count(*) > 2",
        "a key was rotated without its answer": "SELECT FROM api_key"
        " WHERE rotated_from IS NOT NULL AND {mine} HAVING count(*) <> (SELECT count(*)"
        " FROM idempotency WHERE operation = 'rotate_api_key' AND {mine})",
        "a secret was rotated without its answer": "SELECT FROM oauth_client"
        " WHERE kind = 'service' AND version <> 1 + (SELECT count(*)"
        " FROM idempotency WHERE operation = 'rotate_oauth_client' AND {mine}) AND {mine}",
        "two were taken for one": "SELECT FROM outbox_message"
        " WHERE type = 'refresh_token.reused' AND {mine}",
    }
)
"""What the rows may never say, whatever was killed when."""


class TooSlowError(Exception):
    """The api took longer to start than a lost answer may be asked for again."""


@dataclass(slots=True, eq=False)
class Flight:
    """A request on its way, and by what the database knows what it asks for."""

    kind: Kind
    about: str
    is_repeated: bool
    is_sent: bool = False

    async def note(self, event: str, _details: Mapping[str, Any]) -> None:
        """Hear from the HTTP client that the request is out and its answer is waited for."""
        if event == "http11.receive_response_headers.started":
            self.is_sent = True


@dataclass(slots=True)
class Traffic:
    """What honest clients send: what is on its way, and which answers got lost."""

    client: httpx.AsyncClient
    flying: set[Flight] = field(default_factory=set)
    lost: list[Flight] = field(default_factory=list)
    hung_up: int = 0
    answers: int = 0
    kills: int = 0
    is_over: bool = False
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def send(
        self,
        kind: Kind,
        path: str,
        *,
        about: str = "",
        is_repeated: bool = False,
        **options: Any,
    ) -> httpx.Response | None:
        """Send a request once, and return None when its answer got lost."""
        flight = Flight(kind, about, is_repeated)
        self.flying.add(flight)
        method = "GET" if kind is Kind.READ else "POST"
        try:
            answer = await self.client.request(
                method, path, extensions={"trace": flight.note}, **options
            )
        except httpx.ReadTimeout:
            self.hung_up += 1
            return None
        except httpx.TransportError:
            if flight.is_sent:
                self.lost.append(flight)
            return None
        finally:
            self.flying.discard(flight)
        async with self._moved:
            self.answers += 1
            self._moved.notify_all()
        return answer

    async def insist(
        self, kind: Kind, path: str, *, about: str = "", **options: Any
    ) -> tuple[httpx.Response, int]:
        """Send the same request until it is answered; say how many answers got lost before."""
        lost = 0
        while (
            answer := await self.send(kind, path, about=about, is_repeated=lost > 0, **options)
        ) is None:
            lost += 1
        return answer, lost

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for the next answer, and for answers until the condition holds."""
        async with self._moved:
            await self._moved.wait()
            await self._moved.wait_for(holds)

    async def flow(self) -> None:
        """Wait until so many requests were answered from now on."""
        enough = self.answers + ANSWERS_BETWEEN_KILLS
        await self.until(lambda: self.answers >= enough)

    def aloft(self, kind: Kind) -> list[Flight]:
        """Return the requests of a kind that are out for the first time."""
        return [
            one for one in self.flying if one.kind is kind and one.is_sent and not one.is_repeated
        ]


@dataclass(slots=True)
class Device:
    """Where somebody is signed in."""

    person_id: str
    access_token: str
    refresh_token: str
    refreshed: int = 0
    lost: int = 0


@dataclass(slots=True)
class Scene:
    """One organization with an app, an API key and a service, and all that happened to them."""

    world: World
    app: App
    traffic: Traffic
    key: Mapping[str, Any]
    service: Mapping[str, Any]
    devices: list[Device] = field(default_factory=list)
    begun_anew: Counter[Kind] = field(default_factory=Counter)
    # Of each challenge, after how many kills each wrong code was answered.
    guesses: dict[str, list[int]] = field(default_factory=dict)
    shown_keys: int = 0
    hidden_keys: int = 0
    secrets: list[str | None] = field(default_factory=list)

    @property
    def as_org_admin(self) -> dict[str, str]:
        """Return what the org admin shows."""
        return {"Authorization": self.world.org_admin.headers["Authorization"]}

    @property
    def is_guessed_at_across(self) -> bool:
        """Tell whether a challenge was guessed at before a kill and after it."""
        return any(len(set(answered)) > 1 for answered in self.guesses.values())


def told(answer: httpx.Response) -> dict[str, Any]:
    """Return what was answered; whoever is honest is never refused."""
    assert answer.is_success, f"{answer.request.url.path} {answer.status_code}: {answer.text}"
    content: dict[str, Any] = answer.json()
    return content


def is_code_refused(answer: httpx.Response) -> bool:
    """Tell whether a code from a mail does not fit, or fits no longer."""
    is_refused: bool = answer.status_code == 400 and answer.json()["code"] == "code_invalid"
    return is_refused


async def read(scene: Scene, path: str, token: str) -> dict[str, Any]:
    """Read who shows a token."""
    shown = {"Authorization": f"Bearer {token}"}
    return told((await scene.traffic.insist(Kind.READ, path, headers=shown))[0])


async def ask(scene: Scene, email: str, verifier: str) -> str:
    """Ask for a code by mail, again if the answer got lost, and return the challenge."""
    wanted = scene.app.wanted(email, code_challenge=challenge_of(verifier))
    answer, _ = await scene.traffic.insist(Kind.ASK, "/v1/auth/email-codes", json=wanted)
    challenge_id: str = told(answer)["challenge_id"]
    return challenge_id


async def sign_in(scene: Scene) -> Device:
    """Sign somebody in; a code works once, so whoever lost what it gave begins anew."""
    person = await scene.world.add_person()
    for _ in range(PER_ADDRESS):
        verifier = secrets.token_urlsafe(32)
        code = await verify(scene, await ask(scene, person["email"], verifier))
        if code is None:
            scene.begun_anew[Kind.VERIFY] += 1
            continue
        answer = await redeem(scene, code, verifier)
        if answer is None:
            scene.begun_anew[Kind.REDEEM] += 1
            continue
        tokens = told(answer)
        device = Device(person["id"], tokens["access_token"], tokens["refresh_token"])
        scene.devices.append(device)
        await read_self(scene, device)
        return device
    raise AssertionError("no more codes are sent to this address")


async def verify(scene: Scene, challenge_id: str) -> str | None:
    """Return the authorization code; None where it went with the answer that got lost."""
    answer, lost = await scene.traffic.insist(
        Kind.VERIFY,
        f"/v1/auth/email-codes/{challenge_id}/verify",
        about=str(parse_challenge(challenge_id)[1]),
        json={"code": scene.app.code(challenge_id)},
    )
    if lost and is_code_refused(answer):
        return None
    code: str = told(answer)["code"]
    return code


async def redeem(scene: Scene, code: str, verifier: str) -> httpx.Response | None:
    """Show an authorization code, once."""
    return await scene.traffic.send(
        Kind.REDEEM,
        "/oauth/token",
        about=str(parse_credential(code, CredentialKind.AUTHORIZATION_CODE).id),
        data={
            "grant_type": "authorization_code",
            "client_id": scene.app.client_id,
            "code": code,
            "code_verifier": verifier,
        },
    )


async def read_self(scene: Scene, device: Device) -> None:
    """Ask who is signed in here."""
    me = await read(scene, "/v1/me", device.access_token)
    assert me["person"]["id"] == device.person_id


async def refresh(scene: Scene, device: Device, patience: float) -> None:
    """Trade the refresh token; one whose answer got lost is shown again at once."""
    shown_at = time.monotonic()
    answer, lost = await scene.traffic.insist(
        Kind.REFRESH,
        "/oauth/token",
        about=token_id(device),
        data={
            "grant_type": "refresh_token",
            "client_id": scene.app.client_id,
            "refresh_token": device.refresh_token,
        },
        timeout=patience,
    )
    is_late = time.monotonic() - shown_at > LOST_REPLY.total_seconds()
    if lost and is_late and answer.status_code == 400:
        raise TooSlowError
    tokens = told(answer)
    device.access_token, device.refresh_token = tokens["access_token"], tokens["refresh_token"]
    device.refreshed += 1
    device.lost += lost


def token_id(device: Device) -> str:
    """Return by what the database knows the refresh token that a device keeps."""
    return str(parse_credential(device.refresh_token, CredentialKind.REFRESH_TOKEN).id)


async def stay_signed_in(scene: Scene, patience: float) -> None:
    """Sign in once, and refresh again and again."""
    device = await sign_in(scene)
    while not scene.traffic.is_over:
        await refresh(scene, device, patience)
        await read_self(scene, device)


async def guess(scene: Scene) -> None:
    """Guess a code of somebody; after five answers even the right one is wrong."""
    person = await scene.world.add_person()
    challenge_id = await ask(scene, person["email"], secrets.token_urlsafe(32))
    path = f"/v1/auth/email-codes/{challenge_id}/verify"
    answered = scene.guesses.setdefault(challenge_id, [])
    while len(answered) < MAX_ATTEMPTS:
        wrong = {"code": scene.app.wrong(challenge_id)}
        answer = await scene.traffic.send(Kind.GUESS, path, json=wrong)
        if answer is not None:
            assert is_code_refused(answer), answer.text
            answered.append(scene.traffic.kills)
    right = {"code": scene.app.code(challenge_id)}
    answer, _ = await scene.traffic.insist(Kind.GUESS, path, json=right)
    assert is_code_refused(answer), answer.text


async def turn(scene: Scene, kind: Kind, path: str, *, about: str) -> dict[str, Any]:
    """Rotate as an org admin: the same request with the same key until it is answered."""
    headers = scene.as_org_admin | {"Idempotency-Key": f"turn-{secrets.token_hex(8)}"}
    answer, lost = await scene.traffic.insist(kind, path, about=about, headers=headers, json={})
    new = told(answer)
    is_hidden = (new["key"] if kind is Kind.ROTATE_KEY else new["client_secret"]) is None
    assert is_hidden == (answer.headers.get("Idempotency-Replayed") == "true")
    assert lost or not is_hidden
    return new


async def revoke(scene: Scene, key_id: str) -> None:
    """End a key that nobody was shown."""
    path = f"/v1/api-keys/{key_id}/revoke"
    told((await scene.traffic.insist(Kind.REVOKE_KEY, path, headers=scene.as_org_admin))[0])


async def rotate_key(scene: Scene) -> None:
    """Rotate the newest key and use both; one that was never shown is revoked before."""
    old = scene.key
    path, about = f"/v1/api-keys/{old['id']}/rotate", str(ids.parse_id("api_key", old["id"]))
    while (new := await turn(scene, Kind.ROTATE_KEY, path, about=about))["key"] is None:
        scene.hidden_keys += 1
        await revoke(scene, new["id"])
    scene.shown_keys += 1
    scene.key = new
    for one in (old, new):
        assert (await read(scene, "/v1/me/token", one["key"]))["api_key_id"] == one["id"]


async def rotate_secret(scene: Scene) -> None:
    """Rotate the service's secret and use the newest two; one never shown is rotated again."""
    path = f"/v1/oauth-clients/{scene.service['id']}/rotate"
    service_id = ids.parse_id("oauth_client", scene.service["id"])
    is_hidden = True
    while is_hidden:
        # Each turn is the next version.
        about = f"{service_id} {len(scene.secrets) + 1}"
        new = await turn(scene, Kind.ROTATE_SECRET, path, about=about)
        scene.secrets.append(new["client_secret"])
        is_hidden = new["client_secret"] is None
    await use_secrets(scene)


async def use_secrets(scene: Scene) -> None:
    """Get a token with each of the newest two secrets that were shown."""
    for secret in shown_secrets(scene)[-2:]:
        token = told(await show_secret(scene, secret))["access_token"]
        facts = await read(scene, "/v1/me/token", token)
        assert facts["client_id"] == scene.service["client_id"]


def shown_secrets(scene: Scene) -> list[str]:
    """Return the secrets whose answers came, the newest last."""
    return [one for one in scene.secrets if one is not None]


async def show_secret(scene: Scene, secret: str) -> httpx.Response:
    """Ask for a token with a secret."""
    form = {
        "grant_type": "client_credentials",
        "client_id": scene.service["client_id"],
        "client_secret": secret,
    }
    return (await scene.traffic.insist(Kind.TRADE_SECRET, "/oauth/token", data=form))[0]


@dataclass(slots=True)
class Rows:
    """What the database says of one organization, as its superuser sees it."""

    connection: asyncpg.Connection
    organization_id: UUID

    async def done(self, flights: Iterable[Flight]) -> list[Flight]:
        """Return those requests that did what they asked for."""
        by_kind = defaultdict(list)
        for one in flights:
            by_kind[one.kind].append(one)
        done = []
        for kind, alike in by_kind.items():
            found = await self.connection.fetch(DONE[kind], [one.about for one in alike])
            names = {str(row[0]) for row in found}
            done += [one for one in alike if one.about in names]
        return done

    async def contradictions(self) -> list[str]:
        """Return what the rows say that they must never say."""
        mine = f"organization_id = '{self.organization_id}'"
        return [
            name
            for name, statement in NEVER.items()
            if await self.connection.fetch(statement.format(mine=mine))
        ]

    async def all_of(self, table: str, **equal: Any) -> list[Mapping[str, Any]]:
        """Return the organization's rows of a table."""
        statement = f"SELECT * FROM {table} WHERE organization_id = $1 ORDER BY id"  # noqa: S608
        found = await self.connection.fetch(statement, self.organization_id)
        return [row for row in found if all(row[name] == one for name, one in equal.items())]


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """Hold a process still between any two of its lines; it goes on unless it was killed."""
    process.suspend()
    try:
        yield
    finally:
        if process.is_running():
            process.resume()


async def kill_untold(traffic: Traffic, server: Server, rows: Rows, kind: Kind) -> None:
    """Kill the api when it has done what a request of this kind asked for and not said so."""
    while True:
        await traffic.until(lambda: bool(traffic.aloft(kind)))
        with frozen(server.process):
            done = await rows.done(traffic.aloft(kind))
            # What was said before the process stood still has arrived by now.
            if traffic.flying.intersection(done):
                await server.kill()
                return


@dataclass(slots=True)
class Killed:
    """The api after it was killed again and again, and which lost answers were of what is done."""

    scene: Scene
    rows: Rows
    untold: Counter[Kind] = field(default_factory=Counter)
    undone: Counter[Kind] = field(default_factory=Counter)
    seen: int = 0

    async def look(self) -> None:
        """Look up what became of the requests that have lost their answers since the last look."""
        lost = self.scene.traffic.lost[self.seen :]
        self.seen += len(lost)
        first = [one for one in lost if one.kind in DONE and not one.is_repeated]
        done = await self.rows.done(first)
        self.untold.update(one.kind for one in done)
        self.undone.update(one.kind for one in first if one not in done)

    def missing(self) -> list[Kind]:
        """Return the kinds of which no request was done yet while its answer got lost."""
        return [kind for kind in DONE if not self.untold[kind]]


async def kill_again_and_again(killed: Killed, server: Server) -> None:
    """Kill the api until a request of each kind was done and its answer lost."""
    traffic = killed.scene.traffic
    await traffic.flow()
    while killed.missing() or traffic.kills < KILLS or not killed.scene.is_guessed_at_across:
        await kill_untold(traffic, server, killed.rows, next(iter(killed.missing()), Kind.REFRESH))
        traffic.kills += 1
        assert await killed.rows.contradictions() == []
        # Before anything is asked for again.
        await killed.look()
        await server.start_again()
        await traffic.flow()
    traffic.is_over = True


async def over_and_over(scene: Scene, work: Callable[[Scene], Awaitable[object]]) -> None:
    """Do something until it was killed often enough."""
    while not scene.traffic.is_over:
        await work(scene)


async def play(killed: Killed, server: Server, *, start_seconds: float) -> None:
    """Let honest people and machines go on, and somebody guess, while the api is killed."""
    scene = killed.scene
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        for _ in range(PHONES):
            tasks.create_task(stay_signed_in(scene, PHONE_SECONDS))
            # On a bad line: it hangs up, and asks again, while the api starts anew.
            tasks.create_task(stay_signed_in(scene, min(PHONE_SECONDS, start_seconds / 2)))
        for work, times in ((sign_in, 3), (guess, 2), (rotate_key, 1), (rotate_secret, 1)):
            for _ in range(times):
                tasks.create_task(over_and_over(scene, work))
        tasks.create_task(kill_again_and_again(killed, server))
    await killed.look()


async def make(world: World, path: str) -> dict[str, Any]:
    """Make a credential of a machine as the org admin."""
    body = {"label": "a machine", "scopes": ["people:read"]}
    return told(await world.org_admin.post(path, json=body))


async def stage(world: World, client: httpx.AsyncClient) -> Scene:
    """Give an organization what is used while the api is killed."""
    service = await make(world, "/v1/oauth-clients")
    return Scene(
        world=world,
        app=await add_app(world),
        traffic=Traffic(client),
        key=await make(world, "/v1/api-keys"),
        service=service,
        secrets=[service["client_secret"]],
    )


@asynccontextmanager
async def reading(databases: Databases, world: World) -> AsyncIterator[Rows]:
    """Open the rows of an organization."""
    connection = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    try:
        yield Rows(connection, world.id)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def killed(databases: Databases, api: FastAPI) -> AsyncIterator[Killed]:
    """Play it once; the api that was started last goes on for the tests."""
    world = await found_world(api)
    settings = environment(api_settings(databases)) | UNLIMITED
    is_too_slow = False
    async with (
        running(API, settings) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=ANSWER_SECONDS) as client,
        reading(databases, world) as rows,
    ):
        # The first start imported what the later ones share.
        await server.kill()
        begun_at = time.monotonic()
        await server.start_again()
        start_seconds = time.monotonic() - begun_at
        killed = Killed(await stage(world, client), rows)
        try:
            await play(killed, server, start_seconds=start_seconds)
        except* TooSlowError:
            is_too_slow = True
        if is_too_slow:
            pytest.skip("the api starts more slowly here than a lost answer may be asked for again")
        yield killed


def test_each_kind_of_request_was_killed_before_and_after_it_was_done(killed: Killed) -> None:
    """Without this, all that follows could be true because nothing happened."""
    traffic, scene = killed.scene.traffic, killed.scene

    assert traffic.kills >= KILLS
    assert killed.missing() == []
    assert killed.undone.total() > 0
    assert traffic.hung_up > 0
    assert scene.begun_anew[Kind.VERIFY] > 0
    assert scene.begun_anew[Kind.REDEEM] > 0
    assert scene.hidden_keys > 0
    assert None in scene.secrets


async def test_no_row_contradicts_another(killed: Killed) -> None:
    assert await killed.rows.contradictions() == []


async def test_everybody_is_still_signed_in_with_the_token_they_keep(killed: Killed) -> None:
    scene = killed.scene
    for device in scene.devices:
        await read_self(scene, device)
    for phone in (one for one in scene.devices if one.refreshed):
        await refresh(scene, phone, ANSWER_SECONDS)

    tokens = await killed.rows.all_of("refresh_token")
    family_of = {str(one["id"]): one["family_id"] for one in tokens}
    for device in scene.devices:
        mine = [one for one in tokens if one["family_id"] == family_of[token_id(device)]]
        used, dead = ([one for one in mine if one[name]] for name in ("used_at", "dead_at"))
        (live,) = (one for one in mine if one not in [*used, *dead])
        assert str(live["id"]) == token_id(device)
        # One for each answer that came; beside them, those whose answers got lost.
        assert len(used) == device.refreshed
        assert len(dead) <= device.lost


async def test_each_sign_in_has_one_code_and_only_lost_ones_are_nobodys(killed: Killed) -> None:
    families = await killed.rows.all_of("refresh_family")
    used = [one for one in await killed.rows.all_of("authorization_code") if one["used_at"]]

    assert len(used) == len(families) == len({one["family_id"] for one in used})
    assert len(families) == len(killed.scene.devices) + killed.untold[Kind.REDEEM]


async def test_each_rotation_happened_once(killed: Killed) -> None:
    scene = killed.scene
    keys = await killed.rows.all_of("api_key")
    (service,) = await killed.rows.all_of("oauth_client", kind="service")

    assert len(keys) == 1 + scene.shown_keys + scene.hidden_keys
    assert service["version"] == len(scene.secrets)
    live = {ids.format_id("api_key", one["id"]) for one in keys if one["revoked_at"] is None}
    assert live == {scene.key["id"], scene.key["rotated_from"]}
    await use_secrets(scene)
    for secret in shown_secrets(scene)[-5:-2]:
        assert (await show_secret(scene, secret)).status_code == 401


async def test_no_answered_guess_is_forgotten(killed: Killed) -> None:
    guesses = killed.scene.guesses
    codes = {str(one["id"]): one for one in await killed.rows.all_of("email_code")}

    for challenge_id in guesses:
        code = codes[str(parse_challenge(challenge_id)[1])]
        assert (code["attempts"], code["used_at"]) == (MAX_ATTEMPTS, None)
    assert killed.scene.is_guessed_at_across
