"""Problems for matching, small enough to be solved by trying everything, and its service."""

import asyncio
import itertools
import json
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import numpy.typing as npt
import uvicorn
from fastapi import FastAPI
from joserfc.jwk import ECKey
from pydantic_core import to_json

from services.matching import board, explanations, solver
from services.matching.board import Board
from services.matching.main import NAME, create_app
from services.matching.settings import MatchingSettings
from shared.clock import system_clock
from shared.ids import new_id
from shared.schemas.matching import PairScore, Problem, Solution
from shared.security import ServiceSigner

MAX_CELLS = 16_000_000
KEY = ECKey.generate_key("P-256", {"kid": "service:api"}, private=True)
LOCATIONS = (
    None,
    "DE",
    "Berlin, DE",
    "HQ, Berlin, de",
    "Floor 2, HQ, Mitte, Berlin, DE",
    "Rome, IT",
)
SKILLS = ("python", "sales", "law", "design", "speaking", "finance")


def quiet(_phase: str, _done: int, _total: int) -> None:
    """Take no note of progress."""


def problem(
    *,
    mentors: int = 3,
    mentees: int = 3,
    seats: Sequence[int] | None = None,
    wants: Sequence[int] | None = None,
    seed: int = 1,
    objective: str = "most_matched",
    **changes: Any,
) -> dict[str, Any]:
    """Return a problem with invented people, the same for the same arguments."""
    chance = random.Random(seed)  # noqa: S311 - no secret, only variety
    names = [f"mentor-{n}" for n in range(mentors)] + [f"mentee-{n}" for n in range(mentees)]
    count = len(names)
    values = {
        "format": "one_to_one",
        "policy": {
            "soft": [
                {"rule": "offers_wants", "weight": 50},
                {"rule": "style_fit", "weight": 30},
                {"rule": "shared_values", "weight": 20},
            ],
            "objective": objective,
        },
        "participants": {
            "id": names,
            "skills_offered": [chance.sample(SKILLS, 3) for _ in range(count)],
            "skills_wanted": [chance.sample(SKILLS, 2) for _ in range(count)],
            "values": [chance.sample(["calm", "bold", "kind", "fair"], 2) for _ in range(count)],
            **{
                f"{side}_{kind}": [chance.randint(1, 5) for _ in range(count)]
                for side in ("wants", "offers")
                for kind in ("encouragement", "challenge")
            },
        },
        "places": {
            "participant": list(range(count)),
            "role": ["mentor"] * mentors + ["mentee"] * mentees,
            "capacity": [*(seats or [1] * mentors), *(wants or [1] * mentees)],
        },
    }
    return values | changes


def peers(count: int, *, seed: int = 1, objective: str = "most_matched") -> dict[str, Any]:
    """Return a problem of equals."""
    base = problem(mentors=count, mentees=0, seed=seed, objective=objective)
    places = {**base["places"], "role": ["peer"] * count}
    return {**base, "format": "peer", "places": places}


def circles(
    mentors: int = 3, mentees: int = 9, leaders: int = 3, *, seed: int = 1, **changes: Any
) -> dict[str, Any]:
    """Return a problem of circles, with teams and interests."""
    base = problem(mentors=mentors, mentees=mentees, seed=seed)
    chance = random.Random(seed)  # noqa: S311 - no secret, only variety
    people, places = base["participants"], base["places"]
    leading = [f"facilitator-{n}" for n in range(leaders)]
    names = [*people["id"], *leading]
    count = len(names)
    columns = {
        name: values + [values[0] if values else None] * leaders
        for name, values in people.items()
        if name != "id"
    }
    if not people["id"]:
        columns = {}
    interests = ["golf", "chess", "music", "dance"]
    base["participants"] = {
        **columns,
        "id": names,
        "team": [chance.choice(["red", "green", "blue", None]) for _ in names],
        "interests": [chance.sample(interests, chance.randint(1, 3)) for _ in names],
    }
    base["places"] = {
        "participant": list(range(count)),
        "role": places["role"] + ["facilitator"] * leaders,
        "capacity": [1] * count,
    }
    return {**base, "format": "circle", "track": {"min_members": 3, "max_members": 5}} | changes


def flash(mentors: int = 4, mentees: int = 6, *, seed: int = 1, **changes: Any) -> dict[str, Any]:
    """Return a problem of flash meetings: two for each mentee, three for each mentor."""
    base = problem(
        mentors=mentors, mentees=mentees, seats=[3] * mentors, wants=[2] * mentees, seed=seed
    )
    return {**base, "format": "flash", "rounds": 4} | changes


def shuffled(values: dict[str, Any], *, seed: int = 1) -> dict[str, Any]:
    """Return the same problem with the rows of every table in another order."""
    chance = random.Random(seed)  # noqa: S311 - no secret, only variety
    people, places = values["participants"], values["places"]
    order = chance.sample(range(len(people["id"])), len(people["id"]))
    moved = {row: place for place, row in enumerate(order)}
    mixed = {
        **places,
        "participant": [moved[row] for row in places["participant"]],
    }
    tables = {
        name: _mixed(table, chance)
        for name, table in values.items()
        if name in {"locks", "blocks", "past_pairs", "there", "absences", "fixed", "met", "sat_out"}
    }
    return {
        **values,
        "participants": {name: [column[row] for row in order] for name, column in people.items()},
        "places": _mixed(mixed, chance),
        **tables,
    }


def _mixed(table: dict[str, list[Any]], chance: random.Random) -> dict[str, list[Any]]:
    count = len(next(iter(table.values())))
    order = chance.sample(range(count), count)
    return {name: [column[row] for row in order] for name, column in table.items()}


@dataclass(frozen=True, slots=True)
class Weighed:
    """A small problem as matrices: which pairs are allowed, and what each scores."""

    board: Board
    allowed: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.int64]

    @property
    def is_peer(self) -> bool:
        """Whether there is one side only."""
        return self.board.is_peer


def weigh(values: dict[str, Any]) -> Weighed:
    """Return a problem as matrices."""
    made = solver.lay_out(Problem.model_validate(values), max_cells=MAX_CELLS, step=quiet)
    first, second = (one.ravel() for one in np.indices(made.shape))
    allowed, scores = made.allowed(first, second), made.scores(first, second)
    return Weighed(made, allowed.reshape(made.shape), scores.reshape(made.shape))


def scored(values: dict[str, Any]) -> PairScore:
    """Return what is said of the first of either side."""
    first = np.zeros(1, dtype=np.int64)
    return explanations.pair_scores(weigh(values).board, first, first)[0]


def solve(values: dict[str, Any]) -> Solution:
    """Return the solution of a problem."""
    asked = Problem.model_validate(values)
    laid_out = solver.lay_out(asked, max_cells=MAX_CELLS, step=quiet)
    return solver.describe(solver.solve(laid_out, step=quiet), step=quiet)


def pairs(solution: Solution) -> list[tuple[str, str]]:
    """Return who was put together."""
    return [
        (match.members[0].id, member.id)
        for match in solution.matches
        for member in match.members[1:]
    ]


def every_choice(weighed: Weighed) -> Iterator[list[tuple[int, int]]]:
    """Yield every way to put people together that breaks no rule and no capacity."""
    rows, columns = weighed.allowed.nonzero()
    possible = [
        (int(one), int(other))
        for one, other in zip(rows, columns, strict=True)
        if not weighed.is_peer or one < other
    ]
    for size in range(len(possible) + 1):
        found = False
        for chosen in itertools.combinations(possible, size):
            if _fits(weighed, chosen):
                found = True
                yield list(chosen)
        if not found:
            return


def _fits(weighed: Weighed, chosen: Sequence[tuple[int, int]]) -> bool:
    first = [one for one, _ in chosen]
    second = [other for _, other in chosen]
    if weighed.is_peer:
        return all((first + second).count(one) <= 1 for one in first + second)
    return all(first.count(one) <= weighed.board.first.capacity[one] for one in first) and all(
        second.count(other) <= weighed.board.second.capacity[other] for other in second
    )


def settings(**changes: Any) -> MatchingSettings:
    """Return settings under which the tests' api may call."""
    values: dict[str, Any] = {
        "env": "development",
        "log_level": "critical",
        # Longer than in production, so that a refusal is a status though a worker has to start.
        "matching_heartbeat_seconds": 1.5,
        "service_public_keys": json.dumps({"keys": [KEY.as_dict(private=False)]}),
    }
    return MatchingSettings(**(values | changes))


@asynccontextmanager
async def running(configured: MatchingSettings) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """Run the service in this process, with a client that signs nothing by itself."""
    app = create_app(configured)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://matching.test") as http,
    ):
        yield app, http


@asynccontextmanager
async def served(configured: MatchingSettings) -> AsyncIterator[tuple[FastAPI, str]]:
    """Serve on a real socket: only there a caller can go away."""
    app = create_app(configured)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_config=None, access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield app, f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


def token(
    path: str,
    body: bytes,
    *,
    organization: UUID | None = None,
    claims: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Return a service token for one request."""
    signer = ServiceSigner(
        service="service:api", key=json.dumps(KEY.as_dict(private=True)), clock=system_clock
    )
    usual: dict[str, Any] = {
        "audience": NAME,
        "organization_id": organization or new_id(),
        "subject": "system:match_runs",
        "method": "POST",
        "path": path,
        "body": body,
    }
    return signer.sign(**{**usual, **claims})


async def until(holds: Callable[[], bool], *, seconds: float = 20) -> None:
    """Wait for something other processes bring about."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - a process tells nobody that it ended
            await asyncio.sleep(0.01)


async def post(
    http: httpx.AsyncClient, path: str, body: Any, *, organization: UUID | None = None
) -> httpx.Response:
    """Send a signed request."""
    content = body if isinstance(body, bytes) else to_json(body)
    headers = {"Authorization": f"Bearer {token(path, content, organization=organization)}"}
    return await http.post(path, content=content, headers=headers, timeout=60)


def varied(mentors: int, mentees: int, *, seed: int = 1, **changes: Any) -> dict[str, Any]:
    """Return a problem in which everything may be known of somebody, and nothing must be."""
    chance = random.Random(seed)  # noqa: S311 - no secret, only variety
    values = problem(mentors=mentors, mentees=mentees, seed=seed)
    names = values["participants"]["id"]

    def column(known: Callable[[], Any], unknown: Any = None) -> list[Any]:
        return [unknown if chance.random() < 0.25 else known() for _ in names]

    def some(words: Sequence[Any]) -> Callable[[], list[Any]]:
        return lambda: chance.sample(words, chance.randint(1, 4))

    def pairs(count: int) -> tuple[list[str], list[str]]:
        return chance.choices([*names, "stranger"], k=count), chance.choices(names, k=count)

    values["participants"] |= {
        "skills_offered": column(some(SKILLS), []),
        "skills_wanted": column(some(SKILLS), []),
        "languages": column(some(["en", "EN", "de", "fr", "pl"]), []),
        "interests": column(some(["golf", "chess", "music", "cooking", "dance"]), []),
        "expectations": column(some(["advice", "contacts", "feedback", "skills"]), []),
        "availability": column(some(range(330, 336)), []),
        "utc_offset_minutes": column(lambda: chance.choice([-720, -300, 0, 60, 330, 780])),
        "work_starts_minute": column(lambda: chance.choice([0, 480, 600])),
        "work_ends_minute": column(lambda: chance.choice([420, 960, 1440])),
        "grade_rank": column(lambda: chance.randint(1, 6)),
        "department": column(lambda: chance.choice(["law", "Law", "it"])),
        "reporting_line": column(lambda: chance.sample(names, min(2, len(names))), []),
        "path_now": column(lambda: " ".join(chance.sample(SKILLS, 2))),
        "path_target": column(lambda: " ".join(chance.sample(SKILLS, 2)).upper()),
        "attributes": {
            "topics": column(some(["a", "b", "c", "d"]), []),
            "site": column(lambda: chance.choice(["Berlin", "berlin", 3, False])),
        },
        **{
            f"{side}_{kind}": column(lambda: chance.randint(1, 5))
            for side in ("wants", "offers")
            for kind in ("encouragement", "challenge")
        },
    }
    later = random.Random(seed)  # noqa: S311 - no secret, only variety
    values["participants"] |= {
        "tenure_months": [later.choice([None, 0, 6, 24, 60]) for _ in names],
        "location": [later.choice(LOCATIONS) for _ in names],
    }
    said = 2 * len(names)
    by, about = pairs(said)
    values["preferences"] = {
        "by": by,
        "about": about,
        "mark": chance.choices(["favorite", "yes", "maybe", "no", "ignore"], k=said),
        "rank": [chance.choice([None, 1, 2, 9]) for _ in range(said)],
    }
    for name in ("blocks", "past_pairs"):
        first, second = pairs(len(names) // 2)
        values[name] = {"first": first, "second": second}
    return values | changes


def board_of(values: dict[str, Any]) -> Board:
    """Return a problem made ready, no pair of it worked out."""
    ready = solver.ready(Problem.model_validate(values), max_cells=MAX_CELLS)
    return board.set_up(ready, step=quiet)
