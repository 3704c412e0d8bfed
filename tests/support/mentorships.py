"""Mentorships as they come about in life: people register, a coordinator puts them together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import httpx
from sqlalchemy.ext.asyncio import AsyncSession

from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from tests.support.apps import World
from tests.support.beginnings import begun_once
from tests.support.participants import Somebody, take_part
from tests.support.programs import ONE_QUESTION, UNREVIEWED, Offer, draft, open_registration, post

ADMITTED = 20


@dataclass(slots=True)
class Pair:
    """A mentor and a mentee in one mentorship."""

    offer: Offer
    mentor: Somebody
    mentee: Somebody
    mentorship: dict[str, Any]

    @property
    def path(self) -> str:
        """Return where the mentorship is."""
        return f"/v1/mentorships/{self.mentorship['id']}"

    async def now(self, client: httpx.AsyncClient | None = None) -> dict[str, Any]:
        """Return the mentorship as somebody sees it now, the mentee unless said otherwise."""
        answer = await (client or self.mentee.client).get(self.path)
        assert answer.status_code == 200, answer.text
        current: dict[str, Any] = answer.json()
        return current


async def matching(offer: Offer) -> Offer:
    """Take a program whose people are registered on to matching."""
    await offer.act("close-registration")
    await offer.act("start-matching")
    return offer


def member(somebody: Somebody, role: str) -> dict[str, Any]:
    """Return a member as a composition states them."""
    return {"participant_id": somebody.participant["id"], "role": role}


@begun_once
async def pair_up(world: World, /, *, started: bool = False, **program: Any) -> Pair:
    """Let a mentor and a mentee register, and put them together."""
    offer = await open_registration(world, **(UNREVIEWED | program))
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee")
    await matching(offer)
    mentorship = await compose(offer, member(mentor, "mentor"), member(mentee, "mentee"))
    pair = Pair(offer, mentor, mentee, mentorship)
    if started:
        pair.mentorship = await post(mentee.client, f"{pair.path}/start", {})
    return pair


async def compose(offer: Offer, *members: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Put people together as a coordinator does."""
    path = f"/v1/tracks/{offer.track['id']}/mentorships"
    return await post(offer.coordinator, path, {"members": list(members), **changes})


@asynccontextmanager
async def work(world: World) -> AsyncIterator[AsyncSession]:
    """Open a transaction of nobody in particular, as background work does."""
    sessions = world.app.state.resources.sessions
    async with transaction(sessions, Tenant(world.id)) as session:
        yield session


def at(day: str) -> datetime:
    """Return noon of a day."""
    return datetime.combine(date.fromisoformat(day), time(12), UTC)


async def crowd(request: Callable[[], Awaitable[httpx.Response]]) -> list[httpx.Response]:
    """Send the same request fifty times, as many at once as one organization is admitted."""
    gate = asyncio.Semaphore(ADMITTED)

    async def one() -> httpx.Response:
        async with gate:
            return await request()

    return await asyncio.gather(*(one() for _ in range(50)))


async def other_track(offer: Offer, **track: Any) -> Offer:
    """Give a program another track, and return it with that one."""
    body = {
        "name": "Another",
        "match_modes": ["coordinator"],
        "policy_id": offer.track["policy_id"],
        **track,
    }
    path = f"/v1/programs/{offer.program['id']}/tracks"
    offer.track = await post(offer.coordinator, path, body)
    return offer


async def in_format(world: World, *roles: str, **track: Any) -> tuple[Offer, list[dict[str, Any]]]:
    """Return a matching program whose track has a format, and one available person per role."""
    offer = await other_track(await draft(world), **track)
    for role in sorted({*roles} - {"mentor", "mentee", "facilitator"}):
        path = f"/v1/programs/{offer.program['id']}/forms"
        form = await post(offer.coordinator, path, {"role": role, "fields": [ONE_QUESTION]})
        await post(offer.coordinator, f"/v1/forms/{form['id']}/publish", {})
    await offer.act("publish")
    await offer.act("open-registration")
    time = {"mentor": roles.count("mentee") if track["format"] == "group" else 1}
    people = [
        (await take_part(world, offer, role, capacity=time.get(role, 1)), role) for role in roles
    ]
    await matching(offer)
    return offer, [member(one, role) | {"somebody": one} for one, role in people]


def plain(members: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return members as a request states them."""
    return [{key: one[key] for key in ("participant_id", "role")} for one in members]
