"""What strangers at the sign-in doors learn and cost: `./dev bench sign-in`.

Whether somebody has an address must not show in the time an answer takes; guesses must not reach a
comparison; a flood at these doors must not hold up those who are signed in.
"""

import asyncio
import json
import math
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
from services.api.settings import ApiSettings
from tests.bench import report
from tests.support.apps import api_settings, found_world, operator, running_api
from tests.support.database import Databases, migrated
from tests.support.email_codes import App, add_app
from tests.support.processes import API, ROOT, Server, environment, running

ROUNDS = 3
SAMPLES = 200
WARM_UP = 40
DIFFERENCE_BAR = 1.1

GUESSES = 10_000
GUESSERS = 50
COMPARED_BAR = float(codes.MAX_ATTEMPTS)

FLOOD_ROUNDS = 8
FLOOD_SECONDS = 6.0
FLOOD_RATE = 100
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


@asynccontextmanager
async def flooded(server: Server, scene: Scene) -> AsyncIterator[None]:
    """Let a process of its own flood the doors of signing in, from many networks."""
    told = {"url": server.url, "app": scene.app.wanted(""), "known": scene.known[:20]}
    process = await asyncio.create_subprocess_exec(
        # What a flood costs those who send it is paid elsewhere, not with the time of this machine.
        *("nice", "-n", "19", sys.executable),
        *("-m", "tests.bench.sign_in", "--flood", json.dumps(told)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    if process.stdout is None or process.stdin is None:
        raise RuntimeError("the flood has no pipes")
    await process.stdout.readline()
    try:
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def flood(told: dict[str, Any]) -> None:
    """Ask for codes and guess them until standard input ends."""
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
        number = 0
        challenge_id = ""

        async def send() -> None:
            nonlocal number, challenge_id
            number += 1
            caller = callers[number % len(callers)]
            if number % 4 == 0 and challenge_id:
                path = f"/v1/auth/email-codes/{challenge_id}/verify"
                await timed(caller.post(path, json={"code": f"{number:08}"}), 400, 429)
                return
            email = told["known"][number % len(told["known"])] if number % 2 else unknown_address()
            answer = await caller.post("/v1/auth/email-codes", json=told["app"] | {"email": email})
            if answer.status_code == httpx.codes.ACCEPTED:
                challenge_id = answer.json()["challenge_id"]

        await steadily(FLOOD_RATE, 1.0, send)
        print("flooding", flush=True)  # noqa: T201 - whoever started it waits for this line
        ending = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        while not ending.done():
            await steadily(FLOOD_RATE, 0.5, send)


def p99(taken: Sequence[float]) -> float:
    """Return what one of a hundred requests takes at least."""
    return sorted(taken)[math.ceil(len(taken) * 0.99) - 1]


async def measure_flood(server: Server, scene: Scene) -> Row:
    """Compare what others wait for with and without a flood, in turns, over all turns together."""
    await others(server, scene.token, 2.0)
    pairs = []
    for _ in range(FLOOD_ROUNDS):
        calm = await others(server, scene.token, FLOOD_SECONDS)
        async with flooded(server, scene):
            pairs.append((await others(server, scene.token, FLOOD_SECONDS), calm))
    ratios = sorted(p99(busy) / p99(calm) for busy, calm in pairs)
    under = p99([one for busy, _ in pairs for one in busy])
    without = p99([one for _, calm in pairs for one in calm])
    ratio = under / without
    return Row(
        work=f"p99 of others at {OTHERS_RATE}/s, under {FLOOD_RATE} sign-in requests/s and without",
        ours=round(under, 1),
        peer=round(without, 1),
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
    async with running(API, opened) as server:
        rows = await measure_times(server, scene)
    rows.append(await measure_guesses(databases))
    # Signed in anew: a token lives for minutes.
    async with running_api(settings) as api:
        answer = await operator(api).post(
            "/operator/sign-ins",
            json={"organization_slug": scene.app.world.slug, "role": "org_admin"},
        )
        scene = Scene(scene.app, scene.known, answer.json()["access_token"])
    async with running(API, told) as server:
        rows.append(await measure_flood(server, scene))
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
