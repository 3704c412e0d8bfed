"""A mentoring program from people file to first meetings, played through the public API.

Every step looks at what is there and adds what is missing, so that a journey that was interrupted
goes on where it stopped, and one that is complete adds nothing.
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx

from services.demo import profiles
from services.demo.client import Client, RefusedError
from services.demo.company import GRADES, Employee
from services.demo.profiles import Candidate

AT_ONCE = 8
POLL_SECONDS = 0.2
WORK_SECONDS = 120.0
PROGRAM_CODE = "first-cohort"
MEETING_MINUTES = 45
AFTER_ALL_OTHERS = 26
KEY_SCOPES = ("events:read", "people:read", "programs:read", "mentorships:read", "meetings:read")
QUESTION = {
    "key": "hopes",
    "label": {"en": "What do you hope for?", "de": "Was erhoffst du dir?"},
    "type": "long_text",
    "required": True,
}
POLICY = {
    "name": "Usual",
    "hard": [
        {"rule": "reporting_line_distance"},
        {"rule": "not_past_pair"},
        {"rule": "not_ignored"},
    ],
    "soft": [
        {"rule": "offers_wants", "weight": 50},
        {"rule": "path_fit", "weight": 30},
        {"rule": "style_fit", "weight": 20},
    ],
}

type SignIn = Callable[[str], Awaitable[str]]
type Say = Callable[[str], None]


@dataclass(slots=True)
class Stage:
    """Where the journey plays: the API, who may act in it, and what has come about so far."""

    http: httpx.AsyncClient
    root: str
    mail_url: str
    admin: Client
    sign_in: SignIn
    say: Say
    known: Mapping[str, Employee]
    addresses: dict[str, str] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)

    async def acting(self, person_id: str) -> Client:
        """Return the person's own client."""
        if person_id not in self.clients:
            self.clients[person_id] = self.with_token(await self.sign_in(person_id))
        return self.clients[person_id]

    async def mails(self, *, after: str) -> list[Any]:
        """Return the next captured mails after one of them."""
        response = await self.http.get(f"{self.mail_url}/messages", params={"after": after})
        items: list[Any] = response.raise_for_status().json()["items"]
        return items

    def with_token(self, token: str) -> Client:
        """Return a client with another credential."""
        return Client(self.http, self.root, token)


@dataclass(frozen=True, slots=True)
class Program:
    """The program of the journey, its track, and who coordinates it."""

    id: str
    track_id: str
    coordinator_id: str
    coordinator: Client


async def each[One](
    items: Iterable[One], work: Callable[[One], Awaitable[None]], *, at_once: int = AT_ONCE
) -> None:
    """Do the same for every item, some of them side by side."""
    free = asyncio.Semaphore(at_once)

    async def bounded(item: One) -> None:
        async with free:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(bounded(item))


async def until[Found](look: Callable[[], Awaitable[Found | None]], what: str) -> Found:
    """Look again and again until there is something; give up after two minutes."""
    deadline = time.monotonic() + WORK_SECONDS
    while (found := await look()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come in {WORK_SECONDS:g} s")
        await asyncio.sleep(POLL_SECONDS)
    return found


def intent(*parts: str) -> str:
    """Return the Idempotency-Key of one step of the journey."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


async def import_people(stage: Stage, people: bytes, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the people file in: a plan first, then that very plan applied; return its run."""
    client, digest = stage.admin, hashlib.sha256(people).hexdigest()
    connection = await client.post(
        "/connections", {"kind": "file", "label": "People file"}, intent=intent("connection")
    )
    made = await client.post(
        "/mappings",
        {"name": "People file", "document": mapping},
        intent=intent("mapping", digest),
    )
    started = await client.upload(
        "/imports",
        {
            "connection_id": connection["id"],
            "mapping_id": made["id"],
            "mode": "full",
            "dry_run": "true",
        },
        ("people.csv", people),
        intent=intent("import", digest),
    )
    path = f"/sync-runs/{started['sync_run_id']}"
    planned = await until(lambda: _settled(client, path), "the plan of the import")
    if planned["status"] == "awaiting_approval":
        stage.say(f"planned {planned['counts']['seen']} rows; applying the plan")
        await client.post(f"{path}/approve", intent=intent("approve", path))
    return await until(lambda: _finished(client, path), "the import")


async def _settled(client: Client, path: str) -> dict[str, Any] | None:
    run: dict[str, Any] = await client.get(path)
    return run if run["status"] not in {"queued", "validating", "planned", "applying"} else None


async def _finished(client: Client, path: str) -> dict[str, Any] | None:
    run: dict[str, Any] = await client.get(path)
    return run if run["status"] in {"succeeded", "partial", "failed"} else None


async def set_up_program(stage: Stage, people: Sequence[Mapping[str, Any]]) -> Program:
    """Draft a program with a track, a policy and forms, publish it and open registration."""
    coordinator_id = min(people, key=lambda one: (one["hired_on"] or "9999", one["id"]))["id"]
    coordinator = await stage.acting(coordinator_id)
    program = await _program(stage, coordinator_id)
    path = f"/programs/{program['id']}"
    tracks = await coordinator.all(f"{path}/tracks")
    track = tracks[0] if tracks else await _track(coordinator, program["id"])
    forms = await coordinator.all(f"{path}/forms")
    for role in ("mentor", "mentee"):
        if not any(one["role"] == role and one["status"] == "published" for one in forms):
            form = await coordinator.post(
                f"{path}/forms", {"role": role, "fields": [QUESTION]}, intent=intent("form", role)
            )
            await coordinator.post(f"/forms/{form['id']}/publish", intent=intent("publish", role))
    await _advance(coordinator, path, {"draft": "publish", "published": "open-registration"})
    return Program(program["id"], track["id"], coordinator_id, coordinator)


async def _program(stage: Stage, coordinator_id: str) -> Mapping[str, Any]:
    for known in await stage.admin.all("/programs"):
        if known["code"] == PROGRAM_CODE:
            return dict(known)
    today = datetime.now(UTC).date()
    days = {
        "registration_opens_on": today - timedelta(days=7),
        "registration_closes_on": today + timedelta(days=7),
        "starts_on": today + timedelta(days=14),
        "ends_on": today + timedelta(days=270),
    }
    made: Mapping[str, Any] = await stage.admin.post(
        "/programs",
        {
            "name": "First cohort",
            "code": PROGRAM_CODE,
            "kind": "cohort",
            **{name: day.isoformat() for name, day in days.items()},
            "support_contact": {"person_id": coordinator_id},
            "coordinator_ids": [coordinator_id],
        },
        intent=intent("program", today.isoformat()),
    )
    return made


async def _track(coordinator: Client, program_id: str) -> Any:
    policy = await coordinator.post(
        "/policies", {"program_id": program_id, **POLICY}, intent=intent("policy")
    )
    return await coordinator.post(
        f"/programs/{program_id}/tracks",
        {
            "name": "One to one",
            "format": "one_to_one",
            "match_modes": ["pool", "coordinator"],
            "policy_id": policy["id"],
            "meeting_minutes": MEETING_MINUTES,
        },
        intent=intent("track"),
    )


async def _advance(client: Client, path: str, steps: Mapping[str, str]) -> None:
    """Take a resource through states one after the other, from wherever it stands."""
    status = (await client.get(path))["status"]
    while action := steps.get(status):
        before, refusal = status, None
        try:
            await client.post(f"{path}/{action}", intent=intent(path, before, action))
        except RefusedError as refused:
            refusal = refused
        status = (await client.get(path))["status"]
        # The day that was set for a step, or another player, may have taken it a moment before.
        if refusal is not None and (refusal.code != "invalid_transition" or status == before):
            raise refusal


async def register(stage: Stage, program: Program, people: Sequence[Mapping[str, Any]]) -> int:
    """Let suitable people register and be approved; return how many take part."""
    chosen = profiles.candidates(people, stage.known)
    state = await program.coordinator.get(f"/programs/{program.id}")
    if state["status"] == "registration_open":
        await each(chosen, lambda one: _take_part(stage, program, one))
    await _advance(
        program.coordinator,
        f"/programs/{program.id}",
        {"registration_open": "close-registration"},
    )
    return len(await program.coordinator.all(f"/programs/{program.id}/participants"))


async def _take_part(stage: Stage, program: Program, candidate: Candidate) -> None:
    person_id = candidate.person["id"]
    client = await stage.acting(person_id)
    place = {
        "track_id": program.track_id,
        "role": candidate.role,
        "capacity": candidate.capacity,
    }
    mine = await client.all("/me/participants")
    participant = (
        mine[0]
        if mine
        else await client.post(
            f"/programs/{program.id}/participants",
            {
                "track_roles": [place],
                "answers": {"hopes": "To learn from somebody outside my own team."},
                "hours_per_month": 4,
            },
            intent=intent("register", person_id),
        )
    )
    path = f"/participants/{participant['id']}"
    await client.put_new(f"{path}/preferences", candidate.preferences)
    if participant["status"] == "started":
        participant = await client.post(
            f"{path}/submit", {"preview_acknowledged": True}, intent=intent(path, "submit")
        )
    if participant["status"] == "coordinator_review":
        await program.coordinator.post(f"{path}/approve", intent=intent(path, "approve"))


async def match(stage: Stage, program: Program) -> dict[str, Any]:
    """Run matching, review what it proposes, and publish; return the run."""
    coordinator, path = program.coordinator, f"/programs/{program.id}"
    await coordinator.get(f"{path}/readiness")
    await _advance(coordinator, path, {"registration_closed": "start-matching"})
    runs = await coordinator.all(f"{path}/match-runs")
    run = (
        runs[0]
        if runs
        else await coordinator.post(
            f"{path}/match-runs",
            {"track_id": program.track_id, "mode": "real", "kind": "pool"},
            intent=intent("run"),
        )
    )
    run_path = f"/match-runs/{run['id']}"
    done = await until(lambda: _matched(coordinator, run_path), "the match run")
    if done["status"] == "review":
        stage.say(f"matched {done['stats'].get('matched')} of {done['stats'].get('people')} people")
        await _review(stage, coordinator, run_path)
        await coordinator.post(f"{run_path}/publish", intent=intent(run_path, "publish"))
    return dict(await coordinator.get(run_path))


async def _matched(client: Client, path: str) -> dict[str, Any] | None:
    run: dict[str, Any] = await client.get(path)
    return None if run["status"] in {"queued", "running"} else run


async def _review(stage: Stage, coordinator: Client, run_path: str) -> None:
    """Reject the weakest proposal, swap two others, lock the best, and approve the rest."""
    proposals = await coordinator.all(f"{run_path}/proposals")
    statuses = Counter(one["status"] for one in proposals)
    open_ones = sorted(
        (one for one in proposals if one["status"] == "proposed"),
        key=lambda one: (one["score"] or 0, _addresses(stage, one)),
    )
    if not statuses["rejected"] and open_ones:
        weakest = open_ones.pop(0)["id"]
        await coordinator.post(f"/proposals/{weakest}/reject", intent=intent(weakest, "reject"))
    if not statuses["swapped"]:
        await _swap_two(coordinator, open_ones[:-1])
    if not any(one["is_locked"] for one in proposals) and open_ones:
        best = open_ones[-1]["id"]
        await coordinator.post(f"/proposals/{best}/lock", intent=intent(best, "lock"))
    for one in await coordinator.all(f"{run_path}/proposals", status="proposed"):
        await coordinator.post(f"/proposals/{one['id']}/approve", intent=intent(one["id"], "yes"))


def _addresses(stage: Stage, proposal: Mapping[str, Any]) -> list[str]:
    return sorted(stage.addresses[one["person_id"]] for one in proposal["members"])


async def _swap_two(coordinator: Client, proposals: Sequence[Mapping[str, Any]]) -> None:
    """Swap the first two proposals whose exchange breaks no rule."""
    for first, second in pairwise(proposals):
        try:
            await coordinator.post(
                f"/proposals/{first['id']}/swap",
                {"with_proposal_id": second["id"]},
                intent=intent(first["id"], second["id"], "swap"),
            )
        except RefusedError as refused:
            if refused.code != "hard_rule_failed":
                raise
        else:
            return


async def consent(stage: Stage, program: Program) -> list[dict[str, Any]]:
    """Let everybody who is asked say yes; return the mentorships that came about.

    One side after the other: nobody is told what came of their own answer, so that who answers
    last decides how much everybody finds in their inbox.
    """
    asked = await program.coordinator.all(f"/programs/{program.id}/participants")

    async def answer(person_id: str) -> None:
        client = await stage.acting(person_id)
        for proposal in await client.all("/me/proposals"):
            if proposal["status"] == "awaiting_people" and _is_open(proposal, person_id):
                await client.post(
                    f"/proposals/{proposal['id']}/consent",
                    intent=intent(proposal["id"], person_id, "consent"),
                )

    for role in ("mentor", "mentee"):
        await each([one["person_id"] for one in asked if _takes(one, role)], answer)
    return await program.coordinator.all("/mentorships", program_id=program.id)


def _takes(participant: Mapping[str, Any], role: str) -> bool:
    return any(one["role"] == role for one in participant["track_roles"])


def _is_open(proposal: Mapping[str, Any], person_id: str) -> bool:
    return any(
        one["person_id"] == person_id and one["answer"] is None for one in proposal["members"]
    )


async def meet(stage: Stage, mentorships: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Let each driver invite to a first meeting; move one, call one off; return all meetings."""
    ordered = sorted(mentorships, key=lambda one: stage.addresses[one["driver_person_id"]])
    first_day = _next_monday(datetime.now(UTC))
    booked: dict[str, dict[str, Any]] = {}

    async def book(place: tuple[int, Mapping[str, Any]]) -> None:
        number, mentorship = place
        client = await stage.acting(mentorship["driver_person_id"])
        meetings = await client.all(f"/mentorships/{mentorship['id']}/meetings")
        if not meetings:
            starts_at = first_day + _slot(number)
            meetings = [await _book(client, mentorship["id"], starts_at)]
        booked[mentorship["id"]] = meetings[0]

    await each(list(enumerate(ordered)), book)
    meetings = [booked[one["id"]] for one in ordered]
    # An invitation that is still on its way would tell of the change, or be overtaken by it.
    await calendar_mails(stage, meetings)
    if len(ordered) > 1:
        meetings[0] = await _move(stage, ordered[0], meetings[0])
        meetings[1] = await _call_off(stage, ordered[1], meetings[1])
    return meetings


def _slot(number: int) -> timedelta:
    """Return a working hour that no other meeting has, so that nobody is double-booked."""
    day, hour = divmod(number, 8)
    week, weekday = divmod(day, 5)
    return timedelta(weeks=week, days=weekday, hours=9 + hour)


def _next_monday(now: datetime) -> datetime:
    days = 7 - now.weekday()
    return (now + timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)


async def _book(client: Client, mentorship_id: str, starts_at: datetime) -> Any:
    return await client.post(
        f"/mentorships/{mentorship_id}/meetings",
        {
            "starts_at": starts_at.isoformat(),
            "minutes": MEETING_MINUTES,
            "mode": "video",
        },
        intent=intent("meeting", mentorship_id, starts_at.isoformat()),
    )


async def _move(
    stage: Stage, mentorship: Mapping[str, Any], meeting: dict[str, Any]
) -> dict[str, Any]:
    if meeting["ical_sequence"] > 0:
        return meeting
    client = await stage.acting(mentorship["driver_person_id"])
    later = datetime.fromisoformat(meeting["starts_at"]) + timedelta(weeks=AFTER_ALL_OTHERS)
    moved: dict[str, Any] = await client.post(
        f"/meetings/{meeting['id']}/reschedule",
        {"starts_at": later.isoformat(), "minutes": MEETING_MINUTES},
        intent=intent(meeting["id"], "reschedule"),
    )
    return moved


async def _call_off(
    stage: Stage, mentorship: Mapping[str, Any], meeting: dict[str, Any]
) -> dict[str, Any]:
    if meeting["status"] == "cancelled":
        return meeting
    client = await stage.acting(mentorship["driver_person_id"])
    cancelled: dict[str, Any] = await client.post(
        f"/meetings/{meeting['id']}/cancel", intent=intent(meeting["id"], "cancel")
    )
    return cancelled


async def calendar_mails(stage: Stage, meetings: Sequence[Mapping[str, Any]]) -> set[str]:
    """Wait until everybody has every calendar entry by mail; return all their Message-IDs."""
    wanted = {
        (one["ical_uid"], sequence): len(one["attendee_ids"])
        for one in meetings
        for sequence in range(one["ical_sequence"] + 1)
    }
    found: dict[str, tuple[str, int]] = {}
    last = ""

    async def look() -> set[str] | None:
        nonlocal last
        while mails := await stage.mails(after=last):
            last = mails[-1]["id"]
            entries = {one["message_id"]: _entry(one) for one in mails}
            found.update({name: one for name, one in entries.items() if one in wanted})
        arrived = Counter(found.values())
        complete = all(arrived[entry] >= count for entry, count in wanted.items())
        return set(found) if complete else None

    return await until(look, "the invitations")


def _entry(mail: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return UID and SEQUENCE of a mail's calendar part."""
    for part in mail["parts"]:
        if part["content_type"] == "text/calendar":
            text = part["text"].replace("\r\n ", "").replace("\n ", "")
            lines = dict(line.partition(":")[::2] for line in text.splitlines())
            return lines.get("UID", ""), int(lines.get("SEQUENCE", "0"))
    return None


async def read_inboxes(stage: Stage, mentorships: Sequence[Mapping[str, Any]]) -> int:
    """Let every driver read their inbox; return how many items they found."""
    drives = Counter(one["driver_person_id"] for one in mentorships)
    counts: list[int] = []

    async def read(person_id: str) -> None:
        client = await stage.acting(person_id)

        async def look() -> list[Any] | None:
            items = await client.all("/inbox-items")
            # They were approved, and asked about every mentorship.
            return items if len(items) > drives[person_id] else None

        items = await until(look, "what drivers are told")
        for item in items:
            if item["read_at"] is None:
                await client.post(
                    f"/inbox-items/{item['id']}/read", intent=intent(item["id"], "read")
                )
        counts.append(len(items))

    await each(sorted(drives), read)
    return sum(counts)


async def read_events(integration: Client) -> list[dict[str, Any]]:
    """Read the whole feed twice, in large and in small pages; both must tell the same."""
    whole = await _walk(integration, limit=200)
    again = await _walk(integration, limit=37)
    names = [one["id"] for one in whole]
    if names != [one["id"] for one in again][: len(names)] or len(set(names)) != len(names):
        raise RuntimeError("the feed has a gap or repeats an event")
    versions: dict[str, int] = {}
    for one in whole:
        if one["data"]["version"] < versions.get(one["data"]["id"], 0):
            raise RuntimeError(f"the feed is out of order at {one['id']}")
        versions[one["data"]["id"]] = one["data"]["version"]
    return whole


async def _walk(client: Client, *, limit: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        place = {"cursor": cursor} if cursor else {}
        page = await client.get("/events", limit=limit, **place)
        events.extend(page["items"])
        cursor = page["next_cursor"]
        if not page["has_more"]:
            return events


def organization(digest: str) -> dict[str, Any]:
    """Return the organization of a journey; another people file plays in another one."""
    return {
        "slug": f"demo-{digest[:12]}",
        "name": "Northwind Orchard",
        "kind": "sandbox",
        "default_timezone": "UTC",
        "grade_order": list(GRADES),
        "org_admin": {
            "given_name": "Olive",
            "family_name": "Admin",
            "email": f"olive.admin@demo-{digest[:12]}.example.org",
        },
    }
