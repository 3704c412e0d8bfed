"""Application CPU of hot requests against the bare floor: `./dev bench api`.

Both run as one process each, take turns under the same load, and send the same statements to the
same database. What is compared is the CPU time of the application process per request. The last
row is a share of the same read: what verifying its token costs, first uses included.
"""

import asyncio
import pickle
import secrets
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import event

from shared import ids
from tests.bench import report
from tests.bench.bare import MARKER, RECORDED
from tests.bench.timed import SPENT
from tests.support.apps import OPERATOR_TOKEN, World, api_settings, found_world, running_api
from tests.support.database import Databases, migrated
from tests.support.processes import API, Server, environment, running, spawn

ROUNDS = 9
CONNECTIONS = 16
PEOPLE = 200
# A front end asks more often in the ten minutes that a token lives.
USES_OF_A_TOKEN = 10
VERIFYING = 0.15
TIMED = ("-m", "tests.bench.timed")
BARE = (
    *("-m", "uvicorn", "tests.bench.bare:create_app", "--factory", "--fd", "{fd}"),
    *("--log-level", "critical", "--no-access-log"),
)

type Send = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of request: how many a round, and the largest allowed ratio."""

    name: str
    requests: int
    bar: float
    send: Send


@dataclass(frozen=True, slots=True)
class Row:
    """What one kind of request costs: CPU milliseconds per request, and the ratio."""

    work: str
    ours: float
    peer: float
    ratio: float
    spread: list[float]
    bar: float
    met: bool


async def cpu_per_request(server: Server, work: Work, token: str) -> float:
    """Return CPU milliseconds of the application per request of one round."""
    limits = httpx.Limits(max_connections=CONNECTIONS)
    # Neither side compresses: the bare one cannot, and it is no part of the comparison.
    headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}
    async with httpx.AsyncClient(
        base_url=server.url, headers=headers, limits=limits, trust_env=False, timeout=30
    ) as client:

        async def sender(count: int) -> None:
            for _ in range(count):
                (await work.send(client)).raise_for_status()

        await sender(20)
        before = server.process.cpu_times()
        each = work.requests // CONNECTIONS
        await asyncio.gather(*[sender(each) for _ in range(CONNECTIONS)])
        after = server.process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return 1000 * spent / (each * CONNECTIONS)


async def compare(ours: Server, bare: Server, work: Work, token: str) -> Row:
    """Let both take turns, and compare round by round."""
    pairs = []
    for _ in range(ROUNDS):
        own = await cpu_per_request(ours, work, token)
        floor = await cpu_per_request(bare, work, token)
        pairs.append((own, floor))
    ratios = sorted(own / floor for own, floor in pairs)
    ratio = statistics.median(ratios)
    return Row(
        work=work.name,
        ours=round(statistics.median(own for own, _ in pairs), 3),
        peer=round(statistics.median(floor for _, floor in pairs), 3),
        ratio=round(ratio, 2),
        spread=[round(ratios[0], 2), round(ratios[-1], 2)],
        bar=work.bar,
        met=ratio <= work.bar,
    )


async def tokens_of(server: Server, world: World, count: int) -> list[str]:
    """Sign the org admin in so many times."""
    body = {"organization_slug": world.slug, "person_id": world.org_admin_id}
    headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    async with httpx.AsyncClient(
        base_url=server.url, headers=headers, trust_env=False, timeout=30
    ) as client:
        answers = [await client.post("/operator/sign-ins", json=body) for _ in range(count)]
    return [answer.raise_for_status().json()["access_token"] for answer in answers]


async def verification_per_request(
    server: Server, work: Work, tokens: list[str]
) -> tuple[float, float]:
    """Return CPU milliseconds per request: those for the token, and all of them."""
    limits = httpx.Limits(max_connections=CONNECTIONS)
    async with httpx.AsyncClient(
        base_url=server.url,
        headers={"Accept-Encoding": "identity"},
        limits=limits,
        trust_env=False,
        timeout=30,
    ) as client:

        async def sender(own: list[str]) -> None:
            for token in own * USES_OF_A_TOKEN:
                # Set at once before the request is made, which no other sender comes between.
                client.headers["Authorization"] = f"Bearer {token}"
                (await work.send(client)).raise_for_status()

        spent = int((await client.get(SPENT)).text)
        before = server.process.cpu_times()
        await asyncio.gather(*[sender(tokens[one::CONNECTIONS]) for one in range(CONNECTIONS)])
        after = server.process.cpu_times()
        spent = int((await client.get(SPENT)).text) - spent
    requests = len(tokens) * USES_OF_A_TOKEN
    whole = after.user + after.system - before.user - before.system
    return spent / 1e6 / requests, 1000 * whole / requests


async def share_of_verification(timed: Server, work: Work, world: World) -> Row:
    """Measure which part of a hot read's CPU goes into its token."""
    pairs = []
    for _ in range(ROUNDS):
        tokens = await tokens_of(timed, world, work.requests // USES_OF_A_TOKEN)
        pairs.append(await verification_per_request(timed, work, tokens))
    shares = sorted(verifying / whole for verifying, whole in pairs)
    share = statistics.median(shares)
    return Row(
        work=f"token verification, as a share of {work.name}",
        ours=round(statistics.median(verifying for verifying, _ in pairs), 4),
        peer=round(statistics.median(whole for _, whole in pairs), 3),
        ratio=round(share, 3),
        spread=[round(shares[0], 3), round(shares[-1], 3)],
        bar=VERIFYING,
        met=share <= VERIFYING,
    )


def new_person(name: str) -> dict[str, str]:
    """Return a body that adds a person."""
    return {"email": f"{name}@example.org", "given_name": "Given", "family_name": name}


class Tap:
    """Stands before the protocol of one connection and notes every statement it is given."""

    def __init__(self, protocol: Any, statements: list[tuple[str, tuple[Any, ...]]]) -> None:
        self._protocol = protocol
        self._statements = statements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)

    def bind_execute(self, state: Any, args: Any, *rest: Any, **named: Any) -> Any:
        self._statements.append((state.query, tuple(args)))
        return self._protocol.bind_execute(state, args, *rest, **named)


async def record(world: World, target: Path) -> None:
    """Write down the statements of one POST, as the database gets them."""
    engine = world.app.state.resources.engine.sync_engine
    statements: list[tuple[str, tuple[Any, ...]]] = []

    def tap(connection: Any, *_rest: Any) -> None:
        driver = connection.driver_connection
        # Below both ways in which statements are sent: by the ORM, and on the driver itself.
        driver._protocol = Tap(driver._protocol, statements)

    event.listen(engine, "checkout", tap)
    answer = await world.org_admin.post(
        "/v1/people", json=new_person(MARKER), headers={"Idempotency-Key": MARKER}
    )
    event.remove(engine, "checkout", tap)
    answer.raise_for_status()
    kept = frozenset(
        (
            world.id,
            ids.parse_id("person", world.org_admin_id),
        )
    )
    await asyncio.to_thread(target.write_bytes, pickle.dumps((kept, statements)))


def works(person_id: str) -> list[Work]:
    """Return what is measured, each with its bar."""

    async def get_one(client: httpx.AsyncClient) -> httpx.Response:
        return await client.get(f"/v1/people/{person_id}")

    async def get_many(client: httpx.AsyncClient) -> httpx.Response:
        return await client.get("/v1/people", params={"limit": 50})

    async def post(client: httpx.AsyncClient) -> httpx.Response:
        name = secrets.token_hex(8)
        return await client.post(
            "/v1/people", json=new_person(name), headers={"Idempotency-Key": name}
        )

    return [
        Work("GET /people/{id}", 1600, 2.0, get_one),
        Work("GET /people, 50 of them", 800, 2.0, get_many),
        Work("POST /people with event and key", 800, 5.0, post),
    ]


async def measure(databases: Databases, folder: Path) -> list[Row]:
    """Fill an organization and measure every kind of request on it."""
    settings = api_settings(databases)
    recorded = folder / "statements.pickle"
    async with running_api(settings) as app:
        world = await found_world(app)
        person: dict[str, Any] = {}
        for _ in range(PEOPLE):
            person = await world.add_person(title="Engineer", department="Engineering")
        await record(world, recorded)
        token = world.org_admin.headers["Authorization"].removeprefix("Bearer ")
    told = environment(settings)
    bare_told = {**told, RECORDED: str(recorded)}
    measured = works(person["id"])
    async with (
        running(API, told, start=spawn) as ours,
        running(BARE, bare_told, start=spawn, probe="/") as bare,
    ):
        rows = [await compare(ours, bare, work, token) for work in measured]
    async with running(TIMED, told, start=spawn) as timed:
        return [*rows, await share_of_verification(timed, measured[0], world)]


async def main(*, as_json: bool) -> int:
    """Run the bench; the exit code says whether every bar was met."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with migrated(folder / "postgres") as databases:
            rows = await measure(databases, folder)
    report.show(rows, as_json=as_json, rounds=ROUNDS, connections=CONNECTIONS)
    return 0 if report.all_met(rows) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(as_json="--json" in sys.argv[1:])))
