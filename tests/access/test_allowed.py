"""`allowed` is what one may do now: nothing listed is forbidden, nothing else succeeds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from services.api.access.rules import Declaration, Scope
from services.api.match_runs import rules as match_runs
from services.api.meetings import rules as meetings
from services.api.mentorships import rules as mentorships
from services.api.participants import rules as participants
from services.api.programs import rules as programs
from services.api.proposals import rules as proposals
from shared import ids
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from tests.access.expected import body_of
from tests.support.access import (
    OF_THE_ORGANIZATION,
    Operation,
    Organization,
    populate,
    send,
    undone,
)
from tests.support.programs import post


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The things of one kind: where they are, and what each step demands."""

    collection: str
    table: str
    needs: Mapping[Any, Declaration]
    states: tuple[str, ...]
    """States to look at besides the one that things of this kind are in."""


LIFECYCLES: Mapping[str, Lifecycle] = MappingProxyType(
    {
        "participant": Lifecycle(
            "participants",
            "participant",
            participants.NEEDS,
            ("invited", "started", "manager_review", "coordinator_review", "info_requested"),
        ),
        "program": Lifecycle(
            "programs", "program", programs.NEEDS, ("published", "running", "completed")
        ),
        "mentorship": Lifecycle(
            "mentorships",
            "mentorship",
            mentorships.NEEDS,
            ("pending_start", "paused", "closing", "completed"),
        ),
        "meeting": Lifecycle(
            "meetings", "meeting", meetings.NEEDS, ("proposed", "in_progress", "held")
        ),
        "match_run": Lifecycle(
            "match-runs", "match_run", match_runs.NEEDS, ("review", "published")
        ),
        "proposal": Lifecycle(
            "proposals",
            "proposal",
            proposals.NEEDS,
            ("approved", "awaiting_people", "accepted"),
        ),
    }
)
# Its door is the one by which everybody registers.
WITHOUT_A_PATH = frozenset({participants.ParticipantAction.REGISTER})


@pytest.fixture(scope="module")
async def organization(app: FastAPI) -> Organization:
    """Return an organization whose things are put into one state after the other."""
    return await populate(app, "allowed")


def steps(kind: str, operations: list[Operation]) -> Iterator[tuple[str, Operation]]:
    """Yield each step that somebody asks for by name, with its operation."""
    lifecycle = LIFECYCLES[kind]
    by_path = {one.path: one for one in operations if one.method == "POST"}
    for action in lifecycle.needs:
        if action not in WITHOUT_A_PATH:
            yield (
                action.value,
                by_path[f"/{lifecycle.collection}/{{{kind_in_path(kind)}}}/{action}"],
            )


def kind_in_path(kind: str) -> str:
    """Return the name of the parameter that holds the id."""
    return {"match_run": "run_id"}.get(kind, f"{kind}_id")


async def change(organization: Organization, statement: str, **values: str) -> None:
    """Put something into a state, as time and other people would."""
    organization_id = organization.world.id
    sessions = organization.world.app.state.resources.sessions
    async with transaction(sessions, Tenant(organization_id)) as session:
        await session.execute(text(statement), {"organization_id": organization_id, **values})


async def put_into(organization: Organization, kind: str, status: str) -> None:
    """Put the thing of a kind into a state."""
    await change(
        organization,
        f"UPDATE {LIFECYCLES[kind].table} SET status = :status"  # noqa: S608 - a name of ours
        " WHERE organization_id = :organization_id AND id = :id",
        status=status,
        id=str(ids.parse_id(kind, organization.ids[kind])),
    )


async def wrong_steps(
    organization: Organization, operations: list[Operation], kind: str
) -> list[str]:
    """Return where `allowed` and the answers to all steps differ, for everybody who may know."""
    path = f"/v1/{LIFECYCLES[kind].collection}/{organization.ids[kind]}"
    wrong, known = [], 0
    for name in OF_THE_ORGANIZATION:
        caller = organization.callers[name]
        seen = await caller.get(path)
        if seen.status_code != HTTPStatus.OK:
            continue
        known += 1
        for action, operation in steps(kind, operations):
            answer = await _tried(organization, caller, operation)
            is_listed = action in seen.json()["allowed"]
            # To say again what is so already is no refusal, and changes nothing.
            is_done = answer.is_success and answer.text != seen.text
            if answer.status_code == HTTPStatus.FORBIDDEN if is_listed else is_done:
                state = seen.json()["status"]
                wrong.append(f"{name}: {action} of a {state} {kind}: {answer.status_code}")
    assert known
    return wrong


async def _tried(
    organization: Organization, caller: httpx.AsyncClient, operation: Operation
) -> httpx.Response:
    known = organization.ids
    async with undone(organization.world.app):
        return await send(caller, operation, known, body=body_of(operation, known))


@pytest.mark.parametrize("kind", LIFECYCLES)
def test_what_a_step_demands_is_what_its_operation_declares(
    app: FastAPI, operations: list[Operation], kind: str
) -> None:
    document = app.state.public.openapi()["paths"]
    for action, operation in steps(kind, operations):
        declared = document[operation.path]["post"]["x-access"]
        needed = LIFECYCLES[kind].needs[action]
        assert declared == {"permission": needed.permission, "scope": needed.scope}, operation.id


@pytest.mark.parametrize("kind", LIFECYCLES)
async def test_what_is_listed_is_what_one_may_do(
    organization: Organization, operations: list[Operation], kind: str
) -> None:
    admin = organization.world.org_admin
    path = f"/v1/{LIFECYCLES[kind].collection}/{organization.ids[kind]}"
    before = (await admin.get(path)).json()["status"]
    wrong = await wrong_steps(organization, operations, kind)
    for status in LIFECYCLES[kind].states:
        await put_into(organization, kind, status)
        wrong += await wrong_steps(organization, operations, kind)
    await put_into(organization, kind, before)

    assert not wrong, "\n".join(wrong)


async def test_whoever_is_asked_may_answer_and_decides_nothing_else(
    organization: Organization, operations: list[Operation]
) -> None:
    await put_into(organization, "proposal", "awaiting_people")
    await change(
        organization,
        "UPDATE proposal_member SET is_asked = true WHERE organization_id = :organization_id",
    )
    path = f"/v1/proposals/{organization.ids['proposal']}"

    stranger = (await organization.callers["stranger"].get(path)).json()
    coordinator = (await organization.callers["coordinator"].get(path)).json()

    assert stranger["allowed"] == ["consent", "decline"]
    assert coordinator["allowed"] == []
    assert await wrong_steps(organization, operations, "proposal") == []


async def test_a_lock_is_offered_until_it_is_set_and_then_taken_away(
    organization: Organization, operations: list[Operation]
) -> None:
    path = f"/v1/proposals/{organization.ids['proposal']}"
    coordinator, listed, wrong = organization.callers["coordinator"], {}, list[str]()
    for status in ("proposed", "approved", "accepted"):
        for is_locked in ("true", "false"):
            await put_into(organization, "proposal", status)
            await change(
                organization,
                f"UPDATE proposal SET is_locked = {is_locked}"  # noqa: S608 - a word of ours
                " WHERE organization_id = :organization_id",
            )
            allowed = (await coordinator.get(path)).json()["allowed"]
            listed[status, is_locked] = [one for one in allowed if one.endswith("lock")]
            wrong += await wrong_steps(organization, operations, "proposal")
    await put_into(organization, "proposal", "proposed")

    assert listed == {
        ("proposed", "true"): ["unlock"],
        ("proposed", "false"): ["lock"],
        ("approved", "true"): ["unlock"],
        ("approved", "false"): ["lock"],
        ("accepted", "true"): ["unlock"],
        ("accepted", "false"): [],
    }
    assert not wrong, "\n".join(wrong)


async def test_whoever_offers_times_does_not_answer_them(
    organization: Organization, operations: list[Operation]
) -> None:
    await put_into(organization, "meeting", "proposed")
    path = f"/v1/meetings/{organization.ids['meeting']}"
    await change(
        organization,
        "UPDATE meeting SET proposed_by = :person WHERE organization_id = :organization_id",
        person=str(ids.parse_id("person", organization.ids["person"])),
    )

    own = (await organization.callers["mentee"].get(path)).json()
    other = (await organization.callers["mentor"].get(path)).json()

    assert own["allowed"] == ["cancel"]
    assert other["allowed"] == ["confirm", "decline-times", "cancel"]
    assert await wrong_steps(organization, operations, "meeting") == []


async def test_a_pause_is_ended_by_those_who_began_it(
    organization: Organization, operations: list[Operation]
) -> None:
    path = f"/v1/mentorships/{organization.ids['mentorship']}"
    await put_into(organization, "mentorship", "active")
    await post(organization.callers["safeguarding"], f"{path}/pause", {})

    listed = {
        name: (await organization.callers[name].get(path)).json()["allowed"]
        for name in ("mentee", "safeguarding")
    }

    assert "resume" not in listed["mentee"]
    assert listed["safeguarding"] == ["resume"]
    assert await wrong_steps(organization, operations, "mentorship") == []


async def test_the_start_page_lists_the_same(organization: Organization) -> None:
    mentee = organization.callers["mentee"]
    home = (await mentee.get("/v1/me/home")).json()

    for cards, collection in (("participations", "participants"), ("mentorships", "mentorships")):
        (card,) = home[cards]
        whole = (await mentee.get(f"/v1/{collection}/{card['id']}")).json()
        assert card["allowed"] == whole["allowed"], collection
        assert "remove" not in card["allowed"]


async def test_what_a_credential_was_narrowed_to_narrows_what_is_listed(
    organization: Organization,
) -> None:
    reader = await organization.world.add_key(Scope.PROGRAMS_READ, Scope.MATCHING_READ)

    run = await reader.get(f"/v1/match-runs/{organization.ids['match_run']}")

    assert run.status_code == 200
    assert run.json()["allowed"] == []
