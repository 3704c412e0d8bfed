"""What the fuzzer finds when it arrives: a program under way, for random ids lead nowhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

PREFERENCES = {
    "path_now": "Backend engineer for five years.",
    "path_target": "Leading a team of engineers.",
    "wants_skills": ["Leadership"],
    "offers_skills": ["Python"],
    "languages": ["en"],
}
QUESTION = {"key": "goals", "label": {"en": "What would you like to learn?"}, "type": "short_text"}
DAYS = {
    "registration_opens_on": "2026-01-01",
    "registration_closes_on": "2026-12-31",
    "starts_on": "2027-01-01",
    "ends_on": "2027-12-31",
}
HR_FILE = b"id,first,last,mail\n7,Ida,Import,ida@example.org\n"
HR_MAPPING = {
    "key": {"column": "id"},
    "fields": {
        "given_name": {"columns": ["first"]},
        "family_name": {"columns": ["last"]},
        "email": {"columns": ["mail"]},
    },
}

type Made = Mapping[str, Any]


@dataclass(slots=True)
class Stage:
    """An organization being furnished by its administrator, who coordinates and takes part."""

    http: httpx.AsyncClient
    slug: str
    holder: str
    operator_token: str
    known: dict[str, list[str]] = field(default_factory=dict)

    async def post(self, path: str, body: object = None, *, by: str | None = None) -> Made:
        """POST as somebody, the administrator unless said otherwise."""
        token = await self._token(by or self.holder)
        answer = await self.http.post(f"/v1{path}", json=body, headers=_bearer(token))
        return _made(answer)

    async def _token(self, person_id: str) -> str:
        answer = await self.http.post(
            "/operator/sign-ins",
            json={"organization_slug": self.slug, "person_id": person_id},
            headers=_bearer(self.operator_token),
        )
        token: str = _made(answer)["access_token"]
        return token

    async def prefer(self, participant_id: str, *, by: str) -> None:
        """Say what somebody wants and offers."""
        answer = await self.http.put(
            f"/v1/participants/{participant_id}/preferences",
            json=PREFERENCES,
            headers=_bearer(await self._token(by)) | {"If-None-Match": "*"},
        )
        _made(answer)

    async def send_file(self, connection_id: str, mapping_id: str) -> Made:
        """Send a people file."""
        answer = await self.http.post(
            "/v1/imports",
            data={"connection_id": connection_id, "mapping_id": mapping_id},
            files={"file": ("people.csv", HR_FILE, "text/csv")},
            headers=_bearer(await self._token(self.holder)),
        )
        return _made(answer)

    def note(self, name: str, made: Made) -> str:
        """Remember an id under the name of its parameter."""
        known: str = made["id"]
        self.known.setdefault(name, []).append(known)
        return known


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _made(answer: httpx.Response) -> Made:
    if answer.is_error:
        raise RuntimeError(f"{answer.request.url.path}: {answer.status_code} {answer.text}")
    made: Made = answer.json()
    return made


async def furnish(stage: Stage) -> Mapping[str, list[str]]:
    """Make one of everything, and return the ids by the names of their parameters."""
    await _program(stage, "drafted")
    program_id, track_id = await _program(stage, "running")
    await stage.post(f"/programs/{program_id}/publish")
    await stage.post(f"/programs/{program_id}/open-registration")
    mentee, waiting = [await _person(stage, name) for name in ("mia", "wanda")]
    roles = ((stage.holder, "mentor"), (mentee, "mentee"), (waiting, "mentee"))
    joined = [await _take_part(stage, program_id, track_id, role, by) for by, role in roles]
    members = [
        {"participant_id": one, "role": role}
        for one, (_by, role) in zip(joined[:2], roles[:2], strict=True)
    ]
    await stage.post(f"/programs/{program_id}/close-registration")
    await stage.post(f"/programs/{program_id}/start-matching")
    await _match(stage, track_id, program_id, members, mentee=mentee)
    await _directory(stage)
    return stage.known


async def _program(stage: Stage, code: str) -> tuple[str, str]:
    program = {
        "name": code,
        "code": code,
        "kind": "cohort",
        **DAYS,
        "support_contact": {"email": "help@example.org"},
        "coordinator_ids": [stage.holder],
    }
    program_id = stage.note("program_id", await stage.post("/programs", program))
    rules = {"soft": [{"rule": "path_fit", "weight": 40}]}
    policy = await stage.post("/policies", {"program_id": program_id, "name": "Usual", **rules})
    track = {
        "name": "Pairs",
        "format": "one_to_one",
        "match_modes": ["pool", "coordinator"],
        "policy_id": stage.note("policy_id", policy),
    }
    track_id = stage.note("track_id", await stage.post(f"/programs/{program_id}/tracks", track))
    for role in ("mentor", "mentee"):
        form = {"role": role, "fields": [QUESTION]}
        made = await stage.post(f"/programs/{program_id}/forms", form)
        await stage.post(f"/forms/{stage.note('form_id', made)}/publish")
    return program_id, track_id


async def _person(stage: Stage, name: str) -> str:
    person = {"email": f"{name}@example.org", "given_name": name, "family_name": "Example"}
    return stage.note("person_id", await stage.post("/people", person))


async def _take_part(stage: Stage, program_id: str, track_id: str, role: str, by: str) -> str:
    wanted = {"track_id": track_id, "role": role, "capacity": 5 if role == "mentor" else 1}
    made = await stage.post(
        f"/programs/{program_id}/participants",
        {"track_roles": [wanted], "answers": {"goals": "To lead."}},
        by=by,
    )
    participant_id = stage.note("participant_id", made)
    await stage.prefer(participant_id, by=by)
    await stage.post(
        f"/participants/{participant_id}/submit", {"preview_acknowledged": True}, by=by
    )
    await stage.post(f"/participants/{participant_id}/approve")
    return participant_id


async def _match(
    stage: Stage, track_id: str, program_id: str, members: list[dict[str, str]], *, mentee: str
) -> None:
    made = await stage.post(f"/tracks/{track_id}/mentorships", {"members": members})
    mentorship_id = stage.note("mentorship_id", made)
    stage.known["member_id"] = [one["id"] for one in made["members"]]
    await stage.post(f"/mentorships/{mentorship_id}/start", by=mentee)
    starts_at = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    meeting = {"starts_at": starts_at}
    stage.note(
        "meeting_id", await stage.post(f"/mentorships/{mentorship_id}/meetings", meeting, by=mentee)
    )
    run = {"track_id": track_id, "kind": "pool"}
    stage.note("run_id", await stage.post(f"/programs/{program_id}/match-runs", run))


async def _directory(stage: Stage) -> None:
    connection = await stage.post("/connections", {"label": "HR"})
    mapping = await stage.post("/mappings", {"name": "HR", "document": HR_MAPPING})
    sent = await stage.send_file(
        stage.note("connection_id", connection), stage.note("mapping_id", mapping)
    )
    stage.known["sync_run_id"] = [sent["sync_run_id"]]
