"""Play the journey against the running stack and say what came of it."""

import asyncio
import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from services.demo import company, journey
from services.demo.client import Client, RefusedError
from services.demo.journey import Stage
from services.local import state
from services.local.installation import Installation
from services.local.state import State

KEY_LABEL = "Demo reader"

COMPANY_MAPPING = Path(__file__).parent / "company.json"


def main(root: Path, *, people: Path | None, mapping: Path | None, as_json: bool) -> int:
    """Play with a people file, or with the fictional company; return the exit code."""
    console = Console(stderr=True)
    folder = state.folder(root)
    current = state.read(folder)
    if current is None:
        console.print("mentoring is not running in this folder: ./dev up --detach")
        return 3
    if (people is None) != (mapping is None):
        console.print("A people file needs its mapping: give both --people and --mapping.")
        return 2
    content = people.read_bytes() if people else company.people_file()
    document = json.loads((mapping or COMPANY_MAPPING).read_text())
    try:
        report = asyncio.run(_play(folder, current, content, document, console))
    except (RefusedError, TimeoutError, httpx.HTTPError, ExceptionGroup) as failed:
        for error in _single(failed):
            console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        return 1
    slug = report["organization"]
    console.print(f"look around with: ./dev token org_admin --organization {slug}", highlight=False)
    if not report["mentorships"]:
        console.print("Nobody was matched: too few people, or all of them in one reporting line.")
    if as_json:
        print(json.dumps(report, indent=2))  # noqa: T201 - for scripts
    else:
        _show(report, Console())
    return 0


def _single(failed: Exception) -> list[Exception]:
    """Return what really went wrong, without the groups around it."""
    if not isinstance(failed, ExceptionGroup):
        return [failed]
    return [error for one in failed.exceptions for error in _single(one)]


async def _play(
    folder: Path, current: State, people: bytes, mapping: Mapping[str, Any], console: Console
) -> dict[str, Any]:
    digest = hashlib.sha256(people + json.dumps(mapping, sort_keys=True).encode()).hexdigest()
    installation = Installation.load(folder)
    limits = httpx.Limits(max_connections=journey.AT_ONCE * 2)
    async with httpx.AsyncClient(trust_env=False, timeout=20, limits=limits) as http:
        operator = Client(http, current.api_url.removesuffix("/v1"), installation.operator_token)
        wanted = journey.organization(digest)
        slug = wanted["slug"]
        founded = await operator.post("/operator/organizations", wanted, intent=slug)

        async def sign_in(person_id: str) -> str:
            body = {"organization_slug": slug, "person_id": person_id}
            answer = await operator.post("/operator/sign-ins", body, intent=person_id)
            return str(answer["access_token"])

        stage = Stage(
            http=http,
            root=current.api_url,
            mail_url=current.mail_url,
            admin=Client(http, current.api_url, await sign_in(founded["org_admin_person_id"])),
            sign_in=sign_in,
            say=lambda text: console.print(f"  {text}", highlight=False),
            known={one.email: one for one in company.employees()},
        )
        return await _journey(stage, folder, founded, people, mapping)


async def _journey(
    stage: Stage,
    folder: Path,
    founded: Mapping[str, Any],
    people: bytes,
    mapping: Mapping[str, Any],
) -> dict[str, Any]:
    stage.say("importing people")
    run = await journey.import_people(stage, people, mapping)
    refused = await stage.admin.all(f"/sync-runs/{run['id']}/rows", outcome="failed")
    active = await stage.admin.all("/people", status="active")
    own = [one for one in active if one["id"] != founded["org_admin_person_id"]]
    stage.addresses.update({one["id"]: one["email"] for one in own})
    stage.say(f"{len(own)} active people; setting up a program")
    program = await journey.set_up_program(stage, own)
    stage.say("registering and approving participants")
    participants = await journey.register(stage, program, own)
    stage.say(f"{participants} participants; matching")
    match_run = await journey.match(stage, program)
    mentorships = await journey.consent(stage, program)
    stage.say(f"{len(mentorships)} mentorships; first meetings")
    meetings = await journey.meet(stage, mentorships)
    mails = await journey.calendar_mails(stage, meetings)
    inbox = await journey.read_inboxes(stage, mentorships)
    events = await journey.read_events(await _integration(stage, folder, founded["id"]))
    proposals = await program.coordinator.all(f"/match-runs/{match_run['id']}/proposals")
    return {
        "organization_id": founded["id"],
        "organization": founded["slug"],
        "rows_read": run["counts"]["seen"],
        "people_applied": run["counts"]["seen"] - run["counts"]["failed"],
        "rows_refused": [{"line": row["line"], "errors": row["errors"]} for row in refused],
        "managers_resolved": sum(
            1 for one in await stage.admin.all("/people") if one["manager_id"]
        ),
        "program_id": program.id,
        "participants": participants,
        "match_run_id": match_run["id"],
        "certificate": match_run["certificate"],
        "proposals": dict(Counter(one["status"] for one in proposals)),
        "mentorships": len(mentorships),
        "mentorship_ids": sorted(one["id"] for one in mentorships),
        "meetings": len(meetings),
        "meeting_ids": sorted(one["id"] for one in meetings),
        "mails_with_calendar": len(mails),
        "inbox_items": inbox,
        "events_read": len(events),
        "events_in_order_without_gap": True,
    }


async def _integration(stage: Stage, folder: Path, organization_id: str) -> Client:
    """Return a client with an API key, kept for the next time: its secret is shown once."""
    kept = folder / f"{organization_id}.key"
    if not kept.exists():
        made = await _new_key(stage)
        while made["key"] is None:
            # The answer was lost and is not repeated with its secret: that key is of no use.
            await stage.admin.post(f"/api-keys/{made['id']}/revoke", intent=secrets.token_hex(16))
            made = await _new_key(stage)
        state.private_file(kept, made["key"])
    return stage.with_token(kept.read_text())


async def _new_key(stage: Stage) -> dict[str, Any]:
    made: dict[str, Any] = await stage.admin.post(
        "/api-keys",
        {"label": KEY_LABEL, "scopes": list(journey.KEY_SCOPES)},
        intent=secrets.token_hex(16),
    )
    return made


def _show(report: Mapping[str, Any], console: Console) -> None:
    for name, value in report.items():
        if not name.endswith("_ids"):
            shown = len(value) if isinstance(value, list) else value
            console.print(f"{name.replace('_', ' '):>28}  {shown}", highlight=False)
