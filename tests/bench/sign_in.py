"""What strangers at the doors without access tokens learn and cost: `./dev bench sign-in`.

Whether somebody has an address must not show in the time an answer takes; guesses must not reach a
comparison; a flood at any of these doors must not hold up those who are signed in.
"""

import asyncio
import itertools
import json
import math
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from services.api.access import codes
from services.api.access.rules import CredentialKind, new_credential, parse_client_name
from services.api.settings import ApiSettings
from shared import ids
from tests.bench import report
from tests.support.apps import api_settings, found_world, operator, running_api
from tests.support.database import Databases, migrated
from tests.support.email_codes import REDIRECT, App, add_app
from tests.support.processes import API, ROOT, Server, environment, running, spawn

ROUNDS = 3
SAMPLES = 200
WARM_UP = 40
DIFFERENCE_BAR = 1.1

GUESSES = 10_000
GUESSERS = 50
COMPARED_BAR = float(codes.MAX_ATTEMPTS)

FLOOD_ROUNDS = 5
# The p99 of 400 requests is their fourth slowest; of fewer it would be one bad moment.
FLOOD_SECONDS = 8.0
FLOOD_RATE = 100
SIGN_INS = 20
DOORS = ("email-codes", "authorize", "token, junk code", "token, junk refresh", "sign-in page")
# What a flood hears that gets as far as it is meant to, or is held up on its way.
OF_A_FLOOD = frozenset({200, 202, 303, 400, 429, 503})
FORM_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')
NETWORKS = 100
OTHERS_RATE = 50
FLOOD_BAR = 2.0

type Request = Callable[[str], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure beside what it is compared with."""

    work: str
    ours: float
    peer: float | None
    unit: str
    ratio: float | None
    spread: list[float] | None
    bar: float
    met: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """An organization with people whose addresses are known, and an app to sign in to."""

    app: App
    known: list[str]
    token: str


async def timed(sent: Awaitable[httpx.Response], *statuses: int) -> float:
    """Return how many milliseconds an answer took."""
    started = time.perf_counter()
    answer = await sent
    spent = time.perf_counter() - started
    if answer.status_code not in statuses:
        raise RuntimeError(f"{answer.status_code}: {answer.text}")
    return spent * 1000


async def alternately(
    first: Sequence[str], second: Sequence[str], ask: Request
) -> tuple[list[float], list[float]]:
    """Ask for one of each in turn; who is asked for first changes from pair to pair."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number, pair in enumerate(zip(first, second, strict=True)):
        for side in (0, 1) if number % 2 else (1, 0):
            taken[side].append(await ask(pair[side]))
    return taken


def difference(work: str, rounds: Sequence[tuple[list[float], list[float]]]) -> list[Row]:
    """Compare known with unknown addresses, by medians and by means."""
    rows = []
    for name, figure in (("median", statistics.median), ("mean", statistics.fmean)):
        pairs = [(figure(known), figure(unknown)) for known, unknown in rounds]
        ratios = sorted(max(pair) / min(pair) for pair in pairs)
        ratio = statistics.median(ratios)
        rows.append(
            Row(
                work=f"{work}, {name}: known and unknown",
                ours=round(statistics.median(one for one, _ in pairs), 2),
                peer=round(statistics.median(one for _, one in pairs), 2),
                unit="ms",
                ratio=round(ratio, 3),
                spread=[round(ratios[0], 3), round(ratios[-1], 3)],
                bar=DIFFERENCE_BAR,
                met=ratio < DIFFERENCE_BAR,
            )
        )
    return rows


async def measure_times(server: Server, scene: Scene) -> list[Row]:
    """Ask for codes and answer challenges, for addresses that somebody has and that nobody has."""
    challenges: dict[str, str] = {}
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as caller:

        async def ask(email: str) -> float:
            started = time.perf_counter()
            answer = await caller.post("/v1/auth/email-codes", json=scene.app.wanted(email))
            spent = time.perf_counter() - started
            answer.raise_for_status()
            challenges[email] = answer.json()["challenge_id"]
            return spent * 1000

        async def guess(email: str) -> float:
            path = f"/v1/auth/email-codes/{challenges[email]}/verify"
            code = scene.app.wrong(challenges[email])
            return await timed(caller.post(path, json={"code": code}), 400)

        for _ in range(WARM_UP):
            await guess_after(ask, guess, unknown_address())
        asked, guessed = [], []
        for start in range(0, ROUNDS * SAMPLES, SAMPLES):
            known = scene.known[start : start + SAMPLES]
            unknown = [unknown_address() for _ in known]
            asked.append(await alternately(known, unknown, ask))
            guessed.append(await alternately(known, unknown, guess))
    return [*difference("ask for a code", asked), *difference("answer wrong", guessed)]


async def guess_after(ask: Request, guess: Request, email: str) -> None:
    """Let the server do everything once."""
    await ask(email)
    await guess(email)


def unknown_address() -> str:
    """Return an address that nobody has, as long as the known ones."""
    return f"{secrets.token_hex(4)}@example.org"


async def measure_guesses(databases: Databases) -> Row:
    """Guess on and on against one challenge, and count what reaches a comparison."""
    async with running_api(api_settings(databases)) as api:
        app = await add_app(await found_world(api))
        person = await app.world.add_person()
        challenge_id = await app.ask(person["email"])
        right = app.code(challenge_id)
        guesses = iter([one for n in range(GUESSES + 1) if (one := f"{n:08}") != right][:GUESSES])
        compared = 0
        compare = codes.is_code

        def counted(secret: bytes, given: str, **named: UUID) -> bool:
            nonlocal compared
            compared += 1
            return compare(secret, given, **named)

        async def guess() -> None:
            for one in guesses:
                # A guess that a busy server turned away reached nothing either.
                await timed(app.answer(challenge_id, one), 400, 503)

        codes.is_code = counted
        try:
            await asyncio.gather(*(guess() for _ in range(GUESSERS)))
            # Whoever has the code comes too late.
            await timed(app.answer(challenge_id, right), 400)
        finally:
            codes.is_code = compare
    return Row(
        work=f"{GUESSES} guesses at one challenge, {GUESSERS} at once: codes compared",
        ours=compared,
        peer=None,
        unit="",
        ratio=None,
        spread=None,
        bar=COMPARED_BAR,
        met=compared <= COMPARED_BAR,
    )


async def steadily(rate: float, seconds: float, send: Callable[[], Awaitable[None]]) -> None:
    """Send so many requests a second, whether or not earlier ones were answered."""
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
            group.create_task(send())  # type: ignore[arg-type]  # a coroutine, as sent here


async def others(server: Server, token: str, seconds: float) -> list[float]:
    """Return how long requests of somebody who is signed in take."""
    taken: list[float] = []
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=server.url, headers=headers, trust_env=False, timeout=30
    ) as caller:

        async def send() -> None:
            taken.append(await timed(caller.get("/v1/people", params={"limit": 20}), 200))

        await steadily(OTHERS_RATE, seconds, send)
    return taken


class Flood:
    """A process of its own that floods one door after the other, from many networks."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Take the process, which reads from its input which door is next."""
        self._process = process

    async def at(self, door: str) -> None:
        """Flood a door from now on, or none; return once that is under way."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the flood has no pipes")
        self._process.stdin.write(f"{door}\n".encode())
        if await self._process.stdout.readline() != f"{door}\n".encode():
            raise RuntimeError("the flood has ended by itself")


@asynccontextmanager
async def flooding(server: Server, scene: Scene) -> AsyncIterator[Flood]:
    """Start what floods, which rests at first."""
    told = {"url": server.url, "app": scene.app.wanted(""), "known": scene.known[:20]}
    process = await asyncio.create_subprocess_exec(
        # What a flood costs those who send it is paid elsewhere, not with the time of this machine.
        *("nice", "-n", "19", sys.executable),
        *("-m", "tests.bench.sign_in", "--flood", json.dumps(told)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    try:
        yield Flood(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        if await process.wait() != 0:
            raise RuntimeError("the flood has ended by itself")


type Send = Callable[[httpx.AsyncClient, int], Awaitable[httpx.Response]]


class Strangers:
    """What a flood sends at each door; the number of a request tells what is in it."""

    def __init__(self, told: dict[str, Any]) -> None:
        """Take the body that asks for a code, and addresses that somebody has."""
        self._asking, self._known = told["app"], told["known"]
        self._client_id: str = told["app"]["client_id"]
        self._organization_id = parse_client_name(self._client_id)[0]
        self._challenge_id = ""
        self._forms: list[tuple[str, str]] = []

        self.doors: dict[str, Send] = dict(
            zip(
                DOORS,
                (self.ask_for_code, self.begin, self.redeem, self.refresh, self.submit),
                strict=True,
            )
        )

    def _address(self, number: int) -> str:
        return self._known[number % len(self._known)] if number % 2 else unknown_address()

    async def ask_for_code(self, caller: httpx.AsyncClient, number: int) -> httpx.Response:
        """Ask for codes, and guess every fourth time."""
        if number % 4 == 0 and self._challenge_id:
            path = f"/v1/auth/email-codes/{self._challenge_id}/verify"
            return await caller.post(path, json={"code": f"{number:08}"})
        body = self._asking | {"email": self._address(number)}
        answer = await caller.post("/v1/auth/email-codes", json=body)
        if answer.status_code == httpx.codes.ACCEPTED:
            self._challenge_id = answer.json()["challenge_id"]
        return answer

    async def begin(self, caller: httpx.AsyncClient, _number: int) -> httpx.Response:
        """Begin a sign-in, as an app does that sends somebody's browser."""
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": REDIRECT,
            "code_challenge": self._asking["code_challenge"],
            "code_challenge_method": "S256",
        }
        return await caller.get("/oauth/authorize", params=query)

    async def redeem(self, caller: httpx.AsyncClient, _number: int) -> httpx.Response:
        """Show a code that was never given, as it would look."""
        return await self._trade(
            caller,
            grant_type="authorization_code",
            code=self._made_up(CredentialKind.AUTHORIZATION_CODE),
            code_verifier=secrets.token_urlsafe(32),
            redirect_uri=REDIRECT,
        )

    async def refresh(self, caller: httpx.AsyncClient, _number: int) -> httpx.Response:
        """Show a refresh token that was never given, as it would look."""
        made_up = self._made_up(CredentialKind.REFRESH_TOKEN)
        return await self._trade(caller, grant_type="refresh_token", refresh_token=made_up)

    async def submit(self, caller: httpx.AsyncClient, number: int) -> httpx.Response:
        """Send the forms of sign-ins that have begun: an address, and every fourth time a code."""
        if len(self._forms) < SIGN_INS:
            page = await self.begin(caller, number)
            if found := FORM_TOKEN.search(page.text):
                # As it is: a client keeps no cookie of a page with TLS for one without.
                self._forms.append((page.headers["Set-Cookie"].partition(";")[0], found[1]))
            return page
        cookie, token = self._forms[number % len(self._forms)]
        field = {"code": f"{number:08}"} if number % 4 == 0 else {"email": self._address(number)}
        path = f"/oauth/sign-in/{next(iter(field))}"
        data = {"form_token": token, **field}
        return await caller.post(path, data=data, headers={"Cookie": cookie})

    async def _trade(self, caller: httpx.AsyncClient, **fields: str) -> httpx.Response:
        return await caller.post("/oauth/token", data={"client_id": self._client_id, **fields})

    def _made_up(self, kind: CredentialKind) -> str:
        return str(new_credential(kind, self._organization_id, ids.new_id()))


async def flood(told: dict[str, Any]) -> None:
    """Flood the door that standard input names, until it names another or ends."""
    # Made once and not for each network: it takes longer than a request.
    tls = httpx.create_ssl_context()
    async with AsyncExitStack() as stack:
        callers = [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    transport=httpx.AsyncHTTPTransport(
                        local_address=f"127.0.7.{number + 1}", verify=tls
                    ),
                    base_url=told["url"],
                    timeout=30,
                )
            )
            for number in range(NETWORKS)
        ]
        strangers = Strangers(told)
        numbers = itertools.count()
        door = ""

        async def send() -> None:
            number = next(numbers)
            try:
                answer = await strangers.doors[door](callers[number % NETWORKS], number)
            except httpx.TransportError:
                # A connection that rested while nobody flooded, and was closed just now.
                return
            if answer.status_code not in OF_A_FLOOD:
                raise RuntimeError(f"{door}: {answer.status_code}: {answer.text}")

        following = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
        while True:
            if following.done():
                if not following.result():
                    return
                door = following.result().strip()
                following = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
                if door:
                    await steadily(FLOOD_RATE, 1.0, send)
                print(door, flush=True)  # noqa: T201 - whoever named it waits for this line
            if door:
                await steadily(FLOOD_RATE, 0.5, send)
            else:
                await asyncio.wait([following])


def p99(taken: Sequence[float]) -> float:
    """Return what one of a hundred requests takes at least."""
    return sorted(taken)[math.ceil(len(taken) * 0.99) - 1]


async def measure_floods(server: Server, scene: Scene) -> list[Row]:
    """Compare what others wait for with and without a flood at each door, in turns."""
    await others(server, scene.token, 2.0)
    calm: list[float] = []
    busy: dict[str, list[float]] = {door: [] for door in DOORS}
    async with flooding(server, scene) as strangers:
        for _ in range(FLOOD_ROUNDS):
            await strangers.at("")
            calm.append(p99(await others(server, scene.token, FLOOD_SECONDS)))
            for door, taken in busy.items():
                await strangers.at(door)
                taken.append(p99(await others(server, scene.token, FLOOD_SECONDS)))
    return [flood_row(door, taken, calm) for door, taken in busy.items()]


def flood_row(door: str, busy: Sequence[float], calm: Sequence[float]) -> Row:
    """Hold the median of the turns at one door against its bar."""
    ratios = sorted(under / without for under, without in zip(busy, calm, strict=True))
    ratio = statistics.median(ratios)
    return Row(
        work=f"{door}: p99 of others at {OTHERS_RATE}/s, under a flood of {FLOOD_RATE}/s and not",
        ours=round(statistics.median(busy), 1),
        peer=round(statistics.median(calm), 1),
        unit="ms",
        ratio=round(ratio, 2),
        spread=[round(ratios[0], 2), round(ratios[-1], 2)],
        bar=FLOOD_BAR,
        met=ratio <= FLOOD_BAR,
    )


async def set_up(settings: ApiSettings) -> Scene:
    """Fill an organization."""
    async with running_api(settings) as api:
        world = await found_world(api)
        app = await add_app(world)
        known = [
            (await world.add_person(email=unknown_address()))["email"]
            for _ in range(ROUNDS * SAMPLES)
        ]
        token = world.org_admin.headers["Authorization"].removeprefix("Bearer ")
    return Scene(app, known, token)


async def measure(databases: Databases) -> list[Row]:
    """Measure everything on one server, its limits open for the times and shut for the flood."""
    settings = api_settings(databases)
    scene = await set_up(settings)
    told = environment(settings)
    opened = told | {
        "MENTORING_SIGN_IN_RATE_LIMIT": "1000000",
        "MENTORING_SIGN_IN_ORGANIZATION_RATE_LIMIT": "1000000",
    }
    async with running(API, opened, start=spawn) as server:
        rows = await measure_times(server, scene)
    rows.append(await measure_guesses(databases))
    # Signed in anew: a token lives for minutes.
    async with running_api(settings) as api:
        answer = await operator(api).post(
            "/operator/sign-ins",
            json={"organization_slug": scene.app.world.slug, "role": "org_admin"},
        )
        scene = Scene(scene.app, scene.known, answer.json()["access_token"])
    async with running(API, told, start=spawn) as server:
        rows += await measure_floods(server, scene)
    return rows


async def main(*, as_json: bool) -> int:
    """Run the bench; the exit code says whether every bar was met."""
    with tempfile.TemporaryDirectory() as name:
        async with migrated(Path(name) / "postgres") as databases:
            rows = await measure(databases)
    report.show(rows, as_json=as_json, rounds=ROUNDS, samples=SAMPLES)
    return 0 if report.all_met(rows) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--flood"]:
        sys.exit(asyncio.run(flood(json.loads(sys.argv[2]))))
    sys.exit(asyncio.run(main(as_json="--json" in sys.argv[1:])))
